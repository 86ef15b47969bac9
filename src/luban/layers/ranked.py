"""What models that rank items for a user share: the users of each item counted, and the answer to somebody without a history.

Letters: B users, I items with the id 0, which had nothing and is had by nobody, E events of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core.batch import Batch, Examples, Ragged, beneath, piece_of, size_of
from luban.core.contract import Head, Model, Schema
from luban.core.registry import Later
from luban.layers import neighbours

sparse = Later("scipy.sparse")

PIECE = 4096
"""Users counted at a time."""
SCORES = 4_000_000
"""Scores computed at a time, 32 MB: of 9,000 items, those of 440 users."""


class Ranker(Model):
    """A model writes `scores`, and calls `count` when it is shown the training users; it must answer a user that it never saw, id 0, by
    their history alone."""

    accepts = frozenset({"id"})
    gives = frozenset({"items"})
    popular: Tensor

    personal: ClassVar[bool] = False
    """Has it something to say of a known user without a history (a vector of their own)?"""
    prior: ClassVar[float] = 1e-3
    """What an item has before any history, times the share of users that had it, where a model asks `before`: it orders items of which a
    history says nothing."""
    inner: ClassVar[bool] = False
    """Is a score the product of `user_side(batch)` (B, D) and `item_side(ids)` (n, D)? Then layers/neighbours.py knows how not to score
    all of a large catalogue."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.user, field = next((key, each) for key, each in schema.inputs.items() if each.kind == "id")
        self.users, self.items = field.size, head.size
        self.catalogue = schema.targets[head.parts[0].key]
        """The field of items, for words and ids."""
        self.register_buffer("popular", torch.zeros(head.size))  # (I,): share of users that had it in training
        if self.inner and self.items > neighbours.MANY:
            self.register_buffer("group", torch.zeros(self.items, dtype=torch.int32))
            self.register_buffer("search", torch.zeros(2))  # how many groups are looked at, and the share of the best that is found
            self.groups: Any = None

    def count(self, train: Examples) -> None:
        self.popular.zero_()  # a model that goes on brings that of its own log along
        for batch in train.pieces(PIECE):
            self.popular += torch.bincount(batch["history"].values, minlength=self.items)
        self.popular /= max(1, len(train))

    look = count

    def forward(self, batch: Batch) -> Tensor:
        """(B, I); what is popular for whom nothing is known of."""
        scores = self.scores(batch)
        nobody = batch["history"].lengths == 0
        if self.personal:
            nobody &= batch[self.user] == 0
        return torch.where(nobody.unsqueeze(1), self.popular.to(scores.dtype), scores) if nobody.any() else scores

    def scores(self, batch: Batch) -> Tensor:
        """(B, I)"""
        raise NotImplementedError

    def before(self) -> Tensor:
        """(I,) float64"""
        return self.prior * self.popular.double()

    def user_side(self, batch: Batch) -> Tensor:
        """(B, D), where `inner`."""
        raise NotImplementedError

    def item_side(self, ids: Tensor) -> Tensor:
        """(n, D), where `inner`."""
        raise NotImplementedError

    def flops(self) -> float:
        """Two for each number of an item, whose vectors are what it holds."""
        return 2.0 * sum(each.numel() for each in (*self.parameters(), *self.buffers()) if each.dim() > 1)


def seen(field: Any) -> Tensor:
    """(S,) bool: the ids that training had an event of; a table beside the log knows others, too."""
    found = torch.zeros(field.size, dtype=torch.bool)
    found[1 : 1 + len(field.counts)] = torch.tensor(field.counts) > 0
    return found


def usual(schema: Schema) -> float:
    """Events of a user in training, on average."""
    user: Any = next(iter(schema.inputs.values()))
    return max(1.0, sum(user.counts) / max(1, sum(count > 0 for count in user.counts)))


def weights(batch: Batch) -> Tensor | None:
    """(E,) float32: how much each event of the histories counts; None: all alike."""
    return batch["weight"].values if "weight" in batch else None


def laid(history: Ragged, items: int, by: Tensor | None = None) -> Tensor:
    """(B, I) float32: 1, or `by` (E,), where the user had the item."""
    x = torch.zeros(len(history), items, device=history.values.device)
    x[history.owners, history.values] = 1.0 if by is None else by
    return x


def sums(weight: Tensor, history: Ragged, by: Tensor | None = None) -> Tensor:
    """(B, D): for each user the sum of the rows of `weight` (I, D) that the history names, each times `by` (E,); 0 for an empty one."""
    return F.embedding_bag(history.values, weight, history.offsets, mode="sum", include_last_offset=True, per_sample_weights=by)


def counted(train: Examples, items: int) -> Any:
    """(U, I) float32, a sparse matrix of scipy, a row for each example: 1, or the event's weight, where they had the item."""
    pieces = [(batch["history"], weights(batch)) for batch in train.pieces(PIECE)]
    had, by = beneath([piece for piece, _ in pieces]), [each for _, each in pieces if each is not None]
    values = torch.cat(by).numpy() if by else np.ones(len(had.values), np.float32)
    return sparse.csr_array((values, had.values.numpy().astype(np.int32), had.offsets.numpy()), (len(had), items))


def scored(model: Model, batch: Batch, head: Head, seen: bool = False) -> Iterator[tuple[Batch, Tensor]]:
    """Pieces of the batch, each with its scores (b, I); -inf for what the user had, unless `seen`, and for id 0.

    Rounded to 7 decimals: items with the same users have the same score but for the last bits, and their order must not hang on those, or
    a list would change from machine to machine.
    """
    most = max(1, SCORES // head.size)
    for start in range(0, size_of(batch), most):
        piece = piece_of(batch, start, start + most)
        scores = torch.round(head.split(model(piece))["y0"].mean(1), decimals=7)
        scores = scores.nan_to_num(torch.nan, neginf=torch.finfo(scores.dtype).min)  # a model's own -inf is a low score, no exclusion
        scores[:, 0] = -torch.inf
        if not seen:
            history = piece["history"]
            rows = history.owners
            scores[rows, history.values] = -torch.inf
        yield piece, scores


@torch.no_grad()
def gain(model: Ranker, valid: Examples, k: int = 10) -> float:
    """Mean gain of the items of validation among the first k: DCG, to choose a setting by."""
    total = 0.0
    for whole in valid.pieces(PIECE):
        for batch, scores in scored(model, whole, model.head):
            best = scores.topk(min(k, model.items - 1)).indices
            total += float((laid(batch["y0"], model.items).gather(1, best) / torch.log2(2.0 + torch.arange(best.shape[1]))).sum())
    return total / max(1, len(valid))
