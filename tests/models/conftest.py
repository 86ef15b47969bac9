"""Data for the models' own tests: plain numeric columns without a schema to fit, and real rows of Adult where they are at hand."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from luban.core.batch import Examples, Spans, Store, size_of
from luban.core.contract import Clock, Schema
from luban.core.registry import FIELDS

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
