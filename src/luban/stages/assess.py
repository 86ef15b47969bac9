"""How good a model is on some examples, and how sure that is: its metrics with intervals, where it fails, and what to draw; all as JSON.

Every model of a run is judged on the same draws, so that two of them are compared in pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from luban import splitting
from luban.bundle import Bundle, judge
from luban.core.batch import Batch, Examples, rows_of
from luban.core.contract import Measured, Table, Task
from luban.core.notes import say
from luban.report.curves import charts
from luban.stages.draws import DRAWS, LEVEL, Draws, draw
from luban.stages.slices import slices

BESIDE = 100_000
"""Examples up to which a baseline is judged on all of them."""
POINTS = 200
"""Of a learning curve."""


@dataclass(frozen=True)
class Assessed:
    """What a model answered, and how good that was."""

    measured: Measured
    judged: Batch
    truth: Batch
    drawn: dict[str, np.ndarray]
    """{metric: its value in each draw}, (D,); by which models are compared. Empty where the task or the examples allow none."""
    once: dict[str, np.ndarray]
    """{metric: its value on the examples that are drawn from}, (1,)."""
    n: int
    """How many examples were judged."""


def beside(scored: Examples, draws: Draws | None, most: int | None = None) -> Examples:
    """What a baseline is judged on: of more than `most` examples (BESIDE) only those that are drawn from."""
    if draws is None or len(scored) <= (BESIDE if most is None else most):
        return scored
    return Examples(scored.store, scored.spans[torch.from_numpy(draws.numbers)], scored.batch)


def draws_of(task: Task, scored: Examples, groups: np.ndarray | None = None) -> Draws | None:
    """What every model that is judged on these examples is resampled by; None where there are too few, aloud. groups: see `groups_of`."""
    draws = draw(len(scored), task.block, groups if groups is None else groups[scored.spans.start.numpy()])
    if draws is None:
        together = f", of which runs of {task.block:,} overlap," if task.block > 1 else ""
        if groups is not None:
            together = f" of {len(np.unique(groups[scored.spans.start.numpy()])):,} groups"
        say(f"no intervals: {len(scored):,} {task.noun}{together} are too few independent ones to say how sure a figure is")
    return draws


def groups_of(rows: Table, name: str | None) -> np.ndarray | None:
    """Which group each row is of, (N,), as the split has it; None where rows stand by themselves."""
    return splitting.row_hash(rows.select([name])) if name is not None and name in rows.columns else None


def assess(bundle: Bundle, scored: Examples, draws: Draws | None) -> Assessed:
    """All metrics of the task on these examples, with intervals; they are those that the draws are of, or only those that are drawn from
    (see `beside`)."""
    if draws is not None and len(scored) < draws.n:
        draws = draws.of_sample()
    task, schema = bundle.task, bundle.schema
    judged, truth = judge(bundle.model, task, bundle.head, scored)
    measured = task.measure(judged, truth, schema, task.metrics(schema))
    called = {name: words for name in measured.metrics if (words := task.called(name, schema)) != name}
    measured = dataclasses.replace(measured, called=called)
    if draws is None or not measured.metrics:
        return Assessed(measured, judged, truth, {}, {}, len(scored))
    some, true = part_of(judged, draws.numbers), part_of(truth, draws.numbers)
    names = tuple(measured.metrics)
    drawn = task.resample(some, true, schema, names, draws.counts)
    once = task.resample(some, true, schema, names, np.ones((len(draws.numbers), 1)))
    found = {name: draws.interval(values, float(once[name][0]), measured.metrics[name]) for name, values in drawn.items()}
    intervals = {name: each for name, each in found.items() if each is not None}
    return Assessed(dataclasses.replace(measured, intervals=intervals), judged, truth, drawn, once, len(scored))


def difference(draws: Draws | None, one: Assessed, other: Assessed, metric: str) -> tuple[float, float] | None:
    """The interval of one model's metric minus another's, drawn in pairs: much narrower than either, for both err on the same examples."""
    if draws is None or metric not in one.drawn or metric not in other.drawn:
        return None
    drawn, seen = one.drawn[metric] - other.drawn[metric], float(one.once[metric][0] - other.once[metric][0])
    if min(one.n, other.n) < draws.n:  # one of them was judged on those that are drawn from alone
        return draws.of_sample().interval(drawn, seen, seen, flat=True)
    return draws.interval(drawn, seen, one.measured.metrics[metric] - other.measured.metrics[metric], flat=True)


def detail(bundle: Bundle, scored: Examples, draws: Draws | None, one: Assessed, metric: str) -> dict[str, Any]:
    """What a report holds of one model beside its figures: {"details", "intervals", "resampling", "curves", "slices"}."""
    found: dict[str, Any] = {
        "details": one.measured.details,
        "intervals": {name: list(each) for name, each in one.measured.intervals.items()},
        "called": one.measured.called,
        "resampling": {
            "examples": len(draws.numbers),
            "draws": DRAWS,
            "level": LEVEL,
            "block": draws.block,
            "grouped": draws.grouped,
        }
        if draws and one.drawn
        else None,
        "curves": charts(bundle.task.charts(one.judged, one.truth, scored, bundle.schema)),
        "slices": None,
    }
    if draws is not None and metric in one.drawn:
        draws = dataclasses.replace(draws, shrink=1.0)  # the figures of slices are of the sample itself
        some, true = part_of(one.judged, draws.numbers), part_of(one.truth, draws.numbers)
        found["slices"] = slices(bundle.task, bundle.schema, scored, some, true, draws, metric)
    return found


def part_of(batch: Batch, numbers: np.ndarray) -> Batch:
    rows = torch.from_numpy(numbers)
    return {key: rows_of(value, rows) for key, value in batch.items()}


def learning(lines: Sequence[dict[str, Any]], metric: str) -> dict[str, dict[str, list]]:
    """{model: {"step", "train_loss", metric}} of those that were trained in steps, from the lines of metrics.jsonl."""
    found: dict[str, dict[str, list]] = {}
    for name in dict.fromkeys(line["model"] for line in lines):
        mine = [line for line in lines if line["model"] == name and "train_loss" in line]
        kept = [mine[i] for i in np.unique(np.linspace(0, len(mine) - 1, min(len(mine), POINTS)).round().astype(int))] if mine else []
        if len(kept) > 1:
            found[name] = {key: [line.get(key) for line in kept] for key in ("step", "train_loss", metric)}
    return found
