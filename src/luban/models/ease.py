"""EASE (Steck 2019, arXiv 1905.03375): each item is predicted from the others of a user by one linear map, in closed form.

X (U, I) says who had what, by 1 or a weight. B = argmin |X - X B|^2 + l2 |B|^2 with a diagonal of zeros, so that no item
predicts itself (eq. 8):

    P = (X'X + l2)^-1,    B = I - P diag(1 / diag P),    scores of a history h: h B

Where users are few, the same by the identity of Woodbury: with M = (X X' + l2)^-1 and d = diag(X' M X), the off-diagonal of B is that of
X' (M X / (1 - d)). Only a matrix of users is inverted, and B is kept as its two factors: 671 users and 9,012 items are 36 MB, not 325.

Letters: B users at hand, U all users of training, I items; both count the id 0, which had nothing and is had by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged
from luban.core.contract import Clock, Head, Schema
from luban.core.errors import UserError
from luban.layers.ranked import Ranker, counted, laid, sums, weights
from luban.layers.rules import within

PIECE = 512
"""Users, or items, taken at a time while solving."""
SPARSE = 200
"""A pair of items that a user had costs so many times as much, added up in a sparse product, as a pair of any two does in a dense one."""
MOST = 200_000_000
"""Numbers in the solution, at most: 800 MB in the bundle, or 14,142 items and many users; some minutes and 3 GB to solve."""


class EASE(Ranker):
    solves = True
    prior = 0.01
    """It costs nothing on ml-latest-small (validation nDCG@10 .0479 with 0, .001, .01 and .03; .0458 with .1); an intercept, a constant
    item that everyone has, cost .002."""
    left: Tensor  # these three where users are few
    right: Tensor
    own: Tensor
    weight: Tensor  # else this

    @dataclass(frozen=True)
    class Config:
        l2: float = 200.0
        """The price of squared weights, in events: an item that fewer users had hardly predicts another. The best on ml-latest-small by
        validation, and anything from 100 to 700 is within its noise; the paper has 200 to 1,000 for millions of events."""

        def __post_init__(self) -> None:
            within(self, {"l2": (1e-3, 1e9)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        U, I = self.users, self.items
        self.few = 2 * U < I  # then two factors are smaller than the matrix, too
        size = 2 * U * I if self.few else I * I
        if size > MOST:
            raise UserError(f"ease would keep {size:,} numbers for {U - 1:,} users and {I - 1:,} items, and may keep {MOST:,}: "
                            "leave out items that few users had, or choose --model popular.")  # fmt: skip
        if self.few:
            self.register_buffer("left", torch.zeros(I, U, dtype=torch.float16))  # X'; a weight to three digits, 1 exactly
            self.register_buffer("right", torch.zeros(U, I))  # M X / (1 - d)
            self.register_buffer("own", torch.zeros(I))  # the diagonal of their product, which B has not
        else:
            self.register_buffer("weight", torch.zeros(I, I))  # B

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.8

    # ---------------------------------------------------------------- solving, in float64

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self.count(train)
        if self.few:
            X = torch.zeros(self.users, self.items)
            for batch in train.pieces(PIECE):
                had = laid(batch["history"], self.items, weights(batch))
                X[batch[self.user]] = had.clamp(max=6e4).half().float()  # as `left` keeps them
            self.left.copy_(X.T)
            self.right.copy_(_woodbury(X, self.config.l2))
            self.own.copy_((X * self.right).sum(0))
            return
        gram = _gram(counted(train, self.items), clock)
        if gram is not None:
            gram = gram.double()
            self.weight.copy_(_dense(gram, self.config.l2))

    # ---------------------------------------------------------------- scoring

    def scores(self, batch: Batch) -> Tensor:
        """(B, I), in float64 where the factors are multiplied: items with the same users must come out with the same score, or the order
        of a list would be that of rounding errors."""
        history: Ragged = batch["history"]
        by = weights(batch)
        if not self.few:
            return sums(self.weight, history, by).double() + self.before()
        right = self.right.double()
        shared = sums(self.left.float(), history, by).double()  # (B, U): how many items each user of training has in common; exact
        scores = shared @ right + self.before()
        own = self.own[history.values].double() * (1.0 if by is None else by)
        return scores.index_put((history.owners, history.values), -own, accumulate=True)

    def flops(self) -> float:
        return 2.0 * self.right.numel() if self.few else 100.0 * len(self.popular)  # a row of the matrix for each item of a history


def _gram(X: Any, clock: Clock) -> Tensor | None:
    """X'X (I, I) on and above the diagonal; exact in float32 where nothing is weighed; None where time is up."""
    (U, I), of_user = X.shape, np.diff(X.indptr).astype(np.float64)
    thin = SPARSE * float(of_user @ of_user) < U * I * I
    left, gram = X.T.tocsr() if thin else X, torch.zeros(I, I)
    for at in range(0, left.shape[0], PIECE):
        if clock.stopped():
            return None
        if thin:
            gram[at : at + PIECE] = torch.from_numpy((left[at : at + PIECE] @ X).toarray())
            continue
        x = torch.from_numpy(left[at : at + PIECE].toarray())
        for i in range(0, I, PIECE):
            gram[i : i + PIECE, i:].addmm_(x[:, i : i + PIECE].T, x[:, i:])
    return gram


def _dense(gram: Tensor, l2: float) -> Tensor:
    """B (I, I) from X'X, of which it reads what is on and above the diagonal; it takes its place, for nothing else is as large."""
    gram.diagonal().add_(l2)
    P = gram.mT  # by columns, as LAPACK has it; of any other order torch makes copies
    torch.linalg.cholesky(P, out=P)
    torch.cholesky_inverse(P, out=P)
    P.div_(-P.diagonal().clone())
    P.diagonal().zero_()
    return P


def _woodbury(X: Tensor, l2: float) -> Tensor:
    """M X / (1 - d) (U, I) from X (U, I)."""
    gram = (X @ X.T).double()  # whole numbers, where nothing is weighed: exact in float32
    gram.diagonal().add_(l2)
    X = X.double()
    MX = torch.cholesky_solve(X, torch.linalg.cholesky(gram))
    d = (X * MX).sum(0)  # below 1, for l2 is above 0
    return MX / (1 - d)
