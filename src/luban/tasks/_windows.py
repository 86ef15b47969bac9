"""Windows of series as tensors: gaps filled, forecasts appended, the season that a step suggests. Letters as in forecast.py."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core.batch import Batch


def before(which: Tensor) -> Tensor:
    """(N + 1,): how many of the rows before each are so."""
    return F.pad(which.cumsum(0), (1, 0))


def filled(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """(windows (B, L) without gaps, which of them knew nothing at all (B, 1), None where there is no gap).

    A gap takes the value before it; at the start of a window the first known, which is past as well, whatever lies before the window, so
    that training sees what a question shows. Where nothing is known it is 0, the mean.
    """
    gap = x.isnan()
    if not gap.any():
        return x, None
    known = torch.where(gap, 0, torch.arange(x.shape[1])).cummax(1).values
    first = (~gap).int().argmax(1, keepdim=True)
    return x.gather(1, known.maximum(first)).nan_to_num(0.0), gap.all(1, keepdim=True)


def rolled(window: Batch, made: Tensor) -> Batch:
    """The window with its own forecast (B, C, H) appended; stamps go on by their median step."""
    C, L, H = made.shape[1], window["c0"].shape[1], made.shape[2]
    later = {f"c{i}": made[:, i] for i in range(C)}
    if f"c{C}" in window:
        stamps = window[f"c{C}"]
        later[f"c{C}"] = stamps[:, -1:] + stamps.diff().median(1, keepdim=True).values * torch.arange(1, H + 1, device=stamps.device)
    return {key: torch.cat([window[key], later[key]], 1)[:, -L:] for key in window}


def usual_season(moment: Any) -> int:
    """Steps of a year of months or quarters, of a week of days, of a day of anything shorter; else 1."""
    day = 86_400_000_000
    if moment.form == "number" or moment.months:
        return {1: 12, 3: 4}.get(moment.months, 1)
    if moment.step == day:
        return 7
    return day // moment.step if day % moment.step == 0 else 1


def words(moment: Any, stamps: Tensor) -> list:
    """As users write them: ISO dates, with a time of day where there was one, or whole numbers."""
    return [each if isinstance(each, int) else str(each) for each in moment.decode(stamps)]
