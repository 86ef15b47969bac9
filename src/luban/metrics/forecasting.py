"""How good forecasts are. What each window has to say is added up once, by `errors`; a metric is a ratio of two sums over windows.

counts: (B, SUMS) what each sum is divided by; sums: (B, SUMS); w: (B, D) how often each of the B windows counts. A truth of NaN is a gap
and is not judged. The mean goes over all windows, series and steps, as in the papers on the ETT data and in the M4 competition
(Makridakis et al. 2020), so that figures can be compared with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray as Array

from luban.metrics import metric

SUMS = ("squared", "absolute", "symmetric", "scaled", "pinball")


def errors(z: tuple[Array, Array], y: Array, v: Array, levels: Sequence[float], bands: Array, naive: Array) -> tuple[Array, Array]:
    """(counts, sums), (B, SUMS) each, of B windows.

    z: truth and forecast (B, C, H) in the scale that squared and absolute errors are told in; y, v: the same in the user's units; bands:
    (B, Q, C, H) the forecast's quantiles at `levels`. naive: (B, C) how far the seasonal naive forecast is off in the history before the
    window, on average; 0 where that says nothing.
    """
    known = ~np.isnan(y)
    step = np.where(known, np.abs(z[1] - z[0]), 0.0)
    truth = np.where(known, y, 0.0)
    absolute, size = np.where(known, np.abs(v - truth), 0.0), np.abs(truth) + np.abs(v)
    symmetric = 200 * np.divide(absolute, size, out=np.zeros_like(absolute), where=size > 0)
    told = known & (naive > 0)[:, :, None]
    scaled = np.divide(absolute, naive[:, :, None], out=np.zeros_like(absolute), where=told)
    pinball = np.zeros_like(absolute)
    for level, band in zip(levels, bands.swapaxes(0, 1), strict=True):
        above = np.where(known, truth - band, 0.0)
        pinball += 2 / len(levels) * np.maximum(level * above, (level - 1) * above)
    sums, counts = (np.square(step), step, symmetric, scaled, pinball), (known, known, known, told, np.abs(truth))
    return tuple(np.stack([each.sum((1, 2), dtype=np.float64) for each in of], 1) for of in (counts, sums))  # type: ignore[return-value]


@metric("min")
def mse(counts: Array, sums: Array, w: Array) -> Array:
    """Mean squared error."""
    return _ratio("squared", counts, sums, w)


@metric("min")
def mae(counts: Array, sums: Array, w: Array) -> Array:
    """Mean absolute error."""
    return _ratio("absolute", counts, sums, w)


@metric("min")
def rmse(counts: Array, sums: Array, w: Array) -> Array:
    """Root of the mean squared error."""
    return np.sqrt(_ratio("squared", counts, sums, w))


@metric("min")
def smape(counts: Array, sums: Array, w: Array) -> Array:
    """Symmetric mean absolute percentage error, of 200, as in M4."""
    return _ratio("symmetric", counts, sums, w)


@metric("min")
def mase(counts: Array, sums: Array, w: Array) -> Array:
    """Mean absolute scaled error (Hyndman and Koehler 2006): 1 is as far off as the seasonal naive forecast in the history."""
    return _ratio("scaled", counts, sums, w)


@metric("min")
def wql(counts: Array, sums: Array, w: Array) -> Array:
    """Weighted quantile loss: twice the pinball loss, the mean over the quantiles, by the sum of the absolute values."""
    return _ratio("pinball", counts, sums, w)


def _ratio(name: str, counts: Array, sums: Array, w: Array) -> Array:
    i = SUMS.index(name)
    return (sums[:, i] @ w) / (counts[:, i] @ w)
