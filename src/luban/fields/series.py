"""A series: a number at each step, z-scored by the training part, or as it is where a task scales each window; a gap is NaN.

A number for every other purpose: only a task that knows the order of rows can say what a model sees in the place of a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.fields.number import Number, finite


class Series(Number):
    kind = "series"

    @dataclass(frozen=True)
    class Config:
        """What the task settled and models must know before they see a batch."""

        look_back: int | None = None
        """Steps that a window shows of the past."""
        season: int | None = None
        """Steps after which the series repeats, roughly; at most look_back."""
        scaled: bool = True
        """z-scored by the training rows; else as it is, for a task that scales each window by itself."""
        log: bool = False
        """Its logarithm is what is forecast."""

    least: float | None = None
    """The smallest training value."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        return 0.0  # only a task that knows the order of rows can choose it

    def fit(self, chunks: Iterable[pl.Series]) -> Series:
        chunks = list(chunks)
        comma = cells.decimal_comma(chunks)
        values = np.concatenate([finite(cells.numbers(column, comma)) for column in chunks])
        self.least = float(np.nanmin(values)) if not np.isnan(values).all() else None
        super().fit([self._log(column, comma) for column in chunks] if self.config.log else chunks)
        self.comma = comma
        if not self.config.scaled:
            self.edges = tuple(edge * self.std + self.mean for edge in self.edges)
            self.mean, self.std = 0.0, 1.0
        return self

    def _log(self, column: pl.Series, comma: bool) -> pl.Series:
        values = cells.numbers(column, comma)
        cells.refuse(column, cells.unread(column, values) | (values <= 0).fill_null(False), self.columns[0], "numbers above 0 (task.log)")
        return values.log()

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) float32, NaN where there is a gap; float64 where it is not scaled: of a meter that stands at 1e9 the last digits move."""
        return super().encode(self._log(column, self.comma) if self.config.log else column)

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return super()._scaled(x) if self.config.scaled else x.astype(np.float64)

    def units(self, z: Tensor) -> Tensor:
        """In the user's units, as exact as it came."""
        x = z * self.std + self.mean
        return x.exp() if self.config.log else x

    @property
    def floor(self) -> float:
        """The encoded value below which no forecast goes: of what was never negative, 0."""
        return -self.mean / self.std if not self.config.log and self.least is not None and self.least >= 0 else -np.inf

    def decode(self, encoded: Encoded) -> list:
        assert isinstance(encoded, Tensor)
        if not self.config.log:
            return super().decode(encoded)
        return [None if x != x else x for x in self.units(encoded.double().reshape(-1)).tolist()]

    def state(self) -> dict[str, Any]:
        return {**super().state(), "least": self.least}

    def restore(self, state: dict[str, Any]) -> Series:
        super().restore(state)
        self.least = state.get("least")
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Without gaps: of a short window they could leave nothing."""
        middle = self.decode(torch.tensor([self.edges[len(self.edges) // 2] if self.edges else 0.0]))[0]
        return [middle if value is None else value for value in super().imagine(n, rng)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("负荷", ["1,234.5", "$5", " 7 ", "1e-3", "-3.5"]),
            pl.Series("visitors", [3, 1, 2, None, 40], dtype=pl.Int16),
            pl.Series("OT", [30.531000137329, 27.78700065612793, 27.78700065612793, -4.25]),
            pl.Series("constant", [0.1] * 7),
        ]
