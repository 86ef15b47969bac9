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
from luban.core.files import home, read_json, write_text
from luban.core.notes import say, warn
from luban.core.table import DiskTable
from luban.data import DataConfig, Rows, assign, encode_columns, examples, missing, picked
from luban.folders import RunFolder, find
from luban.metrics import better, compute, family, resampled
from luban.planning import read_yaml
from luban.report.page import page
from luban.splitting import PARTS, TEST, VALID
from luban.stages.assess import assess, detail, draws_of, groups_of
from luban.stages.draws import draw
from luban.stages.prepare import read_test
from luban.stages.show import cells_of, figures


def evaluate(
    run: str | Path | Bundle,
    data: Any,
    *,
    split: str | None = None,
    model: Any = None,
    skip_bad: bool = False,
    report: str | Path | None = None,
) -> Measured:
    """Scores a run's model on `data`, which must hold the target: metrics, and their 95 % bootstrap intervals.

    run: a run folder, its model/, `last`, or a loaded Bundle. data: as for `luban.predict`. split: train, valid or test: only these
    rows; without it the test part where the data have one of their own (a `split` column), else all rows. The data that the run was
    trained on are known again by their fingerprint, under any name, and their parts are found by the run's configuration.
    model: the user's own network, as for `luban.load`. skip_bad: rows that cannot be read are left out, aloud, instead of stopping.
    report: an .html file to write, the page of the run but for these rows.
    Raises UserError where a column, the target or the part is missing.
    """
    folder = None if isinstance(run, Bundle) else find(run)
    bundle = run if isinstance(run, Bundle) else load(folder, model)
    task, schema = bundle.task, bundle.schema
    settings = configs.build(DataConfig, read_yaml(folder.config)["data"]) if folder and folder.config.exists() else DataConfig()
    before, own = _fingerprint_of(folder), _same_place(data, settings)
    on_disk = before.endswith("/file") if before and own else settings.on_disk
    table = reading.read(data, **bundle.reading, on_disk=on_disk if task.labelled else False)
    table = task.laid_out(table)
    if split is None and (pairs := task.compared(table, bundle.answer)) is not None:
        if report is not None:
            raise UserError("there is no page about pairs, only their figures: leave --report out.")
        return _agreement(*pairs)
    targets = [target.columns[0] for target in schema.targets.values()]
    for name in targets:
        splitting.need(table, name, "the target")
    if report is not None and Path(report).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"the report is a page: name an .html file, not {str(report)!r}.")
    if split is not None and split not in PARTS:
        raise UserError(f"--split is one of train, valid, test, not {split!r}.{did_you_mean(split, PARTS)}")
    rows, wanted, new = _parted(table, split, bundle, settings, folder, data)
    with _place(table) as place:
        scored, kept = _examples(rows, wanted, new, targets, bundle, skip_bad, place)
        if not len(scored):
            few = f"these {len(rows.part):,} rows are too few, or training had nothing like them"
            raise UserError(f"there are no {task.noun} to score: {few}.")
        say(f"scoring {len(scored):,} {task.noun}")
        groups = groups_of(rows.table, settings.group)
        draws = draws_of(task, scored, groups if groups is None else groups[kept])
        found = assess(bundle, scored, draws)
        if not found.measured.metrics:
            raise UserError(
                "none of these rows can be judged: their targets are none that the model was trained with, or its answers to them are not "
                "finite. Give other rows."
            )
        if draws is not None and (bare := [name for name in found.measured.metrics if name not in found.measured.intervals]):
            say(f"no interval of {listed(bare)}: too few errors to tell, or too many classes to sort each of them again and again")
        if report is not None:
            run_said = _report_of(bundle, folder)
            name = str(data) if isinstance(data, (str, Path)) else type(data).__name__
            after = {"metrics": found.measured.metrics, "scored": f"{len(scored):,} {task.noun}: {name}"}
            after |= detail(bundle, scored, draws, found, run_said["metric"])
            language = read_yaml(folder.config).get("report", {}).get("language") if folder and folder.config.exists() else None
            seen = figures(bundle, found.judged, found.truth, scored, scored, cells_of(rows.table, scored, kept))
            write_text(Path(report), page({**run_said, **after}, seen, language or "auto"))
    return found.measured


def _agreement(truth: np.ndarray, scores: np.ndarray) -> Measured:
    """How well the model's scores of pairs agree with people's, with intervals."""
    names, draws = tuple(family("agreement")), draw(len(truth))
    found = compute("agreement", names, truth, scores)
    if not found:
        raise UserError(f"{len(truth):,} pairs whose scores are all the same, or one alone, have no order to agree with. Give others.")
    if draws is None:
        return Measured(found)
    at = (truth[draws.numbers], scores[draws.numbers])
    drawn, once = (resampled("agreement", names, *at, w) for w in (draws.counts, np.ones((len(draws.numbers), 1))))
    intervals = {name: draws.interval(drawn[name], float(once[name][0]), found[name]) for name in found}
    return Measured(found, intervals={name: each for name, each in intervals.items() if each is not None})


@contextmanager
def _place(table: Table) -> Iterator[Path | None]:
    """Where the rows of a table on disk are encoded to while they are scored; None for memory."""
    if not isinstance(table, DiskTable):
        yield None
        return
    (home() / "cache").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home() / "cache", prefix=".scored.") as folder:
        yield Path(folder)


