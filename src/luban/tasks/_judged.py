"""What a report says and draws of forecasts, and what is said of a question. Letters as in forecast.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, Store
from luban.core.errors import UserError, listed
from luban.core.notes import say
from luban.tasks._windows import before

WORST = 10
"""Items that are told, at most."""
DRAWN = 8
"""Series that are drawn, at most."""


def details(task: Any, judged: Batch, truth: Batch) -> dict[str, Any]:
    """Figures by series, by step and by item; how many answers lie within the quantiles."""
    c, H = task.config, task.config.horizon
    y, z = _numbers(task, truth), _numbers(task, judged)
    known = ~np.isnan(y)
    squared = np.where(known, np.square(z - y), 0.0)
    by_column = _means(squared, known, (0, 2))
    at = sorted({1, -(-H // 4), -(-H // 2), H})
    by_step = _means(squared, known, (0, 1))
    found: dict[str, Any] = {
        "mse_by_column": dict(zip(c.columns, by_column, strict=True)),
        "mse_by_step": {str(h): by_step[h - 1] for h in at},
    }
    if c.scale == "column" and not c.log:
        stds = [task.fields[f"c{i}"].std for i in range(len(c.columns))]
        found["rmse_in_units"] = {name: mse and mse**0.5 * std for name, mse, std in zip(c.columns, by_column, stds, strict=True)}
    if (n := int(judged["known"].sum())) and len(c.quantiles) > 1:
        low, high = c.quantiles[0], c.quantiles[-1]
        found["coverage"] = {f"p{100 * low:g} to p{100 * high:g}": int(judged["inside"].sum()) / n, "wanted": round(high - low, 6)}
    if "item" in judged:
        found["mase_by_item"] = _by_item(task, judged)
    return {**found, "steps_not_judged": int((~known).sum())}


def _by_item(task: Any, judged: Batch) -> dict[str, float]:
    """The items that are forecast worst, by MASE; those that training did not have by their number."""
    items, of = np.unique(judged["item"].numpy(), return_inverse=True)
    i = 3  # "scaled" of SUMS
    sums, counts = (np.bincount(of, judged[key].numpy()[:, i], len(items)) for key in ("sums", "counts"))
    mase = np.divide(sums, counts, out=np.full(len(items), -1.0), where=counts > 0)
    worst = np.argsort(-mase, kind="stable")[:WORST]
    names = task.fields[task._item].decode(torch.from_numpy(items[worst]))
    return {str(items[i] if name is None else name): float(mase[i]) for i, name in zip(worst, names, strict=True) if mase[i] >= 0}


def charts(task: Any, judged: Batch, truth: Batch, scored: Examples) -> dict[str, dict[str, Any]]:
    """The error by step; and of the first series the window whose error is the median one, what a forecast usually looks like, and the
    worst: before, true, forecast and its quantiles."""
    c, y, z = task.config, _numbers(task, truth), _numbers(task, judged)
    squared, known, steps = np.square(z - y), ~np.isnan(y), np.arange(1, c.horizon + 1)
    squared = np.where(known, squared, 0.0)
    by_step = squared.sum(0) / np.maximum(known.sum(0), 1)  # (C, H)
    lines = {name: (steps, by_step[i]) for i, name in enumerate(c.columns[:DRAWN])}
    notes = [["Drawn are the first {n} of {of} series.", {"n": DRAWN, "of": len(c.columns)}]] if len(c.columns) > DRAWN else []
    axis = "mean squared error, scaled by window" if c.scale == "window" else "mean squared error, z-scored"
    found: dict[str, dict[str, Any]] = {"Error by step": {"x": "step", "y": axis, "lines": lines, "notes": notes}}
    error = squared.sum((1, 2)) / np.maximum(known.sum((1, 2)), 1)
    order = np.argsort(error, kind="stable")
    for title, number in (("A usual forecast", order[len(order) // 2]), ("The worst forecast", order[-1])):
        found[f"{c.columns[0]}: {title}"] = _window(task, judged, truth, scored, int(number))
    return found


def _window(task: Any, judged: Batch, truth: Batch, scored: Examples, number: int) -> dict[str, Any]:
    """A window of the first series, in the user's units."""
    at = torch.tensor([number])
    past = scored[at]["c0"][:, -2 * task.config.horizon :]
    steps = np.arange(1, task.config.horizon + 1)
    drawn = {"before": past, "true": truth["y0"][at], "forecast": judged["y0"][at], "low": judged["low"][at], "high": judged["high"][at]}
    one: Batch = {key: judged[key][at] for key in ("loc", "scale") if key in judged}
    units = {name: _units(task, z, one) for name, z in drawn.items()}
    lines = {name: (np.arange(1 - past.shape[1], 1) if name == "before" else steps, units[name]) for name in ("before", "true", "forecast")}
    notes = []
    if "item" in judged and (name := task.fields[task._item].decode(judged["item"][at])[0]) is not None:
        notes = [["Of {item}.", {"item": name}]]
    return {"x": "step", "y": "value", "lines": lines, "bands": {"forecast": (steps, units["low"], units["high"])}, "fixed": True,
            "notes": notes}  # fmt: skip


