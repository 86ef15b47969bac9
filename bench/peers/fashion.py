"""What every peer shares: the same pictures, the same split. Only numpy, for it runs in each peer's venv."""

from __future__ import annotations

import argparse
import gzip
import os
from pathlib import Path

import numpy as np

BATCH, LR = 32, 1e-3


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=["mlp", "cnn"])
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def parts() -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_valid, y_valid, x_test, y_test; pictures (N, 28, 28) uint8. The first nine tenths of the training file train."""
    x, y, x_test, y_test = (_idx(name) for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"))
    n = len(x) * 9 // 10
    return x[:n], y[:n], x[n:], y[n:], x_test, y_test


def _idx(name: str) -> np.ndarray:
    """An IDX file: two zero bytes, the type, the number of sides, each side as 4 bytes big-endian, then the numbers."""
    with gzip.open(Path(os.environ["LUBAN_DATA"]) / "fashion-mnist" / f"{name}-ubyte.gz") as file:
        raw = file.read()
    sides = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sides)
