"""What `--from RUN` brings along: the words, the fitted fields and the weights of a run, so that another goes on from it.

Same question, newer rows: everything goes on. Another question of the same columns (a network that has read many reviews, and is now
to tell good ones from bad): the columns are read as that run read them, the network starts from its weights, and only the output is new.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luban import splitting
from luban.bundle import Bundle, load
from luban.core.contract import Model, Schema
from luban.core.errors import UserError
from luban.core.notes import say, warn
from luban.data import Rows
from luban.folders import all_runs, find
from luban.planning import Config
from luban.splitting import TEST, TRAIN, UNLABELLED, VALID

ANSWERING = ("output", "steps")
"""Modules of a model that belong to the answers: where these are others, they begin anew."""


def opened(config: Config) -> tuple[Bundle | None, Config]:
    """The run to go on from, and the configuration with what it says where the user says nothing: question, model and their options."""
    if config.start is None:
        return None, config
    path = _finished(config.start)
    bundle = load(path)
    if bundle.model.solves or bundle.model.joins:
        raise UserError(f"--from {config.start}: {bundle.info['model']['name']} is solved at once and has no steps to go on with. "
                        "Train anew on all rows.")  # fmt: skip
    if config.folds:
        raise UserError("--folds and --from cannot go together: the run has learned from rows that a fold would be judged on.")
    theirs, mine = bundle.info["model"]["name"], config.model.get("name")
    if mine not in (None, theirs):
        raise UserError(f"--from {config.start} is a {theirs}, whose weights a {mine} cannot take. Leave --model out.")
    config = dataclasses.replace(
        config,
        start=str(path),
        model={"name": theirs, **bundle.info["model"]["config"], **config.model},
    )
    inputs, targets = (tuple(each.columns[0] for each in fields.values()) for fields in (bundle.schema.inputs, bundle.schema.targets))
    question, named = bundle.info["task"]["name"], config.data.target
    if config.task.get("name") in (None, question) and (named in ((), targets) or (not bundle.task.labelled and named == inputs)):
        data = dataclasses.replace(config.data, target=targets) if bundle.task.labelled else config.data
        config = dataclasses.replace(config, data=data, task={"name": question, **bundle.info["task"]["config"], **config.task})
    return bundle, config


def _finished(run: str) -> Path:
    """`last` is the last that has finished: a training that was stopped, and began with these words, is resumed with them."""
    if run == "last" and not find(run).finished and (done := [each for each in all_runs() if each.finished]):
        return done[-1].path
    return find(run).path


MOST = 2_000_000
"""Rows up to which a run remembers which ones it learned from, 8 bytes each."""


def remember(rows: Rows, schema: Schema, file: Path) -> None:
    """Keeps a hash of each row that was trained on, for a run that goes on from this one."""
    if len(rows.part) <= MOST:
        np.save(file, np.sort(_hashes(rows, schema)[np.isin(rows.part, (TRAIN, UNLABELLED))]))


def recall(rows: Rows, start: Bundle, file: Path) -> None:
    """Says how many of the rows that are to judge the run had learned from: what it learned of them flatters the figures."""
    if not file.exists() or any(each.columns[0] not in rows.table.columns for each in start.schema.inputs.values()):
        return
    hashes, known = _hashes(rows, start.schema), np.load(file)
    for part, name in ((VALID, "validation"), (TEST, "test")):
        mine = hashes[rows.part == part]
        if n := int(np.isin(mine, known).sum()):
            answers = "" if start.schema.targets else ", though not from their answers"
            warn(f"{n:,} of the {len(mine):,} {name} rows are rows that the run to go on from had learned from{answers}: figures flatter. "
                 "Split alike, or test on others: --test FILE.")  # fmt: skip


def _hashes(rows: Rows, schema: Schema) -> np.ndarray:
    return splitting.row_hash(rows.table.select([each.columns[0] for each in schema.inputs.values()]), 0)


def take(model: Model, schema: Schema, start: Bundle) -> None:
    """The weights of `start` wherever a tensor has the same place and shape; columns find theirs by name. Says how many came along."""
    keys = {old: new for old, theirs in start.schema.fields.items() for new, ours in schema.fields.items() if same(ours, theirs)}
    answers = {name: each for name, each in schema.targets.items() if name not in keys.values()}
    found = {".".join(keys.get(part, part) for part in name.split(".")): value for name, value in start.model.state_dict().items()}
    model.goes_on = True
    with torch.no_grad():
        mine = model.state_dict()
        taken = [name for name, value in mine.items()
                 if name in found and found[name].shape == value.shape and not (answers and name.split(".")[0] in ANSWERING)]  # fmt: skip
        for name in taken:
            mine[name].copy_(found[name])
    weights = dict(model.named_parameters())
    if not any(name in weights for name in taken):
        raise UserError("nothing of the run to go on from fits this model: it reads other columns, or is of another size.")
    fresh = sum(value.numel() for name, value in weights.items() if name not in taken)
    all_ = sum(value.numel() for value in weights.values())
    say(f"goes on from {all_ - fresh:,} of {all_:,} parameters" + (f"; {fresh:,} begin anew" if fresh else ""))


def same(ours: Any, theirs: Any) -> bool:
    """Do two fields read the same column alike?"""
    return type(ours) is type(theirs) and ours.columns == theirs.columns and ours.state() == theirs.state()
