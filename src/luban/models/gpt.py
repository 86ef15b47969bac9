"""A decoder-only Transformer, as small as one can write it: each token looks back on those before it, and foretells the next.

Pre-norm, without learned norms or biases; rotary positions (Su et al. 2021, arXiv 2104.09864), normalised queries and keys, squared ReLU
(So et al. 2021, arXiv 2109.08668), projections that start at zero, so that each block begins as the identity: the choices that the
speedruns of GPT-2 have kept. Letters: B windows, T tokens, D width, H heads, d = D / H, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.core.errors import UserError
from luban.layers.columns import of_kind
from luban.layers.rules import within

SIZES = {"small": (2, 64), "base": (4, 128), "large": (6, 384)}
"""(layers, width); base is nanoGPT's setting for a CPU, large its setting for one GPU."""
HEAD = 32
"""Width of a head where heads are not set."""


class GPT(Model):
    accepts = frozenset({"tokens"})
    gives = frozenset({"tokens"})
    traceable = True
    cos: Tensor
    sin: Tensor

    @dataclass(frozen=True)
    class Config:
        layers: int | None = None
        """Blocks, one on another: small 2, base 4, large 6."""
        width: int | None = None
        """Numbers a token: small 64, base 128, large 384."""
        heads: int | None = None
        """Attention heads; width / heads must be an even number. Unset: heads of 32."""
        dropout: float = 0.0
        """Share of each block's output silenced in training; .2 where the passages are seen many times."""

        def __post_init__(self) -> None:
            within(self, {"layers": (1, 100), "width": (2, 16_384), "heads": (1, 256), "dropout": (0.0, 0.9)})
            if self.heads and self.width and self.width % (2 * self.heads):
                raise UserError(f"model.width must be a multiple of 2 * model.heads = {2 * self.heads}, not {self.width}.")

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        ((self.key, field),) = of_kind(schema, "tokens").items()
        self.context = field.config.context
        self.embed = nn.Embedding(field.size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Linear(config.width, head.size, bias=False)
        nn.init.zeros_(self.output.weight)  # the first loss is ln V
        cos, sin = rotations(self.context, config.width // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.9

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        layers, width = SIZES[size]
        width = config.width or width
        heads = config.heads or next(heads for heads in range(max(1, width // HEAD), 0, -1) if width % (2 * heads) == 0 or heads == 1)
        planned = replace(config, layers=config.layers or layers, width=width, heads=heads)
        train = {"batch_size": 12 if size != "large" else 64, "epochs": 10, "lr": 4e-3, "optimizer": "adamw", "weight_decay": 0.1,
                 "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        return planned, train, {"model.width": f"by size {size}", "train.batch_size": "nanoGPT's; small batches learn most in a given time"}

    def features(self, batch: Batch) -> Tensor:
        x = norm(self.embed(batch[self.key]))  # (B, T, D)
        T = x.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:T], self.sin[:T])
        return norm(x)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))  # (B, T, V)

    def flops(self) -> float:
        """Of a window: two for each weight and token, and the products of attention."""
        weights = sum(p.numel() for p in self.parameters()) - self.embed.weight.numel()
        return self.context * (2.0 * weights + 4.0 * self.config.layers * self.config.width * self.context)


class Block(nn.Module):
    """x + attention, then x + the multilayer perceptron."""

    def __init__(self, config: Any):
        super().__init__()
        D = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.mix = nn.Linear(D, D, bias=False)
        self.up = nn.Linear(D, 4 * D, bias=False)
        self.down = nn.Linear(4 * D, D, bias=False)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + F.dropout(self._attend(norm(x), cos, sin), self.dropout, self.training)
        return x + F.dropout(self.down(F.relu(self.up(norm(x))).square()), self.dropout, self.training)

    def _attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, T, d) each
        q, k = rotated(norm(q), cos, sin), rotated(norm(k), cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.mix(y.transpose(1, 2).reshape(B, T, D))


def norm(x: Tensor) -> Tensor:
    """To root mean square 1, without a learned scale: the next matrix can learn it."""
    return F.rms_norm(x, (x.shape[-1],))


def rotations(T: int, d: int) -> tuple[Tensor, Tensor]:
    """cos and sin of the angle of each position and pair of numbers, (T, d / 2)."""
    frequency = 10_000 ** (-torch.arange(0, d, 2) / d)
    angle = torch.outer(torch.arange(T).float(), frequency)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each pair of numbers turned by the angle of its position, so that products depend on distances alone. x: (B, H, T, d)."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], -1).type_as(x)
