"""A vector for each word, and one for each row of words: what models of word vectors have in common, however they learn them.

    row -> its words' vectors, weighted (rare words more) -> their mean (B, D) -> less what all rows have in common

`scores` is how strongly a word calls for another beside it, the logit of negative sampling (Mikolov et al. 2013, arXiv 1310.4546, eq. 4).
So that models may be compared whatever they were fitted to, three numbers are fitted on validation rows: a scale, a constant and a weight
for how frequent the other is. Letters: B rows, V vocabulary, D width, P pairs of neighbours, K others drawn for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.errors import UserError

WINDOW = 5
"""Words to each side that a model is judged by, and as many others are drawn beside each true one (word2vec's usual numbers)."""
PIECE = 4096
"""Rows at a time, and pairs times four: 50 MB at a width of 100."""
_RARE = 1e-3
"""SIF's a: words more frequent than this weigh less (Arora et al. 2017, "A simple but tough-to-beat baseline", section 3)."""
_PRIMES = (0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9, 0x14D049BB133111EB, 0x2545F4914F6CDD1D)


class WordVectors(Model):
    """A subclass writes `learn`, which fills `vectors` and `outer`; a word that it has no vector for stays 0."""

    accepts = frozenset({"tokens"})
    needs = frozenset({"tokens"})
    gives = frozenset({"vectors"})
    solves = True

    vectors: Tensor
    outer: Tensor
    share: Tensor
    common: Tensor
    fitted: Tensor

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        ((self.key, self.field),) = schema.inputs.items()
        V, D = self.field.size, config.width
        self.register_buffer("vectors", torch.zeros(V, D))
        self.register_buffer("outer", torch.zeros(V, D))  # of a word as the neighbour of another
        self.register_buffer("share", torch.zeros(V, dtype=torch.float64))  # of the training words; the id 0 has none
        self.register_buffer("common", torch.zeros(D))
        self.register_buffer("fitted", torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))

    # ---------------------------------------------------------------- answering

    def known(self) -> Tensor:
        """(V,) bool: has the word a vector?"""
        return self.vectors.any(1)

    def forward(self, batch: Batch) -> Tensor:
        """(B, D); 0 for a row without a known word."""
        mean = self._mean(batch[self.key])
        return mean - (mean @ self.common).unsqueeze(1) * self.common

    def _mean(self, tokens: Ragged) -> Tensor:
        weights = self._weights()[tokens.values]
        rows = F.embedding_bag(tokens.values, self.vectors, tokens.offsets[:-1], mode="sum", per_sample_weights=weights)
        total = torch.zeros(len(tokens), device=weights.device)
        total.index_add_(0, torch.arange(len(tokens), device=weights.device).repeat_interleave(tokens.lengths), weights)
        return rows / total.clamp(min=1e-12).unsqueeze(1)

    def _weights(self) -> Tensor:
        """(V,) how much each word counts in its row; 0 without a vector."""
        if self.config.weighting == "sif":
            weights = _RARE / (_RARE + self.share)
        else:
            weights = -self.share.clamp(min=1e-12).log() if self.config.weighting == "idf" else torch.ones_like(self.share)
        return torch.where(self.known(), weights, 0.0).float()

    def of(self, word: str) -> Tensor:
        """The vector (D,) of a word, or of several as the mean of theirs; 0 where it is not known."""
        tokens: Any = self.field.encode(pl.Series(self.field.columns[0], [word]))
        ids = tokens.values[self.known()[tokens.values]]
        return F.normalize(self.vectors[ids], dim=1).mean(0) if len(ids) else self.spelled(word)

    def spelled(self, word: str) -> Tensor:
        """The vector (D,) of a word that training did not have, by how it is written; 0 where that says nothing."""
        return torch.zeros(self.vectors.shape[1])

    def scores(self, word: Tensor, other: Tensor) -> Tensor:
        """(P, K): the logit that each of `other` (P, K) stands near `word` (P,)."""
        scale, constant, frequent = self.fitted
        near = torch.einsum("pd,pkd->pk", self.vectors[word], self.outer[other]).double()
        return scale * near + constant + frequent * self._rarity()[other]

    def _rarity(self) -> Tensor:
        return self.share.clamp(min=1e-9).log()

    # ---------------------------------------------------------------- learning

    def learn(self, train: Examples, counts: Tensor, clock: Clock) -> None:
        """Fills `vectors` and `outer`, (V, D) each. counts: (V,) of the training words, 0 for the id 0."""
        raise NotImplementedError

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        counts = torch.zeros(self.field.size, dtype=torch.int64)
        for batch in train.pieces(PIECE):
            counts += torch.bincount(batch[self.key].values, minlength=len(counts))
        counts[0] = 0
        known = int((counts >= self.config.min_count).sum())
        if known < 2:
            raise UserError(f"{known} different words stand {self.config.min_count} times or more in the training rows, and a vector is "
                            "learned from a word's neighbours: give more rows, or --set model.min_count=1.")  # fmt: skip
        self.share.copy_(counts / counts.sum())
        self.learn(train, counts, clock)
        if not clock.stopped():
            some = train.thinned(20_000)
            rows = torch.cat([self._mean(batch[self.key]) for batch in some.pieces(PIECE)])
            self.common.copy_(torch.linalg.eigh((rows.T @ rows).double())[1][:, -1])  # the first direction of the rows, not centred
            self._fit(valid if valid is not None and len(valid) else train)

    def _fit(self, rows: Examples) -> None:
        """The three numbers of `scores`, by Newton's method on some 100,000 pairs of these rows."""
        X, y = [], []
        for word, other, _ in near(rows.thinned(4_000).whole()[self.key], self.share, 100_000):
            dots = torch.einsum("pd,pkd->pk", self.vectors[word], self.outer[other]).double()
            X.append(torch.stack([dots, torch.ones_like(dots), self._rarity()[other]], 2).flatten(0, 1))
            y.append((torch.arange(other.shape[1]) == 0).double().expand(other.shape).flatten())
        if not X:
            return
        x, truth, found = torch.cat(X), torch.cat(y), self.fitted.clone()
        found[:] = 0.0
        for _ in range(25):
            p = (x @ found).sigmoid()
            bent = (x * (p * (1 - p)).unsqueeze(1)).T @ x + 1e-6 * len(x) * torch.eye(3, dtype=torch.float64)
            found -= torch.linalg.solve(bent, x.T @ (p - truth) + 1e-6 * len(x) * found)
        self.fitted.copy_(found)

    def flops(self) -> float:
        """Of a row of a hundred words: their mean, and ten pairs each with the others drawn."""
        return 2.0 * 100 * self.config.width * (1 + 2 * WINDOW * (WINDOW + 1))


