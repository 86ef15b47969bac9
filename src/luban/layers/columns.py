"""Columns side by side: a Batch of scalars, ids, tokens and pictures becomes one float matrix (B, F), whatever the columns were.

It knows a column by its kind, size, shape, edges and has_missing, never by its name or its field. Letters: B examples, F features,
N numbers with edges, T bins, D the width of a number's embedding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Ragged
from luban.core.contract import Field, Schema
from luban.layers.pictures import Pixels

BINS = 512
"""Where a matrix must stay narrow, ids and tokens beyond this share a column; 512 float32 are 2 KB a row."""
UNKNOWN = 0.03
"""Share of the training ids that are replaced by 0, "never seen"; without it the 0 is never trained. Adult with all ids unseen at
test: mean confidence .853 for .837 right answers at 0, .832 for .843 at .03, .832 for .843 at .10. Accuracy as it is: .8745, .8738, .8739.
"""
JOINED = 1024
"""Width of the layer where other columns meet the features, at most."""
ONE_HOT = 32
"""Ids with at most so many values are spelled out one-hot, exact and cheap; beyond, an embedding is narrower than that."""


def numbers(batch: dict[str, Any], fields: dict[str, Field]) -> Tensor:
    """Scalars with NaN -> 0 (the mean, as they are z-scored), then a 0/1 flag for each column that had missing values: (B, F)."""
    columns = {key: batch[key].reshape(len(batch[key]), -1) for key in fields}
    flags = [columns[key][:, :1].isnan().float() for key, field in fields.items() if field.has_missing]
    return torch.cat([*(column.nan_to_num(nan=0.0) for column in columns.values()), *flags], 1)


def one_hot(ids: Tensor, sizes: list[int]) -> Tensor:
    """ids: (B, columns), column j below sizes[j]. All one-hots by a single scatter: (B, sum(sizes))."""
    starts = torch.tensor([0, *sizes[:-1]], device=ids.device).cumsum(0)
    return torch.zeros(len(ids), sum(sizes), device=ids.device).scatter_(1, ids + starts, 1.0)


def fold(ids: Tensor, size: int, bins: int = BINS) -> Tensor:
    """Ids below `size` as at most `bins` numbers: themselves if they fit, else by remainder, with 0 kept for the unknown."""
    return ids if size <= bins else torch.where(ids > 0, ids % (bins - 1) + 1, 0)


def frequencies(tokens: Ragged, size: int) -> Tensor:
    """The share of each (folded) token in its row: (B, min(size, BINS)); an empty row is all zeros."""
    lengths = tokens.offsets[1:] - tokens.offsets[:-1]
    row = torch.arange(len(tokens), device=lengths.device).repeat_interleave(lengths)
    width = min(size, BINS)
    # bincount adds whole numbers, so the order of adding cannot matter
    counts = torch.bincount(row * width + fold(tokens.values, size), minlength=len(tokens) * width).reshape(len(tokens), width)
    return counts / lengths.clamp(min=1).unsqueeze(1)


def embedding_width(size: int) -> int:
    """fastai's rule of thumb: 11 for 33 values, 64 from 730."""
    return min(64, round(1.6 * size**0.56))


def of_kind(schema: Schema, kind: str) -> dict[str, Field]:
    return {key: field for key, field in schema.inputs.items() if field.kind == kind}


def apart(schema: Schema, kind: str) -> tuple[dict[str, Field], Schema]:
    """(the inputs of a kind, all others)."""
    mine = of_kind(schema, kind)
    return mine, Schema({key: field for key, field in schema.inputs.items() if key not in mine}, {})


# ---------------------------------------------------------------- modules


class PiecewiseLinear(nn.Module):
    """Each number is embedded by how far it has climbed through the quantiles of its column: (B, N) -> (B, N * D).

    Gorishniy et al. 2022 (arXiv 2203.05556, eq. 1), in TabM's form (2410.24210, app. D): a linear embedding plus that of the bins,
    which starts at zero, so that training begins as if there were no bins. A number beyond the outer edges counts as the edge: a
    typo of 1e9 at prediction is answered like the largest value seen. NaN has an embedding of its own.
    """

    left: Tensor
    slope: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, edges: list[tuple[float, ...]], width: int, bins: int):
        super().__init__()
        edges = [thinned(each, bins) for each in edges]
        N, T = len(edges), max(len(each) for each in edges) - 1
        left, slope = torch.zeros(N, T), torch.zeros(N, T)  # a column with fewer bins leaves the rest at slope 0: they stay 0
        for i, each in enumerate(edges):
            e = torch.tensor(each, dtype=torch.float64)
            left[i, : len(e) - 1], slope[i, : len(e) - 1] = e[:-1], 1 / (e[1:] - e[:-1]).clamp(min=1e-30)
        self.register_buffer("left", left)
        self.register_buffer("slope", slope)
        self.register_buffer("low", torch.tensor([each[0] for each in edges]))
        self.register_buffer("high", torch.tensor([each[-1] for each in edges]))
        self.linear = nn.Parameter(torch.empty(N, width).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.empty(N, width).uniform_(-1, 1))
        self.bins = nn.Parameter(torch.zeros(N, T, width))
        self.missing = nn.Parameter(torch.zeros(N, width))

    def forward(self, x: Tensor) -> Tensor:
        missing = x.isnan().unsqueeze(2)  # (B, N, 1)
        x = x.nan_to_num(nan=0.0).clamp(self.low, self.high).unsqueeze(2)
        climbed = ((x - self.left) * self.slope).clamp(0, 1)  # (B, N, T)
        known = self.linear * x + self.bias + torch.einsum("bnt,ntd->bnd", climbed, self.bins)
        return torch.where(missing, self.missing, known).flatten(1)


