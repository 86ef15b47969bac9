"""How good rankings are. y: (B,) how many true items each user has; rank: (B, R) their places, 1 the first, the best first, then 0: not at
all, which is a miss. w: (B, D) how often each user counts.

All are means over users. Places are among all items that the user has not had: figures over sampled negatives, which many papers gave, are
several times higher and cannot be compared (Krichene and Rendle 2020). Binary relevance, as in TREC's evaluator.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import mean, metric

AT = (5, 10, 20)


def _hits(rank: Array, k: int) -> Array:
    """(B, R) bool: is it among the first k?"""
    return (rank > 0) & (rank <= k)


@metric("max", at=AT)
def ndcg(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Are the true items near the top of the first k? Each gains 1 / log2(1 + place), by what the best possible list gains."""
    gain = (_hits(rank, k) / np.log2(1.0 + np.maximum(rank, 1))).sum(1)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(2.0 + np.arange(k)))])[np.minimum(y, k)]
    return mean(gain / np.maximum(ideal, 1e-12), w)


@metric("max", at=AT)
def recall(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Share of a user's true items that are among the first k; of one true item, the hit rate."""
    return mean(_hits(rank, k).sum(1) / np.maximum(y, 1), w)


@metric("max", at=AT)
def precision(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Share of the first k that are true items."""
    return mean(_hits(rank, k).sum(1) / k, w)


@metric("max", at=AT)
def hit_rate(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Share of users with a true item among the first k."""
    return mean(np.asarray(_hits(rank, k).any(1)), w)


@metric("max", at=AT)
def map(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Mean average precision: the precision at the place of each true item among the first k, by the number that could be there."""
    found = np.arange(1, rank.shape[1] + 1)  # the j-th true item stands at its place with j true ones up to it
    return mean((_hits(rank, k) * found / np.maximum(rank, 1)).sum(1) / np.maximum(np.minimum(y, k), 1), w)


@metric("max")
def mrr(y: Array, rank: Array, w: Array) -> Array:
    """Mean of 1 / the place of the first true item in the whole list (reciprocal rank)."""
    return mean((rank[:, 0] > 0) / np.maximum(rank[:, 0], 1), w)