# ---------------------------------------------------------------- pairs of neighbours


def near(tokens: Ragged, share: Tensor, most: int | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(word (P,), other (P, 1 + WINDOW), row (P,)): each word with a true neighbour of its row and WINDOW drawn by share ** 0.75.

    What is drawn follows from the pair and its place in the row alone, so that every model is judged by the same. most: pairs, about.
    """
    values, row = tokens.values, torch.arange(len(tokens), device=tokens.values.device).repeat_interleave(tokens.lengths)
    place = torch.arange(len(values), device=values.device) - tokens.offsets[:-1].repeat_interleave(tokens.lengths)
    chances = (share**0.75).cumsum(0)
    step = max(1, 2 * WINDOW * len(values) // most) if most else 1
    for d in range(1, WINDOW + 1):
        both = torch.nonzero((row[d:] == row[:-d]) & (values[d:] > 0) & (values[:-d] > 0)).squeeze(1)[::step]
        for word, other in ((both, both + d), (both + d, both)):
            for a, b in zip(word.split(4 * PIECE), other.split(4 * PIECE), strict=True):
                drawn = _drawn(values[a], values[b], place[a], chances)
                yield values[a], torch.cat([values[b].unsqueeze(1), drawn], 1), row[a]


def _drawn(word: Tensor, other: Tensor, place: Tensor, chances: Tensor) -> Tensor:
    """(P, WINDOW) ids: a hash of the pair as a number from 0 to 1, and the id in whose share it lies."""
    mixed = (word * _PRIMES[0] + other * _PRIMES[1] + place * _PRIMES[2]).unsqueeze(1)
    mixed = mixed + torch.arange(1, WINDOW + 1, device=word.device) * _PRIMES[3]  # int64 wraps around, which is what is wanted
    for prime in _PRIMES[1:3]:
        mixed = (mixed ^ (mixed >> 29)) * prime
    chance = ((mixed ^ (mixed >> 32)) & (2**53 - 1)).double() / 2**53
    return torch.searchsorted(chances, chance * chances[-1], right=True).clamp(max=len(chances) - 1)
