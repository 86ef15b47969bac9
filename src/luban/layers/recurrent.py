"""Recurrent networks over tokens: rnn, lstm and gru are this with another cell.

Backwards, each row is turned around by itself and read forwards, so that what is padded always comes last; PyTorch's own way (packing) leaves
the fast kernels. Letters as in sequences.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from luban.core.contract import Head, Schema
from luban.layers.rules import within
from luban.layers.sequences import SequenceModel, pooled

SIZES = {"small": 32, "base": 64, "large": 256}


class Recurrent(SequenceModel):
    cell: ClassVar[type[nn.RNNBase]]

    @dataclass(frozen=True)
    class Config:
        embedding: int | None = None
        """Width of a token's embedding: twice `hidden`."""
        hidden: int | None = None
        """Width of the state: small 32, base 64, large 256."""
        layers: int = 1
        """One on another. 1 is enough for a few thousand rows."""
        directions: Literal[1, 2] = 1
        """2 reads backwards as well, with weights of its own, at twice the cost."""
        pooling: Literal["last", "mean", "max", "attention"] = "max"
        """What stands for the row: the last state, or of all states the mean, the largest of each feature, or a learned weighted mean."""
        dropout: float = 0.3
        """Share of embeddings and features silenced in training."""

        def __post_init__(self) -> None:
            within(self, {"embedding": (1, 8192), "hidden": (1, 8192), "layers": (1, 16), "dropout": (0.0, 0.9)})

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        hidden = config.hidden or SIZES[size]
        planned = replace(config, hidden=hidden, embedding=config.embedding or 2 * hidden)
        train = {"batch_size": 32, "epochs": 8, "lr": 2e-3, "optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.05,
                 "clip": 1.0, "ema": 0.0, "patience": 0, "threads": 1}  # fmt: skip
        why = {"train.threads": "a step of so small a state waits longer for a second core than it gains by it"}
        return planned, train, why

    def network(self, config: Any) -> int:
        wide = config.hidden * config.directions
        self.runs = nn.ModuleList(
            self.cell(config.embedding if layer == 0 else wide, config.hidden, batch_first=True)
            for layer in range(config.layers) for _ in range(config.directions)
        )  # fmt: skip
        self.weigh = nn.Linear(wide, 1) if config.pooling == "attention" else None
        return wide

    def read(self, x: Tensor, there: Tensor) -> Tensor:
        back = turned(there) if self.config.directions == 2 else None
        for layer in range(self.config.layers):
            states = [self.runs[layer * self.config.directions](x)[0]]
            if back is not None:
                y = self.runs[2 * layer + 1](along(x, back))[0]
                states.append(along(y, back))
            x = torch.cat(states, 2) if back is not None else states[0]
        if self.weigh is None:
            return pooled(x, there, self.config.pooling)
        shares = self.weigh(x).squeeze(2).masked_fill(~there, -torch.inf).softmax(1)
        return torch.einsum("bt,btf->bf", shares, x)


def turned(there: Tensor) -> Tensor:
    """(B, T) int64: the place of each token when its row is read backwards; what is padded stays. Its own inverse."""
    place = torch.arange(there.shape[1], device=there.device).expand_as(there)
    return torch.where(there, there.sum(1, keepdim=True) - 1 - place, place)


def along(x: Tensor, places: Tensor) -> Tensor:
    """x (B, T, D) in the order of places (B, T)."""
    return x.gather(1, places.unsqueeze(2).expand_as(x))
