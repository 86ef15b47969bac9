"""A network that reads one column of tokens in their order, and the other columns beside it: what such models have in common.

    tokens -> Embedding -> (B, T, D) and which of them are there -> trunk (the model's own) -> features (B, F) -> Beside -> output

Letters: B rows, T tokens of the longest row in the batch, D width of an embedding, F width of the features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Ragged
from luban.core.contract import Field, Head, Model, Schema
from luban.layers.columns import Beside, of_kind
from luban.layers.heads import output_layer

SHARES = {"dropout": (0.0, 0.9), "drop": (0.0, 0.9), "swap": (0.0, 0.5)}
"""Bounds of the options that every one of them has."""
STEP = 8
"""Rows are padded to a multiple of this: fewer shapes, for each of which a kernel is made ready once."""


def the_tokens(schema: Schema) -> tuple[str, Field]:
    """(key, field) of the column of tokens that is read in order: the one with the longest rows. Others are bags beside it."""
    return max(of_kind(schema, "tokens").items(), key=lambda item: item[1].length)


def padded(tokens: Ragged) -> tuple[Tensor, Tensor]:
    """(ids (B, T), 0 behind the end; there (B, T) bool). A row without a token has one, the unknown."""
    lengths = tokens.lengths
    T = -(-max(1, int(lengths.max())) // STEP) * STEP
    there = torch.arange(T, device=lengths.device) < lengths.unsqueeze(1)
    ids = torch.zeros(len(lengths), T, dtype=torch.int64, device=lengths.device)
    ids[there] = tokens.values
    there[:, 0] = True
    return ids, there


def disturbed(ids: Tensor, there: Tensor, drop: float, swap: float) -> Tensor:
    """ids (B, T), of which a share is unknown and a share changed places with the next: the same row in other words."""
    if swap:
        first = (torch.rand_like(ids, dtype=torch.float) < swap) & there & there.roll(-1, 1)
        first[:, -1] = False
        first &= ~first.roll(1, 1)  # a token moves once
        ids = torch.where(first, ids.roll(-1, 1), torch.where(first.roll(1, 1), ids.roll(1, 1), ids))
    return ids.masked_fill(torch.rand_like(ids, dtype=torch.float) < drop, 0) if drop else ids


class SequenceModel(Model):
    """Embeddings, and a trunk of the subclass's making, made by `network`."""

    accepts = frozenset({"tokens", "scalar", "id"})
    needs = frozenset({"tokens"})
    ragged = True

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, self.field = the_tokens(schema)
        self.embed = nn.Embedding(self.field.size, config.embedding)
        with torch.no_grad():
            self.embed.weight.mul_(config.embedding**-0.5)
        self.hush = nn.Dropout(config.dropout)
        self.trunk, width = self.network(config)
        self.beside = Beside(schema, self.key, width)
        self.output = output_layer(self.beside.size, head)

    def network(self, config: Any) -> tuple[nn.Module, int]:
        """(embedded tokens (B, T, D), which are there (B, T) bool -> features (B, F); F)."""
        raise NotImplementedError

    def features(self, batch: Batch) -> Tensor:
        ids, there = padded(batch[self.key])
        if self.training:
            ids = disturbed(ids, there, self.config.drop, self.config.swap)
        return self.beside(self.hush(self.trunk(self.hush(self.embed(ids)), there)), batch)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))

    def flops(self) -> float:
        """Two for each weight of the trunk and token, and the rest once; of a row as long as one may be."""
        rest = sum(p.numel() for part in (self.beside, self.output) for p in part.parameters())
        return 2.0 * (sum(p.numel() for p in self.trunk.parameters()) * self.field.length + rest)


def pooled(h: Tensor, there: Tensor, how: str) -> Tensor:
    """(B, T, F) -> (B, F): the last token's, the mean, the largest of each feature."""
    if how == "last":
        return h[torch.arange(len(h), device=h.device), there.sum(1) - 1]
    if how == "max":
        return h.masked_fill(~there.unsqueeze(2), -torch.inf).amax(1)
    shares = there.to(h.dtype) / there.sum(1, keepdim=True)
    return torch.einsum("bt,btf->bf", shares, h)
