"""Answers that small models of the other rows contradict: confident learning (Northcutt et al. 2021, JAIR 70), and far residuals."""

from __future__ import annotations

import numpy as np
import torch

from luban.checks.finding import DOUBT, NOTE, Finding, Look, used
from luban.checks.unseen import FOLDS, inputs_of, out_of_fold, sample
from luban.core.contract import Part

EASY = 0.01
"""Of the quarter of the rows that the models are surest of, so many may have another label before labels are doubted: where classes
overlap models are unsure, wrong labels are anywhere. Benchmarks have 3.3 % on average (Northcutt, Athalye & Mueller 2021)."""
UNSURE = 0.1
LEARNED = 0.5
"""Where more of the surest are contradicted, or models explain less than half of what the largest class leaves, contradictions speak of
the question and not of the labels: a note."""
LEARNABLE = 0.1
"""Below this skill models have learned nothing that could contradict anybody."""
FAR = 8.0
"""Residuals from here on, in robust standard deviations; a normal one gets there once in 10^15 rows, heavy tails oftener."""


def wrong_labels(look: Look) -> list[Finding]:
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
        if len(index) < 10 * FOLDS or not inputs_of(look, index[:1])[0]:
            continue
        found += _classes(look, key, index) if classes else _amounts(look, key, index)
    return found


def _classes(look: Look, key: str, index: np.ndarray) -> list[Finding]:
    each = look.schema.targets[key]
    given = look.store.columns[key][torch.from_numpy(index)].numpy()
    labels, counts = np.unique(given, return_counts=True)
    index = index[np.isin(given, labels[counts >= FOLDS])]  # a rarer class is not in every fold, and its rows would all be doubted
    labels, y = np.unique(look.store.columns[key][torch.from_numpy(index)].numpy(), return_inverse=True)
    if len(labels) < 2 or len(index) < 10 * FOLDS:
        return []
    p = out_of_fold(*inputs_of(look, index), Part(key, "classes", len(labels), "cross_entropy"), torch.from_numpy(y + 1))
    answer, top = p.argmax(1), p.max(1)
    accuracy, floor = float((answer == y).mean()), float(np.bincount(y).max() / len(y))
    skill, name = (accuracy - floor) / (1 - floor), each.columns[0]
    if skill < LEARNABLE:
        what = f"small models tell {name!r} hardly better ({accuracy:.1%}) than always naming the commonest ({floor:.1%})"
        mend = "If nothing better comes of a training, other columns are needed"
        return [Finding("signal", NOTE, what, round(1 - max(0.0, skill), 3), f"accuracy out of {FOLDS} folds", name, mend)]
    order = confident(p, y)
    if not len(order):
        return []
    against = (answer != y)[top >= np.quantile(top, 0.75)]
    coarse = any(each.kind == "grid" for each in look.schema.inputs.values())  # seen as 8 x 8 averages, too little to accuse anybody
    doubted = not coarse and skill > LEARNED and against.sum() > 2 and EASY < against.mean() < UNSURE
    first, expected = each.decode(torch.from_numpy(labels[[y[order[0]], answer[order[0]]]]))
    likely = (f"are probably wrong, and perhaps {against.mean():.1%} of all" if doubted
              else "are not what models of the other rows say; where classes overlap that is usual, but some may be wrong")  # fmt: skip
    return [
        Finding(
            "labels",
            DOUBT if doubted else NOTE,
            f"{len(order):,} of {len(y):,} labels in {name!r} {likely}; the first is {first!r}, where {expected!r} would be expected",
            round(float((p[order, answer[order]] - p[order, y[order]]).mean()), 3),
            f"confident learning: mean margin of probabilities out of {FOLDS} folds (accuracy {accuracy:.3f}; of the surest quarter "
            f"{against.mean():.1%} have another label)",
            name,
            "Look at these rows first, the surest of them stands first, and correct what is wrong",
            **look.places(index[order]),
        )
    ]


def confident(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The rows whose class is probably wrong, the surest first, (m,) int64.

    p: out-of-fold probabilities (n, C); y: given classes (n,), each of them present. A row belongs to a class, confidently, where its
    probability is at least the mean of that class' own rows (eq. 1 there). Counted by given and confident class, that estimates how many
    rows of i are truly j; so many of i are suspected, those with the largest p_j - p_i ("prune by noise rate").
    """
    C = p.shape[1]
    above = np.where(p >= np.array([p[y == j, j].mean() for j in range(C)]), p, -1.0)
    counted = above.max(1) > 0
    joint = np.zeros((C, C))
    np.add.at(joint, (y[counted], above[counted].argmax(1)), 1)
    joint *= (np.bincount(y, minlength=C) / np.maximum(1, joint.sum(1)))[:, None]
    margin = np.full(len(y), -np.inf)
    for i, j in zip(*np.nonzero(np.rint(joint)), strict=True):
        if i != j:
            rows = np.flatnonzero(y == i)
            by = p[rows, j] - p[rows, i]
            first = np.argsort(-by)[: int(np.rint(joint[i, j]))]
            margin[rows[first]] = np.maximum(margin[rows[first]], by[first])
    order = np.argsort(-margin, kind="stable")
    return order[margin[order] > 0]


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
    return [
        Finding(
            "labels",
            NOTE,
            f"{len(order):,} of {len(y):,} values of {each.columns[0]!r} are far from what the other rows let expect and may be wrong: "
            f"the farthest is {value:.6g}, where about {expected:.6g} would be expected",
            round(1 - FAR / first, 3),
            f"the farthest residual out of {FOLDS} folds is {first:.1f} robust standard deviations",
            each.columns[0],
            "Look at these rows first, the farthest of them stands first, and correct what is wrong",
            **look.places(index[order]),
        )
    ]
