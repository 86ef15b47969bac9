"""iALS: users and items as vectors whose products say who had what, by alternating least squares over all pairs, had or not.

    sum over what was had of w (1 - x'y)^2 + alpha * sum over all pairs of (x'y)^2 + sum over vectors v of l2 (n_v + alpha N)^nu |v|^2

Hu, Koren and Volinsky 2008; as written in Rendle et al. 2021 (arXiv 2110.14037, eq. 3 to 5). w: an event's weight, 1 where all are
alike; n_v: events of a user or item; N: how many there are of the other side. All pairs cost no more than the events, for their sum of
squares is x' (Y'Y) x.

The vectors of a side are not solved for exactly but improved by some steps of conjugate gradients from where they were (Takacs, Pilaszy
and Tikk 2011). The items are turned so that Y'Y is diagonal, D; alpha D + l2 then is most of the matrix, and what is divided by. So one
or two steps are as good as a Cholesky factor for each user, and a step is two passes over the events.

A history is answered by folding it in: the same equations, solved to the end. No user is kept. Letters: E events, R rows (users, or
items), F factors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged, beneath
from luban.core.contract import Clock, Head, Schema
from luban.core.notes import passes, say
from luban.core.registry import Later
from luban.layers.alternating import by_rows, improved
from luban.layers.ranked import PIECE, Ranker, weights
from luban.layers.rules import within

sparse = Later("scipy.sparse")

MANY = 10_000
"""Users from which longer vectors pay."""
UNSEEN = 20.0
"""So alpha follows how dense a log is. nDCG@10 on validation at 5, 10, 20, 40: ml-latest-small .0444, .0448, .0448, .0443; MovieLens 100K,
random, .083, .090, .102, .095; Beauty .035 at 5 and at 20. With one alpha for all, the best of each were .3, 1 and .003."""


class IALS(Ranker):
    solves = inner = True
    vectors: Tensor
    squares: Tensor
    alpha: Tensor

    @dataclass(frozen=True)
    class Config:
        factors: int | None = None
        """Length of a vector; 64 is usual."""
        l2: float = 0.007
        """The price of squared weights. Between .005 and .01 all is within noise."""
        alpha: float | None = None
        """What each pair counts as an answer of 0, where one that was had counts 1 besides. Unset: so much that all pairs together count
        UNSEEN times the events."""
        nu: float = 1.0
        """How the price grows with a row's events: 1 as they do, 0 not at all."""
        iterations: int = 15
        """Times that users and items are solved for in turn."""
        steps: int = 2
        """Of conjugate gradients each time."""

        def __post_init__(self) -> None:
            within(self, {"l2": (1e-9, 1e9), "nu": (0.0, 2.0), "iterations": (1, 10_000), "steps": (1, 1000)})
            for name, range in {"alpha": (1e-9, 1e3), "factors": (1, 4096)}.items():
                if getattr(self, name) is not None:
                    within(self, {name: range})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.register_buffer("vectors", torch.zeros(self.items, config.factors))  # Y, turned
        self.register_buffer("squares", torch.zeros(config.factors))  # D, the diagonal of Y'Y
        self.register_buffer("alpha", torch.zeros(()))

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.7

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        """nDCG@10 on validation with 64 and 128: Beauty, 22,000 users, .035 and .041; of the small MovieLens, under 1,000, level."""
        if config.factors is not None:
            return config, {}, {}
        return replace(config, factors=128 if n_rows >= MANY else 64), {}, {"model.factors": f"from {n_rows:,} users"}

    # ---------------------------------------------------------------- solving

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self.count(train)
        c, (users, by) = self.config, _events(train)
        items, of_items = _turned(users, by, self.items)
        pairs = len(users) * (self.items - 1)
        self.alpha.fill_(UNSEEN * (len(users.values) if by is None else float(by.sum())) / pairs if c.alpha is None else c.alpha)
        dice = torch.Generator().manual_seed(clock.seed)
        Y = torch.randn(self.items, c.factors, generator=dice) * 0.1 / c.factors**0.5
        X = torch.zeros(len(users), c.factors)
        Y[0] = 0
        begun = time.monotonic()
        for done in passes(c.iterations, 1, "ials: iteration"):
            if clock.stopped():
                return
            if done and clock.seconds_left() < (time.monotonic() - begun) / done:
                say(f"ials: stopped after {done} of {c.iterations} iterations by the time limit")
                break
            X, Y = self._half(users, by, X, Y)
            Y, X = self._half(items, of_items, Y, X)
        self.squares.copy_(_diagonal(Y)[0])
        self.vectors.copy_(_diagonal(Y)[1])

    def _half(self, events: Ragged, by: Tensor | None, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(x (R, F), improved while y is held; y), both turned so that y'y is diagonal."""
        squares, y, turn = _diagonal(y)
        x = x @ turn
        for mine, which, some in by_rows(events):
            weight = None if by is None else by[which]
            x[mine] = improved(some, 1.0, y, self._price(some, squares, len(y)), x[mine], self.config.steps, weight)
        return x, y

    def _price(self, events: Ragged, squares: Tensor, others: int) -> Tensor:
        """(R, F): alpha D + l2 (n + alpha N)^nu, the part of each row's equations that is diagonal."""
        c = self.config
        return self.alpha * squares + (c.l2 * (events.lengths + self.alpha * others).double() ** c.nu).float().unsqueeze(1)

    # ---------------------------------------------------------------- scoring

    def scores(self, batch: Batch) -> Tensor:
        return self.user_side(batch) @ self.vectors.T

    def user_side(self, batch: Batch) -> Tensor:
        history, Y = batch["history"], self.vectors
        nothing = Y.new_zeros(len(history), Y.shape[1])
        return improved(history, 1.0, Y, self._price(history, self.squares, len(Y)), nothing, by=weights(batch))

    def item_side(self, ids: Tensor) -> Tensor:
        return self.vectors[ids]


# ---------------------------------------------------------------- small words


def _events(train: Examples) -> tuple[Ragged, Tensor | None]:
    """The items of each user, and how much each counts."""
    had, counts = [], []
    for batch in train.pieces(PIECE):
        had.append(Ragged(batch["history"].values.int(), batch["history"].offsets.int()))
        counts.append(weights(batch))
    found, by = beneath(had), [each for each in counts if each is not None]
    return Ragged(found.values, found.offsets.int()), torch.cat(by) if by else None


def _turned(events: Ragged, by: Tensor | None, size: int) -> tuple[Ragged, Tensor | None]:
    """The users of each item: scipy's counting sort is ten times as fast as torch's sort."""
    values = np.ones(len(events.values), np.uint8) if by is None else by.numpy()
    found = sparse.csr_matrix((values, events.values.numpy(), events.offsets.numpy()), (len(events), size)).tocsc()
    return Ragged(torch.from_numpy(found.indices), torch.from_numpy(found.indptr)), None if by is None else torch.from_numpy(found.data)


def _diagonal(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(D (F,), y Q, Q) where Q' y'y Q = diag D."""
    squares, turn = torch.linalg.eigh((y.T @ y).double())
    return squares.clamp(min=0).float(), y @ turn.float(), turn.float()
