"""The line through the first and the last value seen, continued: the naive forecast of what grows.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.windows import READS, Windows


class Drift(Model):
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
        x = self.windows.stacked(batch)
        slope = (x[:, :, -1:] - x[:, :, :1]) / (x.shape[2] - 1)
        ahead = torch.arange(1, self.windows.horizon + 1, device=x.device)
        return (x[:, :, -1:] + slope * ahead).flatten(1)  # (B, C * H)
