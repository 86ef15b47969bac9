"""What a task answered, as charts in numbers: small enough for report.json, drawn by plots.py.

A task hands over arrays, under a title, "" where none is needed:

    {"classes": names, "truth": (n,) numbers from 0, "said": (n, C)}   one of several: ROC, precision and recall, calibration, thresholds
    {"labels": names, "truth": (n, L) bool, "said": (n, L)}             any of several labels
    {"amounts": True, "truth": (n,), "said": (n,)}                      numbers, in the user's units
    {"x": words, "y": words, "lines": {name: (xs, ys)}}                 a chart of its own; "bands": {name: (xs, lows, highs)} around a line
    {"x": words, "y": words, "names": names, "groups": {name: heights}} bars side by side, a group a name

    {"x": words, "y": words, "lines": {name: (xs, ys)}}                 a chart of its own;
        with "bands": {name: (xs, lows, highs)} around lines
"levels": {name: y}, "guide": "diagonal" | "zero", "unit": both axes go from 0 to 1, "notes": [[sentence, its places]] of what is not
drawn}, each key but x and y only where it has something. A line has at most 200 points. Fixed words are English, which the page
translates; names of lines are the user's, unless the chart says "fixed".
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
BINS = (10, 5, 2, 1)
"""Of probabilities: as many as the rows allow."""
FEWEST = 10
"""Rows of a bin, at least: of fewer, a share says little."""

Charts = dict[str, dict[str, Any]]


def charts(shown: Mapping[str, Mapping[str, Any]]) -> Charts:
    """{title: chart} of all that a task shows; answers that are not finite are not drawn."""
    found: Charts = {}
    for title, of in shown.items():
        if "lines" in of:
            lines = {name: line(*xy) for name, xy in of["lines"].items() if np.isfinite(xy[1]).any()}
            bands = {name: [*line(x, low), line(x, high)[1]] for name, (x, low, high) in of.get("bands", {}).items()}
            found |= {title: {**of, "lines": lines, **({"bands": bands} if bands else {})}} if lines else {}
        elif "groups" in of:
            found[title] = {**of, "groups": {name: _short(heights) for name, heights in of["groups"].items()}}
        elif len(of["truth"]) and np.isfinite(of["said"]).all():
            made = _amounts(of) if "amounts" in of else _labels(of) if "labels" in of else _classes(of)
            found |= {f"{title}: {name}" if title else name: each for name, each in made.items()}
    return found


def _classes(of: Mapping[str, Any]) -> Charts:
    """Of two classes the second is the positive one, and has thresholds."""
    words, y, p = of["classes"], of["truth"], of["said"]
    if len(words) != 2:
        often = np.argsort(-np.bincount(y, minlength=len(words)), kind="stable")[:LINES]
        curves = _curves([(words[c], y == c, p[:, c]) for c in often], len(words))
        return curves | _reliability(p.argmax(1) == y, p.max(1), "probability of the answer")
    true, said = y == 1, p[:, 1].astype(np.float64)
    found = _curves([(words[1], true, said)], 1) | _reliability(true, said, "probability of the second class", words[1])
    return found | ({"Threshold": _thresholds(true, said, words)} if 0 < true.sum() < len(y) else {})


def _labels(of: Mapping[str, Any]) -> Charts:
    y, p = of["truth"], of["said"]
    often = np.argsort(-y.sum(0), kind="stable")[:LINES]
    curves = _curves([(of["labels"][c], y[:, c], p[:, c]) for c in often], y.shape[1])
    return curves | _reliability(y.reshape(-1), p.reshape(-1), "probability of a label")


def _curves(each: Sequence[tuple[str, Array, Array]], of: int) -> Charts:
    """ROC and precision-recall of (name, true (n,) bool, said (n,)), the most frequent of so many, each against the rest; of those that
    some rows are and some not."""
    roc, pr = {}, {}
    for name, y, p in each:
        if not 0 < y.sum() < len(y):
            continue
        true, false = (count[:, 0] for count in counts_above(y, p, np.ones((len(y), 1))))
        roc[name] = _corners(np.append(0, false / false[-1]), np.append(0, true / true[-1]))
        pr[name] = _corners(true / true[-1], true / (true + false))
    if not roc:
        return {}
    more = {"notes": [["Drawn are the {n} most frequent of {of}.", {"n": len(roc), "of": f"{of:,}"}]]} if of > len(roc) else {}
    return {
        "ROC curve": {"x": "false positive rate", "y": "true positive rate", "lines": roc, "guide": "diagonal", "unit": True, **more},
        "Precision and recall": {"x": "recall", "y": "precision", "lines": pr, "unit": True, **more},
    }


def _reliability(right: Array, said: Array, what: str, of: str = "") -> Charts:
    """How often it came true, by the probability that was said (Niculescu-Mizil and Caruana 2005). right: (n,) bool; said: (n,)."""
    for bins in BINS:  # the finest that has points for most rows
        group = np.minimum((said * bins).astype(int), bins - 1)
        n = np.bincount(group, minlength=bins)
        held = n >= FEWEST
        if n[held].sum() > len(said) / 2:
            break
    else:
        return {}
    came, mean = np.bincount(group, right, bins)[held] / n[held], np.bincount(group, said, bins)[held] / n[held]
    made = {
        "x": what,
        "y": "share that came true",
        "lines": {of: line(mean, came)},
        "dots": {of: line(mean, came)},
        "guide": "diagonal",
        "unit": True,
        "bars": [_short((np.arange(bins) + 0.5) / bins), _short(n / n.max())],
        "counts": n.tolist(),
    }
    if few := int(((n > 0) & ~held).sum()):
        made["notes"] = [["{n} of {of} bars have fewer than {few} rows, and no point.", {"n": few, "of": bins, "few": FEWEST}]]
    return {"Calibration": made}


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
    low, high = np.quantile(left, [0.01, 0.99]).tolist()  # a single far one would press all others into one bar
    beyond = int(((left < low) | (left > high)).sum())
    some = {"notes": [["Drawn are {n} of {of} rows, by chance.", {"n": DOTS, "of": f"{len(y):,}"}]]} if len(y) > DOTS else {}
    heights, edges = np.histogram(left, np.linspace(low, high, 31) if high > low else 1)
    middles = (edges[1:] + edges[:-1]) / 2
    return {
        "Predicted and true": {"x": "true", "y": "predicted", "dots": {"": _dots(y, v)}, "guide": "diagonal", **some},
        "Residuals": {"x": "predicted", "y": "predicted minus true", "dots": {"": _dots(v, left)}, "guide": "zero", **some},
        "How residuals are spread": {
            "x": "predicted minus true",
            "y": "rows",
            "bars": [_short(middles), heights.tolist()],
            "notes": [["The {n} rows below the 1st and above the 99th percentile are not drawn.", {"n": f"{beyond:,}"}]] if beyond else [],
        },
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
