"""Schedules: their shapes, their ends, and that they depend on nothing but where the run is."""

from __future__ import annotations

import pytest

from luban.core.errors import UserError
from luban.optim.schedules import CURVES, multiplier

TOTAL = 1000


def curve(name: str, warmup: float = 0.0, total: int = TOTAL) -> list[float]:
    return [multiplier(name, step, total, warmup) for step in range(total)]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_within_bounds_and_reaches_the_peak(name, warmup):
    values = curve(name, warmup)
    assert min(values) > 0 and max(values) == pytest.approx(1, abs=0.01) and max(values) <= 1
    assert values == [multiplier(name, step, TOTAL, warmup) for step in reversed(range(TOTAL))][::-1]  # no memory


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_and_the_step_after_the_last(name, total):
    assert all(0 < value <= 1 for value in curve(name, 0.1, total))
    assert 0 <= multiplier(name, total + 5, total, 0.1) <= 1


def test_warmup_rises_linearly():
    values = curve("constant", 0.1)
    assert values[0] == pytest.approx(0.01) and values[49] == pytest.approx(0.5)
    assert values[99] == pytest.approx(1) and set(values[100:]) == {1.0}


def test_shapes():
    assert set(curve("constant")) == {1.0}
    assert sorted(set(curve("step")), reverse=True) == pytest.approx([1, 0.1, 0.01])
    assert curve("step")[333] == 1 and curve("step")[334] == pytest.approx(0.1)
    assert curve("cosine")[0] == 1 and curve("cosine")[500] == pytest.approx(0.5) and curve("cosine")[-1] < 1e-5
    assert set(curve("wsd")[:600]) == {1.0} and curve("wsd")[800] == pytest.approx(0.5) and curve("wsd")[-1] < 0.01


def test_onecycle_starts_low_and_peaks_where_the_warmup_ends():
    values = curve("onecycle")
    assert values[0] == pytest.approx(1 / 25) and max(values) == values[300] == 1 and values[-1] < 1e-4
    shifted = curve("onecycle", 0.1)
    assert max(shifted) == shifted[100]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="Did you mean 'cosine'"):
        multiplier("cosin", 0, 10)
    with pytest.raises(UserError, match="warmup is the share"):
        multiplier("wsd", 0, 10, 5)
