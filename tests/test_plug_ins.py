"""To add a field, a model or a task is to add one file: here three are written into a folder, found by name, trained, saved, loaded."""

import textwrap

import numpy as np
import polars as pl
import pytest

import luban
import luban.fields
import luban.models
import luban.tasks
from luban.core.registry import FIELDS, MODELS, TASKS

FIELD = '''
"""Colours as #rrggbb: three numbers between 0 and 1."""
import polars as pl, torch
from luban.core.contract import Field

class Colour(Field):
    kind = "scalar"
    size = 3

    @classmethod
    def sniff(cls, column):
        return 0.99 if column.dtype == pl.String and column.str.contains("^#[0-9a-f]{6}$").all() else 0.0

    def fit(self, chunks):
        return self

    def encode(self, column):
        parts = [[int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)] if value else [float("nan")] * 3 for value in column]
        return torch.tensor(parts).reshape(-1, 3)

    def decode(self, encoded):
        return ["#" + "".join(f"{round(x * 255):02x}" for x in row) for row in encoded.tolist()]

    def state(self):
        return {}

    def restore(self, state):
        return self

    def imagine(self, n, rng):
        return ["#%02x%02x%02x" % tuple(rng.integers(0, 256, 3)) for _ in range(n)]

    @classmethod
    def samples(cls):
        return [pl.Series("c", ["#ff0000", "#00ff7f"])]
'''

MODEL = '''
"""One weight a number, nothing else."""
import torch
from luban.core.contract import Model

class Plain(Model):
    accepts = frozenset({"scalar"})

    def __init__(self, config, schema, head):
        super().__init__(config, schema, head)
        self.keys = list(schema.inputs)
        self.layer = torch.nn.Linear(sum(field.size for field in schema.inputs.values()), head.size)

    def forward(self, batch):
        return self.layer(torch.cat([batch[key].reshape(len(batch[key]), -1) for key in self.keys], 1))
'''

TASK = '''
"""How many? A count, by Poisson regression."""
import torch, polars as pl
import torch.nn.functional as F
from luban.core.contract import Head, Measured, Part, Task

class Count(Task):
    baselines = ()

    def target_field(self, column):
        return "number"

    def metrics(self, schema):
        return ("mae",)

    def head(self, schema):
        return Head((Part("y0", "value", 1, "mse", (), (0.0,)),))

    def truth(self, batch, schema):
        return torch.tensor(schema.targets["y0"].decode(batch["y0"]), dtype=torch.float32)

    def loss(self, model, batch, head):
        return F.mse_loss(model(batch)[:, 0], batch["y0"]), {}

    def predict(self, model, batch, head, ask):
        return {"y0": model(batch)[:, 0]}

    def answers(self, predicted, schema):
        return pl.DataFrame({"prediction": schema.targets["y0"].decode(predicted["y0"])})

    def measure(self, predicted, truth, schema, names):
        return Measured({"mae": float((self.truth(predicted, schema) - self.truth(truth, schema)).abs().mean())})
'''


@pytest.fixture
def plug_ins(tmp_path, monkeypatch):
    for package, name, code in ((luban.fields, "colour", FIELD), (luban.models, "plain", MODEL), (luban.tasks, "count", TASK)):
        folder = tmp_path / package.__name__.rpartition(".")[2]
        folder.mkdir()
        (folder / f"{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])


def test_one_file_each(plug_ins, tmp_path):
    assert "colour" in FIELDS.names() and "plain" in MODELS.names() and "count" in TASKS.names()
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (400, 3))
    table = pl.DataFrame({"paint": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours], "red": colours[:, 0] / 25.5})
    run = luban.train(table, target="red", task="count", model="plain", out=tmp_path / "run", set={"train.lr": 0.05, "train.epochs": 60})
    assert run.report["columns"][0]["field"] == "colour"
    assert run.metrics["mae"] < 0.3  # red is a linear function of the colour, from 0 to 10
    answers = luban.predict(run.path, {"paint": ["#ff0000", "#00ffff"]})
    assert answers["prediction"].to_list() == pytest.approx([10, 0], abs=1)
