"""Fixed convolutions, and a ridge on how often each exceeds its threshold: MiniRocket (Dempster, Schmidt and Webb 2021, arXiv 2012.08791).

Nothing is trained but the ridge, which takes a second for some hundred curves, and is hard to beat with so few. A kernel has 9 weights,
three of them 2 and six -1: 84 of them, spread over up to 32 dilations; a threshold is a quantile of what it gives for one training row. The
feature is the share of steps at which the kernel exceeds it, of the steps that the row has: what is padded does not count.

Letters: B rows, T steps of the longest, C channels, n thresholds of a kernel at a dilation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from luban.core.batch import Batch, Examples, padded, piece_of, size_of
from luban.core.contract import Clock, Field, Head, Model, Schema
from luban.core.notes import say
from luban.layers import ridge
from luban.layers.columns import Flat, apart
from luban.layers.heads import truth
from luban.layers.rules import within

WIDTH = 9
KERNELS = list(itertools.combinations(range(WIDTH), 3))
DILATIONS = 32
"""Of a kernel, at most; the paper's."""
MOST = 4_000
"""Rows that the ridge is solved from, at most: it takes a quarter of a minute of so many, and eight times as long of twice as many."""
AT_ONCE, NUMBERS = 20_000, 1 << 20
"""Steps of all rows of a piece, and numbers that are made of them at a time: they stay in the processor's cache."""


