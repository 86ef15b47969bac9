"""What small models say of rows that they have not seen: every row of a sample answered by a model of the other folds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.checks.finding import Look, evenly
from luban.core.batch import Batch, Examples, Ragged, Spans, Store, rows_of
from luban.core.contract import Clock, Field, Head, Part, Schema
from luban.core.registry import FIELDS, MODELS

FOLDS = 5
ROWS = 50_000
CELLS = 4_000_000
"""Sampled rows, fewer where they are wide: five trainings of trees take some seconds."""
MANY = 20
"""Classes beyond which trees, one a class and round, take too long."""


class NoClock(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return math.inf


def sample(look: Look, among: np.ndarray) -> np.ndarray:
    """Evenly spaced ones of the rows `among`, (n,) int64: as many as the small models may see."""
    width = sum(each.size if each.kind == "scalar" else 1 for each in look.schema.inputs.values())
    most = max(1_000, min(ROWS, CELLS // max(1, width)))
    return among[evenly(len(among), most)]


def inputs_of(look: Look, index: np.ndarray, leave_out: str | None = None) -> tuple[dict[str, Field], Batch]:
    """(fields, columns) of these rows, grids as at most 8 x 8 averages of each channel: enough for a linear model."""
    fields, batch, rows = {}, {}, torch.from_numpy(index)
    for key, each in look.schema.inputs.items():
        if each.columns[0] == leave_out or each.kind not in ("scalar", "id", "tokens", "grid"):
            continue
        column: Any = rows_of(look.store.columns[key], rows)
        if each.kind == "grid":
            side = (min(8, each.shape[1]), min(8, each.shape[2]))
            column = F.adaptive_avg_pool2d(column.float() / 255, side).flatten(1)
            each = FIELDS["number"](each.columns)
            each.size = column.shape[1]
        fields[key], batch[key] = each, column
    return fields, batch


def out_of_fold(fields: dict[str, Field], batch: Batch, part: Part, y: Tensor) -> np.ndarray:
    """Probabilities (n, C) or values (n,) of each row, by models that were fitted without its fold.

    The mean of boosted trees and a linear model, which err in different ways; the linear one alone for words, pictures, many classes.
    y: (n,), as the part of the head takes it. Folds are every FOLDS-th row, shuffled, for files are often sorted.
    """
    n, schema, head = len(y), Schema(fields, {}), Head((part,))
    fold = np.random.default_rng(0).permutation(np.arange(n) % FOLDS)
    columns = {**batch, part.key: y}
    linear_only = all(isinstance(column, Ragged) or fields[key].size > 20 for key, column in batch.items()) or part.size > MANY
    plain = "tfidf" if any(isinstance(column, Ragged) for column in batch.values()) else "linear"
    names = (plain,) if linear_only else (plain, "trees")
    out = np.zeros((n, max(part.size, 1)))
    for k in range(FOLDS):
        store = Store(columns, torch.from_numpy((fold == k).astype(np.uint8)))
        seen, held = (Examples(store, Spans(store.of(side)), _rows) for side in (0, 1))
        for name in names:
            cls = MODELS[name]
            config = cls.Config(**({"rounds": 60, "learning_rate": 0.1} if name == "trees" else {"iterations": 100}))
            model = cls(cls.plan(config, schema, head, n, "base")[0], schema, head)
            model.solve(seen, None, NoClock())
            with torch.no_grad():
                z = model(held.whole()).double().reshape(len(held), -1)
            answer = z.softmax(1) if part.kind == "classes" else z
            out[fold == k] += answer.numpy() / len(names)
    return out if part.kind == "classes" else out[:, 0]


def _rows(store: Store, spans: Spans) -> Batch:
    return {key: rows_of(column, spans.start) for key, column in store.columns.items()}
