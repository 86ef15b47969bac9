"""How well spans are found: exactly, from first to last token, and of the right label (seqeval's strict mode).

y: (N, L + 1) how many spans of each label each row has, and how many tokens; v: (N, 2, L + 1) how many were said, and how many of those
were right, of each label, the last of each the tokens; w: (N, D) how often each row counts.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("max")
def f1(y: Array, v: Array, w: Array) -> Array:
    """Harmonic mean of precision and recall, over the spans of all labels in one pot."""
    return 2 * _sum(v[:, 1, :-1], w) / (_sum(v[:, 0, :-1], w) + _sum(y[:, :-1], w))


@metric("max")
def precision(y: Array, v: Array, w: Array) -> Array:
    """Of the spans that were said, how many are right."""
    return _sum(v[:, 1, :-1], w) / _sum(v[:, 0, :-1], w)


@metric("max")
def recall(y: Array, v: Array, w: Array) -> Array:
    """Of the spans that are there, how many were found."""
    return _sum(v[:, 1, :-1], w) / _sum(y[:, :-1], w)


@metric("max")
def accuracy(y: Array, v: Array, w: Array) -> Array:
    """Share of tokens with the right tag."""
    return _sum(v[:, 1, -1:], w) / _sum(y[:, -1:], w)


def f1_of(y: Array, v: Array, w: Array, *, c: int) -> Array:
    """Of label c; no value where it neither is there nor was said."""
    return 2 * _sum(v[:, 1, c : c + 1], w) / (_sum(v[:, 0, c : c + 1], w) + _sum(y[:, c : c + 1], w))


def _sum(counts: Array, w: Array) -> Array:
    """Over all rows and labels, (D,). Sums, not means: a mean of means would weigh a short row as a long one."""
    return np.asarray(counts.sum(1), np.float64) @ w
