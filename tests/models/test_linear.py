"""linear: the numbers of scikit-learn, through our features and our forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import examples, numeric
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional as F

from luban.core.contract import Head, Part
from luban.models.linear import ROUND, Linear
from luban.stages.clock import RunClock


def z_scored(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)


def test_two_classes_are_scikit_learns(clock):
    x, y = load_breast_cancer(return_X_y=True)
    schema, batch = numeric(z_scored(x))
    theirs = LogisticRegression(max_iter=1000).fit(z_scored(x), y).predict_proba(z_scored(x))
    binary = Linear(Linear.Config(), schema, Head((Part("y0", "binary", 1),)))
    binary.solve(examples({**batch, "y0": torch.tensor(y, dtype=torch.float32)}), None, clock)
    assert np.allclose(binary(batch).sigmoid()[:, 0], theirs[:, 1], atol=2e-3)
    classes = Linear(Linear.Config(), schema, Head((Part("y0", "classes", 2),)))
    classes.solve(examples({**batch, "y0": torch.from_numpy(y) + 1}), None, clock)
    assert np.allclose(classes(batch).softmax(1), theirs, atol=2e-3)


def test_three_classes_are_scikit_learns(clock):
    x, y = load_iris(return_X_y=True)
    schema, batch = numeric(z_scored(x))
    model = Linear(Linear.Config(), schema, Head((Part("y0", "classes", 3),)))
    model.solve(examples({**batch, "y0": torch.from_numpy(y) + 1}), None, clock)
    assert np.allclose(model(batch).softmax(1), LogisticRegression(max_iter=1000).fit(z_scored(x), y).predict_proba(z_scored(x)), atol=2e-3)


def test_a_value_is_ridge(clock):
    x, y = load_diabetes(return_X_y=True)
    y = z_scored(y[:, None])[:, 0]
    schema, batch = numeric(z_scored(x))
    model = Linear(Linear.Config(), schema, Head((Part("y0", "value", 1, "mse"),)))
    model.solve(examples({**batch, "y0": torch.tensor(y)}), None, clock)
    assert np.allclose(model(batch)[:, 0], Ridge().fit(z_scored(x), y).predict(z_scored(x)), atol=1e-3)


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_one_wild_answer_moves_mae_and_huber_little(clock, loss):
    x = np.linspace(-1.5, 1.5, 200, dtype=np.float32)[:, None]
    y = x[:, 0].copy()
    y[-1] = 300.0
    schema, batch = numeric(x)
    model = Linear(Linear.Config(), schema, Head((Part("y0", "value", 1, loss),)))
    model.solve(examples({**batch, "y0": torch.tensor(y)}), None, clock)
    assert np.allclose(model(batch)[:-1, 0], y[:-1], atol=0.1)


def test_a_time_limit_stops_it_and_enough_time_changes_nothing(caplog):
    x, y = load_breast_cancer(return_X_y=True)
    (schema, batch), truth = numeric(z_scored(x)), torch.tensor(y, dtype=torch.float32)
    losses = []
    with caplog.at_level("INFO", "luban"):
        for limit in (None, 1000.0, 0.0):
            model = Linear(Linear.Config(strength=1000.0), schema, Head((Part("y0", "binary", 1),)))
            model.solve(examples({**batch, "y0": truth}), None, RunClock(limit, 0, 1))
            losses.append(float(F.binary_cross_entropy_with_logits(model(batch)[:, 0], truth)))
    assert [record.getMessage() for record in caplog.records] == [
        f"linear: stopped after {ROUND} iterations by the time limit, not wholly converged."
    ]
    unlimited, rounds, cut = losses
    assert unlimited <= rounds < cut < 1.01 * unlimited


def test_rows_without_an_answer_are_left_out(clock):
    schema, batch = numeric(np.arange(8, dtype=np.float32)[:, None])
    model = Linear(Linear.Config(strength=1e6), schema, Head((Part("y0", "value", 1, "mse"),)))
    model.solve(examples({**batch, "y0": torch.tensor([0.0, 2, 4, torch.nan, 8, 10, 12, torch.nan])}), None, clock)
    assert np.allclose(model(batch)[:, 0], 2 * np.arange(8), atol=1e-3)


def test_weights_raise_the_rare_class(adult, clock):
    schema, batch, y = adult
    plain, weighted = (Linear(Linear.Config(), schema, Head((Part("y0", "binary", 1, "bce", weights),))) for weights in ((), (1.0, 3.0)))
    for model in (plain, weighted):
        model.solve(examples({**batch, "y0": y}), None, clock)
    assert weighted(batch).sigmoid().mean() > plain(batch).sigmoid().mean() + 0.1


def test_a_class_without_rows_is_never_the_answer(clock):
    schema, batch = numeric(np.linspace(-1, 1, 50, dtype=np.float32)[:, None])
    model = Linear(Linear.Config(), schema, Head((Part("y0", "classes", 3),)))
    model.solve(examples({**batch, "y0": torch.where(batch["c0"] > 0, 3, 1)}), None, clock)
    assert model(batch).softmax(1)[:, 1].max() < 0.1
