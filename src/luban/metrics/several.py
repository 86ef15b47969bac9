"""How good the answers to several questions are together; made of the metrics of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray as Array

from luban.metrics import direction, metric


@metric("max")
def mean_skill(reference: Mapping[str, Array], reached: Mapping[str, Array]) -> Array:
    """Mean over the targets of (reached - reference) / (perfect - reference), the skill score of Murphy 1988; (D,), for D samples of rows.

    Both map a metric of each target to its values (D,); the reference is that of the best constant answer. 1 is perfect, 0 no better than
    a constant, whatever the metric and its units. Perfect is 1 for a metric to be maximised and 0 for an error. NaN where there is none.
    """
    total, held = np.zeros(1), np.zeros(1)
    for name in [each for each in reference if each in reached]:  # in one order: a sum follows from it, to the last bit
        perfect = 1.0 if direction(name) == "max" else 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            skill = (reached[name] - reference[name]) / (perfect - reference[name])
        useful = np.isfinite(skill)  # a constant truth: there is nothing to be skilful about
        total, held = total + np.where(useful, skill, 0.0), held + useful
    return np.where(held > 0, total / np.maximum(held, 1), np.nan)
