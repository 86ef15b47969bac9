"""The textbook's convolutional network: as many (convolution, pool) as there are filters, then dense layers, then the answer.

conv -> norm -> pool -> relu for each number of filters, flattened, Linear -> relu -> dropout for each dense width. Other columns stand
beside the last of them. For a given time `resnet` is more accurate; this one is small, quick and easily drawn on a blackboard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from luban.core.contract import Head, Schema
from luban.core.errors import UserError
from luban.layers.fused import PictureModel, the_picture
from luban.layers.pictures import check_augment
from luban.layers.rules import within

SIZES = {"small": ((16, 32), (64,)), "base": ((32, 64), (128,)), "large": ((64, 128, 256), (256,))}
"""(filters, dense); base is the one in the tutorials of Keras and PyTorch."""
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


class CNN(PictureModel):
    traceable = True

    @dataclass(frozen=True)
    class Config:
        filters: tuple[int, ...] | None = None
        """Filters of each convolution, first to last; each is followed by a pool. By size; base is [32, 64]."""
        kernel: int = 3
        """Side of the filters. 3; 5 with fewer layers in older books."""
        padding: Literal["valid", "same"] | None = None
        """valid: only where the filter lies wholly inside, as in the tutorials; same: zeros around, for small pictures. Unset: valid,
        where enough is left."""
        pool: Literal["max", "avg"] = "max"
        """What each square becomes: its largest value, or its mean as in LeNet."""
        pool_size: int = 2
        """Side of the squares; 1 for no pooling."""
        dense: tuple[int, ...] | None = None
        """Widths of the layers after the last pool. By size; base is [128]."""
        norm: Literal["none", "batch"] = "none"
        """batch: after each convolution, for more layers or higher learning rates; needs batches of 16 or more."""
        dropout: float = 0.0
        """Share of the dense units silenced in training; .5 in the tutorials, for more epochs than the default."""
        augment: tuple[str, ...] | None = None
        """Of flip, auto_flip, shift, affine, erase; [] for none. Unset: auto_flip and shift."""

        def __post_init__(self) -> None:
            within(self, {"filters": (1, 8192), "dense": (1, 65_536), "kernel": (1, 31), "pool_size": (1, 16), "dropout": (0.0, 0.95)})
            check_augment(self.augment)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.0  # the resnet is better in any given time; this one is the textbook's, for whoever asks

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        filters, dense = SIZES[size]
        augment = ("auto_flip", "shift")
        filled = replace(
            config,
            filters=config.filters if config.filters is not None else filters,
            dense=config.dense if config.dense is not None else dense,
            augment=config.augment if config.augment is not None else augment,
        )
        planned = replace(filled, padding=config.padding or ("valid" if _left(filled, the_picture(schema)[1].shape) > 1 else "same"))
        train = {"batch_size": 32, "epochs": 10, "lr": 1e-3, "optimizer": "adamw", "weight_decay": 1e-4, "schedule": "cosine",
                 "warmup": 0.02, "clip": 0.0, "ema": 0.0, "patience": 0}  # fmt: skip
        why = {"model.filters": f"by size {size}", "model.dense": f"by size {size}", "train.lr": "the usual for Adam and convolutions",
               "model.padding": "valid where the last pool leaves more than one pixel, as in the tutorials",
               "train.batch_size": "the tutorials'; small batches learn most in a given time on a processor"}  # fmt: skip
        if config.augment is None:
            why["model.augment"] = "trained from scratch; mirrored if that is plausible for these pictures"
        return planned, train, {key: reason for key, reason in why.items() if not _set(config, key)}

    def network(self, config: Any, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        C, side_h, side_w = shape
        layers: list[nn.Module] = []
        for filters in config.filters:
            layers.append(nn.Conv2d(C, filters, config.kernel, padding=config.padding))
            if config.norm == "batch":
                layers.append(nn.BatchNorm2d(filters))
            pool = [POOLS[config.pool](config.pool_size)] if config.pool_size > 1 else []
            # the largest of the rectified is the rectified largest, and relu on a quarter of the numbers saves a fifth of the step
            layers += [*pool, nn.ReLU()] if config.pool == "max" else [nn.ReLU(), *pool]
            C, side_h, side_w = filters, *(_after(side, config) for side in (side_h, side_w))
            if min(side_h, side_w) < 1:
                raise UserError(f"pictures of {shape[2]} x {shape[1]} pixels are too small for {len(config.filters)} convolutions with "
                                f"pools: set model.padding=same, model.pool_size=1, or fewer model.filters.")  # fmt: skip
        layers.append(nn.Flatten())
        width = C * side_h * side_w
        for wide in config.dense:
            layers += [nn.Linear(width, wide), nn.ReLU(), *([nn.Dropout(config.dropout)] if config.dropout else [])]
            width = wide
        return nn.Sequential(*layers), width


def _after(side: int, config: Any) -> int:
    """Pixels along a side after one convolution and pool."""
    return (side - (config.kernel - 1 if config.padding == "valid" else 0)) // config.pool_size


def _left(config: Any, shape: tuple[int, ...]) -> int:
    """Pixels along the shorter side after all of them, without padding."""
    side = min(shape[1:])
    for _ in config.filters:
        side = _after(side, replace(config, padding="valid"))
    return side


def _set(config: Any, key: str) -> bool:
    return key.startswith("model.") and getattr(config, key.removeprefix("model.")) is not None
