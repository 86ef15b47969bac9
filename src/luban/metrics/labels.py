"""How good the probabilities of independent labels are. y: (N, L) 0 or 1; p: (N, L) probabilities, yes from .5 on; w: (N, D) how often each
row counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from luban.metrics import mean, metric
from luban.metrics.classification import area_under_roc, average_precision


@metric("max")
def f1_micro(y: Array, p: Array, w: Array) -> Array:
    """F1 over all decisions in one pot."""
    yes = p >= 0.5
    return 2 * mean((yes & (y == 1)).sum(1), w) / mean(yes.sum(1) + y.sum(1), w)


@metric("max")
def f1_macro(y: Array, p: Array, w: Array) -> Array:
    """Mean F1 of the labels that some of these rows have."""
    return _mean_known([f1_of(y, p, w, c=int(c)) for c in np.flatnonzero(y.any(0))], w)


def f1_of(y: Array, p: Array, w: Array, *, c: int) -> Array:
    """Of label c; no value where no row has it."""
    yes, true = p[:, c] >= 0.5, y[:, c] == 1
    held = mean(true, w)
    return np.where(held > 0, 2 * mean(yes & true, w) / (mean(yes, w) + held), np.nan)


@metric("max")
def f1_samples(y: Array, p: Array, w: Array) -> Array:
    """Mean F1 of the rows; a row without labels for which none is predicted counts as right."""
    yes = p >= 0.5
    both, either = (yes & (y == 1)).sum(1), yes.sum(1) + y.sum(1)
    return mean(np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0), w)


@metric("max")
def subset_accuracy(y: Array, p: Array, w: Array) -> Array:
    """Share of rows with every label right."""
    return mean(((p >= 0.5) == y).all(1), w)


@metric("min")
def hamming_loss(y: Array, p: Array, w: Array) -> Array:
    """Share of wrong decisions."""
    return mean(((p >= 0.5) != y).mean(1), w)


@metric("max")
def pr_auc(y: Array, p: Array, w: Array) -> Array:
    """Mean average precision (mAP) of the labels that some of these rows have and others have not."""
    return _areas(y, p, w, average_precision)


@metric("max")
def roc_auc(y: Array, p: Array, w: Array) -> Array:
    """Mean ROC-AUC of the labels that some of these rows have and others have not."""
    return _areas(y, p, w, area_under_roc)


@metric("min")
def log_loss(y: Array, p: Array, w: Array) -> Array:
    """Mean over rows and labels, in nats."""
    return mean(nats(y, p).mean(1), w)


def nats(y: Array, p: Array) -> Array:
    """-log p(truth) of each label, (N, L)."""
    p = np.clip(p, np.finfo(p.dtype).eps, 1 - np.finfo(p.dtype).eps)
    return -np.where(y == 1, np.log(p), np.log1p(-p))


def _areas(y: Array, p: Array, w: Array, area: Callable[[Array, Array, Array], Array]) -> Array:
    return _mean_known([area(y[:, c] == 1, p[:, c], w) for c in np.flatnonzero(y.any(0) & ~y.all(0))], w)


def _mean_known(values: list[Array], w: Array) -> Array:
    """The mean over labels of those that have a value, (D,)."""
    if not values:
        return np.full(w.shape[1], np.nan)
    found = np.stack(values)
    return np.nansum(found, 0) / (~np.isnan(found)).sum(0)
