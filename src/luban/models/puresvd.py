"""PureSVD (Cremonesi, Koren and Turrin 2010): who had what, cut to its largest directions; a history is projected on them and back.

X (U, I), of 1 or weights, = A S V' of `factors` directions, and the scores of a history h are h V V'. The users' side is not kept, so a
stranger's history is answered like any other. Columns are first divided by a power of the item's number of users (EigenRec,
Nikolakopoulos et al. 2019).

Letters: B users, I items with the id 0, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Schema
from luban.core.registry import Later
from luban.layers.ranked import PIECE, Ranker, counted, gain, sums, weights
from luban.layers.rules import within

sparse, extmath = Later("scipy.sparse"), Later("sklearn.utils.extmath")

FACTORS = (16, 32, 64, 128, 256)
"""That are tried on validation: directions are nested, so that all cost one solution."""


class PureSVD(Ranker):
    solves = inner = True
    weight: Tensor

    @dataclass(frozen=True)
    class Config:
        factors: int | None = None
        """Directions that are kept; at most as many as items and users. Unset: of 16, 32, 64, 128 and 256 what serves validation best."""
        popularity: float = 0.5
        """How much an item with many users counts: 1 as they are, 0 every item alike."""

        def __post_init__(self) -> None:
            within(self, {"factors": (1, 10_000), "popularity": (-1, 2)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.register_buffer("weight", torch.zeros(self.items, min(config.factors or max(FACTORS), self.items, self.users)))  # V

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.7

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self.count(train)
        X = counted(train, self.items)
        users = np.maximum(np.bincount(X.indices, X.data**2, self.items), 1).astype(np.float32)
        X = X @ sparse.diags_array(users ** ((self.config.popularity - 1) / 2))
        F = min(self.weight.shape[1], X.shape[0])
        V = torch.from_numpy(np.ascontiguousarray(extmath.randomized_svd(X, F, n_iter=4, random_state=clock.seed)[2].T))
        self.weight[:, :F] = V
        if valid is None or self.config.factors is not None:
            return
        valid, tried, gains = valid.thinned(PIECE), [f for f in FACTORS if f < F] + [F], []
        for f in tried:
            self.weight[:, :f], self.weight[:, f:F] = V[:, :f], 0
            gains.append(gain(self, valid))
        f = tried[int(np.argmax(gains))]
        self.weight[:, :f], self.weight[:, f:] = V[:, :f], 0

    def scores(self, batch: Batch) -> Tensor:
        """(B, I)"""
        return (sums(self.weight, batch["history"], weights(batch)) @ self.weight.T).double() + self.before()

    def user_side(self, batch: Batch) -> Tensor:
        mine = sums(self.weight, batch["history"], weights(batch))
        return torch.cat([mine, mine.new_full((len(mine), 1), self.prior)], 1)

    def item_side(self, ids: Tensor) -> Tensor:
        return torch.cat([self.weight[ids], self.popular[ids].unsqueeze(1)], 1)
