"""Everything before a model: read, choose the question, split, infer the schema, encode, look for leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luban import checks, reading, splitting
from luban.bundle import Bundle
from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look, places, spoken
from luban.columns import describe, fit_schema
from luban.core import config as configs
from luban.core.batch import Examples, Store
from luban.core.contract import Head, Schema, Table, Task
from luban.core.errors import BadCells, UserError, did_you_mean, listed
from luban.core.notes import padded, say, warn, width_of
from luban.core.registry import MODELS, TASKS
from luban.core.table import DiskTable
from luban.data import DataConfig, Rows, assign, encode, examples, reworded
from luban.planning import Config, reads
from luban.splitting import PARTS, TEST, TRAIN, UNLABELLED, VALID
from luban.stages import kept
from luban.stages.kept import Known
from luban.stages.origin import opened

_SOME = 100_000
"""Rows by which a question is guessed from the target."""
_TOLD = 3
"""Doubts that a training says, the surest; what is serious it says whatever the number."""


@dataclass(frozen=True)
class Prepared:
    """All that is known before a model is."""

    config: Config
    task: Task
    known: Known
    examples: tuple[Examples, Examples, Examples]
    """Of the training, validation and test part."""
    head: Head
    metric: str
    start: Bundle | None = None
    """The run to go on from."""

    @property
    def unlabelled(self) -> Examples:
        """Rows without an answer."""
        return examples(self.task, self.known.store, UNLABELLED)

    @property
    def rows(self) -> Rows:
        return self.known.rows

    @property
    def schema(self) -> Schema:
        return self.known.schema

    @property
    def store(self) -> Store:
        return self.known.store


def prepare(data: Any, config: Config, looks: Sequence[checks.Check] = checks.QUICK) -> Prepared:
    """Reads, splits, infers, encodes, looks for what may be wrong: everything before a model."""
    start, config = opened(config)
    if data is None:
        raise UserError("no data were given: name a file, a built-in set (`luban data list`), or data.path in the configuration.")
    named = TASKS[config.task["name"]] if config.task.get("name") else _meant(config)
    words = {"encoding": config.data.encoding, "delimiter": config.data.delimiter, "endings": named.endings if named else {}}
    table = reading.read(data, **words, on_disk=config.data.on_disk if named is None or named.labelled else False)
    task = _task(table, named, config)
    table = task.laid_out(table, config.data.time)
    if unread := config.data.beside.keys() - task.beside.keys():
        raise UserError(f"data.{min(unread)}: this task reads no table beside the data. Leave it out, or name a --task that does: "
                        f"{listed([name for name, each in TASKS.items() if min(unread) in each.beside])}.")  # fmt: skip
    task.beside = {name: reading.read(path, **words) for name, path in config.data.beside.items()}
    task.settle(table if task.labelled else table.drop(config.data.drop), config.data.target, config.data.time)
    test = read_test(table, config.data, words, task)

    def make(folder: Path | None) -> Known:
        return _known(table, test, config, task, looks, folder, start)

    if isinstance(table, DiskTable):
        asked = [
            table.stamp,
            splitting.fingerprint(test) if test is not None else "",
            config.data,
            config.train.semi,
            config.fields,
            reads(config),
            type(task),
            task.config,
            start.schema.state() if start else None,
        ]
        known = kept.known([*asked, *(look.__qualname__ for look in looks)], table, test, make)
    else:
        known = make(None)
    metrics = task.metrics(known.schema)
    if config.metric and config.metric not in metrics:
        raise UserError(
            f"--metric {config.metric!r} is not one of this task's.{did_you_mean(config.metric, metrics)} There are: {listed(metrics, 40)}."
        )
    parts = (examples(task, known.store, TRAIN), examples(task, known.store, VALID), examples(task, known.store, TEST))
    for part, name in ((TRAIN, "train on"), (VALID, "validate on")):
        if not len(parts[part]):
            raise UserError(f"the split leaves no {task.noun} to {name}. Give more data, or other shares: --set data.shares=[0.6,0.2,0.2].")
    if not task.labelled:
        say(f"{task.noun}: " + ", ".join(f"{name} {len(each):,}" for name, each in zip(PARTS, parts, strict=True)))
    return Prepared(config, task, known, parts, task.head(known.schema), config.metric or metrics[0], start)


def read_test(table: Table, config: DataConfig, words: dict[str, Any], task: Task) -> Table | None:
    """The test file beside the table: on disk where that is, too, for memory must not grow with either."""
    if not config.test:
        return None
    return task.laid_out(reading.read(config.test, **words, on_disk=config.on_disk if isinstance(table, DiskTable) else False), config.time)


def _known(table: Table, test: Table | None, config: Config, task: Task, looks: Sequence[checks.Check], folder: Path | None,
           start: Bundle | None) -> Known:  # fmt: skip
    """The encoded rows in `folder`, where one is given, else in memory; and what may be wrong with them."""
    doubts = checks.as_read(table, test, config.data.target, config.data.drop)
    try:
        rows, schema, store = _encoded(table, test, config, task, folder, start)
    except UserError as error:  # where the answers cannot be learned, what was doubted of them may be why
        about = [spoken(asdict(each)) for each in doubts if each.column in config.data.target]
        raise UserError(" Beside that, ".join([str(error), *about])) from error
    if len(left := np.array(rows.facts.get("unreadable", ()), np.int64)):
        what, mend = (
            f"rows with cells that cannot be read: {len(left):,}",
            "Without data.skip_bad a training stops at them: correct the cells",
        )
        doubts.append(Finding("unreadable", NOTE, what, 1.0, "they were left out", mend=mend, **places(left, table.height)))
    findings = checks.run(Look(rows, schema, store, config.data, table.height), looks if task.labelled else checks.ORDERED, doubts)
    for each in findings:
        if each["severity"] == SERIOUS:
            warn(spoken(each))
    doubted = [each for each in findings if each["severity"] == DOUBT]
    for each in doubted[:_TOLD]:
        say(f"doubt: {spoken(each)}")
    if doubted:
        more = f"{len(doubted) - _TOLD} more doubts are in report.json; " if len(doubted) > _TOLD else ""
        say(f"{more}`luban data check` with the same words looks further")
    if task.labelled:
        rows.facts["copies_across_parts"] = sum(each["count"] for each in findings if each["kind"] == "copies")
    return Known(rows, schema, store, findings, splitting.fingerprint(table, test))


def _encoded(table: Table, test: Table | None, config: Config, task: Task, folder: Path | None,
             start: Bundle | None) -> tuple[Rows, Schema, Store]:  # fmt: skip
    """With data.skip_bad, all is decided again without the rows that turn out unreadable, as if they had never been there."""
    bad = np.zeros(0, np.int64)
    while True:
        rows = assign(table, test, config.data, task, bad, config.train.semi)
        schema = fit_schema(rows, config.data, config.fields, task, reads(config), start.schema if start else None)
        for each in () if task.labelled else (*schema.inputs.values(), *schema.targets.values()):
            if each.columns[0] in task.taken:
                raise UserError(f"a column of our own answers is called {each.columns[0]!r}, too. Give yours another name.")
        _print_schema(schema)
        rows = reworded(rows, schema)
        try:
            return rows, schema, encode(schema, rows, folder)
        except BadCells as error:
            if not config.data.skip_bad:
                raise
            say(f"left out, as asked: {len(error.rows):,} rows. {error.__cause__}")
            bad = np.union1d(bad, error.rows)


def _meant(config: Config) -> Any:
    """The task that is not named, but meant by the model, which answers nothing else, or by options that no other task has."""
    model, options = config.model.get("name"), [key for key in config.task if key != "name"]
    gives = MODELS[model].gives if model in MODELS.names() else None
    tasks = [(name, cls) for name, cls in TASKS.items() if cls.labelled or cls.asks]
    by_model = [each for each in tasks if gives == {each[1].asks}]
    by_options = [each for each in tasks if set(options) <= each[1].Config.__dataclass_fields__.keys()]
    for why, fits in (f"as {model} answers it", by_model), (f"by {', '.join(f'task.{key}' for key in options)}", by_options):
        if len(fits) == 1 and fits[0][1].asks:
            say(f"task: {fits[0][0]}, {why}")
            return fits[0][1]
    return None


def _task(table: Table, named: type[Task] | None, config: Config) -> Task:
    """The task that was named, or that the target columns ask for; after the columns that the user named were found."""
    targets = config.data.target
    if not targets and named is None:  # a column that is asked about in one way alone, such as tags of tokens, need not be named
        some = [] if isinstance(table, DiskTable) else list(table.head(1000))
        named = next((cls for _, cls in TASKS.items() if not cls.labelled and any(cls.sniff([each]) > 0.9 for each in some)), None)
        if named:
            say(f"task: {named.__module__.rpartition('.')[2]}")
    if not targets and (named is None or named.labelled):
        without = [name for name, cls in TASKS.items() if not cls.labelled]
        raise UserError(
            f"name the column to predict: --target COLUMN. There are: {listed(table.columns, 40)}. "
            f"Or a question that needs none: --task {' | '.join(without)}."
        )
    for name in targets:
        if name not in table.columns and name == reading.usual_target(config.data.path):
            raise UserError(f"{config.data.path} has no {name!r}, which is the name of the folder that a file lies in: put the files of "
                            "each class into a folder of its own, or list them in a metadata.csv.")  # fmt: skip
        splitting.need(table, name, "--target")
    for name in config.data.drop:
        splitting.need(table, name, "--drop")
        if name in targets:
            raise UserError(f"{name!r} is both the target and to be dropped.")
    options = {key: value for key, value in config.task.items() if key != "name"}
    if named is None:
        every = max(1, table.height // _SOME)
        columns = [table.get_column(target).gather_every(every) for target in targets]
        scores = sorted(((cls.sniff(columns), name, cls) for name, cls in TASKS.items()), key=lambda score: score[:2], reverse=True)
        (best, name, named), (second, other, _) = scores[:2]
        say(f"task: {name}" + (f" (could be {other}: --task {other})" if best - second < 0.3 and second > 0 else ""))
    if config.data.group and not named.labelled:
        raise UserError("--group has no meaning for this task, which splits its data by a rule of its own. Leave it out.")
    return named(configs.build(named.Config, options, "task"))


def _print_schema(schema: Schema) -> None:
    lines = describe(schema)
    width = min(32, max(width_of(line[0]) for line in lines))
    for name, field, facts, doubts in lines[:40]:
        say(f"  {padded(name, width)}  {field:<18} {facts}" + (f"  [{doubts}]" if doubts else ""))
    if len(lines) > 40:
        say(f"  ... and {len(lines) - 40} more columns")
