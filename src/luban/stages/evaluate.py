"""How good a model is on rows that have an answer: its task's metrics, and in words whether the network was worth it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luban import reading, splitting
from luban.bundle import Bundle, judge, load
from luban.core import cells
from luban.core import config as configs
from luban.core.batch import Examples, Store
from luban.core.contract import Measured, Table
from luban.core.errors import BadCells, UserError, did_you_mean, listed
from luban.core.files import home, read_json
from luban.core.notes import say, warn
from luban.core.table import DiskTable
from luban.data import DataConfig, Rows, assign, encode_columns, examples, missing, picked
from luban.folders import RunFolder, find
from luban.metrics import better, is_share
from luban.planning import read_yaml
from luban.splitting import PARTS, TEST, VALID


def evaluate(run: str | Path | Bundle, data: Any, *, split: str | None = None, model: Any = None, skip_bad: bool = False) -> Measured:
    """Scores a run's model on `data`, which must hold the target.

    run: a run folder, its model/, `last`, or a loaded Bundle. data: as for `luban.predict`. split: train, valid or test: only these
    rows; without it the test part where the data have one of their own (a `split` column), else all rows. The data that the run was
    trained on are known again by their fingerprint, under any name, and their parts are found by the run's configuration.
    model: the user's own network, as for `luban.load`. skip_bad: rows that cannot be read are left out, aloud, instead of stopping.
    Raises UserError where a column, the target or the part is missing.
    """
    folder = None if isinstance(run, Bundle) else find(run)
    bundle = run if isinstance(run, Bundle) else load(folder.model, model)
    task, schema = bundle.task, bundle.schema
    settings = configs.build(DataConfig, read_yaml(folder.config)["data"]) if folder and folder.config.exists() else DataConfig()
    table = reading.read(data, **bundle.reading, on_disk=settings.on_disk if task.labelled else False)
    targets = [target.columns[0] for target in schema.targets.values()]
    for name in targets:
        splitting.need_column(table, name, "the target")
    if split is not None and split not in PARTS:
        raise UserError(f"--split is one of train, valid, test, not {split!r}.{did_you_mean(split, PARTS)}")
    rows, wanted, new = _parted(table, split, bundle, settings, folder, data)
    with _place(table) as place:
        scored = _examples(rows, wanted, new, targets, bundle, skip_bad, place)
        if not len(scored):
            few = f"these {len(rows.part):,} rows are too few, or training had nothing like them"
            raise UserError(f"there are no {task.noun} to score: {few}.")
        say(f"scoring {len(scored):,} {task.noun}")
        measured = measure(bundle, scored)
    if not measured.metrics:
        raise UserError("none of these rows can be judged: their targets are none that the model was trained with. Give other rows.")
    return measured


@contextmanager
def _place(table: Table) -> Iterator[Path | None]:
    """Where the rows of a table on disk are encoded to while they are scored; None for memory."""
    if not isinstance(table, DiskTable):
        yield None
        return
    with tempfile.TemporaryDirectory(dir=home() / "cache", prefix=".scored.") as folder:
        yield Path(folder)


def _examples(rows: Rows, wanted: int, new: bool, targets: Sequence[str], bundle: Bundle, skip_bad: bool, place: Path | None) -> Examples:
    """The examples of the wanted part. Of labelled rows only those of the part that have every target are read; a window or a user may
    look back on rows of another part, and, where the data are new, on what the bundle remembers."""
    table, part, kept = rows.table, rows.part, np.arange(len(rows.part))
    if bundle.task.labelled:
        kept = np.flatnonzero(part == wanted)
        for name in targets:
            full = ~missing(table.get_column(name).gather(kept), nan_too=True)
            if not full.all():
                say(f"{int((~full).sum()):,} rows have no {name} and are left out")
                kept = kept[full]
        if not len(kept):
            raise UserError("no row is left to score: the target is empty in all of them.")
    columns = None
    while columns is None:
        try:
            with cells.numbered(rows.names), cells.picked(kept):
                columns = encode_columns(bundle.schema, picked(table, kept) if bundle.task.labelled else table, place)
        except BadCells as bad:
            if not (skip_bad and bundle.task.labelled) or len(bad.rows) == len(kept):
                raise
            warn(f"{bad} Such rows are left out.")
            kept = np.delete(kept, bad.rows)
    store = Store(columns, torch.from_numpy(part[kept]))
    return examples(bundle.task, bundle.task.remember(store, bundle.context) if new else store, wanted)


def _left_out(folder: RunFolder) -> list[int]:
    """The rows that the run could not read and left out: its parts were made without them."""
    return read_json(folder.report)["data"].get("unreadable", []) if folder.report.exists() else []


def _test_of(settings: DataConfig, bundle: Bundle) -> Table | None:
    return reading.read(settings.test, **bundle.reading) if settings.test else None


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


def _parted(
    table: Table, split: str | None, bundle: Bundle, settings: DataConfig, folder: RunFolder | None, data: Any
) -> tuple[Rows, int, bool]:
    """(the rows with their parts, in the task's order; the part to score, all rows where nothing says which are of a part; are they other
    data than the run was trained on?)."""
    name = settings.split or "split"
    part = splitting.by_column(table.get_column(name)) if name in table.columns else None
    known = part is None and folder is not None and _trained_on(table, data, folder, settings, bundle)
    if known:
        # rows that the run was trained on must not be scored as if they were new, unless asked for
        rows = assign(table, _test_of(settings, bundle), settings, bundle.task, _left_out(folder))
        wanted = PARTS.index(split) if split else TEST if (rows.part == TEST).any() else VALID
    else:
        if part is None and split is not None:
            raise UserError(
                f"--split {split} needs data that say which rows those are: a column `split`, or the data that the run was trained on."
            )
        wanted = PARTS.index(split or "test")
        if part is None or (split is None and not (part == wanted).any()):
            part = np.full(table.height, wanted, np.uint8)
        order = None if bundle.task.labelled else bundle.task.order(table)
        order = np.arange(table.height) if order is None else order
        rows = Rows(picked(table, order), part[order], order, lambda i: f"row {int(order[i]) + 1}", {}, {})
    if not (rows.part == wanted).any():
        raise UserError(f"the data have no {split} rows ({splitting.summary(rows.part)}).")
    if not (rows.part == wanted).all():
        say(f"the {PARTS[wanted]} part of the data")
    return rows, wanted, not known


def measure(bundle: Bundle, scored: Examples) -> Measured:
    """All metrics of the task on these examples."""
    judged, truth = judge(bundle.model, bundle.task, bundle.head, scored)
    return bundle.task.measure(judged, truth, bundle.schema, bundle.task.metrics(bundle.schema))


def verdict(metric: str, name: str, value: float, others: dict[str, float], n_test: int, noun: str = "test rows") -> str:
    """In words: was the model worth it beside the baselines, on the test rows? A metric without a value there is NaN."""
    rows = f"{n_test:,} {noun}"
    if math.isnan(value):
        return f"{metric} has no value on the {rows} (they lack a class, or an answer is not finite): nothing says how good {name} is."
    silent = [other for other in others if math.isnan(others[other])]
    left_out = f" Left out, without a {metric} here: {listed(silent)}." if silent else ""
    others = {other: others[other] for other in others if other not in silent}
    if not others:
        none = "no baseline could be judged" if silent else "nothing stands beside it"
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
        f"To train that one: --model {best}.{left_out}"
    )


def noise(metric: str, value: float, n: int) -> float:
    """How far a metric moves by the choice of n test rows alone, roughly: the least difference worth a word.

    The standard error sqrt(p (1 - p) / n) of a metric that is a share; of all others 1 %.
    """
    return math.sqrt(value * (1 - value) / n) if is_share(metric) and 0 <= value <= 1 else 0.01 * abs(value)
