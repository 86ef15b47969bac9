"""How good rankings are. y: (B,) the true items; rank: (B,) where each was ranked, 1 the first; 0: not at all, which is a miss.
w: (B, D) how often each counts.

One true item an example, ranked among all that the user has not seen: recall is then the hit rate, and nDCG has an ideal of 1. Figures
over sampled negatives, which many papers gave, are several times higher and cannot be compared (Krichene and Rendle 2020).
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import mean, metric

AT = (5, 10, 20)


@metric("max", at=AT)
def ndcg(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Is the true item near the top of the first k? 1 at the first place, 1 / log2(1 + rank) below, 0 beyond k."""
    hit = (rank > 0) & (rank <= k)
    return mean(hit / np.log2(1.0 + np.where(hit, rank, 1)), w)


@metric("max", at=AT)
def hit_rate(y: Array, rank: Array, w: Array, *, k: int) -> Array:
    """Share of users whose true item is among the first k."""
    return mean((rank > 0) & (rank <= k), w)


@metric("max")
def mrr(y: Array, rank: Array, w: Array) -> Array:
    """Mean of 1 / rank over the whole list (reciprocal rank)."""
    return mean((rank > 0) / np.maximum(rank, 1), w)
