"""Logs, items and users as MovieLens and RecBole write them: a table whose columns are named nowhere, or as name:type.

MovieLens' own files go by their names (u.data, u.item, u.user of 100K; ratings.dat and its like of 1M and 10M), and the columns are ours.
Such a file that does not begin so, and one of RecBole's endings without name:type, is a table like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.sources._text import opened, text_lines
from luban.sources.csv import Csv, is_number

GENRES = """unknown Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical Mystery Romance
Sci-Fi Thriller War Western"""
MOVIELENS = {
    "u.data": ("\t", "user item rating timestamp"),
    "u.item": ("|", f"item title released video_released url {GENRES}"),
    "u.user": ("|", "user age gender occupation zip_code"),
    "ratings.dat": ("::", "user item rating timestamp"),
    "tags.dat": ("::", "user item tag timestamp"),
    "movies.dat": ("::", "item title genres"),
    "users.dat": ("::", "user gender age occupation zip_code"),
}
"""{file: (what stands between cells, the columns)}, from the README of each edition."""
TYPE = re.compile(r":(token|float)(_seq)?$")
LINES = 100_000
"""Lines taken at a time."""


class Events(Csv):
    suffixes = (*MOVIELENS, *(f"{name}.gz" for name in MOVIELENS), ".inter", ".item", ".user", ".inter.gz", ".item.gz", ".user.gz")

    def read(self, path: Path) -> Table:
        self._settle(path)
        return super().read(path)

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        self._settle(path)
        return super().chunks(path, rows)

    def _settle(self, path: Path) -> None:
        """MovieLens' titles are Latin-1 up to 1M, UTF-8 from 10M on; both are small files."""
        if self.encoding is None and path.name.lower().removesuffix(".gz") in ("u.item", "movies.dat"):
            with opened(path) as file:
                text = file.read()
            try:
                text.decode()
            except UnicodeDecodeError:
                self.encoding = "latin-1"

    def _tables(self, file: IO[bytes], name: str) -> Iterator[Table]:
        mark, columns = MOVIELENS.get(name.lower().removesuffix(".gz"), ("", ""))
        buffered: Any = file
        head = buffered.peek(1 << 12).partition(b"\n")[0].decode(errors="replace").split(mark or None)
        if mark and len(head) == len(columns.split()) and is_number(head[0]):
            yield from _movielens(text_lines(file, name, self.encoding), mark, columns.split(), name)
            return
        for table in super()._tables(file, name):
            plain = [TYPE.sub("", each) for each in table.columns]
            typed = all(map(TYPE.search, table.columns)) and len(set(plain)) == len(plain)
            yield table.rename(dict(zip(table.columns, plain, strict=True))) if typed else table


def _movielens(lines: Iterator[str], mark: str, columns: list[str], name: str) -> Iterator[Table]:
    """A quote is a letter there, as in "Great Performances" Cats (1998)."""
    held, first = [], 1
    for number, line in enumerate(lines, 1):
        held.append(line)
        if len(held) == LINES:
            yield _parted(held, first, mark, columns, name)
            held, first = [], number + 1
    yield _parted(held, first, mark, columns, name)


def _parted(lines: list[str], first: int, mark: str, columns: list[str], name: str) -> Table:
    """A last line that is empty is none."""
    cells = pl.Series(lines, dtype=pl.String).str.split(mark)
    wrong = (cells.list.len() != len(columns)) & (pl.Series(lines, dtype=pl.String) != "")
    if wrong.any():
        at = int(wrong.arg_max())
        raise UserError(f"line {first + at} of {name} has {len(cells[at])} cells where {len(columns)} must stand (divided by {mark!r}): "
                        f"{lines[at][:60]!r}.")  # fmt: skip
    cells = cells.filter(cells.list.len() == len(columns))
    return pl.DataFrame({name: cells.list.get(i).replace("", None) for i, name in enumerate(columns)})
