"""Hashes of cells as a model sees them, a piece at a time, so that a large store is never copied."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Encoded, Ragged, rows_of
from luban.splitting import finalise

PIECE = 200_000
"""Rows that are hashed at a time, or tokens of ragged ones."""


def cell_codes(column: Encoded, number: int, index: np.ndarray | None = None) -> np.ndarray:
    """A hash of each cell of column `number`, (N,) uint64, or of the rows `index`."""
    n, salt = len(column) if index is None else len(index), np.uint64((number + 1) * 0xD1B54A32D192ED03 % 2**64)
    each = len(column.values) // max(1, len(column)) if isinstance(column, Ragged) else 1
    size = max(1, PIECE // max(1, each))
    pieces = []
    for start in range(0, n, size):
        some = _between(column, start, start + size) if index is None else rows_of(column, torch.from_numpy(index[start : start + size]))
        pieces.append(_codes(some, salt))
    return np.concatenate(pieces or [np.zeros(0, np.uint64)])


def _between(column: Encoded, start: int, stop: int) -> Encoded:
    if isinstance(column, Tensor):
        return column[start:stop]
    offsets = column.offsets[start : stop + 1]
    return Ragged(column.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def _codes(column: Tensor | Ragged, salt: np.uint64) -> np.ndarray:
    if isinstance(column, Ragged):  # the sum over a row's tokens, by differences of a running sum that may wrap around
        x = column.values.flatten(1).numpy() if column.values.dim() > 1 else column.values.unsqueeze(1).numpy()
        if column.values.is_floating_point():  # steps, whose order counts
            place = torch.arange(len(x)) - column.offsets[:-1].repeat_interleave(column.lengths)
            x = finalise((x + np.float32(0)).view(np.uint32) + place.numpy().astype(np.uint64)[:, None] * np.uint64(2**32))
            x = finalise(x + np.arange(x.shape[1], dtype=np.uint64))
        tokens = finalise(x.astype(np.uint64).sum(1, dtype=np.uint64))
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(tokens, dtype=np.uint64)])
        offsets = column.offsets.numpy()
        values = running[offsets[1:]] - running[offsets[:-1]]
    elif column.dtype == torch.uint8:
        values = np.array([int.from_bytes(hashlib.blake2b(each, digest_size=8).digest()) for each in column.numpy()], np.uint64)
    elif column.is_floating_point():
        x = column.numpy().reshape(len(column), -1)
        bits = np.where(np.isnan(x), np.float32(1e38), x + np.float32(0)).view(np.uint32).astype(np.uint64)  # -0 is 0
        values = np.zeros(len(x), np.uint64)
        for j in range(bits.shape[1]):
            values = finalise(values + bits[:, j] + np.uint64(1))
    else:
        values = column.numpy().astype(np.uint64)
    return finalise(values * np.uint64(0x9E3779B97F4A7C15) + salt)
