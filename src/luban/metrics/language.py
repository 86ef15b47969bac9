"""How well passages are foretold. y: (B, T) the true tokens; v: (B, T) the nats that each cost, -log p(true token); w: (B, D) how
often each window counts. Tokens that training never had, 0, are not judged: what they cost says nothing but that.

A token is whatever the task's field makes of the writing: figures of characters and of words cannot be compared.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def loss(y: Array, v: Array, w: Array) -> Array:
    """Cross-entropy in nats a token: the figure that language models are trained by."""
    known = y > 0
    return (np.where(known, v, 0.0).sum(1, dtype=np.float64) @ w) / (known.sum(1).astype(np.float64) @ w)


@metric("min")
def bits(y: Array, v: Array, w: Array) -> Array:
    """The same in bits a token."""
    return loss(y, v, w) / math.log(2)


@metric("min")
def perplexity(y: Array, v: Array, w: Array) -> Array:
    """exp(loss): among how many equally likely tokens the model might as well choose."""
    return np.exp(loss(y, v, w))
