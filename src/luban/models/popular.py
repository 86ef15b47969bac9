"""What most users had, for everyone: the recommendation that any other has to beat. The score of an item is how many had it in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, size_of
from luban.core.contract import Clock, Head, Model, Schema

PIECE = 4096
"""Users counted at a time."""


class Popular(Model):
    accepts = frozenset({"id"})
    gives = frozenset({"items"})
    solves = True
    baseline = True
    counts: Tensor

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.register_buffer("counts", torch.zeros(head.size))

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        for batch in train.pieces(PIECE):
            items = torch.cat([batch["history"].values, batch[self.head.parts[0].key]])
            self.counts += torch.bincount(items, minlength=len(self.counts))

    def forward(self, batch: Batch) -> Tensor:
        return self.counts.expand(size_of(batch), -1)
