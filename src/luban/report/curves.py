"""What a task answered, as charts in numbers: small enough for report.json, drawn by plots.py.

A task hands over arrays, under a title, "" where none is needed:

    {"classes": names, "truth": (n,) numbers from 0, "said": (n, C)}   one of several: ROC, precision and recall, calibration, thresholds
    {"labels": names, "truth": (n, L) bool, "said": (n, L)}             any of several labels
    {"amounts": True, "truth": (n,), "said": (n,)}                      numbers, in the user's units
    {"x": words, "y": words, "lines": {name: (xs, ys)}}                 a chart of its own

What comes of it is plain JSON: {"x": words, "y": words, "lines": {name: [xs, ys]}, "dots": {name: [xs, ys]}, "bars": [xs, heights],
"guide": "diagonal" | "zero", "unit": both axes go from 0 to 1}, each key but x and y only where it has something. A line has at most 200
points. Fixed words are English, which the page translates; names of lines are the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

Charts = dict[str, dict[str, Any]]


def charts(shown: Mapping[str, Mapping[str, Any]]) -> Charts:
    """{title: chart} of all that a task shows; answers that are not finite are not drawn."""
    found: Charts = {}
    for title, of in shown.items():
        if "lines" in of:
            lines = {name: line(*xy) for name, xy in of["lines"].items() if np.isfinite(xy[1]).any()}
            found |= {title: {**of, "lines": lines}} if lines else {}
        elif len(of["truth"]) and np.isfinite(of["said"]).all():
            made = _amounts(of) if "amounts" in of else _labels(of) if "labels" in of else _classes(of)
            found |= {f"{title}: {name}" if title else name: each for name, each in made.items()}
    return found


def _classes(of: Mapping[str, Any]) -> Charts:
    """Of two classes the second is the positive one, and has thresholds."""
    words, y, p = of["classes"], of["truth"], of["said"]
    if len(words) != 2:
        often = np.argsort(-np.bincount(y, minlength=len(words)), kind="stable")[:LINES]
        curves = _curves([(words[c], y == c, p[:, c]) for c in often])
        return curves | {"Calibration": _reliability(p.argmax(1) == y, p.max(1), "probability of the answer")}
    true, said = y == 1, p[:, 1].astype(np.float64)
    found = _curves([(words[1], true, said)])
    found["Calibration"] = _reliability(true, said, "probability of the second class")
    return found | ({"Threshold": _thresholds(true, said, words)} if 0 < true.sum() < len(y) else {})


def _labels(of: Mapping[str, Any]) -> Charts:
    y, p = of["truth"], of["said"]
    often = np.argsort(-y.sum(0), kind="stable")[:LINES]
    curves = _curves([(of["labels"][c], y[:, c], p[:, c]) for c in often])
    return curves | {"Calibration": _reliability(y.reshape(-1), p.reshape(-1), "probability of a label")}


def _curves(each: Sequence[tuple[str, Array, Array]]) -> Charts:
    """ROC and precision-recall of (name, true (n,) bool, said (n,)), each against the rest; of those that some rows are and some not."""
    roc, pr = {}, {}
    for name, y, p in each:
        if not 0 < y.sum() < len(y):
            continue
        true, false = (count[:, 0] for count in counts_above(y, p, np.ones((len(y), 1))))
        roc[name] = _corners(np.append(0, false / false[-1]), np.append(0, true / true[-1]))
        pr[name] = _corners(true / true[-1], true / (true + false))
    if not roc:
        return {}
    return {
        "ROC curve": {"x": "false positive rate", "y": "true positive rate", "lines": roc, "guide": "diagonal", "unit": True},
        "Precision and recall": {"x": "recall", "y": "precision", "lines": pr, "unit": True},
    }


def _reliability(right: Array, said: Array, what: str) -> dict[str, Any]:
    """How often it came true, by the probability that was said (Niculescu-Mizil and Caruana 2005). right: (n,) bool; said: (n,)."""
    group = np.minimum((said * BINS).astype(int), BINS - 1)
    n = np.bincount(group, minlength=BINS)
    held = n > 0
    came, mean = np.bincount(group, right, BINS)[held] / n[held], np.bincount(group, said, BINS)[held] / n[held]
    return {
        "x": what,
        "y": "share that came true",
        "lines": {"": line(mean, came)},
        "dots": {"": line(mean, came)},
        "guide": "diagonal",
        "unit": True,
        "bars": [_short((np.arange(BINS) + 0.5) / BINS), _short(n / max(1, n.max()))],
        "counts": n.tolist(),
    }


def _thresholds(y: Array, p: Array, words: Sequence[str]) -> dict[str, Any]:
    """The counts from which a threshold is chosen: called positive from each of up to 200 thresholds upwards. y: (n,) bool."""
    true, false = (each[:, 0] for each in counts_above(y, p, np.ones((len(y), 1))))
    grid = np.unique(np.concatenate([np.linspace(0, 1, 101), np.quantile(p, np.linspace(0, 1, 98)), [0.5]]).round(4))
    called = len(true) - np.searchsorted(np.unique(p), grid)  # how many different probabilities lie at each threshold or above
    tp, fp = (np.append(0, each)[called].astype(int) for each in (true, false))
    return {
        "kind": "thresholds",
        "positive": words[1],
        "negative": words[0],
        "threshold": grid.tolist(),
        "tp": tp.tolist(),
        "fp": fp.tolist(),
        "positives": int(y.sum()),
        "negatives": int((~y).sum()),
    }


def _amounts(of: Mapping[str, Any]) -> Charts:
    """Predicted against true, and what is left, by the prediction and by its size."""
    y, v = of["truth"], of["said"]
    left = v - y
    low, high = np.quantile(left, [0.005, 0.995]).tolist()
    heights, edges = np.histogram(left, np.linspace(low, high, 31) if high > low else 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return {
        "Predicted and true": {"x": "true", "y": "predicted", "dots": {"": _dots(y, v)}, "guide": "diagonal"},
        "Residuals": {"x": "predicted", "y": "predicted minus true", "dots": {"": _dots(v, left)}, "guide": "zero"},
        "How residuals are spread": {"x": "predicted minus true", "y": "rows", "bars": [_short(middles), heights.tolist()]},
    }


# ---------------------------------------------------------------- thinning


def line(x: Array, y: Array) -> list[list[float | None]]:
    """[xs, ys], thinned to 200 points, of which the first and the last are kept; 4 digits are more than a page can show."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), POINTS)).round().astype(int))
    return [_short(x[kept]), _short(y[kept])]


def _corners(x: Array, y: Array) -> list[list[float | None]]:
    """Thinned by the way along the curve rather than by number: one that rises at once keeps its corner."""
    way = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    kept = np.unique(np.searchsorted(way, np.linspace(0, way[-1], POINTS)).clip(0, len(x) - 1)) if len(x) > POINTS else np.arange(len(x))
    return [_short(x[kept]), _short(y[kept])]


def _dots(x: Array, y: Array) -> list[list[float | None]]:
    kept = np.sort(np.random.default_rng(0).permutation(len(x))[:DOTS])
    return [_short(x[kept]), _short(y[kept])]


def _short(x: Array) -> list[float | None]:
    """JSON knows no NaN: what has no value is null."""
    return [float(f"{each:.4g}") if np.isfinite(each) else None for each in np.asarray(x, np.float64).tolist()]
