"""Convolutions along curves, without pooling until their mean over all steps: the fully convolutional network of Wang, Yan and Oates (2017,
arXiv 1611.06455). It wants thousands of curves; of fewer, `rocket` makes as much in a second.

    (B, C, T) -> [conv -> norm -> relu] for each number of filters -> mean over the steps that are there (B, D) -> Beside -> output

Each column of curves has such a trunk of its own. Steps that are only padded are zero before each layer and in no statistic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, padded
from luban.core.contract import Head, Model, Schema
from luban.core.errors import UserError
from luban.layers.columns import Beside, apart
from luban.layers.heads import output_layer
from luban.layers.rules import within
from luban.layers.sequences import pooled

SIZES = {"small": (32, 64, 32), "base": (64, 128, 64), "large": (128, 256, 128)}
"""Filters; large is the paper's."""
STEPS = 600
ENOUGH = 500
"""Training rows from which on `auto` tries it."""


class Conv1d(Model):
    accepts = frozenset({"curve", "scalar", "id", "tokens"})
    needs = frozenset({"curve"})
    ragged = True

    @dataclass(frozen=True)
    class Config:
        filters: tuple[int, ...] | None = None
        """Filters of each convolution, first to last. By size; base is [64, 128, 64], half of the paper's."""
        widths: tuple[int, ...] = (7, 5, 3)
        """Steps that a filter of each sees, odd; the paper's are 8, 5, 3. Wider for long curves that change slowly."""
        dropout: float = 0.0
        """Share of the features silenced in training."""

        def __post_init__(self) -> None:
            within(self, {"filters": (1, 8192), "widths": (1, 999), "dropout": (0.0, 0.9)})
            if any(width % 2 == 0 for width in self.widths) or len(self.widths) != len(self.filters or self.widths):
                raise UserError(f"model.widths are odd, one for each of model.filters, not {list(self.widths)}.")

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        curves, others = apart(schema, "curve")
        self.trunks = nn.ModuleDict({key: Trunk(each.size, config) for key, each in curves.items()})
        self.hush = nn.Dropout(config.dropout)
        self.beside = Beside(others, "", config.filters[-1] * len(curves))
        self.output = output_layer(self.beside.size, head)
        with torch.no_grad():
            self.output.weight.mul_(0.3)  # so the first answers are near the constant
        self._steps = sum(each.length for each in curves.values())

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.8 if n_rows >= ENOUGH else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        planned = replace(config, filters=config.filters or SIZES[size][: len(config.widths)])
        batch_size = 16 if n_rows < 1_000 else 32
        train = {"batch_size": batch_size, "epochs": max(20, STEPS * batch_size // n_rows), "lr": 2e-3, "optimizer": "adamw",
                 "weight_decay": 1e-2, "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0,
                 "eval_every": max(STEPS // 20, n_rows // batch_size)}  # fmt: skip
        why = {"train.epochs": f"{STEPS:,} steps at least", "train.eval_every": "an epoch of few rows is over in three steps"}
        return planned, train, {"model.filters": f"by size {size}", **why}

    def features(self, batch: Batch) -> Tensor:
        found = [trunk(*padded(batch[key])) for key, trunk in self.trunks.items()]
        return self.beside(self.hush(torch.cat(found, 1)), batch)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))

    def flops(self) -> float:
        """Two for each weight of the trunks and step, and the rest once."""
        along, once = (sum(p.numel() for p in part.parameters()) for part in (self.trunks, nn.ModuleList([self.beside, self.output])))
        return 2.0 * (along * self._steps / len(self.trunks) + once)


class Trunk(nn.Module):
    """(B, T, C), which are there (B, T) -> (B, D)."""

    def __init__(self, channels: int, config: Any):
        super().__init__()
        widths = (channels, *config.filters)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, width, padding=width // 2, bias=False)
            for before, after, width in zip(widths, config.filters, config.widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(after) for after in config.filters)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = convolution(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D)
            x = torch.zeros_like(h)
            x[there] = norm(h[there]).relu()
        return pooled(x, there, "mean")
