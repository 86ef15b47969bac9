"""The last value, again and again: the forecast that any other has to beat.

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


class Naive(Model):
    accepts = READS
    gives = frozenset({"series"})
    solves = True
    baseline = True

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.series = of_kind(schema, "series")

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """There is nothing to learn."""

    def forward(self, batch: Batch) -> Tensor:
        last = torch.stack([batch[key][:, -1] for key in self.series], 1)  # (B, C)
        return last.repeat_interleave(self.head.parts[0].size, 1)  # (B, C * H)
