"""What most users had, for everyone: the recommendation that any other has to beat. Its score: the share of users that had it."""

from __future__ import annotations

from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock
from luban.layers.ranked import Ranker


class Popular(Ranker):
    solves = True
    baseline = True

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self.count(train)

    def scores(self, batch: Batch) -> Tensor:
        return self.popular.expand(len(batch["history"]), -1)
