"""How good rankings are. y: (B,) the true items; rank: (B,) where each was ranked, 1 the first; 0: not at all, which is a miss.

One true item an example, ranked among all that the user has not seen: recall is then the hit rate, and nDCG has an ideal of 1. Figures
over sampled negatives, which many papers gave, are several times higher and cannot be compared (Krichene and Rendle 2020).
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric

AT = (5, 10, 20)


@metric("max", share=True, at=AT)
def ndcg(y: Array, rank: Array, *, k: int) -> float | None:
    """Is the true item near the top of the first k? 1 at the first place, 1 / log2(1 + rank) below, 0 beyond k."""
    hit = (rank > 0) & (rank <= k)
    return float((hit / np.log2(1.0 + np.where(hit, rank, 1))).mean())


@metric("max", share=True, at=AT)
def hit_rate(y: Array, rank: Array, *, k: int) -> float | None:
    """Share of users whose true item is among the first k."""
    return float(((rank > 0) & (rank <= k)).mean())


@metric("max", share=True)
def mrr(y: Array, rank: Array) -> float | None:
    """Mean of 1 / rank over the whole list (reciprocal rank)."""
    return float(((rank > 0) / np.maximum(rank, 1)).mean())
