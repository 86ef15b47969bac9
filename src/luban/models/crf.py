"""A conditional random field over what is written around each token, without a hidden layer: what networks for names had to beat.

Features are the usual ones: the tokens up to two places away, their pairs, and the affixes and shapes of the neighbours where those are
read; all hashed (Sutton and McCallum 2012, arXiv 1011.4088, sec. 2.5 has such a table). Letters: B rows, T tokens, F ids a token, S tags,
W windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.batch import Batch, padded
from luban.core.contract import Head, Model, Schema
from luban.layers.rules import within
from luban.layers.sequences import steps, tags_asked, the_tokens

WINDOWS = ((0,), (-1,), (1,), (-2,), (2,), (-1, 0), (0, 1), (-1, 1), (-2, -1), (1, 2))
"""Places whose tokens are one feature together."""
PRIMES = (1_000_003, 998_244_353)


class Crf(Model):
    accepts = frozenset({"words"})
    gives = frozenset({"tags"})
    ragged = True

    @dataclass(frozen=True)
    class Config:
        size: int = 2**18
        """Ids that features are hashed to."""
        dropout: float = 0.5
        """Share of a token's features silenced in training, lest one that is nearly sure keeps the others from being learned."""

        def __post_init__(self) -> None:
            within(self, {"size": (1024, 2**26), "dropout": (0.0, 0.9)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, _ = the_tokens(schema)
        self.weights = nn.Embedding(config.size, head.size)
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(head.size))
        self.steps = steps(head)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.6 if tags_asked(head) else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        train = {"batch_size": 16, "epochs": 12, "lr": 8.0, "optimizer": "sgd", "weight_decay": 0.0, "schedule": "cosine",
                 "warmup": 0.05, "clip": 0.0, "ema": 0.0, "patience": 0, "threads": 1}  # fmt: skip
        why = {"train.optimizer": "adaptive steps learn what stood once as fast as what stood often: Weibo NER .43, by sgd .50"}
        return config, train, why

    def forward(self, batch: Batch) -> Tensor:
        """(B, T, S)"""
        ids, there = padded(batch[self.key])
        ids = torch.where(there.unsqueeze(2), ids, -1)
        found = self.weights(self._features(ids))  # (B, T, W, S)
        heard = F.dropout(torch.ones_like(found[..., :1]), self.config.dropout, self.training)
        return (found * heard).sum(2) + self.bias

    def _features(self, ids: Tensor) -> Tensor:
        """(B, T, W): each window hashed with its number; then each further id of the token and of its neighbours."""
        B, T, columns = ids.shape
        around = F.pad(ids, (0, 0, 2, 2), value=-1)  # place p of a token stands at p + 2

        def at(place: int, column: int) -> Tensor:
            return around[:, 2 + place : 2 + place + T, column] + 2

        made = []
        for number, window in enumerate(WINDOWS):
            mixed = torch.full((B, T), number + 1, dtype=torch.int64, device=ids.device)
            for place in window:
                mixed = mixed * PRIMES[0] + at(place, 0) * PRIMES[1]
            made.append(mixed)
        for column in range(1, columns):
            made += [at(place, column) * PRIMES[1] + (column * 3 + place) * PRIMES[0] for place in (-1, 0, 1)]
        mixed = torch.stack(made, 2)
        return (mixed ^ (mixed >> 15)) % self.config.size
