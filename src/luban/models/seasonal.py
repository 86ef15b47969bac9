"""The last season, again and again: today is as yesterday, this December as the last. Hard to beat where a season is strong.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.columns import of_kind
from luban.layers.windows import READS


class Seasonal(Model):
    accepts = READS
    gives = frozenset({"series"})
    solves = True
    baseline = True

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.series = of_kind(schema, "series")
        self.season = next(iter(self.series.values())).config.season

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """There is nothing to learn."""

    def forward(self, batch: Batch) -> Tensor:
        x = torch.stack([batch[key] for key in self.series], 1)  # (B, C, L)
        step = torch.arange(self.head.parts[0].size, device=x.device) % self.season
        return x[:, :, -self.season :][:, :, step].flatten(1)  # (B, C * H)
