"""Tensors of many rows: ragged columns, the store that holds all of them encoded, and the examples that are cut out of it.

An example is a span of the store: a row is a span of one, a window a span of its length, a user a span of all that they did, a passage
a span of tokens. Spans are two numbers each and may overlap, so windows are never laid out in memory; a batch of them is one gather.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

STEP = 8
"""Rows are padded to a multiple of this: fewer shapes, for each of which a kernel is made ready once."""


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length: row i is values[offsets[i]:offsets[i+1]]. values: (total, ...), offsets: (B+1,) int64."""

    values: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """(B,) int64."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def owners(self) -> Tensor:
        """(total,) int64: which row each value belongs to."""
        return torch.arange(len(self), device=self.values.device).repeat_interleave(self.lengths)

    def __getitem__(self, index: Tensor) -> Ragged:
        """Rows by number, in that order: one vectorised gather, no Python per row."""
        return cut(self.values, self.offsets[:-1][index], self.lengths[index])

    def to(self, device: torch.device) -> Ragged:
        return Ragged(self.values.to(device), self.offsets.to(device))


def cut(values: Tensor, start: Tensor, length: Tensor) -> Ragged:
    """values[start[i] : start[i] + length[i]] for each i. values: (N, ...); start and length: (B,) int64."""
    numbers = numbers_of(start, length)
    return Ragged(values[numbers.values], numbers.offsets)


def numbers_of(start: Tensor, length: Tensor) -> Ragged:
    """start[i], start[i] + 1, ..., start[i] + length[i] - 1 for each i. start and length: (B,) int64."""
    offsets = torch.zeros(len(start) + 1, dtype=torch.int64, device=start.device)
    torch.cumsum(length, 0, out=offsets[1:])
    return Ragged(torch.arange(int(offsets[-1]), device=start.device) + (start - offsets[:-1]).repeat_interleave(length), offsets)


def padded(tokens: Ragged, step: int = STEP) -> tuple[Tensor, Tensor]:
    """(ids (B, T), or (B, T, F) of F a token or step, 0 behind the end; there (B, T) bool). A row without a token has one, the unknown."""
    lengths = tokens.lengths
    T = -(-max(1, int(lengths.max())) // step) * step
    there = torch.arange(T, device=lengths.device) < lengths.unsqueeze(1)
    ids = torch.zeros(len(lengths), T, *tokens.values.shape[1:], dtype=tokens.values.dtype, device=lengths.device)
    ids[there] = tokens.values
    there[:, 0] = True
    return ids, there


Encoded = Tensor | Ragged
Batch = dict[str, Any]  # of Encoded; a type checker cannot know which key is which


def beneath(pieces: Sequence[Any]) -> Any:
    """Encoded pieces, one after the other, as one."""
    if isinstance(pieces[0], Tensor):
        return torch.cat(list(pieces))
    lengths = torch.cat([piece.lengths for piece in pieces])
    return Ragged(torch.cat([piece.values for piece in pieces]), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))


def rows_of(column: Encoded, index: Tensor) -> Encoded:
    """Rows by number, (B,) int64, in that order. index_select is three times as fast as [] for a batch of 32."""
    return column[index] if isinstance(column, Ragged) else column.index_select(0, index)


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device) for key, value in batch.items()}


def size_of(batch: Batch) -> int:
    """How many examples it holds."""
    return len(next(iter(batch.values())))


def piece_of(batch: Batch, start: int, stop: int) -> Batch:
    """The examples [start, stop)."""
    n = size_of(batch)
    if start == 0 and stop >= n:
        return batch
    rows = torch.arange(start, min(stop, n))
    return {key: value[rows] if isinstance(value, Ragged) else value[start:stop] for key, value in batch.items()}


# ---------------------------------------------------------------- the store, and examples


@dataclass(frozen=True)
class Store:
    """All rows encoded, in the task's order, resident."""

    columns: Batch
    part: Tensor
    """(N,) uint8: which part each row belongs to, 0 train, 1 valid, 2 test, 3 none."""

    @property
    def nbytes(self) -> int:
        return sum(each.values.nbytes if isinstance(each, Ragged) else each.nbytes for each in self.columns.values())

    def of(self, part: int) -> Tensor:
        """Row numbers of a part, (n,) int64, increasing."""
        return torch.nonzero(self.part == part).squeeze(1)


@dataclass(frozen=True)
class Spans:
    """Example i is [start[i], start[i] + length[i]) of the store. start: (n,) int64; length: (n,) int64, or one number for all.
    part: whose examples these are, where the rows of a span belong to several parts."""

    start: Tensor
    length: Tensor | int = 1
    part: int = 0

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, numbers: Tensor) -> Spans:
        return Spans(self.start.index_select(0, numbers), self.length if isinstance(self.length, int) else self.length[numbers], self.part)


class Examples:
    """The examples of one part: their number, any of them as a batch, all of them piece by piece."""

    def __init__(self, store: Store, spans: Spans, batch: Callable[[Store, Spans], Batch]):
        self.store, self.spans, self.batch = store, spans, batch

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, numbers: Tensor) -> Batch:
        """By number, (B,) int64, in that order."""
        return self.batch(self.store, self.spans[numbers])

    @property
    def lengths(self) -> Tensor:
        """(n,) int64: the longest ragged cell of each, where an example is a row."""
        found = [column.lengths[self.spans.start] for column in self.store.columns.values() if isinstance(column, Ragged)]
        return torch.stack(found).amax(0)

    def pieces(self, most: int) -> Iterator[Batch]:
        """All in order, at most `most` at a time."""
        for start in range(0, len(self), most):
            yield self[torch.arange(start, min(start + most, len(self)))]

    def thinned(self, most: int) -> Examples:
        """At most so many of them, evenly spaced."""
        if len(self) <= most:
            return self
        return Examples(self.store, self.spans[torch.arange(most) * len(self) // most], self.batch)

    def whole(self) -> Batch:
        """All in one batch, for what is solved at once."""
        return self[torch.arange(len(self))]
