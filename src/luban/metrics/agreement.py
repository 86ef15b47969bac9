"""How well scores agree with those that people gave, whatever the scale of either. y, v: (N,); w: (N, D) how often each counts."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("max")
def spearman(y: Array, v: Array, w: Array) -> Array:
    """The correlation of the ranks: 1 where both have the same order, 0 where one says nothing of the other. Equals share their rank."""
    return _correlation(_ranks(y, w), _ranks(v, w), w)


@metric("max")
def pearson(y: Array, v: Array, w: Array) -> Array:
    """The correlation of the values: 1 where one is a straight line of the other."""
    return _correlation(np.broadcast_to(y[:, None], w.shape), np.broadcast_to(v[:, None], w.shape), w)


def _ranks(x: Array, w: Array) -> Array:
    """(N, D), from 0 to about 1: where the middle of its equals stands in each sample."""
    _, group = np.unique(x, return_inverse=True)
    counts = np.zeros((group.max() + 1, w.shape[1]))
    np.add.at(counts, group, w)
    return ((counts.cumsum(0) - counts / 2) / counts.sum(0))[group]


def _correlation(a: Array, b: Array, w: Array) -> Array:
    a, b = (each - (each * w).sum(0) / w.sum(0) for each in (a, b))
    return (a * b * w).sum(0) / np.sqrt((a * a * w).sum(0) * (b * b * w).sum(0))