def _units(task: Any, z: Tensor, beside: Batch) -> np.ndarray:
    """Of the first series (1, steps), (steps,)."""
    z = z.double()
    if "loc" in beside:
        z = z * beside["scale"][:, :1] + beside["loc"][:, :1]
    return task.fields["c0"].units(z)[0].numpy()


def of_item(task: Any, items: Tensor | None, row: Tensor) -> str:
    """For a message: of which item a row is; of one that training did not have, no more is known than that."""
    if not task.config.item or items is None:
        return ""
    name = task.fields[task._item].decode(items[row].reshape(-1)[:1].cpu())[0]
    return f" of a new {task.config.item}" if name is None else f" of {task.config.item} {name!r}"


def tell_question(task: Any, store: Store, known: Tensor, start: Tensor, end: Tensor, last: Tensor) -> None:
    """What is missing of windows [start, end) that are looked back on, and which rows behind them are forecast. known: (N, C)."""
    c, L = task.config, task.config.look_back
    short = int((end - start < L).sum())
    if short and c.item:
        say(
            f"{short:,} of {len(end):,} items have fewer than the {L:,} rows that are looked back on; their first value stands for the rest"
        )
    elif short:
        say(f"these are {int((end - start)[0]):,} of the {L:,} rows that are looked back on; the first value stands for the rest")
    if behind := int((last - end).sum()):
        say(f"the last {behind:,} rows have no value: the forecast begins with them")
    for key, (name, role) in task._beside.items():
        gone = before(store.columns[key].reshape(len(known), -1).isnan().any(1))
        if role == "known" and (gaps := int((gone[last] - gone[end]).sum())):
            say(f"{name}: {gaps:,} of {behind:,} values behind the last of {listed(c.columns)} are missing, and count as usual ones")
    for i, name in enumerate(c.columns):
        gone = before(~known[:, i])
        if not c.item and int(gone[end] - gone[start]) == int(end - start):
            raise UserError(f"the series {name!r} is empty in all of the last {int(end - start):,} rows: there is nothing to go on from.")
        if gaps := int((gone[end] - gone[start]).sum()):
            say(f"{name}: {gaps:,} of the last {int((end - start).sum()):,} values are missing; each takes the value before it")


def _numbers(task: Any, batch: Batch) -> np.ndarray:
    return task._stacked(batch).numpy()


def _means(values: np.ndarray, known: np.ndarray, axes: tuple[int, ...]) -> list[float | None]:
    """None where nothing is known."""
    sums, counts = values.sum(axes, dtype=np.float64), known.sum(axes)
    return [float(total / n) if n else None for total, n in zip(sums, counts, strict=True)]
