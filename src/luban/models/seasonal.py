"""The last season, again and again: today is as yesterday, this December as the last. Hard to beat where a season is strong.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.windows import READS, Windows


class Seasonal(Model):
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
        x, season = self.windows.stacked(batch), self.windows.season
        step = torch.arange(self.windows.horizon, device=x.device) % season
        return x[:, :, -season:][:, :, step].flatten(1)  # (B, C * H)
