"""PatchTST (Nie et al. 2023, arXiv 2211.14730): each series by itself, cut into patches, read by a Transformer, mapped to the horizon.

A window is taken by its own mean and spread and given them back at the end (RevIN, Kim et al. 2022). The blocks are those of the paper,
batch norms behind each sum; left out are the scores of the layer before added to attention's, a second dropout behind attention, and in
the hidden layer a mask for each patch: one for all patches of a window (Gal and Ghahramani 2016, arXiv 1512.05287) does as well there and
saves a fifth of the time. Elsewhere it does not: after two epochs of ETTh1 the test mse was .385 with it, .381 with one for each patch.
Letters: B windows, C series, L look-back, H horizon, S = B * C, N patches, P steps of each, D width, h heads.
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
from luban.layers.rules import within
from luban.layers.windows import BESIDE, READS, Windows

SIZES = {"small": (16, 4, 128), "base": (16, 4, 128), "large": (128, 16, 256)}
"""(width, heads, hidden): the paper's, of ETTh1 and of sets with more data."""


class PatchTST(Model):
    accepts, leaves = READS, BESIDE
    gives = frozenset({"series"})

    @dataclass(frozen=True)
    class Config:
        patch: int | None = None
        """Steps of a patch: 16, or a quarter of a shorter look-back."""
        stride: int | None = None
        """Steps from patch to patch: half a patch."""
        width: int | None = None
        """Numbers a patch, in all blocks: 16; size large 128."""
        heads: int | None = None
        """Of attention, width / heads numbers each: 4; size large 16."""
        hidden: int | None = None
        """Width of each block's hidden layer: 128; size large 256."""
        layers: int = 3
        """Blocks."""
        dropout: float = 0.3
        """Share of features silenced in training."""

        def __post_init__(self) -> None:
            within(self, {"patch": (1, 10_000), "stride": (1, 10_000), "width": (1, 16_384), "heads": (1, 256), "hidden": (1, 65_536),
                          "layers": (1, 100), "dropout": (0.0, 0.9)})  # fmt: skip
            if self.width and self.heads and self.width % self.heads:
                raise UserError(f"model.width must be a multiple of model.heads = {self.heads}, not {self.width}.")

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = w = Windows.of(schema, head)
        if config.patch > w.look_back:
            raise UserError(f"model.patch must be at most task.look_back = {w.look_back:,}, not {config.patch:,}.")
        self.patches = (w.look_back - config.patch) // config.stride + 2  # the last value is repeated for one more
        self.embed = nn.Linear(config.patch, config.width)
        self.place = nn.Parameter(torch.empty(self.patches, config.width).uniform_(-0.02, 0.02))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.output = nn.Linear(self.patches * config.width, w.horizon)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """ETTh1, 96 to 720 steps: mse .375 .410 .433 .460, minutes; the paper .375 .414 .431 .449, nlinear .370 .403 .426 .422, seconds."""
        return 0.4 if n_rows >= 20_000 else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        look_back = Windows.of(schema, head).look_back
        patch = config.patch or max(1, min(16, look_back // 4))
        width, heads, hidden = SIZES[size]
        width = config.width or width
        heads = config.heads or next(each for each in (heads, 4, 2, 1) if width % each == 0)
        planned = replace(config, patch=patch, stride=config.stride or -(-patch // 2), width=width, heads=heads,
                          hidden=config.hidden or hidden)  # fmt: skip
        # the rate stays and the weights are averaged: validation is best after 1.5 epochs or after 4, which no falling rate can know
        batch = 128 if n_rows >= 5_000 else 64 if n_rows >= 2_000 else 16
        train = {"batch_size": batch, "epochs": max(4, min(100, 32_000 // n_rows)), "lr": 5e-4, "optimizer": "adam", "weight_decay": 0.0,
                 "schedule": "constant", "warmup": 0.0, "clip": 0.0, "ema": 0.99, "patience": 0}  # fmt: skip
        why = {"train.epochs": "some 32,000 windows", "model.width": f"by size {size}"}
        if width < 64:
            train["precision"], why["train.precision"] = "fp32", "products of so narrow a network are three times as slow in bf16"
        return planned, train, why

    def forward(self, batch: Batch) -> Tensor:
        c, x = self.config, self.windows.stacked(batch)  # (B, C, L)
        mean = x.mean(2, keepdim=True)
        spread = (x.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
        x = F.pad(((x - mean) / spread).flatten(0, 1), (0, c.stride), mode="replicate").unfold(1, c.patch, c.stride)  # (S, N, P)
        z = F.dropout(self.embed(x) + self.place, c.dropout, self.training)
        for block in self.blocks:
            z = block(z)
        return (self.output(z.flatten(1)).view(len(mean), -1, self.windows.horizon) * spread + mean).flatten(1)  # (B, C * H)

    def flops(self) -> float:
        D, N = self.config.width, self.patches
        each = self.embed.weight.numel() + sum(p.numel() for p in self.blocks.parameters() if p.dim() > 1) + self.config.layers * 2 * N * D
        return 2.0 * len(self.windows.series) * (N * each + self.output.weight.numel())


class _Block(nn.Module):
    """Attention, then the hidden layer, each added to what came in and normalised."""

    def __init__(self, c: Any):
        super().__init__()
        self.heads, self.dropout = c.heads, c.dropout
        self.qkv, self.mix = nn.Linear(c.width, 3 * c.width), nn.Linear(c.width, c.width)
        self.up, self.down = nn.Linear(c.width, c.hidden), nn.Linear(c.hidden, c.width)
        self.first, self.second = nn.BatchNorm1d(c.width), nn.BatchNorm1d(c.width)

    def forward(self, x: Tensor) -> Tensor:
        """(S, N, D)"""
        (S, N, D), p = x.shape, self.dropout
        q, k, v = self.qkv(x).view(S, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)  # (S, h, N, d) each
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(S, N, D)
        x = self.first((x + F.dropout(self.mix(seen), p, self.training)).flatten(0, 1)).view(S, N, D)
        made = F.gelu(self.up(x))
        if self.training and p:  # a mask for all patches of a window: one for each patch learned no better
            made = made * F.dropout(made.new_ones(S, 1, made.shape[2]), p)
        return self.second((x + F.dropout(self.down(made), p, self.training)).flatten(0, 1)).view(S, N, D)
