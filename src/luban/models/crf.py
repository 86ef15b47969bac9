"""A conditional random field over what is written around each token, without a hidden layer: what networks for names had to beat.

Features are the usual ones: the tokens up to two places away, their pairs, and the affixes and shapes of the neighbours where those are
read (Sutton and McCallum 2012, arXiv 1011.4088, sec. 2.5 has such a table). The loss is convex, and solved on all rows at once with the
penalties of crfsuite, l1 |w| + l2 w^2, in nats of all rows. Letters: B rows, T tokens, N tokens of all rows, S tags, W features a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch, Examples, Ragged, padded
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.notes import say
from luban.core.registry import Later
from luban.layers.crf import slopes
from luban.layers.rules import within
from luban.layers.sequences import steps, tags_asked, the_tokens
from luban.layers.sized import take_sizes
from luban.optim.owlqn import least

WINDOWS = ((), (0,), (-1,), (1,), (-2,), (2,), (-1, 0), (0, 1), (-1, 1), (-2, -1), (1, 2))
"""Places whose tokens are one feature together; that of no place is how frequent a tag is."""
PRIMES = (1_000_003, 998_244_353)
PIECE = 256
"""Rows whose features are made at a time."""

sparse = Later("scipy.sparse")


class Crf(Model):
    accepts = frozenset({"words"})
    gives = frozenset({"tags"})
    ragged = True
    solves = True
    ids: Tensor
    weights: Tensor

    @dataclass(frozen=True)
    class Config:
        l1: float = 0.1
        """Penalty of a weight's size: the larger, the more features are left without one. crfsuite's c1."""
        l2: float = 0.1
        """Penalty of its square. crfsuite's c2."""
        min_count: int = 2
        """A feature of fewer training tokens is not learned."""
        iterations: int = 200
        """Most steps of L-BFGS; Weibo NER needs 126."""

        def __post_init__(self) -> None:
            within(self, {"l1": (0.0, 1e6), "l2": (0.0, 1e6), "min_count": (1, 1_000_000), "iterations": (1, 100_000)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, field = the_tokens(schema)
        words: Any = field
        self.single = words.single
        self.register_buffer("ids", torch.zeros(1, dtype=torch.int64))  # of the features with a weight, increasing
        self.register_buffer("weights", torch.zeros(1, head.size))
        self.steps = steps(head)
        self.register_load_state_dict_pre_hook(take_sizes)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.6 if tags_asked(head) else 0.0

    def forward(self, batch: Batch) -> Tensor:
        """(B, T, S)"""
        found = self._features(*padded(batch[self.key]))
        place = torch.searchsorted(self.ids, found).clamp(max=len(self.ids) - 1)
        return torch.where((self.ids[place] == found).unsqueeze(3), self.weights[place], 0.0).sum(2)

    def _features(self, ids: Tensor, there: Tensor) -> Tensor:
        """(B, T, W): the number of each window, and of each further id of the token and of its neighbours, hashed with what stands there.
        Those of a character are its pairs, which windows have already."""
        B, T, columns = ids.shape
        around = F.pad(torch.where(there.unsqueeze(2), ids, -1), (0, 0, 2, 2), value=-1)  # place p of a token stands at p + 2
        wanted = [[(place, 0) for place in window] for window in WINDOWS]
        if not self.single:
            wanted += [[(place, column)] for column in range(1, columns) for place in (-1, 0, 1)]
        made = []
        for number, window in enumerate(wanted, 1):
            mixed = torch.full((B, T), number, device=ids.device)
            for place, column in window:
                mixed = mixed * PRIMES[0] + (around[:, 2 + place : 2 + place + T, column] + 2) * PRIMES[1]
            made.append(mixed)
        return torch.stack(made, 2)

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        rows, S = train.whole(), self.head.size
        longest_first = rows[self.key].lengths.argsort(descending=True, stable=True)
        words, tags = (rows[key][longest_first] for key in (self.key, self.head.parts[0].key))
        place = torch.arange(len(words.values)) - words.offsets[words.owners]
        by_place, going = place.argsort(stable=True), place.bincount().tolist()
        x, ids = self._design(torch.cat([self._flat(words[some]) for some in torch.arange(len(words)).split(PIECE)])[by_place])
        back, y, n = x.T.tocsr(), tags.values[by_place], len(ids) * S
        say(f"solving for {len(ids):,} features of {len(y):,} tokens")

        def loss(w: Tensor) -> tuple[float, Tensor]:
            emissions = torch.from_numpy(x @ w[:n].view(-1, S).numpy())
            value, by_emission, by_step = slopes(emissions, y, going, w[n:].view(S + 1, S + 1))
            if self.steps is None:  # each token by itself is a chain whose steps are all alike
                by_step = torch.zeros_like(by_step)
            g = torch.cat([torch.from_numpy(back @ by_emission.numpy()).flatten(), by_step.flatten()])
            return value + self.config.l2 * float(w @ w), g + 2 * self.config.l2 * w

        until, zero = clock.seconds_left() * 0.1, torch.zeros(n + (S + 1) ** 2)
        w, _ = least(loss, zero, self.config.l1, self.config.iterations, lambda: clock.stopped() or clock.seconds_left() < until)
        weights = w[:n].view(-1, S)
        kept = weights.any(1)
        kept[0] = True  # none at all could not be asked
        self.ids, self.weights = ids[kept], weights[kept]
        if self.steps is not None:
            self.steps.data.copy_(w[n:].view(S + 1, S + 1))

    def _flat(self, words: Ragged) -> Tensor:
        """(N, W)"""
        ids, there = padded(words)
        return self._features(ids, there)[there & (words.lengths > 0).unsqueeze(1)]

    def _design(self, found: Tensor) -> tuple[Any, Tensor]:
        """(which features (N, W) each token has, as a matrix (N, n) of 0 and 1; their ids (n,)), but for those of too few tokens."""
        ids, at, counts = found.unique(return_inverse=True, return_counts=True)
        often = counts >= self.config.min_count
        often[0] |= not often.any()  # of very few tokens
        column = torch.where(often, often.cumsum(0) - 1, -1)[at]
        there = column >= 0
        offsets = np.concatenate([[0], np.cumsum(there.sum(1).numpy())])
        shape = (len(found), int(often.sum()))
        entries = column[there].numpy()
        return sparse.csr_matrix((np.ones(len(entries), np.float32), entries, offsets), shape=shape), ids[often]
