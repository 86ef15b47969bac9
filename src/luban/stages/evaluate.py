"""How good a model is on rows that have an answer: its task's metrics, and in words whether the network was worth it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from luban import reading, splitting
from luban.bundle import Bundle, forward, load
from luban.core import cells
from luban.core import config as configs
from luban.core.contract import Batch, Measured, Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.files import read_json
from luban.core.notes import say, warn
from luban.data import DataConfig, assign, missing
from luban.folders import RunFolder, find
from luban.metrics import better, direction, family
from luban.planning import read_yaml
from luban.splitting import PARTS


def evaluate(run: str | Path | Bundle, data: Any, *, split: str | None = None, model: Any = None) -> Measured:
    """Scores a run's model on `data`, which must hold the target.

    run: a run folder, its model/, `last`, or a loaded Bundle. data: as for `luban.predict`. split: train, valid or test: only these
    rows; without it the test part where the data have one of their own (a `split` column), else all rows. The data that the run was
    trained on are known again by their fingerprint, under any name, and their parts are found by the run's configuration.
    model: the user's own network, as for `luban.load`. Raises UserError where a column, the target or the part is missing.
    """
    folder = None if isinstance(run, Bundle) else find(run)
    bundle = run if isinstance(run, Bundle) else load(folder.model, model)
    settings = configs.build(DataConfig, read_yaml(folder.config)["data"]) if folder and folder.config.exists() else DataConfig()
    table = bundle.task.prepare(reading.read(data, **_words(settings)))
    targets = [target.columns[0] for target in bundle.schema.targets.values()]
    for name in targets:
        splitting.need_column(table, name, "the target")
    if split is not None and split not in PARTS:
        raise UserError(f"--split is one of train, valid, test, not {split!r}.{did_you_mean(split, PARTS)}")
    table, rows, names = _part_of(table, split, bundle, settings, folder, data)
    for name in targets:
        full = ~missing(table.get_column(name), nan_too=True)
        if not full.all():
            say(f"{int((~full).sum()):,} rows have no {name} and are left out")
            table, rows = table.filter(pl.Series(full)), rows[full]
    if not table.height:
        raise UserError("no row is left to score: the target is empty in all of them.")
    say(f"scoring {table.height:,} rows")
    with cells.numbered(names), cells.picked(rows):
        measured = measure(bundle, bundle.schema.encode(table, with_target=True))
    if not measured.metrics:
        raise UserError("none of these rows can be judged: their targets are none that the model was trained with. Give other rows.")
    return measured


def _words(settings: DataConfig) -> dict[str, str | None]:
    return {"encoding": settings.encoding, "delimiter": settings.delimiter}


def _test_of(settings: DataConfig, bundle: Bundle) -> Table | None:
    return bundle.task.prepare(reading.read(settings.test, **_words(settings))) if settings.test else None


def _trained_on(table: Table, data: Any, folder: RunFolder, settings: DataConfig, bundle: Bundle) -> bool:
    """Is this the very table that the run was trained on? Warns where it holds the same rows in another form, or has changed since."""
    before = read_json(folder.asked).get("the data's fingerprint") if folder.asked.exists() else None
    same_place = isinstance(data, (str, Path)) and settings.path and Path(data).resolve() == Path(settings.path).resolve()
    if not before:
        return bool(same_place)
    same_content = splitting.fingerprint(table).partition("/")[2] == before.partition("/")[2]
    # the test file is asked for only now: for other data it need not be there any more
    if same_content and splitting.fingerprint(table, _test_of(settings, bundle)) == before:
        return True
    flatters = "so its parts cannot be found again: rows that it was trained on are scored too, and the figures flatter."
    if same_content:
        warn(f"these are the rows of the run's own data in another order or form (or its test file has changed), {flatters}")
    elif same_place:
        warn(f"{data} has changed since the run was trained on it, {flatters}")
    return False


def _part_of(
    table: Table, split: str | None, bundle: Bundle, settings: DataConfig, folder: RunFolder | None, data: Any
) -> tuple[Table, np.ndarray, Callable[[int], str]]:
    """The rows to score, their numbers, and what the user calls a number."""
    name = settings.split or "split"
    part = splitting.by_column(table.get_column(name)) if name in table.columns else None
    names: Callable[[int], str] = lambda i: f"row {i + 1}"  # noqa: E731
    if part is None and folder is not None and _trained_on(table, data, folder, settings, bundle):
        # rows that the run was trained on must not be scored as if they were new, unless asked for
        assigned = assign(table, _test_of(settings, bundle), settings, bundle.task)
        table, part, names = assigned.table, assigned.part, assigned.names
    if part is None and split is not None:
        raise UserError(
            f"--split {split} needs data that say which rows those are: a column `split`, or the data that the run was trained on."
        )
    wanted = PARTS.index(split or "test")
    if part is None or (split is None and not (part == wanted).any()):
        return table, np.arange(table.height), names
    if not (part == wanted).any():
        raise UserError(f"the data have no {split} rows ({splitting.summary(part)}).")
    say(f"the {PARTS[wanted]} part of the data")
    rows = np.flatnonzero(part == wanted)
    return table[rows], rows, names


def measure(bundle: Bundle, encoded: Batch) -> Measured:
    """All metrics of the task on encoded rows."""
    inputs = {key: value for key, value in encoded.items() if key in bundle.schema.inputs}
    predicted = forward(bundle.model, bundle.task, bundle.head, inputs, None)
    return bundle.task.measure(predicted, encoded, bundle.schema, bundle.task.metrics(bundle.schema))


def verdict(metric: str, name: str, value: float, others: dict[str, float], n_test: int) -> str:
    """In words: was the model worth it beside the baselines, on the test rows? A metric without a value there is NaN."""
    rows = f"{n_test:,} test rows"
    if math.isnan(value):
        return f"{metric} has no value on the {rows} (they lack a class, or an answer is not finite): nothing says how good {name} is."
    silent = [other for other in others if math.isnan(others[other])]
    left_out = f" Left out, without a {metric} here: {listed(silent)}." if silent else ""
    others = {other: others[other] for other in others if other not in silent}
    if not others:
        none = "no baseline could be judged" if silent else "no baseline was asked for"
        return f"{name} reaches {metric} {value:.4f}; {none}, so nothing says whether that is good.{left_out}"
    best = next(iter(others))
    for other in others:
        if better(metric, others[other], others[best]):
            best = other
    theirs = others[best]
    if abs(value - theirs) < noise(metric, theirs, n_test) or value == theirs:
        why = "" if value == theirs else f" against {theirs:.4f}, a difference within the noise of {rows}"
        return f"{name} and {best} are level: {metric} {value:.4f}{why}. The simpler one would do.{left_out}"
    if better(metric, value, theirs):
        return f"{name} was worth it: {metric} {value:.4f} on {rows}, against {theirs:.4f} of the best baseline ({best}).{left_out}"
    return (
        f"{name} was not worth it here: {metric} {value:.4f} on {rows}, while {best} reaches {theirs:.4f}. "
        f"The validation rows did not tell; to train that one: --model {best}.{left_out}"
    )


def noise(metric: str, value: float, n: int) -> float:
    """How far a metric moves by the choice of n test rows alone, roughly: the least difference worth a word.

    The standard error sqrt(p (1 - p) / n) of a share p, for the metrics of classes and labels of which more is better; they are
    averages over rows of something between 0 and 1, or close to it. Of all others 1 %.
    """
    bare = metric.rpartition(".")[2]
    share = bare.startswith("f1_") or (direction(metric) == "max" and bare in family("classification") | family("labels"))
    return math.sqrt(value * (1 - value) / n) if share and 0 <= value <= 1 else 0.01 * abs(value)
