"""How good forecasts are. y: (B, C, H) truth; v: (B, C, H) forecasts: B windows, C series, H steps; both z-scored by the training part.

A truth of NaN is a gap and is not judged. The mean goes over all windows, steps and series, as in the papers on the ETT data, so that
figures can be compared with theirs.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric


@metric("min")
def mse(y: Array, v: Array) -> float | None:
    """Mean squared error."""
    return _mean(np.square(v - y), y)


@metric("min")
def mae(y: Array, v: Array) -> float | None:
    """Mean absolute error."""
    return _mean(np.abs(v - y), y)


def _mean(errors: Array, y: Array) -> float | None:
    """Over what is known of y; None where nothing is. A forecast of NaN stays one."""
    known = ~np.isnan(y)
    return float(errors.mean(dtype=np.float64, where=known)) if known.any() else None
