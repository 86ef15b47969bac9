"""How much a user will like an item: the mean, what the user and the item are off it, and how their tastes meet.

    answer = mean + b_u + b_i + p_u' q_i, least squares with a price on every squared number (Koren, Bell and Volinsky 2009, eq. 4 and 5)

Solved by turns: with the items held, each user's (b, p) is a ridge regression of what is left of their answers on (1, q), and the other
way round. An id that training never had is answered by the other's bias alone. Letters: E rows, U and I ids, F factors.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.errors import UserError
from luban.core.notes import passes, say
from luban.layers.alternating import by_rows, improved, sides
from luban.layers.columns import of_kind
from luban.layers.rules import within

PIECE = 1_000_000
"""Rows answered at a time while validating."""


class BiasedMF(Model):
    accepts = frozenset({"id", "scalar", "tokens"})
    needs = frozenset({"id"})
    gives = frozenset({"value"})
    solves = True
    users: Tensor
    items: Tensor
    mean: Tensor

    @dataclass(frozen=True)
    class Config:
        factors: int = 16
        """Length of a taste; 0 for biases alone."""
        l2: float = 12.0
        """The price of squared factors, in rows: who gave fewer answers is held near 0. MovieLens 100K: RMSE on validation .922, .913,
        .911, .913 at 8, 10, 12, 15; .939 with biases alone."""
        l2_bias: float = 3.0
        """The same of biases, which fewer rows settle."""
        iterations: int = 30
        """Times that users and items are solved for in turn, at most."""
        patience: int = 3
        """Iterations without improvement on the validation part before it stops; the best are kept."""

        def __post_init__(self) -> None:
            within(
                self, {"factors": (0, 4096), "l2": (1e-6, 1e9), "l2_bias": (1e-6, 1e9), "iterations": (1, 10_000), "patience": (1, 10_000)}
            )

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        ids = of_kind(schema, "id")
        if len(ids) < 2:
            whole = next((each.columns[0] for each in schema.inputs.values() if getattr(each, "integer", False)), "COLUMN")
            raise UserError(f"biased_mf needs two columns of ids, a user and an item, and there are {len(ids)}. Where whole "
                            f"numbers are ids, say so, beside the fields that you named: --set 'fields.{whole}=category'.")  # fmt: skip
        if len(head.parts) > 1:
            raise UserError(f"biased_mf answers one target, not {len(head.parts)}: train one for each.")
        self.keys = tuple(ids)[:2]
        self.unused = [repr(field.columns[0]) for key, field in schema.inputs.items() if key not in self.keys]
        for name, key in zip(("users", "items"), self.keys, strict=True):  # (U or I, 1 + F): bias, factors
            self.register_buffer(name, torch.zeros(ids[key].size, 1 + config.factors))
        self.register_buffer("mean", torch.zeros(()))

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """Where two ids are all that there is."""
        return 0.8 if [field.kind for field in schema.inputs.values()] == ["id", "id"] and len(head.parts) == 1 else 0.0

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        c, part = self.config, self.head.parts[0]
        if self.unused:
            say(f"biased_mf reads two columns of ids; not used: {', '.join(self.unused)}")
        if part.loss != "mse":
            say(f"biased_mf is solved by least squares: task.loss={part.loss} only chooses how it is judged")
        row, column, answers = (torch.cat(each) for each in zip(*self._pieces(train), strict=True))
        self.mean.copy_(answers.mean())
        found = [sides(a, b, size) for a, b, size in ((row, column, len(self.users)), (column, row, len(self.items)))]
        (of_users, first), (of_items, second) = found
        left = answers - self.mean
        dice = torch.Generator().manual_seed(clock.seed)
        x, y = torch.zeros_like(self.users), torch.randn(self.items.shape, generator=dice) * 0.1
        y[:, 0] = 0
        best, waited, begun = float("inf"), 0, time.monotonic()
        for done in passes(c.iterations, 1, "biased_mf: iteration"):
            if clock.stopped():
                return
            if done and clock.seconds_left() < (time.monotonic() - begun) / done:
                say(f"biased_mf: stopped after {done} of {c.iterations} iterations by the time limit")
                break
            x = self._half(of_users, left[first], x, y)
            y = self._half(of_items, left[second], y, x)
            error = self._error(valid, x, y) if valid is not None and len(valid) else -done
            waited = 0 if error < best else waited + 1
            if error < best:
                best = error
                self.users.copy_(x)
                self.items.copy_(y)
            if waited == c.patience:
                break

    def _half(self, events: Ragged, answers: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """x (R, 1 + F) solved for with y held."""
        c, ones = self.config, torch.cat([torch.ones(len(y), 1), y[:, 1:]], 1)
        price = torch.full((1, x.shape[1]), c.l2)
        price[0, 0] = c.l2_bias
        new = torch.zeros_like(x)
        for mine, which, some in by_rows(events):
            rest = answers[which] - y[some.values, 0]
            new[mine] = improved(some, rest, ones, price.expand(len(some), -1), x[mine])
        return new

    def _pieces(self, rows: Examples) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(users, items, answers), those that are there."""
        for batch in rows.pieces(PIECE):
            y = batch[self.head.parts[0].key].reshape(-1)
            there = ~y.isnan()
            yield batch[self.keys[0]][there], batch[self.keys[1]][there], y[there]

    def _error(self, valid: Examples, x: Tensor, y: Tensor) -> float:
        return sum(float((self._answer(x[a], y[b]) - truth).square().sum()) for a, b, truth in self._pieces(valid))

    def _answer(self, x: Tensor, y: Tensor) -> Tensor:
        return self.mean + x[:, 0] + y[:, 0] + (x[:, 1:] * y[:, 1:]).sum(1)

    def forward(self, batch: Batch) -> Tensor:
        return self._answer(self.users[batch[self.keys[0]]], self.items[batch[self.keys[1]]]).unsqueeze(1)

    def flops(self) -> float:
        return 2.0 * self.users.shape[1]
