"""EASE: the closed form against the paper's, both ways of solving against each other, and popularity where a history says nothing."""

import pytest
import torch
from conftest import asked, chance, ids, lists, ranker, weighed

from luban.core.contract import Head, Part
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.models import ease

EASE = MODELS["ease"]


def solved(X: torch.Tensor, l2: float = 2.0):
    return ranker(EASE, lists(X), items=X.shape[1] + 1, l2=l2)


def paper(X: torch.Tensor, l2: float) -> torch.Tensor:
    """Steck's algorithm 1, line by line."""
    G = X.double().T @ X.double() + l2 * torch.eye(X.shape[1], dtype=torch.float64)
    P = G.inverse()
    B = P / (-P.diagonal())
    B.fill_diagonal_(0)
    return B


@pytest.mark.parametrize(("users", "items", "few", "sparse"), [
    (7, 30, True, 0), (40, 12, False, 0), (20, 30, False, 0), (20, 30, False, 1e9)])  # fmt: skip
@pytest.mark.parametrize("l2", [0.5, 2.0, 300.0])
def test_is_the_papers_closed_form(users, items, few, sparse, l2, monkeypatch):
    """Scores of histories that the model has not seen, against x B of the dense inverse: Woodbury and dense alike, and pairs counted by
    sparse and dense products in pieces."""
    monkeypatch.setattr(ease, "SPARSE", sparse)
    monkeypatch.setattr(ease, "PIECE", 8)
    X = chance(users, items)
    model = solved(X, l2)
    assert model.few == few
    new = torch.flip(chance(9, items), [1])
    expected = new.double() @ paper(X, l2) + EASE.prior * X.double().mean(0)
    torch.testing.assert_close(model(asked(*lists(new)))[:, 1:].double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("users", "items"), [(7, 30), (40, 12)])
def test_weights_are_the_values_of_the_closed_form(users, items):
    X = chance(users, items)
    W, _ = weighed(X)
    model = ranker(EASE, lists(X), items=items + 1, weight=W[X.bool()], l2=2.0)
    new, batch = weighed(torch.flip(chance(9, items), [1]))
    expected = new.double() @ paper(W, 2.0) + EASE.prior * X.double().mean(0)
    torch.testing.assert_close(model(batch)[:, 1:].double(), expected, rtol=1e-4, atol=1e-5)


def test_an_item_alone_says_nothing_of_itself():
    X = chance(7, 30)
    one = torch.eye(30).long()
    own = solved(X)(asked(*lists(one)))[:, 1:].diagonal()
    torch.testing.assert_close(own.double(), EASE.prior * X.double().mean(0), rtol=1e-4, atol=1e-7)


def test_no_history_is_answered_by_popularity():
    for X in (chance(7, 30), chance(40, 12)):
        scores = solved(X)(asked([], []))
        assert torch.equal(scores[0], scores[1]) and scores[0, 0] == 0
        assert scores[0, 1:].tolist() == pytest.approx(X.double().mean(0).tolist(), rel=1e-6)


def test_twins_have_the_same_score():
    """Items with the same users come out alike to the last digit that ranking looks at."""
    X = chance(7, 30)
    X[:, 20] = X[:, 11]
    free = torch.zeros(9, 30).long()
    free[:, :5] = 1
    scores = solved(X)(asked(*lists(free))).round(decimals=7)
    assert scores.dtype == torch.float64 and torch.equal(scores[:, 21], scores[:, 12])


def test_two_tastes_are_kept_apart():
    X = torch.zeros(20, 8).long()
    for u in range(20):
        X[u, (u % 2) * 4 : (u % 2) * 4 + 4] = 1
        X[u, (u % 2) * 4 + u // 2 % 4] = 0
    one = torch.zeros(1, 8).long()
    one[0, 5] = 1
    best = solved(X)(asked(*lists(one)))[0, 1:].masked_fill(one[0] == 1, -1).topk(3).indices
    assert set(best.tolist()) == {4, 6, 7}


def test_what_is_too_large_is_refused_before_memory_is_taken(monkeypatch):
    monkeypatch.setattr(ease, "MOST", 1_000)
    with pytest.raises(UserError, match="ease would keep 1,024 numbers for 50 users and 31 items, and may keep 1,000: leave out items"):
        EASE(EASE.Config(), ids(51, 32), Head((Part("y0", "items", 32),)))
    with pytest.raises(UserError, match=r"model\.l2 must lie between"):
        EASE.Config(l2=0)


def test_popular_is_the_share_of_users():
    X = chance(7, 5)
    model = ranker(MODELS["popular"], lists(X))
    torch.testing.assert_close(model(asked([1], [2])), torch.tensor([[0, *(X.sum(0) / 7).tolist()]] * 2))
