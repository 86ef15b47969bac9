"""Answers that small models of the other rows contradict: confident learning (Northcutt et al. 2021, JAIR 70), and far residuals."""

from __future__ import annotations

import numpy as np
import torch

from luban.checks.finding import DOUBT, NOTE, Finding, Look, used
from luban.checks.folds import FOLDS, inputs_of, out_of_fold, sample
from luban.core.contract import Part

EASY = 0.01
"""Of the half of the rows that the models are surest of, so many may have another label before labels are doubted: overlapping classes
are unsure, wrong labels are anywhere. Benchmarks have 3.3 % wrong labels on average (Northcutt, Athalye & Mueller 2021)."""
FAR = 8.0
"""Residuals from here on, in robust standard deviations; a normal one gets there once in 10^15 rows, heavy tails oftener."""


def labels(look: Look) -> list[Finding]:
    """Rows whose answer is probably wrong, the surest first."""
    found = []
    for key, each in look.schema.targets.items():
        y = look.store.columns[key]
        if y.dim() != 1 or each.kind not in ("id", "scalar"):
            continue
        values = y.numpy()
        known = values > 0 if each.kind == "id" else ~np.isnan(values)
        index = sample(look, np.flatnonzero(known & used(look.rows.part)))
        classes = each.kind == "id" or len(np.unique(values[index])) == 2
        if len(index) < 10 * FOLDS:
            continue
        found += _classes(look, key, index) if classes else _amounts(look, key, index)
    return found


def _classes(look: Look, key: str, index: np.ndarray) -> list[Finding]:
    each = look.schema.targets[key]
    labels, y = np.unique(look.store.columns[key][torch.from_numpy(index)].numpy(), return_inverse=True)
    if len(labels) < 2 or np.bincount(y).min() < 2:
        return []
    p = out_of_fold(*inputs_of(look, index), Part(key, "classes", len(labels), "cross_entropy"), torch.from_numpy(y + 1))
    wrong, margin = confident(p, y)
    if not wrong.any():
        return []
    order = np.flatnonzero(wrong)[np.argsort(-margin[wrong])]
    top = p.max(1)
    easy = top >= np.median(top)
    against = float((p.argmax(1) != y)[easy].mean())
    first = order[0]
    words = each.decode(torch.from_numpy(labels[[y[first], p[first].argmax()]]))
    accuracy = float((p.argmax(1) == y).mean())
    share = len(order) / len(y)
    return [Finding("labels", DOUBT if against > EASY else NOTE,
                    f"{len(order):,} of {len(y):,} rows ({share:.1%}) have a {each.columns[0]!r} that the other rows contradict; the surest has "
                    f"{words[0]!r}, and {words[1]!r} would be expected", round(float(margin[order].mean()), 3),
                    f"confident learning, mean margin of the probabilities out of {FOLDS} folds (accuracy {accuracy:.3f}, among the surest half "
                    f"{against:.1%} differ)", each.columns[0], "Look at these rows, the surest first, and correct what is wrong",
                    **_ranked(look, index[order]))]  # fmt: skip


def confident(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(suspected (n,) bool, by how much the expected class is likelier than the given one (n,)).

    p: out-of-fold probabilities (n, C); y: given classes (n,). A row belongs to a class, confidently, where its probability is at least
    the mean of that class' own rows (eq. 1 there); suspected where that is another class than the given one.
    """
    own = np.array([p[y == j, j].mean() for j in range(p.shape[1])])
    above = np.where(p >= own, p, -1.0)
    expected = above.argmax(1)
    given = p[np.arange(len(y)), y]
    margin = p[np.arange(len(y)), expected] - given
    return (above.max(1) > 0) & (expected != y) & (p.argmax(1) == expected), margin


def _amounts(look: Look, key: str, index: np.ndarray) -> list[Finding]:
    each = look.schema.targets[key]
    y = look.store.columns[key][torch.from_numpy(index)].double()
    residual = y.numpy() - out_of_fold(*inputs_of(look, index), Part(key, "value", 1, "mse"), y.float())
    centred = residual - np.median(residual)
    far = np.abs(centred) / max(1e-9, 1.4826 * float(np.median(np.abs(centred))))
    order = np.flatnonzero(far > FAR)[np.argsort(-far[far > FAR])]
    if not len(order):
        return []
    first = float(far[order[0]])
    value, expected = each.decode(torch.stack([y[order[0]], y[order[0]] - residual[order[0]]]).float())
    return [Finding("labels", NOTE, f"{len(order):,} of {len(y):,} rows have a {each.columns[0]!r} far from what the other rows let expect: the "
                    f"farthest is {value:.6g}, and about {expected:.6g} would be expected", round(1 - FAR / first, 3),
                    f"the farthest residual out of {FOLDS} folds is {first:.1f} robust standard deviations", each.columns[0],
                    "Look at these rows, the farthest first, and correct what is wrong", **_ranked(look, index[order]))]  # fmt: skip


def _ranked(look: Look, positions: np.ndarray) -> dict:
    """As `look.places`, in the order given."""
    one = [look.places(positions[i : i + 1]) for i in range(min(len(positions), 10_000))]
    return {"rows": [row for each in one for row in each["rows"]], "test_rows": [row for each in one for row in each["test_rows"]],
            "count": len(positions)}  # fmt: skip
