"""Convolutions over neighbouring tokens, and of each the largest answer in the row (Kim 2014, arXiv 1408.5882)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.contract import Head, Schema
from luban.layers.rules import within
from luban.layers.sequences import SHARES, SequenceModel, pooled

SIZES = {"small": (64, 50), "base": (128, 100), "large": (300, 256)}
"""(embedding, filters)"""


class TextCnn(SequenceModel):
    @dataclass(frozen=True)
    class Config:
        embedding: int | None = None
        """Width of a token's embedding: small 64, base 128, large 300."""
        filters: int | None = None
        """Of each width: small 50, base 100, large 256."""
        widths: tuple[int, ...] = (2, 3, 4)
        """Tokens that a filter sees. Kim has 3, 4, 5 for English words."""
        dropout: float = 0.5
        """Share of embeddings and features silenced in training; Kim's."""
        drop: float = 0.1
        """Share of tokens that are unknown in training: no single word may decide, and words never seen are met before they come."""
        swap: float = 0.0
        """Share of tokens that change places with the next in training."""

        def __post_init__(self) -> None:
            within(self, {"embedding": (1, 8192), "filters": (1, 8192), **SHARES})

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        embedding, filters = SIZES[size]
        planned = replace(config, embedding=config.embedding or embedding, filters=config.filters or filters)
        train = {"batch_size": 32, "epochs": 8, "lr": 1e-3, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine",
                 "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        return planned, train, {"model.filters": f"by size {size}"}

    def network(self, config: Any) -> tuple[nn.Module, int]:
        return Filters(config), config.filters * len(config.widths)


class Filters(nn.Module):
    """(B, T, D) -> (B, F), F = filters x widths."""

    def __init__(self, config: Any):
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv1d(config.embedding, config.filters, width) for width in config.widths)
        self.widths = config.widths

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = x.masked_fill(~there.unsqueeze(2), 0.0).transpose(1, 2)  # (B, D, T)
        found = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            h = convolution(F.pad(x, (0, width - 1))).relu()  # each place and those after it: one answer a token
            found.append(pooled(h.transpose(1, 2), there, "max"))
        return torch.cat(found, 1)
