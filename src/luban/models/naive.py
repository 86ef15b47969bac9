"""The last value, again and again: the forecast that any other has to beat.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.windows import READS, Windows


class Naive(Model):
    accepts = READS
    gives = frozenset({"series"})
    solves = True
    threads = 1  # a second one only waits at each small product
    baseline = True

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = Windows.of(schema, head)

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """There is nothing to learn."""

    def forward(self, batch: Batch) -> Tensor:
        last = self.windows.stacked(batch)[:, :, -1]  # (B, C)
        return last.repeat_interleave(self.windows.horizon, 1)  # (B, C * H)
