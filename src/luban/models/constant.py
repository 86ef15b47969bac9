"""The honest floor: always the same answer, learned from the targets alone. A model that does not beat it has learned nothing.

Classes get their shares, a value its mean; or its median where the loss is mae or huber, which is what those losses ask for (nearly,
for huber). It looks at no input, so that it takes any kind of column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples, size_of
from luban.core.contract import Clock, Head, Model, Part, Schema
from luban.layers.heads import log_odds, truth


class Constant(Model):
    accepts = frozenset({"scalar", "id", "tokens", "grid", "curve"})
    gives = Model.gives | {"masked"}
    solves = True
    baseline = True
    answer: Tensor

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.register_buffer("answer", torch.zeros(head.size))

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        rows = train.whole()
        self.answer.copy_(torch.tensor([number for part in self.head.parts for number in best_constant(rows, part)]))

    def forward(self, batch: Batch) -> Tensor:
        asked = batch["hidden"].sum() if "hidden" in batch else size_of(batch)
        return self.answer.expand(int(asked), -1)


def best_constant(train: Batch, part: Part) -> list[float]:
    """The one answer that suits the training rows best, as `part` wants it: logits or a number."""
    if part.kind == "masked":
        return list(log_odds(np.bincount(train[part.key].values.numpy(), minlength=part.size).tolist()))
    y, _ = truth(train, part)
    if part.kind == "value":
        return [float(np.mean(y) if part.loss in ("", "mse") else np.median(y))]
    if part.kind == "classes":
        return list(class_log_odds(y, part.size, part.weights))
    columns = y.T if part.kind == "labels" else [y]
    pairs = [class_log_odds(column, 2, part.weights if part.kind == "binary" else ()) for column in columns]
    return [yes - no for no, yes in pairs]


def class_log_odds(y: np.ndarray, size: int, weights: tuple[float, ...]) -> tuple[float, ...]:
    return log_odds((np.bincount(y, minlength=size) * np.array(weights or (1.0,) * size)).tolist())
