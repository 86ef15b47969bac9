"""trees: LightGBM's own answers, from its own text, on real rows."""

from __future__ import annotations

import math

import lightgbm as lgb
import numpy as np
import pytest
import torch
from conftest import examples, numeric

from luban.core.contract import Clock, Head, Part
from luban.models.trees import Trees

BINARY = Head((Part("y0", "binary", 1, "bce"),))


@pytest.fixture(scope="module")
def fitted(adult) -> Trees:
    schema, batch, y = adult
    model = Trees(Trees.Config(), schema, BINARY)
    model.solve(*map(examples, _parts(batch, y)), Hurried(math.inf))
    return model


class Hurried(Clock):
    seed, threads = 7, 1

    def __init__(self, seconds: float):
        self.seconds = seconds

    def seconds_left(self) -> float:
        return self.seconds


def _parts(batch: dict, y: torch.Tensor) -> tuple[dict, dict]:
    everything = {**batch, "y0": y}
    return {key: each[:3_000] for key, each in everything.items()}, {key: each[3_000:4_000] for key, each in everything.items()}


def test_good_on_rows_never_seen(fitted, adult):
    _, batch, y = adult
    right = ((fitted(batch)[:, 0] > 0) == (y > 0.5))[4_000:]
    assert right.float().mean() > 0.85


def test_the_text_alone_gives_the_same_answers(fitted, adult):
    _, batch, _ = adult
    (text,) = fitted.files().values()
    x = np.stack([each.numpy() for each in batch.values()], 1).astype(np.float32)
    theirs = lgb.Booster(model_str=text).predict(x)
    assert np.allclose(fitted(batch)[:, 0].sigmoid(), theirs, atol=1e-6)
    assert "/" not in text.split("parameters:")[1]  # no path of the machine that trained it


def test_trained_twice_is_the_same_text(fitted, adult):
    schema, batch, y = adult
    again = Trees(Trees.Config(), schema, BINARY)
    again.solve(*map(examples, _parts(batch, y)), Hurried(math.inf))
    assert again.files() == fitted.files()


def test_two_classes_by_two_logits_or_by_one_agree(fitted, adult):
    schema, batch, y = adult
    two = Trees(Trees.Config(), schema, Head((Part("y0", "classes", 2, "cross_entropy"),)))
    two.solve(*map(examples, _parts(batch, y.long() + 1)), Hurried(math.inf))
    assert torch.allclose(two(batch).softmax(1)[:, 1], fitted(batch)[:, 0].sigmoid(), atol=1e-6)


def test_no_time_left_still_leaves_a_model(adult):
    schema, batch, y = adult
    model = Trees(Trees.Config(), schema, BINARY)
    model.solve(*map(examples, _parts(batch, y)), Hurried(-1.0))
    assert torch.isfinite(model(batch)).all()


@pytest.mark.parametrize(("loss", "answer"), [("mse", 2.8), ("mae", 1.0)])
def test_the_loss_decides_what_is_answered(loss, answer):
    schema, batch = numeric(np.zeros((1_000, 1), dtype=np.float32))
    y = torch.where(torch.arange(1_000) % 10 == 0, 19.0, 1.0)
    model = Trees(Trees.Config(), schema, Head((Part("y0", "value", 1, loss),)))
    model.solve(examples({**batch, "y0": y}), None, Hurried(math.inf))
    assert torch.allclose(model(batch), torch.tensor(answer), atol=0.01)


def test_without_validation_it_ends_by_itself(clock, adult):
    schema, batch, y = adult
    model = Trees(Trees.Config(rounds=30), schema, BINARY)
    model.solve(examples(_parts(batch, y)[0]), None, clock)
    assert model.boosters["trees.y0.txt"].num_trees() == 30
