"""Folds: how far a result depends on which rows were trained on and which were tested. The chosen model, as it was planned, is trained
again on each of K folds, and every row is judged once, by a model that did not see it.

The folds divide all rows; where the user has set test rows aside (a file, a column, `test_rows`), all others. Equal rows and groups stay in
one fold, classes are spread evenly. By time the folds follow each other, and each model is trained on what lies before its fold. Each
fold has a validation part of its own, taken from its training rows, and its fields are fitted on those alone. The model that is saved is
that of the run; what the folds train is thrown away.
"""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luban import splitting
from luban.columns import fit_schema
from luban.core import config as configs
from luban.core.errors import BadCells, UserError
from luban.core.files import read_json, write_json
from luban.core.notes import say, warn
from luban.core.table import DiskTable
from luban.data import Rows, encode, examples
from luban.folders import RunFolder
from luban.planning import reads
from luban.report.words import folds as folds_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages.candidates import Trained, Workshop, draft
from luban.stages.clock import Interrupted
from luban.stages.evaluate import measure
from luban.stages.fit import Hooks
from luban.stages.prepare import Prepared

NONE = TEST + 1


# ---------------------------------------------------------------- which rows


def parts(ready: Prepared) -> list[np.ndarray]:
    """The part of each row in each fold, (N,) uint8: TEST is the fold. Raises UserError where there can be no folds."""
    config, rows, k = ready.config.data, ready.rows, ready.config.folds
    if not ready.task.labelled:
        raise UserError("--folds has no meaning for this task, which splits its data by a rule of its own. Leave it out.")
    if k < 2:
        raise UserError(f"--folds needs 2 or more, not {k}; 5 and 10 are usual.")
    aside = config.test or config.test_rows or rows.facts["split"].startswith("by the column")
    pool = np.flatnonzero(rows.part < TEST if aside else rows.part <= TEST)
    hashes, classes = _hashes(ready)[pool], _classes(ready)[pool]
    time = rows.table.get_column(config.time).gather(pool) if config.time else None
    share = config.shares[VALID] / (config.shares[TRAIN] + config.shares[VALID])
    found = []
    for of_pool in _by_time(time, k) if time is not None else _by_hash(hashes, classes, k):
        part = np.full(len(rows.part), NONE, np.uint8)
        part[pool] = splitting.carve_valid(of_pool, hashes, classes, time, share)
        if not all((part == each).any() for each in (TRAIN, VALID, TEST)):
            what = "moments" if config.time else f"different {config.group!r}" if config.group else f"different {ready.task.noun}"
            raise UserError(f"there are too few {what} for {k} folds: one of them would be empty. Take fewer: --folds 2.")
        found.append(part)
    return found


