"""A Transformer that reads a whole row at once, trained from scratch (Vaswani et al. 2017, arXiv 1706.03762; BERT without its pretraining).

The blocks are those of layers/attention.py, looking both ways. Letters as in layers/sequences.py, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from luban.core.batch import STEP
from luban.core.contract import Head, Schema
from luban.core.errors import UserError
from luban.layers.attention import Block, norm, rotations, usual_heads
from luban.layers.rules import within
from luban.layers.sequences import SequenceModel, masked_asked, pooled

SIZES = {"small": (1, 64), "base": (2, 128), "large": (6, 384)}
"""(layers, width)"""


class Transformer(SequenceModel):
    gives = SequenceModel.gives | {"tags", "masked"}

    @dataclass(frozen=True)
    class Config:
        layers: int | None = None
        """Blocks, one on another: small 1, base 2, large 6. A few thousand rows do not feed more."""
        embedding: int | None = None
        """Numbers a token, the width of all blocks: small 64, base 128, large 384."""
        heads: int | None = None
        """Attention heads; embedding / heads must be an even number. Unset: heads of 32."""
        pooling: Literal["mean", "max"] = "mean"
        """What stands for the row: of all tokens the mean, or the largest of each feature."""
        dropout: float = 0.3
        """Share of embeddings, features and each block's output silenced in training."""
        drop: float = 0.1
        """Share of tokens that are unknown in training: no single word may decide, and words never seen are met before they come."""
        swap: float = 0.0
        """Share of tokens that change places with the next in training."""

        def __post_init__(self) -> None:
            within(
                self,
                {
                    "layers": (1, 100),
                    "embedding": (2, 16_384),
                    "heads": (1, 256),
                    "dropout": (0.0, 0.9),
                    "drop": (0.0, 0.9),
                    "swap": (0.0, 0.5),
                },
            )
            if self.heads and self.embedding and self.embedding % (2 * self.heads):
                raise UserError(f"model.embedding must be a multiple of 2 * model.heads = {2 * self.heads}, not {self.embedding}.")

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        layers, width = SIZES[size]
        width = config.embedding or width
        heads = config.heads or usual_heads(width)
        planned = replace(config, layers=config.layers or layers, embedding=width, heads=heads)
        train = {"batch_size": 32, "epochs": 8, "lr": 1e-3, "optimizer": "adamw", "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.1,
                 "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        if masked_asked(head):
            train |= {"epochs": 20}
        return planned, train, {"model.embedding": f"by size {size}"}

    def network(self, config: Any) -> tuple[nn.Module, int]:
        return Reader(config, -(-self.field.length // STEP) * STEP), config.embedding


class Reader(nn.Module):
    """(B, T, D) -> (B, D), for rows of up to `most` tokens."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: Any, most: int):
        super().__init__()
        self.pooling = config.pooling
        self.blocks = nn.ModuleList(Block(config.embedding, config.heads, config.dropout) for _ in range(config.layers))
        cos, sin = rotations(most, config.embedding // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def states(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, T, D)"""
        x, T, (most, half) = norm(x), x.shape[1], self.cos.shape
        # a row that is tagged is never cut, so it may be longer than those of training
        cos, sin = (self.cos, self.sin) if most >= T else (each.to(x.device) for each in rotations(T, 2 * half))
        for block in self.blocks:
            x = block(x, cos[:T], sin[:T], there[:, None, None])
        return norm(x)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        return pooled(self.states(x, there), there, self.pooling)
