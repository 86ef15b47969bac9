"""Which run is better, and is the difference more than chance? Runs of one question, side by side.

Where two runs were tested on the same rows, what counts is the difference row by row: rows are drawn with replacement, both runs are
scored on the same draw, and the interval is that of their difference (a paired bootstrap; Efron and Tibshirani 1993, chapters 8 and
13). Windows whose answers overlap are drawn in blocks, for together they say little more than one of them (Politis and Romano 1992).
The test rows are found again and answered again by the bundles: no copy of the answers has to be kept, and a run of any age can be
compared. The first run that is named is the one that the others are held against: a best one, chosen by the same rows, would flatter.
"""

from __future__ import annotations

import collections
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from luban import reading, splitting
from luban.bundle import Bundle, load
from luban.core import cells
from luban.core import config as configs
from luban.core.batch import Examples, Store
from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.files import read_json
from luban.data import DataConfig, assign, examples
from luban.folders import RunFolder, find, flat
from luban.metrics import better
from luban.planning import read_yaml
from luban.splitting import TEST, VALID
from luban.stages.assess import Assessed, assess, beside, difference, draws_of, groups_of
from luban.stages.draws import MOST, Draws
from luban.stages.prepare import read_test


@dataclass(frozen=True)
class Difference:
    """A metric of a run less that of the first one, on the same rows."""

    value: float
    low: float
    high: float
    """The ends of the 95 % interval."""

    @property
    def sure(self) -> bool:
        """Does the interval leave out 0?"""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Compared:
    """One run among others."""

    name: str
    path: str
    model: str
    metrics: dict[str, float]
    """Of its test part, as its report has them."""
    scored: str
    """test, or valid where there was no test part."""
    differences: dict[str, Difference]
    """From the first run; {} for that one, and where a run was not judged on the same rows."""
    seconds: float
    parameters: int
    size: int
    """Bytes of the bundle on disk."""
    curves: dict[str, list[dict[str, Any]]] = field(repr=False)
    """{model: its lines of metrics.jsonl}, of those that were stepped and of the one that was kept."""


@dataclass(frozen=True)
class Comparison:
    task: str
    targets: tuple[str, ...]
    metric: str
    """The one that picked the checkpoint of the first run."""
    rows: int
    """How many test rows the differences are of; 0 where there are none."""
    runs: tuple[Compared, ...]
    settings: dict[str, list[Any]]
    """{setting: its value in each run}, of those that differ."""
    verdicts: tuple[str, ...]
    """In words: what came of each run beside the first, and why some could not be judged on the same rows."""


@dataclass(frozen=True)
class _Found:
    """What a run left behind."""

    name: str
    folder: RunFolder
    report: dict[str, Any]
    config: dict[str, Any]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class _Answered:
    """A run and its test rows, found again."""

    bundle: Bundle
    hashes: np.ndarray
    """Of its test rows, answers included, (n,): equal rows in equal order, whatever their numbers in the file."""
    scored: Examples
    groups: np.ndarray | None
    """As `groups_of` has them, of each row that is scored."""