def _by_hash(hashes: np.ndarray, classes: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """In the order of (class, hash) each k-th row is of one fold; rows with equal hashes go where the first of them goes."""
    unique, first, back = np.unique(hashes, return_index=True, return_inverse=True)
    fold = np.empty(len(unique), np.int64)
    fold[np.lexsort((unique, classes[first]))] = np.arange(len(unique)) % k
    for i in range(k):
        yield np.where(fold[back] == i, TEST, TRAIN).astype(np.uint8)


def _by_time(time: Any, k: int) -> Iterator[np.ndarray]:
    """k + 1 blocks of time: fold i is block i + 1, and all before it is trained on (Hyndman and Athanasopoulos 2021, section 5.10)."""
    for i in range(1, k + 1):
        old = splitting.by_time(time, (i / (k + 1), 1 / (k + 1), 0.0 if i == k else 1 - (i + 1) / (k + 1)))
        yield np.array([TRAIN, TEST, NONE], np.uint8)[old]


def _hashes(ready: Prepared) -> np.ndarray:
    """What decides the fold of a row, (N,) uint64: its group, else the columns that are learned from."""
    config, table = ready.config.data, ready.rows.table
    names = [config.group] if config.group else [each.columns[0] for each in ready.schema.inputs.values()]
    hashes = splitting.row_hash(table.select(names), config.split_seed)
    return hashes if config.group else splitting.told_apart(hashes)


def _classes(ready: Prepared) -> np.ndarray:
    """As in the run's own split: the class of each row, (N,) integers; all 0 where rows go by group, or there are none."""
    if ready.config.data.group or list(ready.rows.fields.values()) != ["category"]:
        return np.zeros(len(ready.rows.part), np.int64)
    (key,) = ready.schema.targets
    return ready.store.columns[key].numpy()


# ---------------------------------------------------------------- training


def judge_folds(chosen: Trained, folds: Sequence[np.ndarray], workshop: Workshop, network: Any) -> dict[str, Any]:
    """{"k": K, "model": name, "done": [number of each fold that worked], "metrics": {metric: [its value on each]}}, for report.json.
    Metrics without a value on some fold are left out. A fold that cannot be trained (it lacks a class) is left out, aloud: the run's model
    is there, and must not be lost for it.

    network: the user's own, untrained. A fold that is done leaves its figures in checkpoints/fold-<i>/, where a resumed run finds them.
    """
    ready, k = workshop.prepared, len(folds)
    found: dict[int, dict[str, float]] = {}
    for i, part in enumerate(folds, 1):
        folder = RunFolder(workshop.folder.checkpoints / f"fold-{i}")
        if not folder.report.exists():
            workshop.clock.allot(k - i + 1)
            say(f"fold {i} of {k}: {splitting.summary(part)} rows")
            try:
                values = _judge(chosen, part, Workshop(ready, folder, workshop.clock, _Named(workshop.hooks, f"fold {i} ")), network)
            except Interrupted:
                raise Interrupted(str(workshop.folder.path)) from None
            except UserError as error:
                warn(f"fold {i} is left out: {error}")
                continue
            write_json(folder.report, values)
            for each in (folder.checkpoints, folder.path / "store"):
                shutil.rmtree(each, ignore_errors=True)
        found[i] = read_json(folder.report)
    shared = set.intersection(*(set(each) for each in found.values())) if found else set()
    metrics = {name: [each[name] for each in found.values()] for each in list(found.values())[:1] for name in each if name in shared}
    made = {"k": k, "model": chosen.name, "done": list(found), "metrics": metrics}
    say(folds_words(made, ready.metric, "en"))
    return made


def _judge(chosen: Trained, part: np.ndarray, workshop: Workshop, network: Any) -> dict[str, float]:
    """The metrics on one fold of the chosen model, trained on the rest."""
    ready = workshop.prepared
    options = configs.to_dict(chosen.plan.model)
    # the members of a joined model are planned by the same rules again; any other has its plan
    train = ready.config.train if chosen.bundle.model.joins else chosen.plan.train
    fold = _prepared(
        dataclasses.replace(ready, config=dataclasses.replace(ready.config, train=train)), part, workshop.folder.path / "store"
    )
    made = draft(chosen.name, fold, copy.deepcopy(network), options)  # a network that came built would go on from the fold before
    trained = dataclasses.replace(workshop, prepared=fold).train(made)
    return measure(trained.bundle, fold.examples[TEST]).metrics


def _prepared(ready: Prepared, part: np.ndarray, place: Path) -> Prepared:
    """All that is known before a model, known from this fold's training rows alone. A row that only now cannot be read, for training has
    no cell like its own, is left out of the fold, aloud. place: where the encoded rows of a table on disk are kept for as long."""
    rows, task = dataclasses.replace(ready.rows, part=part), ready.task
    while True:
        schema = fit_schema(rows, ready.config.data, ready.config.fields, task, reads(ready.config))
        try:
            if on_disk := isinstance(rows.table, DiskTable):
                place.mkdir(parents=True, exist_ok=True)
            store = encode(schema, rows, place if on_disk else None)
            break
        except BadCells as bad:
            say(f"left out of this fold: {len(bad.rows):,} rows. {bad.__cause__}")
            rows = _without(rows, np.isin(rows.numbers, bad.rows))
    made = (examples(task, store, TRAIN), examples(task, store, VALID), examples(task, store, TEST))
    known = dataclasses.replace(ready.known, rows=rows, schema=schema, store=store)
    return dataclasses.replace(ready, known=known, examples=made, head=task.head(schema))


def _without(rows: Rows, gone: np.ndarray) -> Rows:
    kept = np.flatnonzero(~gone)
    return dataclasses.replace(
        rows, table=rows.table[kept], part=rows.part[kept], numbers=rows.numbers[kept], names=lambda i: rows.names(int(kept[i]))
    )


class _Named:
    """Hooks that are told of a fold's models by names of their own, so that none is taken for the run's."""

    def __init__(self, hooks: Hooks, prefix: str):
        self.hooks, self.prefix = hooks, prefix

    def on_step(self, name: str, step: int, total: int) -> None:
        self.hooks.on_step(self.prefix + name, step, total)

    def on_eval(self, line: dict[str, Any]) -> None:
        self.hooks.on_eval({**line, "model": self.prefix + line["model"]})

    def on_end(self, name: str) -> None:
        self.hooks.on_end(self.prefix + name)
