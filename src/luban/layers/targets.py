"""Targets as the solved models want them: plain arrays with the rows that have no answer taken out.

The stepped models never come here, their loss is the task's. Whole numbers are ids, which begin at 1 (0: not a class of the training
rows); floats are the answers themselves, NaN where there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from luban.core.contract import Part


def truth(batch: dict[str, Any], part: Part) -> tuple[np.ndarray, np.ndarray]:
    """(answers, rows that have one): (n,) classes from 0 for classes and binary, (n, size) 0/1 for labels, (n,) numbers for a value."""
    tensor = batch[part.key].cpu()
    y = tensor.reshape(len(tensor), part.size if part.kind == "labels" else 1).double().numpy()
    if not tensor.is_floating_point() and part.kind != "labels":
        y = np.where(y > 0, y - 1, np.nan)
    rows = np.flatnonzero(~np.isnan(y).any(1))
    y = y[rows] if part.kind == "value" else y[rows].astype(np.int64)
    return (y if part.kind == "labels" else y[:, 0]), rows
