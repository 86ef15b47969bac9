"""A small residual network for pictures of about 32 pixels: what learns most in ten minutes on two cores.

    stem: conv 3x3, stride 2 -> norm -> relu                                    (28 x 28 -> 14 x 14)
    for each width: [pool, conv 3x3 to the width] -> norm -> relu, then blocks x + (conv -> norm -> relu -> conv -> norm -> squeeze)
    the mean of the last pixels -> output

ResNet-9 of DAWNBench (Page 2018), whose blocks begin near the identity, as their last scale starts small (0 in Goyal et al. 2017, arXiv
1706.02677, 5.1; .2 here, so that what lies before it learns from the first step). Letters: B pictures, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.contract import Head, Schema
from luban.layers.fused import PictureModel, has_picture, the_picture
from luban.layers.pictures import check_augment
from luban.layers.rules import within

SIZES = {"small": (16, 32, 64), "base": (32, 64, 128), "large": (64, 128, 256)}
"""Width of each stage. Where time is short, more epochs beat more width: accuracy on 6,000 validation rows of Fashion-MNIST, one run each,
was .936 for base in 8 epochs and .926 for (48, 96, 192) in 4, which cost about as much."""


class ResNet(PictureModel):
    @dataclass(frozen=True)
    class Config:
        widths: tuple[int, ...] | None = None
        """Channels of each stage; each stage has half the side of the one before. By size; base is [32, 64, 128]."""
        blocks: int = 1
        """Residual blocks a stage."""
        stem: int | None = None
        """Stride of the first convolution. Unset: 1 for sides up to 16, 2 up to 64, 4 beyond."""
        norm: Literal["batch", "group"] = "batch"
        """batch learns fastest; group (of 16 channels or so) does not depend on the batch: for batches below 16."""
        squeeze: bool = False
        """Squeeze and excitation (Hu et al. 2018): each block scales its channels by what the whole picture shows."""
        dropout: float = 0.0
        """Share of the features before the output silenced in training."""
        augment: tuple[str, ...] | None = None
        """Of flip, auto_flip, shift, affine, erase; [] for none. Unset: auto_flip and shift, and erase in size large."""

        def __post_init__(self) -> None:
            within(self, {"widths": (8, 4096), "blocks": (0, 100), "stem": (1, 8), "dropout": (0.0, 0.95)})
            check_augment(self.augment)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.9 if has_picture(schema) else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        unset = {key for key in ("widths", "stem", "augment") if getattr(config, key) is None}
        side = min(the_picture(schema)[1].shape[1:])
        rule = {"widths": SIZES[size], "stem": 1 if side <= 16 else 2 if side <= 64 else 4,
                "augment": ("auto_flip", "shift", *(["erase"] if size == "large" else []))}  # fmt: skip
        planned = replace(config, **{key: rule[key] for key in unset})
        batch_size = 32 if n_rows < 5_000 else 64 if n_rows < 20_000 else 128
        epochs = max(20, min(200, round(400_000 / max(n_rows, 1))))
        train = {"batch_size": batch_size, "epochs": epochs, "lr": 8e-3 if batch_size == 128 else 4e-3, "optimizer": "adamw",
                 "weight_decay": 0.02, "schedule": "onecycle", "warmup": 0.2, "clip": 0.0, "ema": 0.0, "patience": 0}  # fmt: skip
        why = {"model.widths": f"by size {size}", "model.stem": f"pictures of side {side}",
               "model.augment": "trained from scratch; mirrored if that is plausible for these pictures"}  # fmt: skip
        return planned, train, {
            **{key: reason for key, reason in why.items() if key.removeprefix("model.") in unset},
            "train.lr": "high, as every convolution is normalised; higher for batches of 128",
            "train.schedule": "one long rise and fall, whatever the time allows, learns most in it",
            "train.epochs": f"about 400,000 pictures seen, at least 20 times each, of {n_rows:,}",
        }  # fmt: skip

    def network(self, config: Any, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        widths = config.widths
        layers: list[nn.Module] = [conv(shape[0], widths[0], config.stem), norm(config, widths[0]), nn.ReLU()]
        side = -(-min(shape[1:]) // config.stem)
        for stage, width in enumerate(widths):
            if stage:
                layers += [conv(widths[stage - 1], width), *([nn.MaxPool2d(2)] if side > 1 else []), norm(config, width), nn.ReLU()]
                side = max(1, side // 2)
            layers += [Block(config, width) for _ in range(config.blocks)]
        return nn.Sequential(*layers, Mean(), nn.Dropout(config.dropout)), widths[-1]


class Block(nn.Module):
    """x + a change that is small at first."""

    def __init__(self, config: Any, width: int):
        super().__init__()
        last = norm(config, width)
        nn.init.constant_(last.weight, 0.2)
        self.change = nn.Sequential(conv(width, width), norm(config, width), nn.ReLU(), conv(width, width), last)
        self.squeeze = Squeeze(width) if config.squeeze else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.squeeze(self.change(x)))


class Squeeze(nn.Module):
    """Each channel times 0..2, by the means of all channels."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 * self.scale(x.mean((2, 3))).sigmoid()).unsqueeze(-1).unsqueeze(-1)


class Mean(nn.Module):
    """(B, C, H, W) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3 without bias: a norm follows."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def norm(config: Any, width: int) -> nn.BatchNorm2d | nn.GroupNorm:
    return nn.BatchNorm2d(width) if config.norm == "batch" else nn.GroupNorm(math.gcd(width, max(1, width // 16)), width)