class Rocket(Model):
    accepts = frozenset({"curve", "scalar", "id", "tokens"})
    needs = frozenset({"curve"})
    solves = True
    baseline = True
    ragged = True
    kernels: Any
    others: Any
    mean: Tensor
    weight: Tensor
    bias: Tensor

    @dataclass(frozen=True)
    class Config:
        features: int = 10_000
        """Of each column of curves, in whole multiples of 84; the paper's."""

        def __post_init__(self) -> None:
            within(self, {"features": (len(KERNELS), 1_000_000)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        curves, others = apart(schema, "curve")
        self.kernels = nn.ModuleDict({key: Kernels(each, config.features) for key, each in curves.items()})
        self.others = Flat(others, embed=False) if others.inputs else None
        own, beside = config.features // len(KERNELS) * len(KERNELS) * len(curves), self.others.size if others.inputs else 0
        # a column beside would be one among thousands: together they weigh as much as one of curves
        self.louder = (own / len(curves) / max(beside, 1)) ** 0.5
        self.register_buffer("mean", torch.zeros(own + beside))
        self.register_buffer("weight", torch.zeros(own + beside, head.size))
        self.register_buffer("bias", torch.zeros(head.size))

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.9

    def features(self, batch: Batch) -> Tensor:
        return torch.cat(list(self._pieces(batch)))

    def _pieces(self, batch: Batch) -> Iterator[Tensor]:
        """The features of some rows at a time."""
        longest = max(int(batch[key].lengths.max()) for key in self.kernels)
        rows = max(1, AT_ONCE // max(1, longest))
        for start in range(0, size_of(batch), rows):
            piece = piece_of(batch, start, start + rows)
            made = [kernels(*padded(piece[key])) for key, kernels in self.kernels.items()]
            yield torch.cat([*made, *([self.others(piece)] if self.others is not None else [])], 1)

    @torch.no_grad()
    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        if len(train) > MOST:
            say(f"rocket: solved from {MOST:,} of the {len(train):,} training rows")
        if ignored := [part.loss for part in self.head.parts if part.loss in ("mae", "huber")]:
            say(f"rocket: solved by squares; {ignored[0]} is not minimised")
        training = self.training
        self.eval()
        rows = train.thinned(MOST).whole()
        dice = torch.Generator().manual_seed(clock.seed)
        for key, kernels in self.kernels.items():
            kernels.fit(rows[key], dice)
        x = self.features(rows)
        self.mean.copy_(x.mean(0))
        spread = x.std(0, correction=0)
        spread = torch.where(spread > 1e-6, spread, 1.0)
        if self.others is not None:
            spread[-self.others.size :] /= self.louder
        weight, bias = ridge.solved(x.sub_(self.mean).div_(spread), [truth(rows, part) for part in self.head.parts], self.head)
        self.weight.copy_(weight / spread.unsqueeze(1))
        self.bias.copy_(bias)
        self.train(training)

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat([(x - self.mean) @ self.weight for x in self._pieces(batch)]) + self.bias


class Kernels(nn.Module):
    """(B, T, C), which steps are there (B, T) -> shares of steps (B, kernels x thresholds)."""

    thresholds: Tensor
    channels: Tensor
    places: Tensor

    def __init__(self, field: Field, features: int):
        super().__init__()
        self.dilations = _dilations(field.length, features // len(KERNELS))
        self.register_buffer("thresholds", torch.zeros(len(KERNELS), features // len(KERNELS)))
        self.register_buffer("places", torch.tensor(KERNELS), persistent=False)
        # which channels a kernel adds up at each dilation; the number behind the last one is none
        few = torch.arange(min(field.size, WIDTH)).expand(len(self.dilations), len(KERNELS), -1)
        self.register_buffer("channels", few.clone())
        self.none = field.size

    def fit(self, rows: Any, dice: torch.Generator) -> None:
        """Of several channels each kernel gets a few, at most 9, one more often than many; its thresholds from a row of its own."""
        D, K, most = self.channels.shape
        if most > 1:
            few = (2 ** (torch.rand(D, K, 1, generator=dice) * np.log2(most + 1))).floor()
            drawn = torch.rand(D, K, self.none, generator=dice).argsort(2)[:, :, :most]
            self.channels.copy_(drawn.masked_fill(torch.arange(most) >= few, self.none))
        levels = torch.arange(1, self.thresholds.numel() + 1, dtype=torch.float64) * ((5**0.5 + 1) / 2) % 1  # spread evenly, however many
        full = rows.lengths.nonzero()[:, 0]
        start = 0
        for d, (dilation, n) in enumerate(self.dilations if len(full) else ()):
            drawn = full[torch.randint(len(full), (K,), generator=dice)]
            for k in range(K):
                y, valid = self._convolved(*self._shifted(*padded(rows[drawn[k : k + 1]]), dilation), d, slice(k, k + 1))
                first = start * K + k * n
                self.thresholds[k, start : start + n] = y[valid].double().quantile(levels[first : first + n]).float()
            start += n

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        shares, start = [], 0
        for d, (dilation, n) in enumerate(self.dilations):
            shifted = self._shifted(x, there, dilation)
            some = max(1, NUMBERS // (n * there.numel()))
            for k in range(0, len(KERNELS), some):
                y, valid = self._convolved(*shifted, d, slice(k, k + some))
                least = self.thresholds[k : k + some, start : start + n]
                above = y.new_empty(len(y), n, *there.shape)
                # as floats at once: three times as fast as counting what is true
                torch.gt(y.masked_fill(~valid, -torch.inf).unsqueeze(1), least[:, :, None, None], out=above)
                shares.append((above.sum(3) / valid.sum(2).unsqueeze(1)).flatten(0, 1))
            start += n
        return torch.cat(shares).T

    def _shifted(self, x: Tensor, there: Tensor, dilation: int) -> tuple[Tensor, Tensor, Tensor]:
        """(what stands under each weight (WIDTH, C + 1, B, T), the last channel zero; the steps that count for a kernel whose padding does,
        and for one whose does not (B, T) each): those at which it lies within the row, where there are any."""
        T, reach = there.shape[1], dilation * (WIDTH // 2)
        at, lengths = torch.arange(T, device=x.device), there.sum(1, keepdim=True)
        inner = there & (at >= reach) & (at < lengths - reach)
        inner = torch.where(inner.any(1, keepdim=True), inner, there)
        wide = F.pad(x.permute(2, 0, 1), (reach, reach, 0, 0, 0, 1))  # (C + 1, B, T + 2 reach)
        return torch.stack([wide[:, :, i * dilation : i * dilation + T] for i in range(WIDTH)]), there, inner

    def _convolved(self, under: Tensor, there: Tensor, inner: Tensor, d: int, which: slice) -> tuple[Tensor, Tensor]:
        """(what these kernels give at each step (k, B, T), the steps that count for each (k, B, T)): every other one counts the padding.

        By sums in a fixed order and not by a convolution of torch, whose last bits depend on what else is in the batch: a value at its own
        threshold would be counted or not.
        """
        ground = -sum(under[1:], under[0])  # (C + 1, B, T)
        i, j, m = self.places[which].unbind(1)
        each = [ground[c] + 3 * (under[i, c] + under[j, c] + under[m, c]) for c in self.channels[d, which].unbind(1)]
        even = (torch.arange(len(KERNELS), device=under.device)[which] + d) % 2 == 0
        return sum(each[1:], each[0]), torch.where(even[:, None, None], there, inner)


def _dilations(length: int, features: int) -> list[tuple[int, int]]:
    """[(dilation, thresholds of a kernel at it)]: at most DILATIONS, growing up to what fits a row of this length."""
    n = min(features, DILATIONS)
    most = max(0.0, np.log2(max(length - 1, 1) / (WIDTH - 1)))
    found, counts = np.unique(np.logspace(0, most, n, base=2).astype(int), return_counts=True)
    counts = counts * features // n
    counts[: features - counts.sum()] += 1
    return list(zip(found.tolist(), counts.tolist(), strict=True))
