"""Linear and (multinomial) logistic regression, solved by scikit-learn: the baseline that a network has to beat.

Numbers enter as they are, ids one-hot, tokens as a bag of words scaled by the root of its length; all of it sparse, so that a column
with a hundred thousand values costs what its rows cost. The answer of an id never seen in training has weight 0: an average one.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch, Encoded, Examples, Ragged, size_of
from luban.core.contract import Clock, Head, Model, Part, Schema
from luban.core.notes import say
from luban.core.registry import Later
from luban.layers.columns import numbers, of_kind
from luban.layers.heads import log_odds, truth
from luban.layers.rules import within

ROUND = 50
"""Steps of L-BFGS between two looks at the clock."""

MANY = 5_000_000
"""Entries of a matrix that take long enough to say so."""

sparse, sk, exceptions = Later("scipy.sparse"), Later("sklearn.linear_model"), Later("sklearn.exceptions")


class Linear(Model):
    solves = True
    baseline = True
    weight: Tensor
    bias: Tensor

    @dataclass(frozen=True)
    class Config:
        strength: float = 1.0
        """scikit-learn's C, and 1 / alpha of ridge: the larger, the freer the weights. 1 is what everyone compares with."""
        iterations: int = 1000
        """Most steps of L-BFGS; Adult needs 76."""

        def __post_init__(self) -> None:
            within(self, {"strength": (1e-12, 1e12), "iterations": (1, 1_000_000)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.scalars = of_kind(schema, "scalar")
        self.bags = self.widths(schema)
        self.first = sum(field.size + field.has_missing for field in self.scalars.values())  # the first row of the bags' weights
        self.register_buffer("weight", torch.zeros(self.first + sum(self.bags.values()), head.size))
        self.register_buffer("bias", torch.zeros(head.size))

    def widths(self, schema: Schema) -> dict[str, int]:
        """{column: how many different ids its bag may hold}."""
        return {key: field.size for key, field in schema.inputs.items() if field.kind in ("id", "tokens")}

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.5

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        rows = train.whole()
        x = self._design(rows)
        x.eliminate_zeros()
        used = np.flatnonzero(x.getnnz(0))  # of what no training row has the weight is 0
        if x.nnz > MANY:
            say(f"solving for {len(used):,} features of {x.shape[0]:,} rows")
        weights, biases = zip(*(self._solve_part(x[:, used], rows, part, clock) for part in self.head.parts), strict=True)
        self.weight[used] = torch.from_numpy(np.concatenate(weights, 1)).float()
        self.bias.copy_(torch.from_numpy(np.concatenate(biases)))

    def forward(self, batch: Batch) -> Tensor:
        return self.bias + self.added(batch, self.weight)

    def added(self, batch: Batch, weight: Tensor) -> Tensor:
        """The rows of weight (F, size) that the features of each example name, times these: (B, size)."""
        start = self.first
        out = numbers(batch, self.scalars) @ weight[:start] if self.scalars else weight.new_zeros(size_of(batch), weight.shape[1])
        for key, size in self.bags.items():
            ids, offsets, shares = self.bag(key, batch[key])
            part = weight[start : start + size]
            out = out + F.embedding_bag(ids, part, offsets, mode="sum", per_sample_weights=shares, include_last_offset=True)
            start += size
        return out

    def _design(self, batch: Batch) -> Any:
        """The same features as `forward` reads, as one matrix (B, F)."""
        blocks = [sparse.csr_matrix(numbers(batch, self.scalars).cpu().numpy())] if self.scalars else []
        for key, size in self.bags.items():
            ids, offsets, shares = (each.cpu().numpy() for each in self.bag(key, batch[key]))
            blocks.append(sparse.csr_matrix((shares, ids, offsets), shape=(len(offsets) - 1, size)))
        return sparse.hstack(blocks, format="csr").astype(np.float64)

    def bag(self, key: str, column: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        """(ids, offsets (B+1,), what each id counts): an id is a bag of one; a row's tokens are scaled to about length 1 together."""
        if isinstance(column, Ragged):
            return column.values, column.offsets, column.lengths.clamp(min=1).float().rsqrt().repeat_interleave(column.lengths)
        return column, torch.arange(len(column) + 1, device=column.device), torch.ones(len(column), device=column.device)

    def _solve_part(self, x: Any, train: Batch, part: Part, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
        """(weight (F, size), bias (size,)) of one target."""
        y, rows = truth(train, part)
        x = x[rows]
        if part.kind == "value":
            made = self._ridge_or_huber(part.loss).fit(x, y)
            return made.coef_.reshape(-1, 1), np.array([made.intercept_]).reshape(1)
        if part.kind == "labels":
            pairs = [self._logistic(x, column, 2, (), clock) for column in y.T]
        else:
            pairs = [self._logistic(x, y, max(part.size, 2), part.weights, clock)]
        if part.kind != "classes":  # one logit: that of yes over no
            pairs = [(weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]) for weight, bias in pairs]
        return np.concatenate([weight for weight, _ in pairs], 1), np.concatenate([bias for _, bias in pairs])

    def _logistic(self, x: Any, y: np.ndarray, size: int, weights: tuple[float, ...], clock: Clock) -> tuple[np.ndarray, np.ndarray]:
        """Logits of `size` classes. A class without a row keeps its log odds as bias and no weight. Under a time limit it is solved in
        rounds, each from where the last one ended: scikit-learn cannot be stopped within one."""
        weight, bias = np.zeros((x.shape[1], size)), np.array(log_odds(np.bincount(y, minlength=size).tolist()))
        present = np.unique(y)
        if len(present) > 1:
            limited, most, done = math.isfinite(clock.seconds_left()), self.config.iterations, 0
            made = sk.LogisticRegression(C=self.config.strength, max_iter=min(ROUND, most) if limited else most, warm_start=limited)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
                while True:
                    made.fit(x, y, sample_weight=np.array(weights)[y] if weights else None)
                    done, ended = done + made.max_iter, made.n_iter_.max() < made.max_iter
                    if ended or done >= most or clock.seconds_left() <= 0 or clock.stopped():
                        break
            if not ended:
                why = "by the time limit" if clock.seconds_left() <= 0 else "(model.iterations sets the limit)"
                say(f"linear: stopped after {done} iterations {why}, not wholly converged.")
            coefficients, intercepts = made.coef_.T, made.intercept_
            if len(present) == 2:  # scikit-learn keeps the second class only; the first is its mirror
                coefficients, intercepts = np.concatenate([0 * coefficients, coefficients], 1), np.array([0.0, intercepts[0]])
            weight[:, present], bias[present] = coefficients, intercepts
        return weight, bias

    def _ridge_or_huber(self, loss: str) -> Any:
        """huber at scikit-learn's 1.35; mae as huber at 1, its nearest: the exact one is a linear programme of minutes."""
        if loss in ("", "mse"):
            return sk.Ridge(alpha=1 / self.config.strength)
        return sk.HuberRegressor(epsilon=1.35 if loss == "huber" else 1.0, max_iter=self.config.iterations, alpha=1e-4)
