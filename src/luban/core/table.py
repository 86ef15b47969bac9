"""A table that stays on disk, and one way of going through any table: a column at a time, a piece of it at a time.

What is larger than memory is Parquet behind a lazy frame. It answers what the stages ask of a polars frame; each answer costs the memory of
one piece of one column, or of one batch of rows, whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from luban.core import cells
from luban.core.files import sha256

PIECE = 1_000_000
"""Rows of one column at a time; of long words as many as have BYTES, by the first of them."""
BYTES = 20_000_000
BATCH = 100_000
"""Rows of all columns at a time, fewer where they are many: CELLS in all, which cost some 100 bytes each while they are hashed."""
CELLS = 2_000_000


class DiskTable:
    """Rows of a lazy frame over files, all or the increasing `rows`, as a table whose columns are read when asked for.

    file: the user's, of which this is a copy or the whole. stamp: changes where the file does, or the way in which it was read.
    """

    def __init__(self, lazy: pl.LazyFrame, rows: np.ndarray | None = None, *, file: Path | None = None, stamp: str = ""):
        self.lazy, self.rows, self.file, self.stamp = lazy, rows, file, stamp
        self._sizes: dict[str, int] = {}
        self.schema = lazy.collect_schema()
        self.columns = self.schema.names()
        self.height = len(rows) if rows is not None else int(lazy.select(pl.len()).collect().item())

    @property
    def width(self) -> int:
        return len(self.columns)

    @property
    def digest(self) -> str:
        """The sha256 of the user's file."""
        assert self.file is not None
        return sha256(self.file)

    def __len__(self) -> int:
        return self.height

    def stacked(self, below: pl.DataFrame | DiskTable) -> DiskTable:
        """With other rows of the same columns below its own."""
        assert self.rows is None
        other = below.lazy if isinstance(below, DiskTable) else below.lazy()
        return DiskTable(pl.concat([self.lazy, other], how="vertical_relaxed"), file=self.file, stamp=self.stamp)

    def get_column(self, name: str) -> pl.Series:
        """The whole column, in memory."""
        column = self.lazy.select(pl.col(name)).collect().to_series()
        return column if self.rows is None else column.gather(self.rows)

    def select(self, names: Sequence[str]) -> DiskTable:
        return DiskTable(self.lazy.select(list(names)), self.rows)

    def drop(self, names: Sequence[str]) -> DiskTable:
        return self.select([name for name in self.columns if name not in names])

    def __getitem__(self, rows: np.ndarray) -> DiskTable | pl.DataFrame:
        """Rows by number: of increasing ones a table on disk, of a few in any order a frame in memory."""
        rows = np.asarray(rows)
        if len(rows) > BATCH:
            if len(rows) == self.height and rows[0] == 0 and (np.diff(rows) == 1).all():
                return self
            assert (np.diff(rows) > 0).all(), "rows of a table on disk stay in their order"
            return DiskTable(self.lazy, rows if self.rows is None else self.rows[rows])
        order = np.argsort(rows, kind="stable")
        found = {name: pl.concat(self._gathered(name, rows[order])) for name in self.columns}
        return pl.DataFrame(found)[np.argsort(order, kind="stable")]

    def _gathered(self, name: str, rows: np.ndarray) -> list[pl.Series]:
        """The increasing `rows` of a column, piece by piece."""
        found = []
        for start, column in self.pieces(name):
            first, last = np.searchsorted(rows, (start, start + len(column)))
            found.append(column.gather(rows[first:last] - start))
        return found

    def gather_every(self, n: int) -> DiskTable | pl.DataFrame:
        return self[np.arange(0, self.height, n)]

    def pieces(self, name: str) -> Iterator[tuple[int, pl.Series]]:
        """(number of its first row, a piece of the column), in order; all but the last of exactly as many rows as in memory."""
        if name not in self._sizes:
            rows = np.arange(self.height)[:_FIRST] if self.rows is None else self.rows[:_FIRST]
            self._sizes[name] = _at_once(self.lazy.select(name).head(int(rows.max(initial=-1)) + 1).collect().to_series().gather(rows))
        for start, frame in self.select([name]).batches(self._sizes[name]):
            yield start, frame.to_series()

    def batches(self, size: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """(number of its first row, rows as a frame), in order; all but the last of exactly `size` rows."""
        start, held = 0, pl.DataFrame(schema=self.schema)
        for frame in self._selected(size):
            held = held.vstack(frame) if held.height else frame
            while held.height >= size:
                yield start, held.head(size)
                start, held = start + size, held.slice(size)
        if held.height or not start:
            yield start, held

    def _selected(self, size: int) -> Iterator[pl.DataFrame]:
        """As the files give them, but only the chosen rows."""
        read = 0
        for frame in self.lazy.collect_batches(chunk_size=size, maintain_order=True):
            if self.rows is not None:
                first, last = np.searchsorted(self.rows, (read, read + frame.height))
                yield frame[self.rows[first:last] - read]
            else:
                yield frame
            read += frame.height


def batches(table: Any, size: int | None = None) -> Iterator[tuple[int, pl.DataFrame]]:
    """(number of its first row, rows as a frame of at most `size`), in order, of either kind of table."""
    size = size or max(1, min(BATCH, CELLS // max(1, table.width)))
    if isinstance(table, DiskTable):
        yield from table.batches(size)
    else:
        for start in range(0, table.height, size):
            yield start, table.slice(start, size)


class Pieces:
    """A column, or its rows marked in `keep` ((N,) bool), a piece at a time; it may be gone through again.

    While a piece is at hand, `cells.row(i)` is the name of its row i.
    """

    def __init__(self, table: Any, name: str, keep: np.ndarray | None = None):
        self.table, self.name, self.keep = table, name, keep

    def __iter__(self) -> Iterator[pl.Series]:
        for start, column in self._all():
            rows: Any = range(start, start + len(column))
            if self.keep is not None:
                at = np.flatnonzero(self.keep[start : start + len(column)])
                rows, column = start + at, column if len(at) == len(column) else column.gather(at)
            with cells.picked(rows):
                yield column

    def _all(self) -> Iterator[tuple[int, pl.Series]]:
        if isinstance(self.table, DiskTable):
            yield from self.table.pieces(self.name)
            return
        column = self.table.get_column(self.name)
        size = _at_once(column.head(_FIRST))
        for start in range(0, max(len(column), 1), size):
            yield start, column.slice(start, size)


_FIRST = 1000


def _at_once(first: pl.Series) -> int:
    """Rows in a piece of a column that begins so."""
    if first.dtype != pl.String or not len(first):
        return PIECE
    return max(1, min(PIECE, BYTES * len(first) // (1 + int(first.str.len_bytes().sum()))))
