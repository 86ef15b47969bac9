"""How good forecasts are. y: (B, C, H) truth; v: (B, C, H) forecasts: B windows, C series, H steps; both z-scored by the training part.
w: (B, D) how often each window counts.

A truth of NaN is a gap and is not judged. The mean goes over all windows, steps and series, as in the papers on the ETT data, so that
figures can be compared with theirs.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def mse(y: Array, v: Array, w: Array) -> Array:
    """Mean squared error."""
    return _mean(np.square(v - y), y, w)


@metric("min")
def mae(y: Array, v: Array, w: Array) -> Array:
    """Mean absolute error."""
    return _mean(np.abs(v - y), y, w)


def _mean(errors: Array, y: Array, w: Array) -> Array:
    """Over what is known of y; no value where nothing is. A forecast of NaN stays one."""
    known = ~np.isnan(y)
    aside = tuple(range(1, y.ndim))
    return (np.where(known, errors, 0.0).sum(aside, dtype=np.float64) @ w) / (known.sum(aside).astype(np.float64) @ w)
