"""How good the answers to several questions are together; made of the metrics of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from luban.metrics import direction, metric


@metric("max")
def mean_skill(reference: Mapping[str, float], reached: Mapping[str, float]) -> float | None:
    """Mean over the targets of (reached - reference) / (perfect - reference), the skill score of Murphy 1988.

    Both map a metric of each target to its value; the reference is that of the best constant answer. 1 is perfect, 0 no better than
    a constant, whatever the metric and its units. Perfect is 1 for a metric to be maximised and 0 for an error.
    """
    skills = []
    for name in reference.keys() & reached.keys():
        perfect = 1.0 if direction(name) == "max" else 0.0
        if reference[name] != perfect:  # a constant truth: there is nothing to be skilful about
            skills.append((reached[name] - reference[name]) / (perfect - reference[name]))
    return float(np.mean(skills)) if skills else None
