"""A series: a number at each step, z-scored by the training part; a gap is NaN.

A number for every other purpose: only a task that knows the order of rows can say what a model sees in the place of a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from luban.fields.number import Number


class Series(Number):
    kind = "series"

    @dataclass(frozen=True)
    class Config:
        """What the task settled and models must know before they see a batch; nothing is encoded by it."""

        look_back: int | None = None
        """Steps that a window shows of the past."""
        season: int | None = None
        """Steps after which the series repeats, roughly; at most look_back."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        return 0.0  # only a task that knows the order of rows can choose it

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Without gaps: of a short window they could leave nothing."""
        mean = round(self.mean) if self.integer else self.mean
        return [mean if value is None else value for value in super().imagine(n, rng)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("负荷", ["1,234.5", "$5", " 7 ", "1e-3", "-3.5"]),
            pl.Series("visitors", [3, 1, 2, None, 40], dtype=pl.Int16),
            pl.Series("OT", [30.531000137329, 27.78700065612793, 27.78700065612793, -4.25]),
            pl.Series("constant", [0.1] * 7),
        ]
