"""Where a model fails: its metric on the rows of each value of each column, and which of them are truly worse than the rest.

Many values are looked at, so that some look bad by chance alone: each is held against the rest by Welch's t-test on how wrong the single
rows are (as Slice Finder, Chung et al. 2019), and marked only where that survives Holm's correction (1979) for all of them. Columns are
taken one at a time as the store has them, encoded, and named by their fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from luban.core.batch import Batch, Encoded, Examples, Ragged, rows_of
from luban.core.contract import Field, Schema, Task
from luban.core.registry import Later
from luban.stages.draws import Draws

special = Later("scipy.special")

FEWEST = 20
"""Rows of a slice, at least: of fewer, a mean says little."""
VALUES = 10
"""Different values up to which each is a slice; of more words the most frequent, of more numbers as many as there are BINS."""
BINS = 5
COLUMNS = 20
"""Columns that are shown: those with the worst slices."""
ALPHA = 0.05
LISTS = ("tokens", "words", "curve")
"""Kinds of fields whose cells are sliced by their length."""

Levels = list[tuple[str, np.ndarray]]
"""[(what it is called, the rows (n,))]"""


def slices(task: Task, schema: Schema, scored: Examples, judged: Batch, truth: Batch, draws: Draws, metric: str) -> dict[str, Any] | None:
    """{"metric", "judged_by", "tested", "of", "sample", "columns": [{"column", "counted", "levels": [{"value", "rows", "metric",
    "interval", "loss", "p", "worse"}]}]}.

    judged and truth: of the examples draws.numbers. sample: how many these are, or None where they are all. None where the task does not
    say how wrong a row is, or no column has slices.
    """
    told = task.losses(judged, truth, schema, metric)
    if told is None:
        return None
    judged_by, losses = told
    rows = scored.spans.start[torch.from_numpy(draws.numbers)]
    levels = {key: _levels(each, _column(scored.store.columns[key], rows)) for key, each in schema.inputs.items() if _can(each)}
    levels |= {what: _levels(None, torch.from_numpy(of)) for what, of in task.counted(truth, schema).items()}
    tested = [(key, name, at, _worse(losses, at)) for key, of in levels.items() for name, at in of]
    if not tested:
        return None
    p = holm(np.array([each[3] for each in tested]))
    found: dict[str, list[dict[str, Any]]] = {}
    for (key, name, at, _), chance in zip(tested, p.tolist(), strict=True):
        known = losses[at][~np.isnan(losses[at])]
        loss = float(known.mean()) if len(known) else None
        found.setdefault(key, []).append({"value": name, "rows": len(at), "at": at, "loss": loss, "p": chance, "worse": chance < ALPHA})
    shown = sorted(found, key=lambda key: min((each["p"], -(each["loss"] or 0.0)) for each in found[key]))[:COLUMNS]
    for key in shown:
        for each in found[key]:
            each |= _figure(task, schema, judged, truth, draws, (metric, each.pop("at")))
    columns = [
        {
            "column": of.columns[0] if (of := schema.inputs.get(key)) else key,
            "counted": of is not None and of.kind in LISTS,
            "levels": found[key],
        }
        for key in shown
    ]
    sample = len(rows) if len(rows) < len(scored) else None
    return {"metric": metric, "judged_by": judged_by, "tested": len(tested), "of": len(found), "sample": sample, "columns": columns}


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number, so that one of them below .05 by chance is as rare as that (Holm 1979). p: (n,)."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    return corrected[np.argsort(order)]


def _worse(losses: np.ndarray, at: np.ndarray) -> float:
    """The chance that these rows are wrong by as much more than the rest, or more, if there were no difference: Welch's t, one-sided."""
    inside = np.zeros(len(losses), bool)
    inside[at] = True
    known = ~np.isnan(losses)
    mine, rest = losses[inside & known], losses[~inside & known]
    if min(len(mine), len(rest)) < FEWEST:
        return 1.0
    a, b = mine.var(ddof=1) / len(mine), rest.var(ddof=1) / len(rest)
    if not a + b > 0:
        return 1.0
    t = (mine.mean() - rest.mean()) / np.sqrt(a + b)
    freedom = (a + b) ** 2 / (a**2 / (len(mine) - 1) + b**2 / (len(rest) - 1))
    return float(special.stdtr(freedom, -t))


def _figure(task: Task, schema: Schema, judged: Batch, truth: Batch, draws: Draws, of: tuple[str, np.ndarray]) -> dict[str, Any]:
    """{"metric", "interval"} of some rows; None where there is no value (one class only)."""
    (name, at), index = of, torch.from_numpy(of[1])
    some, true = ({key: rows_of(value, index) for key, value in batch.items()} for batch in (judged, truth))
    once = task.resample(some, true, schema, [name], np.ones((len(at), 1))).get(name)
    if once is None or not np.isfinite(once[0]):
        return {"metric": None, "interval": None}
    drawn = task.resample(some, true, schema, [name], draws.counts[at])[name]
    interval = draws.interval(drawn, float(once[0]), float(once[0]))
    return {"metric": float(once[0]), "interval": list(interval) if interval else None}


# ---------------------------------------------------------------- the values of a column


def _can(each: Field) -> bool:
    return each.kind in LISTS or (each.kind in ("id", "scalar") and each.invertible)


def _column(column: Encoded, rows: torch.Tensor) -> Encoded:
    """Of tokens only their number."""
    return (column.offsets[rows + 1] - column.offsets[rows]).float() if isinstance(column, Ragged) else rows_of(column, rows)


def _levels(each: Field | None, column: Encoded) -> Levels:
    """The slices of a column (of counts, which have no field) that are large enough; one with a value a row has none, unless numbers."""
    assert isinstance(column, torch.Tensor)
    x = column.reshape(len(column), -1)[:, 0].double().numpy()
    gone = np.isnan(x)
    groups, number = np.unique(x[~gone], return_inverse=True)
    count = np.bincount(number, minlength=len(groups))
    if (each is not None and each.kind == "id") or len(groups) <= VALUES:
        wanted = np.argsort(-count, kind="stable")[:VALUES]
        wanted = np.sort(wanted[count[wanted] >= FEWEST])
        apart = [np.flatnonzero(~gone)[number == i] for i in wanted]
    else:
        bins = max(1, min(BINS, int((~gone).sum()) // FEWEST))
        edges = np.unique(np.quantile(x[~gone], np.linspace(0, 1, bins + 1)[1:-1]))
        group = np.searchsorted(edges, x, side="left")
        apart = [np.flatnonzero(~gone & (group == i)) for i in range(len(edges) + 1)]
    apart = [at for at in apart if FEWEST <= len(at) < len(x)]
    found = [(_name(each, column, x, at), at) for at in apart]
    missing = np.flatnonzero(gone)
    return found + ([("(missing)", missing)] if FEWEST <= len(missing) < len(x) else [])


def _name(each: Field | None, column: torch.Tensor, x: np.ndarray, at: np.ndarray) -> str:
    """The value that all of these rows have, or the least and the greatest."""
    ends = at[[x[at].argmin(), x[at].argmax()]]
    if each is None or each.kind in LISTS:
        words: list[Any] = [int(x[i]) for i in ends]
    else:
        words = each.decode(column[torch.from_numpy(ends)])
    if words[0] is None:
        return "(missing)" if x[at[0]] else "(new)"
    low, high = (f"{word:.4g}" if isinstance(word, float) else str(word) for word in words)
    return low if low == high else f"{low} – {high}"
