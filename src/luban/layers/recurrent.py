"""Recurrent networks over tokens, or over the moments of a window: rnn, lstm and gru are this with another cell.

Backwards, each row is turned around by itself and read forwards, so that what is padded always comes last; PyTorch's own way (packing)
leaves the fast kernels. Letters as in sequences.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from luban.core.config import within
from luban.core.contract import Head, Schema
from luban.layers.sequences import SHARES, SequenceModel, masked_asked, pooled, series_asked, tags_asked
from luban.layers.windows import READS, Windows

SIZES = {"small": 32, "base": 64, "large": 256}
THREADS = 1
"""A second core is met at a barrier at each token: where it is late, all wait. 1,000 reviews beside other work: 1.4 s on one, 8 on two."""
ENOUGH = 10_000
"""Rows that are seen at least, some of them again: of 200 hotel reviews, lstm makes .69 in 5 epochs and .76 in 40."""
ACCEPTS = SequenceModel.accepts | READS | {"curve"}
NEEDS = SequenceModel.needs | {"series", "curve"}
OVER = Windows.of
GIVES = SequenceModel.gives | {"tags", "masked", "series"}
OF = {"tokens": {"directions": 2, "pooling": "max", "dropout": 0.5, "drop": 0.1},
      "windows": {"directions": 1, "pooling": "last", "dropout": 0.0, "drop": 0.0}}  # fmt: skip
"""What the open options are."""


@dataclass(frozen=True)
class Config:
    """Of rnn, lstm and gru."""

    embedding: int | None = None
    """Width of a token's embedding: twice `hidden`. Of windows as many as a moment has numbers, which are read as they are."""
    hidden: int | None = None
    """Width of the state: small 32, base 64, large 256."""
    layers: int = 1
    """One on another. 1 is enough for a few thousand rows."""
    directions: Literal[1, 2] | None = None
    """2 reads backwards as well, with weights of its own, at twice the cost: SST-2 .806 with 1, .823 with 2. Of windows 1."""
    pooling: Literal["last", "mean", "max", "attention"] | None = None
    """What stands for the row: the last state, or of all states the mean, the largest of each feature, or a learned weighted mean. Of
    tokens max, of windows last."""
    dropout: float | None = None
    """Share of embeddings and features silenced in training: .5; of windows none."""
    drop: float | None = None
    """Share of tokens that are unknown in training: no single word may decide, and words never seen are met before they come. .1."""
    swap: float = 0.0
    """Share of tokens that change places with the next in training."""

    def __post_init__(self) -> None:
        within(
            self,
            {"embedding": (1, 8192), "hidden": (1, 8192), "layers": (1, 16), **SHARES},
        )


def planned(config: Any, size: str, schema: Schema, head: Head, n_rows: int) -> tuple[Any, dict[str, Any], dict[str, str]]:
    hidden, over = config.hidden or SIZES[size], "windows" if series_asked(head) else "tokens"
    config = replace(config, **{key: value for key, value in OF[over].items() if getattr(config, key) is None})
    if over == "windows":
        train = {"batch_size": 32, "epochs": max(5, min(100, 60_000 // n_rows)), "lr": 2e-3, "optimizer": "adam", "weight_decay": 0.0,
                 "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        return replace(config, hidden=hidden, embedding=config.embedding or Windows.of(schema, head).width), train, {}
    train = {"batch_size": 32, "epochs": max(5, ENOUGH // n_rows), "lr": 2e-3, "optimizer": "adamw", "weight_decay": 0.01,
             "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
    if tags_asked(head) or masked_asked(head):
        train |= {"epochs": 20}
    return replace(config, hidden=hidden, embedding=config.embedding or 2 * hidden), train, {}


class Runs(nn.Module):
    """(B, T, D) -> (B, F), F = hidden x directions."""

    def __init__(self, cell: type[nn.RNNBase], config: Any):
        super().__init__()
        self.directions, self.pooling = config.directions, config.pooling
        self.size = wide = config.hidden * config.directions
        made: Any = cell
        self.runs = nn.ModuleList(
            made(config.embedding if layer == 0 else wide, config.hidden, batch_first=True)
            for layer in range(config.layers) for _ in range(config.directions)
        )  # fmt: skip
        self.weigh = nn.Linear(wide, 1) if config.pooling == "attention" else None

    def states(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, T, F)"""
        back = turned(there) if self.directions == 2 else None
        for layer in range(0, len(self.runs), self.directions):
            y = self.runs[layer](x)[0]
            x = torch.cat([y, along(self.runs[layer + 1](along(x, back))[0], back)], 2) if back is not None else y
        return x

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = self.states(x, there)
        if self.weigh is None:
            return pooled(x, there, self.pooling)
        shares = self.weigh(x).squeeze(2).masked_fill(~there, -torch.inf).softmax(1)
        return torch.einsum("bt,btf->bf", shares, x)


def turned(there: Tensor) -> Tensor:
    """(B, T) int64: the place of each token when its row is read backwards; what is padded stays. Its own inverse."""
    place = torch.arange(there.shape[1], device=there.device).expand_as(there)
    return torch.where(there, there.sum(1, keepdim=True) - 1 - place, place)


def along(x: Tensor, places: Tensor) -> Tensor:
    """x (B, T, D) in the order of places (B, T)."""
    return x.gather(1, places.unsqueeze(2).expand_as(x))
