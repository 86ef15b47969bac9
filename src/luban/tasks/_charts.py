"""What a task shows of its answers as drawings, in numbers: curves of classes and labels, dots of amounts; report/plots.py draws them.

A chart is plain JSON: {"x": words, "y": words, "lines": {name: [xs, ys]}, "dots": {name: [xs, ys]}, "bars": [xs, heights],
"guide": "diagonal" | "zero"}, each key but x and y only where it has something. A line has at most 200 points. Words that are fixed are
English, for the page translates them; names of lines are the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array

from luban.metrics.classification import counts_above

POINTS = 200
DOTS = 600
"""Of a cloud; what is left out is drawn by chance, with a fixed seed."""
LINES = 8
"""Classes with a curve of their own: the most frequent."""
BINS = 10


def line(x: Array, y: Array) -> list[list[float]]:
    """[xs, ys], thinned to 200 points, of which the first and the last are kept; 4 digits are more than a page can show."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int)) if len(x) else np.zeros(0, int)
    return [_short(x[kept]), _short(y[kept])]


def dots(x: Array, y: Array) -> list[list[float]]:
    kept = np.sort(np.random.default_rng(0).permutation(len(x))[:DOTS])
    return [_short(x[kept]), _short(y[kept])]


def _short(x: Array) -> list[float]:
    return [float(f"{each:.4g}") for each in np.asarray(x, np.float64).tolist()]


def chances(y: Array, p: Array, names: Sequence[str]) -> dict[str, Any]:
    """ROC and precision-recall of each name against the rest, and how far probabilities can be believed. y: (N, L) bool; p: (N, L)."""
    found: dict[str, Any] = {}
    mixed = [c for c in np.argsort(-y.sum(0), kind="stable") if 0 < y[:, c].sum() < len(y)][:LINES]
    roc, pr = {}, {}
    for c in mixed:
        true, false = (each[:, 0] for each in counts_above(y[:, c], p[:, c], np.ones((len(y), 1))))
        roc[names[c]] = _steps(np.append(0, false / false[-1]), np.append(0, true / true[-1]))
        pr[names[c]] = _steps(true / true[-1], true / (true + false))
    if mixed:
        found["ROC curve"] = {"x": "false positive rate", "y": "true positive rate", "lines": roc, "guide": "diagonal"}
        found["Precision and recall"] = {"x": "recall", "y": "precision", "lines": pr}
    return found


def _steps(x: Array, y: Array) -> list[list[float]]:
    """Thinned where x or y moves, rather than by numbers: a curve that rises at once keeps its corner."""
    way = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], POINTS - 2)).clip(0, len(x) - 1)) if len(x) > POINTS else np.arange(len(x))
    return [_short(x[kept]), _short(y[kept])]


def reliability(right: Array, said: Array, what: str) -> dict[str, Any]:
    """How often it came true, by the probability that was said (Niculescu-Mizil and Caruana 2005). right: (N,) bool; said: (N,)."""
    group = np.minimum((said * BINS).astype(int), BINS - 1)
    n = np.bincount(group, minlength=BINS)
    held = n > 0
    came, mean = np.bincount(group, right, BINS)[held] / n[held], np.bincount(group, said, BINS)[held] / n[held]
    return {"x": what, "y": "share that came true", "lines": {"": line(mean, came)}, "dots": {"": line(mean, came)}, "guide": "diagonal",
            "bars": [_short((np.arange(BINS) + 0.5) / BINS), (n / max(1, n.max())).round(4).tolist()], "counts": n.tolist()}  # fmt: skip


def thresholds(y: Array, p: Array, positive: str, negative: str) -> dict[str, Any]:
    """The counts from which a threshold is chosen: called `positive` from each of up to 200 thresholds upwards. y: (N,) bool."""
    true, false = (each[:, 0] for each in counts_above(y, p, np.ones((len(y), 1))))
    grid = np.unique(np.concatenate([np.linspace(0, 1, 101), np.quantile(p, np.linspace(0, 1, 98)).round(4), [0.5]]))
    above = np.searchsorted(np.sort(np.unique(p)), grid)  # how many different scores lie below each threshold
    left = len(true) - above  # how many are called positive
    tp, fp = (np.append(0, each)[left].astype(int) for each in (true, false))
    return {"kind": "thresholds", "positive": positive, "negative": negative, "threshold": grid.round(4).tolist(), "tp": tp.tolist(),
            "fp": fp.tolist(), "positives": int(y.sum()), "negatives": int((~y).sum())}  # fmt: skip


def amounts(y: Array, v: Array) -> dict[str, Any]:
    """Predicted against true, and what is left, by the prediction. y, v: (N,) in the user's units."""
    left = v - y
    edges = np.linspace(*np.quantile(left, [0.005, 0.995]), 31) if np.ptp(left) else np.linspace(left[0] - 1, left[0] + 1, 31)
    heights, edges = np.histogram(left, edges)
    return {
        "Predicted and true": {"x": "true", "y": "predicted", "dots": {"": dots(y, v)}, "guide": "diagonal"},
        "Residuals": {"x": "predicted", "y": "predicted minus true", "dots": {"": dots(v, left)}, "guide": "zero"},
        "How residuals are spread": {"x": "predicted minus true", "y": "rows", "bars": [_short((edges[1:] + edges[:-1]) / 2), heights.tolist()]},
    }  # fmt: skip
