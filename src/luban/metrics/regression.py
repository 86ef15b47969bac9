"""How good predicted numbers are. y: (N,) truth; v: (N,) prediction; both in the user's units, and so are the errors. w: (N, D) how often
each row counts."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import mean, metric


@metric("min")
def rmse(y: Array, v: Array, w: Array) -> Array:
    """Root mean squared error."""
    return np.sqrt(mse(y, v, w))


@metric("min")
def mae(y: Array, v: Array, w: Array) -> Array:
    """Mean absolute error."""
    return mean(np.abs(y - v), w)


@metric("max")
def r2(y: Array, v: Array, w: Array) -> Array:
    """Share of the variance that is explained: 1 perfect, 0 as good as the mean. No value where the truth is constant."""
    far = y - y.mean()  # so that the difference below loses no digits
    spread = mean(far**2, w) - mean(far, w) ** 2
    return np.where((np.ptp(y) > 0) & (spread > 0), 1 - mse(y, v, w) / spread, np.nan)


@metric("min")
def mse(y: Array, v: Array, w: Array) -> Array:
    """Mean squared error."""
    return mean(np.square(y - v), w)


@metric("min")
def median_ae(y: Array, v: Array, w: Array) -> Array:
    """Median absolute error: half of the predictions are nearer than this."""
    errors = np.abs(y - v)
    order = np.argsort(errors)
    below = np.cumsum(w[order], 0)
    half = below[-1] / 2  # where as many lie below as above, the mean of the two in the middle
    return (errors[order[(below >= half).argmax(0)]] + errors[order[(below > half).argmax(0)]]) / 2


@metric("min")
def mape(y: Array, v: Array, w: Array) -> Array:
    """Mean absolute error as a share of the truth (.1 = 10 %). No value where a truth is 0: it would be a number without meaning."""
    zero = np.abs(y) < 1e-6 * np.abs(y).max()  # a 0 that went through a float32 z-score comes back as about 1e-8 of the scale
    return np.full(w.shape[1], np.nan) if zero.any() else mean(np.abs(y - v) / np.abs(y), w)
