"""TabM-mini: one MLP that plays k slightly different MLPs at once and averages them (Gorishniy et al. 2024, arXiv 2410.24210).

The members share every hidden weight. Each sees the input through its own scaling (the "minimal ensemble" of section 3.3) and has
its own last layer; they are trained side by side, each on its own loss, so that they err differently and their mean errs less. Numbers
are embedded piecewise-linearly, which is what lets a network draw the sharp steps that trees draw.
Letters: B examples, K members, D input features, W width, O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.contract import Batch, Head, Model, Schema
from luban.layers.columns import Flat


class SharedDropout(nn.Dropout):
    """Drops the same units for all members: (K, B, W). Random numbers for each member's own would take 40 % of a step on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        return x * super().forward(torch.ones_like(x[0])) if self.training and self.p else x


class TabM(Model):
    @dataclass(frozen=True)
    class Config:
        k: int = 16
        """Members. The paper has 32; on Adult and California 16 scored the same for half of the time."""
        width: int | None = None
        """Hidden units a layer."""
        depth: int = 2
        dropout: float = 0.1
        pieces: int = 16
        bins: int = 48

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        K, W, O = config.k, config.width or 128, head.size
        self.flat = Flat(schema, pieces=config.pieces, bins=config.bins)
        D = self.flat.size
        sections = torch.tensor(self.flat.sections)
        self.scale = nn.Parameter(torch.randn(K, len(sections)).repeat_interleave(sections, 1))  # (K, D)
        layers = []
        for i in range(config.depth):
            layers += [nn.Linear(W if i else D, W), nn.ReLU(), SharedDropout(config.dropout)]
        self.hidden = nn.Sequential(*layers)
        bound = W**-0.5
        self.weight = nn.Parameter(torch.empty(K, W, O).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.tensor([b for part in head.parts for b in part.bias or [0.0] * part.size]).repeat(K, 1))

    def features(self, batch: Batch) -> Tensor:
        return self.hidden(self.flat(batch) * self.scale.unsqueeze(1)).transpose(0, 1)  # (B, K, W)

    def forward(self, batch: Batch) -> Tensor:
        return torch.einsum("bkw,kwo->bko", self.features(batch), self.weight) + self.bias

    @classmethod
    def plan(cls, config, schema, head, n_rows, size):
        return replace(config, width=config.width or 128), {}, {}
