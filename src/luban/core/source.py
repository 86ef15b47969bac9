"""What reads files: bytes on disk to a Table in the user's words. A part of the contract, see contract.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import polars as pl

from luban.core.contract import Table


class Source(ABC):
    """Bytes on disk to a Table in the user's words. A source infers nothing that a field could: null tokens are not its business."""

    suffixes: ClassVar[tuple[str, ...]]
    """Lower-case endings of the file names that are ours, with the dot; the longest match wins (".csv.gz" before ".gz")."""
    target: ClassVar[str | None] = None
    """The column that such data are about, where it is always the same: the classes of a folder of pictures."""
    options: ClassVar[tuple[str, ...]] = ()
    """Which of encoding and delimiter mean anything here; the reader says aloud that it ignores the others."""
    steady: ClassVar[bool] = False
    """Do all chunks have the same columns and types? Then a large file can be kept on disk, piece by piece."""

    def __init__(self, *, encoding: str | None = None, delimiter: str | None = None):
        self.encoding = encoding
        self.delimiter = delimiter

    @abstractmethod
    def read(self, path: Path) -> Table:
        """The whole file. Raises UserError where it is damaged, or not what its name says."""

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        """The file in tables of at most `rows` rows, in order. A source that can read piece by piece overrides this."""
        yield from self.read(path).iter_slices(rows)

    def scan(self, path: Path) -> pl.LazyFrame | None:
        """The file as a frame whose columns are read when asked for; None where its format does not allow that."""
        return None
