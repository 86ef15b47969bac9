"""Least squares of one side of a log at a time, all its rows at once: what the models share that solve for users and items in turn.

A side is a Ragged: for each of its rows (users, say) the ids of the other side, in int32, which halves the memory. Letters: E events, R
rows, I rows of the other side, F numbers of a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core.batch import Ragged

ROWS = 65_536
"""Rows improved at a time: with 64 factors some 100 MB."""
MOST, CLOSE = 50, 1e-6
"""Steps at most where a row is solved to the end, and how small what is left of it becomes, as a share of where it began."""


def improved(events: Ragged, answers: Tensor | float, y: Tensor, price: Tensor, x: Tensor, steps: int = MOST,
             by: Tensor | None = None) -> Tensor:  # fmt: skip
    """x (R, F) after some steps of conjugate gradients towards (V'WV + price) x = V'W answers.

    W: `by` (E,), what each event counts, or 1; V: the rows of y (I, F) that the events of a row name; answers: (E,), or one for all;
    price: (R, F), and what is divided by, so that few steps do where it is most of the matrix. A row that is CLOSE rests: it comes out
    the same beside any others. A step is two passes over the events, which cost 14 ms for a million and 64 factors; to lay out V would
    cost as much again.
    """
    ids, offsets = events.values, events.offsets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Sparse CSR tensor support is in beta state"
        had = torch.sparse_csr_tensor(offsets, ids, y.new_zeros(len(ids)), (len(x), len(y)), check_invariants=False)

    def along(x: Tensor) -> Tensor:
        """V x (E,): of each event the product of its two vectors."""
        return torch.sparse.sampled_addmm(had, x, y.T, beta=0.0).values()

    def back(e: Tensor) -> Tensor:
        """V'W e (R, F)."""
        return F.embedding_bag(ids, y, offsets, mode="sum", include_last_offset=True, per_sample_weights=e if by is None else e * by)

    r = back(answers - along(x)) - price * x
    p = z = r / price
    left = first = (r * z).sum(1, keepdim=True)
    for step in range(steps):
        going = left > CLOSE**2 * first
        if not going.any():
            break
        Ap = back(along(p)) + price * p
        a = torch.where(going, left / (p * Ap).sum(1, keepdim=True), 0.0)
        x = x + a * p
        if step + 1 < steps:
            r = r - a * Ap
            z = r / price
            left, before = (r * z).sum(1, keepdim=True), left
            p = z + torch.where(going, left / before, 0.0) * p
    return x


def by_rows(events: Ragged, size: int = ROWS) -> Iterator[tuple[slice, slice, Ragged]]:
    """(which rows, which events, these alone) for pieces of a side."""
    for start in range(0, len(events), size):
        ends = events.offsets[start : start + size + 1]
        mine = slice(int(ends[0]), int(ends[-1]))
        yield slice(start, start + size), mine, Ragged(events.values[mine], ends - ends[0])


def sides(row: Tensor, column: Tensor, rows: int) -> tuple[Ragged, Tensor]:
    """(the columns of each of so many rows, the order (E,) in which the events then stand)."""
    order = torch.argsort(row, stable=True)
    offsets = F.pad(torch.bincount(row, minlength=rows).cumsum(0), (1, 0))
    return Ragged(column[order].int(), offsets.int()), order
