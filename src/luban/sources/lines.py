"""Plain text to a Table: each line is a row of the one column `text`, as it is written; an empty line is an empty cell.

No ending of a file's name is claimed here, for a .txt is more often a table; a task that reads passages says so in its `endings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import polars as pl

from luban.core.contract import Table
from luban.core.source import Source
from luban.sources._text import opened, utf8_blocks


class Lines(Source):
    suffixes = ()
    options = ("encoding",)

    def read(self, path: Path) -> Table:
        return pl.concat(list(self.chunks(path, 1_000_000)) or [pl.DataFrame({"text": []}, {"text": pl.String})])

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            yield from self.stream(file, rows, path.name)

    def stream(self, file: IO[bytes], rows: int, name: str = "the input") -> Iterator[Table]:
        """From an open file that may be a pipe."""
        lines: list[str] = []
        rest = b""
        for block in utf8_blocks(file, name, self.encoding):
            *whole, rest = (rest + block).split(b"\n")
            lines += [line.removesuffix(b"\r").decode() for line in whole]
            while len(lines) >= rows:
                yield pl.DataFrame({"text": lines[:rows]})
                lines = lines[rows:]
        if rest:  # the last line may lack its end
            lines.append(rest.removesuffix(b"\r").decode())
        if lines:
            yield pl.DataFrame({"text": lines})
