"""Recorded steps: the loss and gradients of autograd, new random numbers at each step, and autograd where recording cannot be right."""

import copy

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import luban
from luban import optim
from luban.core.batch import Ragged, piece_of
from luban.core.contract import Head, Part
from luban.core.registry import MODELS, TASKS
from luban.planning import from_words
from luban.stages import fit
from luban.stages.prepare import prepare
from luban.stages.traced import Loss, Traced, wide_product
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


def of(*layers, optimizer="adam", **options):
    torch.manual_seed(0)
    model = Net(*layers)
    optimiser = optim.build(optimizer, model, 1e-2, flat=False, **options)
    return model, optimiser, Traced(Loss(model, Classify(), HEAD), optimiser, batch(0), batch(1))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_recorded_steps_are_ordinary_steps(optimizer, clip):
    options = {"optimizer": optimizer, "weight_decay": 0.1, "momentum": 0.9}
    model, optimiser, traced = of(nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), **options)
    assert traced.usable
    other, its = copy.deepcopy((model, optimiser))
    for seed in range(2, 6):  # four steps each, at falling rates
        many, rates = batch(seed, 4 * 16), [0.01 / (i + 1) for i in range(4)]
        losses = traced.steps(many, optimiser, rates, clip)
        for i, rate in enumerate(rates):
            loss = Classify().loss(other, piece_of(many, 16 * i, 16 * i + 16), HEAD)[0]
            assert losses[i].item() == pytest.approx(loss.item(), rel=1e-5)
            loss.backward()
            if clip:
                its.clip(clip)
            its.set_lr(rate)
            its.step()
            its.zero_grad()
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    assert optimiser.tensors().keys() == its.tensors().keys()


def test_weights_are_read_at_each_call_and_dropout_draws_anew():
    model, optimiser, traced = of(nn.Dropout(0.5))
    assert len(set(traced.steps(piece_of(batch(2, 48), 0, 48), optimiser, [0.0] * 3, 0.0).tolist())) == 3
    torch.manual_seed(4)
    first = traced.steps(batch(2), optimiser, [0.0], 0.0).item()
    torch.manual_seed(4)
    assert traced.steps(batch(2), optimiser, [0.0], 0.0).item() == first
    with torch.no_grad():
        model.net[-1].weight.zero_()
        model.net[-1].bias.zero_()
    assert traced.steps(batch(2), optimiser, [0.0], 0.0).item() == pytest.approx(np.log(3))


def test_wide_products_are_those_of_torch():
    made = torch.Generator().manual_seed(0)
    a, b, bias = (torch.randn(shape, generator=made) for shape in ((32, 784), (784, 128), (128,)))
    assert torch.allclose(wide_product(a, b, bias), torch.addmm(bias, a, b), atol=1e-4)
    assert torch.allclose(wide_product(b.t(), a.t()), b.t() @ a.t(), atol=1e-4)


class Moody(nn.Module):
    """Looks at the data to decide what to compute."""

    def forward(self, x):
        return x.tanh() if x[0, 0] > 0 else x * 2


class Stale(nn.Module):
    """Keeps a number of the batch that was recorded, where no recorder sees it."""

    def forward(self, x):
        return x * float(x.detach().numpy().max())


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.stale, self.last = Stale(), nn.Linear(5, 3)

    def forward(self, batch):
        return self.last(self.stale(batch["c0"]))


def test_a_program_that_steps_otherwise_is_not_used():
    torch.manual_seed(0)
    model = Inner()
    optimiser = optim.build("adam", model, 1e-2, flat=False)
    assert not Traced(Loss(model, Classify(), HEAD), optimiser, batch(0), batch(1)).usable
    assert Traced(Loss(model, Classify(), HEAD), optimiser, batch(0), batch(0)).usable  # on the same batch nothing shows


def test_no_row_is_dropped(tmp_path, monkeypatch):
    """97 = 6 * 16 + 1 rows: the last step of an epoch takes 17."""
    taken, recorded = [], []
    monkeypatch.setattr(fit, "LONG", 10)
    monkeypatch.setattr(Traced, "steps", lambda *args, run=Traced.steps: recorded.append(len(args[3])) or run(*args))
    monkeypatch.setattr(fit, "_step", lambda *args, run=fit._step: taken.append(sum(len(rows) for rows, _ in args[3])) or run(*args))
    x = np.random.default_rng(0).normal(size=(120, 2))
    table = {"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "是", "否"), "split": ["train"] * 97 + ["valid"] * 12 + ["test"] * 11}
    luban.train(table, target="y", model="mlp", baselines=[], out=tmp_path / "run", set={"train.epochs": 4, "train.batch_size": 16})
    assert taken == [17] * 4 and sum(recorded) - 1 == 4 * 5  # one more, to try it


def test_what_cannot_be_recorded_is_stepped_as_ever():
    assert not of(nn.BatchNorm1d(8))[-1].usable  # its averages move
    assert not of(Moody())[-1].usable
    assert not of(nn.ReLU(), optimizer="rmsprop")[-1].usable  # no kernel does all of its move
    model, optimiser, traced = of(nn.ReLU())
    assert traced.fits(batch(3), 1) and traced.fits(batch(3, n=48), 3) and not traced.fits(batch(3, n=7), 1)
    ragged = {"c0": Ragged(torch.ones(4), torch.tensor([0, 1, 4])), "y0": torch.ones(2, dtype=torch.int64)}
    assert not Traced(Loss(model, Classify(), HEAD), optimiser, ragged, ragged).usable


def test_a_run_is_the_same_to_the_bit_and_learns_as_well(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 4))
    table = pl.DataFrame({**{f"x{i}": x[:, i] for i in range(4)}, "y": np.where(x[:, 0] * x[:, 1] > 0, "是", "否")})
    words = {"target": "y", "model": "mlp", "baselines": [], "set": {"train.epochs": 12, "train.batch_size": 32, "model.dropout": 0.1}}
    plain = luban.train(table, out=tmp_path / "plain", **words)
    monkeypatch.setattr(fit, "LONG", 10)
    used = []
    monkeypatch.setattr(Traced, "steps", lambda *args, run=Traced.steps: used.append(len(args[3])) or run(*args))
    runs = [luban.train(table, out=tmp_path / name, **words) for name in "ab"]
    assert sum(used) > 200 and max(used) > 10
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
    assert Traced(Loss(model, ready.task, ready.head), optim.build("adamw", model, 1e-3, flat=False), *pieces).usable
