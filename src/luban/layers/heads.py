"""What is answered: where outputs start, and the answers as the solved models want them.

Outputs start at the answer of the constant model, so that the first steps are not spent on learning the average. The stepped models never
ask for `truth`, their loss is the task's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luban.core.contract import Head, Part


def log_odds(counts: Sequence[float]) -> tuple[float, ...]:
    """Logits whose softmax is the share of each class, with one imagined example a class so that none is -inf."""
    total = sum(counts) + len(counts)
    return tuple(math.log((count + 1) / total) for count in counts)


def starting_bias(head: Head) -> Tensor:
    """(head.size,): the parts' own bias where they name one, else 0."""
    return torch.tensor([bias for part in head.parts for bias in part.bias or (0.0,) * part.size])


def output_layer(inputs: int, head: Head) -> nn.Linear:
    """The last layer: a plain nn.Linear that starts at `starting_bias`."""
    layer = nn.Linear(inputs, head.size)
    with torch.no_grad():
        layer.bias.copy_(starting_bias(head))
    return layer


def truth(batch: dict[str, Any], part: Part) -> tuple[np.ndarray, np.ndarray]:
    """(answers, rows that have one) as plain arrays: (n,) classes from 0 for classes and binary, (n, size) 0/1 for labels, (n,) numbers
    for a value. Whole numbers are ids from 1 (0: not a class of the training rows); floats are the answers themselves, NaN for none."""
    tensor = batch[part.key].cpu()
    y = tensor.reshape(len(tensor), part.size if part.kind == "labels" else 1).double().numpy()
    if not tensor.is_floating_point() and part.kind != "labels":
        y = np.where(y > 0, y - 1, np.nan)
    rows = np.flatnonzero(~np.isnan(y).any(1))
    y = y[rows] if part.kind == "value" else y[rows].astype(np.int64)
    return (y if part.kind == "labels" else y[:, 0]), rows
