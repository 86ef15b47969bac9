"""Rows that are nearly the same in training and test: all but one cell equal, or all numbers but for noise. On a sample; never by pairs."""

from __future__ import annotations

import math

import numpy as np

from luban.checks.copies import FLATTERS
from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.checks.hashed import cell_codes
from luban.core.registry import Later
from luban.splitting import TEST, TRAIN, VALID

neighbours = Later("sklearn.neighbors")

NEIGHBOURS = 5
QUERIES = 5_000
FEW = 3
"""Two may be an accident."""
BLOCK = 10
MOST_KEYS = 8
"""Columns by which rows are put beside their like, the coarsest first; by then hardly two are alike."""
CERTAIN = 0.01
"""The chance, over all test rows together, that a row is called a twin which is none."""


def near_copies(look: Look) -> list[Finding]:
    """Validation and test rows with a twin among the training rows that differs in one cell, or in all numbers by next to nothing."""
    part = look.part
    train, others = look.index[part == TRAIN], look.index[(part == VALID) | (part == TEST)][:: max(1, (part != TRAIN).sum() // QUERIES)]
    if not len(others) or len(train) <= NEIGHBOURS:
        return []
    one_cell, where = _but_one_cell(look, train, others)
    noisy = _but_for_noise(look, train, others)
    found = []
    for mask, how, basis in (
        (one_cell, f"all but one of their cells{where}", "equal but for one cell, far more than chance gives"),
        (noisy & ~one_cell, "all numbers but for noise", "distance to the nearest training row against the next ones"),
    ):
        share = mask.mean()
        if mask.any():
            few = share < FLATTERS or mask.sum() < FEW
            severity = NOTE if few else SERIOUS if share >= 5 * FLATTERS else DOUBT
            found.append(
                Finding(
                    "near-copies",
                    severity,
                    f"{mask.sum():,} of {len(mask):,} validation and test rows ({share:.1%}) share {how} with a training row",
                    1 - CERTAIN,
                    basis,
                    None,
                    "If they are the same thing twice, the score flatters. Remove them, or keep them together by --group",
                    **look.places(others[mask]),
                )
            )
    return found


def _but_one_cell(look: Look, train: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, str]:
    """(mask of `others` (n,), in which column most of them differ).

    The sum of a row's hashes less one cell's is equal where all the other cells are. Coarse columns make such pairs by chance; how many,
    tells the same count with the most varied of the other columns shuffled among BLOCK rows that are alike in the rest. More than that by
    six standard deviations is no chance.
    """
    keys, both = list(look.schema.inputs), np.concatenate([train, others])
    found = np.zeros(len(others), bool)
    counts: dict[str, int] = {}
    if len(keys) < 3:
        return found, ""
    n, rng = len(train), np.random.default_rng(0)
    codes = {key: cell_codes(look.store.columns[key], number, both) for number, key in enumerate(keys)}
    total = np.stack(list(codes.values())).sum(0, dtype=np.uint64)
    exact = np.isin(total[n:], total[:n])
    values = {key: _sortable(look, key, train, codes[key][:n]) for key in keys}
    coarse_first = sorted(keys, key=lambda key: len(np.unique(codes[key])))
    for key in keys:
        rest = total - codes[key]
        twins = np.isin(rest[n:], rest[:n]) & ~exact
        if twins.sum() <= 6:
            continue
        *alike, other = [each for each in coarse_first if each != key]
        order = np.lexsort([values[each] for each in reversed(alike[:MOST_KEYS])])
        shuffled = np.empty(n, np.int64)
        shuffled[order] = order[np.lexsort([rng.random(n), np.arange(n) // BLOCK])]
        by_chance = np.isin(rest[n:], (rest - codes[other])[:n] + codes[other][:n][shuffled]).sum()
        if twins.sum() > by_chance + 6 * math.sqrt(by_chance + 1):
            found |= twins
            counts[key] = int(twins.sum())
    if not counts:
        return found, ""
    most = max(counts, key=lambda key: counts[key])
    return found, f" (mostly {look.schema.inputs[most].columns[0]!r} differs)"


def _sortable(look: Look, key: str, index: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Numbers (n,) by which rows that are alike in this column come together."""
    column = look.encoded(key, index)
    return np.nan_to_num(column.numpy().reshape(len(index), -1)[:, 0]) if look.schema.inputs[key].kind in ("scalar", "id") else codes


def _but_for_noise(look: Look, train: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) bool of `others`.

    Where points lie evenly around a row, (r1 / rk)^d of its distances to the nearest and the k-th neighbour is the least of k - 1 uniform
    numbers, d being the data's own dimension (Facco et al. 2017 for k = 2). A row whose ratio is too small for that has a twin. Only
    columns of many different numbers count, for in a grid of few values equal distances are no chance; d is the median's.
    """
    both = np.concatenate([train, others])
    numeric = [look.encoded(key, both).numpy() for key, each in look.schema.inputs.items() if each.kind == "scalar" and each.size == 1]
    columns = [np.nan_to_num(column) for column in numeric if len(np.unique(column)) > 0.5 * len(column)]
    if len(columns) < 3:
        return np.zeros(len(others), bool)
    x = np.stack(columns, 1)
    k = NEIGHBOURS
    r = neighbours.NearestNeighbors(n_neighbors=k).fit(x[: len(train)]).kneighbors(x[len(train) :])[0]
    known = (r[:, 0] > 0) & (r[:, 1] > 0)  # exact copies are told elsewhere
    ratio = np.where(known, r[:, 0] / np.maximum(r[:, -1], 1e-30), 1.0)
    middle = np.median(ratio[known]) if known.any() else 1.0
    # the median of (r1 / rk)^d is 1 - 2^(-1 / (k - 1))
    d = math.log(1 - 2 ** (-1 / (k - 1))) / math.log(middle) if middle < 1 else 1.0
    return known & (-np.expm1((k - 1) * np.log1p(-np.minimum(ratio**d, 1 - 1e-9))) * len(others) < CERTAIN)