def _report_of(bundle: Bundle, folder: RunFolder | None) -> dict[str, Any]:
    """What the run's own report says of the model and its training, without what it says of other rows."""
    path = next((each for each in (folder.report, folder.model / "report.json") if each.exists()), None) if folder else None
    mine = ("task", "model", "metric", "target", "costs", "path", "split", "data", "columns", "plan", "parameters", "seconds", "machine")
    kept = (*mine, "learning", "config")
    report = read_json(path) if path else {}
    name = bundle.info["task"]["name"]
    plain = {"task": name, "model": bundle.info["model"]["name"], "metric": bundle.task.metrics(bundle.schema)[0]}
    return plain | {key: report[key] for key in kept if key in report} | {"baselines": {}, "findings": []}


def _examples(
    rows: Rows, wanted: int, new: bool, targets: Sequence[str], bundle: Bundle, skip_bad: bool, place: Path | None
) -> tuple[Examples, np.ndarray]:
    """(the examples of the wanted part, which rows of the table the store holds). Of labelled rows only those of the part that have every
    target are read; a window or a user may look back on rows of another part, and, where the data are new, on what the bundle remembers."""
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
    store = Store(columns | rows.noted, torch.from_numpy(part[kept]))
    return examples(bundle.task, bundle.task.remember(store, bundle.context) if new else store, wanted), kept


def _left_out(folder: RunFolder) -> list[int]:
    """The rows that the run could not read and left out: its parts were made without them."""
    return read_json(folder.report)["data"].get("unreadable", []) if folder.report.exists() else []


def _fingerprint_of(folder: RunFolder | None) -> str:
    """Of the data that the run was trained on; "" where that is not known."""
    return read_json(folder.asked).get("the data's fingerprint", "") if folder and folder.asked.exists() else ""


def _same_place(data: Any, settings: DataConfig) -> bool:
    return isinstance(data, (str, Path)) and bool(settings.path) and Path(data).resolve() == Path(str(settings.path)).resolve()


def _trained_on(table: Table, data: Any, folder: RunFolder, settings: DataConfig, bundle: Bundle) -> bool:
    """Is this the very table that the run was trained on? Warns where it holds the same rows in another form, or has changed since."""
    before, same_place = _fingerprint_of(folder), _same_place(data, settings)
    if not before:
        return same_place
    same_content = splitting.fingerprint(table).partition("/")[2] == before.partition("/")[2]
    # the test file is asked for only now: for other data it need not be there any more
    if same_content and splitting.fingerprint(table, read_test(table, settings, bundle.reading, bundle.task)) == before:
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
    read = [each.columns[0] for each in bundle.schema.inputs.values()]  # a feature of this name says nothing of parts
    part = splitting.by_column(table.get_column(name)) if name in table.columns and name not in read else None
    # a bundle remembers its own held-back rows, too: taken for new ones, where a column names the parts, users would have had all of them
    apart = part is None or not bundle.task.labelled
    known = apart and folder is not None and _trained_on(table, data, folder, settings, bundle)
    if known:
        # rows that the run was trained on must not be scored as if they were new, unless asked for
        rows = assign(table, read_test(table, settings, bundle.reading, bundle.task), settings, bundle.task, _left_out(folder))
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
        noted = bundle.task.noted(table, order, part[order], part > 0)
        rows = Rows(picked(table, order), part[order], order, lambda i: f"row {int(order[i]) + 1}", {}, {}, noted)
    if not (rows.part == wanted).any():
        raise UserError(f"the data have no {split} rows ({splitting.summary(rows.part)}).")
    if not (rows.part == wanted).all():
        say(f"the {PARTS[wanted]} part of the data")
    return rows, wanted, not known


def measure(bundle: Bundle, scored: Examples) -> Measured:
    """All metrics of the task on these examples."""
    judged, truth = judge(bundle.model, bundle.task, bundle.head, scored)
    return bundle.task.measure(judged, truth, bundle.schema, bundle.task.metrics(bundle.schema))


def verdict(
    metric: str, name: str, value: float, others: dict[str, float], differences: dict[str, tuple[float, float] | None]
) -> dict[str, Any]:
    """Was the model worth it beside the baselines? For report.words.verdict to put in words; a metric without a value is NaN.

    differences: {other: the interval of this model's metric minus the other's, drawn in pairs, or None}. Where that holds 0, the two are
    level; where not, its sign decides. "outcome": none (no value) | alone | level | better | worse.
    """
    facts: dict[str, Any] = {"metric": metric, "model": name, "value": None if math.isnan(value) else value, "outcome": "none"}
    if math.isnan(value):
        return facts
    facts["silent"] = [other for other in others if math.isnan(others[other])]
    others = {other: others[other] for other in others if other not in facts["silent"]}
    if not others:
        return facts | {"outcome": "alone"}
    best = next(iter(others))
    for other in others:
        if better(metric, others[other], others[best]):
            best = other
    apart = differences.get(best)
    level = apart[0] <= 0 <= apart[1] if apart is not None else value == others[best]
    ahead = better(metric, apart[0], 0.0) if apart is not None else better(metric, value, others[best])
    outcome = "level" if level else "better" if ahead else "worse"
    if value == others[best] == 0 and better(metric, 1.0, 0.0):
        facts["nothing"] = True
    return facts | {"outcome": outcome, "best": best, "theirs": others[best], "difference": list(apart) if apart else None}
