"""Data for the models' own tests: plain numeric columns without a schema to fit, and real rows of Adult where they are at hand."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from luban.bundle import judge
from luban.core.batch import Examples, Ragged, Spans, Store, size_of
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.registry import FIELDS, TASKS

DATA = Path(os.environ.get("LUBAN_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


class Patient(Clock):
    seed, threads = 7, 1

    def seconds_left(self) -> float:
        return math.inf


@pytest.fixture
def clock() -> Clock:
    return Patient()


def examples(batch: dict) -> Examples:
    """The rows of a batch as examples."""
    n = size_of(batch)
    return Examples(Store(batch, torch.zeros(n, dtype=torch.uint8)), Spans(torch.arange(n)), _rows)


def _rows(store: Store, spans: Spans) -> dict:
    return {key: value[spans.start] for key, value in store.columns.items()}


def numeric(x: np.ndarray) -> tuple[SimpleNamespace, dict[str, torch.Tensor]]:
    """(schema, batch) of float columns; what a model may read of a field, and no more."""
    inputs = {}
    for i, column in enumerate(x.T):
        edges = tuple(np.unique(np.quantile(column[~np.isnan(column)], np.linspace(0, 1, 17))).tolist())
        inputs[f"c{i}"] = SimpleNamespace(kind="scalar", size=1, edges=edges, has_missing=bool(np.isnan(column).any()))
    return SimpleNamespace(inputs=inputs), {f"c{i}": torch.tensor(column, dtype=torch.float32) for i, column in enumerate(x.T)}


@pytest.fixture(scope="session")
def adult() -> tuple[Schema, dict, torch.Tensor]:
    """(schema, inputs, income above 50K) of 6,000 real rows, the last 2,000 not used for fitting the schema."""
    path = DATA / "tabular" / "adult.csv.gz"
    if not path.is_file():
        pytest.skip("no Adult data: set LUBAN_DATA")
    table = pl.read_csv(path).slice(20_000, 6_000)
    fields = {name: "number" if dtype.is_numeric() else "category" for name, dtype in table.drop("income").schema.items()}
    schema = Schema({f"c{i}": FIELDS[field]((name,)) for i, (name, field) in enumerate(fields.items())}, {}).fit(table.head(4_000))
    return schema, schema.encode(table, with_target=False), torch.from_numpy((table["income"] == ">50K").to_numpy()).float()


def seen(pixels: np.ndarray) -> tuple[SimpleNamespace, dict[str, torch.Tensor]]:
    """(schema, batch) of one column of pictures, uint8 (N, C, H, W); what a model may read of its field, and no more."""
    x = torch.from_numpy(pixels)
    mean, std = (x / 255).mean((0, 2, 3)), (x / 255).std((0, 2, 3), correction=0)
    field = SimpleNamespace(kind="grid", shape=x.shape[1:], mean=tuple(mean.tolist()), std=tuple(std.tolist()), size=1, has_missing=False,
                            columns=("picture",))  # fmt: skip
    return SimpleNamespace(inputs={"c0": field}), {"c0": x}


# ---------------------------------------------------------------- models that rank items


def ids(users: int, items: int) -> SimpleNamespace:
    """A schema with so many users and items, 0 included; what a model may read of it, and no more."""
    of = [SimpleNamespace(kind="id", size=size) for size in (users, items)]
    return SimpleNamespace(inputs={"c0": of[0]}, targets={"y0": of[1]})


def logged(logs: list[list[int]], valid: bool = False, weight: torch.Tensor | None = None) -> tuple[Examples, Examples]:
    """(training, validation) of the items of each user, in order; with `valid` the last of each is validation's. weight: (E,)."""
    user = torch.tensor([u for u, items in enumerate(logs, 1) for _ in items])
    last = torch.tensor([i == len(items) - 1 for items in logs for i in range(len(items))])
    columns = {"c0": user, "y0": torch.tensor([item for items in logs for item in items])} | ({} if weight is None else {"weight": weight})
    store = Store(columns, (last & valid).to(torch.uint8))
    task = TASKS["recommend"]()
    return Examples(store, task.spans(store, 0), task.batch), Examples(store, task.spans(store, 1), task.batch)


def ranker(kind: Any, logs: list[list[int]], valid: bool = False, clock: Clock | None = None, items: int = 0,
           weight: torch.Tensor | None = None, **options: Any) -> Any:  # fmt: skip
    """A model solved from such logs, which is asked about so many items, 0 included, or those that were had."""
    train, held = logged(logs, valid, weight)
    size = items or max(map(max, logs)) + 1
    model = kind(kind.Config(**options), ids(len(logs) + 1, size), Head((Part("y0", "items", size),)))
    model.solve(train, held if valid else None, clock or Patient())
    return model


def asked(*histories: list[int], user: int = 0) -> dict:
    """A batch of one user, 0 a stranger, with each of these histories."""
    values, ends = torch.tensor([each for one in histories for each in one], dtype=torch.int64), np.cumsum([0, *map(len, histories)])
    return {"c0": torch.full((len(histories),), user), "history": Ragged(values, torch.from_numpy(ends))}


def chance(users: int, items: int) -> torch.Tensor:
    """(users, items) 0 and 1: who had what by chance; nobody is without an event."""
    X = (torch.rand(users, items, generator=torch.Generator().manual_seed(3)) < 0.3).long()
    X[:, 0] = 1
    return X


def weighed(X: torch.Tensor) -> tuple[torch.Tensor, dict]:
    """(X with weights of 1 to 4 for its ones, a batch of its rows as the histories of strangers)."""
    W = X * (1 + 3 * torch.rand(X.shape, generator=torch.Generator().manual_seed(4))).half().float()
    batch = asked(*lists(X))
    return W, batch | {"weight": Ragged(W[X.bool()], batch["history"].offsets)}


def lists(X: torch.Tensor) -> list[list[int]]:
    """Such a table as logs."""
    return [(row.nonzero().squeeze(1) + 1).tolist() for row in X]


def found(model: Any, data: Any, metric: str, examples: Examples | None = None) -> float:
    """How well the test part of prepared data is foretold."""
    judged = judge(model, data.task, data.head, examples or data.examples[2])
    return data.task.measure(*judged, data.schema, [metric]).metrics[metric]
