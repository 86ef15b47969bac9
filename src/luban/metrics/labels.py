"""How good the probabilities of independent labels are. y: (N, L) 0 or 1; p: (N, L) probabilities, yes from .5 on."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.core.registry import Later
from luban.metrics import metric

sk = Later("sklearn.metrics")


@metric("max", share=True)
def f1_micro(y: Array, p: Array) -> float | None:
    """F1 over all decisions in one pot. In numpy, as each evaluation needs it: .1 ms for scikit-learn's 7 (10,000 x 6)."""
    yes = p >= 0.5
    decided = yes.sum() + y.sum()
    return 2 * (yes & (y == 1)).sum() / decided if decided else None


@metric("max", share=True)
def f1_macro(y: Array, p: Array) -> float | None:
    """Mean F1 of the labels that some of these rows have."""
    return sk.f1_score(y, p >= 0.5, labels=np.flatnonzero(y.any(0)), average="macro", zero_division=0) if y.any() else None


@metric("max", share=True)
def f1_samples(y: Array, p: Array) -> float | None:
    """Mean F1 of the rows; a row without labels for which none is predicted counts as right."""
    return sk.f1_score(y, p >= 0.5, average="samples", zero_division=1)


@metric("max", share=True)
def subset_accuracy(y: Array, p: Array) -> float | None:
    """Share of rows with every label right."""
    return ((p >= 0.5) == y).all(1).mean()


@metric("min")
def hamming_loss(y: Array, p: Array) -> float | None:
    """Share of wrong decisions."""
    return ((p >= 0.5) != y).mean()


@metric("max", share=True)
def pr_auc(y: Array, p: Array) -> float | None:
    """Mean average precision (mAP) of the labels that some of these rows have and others have not."""
    mixed = np.flatnonzero(y.any(0) & ~y.all(0))
    return float(np.mean([sk.average_precision_score(y[:, i], p[:, i]) for i in mixed])) if len(mixed) else None


@metric("max", share=True)
def roc_auc(y: Array, p: Array) -> float | None:
    """Mean ROC-AUC of the labels that some of these rows have and others have not."""
    mixed = np.flatnonzero(y.any(0) & ~y.all(0))
    return float(np.mean([sk.roc_auc_score(y[:, i], p[:, i]) for i in mixed])) if len(mixed) else None


@metric("min")
def log_loss(y: Array, p: Array) -> float | None:
    """Mean over rows and labels, in nats."""
    p = np.clip(p, np.finfo(p.dtype).eps, 1 - np.finfo(p.dtype).eps)
    return -np.where(y == 1, np.log(p), np.log1p(-p)).mean()
