"""Parquet to a Table, types as they are; streamed by row groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.source import Source


class Parquet(Source):
    suffixes = (".parquet", ".pq")
    steady = True

    def read(self, path: Path) -> Table:
        with _words(path):
            return pl.read_parquet(path, glob=False)

    def scan(self, path: Path) -> pl.LazyFrame:
        """The columns are known, nothing else is read."""
        with _words(path):
            lazy = pl.scan_parquet(path, glob=False)
            lazy.collect_schema()
            return lazy

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with _words(path):
            # the batches of polars may be larger than asked for
            for table in self.scan(path).collect_batches(chunk_size=rows, maintain_order=True):
                yield from table.iter_slices(rows)


@contextmanager
def _words(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{path.name} is not a whole Parquet file: {str(error).splitlines()[0]}. "
                        "It may have been cut off: copy or write it again.") from error  # fmt: skip
