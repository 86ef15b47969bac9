"""A decoder-only Transformer, as small as one can write it: each token looks back on those before it, and foretells the next.

Its blocks are those of layers/attention.py, looking back only. Letters: B windows, T tokens, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.core.errors import UserError
from luban.layers.attention import Block, norm, rotations, usual_heads
from luban.layers.columns import of_kind
from luban.layers.rules import within

SIZES = {"small": (2, 64), "base": (4, 128), "large": (6, 384)}
"""(layers, width); base is nanoGPT's setting for a CPU, large its setting for one GPU."""


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
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.dropout, causal=True) for _ in range(config.layers))
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
        heads = config.heads or usual_heads(width)
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
