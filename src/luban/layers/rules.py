"""Rules that the stepped models share: which options make sense, and how training is cut into batches and epochs."""

from __future__ import annotations

from typing import Any

from luban.core.config import within as within  # which options make sense is asked for here, beside the other rules


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