def compare(*runs: Any, data: Any = None) -> Comparison:
    """Holds finished runs of one question side by side, and each against the first one on the same test rows.

    runs: two or more of what `luban.evaluate` takes: a run folder, a name under runs/, `last`, what `luban.train` returned.
    data: where the runs' data are now, if not where they were: a path, or the frame that they were trained on.
    Raises UserError where a run is not there, has not finished, or answers another question.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs two runs or more: name them one after the other. `luban runs` lists them.")
    found = [_read(run) for run in runs]
    first = found[0]
    for i, other in enumerate(found):
        if any(other.folder.model == before.folder.model for before in found[:i]):
            raise UserError(f"{other.folder.path} is named twice. Name different runs.")
        if (other.report["task"], other.targets) != (first.report["task"], first.targets):
            raise UserError(
                f"{first.name} and {other.name} answer different questions: {first.report['task']} of {listed(first.targets)}, and "
                f"{other.report['task']} of {listed(other.targets)}. Compare runs of one task and the same target."
            )
    found = _told_apart(found)
    differences, rows, verdicts = _differences(found, data)
    made = tuple(_compared(each, differences.get(each.name, {})) for each in found)
    metric = found[0].report["metric"]
    verdicts += [_verdict(metric, made[0], each) for each in made[1:] if metric in each.differences]
    return Comparison(first.report["task"], first.targets, metric, rows, made, _settings([each.config for each in found]), tuple(verdicts))


# ---------------------------------------------------------------- what the runs left behind


def _read(run: Any) -> _Found:
    folder = find(run)
    report = folder.report if folder.report.exists() else folder.model / "report.json"  # a bundle alone has a copy of it
    if not report.exists() or not (folder.model / "luban.json").exists():
        raise UserError(f"{folder.path} has not finished, so there are no figures of it yet; go on with it by the same `luban train` "
                        f"command and --resume --out {shlex.quote(str(folder.path))}.")  # fmt: skip
    schema = read_json(folder.model / "schema.json")
    targets = tuple(each["columns"][0] for each in (schema["targets"] or schema["inputs"]).values())
    config = read_yaml(folder.config) if folder.config.exists() else {}
    return _Found(folder.path.name, folder, read_json(report), config, targets)


def _told_apart(found: list[_Found]) -> list[_Found]:
    """Runs of one name in different folders go by their whole paths."""
    names = [each.name for each in found]
    return [each if names.count(each.name) == 1 else _Found(str(each.folder.path), *list(vars(each).values())[1:]) for each in found]


def _compared(run: _Found, differences: dict[str, Difference]) -> Compared:
    report, curves = run.report, collections.defaultdict(list)
    for line in run.folder.lines():
        curves[line["model"]].append(line)
    return Compared(
        run.name, str(run.folder.path), report["model"], report["metrics"], report["scored"], differences, report["seconds"],
        report["parameters"], sum(file.stat().st_size for file in run.folder.model.iterdir()),
        {name: lines for name, lines in curves.items() if len(lines) > 1 or name == report["model"]},
    )  # fmt: skip


def _settings(found: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """{setting: its value in each run, None where it has none} of those that differ; a run without a config.yaml has no say."""
    sides = [flat(each) for each in found]
    told = [each for each in sides if each]
    keys = dict.fromkeys(key for each in sides for key in each)
    differ = [key for key in keys if len({json.dumps(each.get(key), sort_keys=True) for each in told}) > 1]
    return {key: [each.get(key) for each in sides] for key in differ}


# ---------------------------------------------------------------- on the same rows


def _differences(found: Sequence[_Found], data: Any) -> tuple[dict[str, dict[str, Difference]], int, list[str]]:
    """({run: {metric: its difference from the first run}}, of how many rows, why some runs have none)."""
    answered, reasons, seen = {}, [], _Data()
    for run in found:
        try:
            answered[run.name] = _answer(run, data, seen)
        except UserError as error:  # its own words say why; the stored figures still stand
            if run is found[0]:
                return {}, 0, [f"all are compared by their stored figures alone, for those of {run.name} cannot be made again: {error}"]
            reasons.append(f"{run.name} is compared by its stored figures alone: {error}")
    first = answered.pop(found[0].name)
    same = {
        name: each for name, each in answered.items() if len(each.scored) == len(first.scored) and np.array_equal(each.hashes, first.hashes)
    }
    reasons += [f"{name} was tested on other rows than {found[0].name}, so it is compared by its stored figures alone."
                for name in answered if name not in same]  # fmt: skip
    if not same:
        return {}, 0, reasons
    draws, noun = draws_of(first.bundle.task, first.scored, first.groups), first.bundle.task.noun
    if draws is None:
        few = f"{len(first.scored):,} {noun} are too few independent ones to say how sure a difference is."
        return {}, 0, [*reasons, few]
    base, *others = (assess(each.bundle, beside(each.scored, draws, MOST), draws) for each in (first, *same.values()))
    return {name: _less(each, base, draws) for name, each in zip(same, others, strict=True)}, base.n, reasons


class _Data:
    """Tables that were read and split, each once, however many runs are of it."""

    def __init__(self) -> None:
        self.tables: dict[str, tuple[Table, Table | None, str]] = {}
        self.rows: dict[str, Any] = {}


def _answer(run: _Found, data: Any, seen: _Data) -> _Answered:
    """The run's answers to the rows that it was tested on. Raises UserError where these cannot be found again."""
    asked = read_json(run.folder.asked) if run.folder.asked.exists() else {}
    before, settings = asked.get("the data's fingerprint"), configs.build(DataConfig, run.config.get("data", {}))
    place = settings.path if data is None else data
    if before is None or not run.config:
        raise UserError("it is a model without its run folder, which alone says which rows were tested.")
    if place is None:
        raise UserError("its data came from Python, not from a file: hand them in again with data=, or name a file of them by --data.")
    bundle = load(run.folder)
    on_disk = before.endswith("/file")  # a fingerprint of another kind would say that the data have changed
    laid = None if bundle.task.labelled else bundle.task.config
    key = repr((place if data is None else "", settings.test, on_disk, sorted(bundle.reading.items(), key=str), laid))
    if key not in seen.tables:
        table = bundle.task.laid_out(reading.read(place, **bundle.reading, on_disk=on_disk), settings.time)
        test = read_test(table, settings, bundle.reading, bundle.task)
        seen.tables[key] = table, test, splitting.fingerprint(table, test)
    table, test, fingerprint = seen.tables[key]
    if fingerprint != before:
        what = "the data given by --data are" if data is not None else f"its data, {place}, have changed since: they are"
        raise UserError(f"{what} not what it was trained and tested on. Give the file as it was by --data.")
    unreadable, task = run.report["data"].get("unreadable", []), bundle.task
    key = repr((key, settings, run.report["task"], task.config, unreadable))
    if key not in seen.rows:
        seen.rows[key] = assign(table, test, settings, task, unreadable)
    rows = seen.rows[key]
    part = TEST if (rows.part == TEST).any() else VALID
    tested = rows.of(part)
    hashes = splitting.row_hash(rows.table[tested].select(sorted(rows.table.columns)))
    if task.labelled:  # rows that stand by themselves: those of a file in another order are the same
        order = np.argsort(hashes, kind="stable")
        tested, hashes = tested[order], hashes[order]
    kept = _spread(tested, MOST) if task.labelled else np.arange(len(rows.part))
    some = rows.table[kept]
    with cells.numbered(rows.names), cells.picked(kept):
        encoded = bundle.schema.encode(some, with_target=True)
    scored = examples(task, Store(encoded | rows.noted, torch.from_numpy(rows.part[kept])), part)
    return _Answered(bundle, hashes, scored, groups_of(some, settings.group))


def _spread(numbers: np.ndarray, most: int) -> np.ndarray:
    """All of them, or `most`, evenly."""
    return numbers if len(numbers) <= most else numbers[np.linspace(0, len(numbers) - 1, most).astype(np.int64)]


def _less(mine: Assessed, base: Assessed, draws: Draws) -> dict[str, Difference]:
    """The differences of those metrics that have a value on most draws."""
    found = {}
    for name in mine.drawn:
        if (interval := difference(draws, mine, base, name)) is not None:
            value = mine.measured.metrics[name] - base.measured.metrics[name]
            # sums in another order differ by 1e-16, which is no difference
            found[name] = Difference(*(round(each, 12) for each in (value, *interval)))
    return found


def _verdict(metric: str, first: Compared, other: Compared) -> str:
    d = other.differences[metric]
    how = f"{metric} {d.value:+.4f}, 95 % interval {d.low:+.4f} to {d.high:+.4f}"
    if not d.sure:
        return f"{other.name} and {first.name} cannot be told apart: {how}."
    return f"{other.name} is {'better' if better(metric, d.value, 0.0) else 'worse'} than {first.name}: {how}."
