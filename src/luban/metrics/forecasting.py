"""How good forecasts are. y: (B, C, H) truth; v: (B, C, H) forecasts: B windows, C series, H steps; both z-scored by the training part.

The mean goes over all windows, steps and series, as in the papers on the ETT data, so that figures can be compared with theirs.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def mse(y: Array, v: Array) -> float | None:
    """Mean squared error."""
    return float(np.square(v - y).mean(dtype=np.float64))


@metric("min")
def mae(y: Array, v: Array) -> float | None:
    """Mean absolute error."""
    return float(np.abs(v - y).mean(dtype=np.float64))
