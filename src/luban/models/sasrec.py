"""SASRec (Kang and McAuley 2018, arXiv 1808.09781): a Transformer reads what a user had, in order; each place foretells the next item.

A user is a row, not a row for each of their events: all places are learned at once. The items' own vectors are the weights of the output.
The loss is a softmax over the true item and `negatives` others, drawn evenly and the same for all places of a batch: each stands for
(I - 1) / K items, so that the sum is, on average, that over the catalogue.

Most histories are short and few are long, so nothing is padded but in the products of attention, and there only to the longest row of a
group: rows of up to 8 places are one, up to 16, 32, ... another. On beauty an epoch takes half of the time of rows padded to the longest.
Letters: B rows, N places of all rows, T places of the longest, D width, H heads, I items with id 0, K negatives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from luban.core.batch import Batch, Ragged, cut, numbers_of
from luban.core.contract import Head, Schema
from luban.core.errors import UserError
from luban.layers.encoders import dropout
from luban.layers.ranked import Ranker, usual
from luban.layers.rules import within

SIZES = {"small": (1, 32), "base": (2, 64), "large": (2, 128)}
"""(layers, width)"""
EVENTS = 1000
"""Places a step, about: that many users make a batch."""
SHORT = 8
"""Rows up to so many places are padded to one length."""
LARGE = 50_000
"""Items from which only the rows of the table that a step has read are moved."""
LEAST = 10_000
"""Events in training below which it is only tried when asked for."""


class SASRec(Ranker):
    inner = True

    @dataclass(frozen=True)
    class Config:
        layers: int | None = None
        """Blocks, one on another: small 1, base and large 2."""
        width: int | None = None
        """Numbers an item: small 32, base 64, large 128."""
        heads: int | None = None
        """Attention heads; they must divide the width. Unset: heads of 32."""
        length: int | None = None
        """How many items are looked back on, at most. Unset: three times what the usual user had, between 50 and 200."""
        dropout: float = 0.3
        """Share of each block's output, and of the items' vectors, silenced in training."""
        negatives: int | None = None
        """Items drawn a step, against which the true ones are told apart. Unset: 512. From half of the catalogue on, all of it is taken."""

        def __post_init__(self) -> None:
            within(self, {"layers": (1, 100), "width": (2, 16_384), "heads": (1, 256), "length": (1, 10_000), "dropout": (0.0, 0.9),
                          "negatives": (1, 1_000_000)})  # fmt: skip
            if self.heads and self.width and self.width % self.heads:
                raise UserError(f"model.width must be a multiple of model.heads = {self.heads}, not {self.width}.")

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        D = config.width
        self.usual = usual(schema)
        self.all = 2 * config.negatives >= self.items - 1
        self.item = nn.Embedding(self.items, D, sparse=self.items > LARGE and not self.all)
        self.places = nn.Parameter(torch.empty(config.length, D))
        self.blocks = nn.ModuleList(Block(D, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(D)
        for weight in (self.item.weight, self.places):
            nn.init.normal_(weight, std=0.02)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """Where enough was had, and what comes next is asked for; the slowest of its kind, and so the last that is tried."""
        return 0.5 if usual(schema) * n_rows >= LEAST and head.parts[0].loss != "any" else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        layers, width = SIZES[size]
        width, events = config.width or width, usual(schema)
        heads = config.heads or next(heads for heads in range(max(1, width // 32), 0, -1) if width % heads == 0)
        planned = replace(config, layers=config.layers or layers, width=width, heads=heads, negatives=config.negatives or 512,
                          length=config.length or int(min(200, max(50, 3 * events))))  # fmt: skip
        train = {"batch_size": int(min(512, max(4, EVENTS / events))), "epochs": 60, "lr": 1e-3, "optimizer": "adamw", "weight_decay": 0.0,
                 "schedule": "constant", "warmup": 0.0, "clip": 0.0, "ema": 0.0, "patience": 2, "precision": "fp32"}  # fmt: skip
        return planned, train, {"model.length": "three times a usual history, 50 to 200", "train.batch_size": f"some {EVENTS:,} events"}

    # ---------------------------------------------------------------- training

    def loss(self, batch: Batch) -> Tensor:
        rows = pieces(batch["history"], self.config.length + 1)
        if not len(rows):
            return 0.0 * self.places.sum()  # nobody had two items
        inside = torch.ones(2, len(rows.values), dtype=torch.bool, device=rows.values.device)
        inside[0, rows.offsets[1:] - 1] = False  # the last foretells nothing,
        inside[1, rows.offsets[:-1]] = False  # the first is not foretold
        y = rows.values[inside[1]]
        x = Ragged(rows.values[inside[0]], rows.offsets - torch.arange(len(rows.offsets), device=y.device))
        if self.all:
            z = self.states(x, self.item(x.values))
            return F.cross_entropy((z @ self.item.weight.T)[:, 1:].float(), y - 1)
        K = self.config.negatives
        other = torch.randint(1, self.items, (K,), device=y.device)
        vectors = self.item(torch.cat([x.values, y, other]))  # one lookup: its gradient costs a pass over the table
        before, true, false = vectors.split([len(y), len(y), K])
        z = self.states(x, before)
        scores = (z @ false.T).float().masked_fill(y.unsqueeze(1) == other, -1e4)  # (N, K); a true item is no negative
        return F.softplus(scores.logsumexp(1) + math.log((self.items - 1) / K) - (z * true).sum(1)).mean()

    # ---------------------------------------------------------------- scoring

    def scores(self, batch: Batch) -> Tensor:
        return self.user_side(batch) @ self.item.weight.T

    def item_side(self, ids: Tensor) -> Tensor:
        return self.item(ids)

    def user_side(self, batch: Batch) -> Tensor:
        history: Ragged = batch["history"]
        rows = torch.nonzero(history.lengths).squeeze(1)
        rows = rows[history.lengths[rows].argsort(stable=True)]
        length = history.lengths[rows].clamp(max=self.config.length)
        x = cut(history.values, history.offsets[1:][rows] - length, length)
        z = self.item.weight.new_zeros(len(history), self.config.width)
        if len(rows):
            z[rows] = self.states(x, self.item(x.values))[x.offsets[1:] - 1]
        return z

    def states(self, rows: Ragged, vectors: Tensor) -> Tensor:
        """(N, D): what each place of the rows, the shortest first, expects next. vectors: (N, D), those of their items."""
        place = torch.arange(len(rows.values), device=vectors.device) - rows.offsets[:-1].repeat_interleave(rows.lengths)
        x = dropout(vectors * math.sqrt(self.config.width) + self.places[place], self.config.dropout if self.training else 0.0)
        alike = groups(rows, place)
        for block in self.blocks:
            x = block(x, alike)
        return self.norm(x)

    def flops(self) -> float:
        """Of a user as long as the usual one, in training."""
        c = self.config
        each = 2.0 * sum(p.numel() for p in self.blocks.parameters()) + 4.0 * c.layers * c.width * min(self.usual, c.length)
        return self.usual * (each + 2.0 * c.width * (self.items if self.all else c.negatives))


class Block(nn.Module):
    """x + attention to what came before, then x + a perceptron; normalised before each."""

    def __init__(self, D: int, heads: int, dropout: float):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.mix, self.up, self.down = nn.Linear(D, 3 * D), nn.Linear(D, D), nn.Linear(D, D), nn.Linear(D, D)
        for linear in (self.qkv, self.mix, self.up, self.down):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, alike: list[Group]) -> Tensor:
        p = self.dropout if self.training else 0.0
        x = x + dropout(self.mix(self._attend(self.qkv(self.before(x)), alike)), p)
        return x + dropout(self.down(F.gelu(self.up(self.between(x)))), p)

    def _attend(self, qkv: Tensor, alike: list[Group]) -> Tensor:
        found = []
        for start, stop, B, T, at in alike:
            rows = qkv.new_zeros(B * T, qkv.shape[1]).index_copy(0, at, qkv[start:stop])
            q, k, v = rows.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, H, T, D / H) each
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # what is padded stands behind, where nobody looks
            found.append(y.transpose(1, 2).reshape(B * T, -1).index_select(0, at))
        return torch.cat(found)


class Group(NamedTuple):
    """Neighbouring rows of about one length: their places [start, stop) of all, how many rows, the longest, and where each place lies in
    (rows * longest)."""

    start: int
    stop: int
    rows: int
    longest: int
    at: Tensor


def groups(rows: Ragged, place: Tensor) -> list[Group]:
    """Of rows that come the shortest first. place: (N,), that of each in its row."""
    owner, lengths, ends, found, first = rows.owners, rows.lengths.tolist(), rows.offsets.tolist(), [], 0
    while first < len(lengths):
        most = max(SHORT, 1 << (lengths[first] - 1).bit_length())
        n = int(torch.searchsorted(rows.lengths, most, right=True)) - first
        T, here = lengths[first + n - 1], slice(ends[first], ends[first + n])
        found.append(Group(here.start, here.stop, n, T, (owner[here] - first) * T + place[here]))
        first += n
    return found


def pieces(history: Ragged, most: int) -> Ragged:
    """Histories of two items or more, the shortest first; of those longer than `most`, pieces from the end, each of which begins with the
    last item of the one before it."""
    long = history.lengths - 1
    count = -(-long.clamp(min=0) // (most - 1))
    number = numbers_of(torch.zeros_like(count), count).values
    owner = torch.arange(len(history), device=count.device).repeat_interleave(count)
    stop = history.offsets[1:][owner] - number * (most - 1)
    start = torch.maximum(stop - most, history.offsets[:-1][owner])
    order = (stop - start).argsort(stable=True)
    return cut(history.values, start[order], (stop - start)[order])
