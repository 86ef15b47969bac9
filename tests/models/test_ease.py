"""EASE: the closed form against the paper's, both ways of solving against each other, and popularity where a history says nothing."""

import math

import pytest
import torch

from luban.core.batch import Examples, Ragged, Store
from luban.core.contract import Clock, Head, Part
from luban.core.errors import UserError
from luban.core.registry import MODELS, TASKS
from luban.models import ease

EASE, Recommend = MODELS["ease"], TASKS["recommend"]


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return math.inf


class Ids:
    kind = "id"

    def __init__(self, size):
        self.size = size


class Users:
    """A schema with so many users, 0 included."""

    def __init__(self, size):
        self.inputs, self.targets = {"c0": Ids(size)}, {"y0": None}


def solved(X: torch.Tensor, l2: float = 2.0):
    """EASE on a matrix of users (rows from 1) by items (columns from 1), given as a log."""
    user, item = X.nonzero(as_tuple=True)
    store = Store({"c0": user + 1, "y0": item + 1}, torch.zeros(len(user), dtype=torch.uint8))
    train = Examples(store, Recommend().spans(store, 0), Recommend().batch)
    model = EASE(EASE.Config(l2=l2), Users(len(X) + 1), Head((Part("y0", "items", X.shape[1] + 1),)))
    model.solve(train, None, Patient())
    return model


def paper(X: torch.Tensor, l2: float) -> torch.Tensor:
    """Steck's algorithm 1, line by line."""
    G = X.double().T @ X.double() + l2 * torch.eye(X.shape[1], dtype=torch.float64)
    P = G.inverse()
    B = P / (-P.diagonal())
    B.fill_diagonal_(0)
    return B


def log(users: int, items: int) -> torch.Tensor:
    X = (torch.rand(users, items, generator=torch.Generator().manual_seed(3)) < 0.3).long()
    X[:, 0] = 1  # nobody is without an event
    return X


def asked(X: torch.Tensor) -> dict:
    item = X.nonzero()[:, 1] + 1
    lengths = X.sum(1)
    return {"c0": torch.zeros(len(X)), "history": Ragged(item, torch.cat([torch.zeros(1).long(), lengths.cumsum(0)]))}


@pytest.mark.parametrize(("users", "items", "few", "sparse"), [
    (7, 30, True, 0), (40, 12, False, 0), (20, 30, False, 0), (20, 30, False, 1e9)])  # fmt: skip
@pytest.mark.parametrize("l2", [0.5, 2.0, 300.0])
def test_is_the_papers_closed_form(users, items, few, sparse, l2, monkeypatch):
    """Scores of histories that the model has not seen, against x B of the dense inverse: Woodbury and dense alike, and pairs counted by
    sparse and dense products in pieces."""
    monkeypatch.setattr(ease, "SPARSE", sparse)
    monkeypatch.setattr(ease, "PIECE", 8)
    X = log(users, items)
    model = solved(X, l2)
    assert model.few == few
    new = torch.flip(log(9, items), [1])
    expected = new.double() @ paper(X, l2) + ease.PRIOR * X.double().mean(0)
    torch.testing.assert_close(model(asked(new))[:, 1:].double(), expected, rtol=1e-5, atol=1e-6)


def test_an_item_alone_says_nothing_of_itself():
    X = log(7, 30)
    one = torch.eye(30).long()
    own = solved(X)(asked(one))[:, 1:].diagonal()
    torch.testing.assert_close(own.double(), ease.PRIOR * X.double().mean(0), rtol=1e-4, atol=1e-7)


def test_no_history_is_answered_by_popularity():
    for X in (log(7, 30), log(40, 12)):
        scores = solved(X)(asked(torch.zeros(2, X.shape[1]).long()))
        assert torch.equal(scores[0], scores[1]) and scores[0, 0] == 0
        assert scores[0, 1:].tolist() == pytest.approx(X.double().mean(0).tolist(), rel=1e-6)


def test_twins_have_the_same_score():
    """Items with the same users come out alike to the last digit that ranking looks at."""
    X = log(7, 30)
    X[:, 20] = X[:, 11]
    free = torch.zeros(9, 30).long()
    free[:, :5] = 1
    scores = solved(X)(asked(free)).round(decimals=7)
    assert scores.dtype == torch.float64 and torch.equal(scores[:, 21], scores[:, 12])


def test_two_tastes_are_kept_apart():
    X = torch.zeros(20, 8).long()
    for u in range(20):
        X[u, (u % 2) * 4 : (u % 2) * 4 + 4] = 1
        X[u, (u % 2) * 4 + u // 2 % 4] = 0
    one = torch.zeros(1, 8).long()
    one[0, 5] = 1
    best = solved(X)(asked(one))[0, 1:].masked_fill(one[0] == 1, -1).topk(3).indices
    assert set(best.tolist()) == {4, 6, 7}


def test_what_is_too_large_is_refused_before_memory_is_taken(monkeypatch):
    monkeypatch.setattr(ease, "MOST", 1_000)
    with pytest.raises(UserError, match="ease would keep 1,024 numbers for 50 users and 31 items, and may keep 1,000: leave out items"):
        EASE(EASE.Config(), Users(51), Head((Part("y0", "items", 32),)))
    with pytest.raises(UserError, match=r"model\.l2 must lie between"):
        EASE.Config(l2=0)


def test_popular_is_the_share_of_users():
    popular = MODELS["popular"]
    X = log(7, 5)
    store = Store({"c0": X.nonzero()[:, 0] + 1, "y0": X.nonzero()[:, 1] + 1}, torch.zeros(int(X.sum()), dtype=torch.uint8))
    model = popular(popular.Config(), Users(8), Head((Part("y0", "items", 6),)))
    model.solve(Examples(store, Recommend().spans(store, 0), Recommend().batch), None, Patient())
    torch.testing.assert_close(model(asked(X[:2])), torch.tensor([[0, *(X.sum(0) / 7).tolist()]] * 2))
