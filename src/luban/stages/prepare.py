"""Everything before a model: read, choose the question, split, infer the schema, encode, look for leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luban import reading, splitting
from luban.checks import report_copies, report_leaks
from luban.core import config as configs
from luban.core.contract import Head, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import cells_of, padded, say
from luban.core.registry import TASKS
from luban.data import Rows, Store, assign, describe, infer_schema
from luban.planning import Config


@dataclass(frozen=True)
class Prepared:
    """All that is known before a model is."""

    config: Config
    task: Task
    rows: Rows
    schema: Schema
    store: Store
    head: Head
    metric: str
    findings: list[dict[str, Any]]
    fingerprint: str
    """Of the data as they were given: see splitting.fingerprint."""

    def index(self, part: int) -> Tensor:
        return torch.from_numpy(self.rows.of(part))


def prepare(data: Any, config: Config) -> Prepared:
    """Reads, splits, infers, encodes: everything before a model."""
    if data is None:
        raise UserError("no data were given: name a file, a built-in set (`luban data list`), or data.path in the configuration.")
    words = {"encoding": config.data.encoding, "delimiter": config.data.delimiter}
    table = reading.read(data, **words)
    if not config.data.target:
        raise UserError(f"name the column to predict: --target COLUMN. There are: {listed(table.columns, 40)}.")
    for name in config.data.target:
        splitting.need_column(table, name, "--target")
    for name in config.data.drop:
        splitting.need_column(table, name, "--drop")
        if name in config.data.target:
            raise UserError(f"{name!r} is both the target and to be dropped.")
    task = _task(table, config)
    table = task.prepare(table)
    test = task.prepare(reading.read(config.data.test, **words)) if config.data.test else None
    rows = assign(table, test, config.data, task)
    schema = infer_schema(rows, config.data, config.fields)
    _print_schema(schema)
    rows.facts["copies_across_parts"] = report_copies(schema, rows)
    store = Store.encode(schema, rows)
    metrics = task.metrics(schema)
    if config.metric and config.metric not in metrics:
        raise UserError(
            f"--metric {config.metric!r} is not one of this task's.{did_you_mean(config.metric, metrics)} There are: {listed(metrics, 40)}."
        )
    findings = report_leaks(schema, store, rows)
    metric, fingerprint = config.metric or metrics[0], splitting.fingerprint(table, test)
    return Prepared(config, task, rows, schema, store, task.head(schema), metric, findings, fingerprint)


def _task(table: Table, config: Config) -> Task:
    options = dict(config.task)
    name = options.pop("name", None)
    columns = [table.get_column(target) for target in config.data.target]
    if name is None:
        scores = sorted(((cls.sniff(columns), name) for name, cls in TASKS.items()), reverse=True)
        name = scores[0][1]
        say(
            f"task: {name}"
            + (f" (could be {scores[1][1]}: --task {scores[1][1]})" if scores[0][0] - scores[1][0] < 0.3 and scores[1][0] > 0 else "")
        )
    task_class = TASKS[name]
    return task_class(configs.build(task_class.Config, options, "task"))


def _print_schema(schema: Schema) -> None:
    lines = describe(schema)
    width = min(32, max(cells_of(line[0]) for line in lines))
    for name, field, facts, doubts in lines[:40]:
        say(f"  {padded(name, width)}  {field:<18} {facts}" + (f"  [{doubts}]" if doubts else ""))
    if len(lines) > 40:
        say(f"  ... and {len(lines) - 40} more columns")
