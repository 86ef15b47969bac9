"""How good class probabilities are. y: (N,) class numbers from 0; p: (N, C) probabilities.

Averages over classes ("macro") run over the classes that these rows hold: one that is absent can be neither right nor wrong.
Where there are two classes, precision, recall and f1 are those of the second one (class 1); with more they have no value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from luban.core.registry import Later
from luban.metrics import metric

sk = Later("sklearn.metrics")


@metric("max", share=True)
def accuracy(y: Array, p: Array) -> float | None:
    return float(np.mean(p.argmax(1) == y))


@metric("max", share=True)
def balanced_accuracy(y: Array, p: Array) -> float | None:
    return recall_macro(y, p)  # sklearn's own says the same, with a warning for each class that is predicted but absent


@metric("max", share=True)
def precision_macro(y: Array, p: Array) -> float | None:
    return sk.precision_score(y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0)


@metric("max", share=True)
def recall_macro(y: Array, p: Array) -> float | None:
    return sk.recall_score(y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0)


@metric("max", share=True)
def f1_macro(y: Array, p: Array) -> float | None:
    return sk.f1_score(y, p.argmax(1), labels=np.unique(y), average="macro", zero_division=0)


@metric("max", share=True)
def f1_weighted(y: Array, p: Array) -> float | None:
    return sk.f1_score(y, p.argmax(1), labels=np.unique(y), average="weighted", zero_division=0)


@metric("max", share=True)
def precision(y: Array, p: Array) -> float | None:
    return sk.precision_score(y, p.argmax(1), zero_division=0) if p.shape[1] == 2 else None


@metric("max", share=True)
def recall(y: Array, p: Array) -> float | None:
    return sk.recall_score(y, p.argmax(1), zero_division=0) if p.shape[1] == 2 and y.any() else None


@metric("max", share=True)
def f1(y: Array, p: Array) -> float | None:
    return sk.f1_score(y, p.argmax(1), zero_division=0) if p.shape[1] == 2 and y.any() else None


@metric("max", share=True)
def roc_auc(y: Array, p: Array) -> float | None:
    """Of class 1; with more than two classes the mean of each one against the rest."""
    return _one_against_rest(y, p, sk.roc_auc_score)


@metric("max", share=True)
def pr_auc(y: Array, p: Array) -> float | None:
    """Average precision (the area under the precision-recall steps); with more than two classes the mean over them."""
    return _one_against_rest(y, p, sk.average_precision_score)


@metric("max", share=True)
def mcc(y: Array, p: Array) -> float | None:
    """Matthews correlation: -1..1, 0 for guessing, however unequal the classes."""
    return sk.matthews_corrcoef(y, p.argmax(1)) if len(np.unique(y)) > 1 else None


@metric("min")
def log_loss(y: Array, p: Array) -> float | None:
    """In nats."""
    return sk.log_loss(y, p, labels=np.arange(p.shape[1]))


@metric("min")
def brier(y: Array, p: Array) -> float | None:
    """Brier 1950: squared error of the probabilities, summed over the classes; halved for two, as scikit-learn has it: 0..1."""
    score = np.square(p - (np.arange(p.shape[1]) == y[:, None])).sum(1).mean()
    return score / 2 if p.shape[1] == 2 else score


@metric("min")
def ece(y: Array, p: Array) -> float | None:
    """Expected calibration error, eq. (3) of Guo et al. 2017: mean |accuracy - confidence| over 15 equal bins of confidence."""
    confidence, right = p.max(1), p.argmax(1) == y
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = np.bincount(bins, right, 15) - np.bincount(bins, confidence, 15)
    return np.abs(gaps).sum() / len(y)


def _one_against_rest(y: Array, p: Array, score: Callable[[Array, Array], float]) -> float | None:
    """The mean of `score` over the classes that some of these rows have and others have not; of class 1 alone where there are two."""
    counts = np.bincount(y, minlength=p.shape[1])
    classes = [c for c in np.flatnonzero((counts > 0) & (counts < len(y))) if p.shape[1] > 2 or c == 1]
    return float(np.mean([score(y == c, p[:, c]) for c in classes])) if classes else None
