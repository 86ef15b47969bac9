"""Do training and test rows come from one source? A small model that can tell them apart says no, and by which columns."""

from __future__ import annotations

import math

import numpy as np
import torch

from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.checks.unseen import FOLDS, inputs_of, out_of_fold, sample
from luban.core.contract import Part
from luban.core.registry import Later
from luban.splitting import TEST, TRAIN

metrics = Later("sklearn.metrics")


def told_apart(look: Look) -> list[Finding]:
    """A classifier two-sample test (Lopez-Paz & Oquab 2017), where the test rows were not drawn but given, or a column or the time says
    which they are: out-of-fold ROC-AUC, its standard error that of Mann and Whitney. .5 is one source; told from .6 on (three standard
    errors aside), serious from .8."""
    part = look.rows.part
    train, test = np.flatnonzero(part == TRAIN), np.flatnonzero(part == TEST)
    if look.rows.facts["drawn"] or min(len(train), len(test)) < 10 * FOLDS:
        return []
    index = np.concatenate([sample(look, train), sample(look, test)])
    y = part[index] == TEST
    fields, batch = inputs_of(look, index, leave_out=look.config.time)
    if not fields:
        return []
    p = out_of_fold(fields, batch, Part("y0", "classes", 2, "cross_entropy"), torch.from_numpy(y + 1).long())
    auc = float(metrics.roc_auc_score(y, p[:, 1]))
    error = math.sqrt((len(y) + 1) / (12 * y.sum() * (~y).sum()))
    if auc - 3 * error <= 0.55:
        return []
    severity = SERIOUS if auc - 3 * error > 0.8 else DOUBT if auc - 3 * error > 0.6 else NOTE
    alone = sorted(((_alone(batch[key], y), each.columns[0]) for key, each in fields.items()), key=lambda pair: -pair[0])
    by = ", ".join(f"{name!r} ({score:.2f} alone)" for score, name in alone[:3] if score > 0.53)
    where = f", most by {by}" if by else ""
    return [
        Finding(
            "drift",
            severity,
            f"test rows can be told from training rows (ROC-AUC {auc:.3f}, where .5 is one source){where}",
            round(min(1.0, 2 * (auc - 0.5)), 3),
            f"2 AUC - 1 of a model out of {FOLDS} folds, standard error {error:.3f}",
            alone[0][1] if by else None,
            "The score says little of either source. Compare how both were made; "
            + (f"if it is a mark of the file: --drop {alone[0][1]!r}" if by else "look at several columns at once"),
        )
    ]


def _alone(column, y: np.ndarray) -> float:
    """How well one column of one number a row tells training from test: AUC of the test share of its tenths, or of its values."""
    if not isinstance(column, torch.Tensor):
        return 0.5
    x = np.nan_to_num(column.numpy().reshape(len(y), -1)[:, 0].astype(np.float64), nan=-1e9)
    distinct, number = np.unique(x, return_inverse=True)
    if len(distinct) > 50:
        number = np.searchsorted(np.unique(np.quantile(x, np.linspace(0.05, 0.95, 19))), x)
    half = np.arange(len(y)) % 2 == 0  # shares of one half score the other
    size = np.bincount(number[half], minlength=number.max() + 1)
    share = (np.bincount(number[half], weights=y[half], minlength=len(size)) + y.mean()) / (size + 1)
    return float(metrics.roc_auc_score(y[~half], share[number[~half]]))
