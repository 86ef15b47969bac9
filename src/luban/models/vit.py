"""A small vision transformer: the picture cut into patches, each a token; attention lets every patch look at every other one.

patches -> Linear + position -> [class token] -> blocks of (x + attention, x + multilayer perceptron), normed before -> norm -> mean or
class token. Dosovitskiy et al. 2021 (arXiv 2010.11929); the mean, without a class token, as in Beyer et al. 2022 (2205.01580). Below
some 100,000 pictures a `resnet` learns more in the same time: it need not learn that near pixels belong together.
Letters: B pictures, T tokens, D width, H heads, d = D / H.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.contract import Head, Schema
from luban.core.errors import UserError
from luban.layers.fused import PictureModel, the_picture
from luban.layers.pictures import check_augment
from luban.layers.rules import within

SIZES = {"small": (4, 64), "base": (6, 128), "large": (8, 256)}
"""(layers, width)."""
HEAD = 32
"""Width of a head where heads are not set."""


class ViT(PictureModel):
    @dataclass(frozen=True)
    class Config:
        patch: int | None = None
        """Side of a patch in pixels. Unset: about a seventh of the side, so that there are some 50 tokens."""
        layers: int | None = None
        """Blocks, one on another: small 4, base 6, large 8."""
        width: int | None = None
        """Numbers a token: small 64, base 128, large 256."""
        heads: int | None = None
        """Attention heads; must divide the width. Unset: heads of 32."""
        pool: Literal["mean", "token"] = "mean"
        """What stands for the picture: the mean of its tokens, or a class token of its own, as in the first paper."""
        dropout: float = 0.0
        """Share of each block's output silenced in training."""
        augment: tuple[str, ...] | None = None
        """Of flip, auto_flip, shift, affine, erase; [] for none. Unset: auto_flip, shift and, as transformers overfit sooner, erase."""

        def __post_init__(self) -> None:
            within(self, {"patch": (1, 1024), "layers": (1, 100), "width": (8, 8192), "heads": (1, 256), "dropout": (0.0, 0.9)})
            check_augment(self.augment)
            if self.heads and self.width and self.width % self.heads:
                raise UserError(f"model.width must be a multiple of model.heads = {self.heads}, not {self.width}.")

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        layers, width = SIZES[size]
        width = config.width or width
        side = min(the_picture(schema)[1].shape[1:])
        heads = config.heads or next(heads for heads in range(max(1, width // HEAD), 0, -1) if width % heads == 0)
        augment = config.augment if config.augment is not None else ("auto_flip", "shift", "erase")
        planned = replace(config, patch=config.patch or max(1, round(side / 7)), layers=config.layers or layers, width=width, heads=heads,
                          augment=augment)  # fmt: skip
        train = {"batch_size": 64, "epochs": max(20, min(200, round(600_000 / max(n_rows, 1)))), "lr": 2e-3, "optimizer": "adamw",
                 "weight_decay": 0.05, "schedule": "cosine", "warmup": 0.1, "clip": 1.0, "ema": 0.0, "patience": 0}  # fmt: skip
        why = {"train.lr": "high for a transformer, as it is small", "train.epochs": "transformers learn slowly from few pictures"}
        if config.patch is None:
            why["model.patch"] = f"some 50 patches of a picture of side {side}"
        return planned, train, why

    def network(self, config: Any, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        return Trunk(config, shape), config.width


class Trunk(nn.Module):
    """(B, C, H, W) -> (B, D)."""

    def __init__(self, config: Any, shape: tuple[int, ...]):
        super().__init__()
        C, H, W = shape
        p, D = config.patch, config.width
        if p > min(H, W):
            raise UserError(f"model.patch is {p}, larger than the pictures ({W} x {H}).")
        self.patches = nn.Conv2d(C, D, p, stride=p)  # a Linear on each patch; pixels beyond the last whole patch are not seen
        tokens = (H // p) * (W // p)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, D)) if config.pool == "token" else None
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens + (config.pool == "token"), D))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(D)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)  # (B, T, D)
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), -1, -1).type_as(x), x], 1)
        x = x + self.place
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, 0] if self.token is not None else x.mean(1)


class Block(nn.Module):
    """x + attention, then x + the multilayer perceptron."""

    def __init__(self, config: Any):
        super().__init__()
        D = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.mix = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x: Tensor) -> Tensor:
        x = x + F.dropout(self._attend(self.norm_1(x)), self.dropout, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.norm_2(x)))), self.dropout, self.training)

    def _attend(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, T, d) each
        y = F.scaled_dot_product_attention(q, k, v)
        return self.mix(y.transpose(1, 2).reshape(B, T, D))
