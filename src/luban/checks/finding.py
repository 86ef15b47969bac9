"""What a check sees and what it says: `Look`, the prepared data; `Finding`, one doubt with its place, its certainty and what mends it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.checks.hashed import cell_codes
from luban.core import cells
from luban.core.batch import Store, rows_of
from luban.core.contract import Field, Schema
from luban.core.table import DiskTable
from luban.data import DataConfig, Rows
from luban.splitting import TEST, TRAIN, VALID

SERIOUS, DOUBT, NOTE = "serious", "doubt", "note"
"""serious: the figures will be wrong, or the training fail. doubt: look at it. note: true of the data, and harmless or mended already."""
SEVERITIES = (SERIOUS, DOUBT, NOTE)
MOST_ROWS = 50_000
"""Rows that a check of columns looks at, evenly spaced; fewer where the table is wide: MOST_CELLS in all."""
MOST_CELLS = 5_000_000
LISTED = 10_000
"""Rows that a finding lists at most; `count` is their true number."""


@dataclass(frozen=True)
class Finding:
    """One doubt about the data. It goes into JSON as it is."""

    kind: str
    severity: str
    what: str
    """One sentence."""
    certainty: float
    """0..1, how sure this is; `basis` says from which statistic that follows."""
    basis: str
    column: str | None = None
    mend: str = ""
    """The option that mends it, or in words what to do."""
    rows: Sequence[int] = field(default_factory=list)
    """Rows of the file, from 1, as messages count them."""
    test_rows: Sequence[int] = field(default_factory=list)
    """Rows of the test file, where there is one."""
    count: int = 0
    """How many rows it concerns, those beyond LISTED included; 0 where it concerns none in particular."""


def places(numbers: np.ndarray, height: int) -> dict[str, Any]:
    """The rows of a Finding, in the order given: `numbers` count those of the file from 0, and behind its `height` rows the test file's."""
    listed = numbers[:LISTED]
    return {
        "rows": (listed[listed < height] + 1).tolist(),
        "test_rows": (listed[listed >= height] - height + 1).tolist(),
        "count": len(numbers),
    }


def spaced(n: int, width: int) -> np.ndarray:
    """Evenly spaced row numbers out of n, (<= MOST_ROWS,) int64: what is looked at of a table of `width` columns."""
    most = max(1_000, min(MOST_ROWS, MOST_CELLS // max(1, width)))
    return evenly(n, most)


def evenly(n: int, most: int) -> np.ndarray:
    """All of n numbers, or `most` that are evenly spaced, the first and the last among them, int64."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(np.int64)


def spoken(finding: dict[str, Any]) -> str:
    """A finding in one paragraph."""
    return f"{finding['what']}{where(finding)}. {finding['mend']}".rstrip()


def where(finding: dict[str, Any], most: int = 5) -> str:
    """ " (rows 3, 17, 20 and 41 more)", or nothing where it concerns no row in particular."""
    named = [*map(str, finding["rows"][:most]), *(f"{row} of the test file" for row in finding["test_rows"][:most])][:most]
    more = f" and {finding['count'] - len(named):,} more" if finding["count"] > len(named) else ""
    return f" (row{'s' * (finding['count'] > 1)} {', '.join(named)}{more})" if named else ""


@dataclass(frozen=True)
class Look:
    """The data as they are before a model is. A check is a function of it; none may hold a copy of all of a table or store."""

    rows: Rows
    schema: Schema
    store: Store
    config: DataConfig
    height: int
    """Rows of the file; those that `rows.numbers` counts from here on are of the test file."""

    @functools.cached_property
    def index(self) -> np.ndarray:
        """The rows that checks of columns look at, as positions in `rows.table`, (n,) int64."""
        return spaced(len(self.rows.part), len(self.schema.inputs))

    @property
    def part(self) -> np.ndarray:
        """The part of each of these, (n,) uint8."""
        return self.rows.part[self.index]

    def column(self, name: str) -> pl.Series:
        """These rows of a column, as the user wrote them."""
        return self._some.get_column(name) if self._some is not None else self.rows.table.get_column(name).gather(self.index)

    @functools.cached_property
    def _some(self) -> pl.DataFrame | None:
        """These rows of a table on disk, read at once."""
        return self.rows.table[self.index] if isinstance(self.rows.table, DiskTable) else None

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """A hash of each row's inputs, (N,) uint64: the sum of the hashes of its cells, so that one can be taken out again."""
        total = np.zeros(len(self.rows.part), np.uint64)
        for number, key in enumerate(self.schema.inputs):
            total += cell_codes(self.store.columns[key], number)
        return total

    def numbers(self, each: Field) -> np.ndarray:
        """These rows of a column as numbers, (n,) float64, NaN where there is none."""
        return cells.numbers(self.column(each.columns[0]), getattr(each, "comma", False)).fill_null(np.nan).to_numpy()

    def encoded(self, key: str, index: np.ndarray | None = None) -> Any:
        """These rows of an input as the model sees it, or the rows `index`: a Tensor or Ragged."""
        return rows_of(self.store.columns[key], torch.from_numpy(self.index if index is None else index))

    def places(self, positions: np.ndarray) -> dict[str, Any]:
        """The rows of a Finding, from positions in `rows.table`."""
        return places(self.rows.numbers[positions], self.height)

    def answers(self) -> list[tuple[str, Field, np.ndarray, bool]]:
        """(key, field, the answers of `index` (n,), are they classes?) of each target that is one number or class."""
        found = []
        for key, each in self.schema.targets.items():
            y = self.store.columns[key]
            if isinstance(y, Tensor) and y.dim() == 1:
                picked = y[torch.from_numpy(self.index)].numpy()
                found.append((key, each, picked, each.kind == "id" or len(np.unique(picked)) <= 2))
        return found

    def numeric(self, targets: bool = False) -> list[Field]:
        """The inputs that are amounts; with targets, those that are."""
        fields = [*self.schema.inputs.values(), *(self.schema.targets.values() if targets else ())]
        return [each for each in fields if type(each).__module__.endswith(".number")]


def used(part: np.ndarray) -> np.ndarray:
    """(N,) bool: in one of the three parts."""
    return np.isin(part, (TRAIN, VALID, TEST))
