"""Biased MF: a small table solved by hand, early stopping, ids that training never had, and a bundle that comes back."""

import logging
import math

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban.core.batch import Examples, Spans, Store
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.errors import UserError
from luban.core.registry import FIELDS, MODELS

BiasedMF, category, number = MODELS["biased_mf"], FIELDS["category"], FIELDS["number"]

ONE = Head((Part("y0", "value", 1, "mse"),))


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return math.inf


def examples(store: Store, part: int) -> Examples:
    return Examples(store, Spans(store.of(part)), lambda store, spans: {key: each[spans.start] for key, each in store.columns.items()})


def solved(table: pl.DataFrame, part=None, **options):
    """(the model, its store) of a table of user, item and score."""
    schema = Schema({"c0": category(("user",)), "c1": category(("item",))}, {"y0": number(("score",))}).fit(table)
    store = Store(schema.encode(table, with_target=True), torch.tensor(part or [0] * table.height, dtype=torch.uint8))
    model = BiasedMF(BiasedMF.Config(**options), schema, ONE)
    model.solve(examples(store, 0), examples(store, 1), Patient())
    return model, store


def ratings(users=30, items=20, seed=0) -> pl.DataFrame:
    """Biases and one taste, with noise; two rows in three are there."""
    g = np.random.default_rng(seed)
    user, item = np.nonzero(g.random((users, items)) < 0.67)
    b, c, p, q = (g.normal(size=n) for n in (users, items, users, items))
    score = 3 + b[user] + c[item] + p[user] * q[item] + 0.1 * g.normal(size=len(user))
    return pl.DataFrame({"user": user, "item": item, "score": score})


def gradient(model, store, l2, l2_bias) -> float:
    """The largest slope of half the objective, by torch's own differentiation."""
    users, items = (each.double().clone().requires_grad_() for each in (model.users, model.items))
    x, y = users[store.columns["c0"]], items[store.columns["c1"]]
    off = store.columns["y0"].double() - model.mean - x[:, 0] - y[:, 0] - (x[:, 1:] * y[:, 1:]).sum(1)
    price = sum(l2 * each[:, 1:].square().sum() + l2_bias * each[:, 0].square().sum() for each in (users, items))
    (0.5 * (off.square().sum() + price)).backward()
    return max(float(users.grad.abs().max()), float(items.grad.abs().max()))


def test_biases_alone_by_hand():
    """Two users, two items, price 1: the ridge regression on four dummies, solved at once."""
    table = pl.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "score": [1.0, 2.0, 6.0]})
    model, store = solved(table, factors=0, l2_bias=1.0, iterations=200)
    X = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]], float)
    y = store.columns["y0"].double().numpy()
    w = np.linalg.solve(X.T @ X + np.eye(4), X.T @ (y - y.mean()))
    np.testing.assert_allclose([*model.users[1:, 0], *model.items[1:, 0]], w, atol=1e-5)
    asked = {"c0": torch.tensor([2, 0, 2, 0]), "c1": torch.tensor([2, 1, 0, 0])}  # never seen: the other's bias, or the mean
    np.testing.assert_allclose(model(asked)[:, 0], y.mean() + np.array([w[1] + w[3], w[2], w[1], 0]), atol=1e-5)


@pytest.mark.parametrize("factors", [1, 4])
def test_what_is_found_is_the_least_of_the_objective(factors):
    model, store = solved(ratings(), factors=factors, l2=1.0, l2_bias=0.5, iterations=1000)
    assert gradient(model, store, 1.0, 0.5) < 1e-2
    assert model.users[:, 1:].abs().max() > 0.1  # tastes are there
    few, _ = solved(ratings(), factors=factors, l2=1.0, l2_bias=0.5, iterations=1)
    assert gradient(few, store, 1.0, 0.5) > 0.1


def test_the_best_on_validation_is_kept():
    """Free factors learn the noise: the iterations after the best are thrown away."""
    table = ratings().with_columns(score=pl.Series(np.random.default_rng(1).normal(size=ratings().height)))
    part = [int(n % 4 == 0) for n in range(table.height)]
    options = {"factors": 8, "l2": 0.01, "l2_bias": 0.01}
    kept, store = solved(table, part, **options, iterations=50)
    once, _ = solved(table, part, **options, iterations=1)
    batch = examples(store, 1).whole()
    error = [float((model(batch)[:, 0] - batch["y0"]).square().mean()) for model in (kept, once)]
    assert error[0] <= error[1]
    assert torch.equal(kept.users, once.users)  # here the first is the best


def test_what_it_needs(caplog):
    with pytest.raises(UserError, match="needs two columns of ids, a user and an item, and there are 1"):
        schema = Schema({"c0": category(("user",))}, {"y0": number(("score",))}).fit(ratings())
        BiasedMF(BiasedMF.Config(), schema, ONE)
    assert BiasedMF.suits(Schema({"c0": category(("a",)), "c1": category(("b",))}, {}), ONE, 9) > 0
    assert BiasedMF.suits(Schema({"c0": category(("a",)), "c1": number(("b",))}, {}), ONE, 9) == 0
    with pytest.raises(UserError, match="answers one target, not 2"):
        BiasedMF(BiasedMF.Config(), Schema({"c0": category(("a",)), "c1": category(("b",))}, {}), Head(ONE.parts * 2))


def test_numbers_that_are_ids_are_told_by_their_names(tmp_path):
    words = {"target": "score", "task": "regress", "model": "biased-mf", "baselines": "none"}
    with pytest.raises(UserError, match=r"If these are such, say so \(--set 'fields.user=category' --set 'fields.item=category'\)"):
        luban.train(ratings(), **words, out=tmp_path / "none")
    with pytest.raises(UserError, match=r"and there are 1\..+ --set 'fields\.item=category'"):
        luban.train(ratings(), **words, out=tmp_path / "one", set=["fields.user=category"])
    run = luban.train(ratings(), **words, out=tmp_path / "run", set=["fields.user=category", "fields.item=category"])
    assert run.metrics["rmse"] < 2


def test_trained_by_its_hyphened_name_and_loaded(tmp_path, monkeypatch, caplog):
    """Whole numbers called user_id and item_id are ids; a third column is said to be unused; the bundle answers alike."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "luban")
    table = (
        ratings(60, 40)
        .rename({"user": "user_id", "item": "item_id"})
        .with_columns(age=pl.Series(np.arange(1, 1 + ratings(60, 40).height) * 0.7))
    )
    run = luban.train(table, target="score", model="biased-mf")
    assert any("not used: 'age'" in each for each in caplog.messages)
    rows = table.head(5)
    assert luban.load(run.path).predict(rows)["prediction"].to_list() == pytest.approx(run.predict(rows)["prediction"].to_list(), abs=1e-6)
