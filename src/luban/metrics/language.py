"""How well passages are foretold. y: (N,) the true tokens; v: (N,) the nats that each cost, -log p(true token).

A token is whatever the task's field makes of the writing: figures of characters and of words cannot be compared.
"""

from __future__ import annotations

import math

from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def loss(y: Array, v: Array) -> float | None:
    """Cross-entropy in nats a token: the figure that language models are trained by."""
    return float(v.mean(dtype="float64"))


@metric("min")
def bits(y: Array, v: Array) -> float | None:
    """The same in bits a token."""
    return float(v.mean(dtype="float64")) / math.log(2)


@metric("min")
def perplexity(y: Array, v: Array) -> float | None:
    """exp(loss): among how many equally likely tokens the model might as well choose."""
    mean = float(v.mean(dtype="float64"))
    return math.exp(mean) if mean < 700 else None
