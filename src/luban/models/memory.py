"""Each token gets the tag that it had most often in training, as far as the scheme allows: what any model of tags has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, padded
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.sequences import the_tokens


class Memory(Model):
    accepts = frozenset({"words"})
    gives = frozenset({"tags"})
    solves = True
    baseline = True
    scores: Tensor

    def __init__(self, config: None, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, field = the_tokens(schema)
        self.register_buffer("scores", torch.zeros(field.size, head.size))

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """log p(tag | token), drawn to the shares of all tokens by one imagined example; of a token never seen, these alone."""
        rows = train.whole()
        (part,), (n, S) = self.head.parts, self.scores.shape
        counts = torch.bincount(rows[self.key].values[:, 0] * S + rows[part.key].values, minlength=n * S).view(n, S).double()
        shares = (counts.sum(0) + 1) / (counts.sum() + S)
        self.scores.copy_(((counts + shares) / (counts.sum(1, keepdim=True) + 1)).log())

    def forward(self, batch: Batch) -> Tensor:
        """(B, T, S)"""
        ids, _ = padded(batch[self.key])
        return self.scores[ids[..., 0]]
