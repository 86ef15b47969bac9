"""Items that the same users had (Sarwar et al. 2001): what stands near to the items of a history is recommended, the last of them first.

With x_ui 1 where user u had item i, or its weight, n_i the sum of their squares (its users), and w_u less for a user with many events:

    s_ij = sum over users of w_u x_ui x_uj / (sqrt(n_i n_j) + shrink)       each j keeps its nearest `neighbours`
    score of j = sum over the history's items i, of those that j kept, of 0.5^(events since i / half_life) x_i s_ij

It is the item to be recommended that chooses by whom it may be: where those of the history chose (as usual), what is popular is near to
most (DCG@10 on validation, 50 neighbours: .064 against .051 on ml-latest-small, .535 against .516 on ml-100k, .058 against .056 on beauty).

Letters: B users, I items with the id 0, which had nothing and is had by nobody, K neighbours, E events of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Schema
from luban.core.registry import Later
from luban.layers.ranked import Ranker, counted, gain, weights
from luban.layers.rules import within

sparse = Later("scipy.sparse")

ENTRIES = 10_000_000
"""Products of two events of one user that are added up at a time, some 200 MB: X'X is never whole."""
HALVES = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0)
"""Half-lives that are tried on validation, a tie going to the longer. With each user's last event held back, 2 is worth much (plain cosine,
validation DCG@10 of ml-latest-small .068 against .040, of beauty .047 against .039); with events drawn at random it does harm (ml-100k .083
against .165)."""
TRIED = 1024
"""Users of validation by whom it is chosen."""


class ItemKNN(Ranker):
    solves = True
    baseline = True
    near: Tensor
    weight: Tensor
    offsets: Tensor
    life: Tensor

    @dataclass(frozen=True)
    class Config:
        neighbours: int = 50
        """That each item keeps. 200 are a little better on ml-latest-small (.069 against .064), level on beauty, worse on ml-100k."""
        shrink: float = 20.0
        """Added to the divisor: two items with few users each are hardly near, though the same users had both."""
        active: float = 0.5
        """A user's events count less the more they are, by their number to the power of minus this; 0: all alike."""
        half_life: float | None = None
        """After so many events of a user an item counts half; 0: all count alike. Unset: what serves validation best."""

        def __post_init__(self) -> None:
            within(self, {"neighbours": (1, 100_000), "shrink": (0, 1e9), "active": (0, 2), "half_life": (0, 1e9)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        most = self.items * min(config.neighbours, self.items)
        self.register_buffer("near", torch.zeros(most, dtype=torch.int32))  # item i is kept by near[offsets[i] : offsets[i + 1]]
        self.register_buffer("weight", torch.zeros(most))
        self.register_buffer("offsets", torch.zeros(self.items + 1, dtype=torch.int64))
        self.register_buffer("life", torch.tensor(config.half_life or math.inf))

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.9

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self.count(train)
        X = counted(train, self.items)
        events = np.maximum(np.diff(X.indptr), 1)
        root = np.sqrt(np.bincount(X.indices, X.data**2, self.items)).astype(np.float32)
        Y = sparse.diags_array(events.astype(np.float32) ** -self.config.active) @ X
        mine = X.T.tocsr()
        cost = np.cumsum(mine @ events)
        start = 0
        kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        while start < self.items and not clock.stopped():
            stop = max(start + 1, int(np.searchsorted(cost, (cost[start - 1] if start else 0) + ENTRIES, side="right")))
            kept += self._nearest(start, (mine[start:stop] @ Y).tocsr(), root)
            start = stop
        if clock.stopped():
            return
        by, of, weight = (np.concatenate(each) for each in zip(*kept, strict=True))
        S = sparse.csr_array((weight, (of, by)), (self.items, self.items))
        self.near[: S.nnz], self.weight[: S.nnz] = torch.from_numpy(S.indices), torch.from_numpy(S.data)
        self.offsets.copy_(torch.from_numpy(S.indptr))
        if valid is not None and self.config.half_life is None:
            valid = valid.thinned(TRIED)
            gains = []
            for half in HALVES:
                self.life.fill_(half)
                gains.append(gain(self, valid))
            self.life.fill_(HALVES[int(np.argmax(gains))])

    def _nearest(self, start: int, block: Any, root: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(item, its nearest, how near) of the items from `start` on. block: their rows of X'WX. The last digit does not decide."""
        block.sort_indices()
        for i, (a, b) in enumerate(zip(block.indptr, block.indptr[1:], strict=False), start):
            ids = block.indices[a:b]
            near = (block.data[a:b] / (root[i] * root[ids] + self.config.shrink)).round(7) * (ids != i)
            order = np.argsort(-near, kind="stable")[: self.config.neighbours]
            order = order[near[order] > 0]
            yield np.full(len(order), i), ids[order], near[order]

    def scores(self, batch: Batch) -> Tensor:
        """(B, I) float64."""
        history = batch["history"]
        age = history.offsets[1:][history.owners] - 1 - torch.arange(len(history.values), device=history.values.device)
        decay = 0.5 ** (age / self.life).double()
        if (by := weights(batch)) is not None:
            decay = decay * by
        H = _rows(decay, history.values, history.offsets, (len(history), self.items))
        S = _rows(self.weight.double(), self.near, self.offsets, (self.items, self.items))
        return torch.from_numpy((H @ S).toarray()).to(decay.device) + self.before()

    def flops(self) -> float:
        return 2.0 * 50 * self.config.neighbours  # of a usual history


def _rows(values: Tensor, columns: Tensor, offsets: Tensor, shape: tuple[int, int]) -> Any:
    """A sparse matrix of scipy's, whose product of sixty million pairs takes .7 s where index_add takes six."""
    return sparse.csr_array(tuple(each.cpu().numpy() for each in (values, columns, offsets)), shape)
