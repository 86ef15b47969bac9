"""A series: a number at each step, z-scored by the training part; a gap takes the value before it.

The one field whose rows are not encoded by themselves: a row alone has nothing before it, so a gap alone stays missing. Where nothing
comes before, the first known value is taken; never a later one otherwise, for at that step it was not known. Each filling is said aloud.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from luban.core.contract import Field
from luban.core.notes import say
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

    def fit(self, chunks: Iterable[pl.Series], peers: dict[str, Field]) -> Series:
        super().fit(chunks, peers)
        self.missing = 0.0  # nothing stays missing, so that imagined rows have no gaps either
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) float32 without gaps; all NaN where not one value is known."""
        z = super().encode(column)
        known = ~z.isnan()
        if known.all() or not known.any():
            return z
        first = int(known.nonzero()[0])
        last_known = torch.where(known, torch.arange(len(z)), first).cummax(0).values
        early = f" (the first {first:,}: the first known)" if first else ""
        say(f"{self.columns[0]}: {int((~known).sum()):,} of {len(z):,} values are missing; each takes the value before it{early}")
        return z[last_known]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        """Without gaps: with them a row alone cannot be the row in a batch."""
        return [
            pl.Series("负荷", ["1,234.5", "$5", " 7 ", "1e-3", "-3.5"]),
            pl.Series("visitors", [3, 1, 2, 2, 40], dtype=pl.Int16),
            pl.Series("OT", [30.531000137329, 27.78700065612793, 27.78700065612793, -4.25]),
            pl.Series("constant", [0.1] * 7),
        ]
