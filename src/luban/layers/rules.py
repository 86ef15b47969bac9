"""Rules that the stepped models share: which options make sense, and how training is cut into batches and epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luban.core.errors import UserError


def within(config: Any, bounds: Mapping[str, tuple[float, float]], where: str = "model") -> None:
    """Raises UserError where an option, or an item of a list of them, lies outside its bounds (both included). Unset ones pass."""
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None and not low <= each <= high:
                limits = f"lie between {_spelt(low)} and {_spelt(high)}" if math.isfinite(high) else f"be {_spelt(low)} or more"
                raise UserError(f"{where}.{name} must {limits}, not {value!r}.")


def _spelt(number: float) -> str:
    return f"{int(number):,}" if number == int(number) and abs(number) < 1e15 else f"{number:g}"


def rhythm(n_rows: int, steps: int) -> tuple[dict[str, Any], dict[str, str]]:
    """({batch_size, epochs}, why) for about `steps` steps: small tables get small batches, and are seen more often."""
    batch_size = 2 ** max(4, min(8, (n_rows // 32).bit_length() - 1))
    if n_rows > 200_000:  # a smoother gradient is as good there, and large products use the machine better
        batch_size = 1024
    epochs = max(10, min(100, round(steps * batch_size / max(n_rows, 1))))
    why = {
        "train.batch_size": f"about 32 steps an epoch or more, from {n_rows:,} rows",
        "train.epochs": f"about {steps:,} steps, between 10 and 100 epochs",
    }
    return {"batch_size": batch_size, "epochs": epochs}, why


def training(n_rows: int) -> tuple[dict[str, Any], dict[str, str]]:
    """How a plain network is trained, one of ours or the user's own."""
    train, why = rhythm(n_rows, 2_600)
    if n_rows < 2_000:
        train["lr"], why["train.lr"] = 1e-2, "few steps an epoch, and a small network"
    else:
        train["lr"], why["train.lr"] = 3e-3, "the usual for AdamW at this width"
    train |= {"optimizer": "adamw", "weight_decay": 1e-4, "schedule": "cosine", "warmup": 0.05, "clip": 1.0, "ema": 0.0, "patience": 0}
    return train, why
