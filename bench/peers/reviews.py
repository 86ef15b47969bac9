"""What the peers of bench/text.py share: the rows that luban prepared, as ids of tokens. Only numpy, for it runs in each peer's venv."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

BATCH, LR = 32, 1e-3
VOCABULARY, WIDTH, HIDDEN = 10_000, 128, 64


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def parts(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids (N, T) int64, classes (N,) int64) of the training, validation and test rows. Padded in front, as Keras' pad_sequences does, so
    that the last state has read the last token."""
    with np.load(folder / "ids.npz") as file:
        return [(file[f"x{part}"], file[f"y{part}"]) for part in range(3)]
