"""iALS: alternating least squares against the dense equations of the paper, a history folded in, and what a log's edges do."""

import logging
import math

import numpy as np
import pytest
import torch
from conftest import Patient, asked, lists, ranker, weighed

from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.layers import alternating

IALS = MODELS["ials"]


class Limited(Patient):
    seed = 0

    def __init__(self, left=math.inf, stop=False):
        self.left, self.stop = left, stop

    def seconds_left(self) -> float:
        return self.left

    def stopped(self) -> bool:
        return self.stop


def solved(X: torch.Tensor, clock=None, **options):
    return ranker(IALS, lists(X), clock=clock or Limited(), items=X.shape[1] + 1, **options)


def tastes(users=40, items=12) -> torch.Tensor:
    """Two circles of taste, of whose items each has most."""
    X = (torch.rand(users, items, generator=torch.Generator().manual_seed(3)) < 0.8).long()
    X[::2, : items // 2] = 0
    X[1::2, items // 2 :] = 0
    X[0, -1] = X[1, 0] = 1
    return X


def exact(X: np.ndarray, Y: np.ndarray, c) -> np.ndarray:
    """Rendle et al. 2021, eq. 8: each row by itself. Y has a row of 0 for the item 0, which counts among the others."""
    made = []
    for row in X:
        V, w = Y[1:][row > 0], row[row > 0]
        price = c.l2 * (len(w) + c.alpha * len(Y)) ** c.nu
        made.append(np.linalg.solve((V.T * w) @ V + c.alpha * Y.T @ Y + price * np.eye(Y.shape[1]), w @ V))
    return np.stack(made)


def test_a_history_is_folded_in_exactly():
    """By the dense normal equations, for histories of one item up to all of them."""
    model = solved(tastes(), factors=5, alpha=0.2, l2=0.03)
    new = torch.tril(torch.ones(12, 12)).long()
    Y = model.vectors.double().numpy()
    torch.testing.assert_close(model(asked(*lists(new))).double().numpy(), exact(new.numpy(), Y, model.config) @ Y.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("nu", "weights"), [(0.0, False), (1.0, False), (1.0, True)])
def test_what_is_found_is_the_least_of_the_objective(nu, weights):
    """At the end, items solved for exactly, with users solved for exactly, are the items themselves."""
    X = tastes()
    W, batch = weighed(X) if weights else (X, asked(*lists(X)))
    options = {"factors": 2, "l2": 0.05, "alpha": 0.2, "nu": nu, "iterations": 200, "steps": 5}
    model = ranker(IALS, lists(X), clock=Limited(), weight=W[X.bool()] if weights else None, **options)
    Y = model.vectors.double().numpy()
    users = exact(W.numpy(), Y, model.config)
    torch.testing.assert_close(model(batch).double().numpy(), users @ Y.T, rtol=1e-3, atol=1e-4)
    for item, row in enumerate(W.numpy().T):
        mine, w = users[row > 0], row[row > 0]
        price = model.config.l2 * (len(w) + model.config.alpha * len(users)) ** nu
        A = (mine.T * w) @ mine + model.config.alpha * users.T @ users + price * np.eye(2)
        np.testing.assert_allclose(np.linalg.solve(A, w @ mine), Y[item + 1], atol=1e-3)


def test_one_step_moves_and_many_arrive():
    """Few steps are on their way to what many reach; rows beside each other change nothing."""
    g = torch.Generator().manual_seed(0)
    y, x = torch.randn(30, 4, generator=g), torch.zeros(2, 4)
    both = Ragged(torch.tensor([3, 9, 9, 1, 4]), torch.tensor([0, 4, 5]))
    one = Ragged(torch.tensor([4]), torch.tensor([0, 1]))
    price = torch.full((2, 4), 0.5)
    full = alternating.improved(both, 1.0, y, price, x)
    V = y[both.values[:4]].double()
    expected = torch.linalg.solve(V.T @ V + 0.5 * torch.eye(4), V.sum(0))
    torch.testing.assert_close(full[0].double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alternating.improved(one, 1.0, y, price[:1], x[:1])[0], full[1])
    gaps = [float((alternating.improved(both, 1.0, y, price, x, steps)[0].double() - expected).norm()) for steps in (1, 2, 4)]
    assert gaps[0] > 1e-3 > gaps[2] and gaps[0] > gaps[1] > gaps[2]


def test_pieces_of_rows_are_solved_alike(monkeypatch):
    whole = solved(tastes(), factors=3)
    monkeypatch.setattr(alternating.by_rows, "__defaults__", (7,))
    torch.testing.assert_close(solved(tastes(), factors=3).vectors.abs(), whole.vectors.abs(), rtol=1e-3, atol=1e-4)


def test_tastes_are_kept_apart_and_nobody_gets_what_is_popular():
    model = solved(tastes(), factors=2)
    one = torch.zeros(2, 12).long()
    one[0, 7] = 1
    scores = model(asked(*lists(one)))
    best = scores[0, 1:].masked_fill(one[0] == 1, -1).topk(4).indices
    assert set(best.tolist()) <= {6, 8, 9, 10, 11}
    assert torch.equal(scores[1], model.popular)


def test_the_clock_is_heeded(caplog):
    caplog.set_level(logging.INFO, "luban")
    early = solved(tastes(), Limited(left=0.0), factors=3)
    assert any("ials: stopped after 1 of 15 iterations by the time limit" in each for each in caplog.messages)
    assert early.vectors.abs().sum() > 0
    assert solved(tastes(), Limited(stop=True), factors=3).vectors.abs().sum() == 0
    with pytest.raises(UserError, match=r"model\.l2 must lie between"):
        IALS.Config(l2=0)


def test_more_users_get_longer_vectors():
    for users, factors in ((9_999, 64), (10_000, 128)):
        config, _, why = IALS.plan(IALS.Config(), None, None, users, "base")
        assert config.factors == factors and why == {"model.factors": f"from {users:,} users"}
    assert IALS.plan(IALS.Config(factors=7), None, None, 10_000, "base")[0].factors == 7


def test_alpha_follows_how_dense_the_log_is():
    X = tastes()
    W, _ = weighed(X)
    assert float(solved(X, factors=2).alpha) == pytest.approx(20 * int(X.sum()) / X.numel(), rel=1e-6)
    assert float(ranker(IALS, lists(X), weight=W[X.bool()], factors=2).alpha) == pytest.approx(20 * float(W.sum()) / X.numel(), rel=1e-6)


def test_without_a_price_on_what_was_not_had_there_is_no_answer():
    with pytest.raises(UserError, match="alpha"):
        IALS.Config(alpha=0.0)
