"""Rows that are the same, or nearly: copies across parts, which flatter the score, and equal rows with different answers.

Cells are compared as the model sees them: by hash, column after column, so that a large store is never copied.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.core.batch import Ragged, rows_of
from luban.splitting import TRAIN

FLATTERS = 0.01
"""The score flatters by as much as the share of copies at most; below this share that is less than the noise of most test parts."""
PIECE = 200_000
"""Rows that are hashed at a time."""


def exact_copies(look: Look) -> list[Finding]:
    """How many validation and test rows have a twin with the same inputs among the training rows.

    Only columns that the model reads count: with its id, or its patient, no row would be a copy. A grid counts by what the model sees
    of it, so that one file under two names is a copy.
    """
    hashes, part = row_codes(look), look.rows.part
    others = np.flatnonzero((part != TRAIN) & (part < 3))
    known = others[np.isin(hashes[others], hashes[part == TRAIN])]
    if not len(known):
        return []
    share = len(known) / len(others)
    coarse = len(np.unique(hashes)) < 0.5 * len(hashes)  # whole patterns come back, and will in new data; splitting.told_apart says so
    return [
        Finding(
            "copies",
            SERIOUS if share >= FLATTERS and not coarse else NOTE,
            f"{len(known):,} of the {len(others):,} validation and test rows ({share:.1%}) are copies of training rows",
            1.0,
            "all inputs are equal",
            None,
            "The score will flatter by as much. Remove the copies, or split by --group",
            **look.places(known),
        )
    ]


def contradictions(look: Look) -> list[Finding]:
    """Rows with equal inputs and different classes: of each such group, all but the commonest answer will be wrong whatever is learned.

    Where inputs are few and coarse that is the nature of the question, and a note; where nearly every row is one of its kind (99 %) and
    few are contradicted (0.1 to 10 %), two that differ in nothing but the answer are a mistake in one of them.
    """
    found = []
    hashes = row_codes(look)
    distinct, group = np.unique(hashes, return_inverse=True)
    for key, each in look.schema.targets.items():
        if each.kind != "id":
            continue
        y = look.store.columns[key].numpy()
        pairs, count = np.unique(group * each.size + y, return_counts=True)
        most, total = np.zeros(len(distinct), np.int64), np.bincount(group, minlength=len(distinct))
        np.maximum.at(most, pairs // each.size, count)
        rows = np.flatnonzero((total - most > 0)[group])
        if len(rows):
            wrong, agreed = int((total - most).sum()), total == most
            unique = agreed.sum() / max(1, total[agreed].sum())
            doubted = unique > 0.99 and wrong >= 0.001 * len(y) and len(rows) < 0.1 * len(y)
            found.append(
                Finding(
                    "contradiction",
                    DOUBT if doubted else NOTE,
                    f"{len(rows):,} rows have the inputs of another row and a different {each.columns[0]!r}, so that at least "
                    f"{wrong:,} answers must be wrong",
                    round(float(unique), 3),
                    "share of the other rows that are one of their kind",
                    each.columns[0],
                    "Correct the answers, or add the column that tells such rows apart",
                    **look.places(rows),
                )
            )
    return found


# ---------------------------------------------------------------- hashes


def row_codes(look: Look) -> np.ndarray:
    """A hash of each row's inputs, (N,) uint64: the sum of the hashes of its cells, so that one can be taken out again."""
    total = np.zeros(len(look.rows.part), np.uint64)
    for number, key in enumerate(look.schema.inputs):
        total += cell_codes(look, key, number)
    return total


def cell_codes(look: Look, key: str, number: int, index: np.ndarray | None = None) -> np.ndarray:
    """A hash of each cell of a column, (N,) uint64, or of the rows `index`."""
    n = len(look.rows.part) if index is None else len(index)
    pieces = []
    for start in range(0, n, PIECE):
        rows = np.arange(start, min(start + PIECE, n)) if index is None else index[start : start + PIECE]
        pieces.append(
            _codes(rows_of(look.store.columns[key], torch.from_numpy(rows)), np.uint64((number + 1) * 0xD1B54A32D192ED03 % 2**64))
        )
    return np.concatenate(pieces)


def _codes(column: Tensor | Ragged, salt: np.uint64) -> np.ndarray:
    if isinstance(column, Ragged):  # the sum over a row's tokens, by differences of a running sum that may wrap around
        tokens = _finalise(column.values.numpy().astype(np.uint64).reshape(len(column.values), -1).sum(1, dtype=np.uint64))
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
            values = _finalise(values + bits[:, j] + np.uint64(1))
    else:
        values = column.numpy().astype(np.uint64)
    return _finalise(values * np.uint64(0x9E3779B97F4A7C15) + salt)


def _finalise(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