def thinned(edges: tuple[float, ...], bins: int) -> tuple[float, ...]:
    """At most `bins` bins of about equal share, the outer edges kept."""
    picks = torch.linspace(0, len(edges) - 1, min(len(edges), bins + 1)).round().long()
    return tuple(edges[i] for i in picks.tolist())


class Flat(nn.Module):
    """Batch -> (B, size): numbers, one-hots, embeddings, means of tokens and pixels side by side.

    With `pieces` > 0 numbers that have edges are embedded to that width instead. With `embed` False nothing is learned here and the
    size follows from the schema alone: many ids and tokens fold into BINS columns.
    """

    def __init__(self, schema: Schema, pieces: int = 0, bins: int = 48, embed: bool = True):
        super().__init__()
        scalars, ids, tokens = of_kind(schema, "scalar"), of_kind(schema, "id"), of_kind(schema, "tokens")
        self.pieced = [key for key, field in scalars.items() if pieces and field.size == 1 and len(field.edges) > 1]
        self.plain = {key: field for key, field in scalars.items() if key not in self.pieced}
        self.piecewise = PiecewiseLinear([scalars[key].edges for key in self.pieced], pieces, bins) if self.pieced else None
        self.ids = {key: field.size for key, field in ids.items()}
        self.tokens = {key: field.size for key, field in tokens.items()}
        wide = [key for key, size in self.ids.items() if embed and size > ONE_HOT]
        self.spelled = [key for key in self.ids if key not in wide]
        self.tables = nn.ModuleDict({key: nn.Embedding(self.ids[key], embedding_width(self.ids[key])) for key in wide})
        self.bags = nn.ModuleDict(
            {key: nn.EmbeddingBag(size, embedding_width(size), mode="mean", include_last_offset=True) for key, size in self.tokens.items()}
            if embed else {}
        )  # fmt: skip
        self.pixels = nn.ModuleDict({key: Pixels(field) for key, field in of_kind(schema, "grid").items()})
        self.sections = [*[1] * sum(field.size + field.has_missing for field in self.plain.values()), *[pieces] * len(self.pieced),
                         *(min(self.ids[key], BINS) for key in self.spelled), *(embedding_width(self.ids[key]) for key in wide),
                         *(embedding_width(size) if embed else min(size, BINS) for key, size in self.tokens.items()),
                         *(math.prod(field.shape) for field in of_kind(schema, "grid").values())]  # fmt: skip
        self.size = sum(self.sections)

    def forward(self, batch: dict[str, Any]) -> Tensor:
        made = []
        if self.plain:
            made.append(numbers(batch, self.plain))
        if self.piecewise is not None:
            made.append(self.piecewise(torch.stack([batch[key].reshape(-1) for key in self.pieced], 1)))
        ids = {key: self._doubted(batch[key]) for key in self.ids}
        if self.spelled:
            sizes = [self.ids[key] for key in self.spelled]
            made.append(one_hot(torch.stack([fold(ids[key], self.ids[key]) for key in self.spelled], 1), [min(s, BINS) for s in sizes]))
        made += [table(ids[key]) for key, table in self.tables.items()]
        for key, size in self.tokens.items():
            made.append(self.bags[key](batch[key].values, batch[key].offsets) if self.bags else frequencies(batch[key], size))
        made += [pixels(batch[key]).flatten(1) for key, pixels in self.pixels.items()]
        return torch.cat(made, 1) if len(made) > 1 else made[0]

    def _doubted(self, ids: Tensor) -> Tensor:
        if not self.training or not UNKNOWN:
            return ids
        return ids.masked_fill(torch.rand(ids.shape, device=ids.device) < UNKNOWN, 0)


class Beside(nn.Module):
    """The other columns beside what a network made of one, (B, D) -> (B, size).

    features (B, D)               \\
                                    -> hidden (B, min(D, JOINED)), where there are other columns
    other columns -> Flat (B, F)  /

    Without other columns the features stay as they are. With `mixes` False there is no hidden layer: an output is linear in both.
    """

    def __init__(self, schema: Schema, key: str, width: int, mixes: bool = True):
        super().__init__()
        rest = {other: field for other, field in schema.inputs.items() if other != key}
        self.others = Flat(Schema(rest, {}), embed=mixes) if rest else None
        both = width + (self.others.size if self.others is not None else 0)
        wide = min(width, JOINED)
        self.joined = nn.Sequential(nn.Linear(both, wide), nn.ReLU()) if rest and mixes else nn.Identity()
        self.size = wide if rest and mixes else both

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        return self.joined(torch.cat([features, self.others(batch)], 1) if self.others is not None else features)
