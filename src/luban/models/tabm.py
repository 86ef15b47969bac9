"""TabM-mini: one MLP that plays K slightly different MLPs at once and averages them (Gorishniy et al. 2024, arXiv 2410.24210).

The members share every hidden weight. Each sees the input through its own scaling (section 3.3) and has its own last layer; they are
trained side by side, each on its own loss, so that they err differently and their mean errs less. Numbers are embedded piecewise
linearly, which lets a network draw the steep steps that trees draw.
Letters: B examples, K members, D input features, W width, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.layers.columns import Flat
from luban.layers.heads import starting_bias
from luban.layers.rules import rhythm, within

SIZES = {"small": (8, 64, 2), "base": (16, 128, 2), "large": (32, 256, 3)}
"""k, width, depth. A row of Adult costs .13, .63 and 5.7 million multiply-adds forward. California: RMSE .433 in 10 s of one core
(small), .425-.428 in 25 s in bf16 or 46 s (base); base on Adult: accuracy .874 in 32 s. Large was not measured."""


class TabM(Model):
    @dataclass(frozen=True)
    class Config:
        k: int | None = None
        """Members. The paper has 32; fewer cost less, and below 8 there is little left to average."""
        width: int | None = None
        """Hidden units a layer."""
        depth: int | None = None
        """Hidden layers."""
        dropout: float = 0.1
        """Share of the hidden units silenced in training. California: RMSE .442 with .1 and .446 without; .425 with .1 and .429 with .2."""
        pieces: int = 16
        """Width of a number's embedding; 0 leaves the numbers as they are."""
        bins: int = 128
        """Bins of a number at most. California: RMSE .447 with 24, .429 with 96, .425 with 128, .424 with 256."""

        def __post_init__(self) -> None:
            within(
                self,
                {"k": (1, 1024), "width": (1, 65_536), "depth": (1, 64), "dropout": (0.0, 0.95), "pieces": (0, 1024), "bins": (1, 1024)},
            )

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        K, W = config.k, config.width
        self.flat = Flat(schema, pieces=config.pieces, bins=config.bins)
        # one scaling a column, not a feature: all that belongs to a number or a word is larger or smaller together (the paper's "normal")
        sections = torch.tensor(self.flat.sections)
        self.scale = nn.Parameter(torch.randn(K, len(sections)).repeat_interleave(sections, 1))  # (K, D)
        layers: list[nn.Module] = []
        for wide in [self.flat.size] + [W] * (config.depth - 1):
            layers += [nn.Linear(wide, W), nn.ReLU(), SharedDropout(config.dropout)]
        self.hidden = nn.Sequential(*layers)
        self.weight = nn.Parameter(torch.empty(K, W, head.size).uniform_(-(W**-0.5), W**-0.5))
        self.bias = nn.Parameter(starting_bias(head).repeat(K, 1))  # (K, O)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.0 if all(each.kind == "tokens" for each in schema.inputs.values()) else 1.0  # it reads words as a bag

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        k, width, depth = SIZES[size]
        config = replace(config, k=config.k or k, width=config.width or width, depth=config.depth or depth)
        why = {"model.k": f"size {size}", "model.width": f"size {size}", "model.depth": f"size {size}"}
        train, more = rhythm(n_rows, 2_600)
        train |= {"optimizer": "adamw", "lr": 8e-3, "weight_decay": 3e-4, "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.99,
                  "patience": 0}  # fmt: skip
        more |= {"train.lr": "high, as the cosine ends at 0; lower ones need twice the steps",
                 "train.ema": "the mean of about 100 steps", "train.patience": "the schedule ends by itself"}  # fmt: skip
        return config, train, why | more

    def features(self, batch: Batch) -> Tensor:
        return self._hidden(batch).transpose(0, 1)  # (B, K, W)

    def forward(self, batch: Batch) -> Tensor:
        out = torch.bmm(self._hidden(batch), self.weight)  # (K, B, O)
        return out.transpose(0, 1) + self.bias

    def _hidden(self, batch: Batch) -> Tensor:
        return self.hidden(self.flat(batch) * self.scale.unsqueeze(1))  # (K, B, W): members first, as bmm wants them

    def flops(self) -> float:
        shared = sum(p.numel() for p in self.hidden.parameters() if p.dim() > 1)  # each member runs through them
        return 2.0 * (self.config.k * shared + self.weight.numel() + sum(p.numel() for p in self.flat.parameters() if p.dim() == 3))


class SharedDropout(nn.Dropout):
    """Drops the same units for all members of (K, B, W). Random numbers for each were 40 % of a step on a CPU, and no better."""

    def forward(self, x: Tensor) -> Tensor:
        return x * super().forward(torch.ones_like(x[0])) if self.training and self.p else x
