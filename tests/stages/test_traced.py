"""Recorded steps: the loss and gradients of autograd, new random numbers at each step, and autograd where recording cannot be right."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import luban
from luban.core.batch import Ragged
from luban.core.contract import Head, Part
from luban.core.registry import MODELS, TASKS
from luban.planning import from_words
from luban.stages import fit, traced
from luban.stages.prepare import prepare
from luban.stages.traced import Traced
from luban.tasks.classify import Classify

HEAD = Head((Part("y0", "classes", 3, "cross_entropy"),))


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), *layers, nn.Linear(8, 3))

    def forward(self, batch):
        return self.net(batch["c0"])


def batch(seed, n=16):
    made = torch.Generator().manual_seed(seed)
    return {"c0": torch.randn(n, 5, generator=made), "y0": torch.randint(1, 4, (n,), generator=made)}


def of(*layers):
    torch.manual_seed(0)
    model = Net(*layers)
    return model, Traced(model, Classify(), HEAD, batch(0), batch(1))


def test_loss_and_gradients_are_those_of_autograd():
    model, step = of(nn.ReLU(), nn.Linear(8, 8), nn.Tanh())
    assert step.usable
    for seed in range(2, 6):
        loss = step.backward(batch(seed))
        mine = [p.grad for p in model.parameters()]
        theirs = Classify().loss(model, batch(seed), HEAD)[0]
        assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
        for a, b in zip(mine, torch.autograd.grad(theirs, list(model.parameters())), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_weights_are_read_at_each_step_and_dropout_draws_anew():
    model, step = of(nn.Dropout(0.5))
    losses = [step.backward(batch(2)).item() for _ in range(3)]
    assert len(set(losses)) == 3
    torch.manual_seed(4)
    first = step.backward(batch(2)).item()
    torch.manual_seed(4)
    assert step.backward(batch(2)).item() == first
    with torch.no_grad():
        model.net[-1].weight.zero_()
        model.net[-1].bias.zero_()
    assert step.backward(batch(2)).item() == pytest.approx(np.log(3))


class Moody(nn.Module):
    """Looks at the data to decide what to compute."""

    def forward(self, x):
        return x.tanh() if x[0, 0] > 0 else x * 2


def test_what_cannot_be_recorded_is_stepped_as_ever():
    assert not of(nn.BatchNorm1d(8))[1].usable  # its averages move
    assert not of(Moody())[1].usable
    model, step = of(nn.ReLU())
    assert step.fits(batch(3)) and not step.fits(batch(3, n=7))
    ragged = {"c0": Ragged(torch.ones(4), torch.tensor([0, 1, 4])), "y0": torch.ones(2, dtype=torch.int64)}
    assert not Traced(model, Classify(), HEAD, ragged, ragged).usable


def test_a_run_is_the_same_to_the_bit_and_learns_as_well(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 4))
    table = pl.DataFrame({**{f"x{i}": x[:, i] for i in range(4)}, "y": np.where(x[:, 0] * x[:, 1] > 0, "是", "否")})
    words = {"target": "y", "model": "mlp", "baselines": [], "set": {"train.epochs": 12, "train.batch_size": 32, "model.dropout": 0.1}}
    plain = luban.train(table, out=tmp_path / "plain", **words)
    monkeypatch.setattr(fit, "LONG", 10)
    used = []
    monkeypatch.setattr(traced.Traced, "backward", lambda self, batch, run=Traced.backward: used.append(1) or run(self, batch))
    runs = [luban.train(table, out=tmp_path / name, **words) for name in "ab"]
    assert len(used) > 200
    a, b = ((run.path / "model" / "model.safetensors").read_bytes() for run in runs)
    assert a == b and runs[0].metrics["accuracy"] == pytest.approx(plain.metrics["accuracy"], abs=0.08)
    assert plain.metrics["accuracy"] > 0.8


def test_the_gpt_can_be_recorded_too():
    table = TASKS["generate"].samples()[1]
    ready = prepare(table, from_words({"task": "generate", "set": ["task.context=8"]}))
    cls = MODELS["gpt"]
    config, _, _ = cls.plan(cls.Config(), ready.schema, ready.head, 100, "small")
    model = cls(config, ready.schema, ready.head)
    pieces = [ready.examples[0][torch.arange(i, i + 4)] for i in (0, 4)]
    assert Traced(model, ready.task, ready.head, *pieces).usable
