"""How good a model is on rows that have an answer: its task's metrics, and in words whether the network was worth it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luban import reading, splitting
from luban.bundle import Bundle, forward, load
from luban.core import config as configs
from luban.core.contract import Batch, Measured, Table
from luban.core.errors import UserError, did_you_mean
from luban.core.notes import say
from luban.data import DataConfig, assign, missing
from luban.folders import find
from luban.metrics import better
from luban.planning import read_yaml
from luban.splitting import PARTS


def evaluate(run: str | Path | Bundle, data: Any, *, split: str | None = None, model: Any = None) -> Measured:
    """Scores a run's model on `data`, which must hold the target.

    run: a run folder, its model/, `last`, or a loaded Bundle. data: as for `luban.predict`. split: train, valid or test: only these
    rows; without it the test part where the data have one of their own (a `split` column), else all rows. For the very file that the
    run was trained on, the parts are found again by the run's configuration. model: the user's own network, as for `luban.load`.
    Raises UserError where a column, the target or the part is missing.
    """
    folder = None if isinstance(run, Bundle) else find(run)
    bundle = run if isinstance(run, Bundle) else load(folder.model, model)
    settings = configs.build(DataConfig, read_yaml(folder.config)["data"]) if folder and folder.config.exists() else DataConfig()
    table = bundle.task.prepare(reading.read(data, encoding=settings.encoding, delimiter=settings.delimiter))
    for target in bundle.schema.targets.values():
        splitting.need_column(table, target.columns[0], "the target")
    table = _part_of(table, split, bundle, settings, data)
    for target in bundle.schema.targets.values():
        name = target.columns[0]
        empty = missing(table.get_column(name), nan_too=True)
        if empty.any():
            say(f"{int(empty.sum()):,} rows have no {name} and are left out")
            table = table.filter(~empty)
    if not table.height:
        raise UserError("no row is left to score: the target is empty in all of them.")
    say(f"scoring {table.height:,} rows")
    measured = measure(bundle, bundle.schema.encode(table, with_target=True))
    if not measured.metrics:
        raise UserError("none of these rows can be judged: their targets are none that the model was trained with. Give other rows.")
    return measured


def _part_of(table: Table, split: str | None, bundle: Bundle, settings: DataConfig, data: Any) -> Table:
    if split is not None and split not in PARTS:
        raise UserError(f"--split is one of train, valid, test, not {split!r}.{did_you_mean(split, PARTS)}")
    name = settings.split or "split"
    part = splitting.by_column(table.get_column(name)) if name in table.columns else None
    if part is None and isinstance(data, (str, Path)) and settings.path and Path(data).resolve() == Path(settings.path).resolve():
        # the file that the run was trained on: its rows must not be scored as if they were new, unless asked for
        test = bundle.task.prepare(reading.read(settings.test, encoding=settings.encoding)) if settings.test else None
        rows = assign(table, test, settings, bundle.task)
        table, part = rows.table, rows.part
    if part is None:
        if split is not None:
            raise UserError(
                f"--split {split} needs data that say which rows those are: a column `split`, or the file that the run was trained on."
            )
        return table
    wanted = PARTS.index(split or "test")
    if not (part == wanted).any():
        if split is None:
            return table
        raise UserError(f"the data have no {split} rows ({splitting.summary(part)}).")
    say(f"the {PARTS[wanted]} part of the data")
    return table.filter(part == wanted)


def measure(bundle: Bundle, encoded: Batch) -> Measured:
    """All metrics of the task on encoded rows."""
    inputs = {key: value for key, value in encoded.items() if key in bundle.schema.inputs}
    predicted = forward(bundle.model, bundle.task, bundle.head, inputs, None)
    return bundle.task.measure(predicted, encoded, bundle.schema, bundle.task.metrics(bundle.schema))


def verdict(metric: str, name: str, value: float, others: dict[str, float], n_test: int) -> str:
    """In words: was the model worth it beside the baselines, on the test rows?"""
    if not others:
        return f"{name} reaches {metric} {value:.4f}; no baseline was asked for, so nothing says whether that is good."
    best = next(iter(others))
    for other in others:
        if better(metric, others[other], others[best]):
            best = other
    if best == name or not better(metric, others[best], value):
        if others[best] == value:
            return f"{name} and {best} are level: {metric} {value:.4f}. The simpler one would do."
        return (
            f"{name} was worth it: {metric} {value:.4f} on {n_test:,} test rows, against {others[best]:.4f} of the best baseline ({best})."
        )
    return (
        f"{name} was not worth it here: {metric} {value:.4f} on {n_test:,} test rows, while {best} reaches {others[best]:.4f}. "
        f"Take that one: --model {best}."
    )
