"""Neighbours against the formula written out, blocks against the whole, recency where validation wants it; PureSVD against a full SVD."""

import math

import pytest
import torch
from conftest import Patient, asked, chance, lists, ranker, weighed

from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.models import itemknn, puresvd

KNN, SVD = MODELS["itemknn"], MODELS["puresvd"]


@pytest.mark.parametrize("active", [0.0, 0.5])
def test_is_the_formula(active, monkeypatch):
    """All neighbours kept; in one block and in many."""
    X = chance(20, 12)
    x, n = X.double(), X.double().sum(0)
    near = (x.T * x.sum(1) ** -active) @ x / ((n[:, None] * n).sqrt() + 3)
    near.fill_diagonal_(0)
    question = [[4, 2, 9], [7]]
    weights = torch.tensor([0.25, 0.5, 1.0]).double()
    expected = torch.stack([weights @ near[[3, 1, 8]], near[6]]) + KNN.prior * x.mean(0)
    for entries in (10_000_000, 50):
        monkeypatch.setattr(itemknn, "ENTRIES", entries)
        model = ranker(KNN, lists(X), shrink=3, active=active, half_life=1)
        torch.testing.assert_close(model(asked(*question))[:, 1:], expected, rtol=1e-5, atol=1e-6)


def test_weights_are_the_values_of_the_formula():
    X = chance(20, 12)
    W, _ = weighed(X)
    x, n = W.double(), W.double().square().sum(0)
    near = (x.T / X.sum(1).sqrt()) @ x / ((n[:, None] * n).sqrt() + 3)
    near.fill_diagonal_(0)
    new, batch = weighed(torch.flip(chance(9, 12), [1]))
    model = ranker(KNN, lists(X), weight=W[X.bool()], shrink=3, half_life=1e9)
    torch.testing.assert_close(model(batch)[:, 1:], new.double() @ near + KNN.prior * X.double().mean(0), rtol=1e-4, atol=1e-5)


def test_each_item_keeps_its_nearest():
    """One item is asked about at a time: of what it is near to, those answer that it is among the nearest three of."""
    model, whole = (ranker(KNN, lists(chance(20, 12)), neighbours=k, half_life=0) for k in (3, 12))
    ones = asked(*[[item] for item in range(1, 13)])
    few, all = (each(ones)[:, 1:] - KNN.prior * each.popular[1:] for each in (model, whole))
    third = all.sort(0, descending=True).values[2]
    assert ((few > 1e-6).sum(0) == 3).all()
    torch.testing.assert_close(few, all.where(all >= third, 0.0))


def test_half_life_is_what_validation_wants():
    """After eight items of any kind comes one circle of four, the next one among them; or the order says nothing."""
    rng = torch.Generator().manual_seed(1)
    last = [[*(torch.randperm(30, generator=rng)[:8] + 1).tolist(), *(torch.randperm(4, generator=rng) + 31 + u % 10 * 4).tolist()]
            for u in range(80)]  # fmt: skip
    assert ranker(KNN, last, valid=True).life < math.inf
    assert ranker(KNN, [[10 + u % 2, 1 + u % 5, 6 + u % 3, 20 + u % 2] for u in range(30)] * 2, valid=True).life == math.inf
    assert ranker(KNN, last, valid=True, half_life=7).life == 7 and ranker(KNN, last).life == math.inf


def test_what_is_near_to_nothing_is_ordered_by_popularity():
    model = ranker(KNN, [[1], [2, 3], [2], [2]])
    scores = model(asked([1], []))
    assert scores[0].argsort(descending=True)[:2].tolist() == [2, 1] and torch.equal(scores[1], model.popular.double())
    with pytest.raises(UserError, match=r"model\.neighbours must lie between"):
        KNN.Config(neighbours=0)


# ---------------------------------------------------------------- PureSVD


@pytest.mark.parametrize("popularity", [1.0, 0.5])
def test_is_the_projection(popularity):
    X = chance(30, 12)
    scaled = X.double() * X.double().sum(0).clamp(min=1) ** ((popularity - 1) / 2)
    V = torch.linalg.svd(scaled)[2][:4].T
    question = [[4, 2, 9], [7]]
    h = torch.stack([sum(torch.eye(12)[item - 1] for item in items) for items in question]).double()
    model = ranker(SVD, lists(X), factors=4, popularity=popularity)
    torch.testing.assert_close(model(asked(*question))[:, 1:], h @ V @ V.T + SVD.prior * X.double().mean(0), rtol=1e-4, atol=1e-4)


def test_weights_are_what_is_projected():
    X = chance(30, 12)
    W, batch = weighed(X)
    V = torch.linalg.svd(W.double() / W.double().square().sum(0).clamp(min=1) ** 0.25)[2][:4].T
    model = ranker(SVD, lists(X), weight=W[X.bool()], factors=4)
    torch.testing.assert_close(model(batch)[:, 1:], W.double() @ V @ V.T + SVD.prior * X.double().mean(0), rtol=1e-4, atol=1e-4)


def test_factors_are_chosen_by_validation(monkeypatch):
    """Two circles of taste, and noise that more directions would learn."""
    monkeypatch.setattr(puresvd, "FACTORS", (2, 8))
    rng = torch.Generator().manual_seed(1)
    logs = [(torch.randperm(12, generator=rng)[:5] + 1 + 12 * (u % 2)).tolist() for u in range(60)]
    chosen = ranker(SVD, logs, valid=True)
    assert chosen.weight.shape[1] == 8 and (chosen.weight.abs().sum(0) > 0).tolist() == [True] * 2 + [False] * 6
    assert (ranker(SVD, logs, factors=8).weight.abs().sum(0) > 0).all()
    best = chosen(asked([1, 2, 3]))[0].topk(5).indices
    assert (best <= 12).all()


def test_a_stop_ends_it_at_once():
    class Stopped(Patient):
        def stopped(self) -> bool:
            return True

    assert not ranker(KNN, [[1, 2]] * 20, clock=Stopped()).offsets.any() and ranker(KNN, [[1, 2]] * 20).offsets.any()
