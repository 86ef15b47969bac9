"""What most users had, for everyone: the recommendation that any other has to beat. Its score: the share of users that had it.

Where events have weights, or count less the older they are, the score is that share of all that was counted, times the events of a user.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock
from luban.core.errors import UserError
from luban.layers.ranked import PIECE, Ranker, weights
from luban.layers.rules import within


class Popular(Ranker):
    solves = True
    baseline = True

    @dataclass(frozen=True)
    class Config:
        half_life: float | None = None
        """After so large a share of the time that training spans an event counts half: of two years, .05 are five weeks. Unset: all count
        alike."""

        def __post_init__(self) -> None:
            if self.half_life is not None:
                within(self, {"half_life": (1e-6, 1e6)})

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        half, total, events = self.config.half_life, torch.zeros(self.items, dtype=torch.float64), 0.0
        if half is not None and "age" not in train.store.columns:
            raise UserError("popular: model.half_life needs the time of each event, and no column of times was found: --time COLUMN.")
        for batch in train.pieces(PIECE):
            had, by = batch["history"].values, weights(batch)
            by = torch.ones(len(had), dtype=torch.float64) if by is None else by.double()
            if half is not None:
                by = by * 0.5 ** (batch["age"].values.double() / half)
            total += torch.bincount(had, by, minlength=self.items)
            events += len(had)
        self.popular.copy_(total * float(events / total.sum().clamp(min=1e-30)) / max(1, len(train)))

    def scores(self, batch: Batch) -> Tensor:
        return self.popular.expand(len(batch["history"]), -1)
