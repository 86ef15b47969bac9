"""The format of the UEA and UCR archives of time series, and of aeon: a head of @words, then a case a line, its channels parted by colons.

A case is a row of two columns: `series`, a JSON list of numbers, of several channels a list each; and `label`, what stands behind the last
colon, where the head says that there is such (a class, or the number of a regression). "?" is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.source import Source
from luban.sources._text import opened, text_lines


class Ts(Source):
    suffixes = (".ts", ".ts.gz")
    target = "label"
    options = ("encoding",)

    def read(self, path: Path) -> Table:
        return pl.concat(list(self.chunks(path, 100_000)))

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            cases = _cases(text_lines(file, path.name, self.encoding), path.name)
            labelled, held = next(cases), []
            for case in cases:
                held.append(case)
                if len(held) == rows:
                    yield _table(held, labelled)
                    held = []
            yield _table(held, labelled)


def _table(cases: list, labelled: bool) -> Table:
    return pl.DataFrame(cases, dict.fromkeys(("series", "label")[: 1 + labelled], pl.String), orient="row")


def _cases(lines: Iterator[str], name: str) -> Iterator:
    """First whether cases have a label, then each case: (series,) or (series, label)."""
    labelled, data, width = False, False, 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line[0] in "#%":
            continue
        if line.startswith("@"):
            word, value = (line.lower().split(None, 2) + [""])[:2]
            if word == "@timestamps" and value == "true":
                raise UserError(f"{name} has a time stamp at each number (@timeStamps true, line {number}), which is not read here. "
                                "Write the numbers alone.")  # fmt: skip
            labelled = labelled or (word in ("@classlabel", "@targetlabel") and value == "true")
            if word == "@data":
                data = True
                yield labelled
            continue
        if not data:
            raise UserError(f"line {number} of {name} should be a word such as @problemName, or @data before the cases, not {line[:60]!r}.")
        *channels, label = line.split(":") if labelled else (*line.split(":"), "")
        width = width or len(channels)
        if not channels or len(channels) != width:
            wanted = f"{width or 'its'} channels{' and a label' * labelled}, parted by colons"
            raise UserError(f"line {number} of {name} should hold {wanted}, but has {len(channels)} channels: {line[:60]!r}.")
        lists = ["[" + each.replace("?", "NaN") + "]" for each in channels]
        series = lists[0] if width == 1 else "[" + ", ".join(lists) + "]"
        yield (series, label.strip()) if labelled else (series,)
    if not data:
        raise UserError(f"{name} has no line @data, behind which its cases would stand. It may have been cut off, or be another format.")
