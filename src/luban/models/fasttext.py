"""The mean of the embeddings of all tokens and runs of tokens, and a linear answer on it: the fastest of all.

Joulin et al. 2017, arXiv 1607.01759.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Ragged
from luban.core.contract import Head, Model, Schema
from luban.layers.columns import Beside
from luban.layers.heads import output_layer
from luban.layers.rules import within
from luban.layers.sequences import the_tokens

_PRIMES = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1)


class FastText(Model):
    accepts = frozenset({"tokens", "scalar", "id"})
    needs = frozenset({"tokens"})

    @dataclass(frozen=True)
    class Config:
        width: int | None = None
        """Of an embedding: small 16, base 64, large 256."""
        ngrams: int = 2
        """Longest run of tokens that has an embedding of its own; 1 for single tokens."""
        buckets: int | None = None
        """Embeddings that longer runs share by their hash: some 16 for each training row, 16,384 to 2 million."""
        dropout: float = 0.5
        """Share of the mean silenced in training."""

        def __post_init__(self) -> None:
            within(self, {"width": (1, 4096), "ngrams": (1, 5), "buckets": (1, 100_000_000), "dropout": (0.0, 0.9)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, field = the_tokens(schema)
        self.size = field.size
        ids = field.size + (config.buckets if config.ngrams > 1 else 0)
        self.bag = nn.EmbeddingBag(ids, config.width, mode="mean", include_last_offset=True, sparse=True)
        nn.init.uniform_(self.bag.weight, -1 / config.width, 1 / config.width)  # fastText's
        self.hush = nn.Dropout(config.dropout)
        self.beside = Beside(schema, self.key, config.width)
        self.output = output_layer(self.beside.size, head)

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        width = config.width or {"small": 16, "base": 64, "large": 256}[size]
        planned = replace(config, width=width, buckets=config.buckets or int(min(max(16 * n_rows, 2**14), 2_000_000)))
        train = {"batch_size": 64, "epochs": 6, "lr": 3e-3, "optimizer": "adamw", "weight_decay": 0.0, "schedule": "wsd", "warmup": 0.0,
                 "clip": 0.0, "ema": 0.0, "patience": 3}  # fmt: skip
        return planned, train, {"model.buckets": "some 16 for each row"}

    def features(self, batch: Batch) -> Tensor:
        tokens = runs(batch[self.key], self.config.ngrams, self.size, self.config.buckets)
        return self.beside(self.hush(self.bag(tokens.values, tokens.offsets)), batch)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))

    def flops(self) -> float:
        return 2.0 * (100 * self.config.width + sum(p.numel() for part in (self.beside, self.output) for p in part.parameters()))


def runs(tokens: Ragged, longest: int, size: int, buckets: int) -> Ragged:
    """The tokens of each row, and behind each its runs of 2, 3, ... hashed to size .. size + buckets - 1."""
    values, lengths, n = tokens.values, tokens.lengths, len(tokens.values)
    left = (tokens.offsets[1:].repeat_interleave(lengths) - torch.arange(n, device=values.device)).unsqueeze(1)  # tokens from here on
    made, hashed = [values], values * _PRIMES[0]
    for k in range(1, longest):
        after = torch.cat([values[k:], values.new_zeros(min(k, n))])
        hashed = hashed * _PRIMES[k] + after + 1
        made.append(size + (hashed ^ (hashed >> 29)) % buckets)
    there = left > torch.arange(longest, device=values.device)  # (total, longest)
    counts = torch.zeros(n + 1, dtype=torch.int64, device=values.device)
    counts[1:] = there.sum(1).cumsum(0)
    return Ragged(torch.stack(made, 1)[there], counts[tokens.offsets])
