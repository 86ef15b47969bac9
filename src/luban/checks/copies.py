"""Rows that are the same, or nearly: copies across parts, which flatter the score, and equal rows with different answers.

Cells are compared as the model sees them: by hash, column after column, so that a large store is never copied.
"""

from __future__ import annotations

import numpy as np

from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.splitting import TRAIN

FLATTERS = 0.01
"""The score flatters by as much as the share of copies at most; below this share that is less than the noise of most test parts."""


def exact_copies(look: Look) -> list[Finding]:
    """How many validation and test rows have a twin with the same inputs among the training rows.

    Only columns that the model reads count: with its id, or its patient, no row would be a copy. A grid counts by what the model sees
    of it, so that one file under two names is a copy.
    """
    hashes, part = look.codes, look.rows.part
    others = np.flatnonzero((part != TRAIN) & (part < 3))
    trained = np.sort(hashes[part == TRAIN])
    at = np.searchsorted(trained, hashes[others]).clip(max=len(trained) - 1)
    known = others[trained[at] == hashes[others]]
    if not len(known):
        return []
    share = len(known) / len(others)
    coarse = _repeats(hashes) > 0.5 * len(hashes)  # whole patterns come back, and will in new data; splitting.told_apart says so
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


def duplicates(look: Look) -> list[Finding]:
    """Rows with the inputs of an earlier one, wherever they stand, from 1 % on. A note: a drawn split keeps them in one part."""
    hashes, repeats = look.codes, _repeats(look.codes)
    if repeats < FLATTERS * len(hashes):
        return []
    order = np.argsort(hashes, kind="stable")
    return [
        Finding(
            "duplicates",
            NOTE,
            f"{repeats:,} of {len(hashes):,} rows ({repeats / len(hashes):.1%}) have the same inputs as an earlier row",
            1.0,
            "all inputs are equal",
            None,
            "Usual where columns are few and coarse. If the same thing was entered twice, keep one row of it",
            **look.places(np.sort(order[1:][np.diff(hashes[order]) == 0])),
        )
    ]


def _repeats(hashes: np.ndarray) -> int:
    """How many of them are equal to another one before."""
    return len(hashes) - 1 - int(np.count_nonzero(np.diff(np.sort(hashes))))


def contradictions(look: Look) -> list[Finding]:
    """Rows with equal inputs and different classes: of each such group, all but the commonest answer will be wrong whatever is learned.

    Where inputs are few and coarse that is the nature of the question, and a note; where nearly every row is one of its kind (99 %) and
    few are contradicted (0.1 to 10 %), two that differ in nothing but the answer are a mistake in one of them.
    """
    found = []
    order = np.argsort(look.codes)
    fresh = np.concatenate([[True], np.diff(look.codes[order]) != 0])
    alone = fresh & np.concatenate([fresh[1:], [True]])  # most rows, mostly: one of their kind, in no need of more
    twins = np.sort(order[~alone])
    group = np.unique(look.codes[twins], return_inverse=True)[1]
    distinct = int(group.max()) + 1 if len(group) else 0
    for key, each in look.schema.targets.items():
        if each.kind != "id":
            continue
        y = look.store.columns[key].numpy()[twins]
        pairs, count = np.unique(group * each.size + y, return_counts=True)
        most, total = np.zeros(distinct, np.int64), np.bincount(group, minlength=distinct)
        np.maximum.at(most, pairs // each.size, count)
        rows = twins[(total - most > 0)[group]]
        if len(rows):
            wrong, agreed, n, single = int((total - most).sum()), total == most, len(order), int(alone.sum())
            unique = (single + agreed.sum()) / max(1, single + total[agreed].sum())
            doubted = unique > 0.99 and wrong >= 0.001 * n and len(rows) < 0.1 * n
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
