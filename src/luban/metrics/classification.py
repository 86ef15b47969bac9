"""How good class probabilities are. y: (N,) class numbers from 0; p: (N, C) probabilities; w: (N, D) how often each row counts.

Averages over classes ("macro") run over the classes that these rows hold: one that is absent can be neither right nor wrong.
Where there are two classes, precision, recall and f1 are those of the second one (class 1); with more they have no value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from luban.core.registry import Later
from luban.metrics import mean, metric

sparse = Later("scipy.sparse")

MOST_AREAS = 20
"""Classes up to which the areas are resampled: each is sorted for itself, .07 s of 20,000 rows: a thousand would take minutes."""


@metric("max")
def accuracy(y: Array, p: Array, w: Array) -> Array:
    return mean(p.argmax(1) == y, w)


@metric("max")
def balanced_accuracy(y: Array, p: Array, w: Array) -> Array:
    return recall_macro(y, p, w)


@metric("max")
def precision_macro(y: Array, p: Array, w: Array) -> Array:
    right, true, chosen = _tallies(y, p, w)
    return _macro(_share(right, chosen), true)


@metric("max")
def recall_macro(y: Array, p: Array, w: Array) -> Array:
    right, true, _ = _tallies(y, p, w)
    return _macro(_share(right, true), true)


@metric("max")
def f1_macro(y: Array, p: Array, w: Array) -> Array:
    right, true, chosen = _tallies(y, p, w)
    return _macro(_share(2 * right, true + chosen), true)


@metric("max")
def f1_weighted(y: Array, p: Array, w: Array) -> Array:
    right, true, chosen = _tallies(y, p, w)
    return (_share(2 * right, true + chosen) * true).sum(0) / true.sum(0)


@metric("max")
def precision(y: Array, p: Array, w: Array) -> Array:
    right, _, chosen = _of(1, y, p, w)
    return _share(right, chosen) if p.shape[1] == 2 else _none(w)


@metric("max")
def recall(y: Array, p: Array, w: Array) -> Array:
    right, true, _ = _of(1, y, p, w)
    return right / true if p.shape[1] == 2 else _none(w)


@metric("max")
def f1(y: Array, p: Array, w: Array) -> Array:
    return f1_of(y, p, w, c=1) if p.shape[1] == 2 else _none(w)


def f1_of(y: Array, p: Array, w: Array, *, c: int) -> Array:
    """Of class c; no value where no row is of it."""
    right, true, chosen = _of(c, y, p, w)
    return np.where(true > 0, 2 * right / (true + chosen), np.nan)


@metric("max")
def roc_auc(y: Array, p: Array, w: Array) -> Array:
    """Of class 1; with more than two classes the mean of each one against the rest."""
    return _one_against_rest(y, p, w, area_under_roc)


@metric("max")
def pr_auc(y: Array, p: Array, w: Array) -> Array:
    """Average precision (the area under the precision-recall steps); with more than two classes the mean over them."""
    return _one_against_rest(y, p, w, average_precision)


@metric("max")
def mcc(y: Array, p: Array, w: Array) -> Array:
    """Matthews correlation: -1..1, 0 for guessing, however unequal the classes. R_K of Gorodkin 2004."""
    right, true, chosen = _tallies(y, p, w)
    n = true.sum(0)
    spread = np.sqrt(n**2 - (true**2).sum(0)), np.sqrt(n**2 - (chosen**2).sum(0))
    value = (right.sum(0) * n - (true * chosen).sum(0)) / (spread[0] * spread[1])
    return np.where((true > 0).sum(0) > 1, np.where(spread[1] > 0, value, 0.0), np.nan)


@metric("min")
def log_loss(y: Array, p: Array, w: Array) -> Array:
    """In nats."""
    return mean(nats(y, p), w)


def nats(y: Array, p: Array) -> Array:
    """-log p(true class) of each row, (N,)."""
    least = np.finfo(p.dtype).eps
    return -np.log(np.clip(p[np.arange(len(y)), y], least, 1 - least))


@metric("min")
def brier(y: Array, p: Array, w: Array) -> Array:
    """Brier 1950: squared error of the probabilities, summed over the classes; halved for two, as scikit-learn has it: 0..1."""
    score = np.square(p - (np.arange(p.shape[1]) == y[:, None])).sum(1)
    return mean(score / 2 if p.shape[1] == 2 else score, w)


@metric("min")
def ece(y: Array, p: Array, w: Array) -> Array:
    """Expected calibration error, eq. (3) of Guo et al. 2017: mean |accuracy - confidence| over 15 equal bins of confidence."""
    confidence = p.max(1).astype(np.float64)
    gaps = _sums(np.minimum((confidence * 15).astype(int), 14), (p.argmax(1) == y) - confidence, 15, w)
    return np.abs(gaps).sum(0) / w.sum(0)


# ---------------------------------------------------------------- counts


def _sums(group: Array, x: Array, n: int, w: Array) -> Array:
    """The sum of x (N,) in each of n groups: (n, D)."""
    return sparse.csr_array((np.asarray(x, np.float64), (group, np.arange(len(group)))), (n, len(group))) @ w


def _tallies(y: Array, p: Array, w: Array) -> tuple[Array, Array, Array]:
    """(rightly chosen, true, chosen) of each class, (C, D) each."""
    chosen, C = p.argmax(1), p.shape[1]
    return _sums(y, chosen == y, C, w), _sums(y, np.ones(len(y)), C, w), _sums(chosen, np.ones(len(y)), C, w)


def _of(c: int, y: Array, p: Array, w: Array) -> tuple[Array, Array, Array]:
    """(rightly chosen, true, chosen) of one class, (D,) each."""
    chosen, true = p.argmax(1) == c, y == c
    return (chosen & true).astype(np.float64) @ w, true.astype(np.float64) @ w, chosen.astype(np.float64) @ w


def _share(part: Array, whole: Array) -> Array:
    """0 where there is nothing to have a share of: a class that is never chosen has a precision of 0."""
    return np.where(whole > 0, part / whole, 0.0)


def _macro(values: Array, true: Array) -> Array:
    """The mean over the classes that are there, (C, D) -> (D,)."""
    return np.where(true > 0, values, 0.0).sum(0) / (true > 0).sum(0)


def _none(w: Array) -> Array:
    return np.full(w.shape[1], np.nan)


# ---------------------------------------------------------------- areas


def counts_above(y: Array, score: Array, w: Array) -> tuple[Array, Array]:
    """(true, false positives where all from a score upwards are called positive), (G, D) each, for each of G different scores, the highest
    first. y: (N,) bool."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of those with one score
    w, y = w[order], y[order]
    everything, true = np.cumsum(w, 0)[last], np.cumsum(w * y[:, None], 0)[last]
    return true, everything - true


