"""BPR (Rendle et al. 2009, arXiv 1205.2618): vectors of users and items, by which what a user had comes before what not.

    x(u, i) = u . v_i + b_i,    loss: the mean of -log sigmoid(x(u, i) - x(u, j)) over the events (u, i), j drawn anew from what u had not

A batch is users with all their events; only the rows of the tables that it reads are moved. Somebody without a vector is answered by the
mean of the vectors of what they had, turned into a user's by the linear map that does so best for those of training.
Letters: B users, E events of a batch, I items with id 0, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from luban.core.batch import Batch, Examples, Ragged
from luban.core.contract import Head, Schema
from luban.layers.ranked import Ranker, seen, sums, usual
from luban.layers.rules import within

EVENTS = 2000
"""Events a step, about: that many users make a batch."""
PACE = 8.0
"""A user is in one batch of an epoch, an item in many: so many times as far does a user's vector move."""


class BPR(Ranker):
    inner = True
    moments: Tensor
    cross: Tensor
    seen: Tensor

    @dataclass(frozen=True)
    class Config:
        width: int | None = None
        """Numbers a user and an item: small 32, base 64, large 128."""
        l2: float = 0.01
        """The price of squared vectors, paid with each event that reads them."""

        def __post_init__(self) -> None:
            within(self, {"width": (1, 4096), "l2": (0.0, 100.0)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        D = config.width
        self.person, self.item = (nn.Embedding(n, D, sparse=True) for n in (self.users, self.items))
        self.bias = nn.Embedding(self.items, 1, sparse=True)
        nn.init.normal_(self.person.weight, std=0.1 / PACE)
        nn.init.normal_(self.item.weight, std=0.1)
        nn.init.zeros_(self.bias.weight)
        self.register_buffer("seen", seen(schema.inputs[self.user]), persistent=False)  # from the schema
        self.register_buffer("moments", torch.zeros(D, D))  # M'M and M'U of late batches: M the means of what users had, U their vectors
        self.register_buffer("cross", torch.zeros(D, D))

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.4

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        planned = replace(config, width=config.width or {"small": 32, "base": 64, "large": 128}[size])
        users = int(min(1024, max(4, EVENTS / usual(schema))))
        train = {"batch_size": users, "epochs": 100, "lr": 1e-2, "optimizer": "adam", "weight_decay": 0.0,
                 "schedule": "constant", "warmup": 0.0, "clip": 0.0, "ema": 0.0, "patience": 3, "precision": "fp32"}  # fmt: skip
        return planned, train, {"train.batch_size": f"some {EVENTS:,} events"}

    # ---------------------------------------------------------------- training

    def look(self, train: Examples) -> None:
        """Biases begin where they would end without vectors: at the logarithm of how often an item was had."""
        self.count(train)
        if not self.goes_on:
            had = (self.popular * len(train) + 1).log()
            self.bias.weight.data.copy_((had - had.mean()).unsqueeze(1))

    def loss(self, batch: Batch) -> Tensor:
        history: Ragged = batch["history"]
        owner, had = history.owners, history.values
        other, apart = drawn(owner, had, self.items)
        person, (true, false) = PACE * self.person(batch[self.user]), self.item(torch.stack([had, other]))
        mine = person[owner]
        gap = (mine * (true - false)).sum(1) + (self.bias(had) - self.bias(other)).squeeze(1)
        squares = mine.square().sum(1) + true.square().sum(1) + false.square().sum(1)
        self._remember(person.detach(), history)
        return ((F.softplus(-gap) + self.config.l2 * squares) * apart).sum() / apart.sum().clamp(min=1)

    @torch.no_grad()
    def _remember(self, person: Tensor, history: Ragged) -> None:
        mean = self._mean(history)
        self.moments.lerp_(mean.T @ mean / len(mean), 0.01)
        self.cross.lerp_(mean.T @ person / len(mean), 0.01)

    # ---------------------------------------------------------------- scoring

    def scores(self, batch: Batch) -> Tensor:
        return self._person(batch) @ self.item.weight.T + self.bias.weight.T

    def user_side(self, batch: Batch) -> Tensor:
        return F.pad(self._person(batch), (0, 1), value=1.0)

    def item_side(self, ids: Tensor) -> Tensor:
        return torch.cat([self.item(ids), self.bias(ids)], 1)

    def _person(self, batch: Batch) -> Tensor:
        """(B, D)"""
        user = batch[self.user]
        new = ~self.seen[user]  # nor has somebody a vector of whom a table alone knows
        person = PACE * self.person(user)
        if new.any():
            person = torch.where(new.unsqueeze(1), self._mean(batch["history"]) @ self._turn(), person)
        return person

    def _mean(self, history: Ragged) -> Tensor:
        """(B, D), of the items' vectors."""
        return sums(self.item.weight, history) / history.lengths.clamp(min=1).unsqueeze(1)

    def _turn(self) -> Tensor:
        """(D, D): least squares from M to U."""
        moments = self.moments.double()
        moments.diagonal().add_(1e-3 * moments.diagonal().mean() + 1e-12)
        return torch.linalg.solve(moments, self.cross.double()).to(self.cross.dtype)

    def flops(self) -> float:
        return 2.0 * self.items * self.config.width


def drawn(owner: Tensor, had: Tensor, items: int) -> tuple[Tensor, Tensor]:
    """For each event an item (E,), and 1 where its user had it not, else 0 (E,): those that they had are drawn once again."""
    pairs = (owner * items + had).sort().values

    def known(item: Tensor) -> Tensor:
        asked = owner * items + item
        return pairs[torch.searchsorted(pairs, asked).clamp(max=len(pairs) - 1)] == asked

    other = torch.randint(1, items, had.shape, device=had.device)
    other = torch.where(known(other), torch.randint(1, items, had.shape, device=had.device), other)
    return other, (~known(other)).float()
