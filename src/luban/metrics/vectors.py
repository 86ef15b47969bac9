"""How good vectors of words and rows are, on rows that training did not have. y: not looked at; v: (B, 4), a row each: the nats that its
pairs of neighbours cost, the number of those pairs, 1 / the rank of its other half, and 1 where it was asked for that; w: (B, D) how often
each row counts.
"""

from __future__ import annotations

from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def pair_loss(y: Array, v: Array, w: Array) -> Array:
    """Nats of a true neighbour and five drawn ones, -log p(near) - sum log p(not near): the loss of negative sampling. 2.70 is what the
    share of one in six gives, whatever the words."""
    return (v[:, 0] @ w) / (v[:, 1] @ w)


@metric("max")
def half_mrr(y: Array, v: Array, w: Array) -> Array:
    """The mean of 1 / rank of a row's second half among those of a hundred rows, by the cosine with its first half. 0.05 by chance."""
    return (v[:, 2] @ w) / (v[:, 3] @ w)
