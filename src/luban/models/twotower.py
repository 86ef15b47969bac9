"""Two towers: one makes a vector of a user, one of an item, and their product is the score (Yi et al. 2019, doi 10.1145/3298689.3346996).

An item's vector is its own, learned for its id, plus what its features say: a vector for each word, averaged, and a line for each number.
A user's is made of the items that they had, plus their own and their features. In training an id's own vector is left out now and then,
so that features alone must do; so an item that nobody had yet, known by the table of items alone, has a place among the others.

Each step takes some users, draws a part of what each had as targets, and leaves the rest as history. A target is told from the targets of
the others that the user never had (softmax over the items of the batch). A popular item is among these more often, which the logQ
correction takes back (eq. 3): a negative's score is less log Q(j), with Q(j) the chance that j is in such a batch.

Letters: B users, I items with the id 0, S ids of a column, n ids at hand, C items of the batch, T targets, E events, D the width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from luban.core.batch import Batch, Examples, Ragged
from luban.core.contract import Head, Schema
from luban.layers.ranked import PIECE, Ranker, seen, sums
from luban.layers.rules import within

STEPS = 500
"""On ml-latest-small, leave-last-out, validation nDCG@10 is .029 after 150 steps and .044 after 470 of 600."""


class Tower(nn.Module):
    """Ids (n,) -> (n, D): the vector of each, plus what its features say."""

    seen: Tensor

    def __init__(self, field: Any, width: int, forget: float):
        super().__init__()
        self.forget = forget
        self.features = getattr(field, "features", ())  # a column of ids alone has none
        self.bags = [each for each in self.features if each.words]
        self.numbers = [each for each in self.features if not each.words]
        self.own = nn.Embedding(field.size, width)
        self.words = nn.ModuleList(nn.EmbeddingBag(len(each.words), width, include_last_offset=True) for each in self.bags)
        self.line = nn.Linear(2 * len(self.numbers), width) if self.numbers else None
        # what training never has must not be heard: not the vector of an id without an event, nor that of a word of such ids alone, nor
        # that a number is missing. With random words, nDCG@10 of films that training never had is .021 instead of .040 (validation)
        nn.init.normal_(self.own.weight, std=width**-0.5)
        for each in (*self.words.parameters(), *(self.line.parameters() if self.line is not None else ())):
            nn.init.zeros_(each)
        self.register_buffer("seen", seen(field).float().unsqueeze(1), persistent=False)  # (S, 1), from the schema, as the features are

    def forward(self, ids: Tensor) -> Tensor:
        kept = self.seen[ids]
        if self.training and self.features and self.forget:
            kept = kept * (torch.rand(len(ids), 1, device=ids.device) >= self.forget)
        x = self.own(ids) * kept
        rows = ids.cpu()
        for each, words in zip(self.bags, self.words, strict=True):
            bag = each.values[rows].to(ids.device)
            x = x + words(bag.values, bag.offsets)
        if self.line is not None:
            numbers = torch.stack([each.values[rows] for each in self.numbers], 1).to(ids.device)
            x = x + self.line(torch.cat([numbers.nan_to_num(nan=0.0), numbers.isnan().float()], 1))
        return x


class TwoTower(Ranker):
    often: Tensor

    personal = inner = True

    @dataclass(frozen=True)
    class Config:
        width: int | None = None
        """Numbers of a vector; 32 to 128 are usual."""
        forget: float = 0.5
        """Share of the ids whose own vector is left out in a step, where there are features. .5 is the best for items that training had;
        more, .8, for those that it never had."""
        targets: int = 16
        """Items of a user that are targets in a step, at most, and at most half of what they had."""
        temperature: float = 0.2
        """What the cosine of the two vectors is divided by: the lower, the more the nearest negatives count. .05 to .2 is usual; items that
        training never had want more, .4: what most like goes before what is like the history."""

        def __post_init__(self) -> None:
            within(self, {"width": (1, 4096), "forget": (0.0, 1.0), "targets": (1, 10_000), "temperature": (1e-3, 10.0)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        D = config.width
        self.item = Tower(self.catalogue, D, config.forget)
        self.who = Tower(schema.inputs[self.user], D, config.forget)
        self.mixed = nn.Sequential(nn.Linear(D, 2 * D), nn.ReLU(), nn.Linear(2 * D, D))
        self.register_buffer("often", torch.zeros(self.items))  # (I,): how often it is a target, a user of a batch
        self._vectors: tuple[tuple[Any, ...], Tensor] | None = None

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.3 if any(getattr(each, "features", ()) for each in schema.fields.values()) else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        epochs = max(10, min(100, round(STEPS * 128 / n_rows)))
        train = {"batch_size": 128, "lr": 3e-3, "epochs": epochs, "weight_decay": 1e-2}
        why = {
            "train.batch_size": "each user is told from the items of the others",
            "train.epochs": f"about {STEPS} steps, between 10 and 100 epochs",
        }
        width = config.width or {"small": 32, "base": 64, "large": 128}[size]
        return replace(config, width=width), train, {"model.width": f"by size {size}", **why}

    def look(self, train: Examples) -> None:
        self.count(train)
        for batch in train.pieces(PIECE):
            history = batch["history"]
            share = (self._drawn(history.lengths) / history.lengths)[history.owners]
            self.often += torch.bincount(history.values, share, minlength=self.items)
        self.often /= len(train)

    def _drawn(self, lengths: Tensor) -> Tensor:
        """(B,): how many of a user's items are targets in a step."""
        return (-(-lengths // 2)).clamp(max=self.config.targets)

    # ---------------------------------------------------------------- the two vectors

    def users_of(self, ids: Tensor, history: Ragged, vectors: Tensor) -> Tensor:
        """(B, D), of length 1. history: rows of `vectors` (n, D)."""
        mean = sums(vectors, history) / history.lengths.clamp(min=1).unsqueeze(1)
        x = mean + self.who(ids)
        return F.normalize(x + self.mixed(x), dim=1)

    def items_of(self, ids: Tensor) -> Tensor:
        """(n, D), of length 1."""
        return F.normalize(self.item(ids), dim=1)

    def scores(self, batch: Batch) -> Tensor:
        V = self._catalogue()
        u = self.users_of(batch[self.user], batch["history"], V)
        return (u @ V.T).float() / self.config.temperature

    def user_side(self, batch: Batch) -> Tensor:
        return self.users_of(batch[self.user], batch["history"], self._catalogue()) / self.config.temperature

    def item_side(self, ids: Tensor) -> Tensor:
        return self._catalogue()[ids]

    def _catalogue(self) -> Tensor:
        """(I, D): all items, computed again only where a weight was changed."""
        state = (self.popular.device, *(each._version for each in self.parameters()))
        if self._vectors is None or self._vectors[0] != state:
            self._vectors = state, self.items_of(torch.arange(self.items, device=self.popular.device))
        return self._vectors[1]

    def train(self, mode: bool = True) -> TwoTower:
        if mode != self.training:
            self._vectors = None
        return super().train(mode)

    # ---------------------------------------------------------------- a step

    def loss(self, batch: Batch) -> Tensor:
        history: Ragged = batch["history"]
        owner, item = history.owners, history.values
        # of each user's events, put in any order, the first are targets
        place = torch.empty_like(owner)
        place[(owner + torch.rand(len(owner), dtype=torch.float64, device=owner.device)).argsort()] = torch.arange(
            len(owner), device=owner.device
        )
        drawn = place - history.offsets[owner] < self._drawn(history.lengths)[owner]
        used, at = item.unique(return_inverse=True)
        V = self.items_of(used)
        rest = torch.bincount(owner[~drawn], minlength=len(history))
        u = self.users_of(batch[self.user], Ragged(at[~drawn], F.pad(rest.cumsum(0), (1, 0))), V)
        candidates, target = at[drawn].unique(return_inverse=True)
        chance = 1 - torch.exp(-len(history) * self.often[used[candidates]])  # that it is in such a batch
        z = (u @ V[candidates].T).float() / self.config.temperature  # (B, C)
        mine = z[owner[drawn], target]  # (T,)
        column = torch.full((len(used),), -1, device=at.device).index_put((candidates,), torch.arange(len(candidates), device=at.device))[
            at
        ]
        z = (z - chance.log()).index_put(
            (owner[column >= 0], column[column >= 0]), z.new_tensor(-torch.inf)
        )  # what they had is no negative
        others = z.logsumexp(1)[owner[drawn]]
        return F.softplus(others - mine).mean()
