"""Learning-rate schedules: pure functions of where the run is, so that a resumed run goes on as if it had never stopped.

`multiplier(name, step, total, warmup)` is what the learning rate is multiplied with at `step` (from 0) of `total`, in [0, 1].
Each curve below takes x in [0, 1], the share of the run after the warm-up that is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from luban.core.errors import UserError, did_you_mean, listed

COOLDOWN = 0.4
"""wsd: share of the run spent going down. 40-45 % was best in the comparisons of the GPT-2 speed runs; 20 % is the usual least."""

RISE = 0.3
"""onecycle: share of the run spent going up, where no warm-up is given (Smith 2018; torch's OneCycleLR has the same)."""


def constant(x: float) -> float:
    return 1.0


def step(x: float) -> float:
    """A tenth after each third (He et al. 2016: divided by 10 at about half and three quarters)."""
    return 0.1 ** min(int(3 * x), 2)


def cosine(x: float) -> float:
    """Loshchilov and Hutter 2017, eq. (5), one period, down to 0."""
    return 0.5 * (1 + math.cos(math.pi * x))


def wsd(x: float) -> float:
    """Warm up, stay, decay linearly to 0 (Hu et al. 2024, MiniCPM): one may stop or go on anywhere in the flat part."""
    return min(1.0, (1 - x) / COOLDOWN)


CURVES: dict[str, Callable[[float], float]] = {"constant": constant, "step": step, "cosine": cosine, "onecycle": cosine, "wsd": wsd}


def multiplier(name: str, step: float, total: float, warmup: float = 0.0) -> float:
    """The share of the peak learning rate at `step` of `total`. warmup: share of the run spent going up linearly.

    onecycle goes up along a cosine from 1/25 and comes down along a cosine to 0; its warm-up is RISE where none is given.
    The step after the last (a run that is prolonged without a new total) keeps the last value.
    """
    if name not in CURVES:
        raise UserError(f"there is no schedule {name!r}.{did_you_mean(name, CURVES)} There are: {listed(CURVES)}.")
    if not 0 <= warmup < 1:
        raise UserError(f"warmup is the share of the run spent warming up, at least 0 and below 1, not {warmup!r}.")
    rise = (warmup or RISE if name == "onecycle" else warmup) * total
    if step < rise:
        if name == "onecycle":
            return 1 - (1 - 1 / 25) * cosine(step / rise)
        return min(1.0, (step + 1) / rise)  # + 1: the first step should do something
    return CURVES[name](min(1.0, (step - rise) / max(total - rise, 1)))