def area_under_roc(y: Array, score: Array, w: Array) -> Array:
    true, false = counts_above(y, score, w)
    heights = true.copy()  # trapezoids: the mean of neighbouring heights
    heights[1:] += true[:-1]
    return (heights * np.diff(false, axis=0, prepend=0)).sum(0) / (2 * true[-1] * false[-1])


def average_precision(y: Array, score: Array, w: Array) -> Array:
    true, false = counts_above(y, score, w)
    everything = true + false
    steps = np.diff(true, axis=0, prepend=0)
    return (steps * np.divide(true, everything, out=np.zeros_like(true), where=everything > 0)).sum(0) / true[-1]


def _one_against_rest(y: Array, p: Array, w: Array, area: Callable[[Array, Array, Array], Array]) -> Array:
    """The mean of `area` over the classes that some of these rows have and others have not; of class 1 alone where there are two."""
    counts = np.bincount(y, minlength=p.shape[1])
    classes = [c for c in np.flatnonzero((counts > 0) & (counts < len(y))) if p.shape[1] > 2 or c == 1]
    if not classes or (w.shape[1] > 1 and len(classes) > MOST_AREAS):
        return _none(w)
    total, held = np.zeros(w.shape[1]), np.zeros(w.shape[1])
    for c in classes:
        value = area(y == c, p[:, c], w)
        total, held = total + np.nan_to_num(value), held + ~np.isnan(value)  # a draw may lack a rare class
    return total / held
