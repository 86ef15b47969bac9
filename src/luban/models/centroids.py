"""The class whose mean picture is nearest: an honest floor for pictures, and the means themselves show what there is to see.

The distance is that of the pixels, so it knows nothing of shapes. Minus the squared distance, times one number so that the answers are
as sure as the training pictures warrant, is a logit; and since |x|^2 is the same for all classes, it is linear in x.
Letters: B pictures, D pixels, C classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Part, Schema
from luban.layers.fused import as_pictures, the_picture
from luban.layers.heads import truth
from luban.layers.pictures import Pixels

PIECE = 4096
"""Pictures that are floats at a time."""
NEVER = -20.0
"""Logit of a class without a training picture."""


class Centroids(Model):
    accepts = frozenset({"grid"})
    gives = frozenset({"classes", "binary"})
    solves = True
    baseline = True
    weight: Tensor
    bias: Tensor

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, field = the_picture(schema)
        self.pixels = Pixels(field)
        D = torch.Size(field.shape).numel()
        self.register_buffer("weight", torch.zeros(D, head.size))
        self.register_buffer("bias", torch.zeros(head.size))

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        solved = [self._solve_part(train, part) for part in self.head.parts]
        self.weight.copy_(torch.cat([weight for weight, _ in solved], 1))
        self.bias.copy_(torch.cat([bias for _, bias in solved]))

    def forward(self, batch: Batch) -> Tensor:
        return self._flat(batch) @ self.weight + self.bias

    def show(self, batch: Batch) -> dict[str, Tensor]:
        """The weight of each pixel for each class: its mean picture."""
        return {"what each class looks like on average": as_pictures(self.weight.T.view(-1, *self.pixels.shape))}

    def _flat(self, batch: Batch) -> Tensor:
        return self.pixels(batch[self.key]).flatten(1)  # (B, D)

    def _solve_part(self, train: Examples, part: Part) -> tuple[Tensor, Tensor]:
        """(weight (D, size), bias (size,))."""
        C = max(2, part.size)
        total, count = torch.zeros(C, len(self.weight)), torch.zeros(C)
        for x, y in self._labelled(train, part):
            total.index_add_(0, y, x)
            count += torch.bincount(y, minlength=C)
        means = total / count.clamp(min=1).unsqueeze(1)
        weight, bias = 2 * means.T, -means.square().sum(1)
        pieces = [(x @ weight + bias, y) for x, y in self._labelled(train, part)]
        z, y = torch.cat([z for z, _ in pieces])[:, count > 0], torch.cat([y for _, y in pieces])
        y = (count > 0).cumsum(0)[y] - 1  # among the classes that there are
        sure = min((10.0**-k for k in torch.arange(0, 6, 0.25).tolist()), key=lambda s: float(F.cross_entropy(s * z, y)))
        weight, bias = sure * weight, torch.where(count > 0, sure * bias, NEVER)
        return (weight, bias) if part.size == C else (weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1])

    def _labelled(self, train: Examples, part: Part):
        """(pixels (B, D), class (B,)) of the examples that have an answer, piece by piece."""
        for batch in train.pieces(PIECE):
            y, rows = truth(batch, part)
            yield self._flat(batch)[torch.from_numpy(rows)], torch.from_numpy(y)
