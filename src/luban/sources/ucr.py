"""Files of the UCR archive of time series, NAME_TRAIN.tsv and NAME_TEST.tsv, without a line of names: a label, then a series of numbers.

They become two columns, `label` and `series`, a list of numbers; NaN at the end only fills a shorter series up. A file of such a name whose
first line is not all numbers, or short, is a table like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import polars as pl

from luban.core.contract import Table
from luban.core.notes import say
from luban.sources.csv import Csv, is_number

FEWEST = 8
"""Numbers of a series, at least: so many names of columns that are all numbers nobody gives."""


class Ucr(Csv):
    suffixes = ("_train.tsv", "_test.tsv", "_train.tsv.gz", "_test.tsv.gz")

    def _tables(self, file: IO[bytes], name: str) -> Iterator[Table]:
        buffered: Any = file
        head = buffered.peek(1 << 16)[: 1 << 16].partition(b"\n")[0].decode(errors="replace").split("\t")
        if self.names or len(head) <= FEWEST or not all(map(is_number, head)):
            yield from super()._tables(file, name)
            return
        say(f"{name} has no line of names: it is read as the UCR archive's, a `label`, then a `series` of {len(head) - 1:,} numbers a row.")
        self.names, self.delimiter = ("label", *map(str, range(1, len(head)))), "\t"
        for table in super()._tables(file, name):
            numbers = [pl.col(each).fill_null("NaN") for each in table.columns[1:]]
            series = pl.concat_str(numbers, separator=", ").str.replace(r"(, *NaN)+$", "")
            yield table.select("label", series=pl.concat_str(pl.lit("["), series, pl.lit("]")))
