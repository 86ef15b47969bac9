"""A temporal convolutional network (Bai et al. 2018, arXiv 1803.01271): causal convolutions whose reach doubles from block to block.

Each block adds two convolutions to what came in; there are as many as it takes to see the whole look-back. Without the paper's weight
norm: at this depth it only costs. Letters as in layers/sequences.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.contract import Head, Schema
from luban.layers.rules import within
from luban.layers.sequences import SequenceModel
from luban.layers.windows import READS, Windows

SIZES = {"small": 16, "base": 32, "large": 128}


class Tcn(SequenceModel):
    accepts = READS
    needs = frozenset({"series"})
    gives = frozenset({"series"})
    over = Windows.of

    @dataclass(frozen=True)
    class Config:
        embedding: int | None = None
        """Width that a moment is mapped to before the first block: as many as it has numbers, which are read as they are."""
        hidden: int | None = None
        """Channels of all blocks: small 16, base 32, large 128."""
        kernel: int = 3
        """Moments that a convolution looks at."""
        layers: int | None = None
        """Blocks; unset, as many as see the whole look-back: 7 for 336."""
        dropout: float = 0.1
        """Share of features silenced in training, in each block."""

        def __post_init__(self) -> None:
            within(self, {"embedding": (1, 8192), "hidden": (1, 8192), "kernel": (2, 1000), "layers": (1, 30), "dropout": (0.0, 0.9)})

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        windows = Windows.of(schema, head)
        # two convolutions a block: the reach of n blocks is 1 + 2 (kernel - 1) (2^n - 1)
        layers = max(1, math.ceil(math.log2((windows.look_back - 1) / (2 * (config.kernel - 1)) + 1)))
        planned = replace(config, embedding=config.embedding or windows.width, hidden=config.hidden or SIZES[size],
                          layers=config.layers or layers)  # fmt: skip
        train = {"batch_size": 32, "epochs": max(5, min(100, 60_000 // n_rows)), "lr": 1e-3, "optimizer": "adam", "weight_decay": 0.0,
                 "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        return planned, train, {}

    def network(self, config: Any) -> tuple[nn.Module, int]:
        return _Dilated(config), config.hidden


class _Dilated(nn.Module):
    """(B, T, D) -> (B, F)"""

    def __init__(self, c: Any):
        super().__init__()
        self.kernel, self.dropout = c.kernel, nn.Dropout(c.dropout)
        self.into = nn.Conv1d(c.embedding, c.hidden, 1)
        self.pairs: Any = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(c.hidden, c.hidden, c.kernel, dilation=2**layer) for _ in range(2)) for layer in range(c.layers)
        )

    def states(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, T, F)"""
        x = self.into(x.transpose(1, 2))  # (B, F, T)
        for layer, pair in enumerate(self.pairs):
            y = x
            for convolution in pair:  # padded on the left alone: no moment sees a later one
                y = self.dropout(F.relu(convolution(F.pad(y, ((self.kernel - 1) * 2**layer, 0)))))
            x = F.relu(x + y)
        return x.transpose(1, 2)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        return self.states(x, there)[:, -1]
