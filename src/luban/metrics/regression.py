"""How good predicted numbers are. y: (N,) truth; v: (N,) prediction; both in the user's units, and so are the errors."""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.core.registry import Later
from luban.metrics import metric

sk = Later("sklearn.metrics")


@metric("min")
def rmse(y: Array, v: Array) -> float | None:
    """Root mean squared error."""
    return float(np.sqrt(np.mean(np.square(y - v))))


@metric("min")
def mae(y: Array, v: Array) -> float | None:
    """Mean absolute error."""
    return sk.mean_absolute_error(y, v)


@metric("max")
def r2(y: Array, v: Array) -> float | None:
    """Share of the variance that is explained: 1 perfect, 0 as good as the mean. No value where the truth is constant."""
    return sk.r2_score(y, v) if np.ptp(y) > 0 else None


@metric("min")
def mse(y: Array, v: Array) -> float | None:
    """Mean squared error."""
    return sk.mean_squared_error(y, v)


@metric("min")
def median_ae(y: Array, v: Array) -> float | None:
    """Median absolute error: half of the predictions are nearer than this."""
    return sk.median_absolute_error(y, v)


@metric("min")
def mape(y: Array, v: Array) -> float | None:
    """Mean absolute error as a share of the truth (.1 = 10 %). No value where a truth is 0: it would be a number without meaning."""
    zero = np.abs(y) < 1e-6 * np.abs(y).max()  # a 0 that went through a float32 z-score comes back as about 1e-8 of the scale
    return None if zero.any() else sk.mean_absolute_percentage_error(y, v)
