"""What lists of recommendations are like, whether right or not. had: (I,) how many users of training had each item, by the most that any
had, that of 0 aside; items: (B, R) the lists, the best first, 0 where there is none; w: (B, D) how often each user counts.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric

AT = (10,)


def _counts(had: Array, items: Array, w: Array, k: int) -> Array:
    """(I, D): in how many lists each item is; none of them is item 0."""
    found = np.stack([np.bincount(items[:, :k].ravel(), np.repeat(each, items[:, :k].shape[1]), len(had)) for each in w.T], 1)
    found[0] = 0
    return found


@metric("max", at=AT)
def item_coverage(had: Array, items: Array, w: Array, *, k: int) -> Array:
    """Share of all items that are in somebody's list: how much of the catalogue is ever shown."""
    return (_counts(had, items, w, k)[1:] > 0).mean(0)


@metric("max", at=AT)
def diversity(had: Array, items: Array, w: Array, *, k: int) -> Array:
    """Share of a user's list that another's has not, on average over pairs of users: 0 where all get the same."""
    counts, users = _counts(had, items, w, k), w.sum(0)
    pairs, length = (counts * (counts - 1)).sum(0), counts.sum(0) / users
    return np.where(users > 1, 1 - pairs / (users * (users - 1)) / length, np.nan)


@metric("max", at=AT)
def novelty(had: Array, items: Array, w: Array, *, k: int) -> Array:
    """How little known what is shown is: the mean of -log2 of an item's users by those of the most popular; 1 is half as many."""
    return _mean(-np.log2(np.maximum(had, 1e-12)), had, items, w, k)


@metric("min", at=AT)
def popularity(had: Array, items: Array, w: Array, *, k: int) -> Array:
    """How popular what is shown is: the mean of an item's users by those of the most popular; 1 where only that one is ever shown."""
    return _mean(had, had, items, w, k)


def _mean(of: Array, had: Array, items: Array, w: Array, k: int) -> Array:
    """Over all places of all lists."""
    counts = _counts(had, items, w, k)
    return (of[1:] @ counts[1:]) / counts.sum(0)
