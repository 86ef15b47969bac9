"""Moments: exact both ways, the usual step found, and time going on by it, in calendar months too."""

import json

import numpy as np
import polars as pl
import pytest

from luban.core.errors import UserError
from luban.fields.moment import MISSING, Moment


def fitted(values, day_first=None) -> Moment:
    return Moment(("时间",), Moment.Config(day_first)).fit([pl.Series("时间", values)])


def goes_on(values, n: int) -> list[str]:
    field = fitted(values)
    return [str(each) for each in field.decode(field.after(field.encode(pl.Series(values))[-1:], n))]


def test_microseconds_since_1970_or_the_number_itself():
    assert fitted(["1970-01-02", "1970-01-03"]).encode(pl.Series(["1970-01-02", None])).tolist() == [86_400_000_000, MISSING]
    assert fitted(["1969-12-31 23:59:59"]).encode(pl.Series(["1969-12-31T23:59:59Z"])).tolist() == [-1_000_000]
    assert fitted([2019, 2020]).encode(pl.Series(["2024", "2025.0"])).tolist() == [2024, 2025]
    assert fitted([1_704_412_800_000_000_001]).decode(fitted([1]).encode(pl.Series([1_704_412_800_000_000_001]))) == [
        1_704_412_800_000_000_001
    ]


@pytest.mark.parametrize("values, pace, later", [
    (["2024-02-27", "2024-02-28"], "1 day", ["2024-02-29", "2024-03-01"]),
    (["2016-12-31 22:00:00", "2016-12-31 23:00:00"], "1 hour", ["2017-01-01 00:00:00", "2017-01-01 01:00:00"]),
    (["2024-01-01 00:15", "2024-01-01 00:30"], "15 minutes", ["2024-01-01 00:45:00", "2024-01-01 01:00:00"]),
    (["2024年1月", "2024年2月", "2024年3月"], "1 month", ["2024-04-01", "2024-05-01"]),
    (["2023-12-31", "2024-01-31"], "1 month", ["2024-02-29", "2024-03-31"]),
    (["2023-12-31", "2024-03-31", "2024-06-30"], "3 months", ["2024-09-30", "2024-12-31"]),
    (["2020-02-01", "2021-02-01", "2022-02-01"], "12 months", ["2023-02-01", "2024-02-01"]),
    (["2024-01-01", "2024-01-29"], "28 days", ["2024-02-26", "2024-03-25"]),
    ([2019, 2020, 2021], "1", ["2022", "2023"]),
    (["0", "10"], "10", ["20", "30"]),
])  # fmt: skip
def test_time_goes_on_by_the_usual_step(values, pace, later):
    assert fitted(values).pace() == pace
    assert goes_on(values, 2) == later


def test_the_usual_step_survives_gaps_and_disorder():
    assert fitted(["2024-01-09", "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-03"]).pace() == "1 day"


def test_several_windows_go_on_together():
    field = fitted(["2024-01-31", "2024-02-29"])
    later = field.after(field.encode(pl.Series(["2024-02-29", "2024-04-30"])), 2)
    assert [str(each) for each in field.decode(later)] == ["2024-03-31", "2024-04-30", "2024-05-31", "2024-06-30"]


def test_imagined_moments_follow_each_other():
    made = fitted(["2024-01-31 12:00", "2024-01-31 13:00"]).imagine(3, np.random.default_rng(0))
    assert made == ["2024-01-31T13:00:00", "2024-01-31T14:00:00", "2024-01-31T15:00:00"]
    assert fitted([5]).imagine(2, np.random.default_rng(0)) == [6, 7]


def test_restored_it_goes_on_alike():
    field = fitted(["2023-11-30", "2023-12-31"])
    again = Moment(("时间",)).restore(json.loads(json.dumps(field.state())))
    stamps = field.encode(pl.Series(["2024-01-31"]))
    assert again.decode(again.after(stamps, 3)) == field.decode(field.after(stamps, 3))


def test_the_day_may_come_first():
    assert str(fitted(["01/02/2024"]).decode(fitted(["01/02/2024"], True).encode(pl.Series(["01/02/2024"])))[0]) == "2024-02-01"
    assert fitted(["01/02/2024", "02/02/2024"]).doubts == ["'01/02/2024' is read month first; else set day_first"]


def test_zones_are_told():
    assert fitted(["2024-01-01T08:00:00+08:00", "2024-01-01T09:00:00+08:00"]).doubts == ["time zones are read and told as UTC"]
    assert fitted(["2024-01-01", "2024-01-02"]).doubts == fitted(["2024-01-01 08:00", "2024-01-01 09:00"]).doubts == []


@pytest.mark.parametrize("values, odd", [(["2024-01-01", "2024-01-02"], "昨天"), ([1, 2], "2.5")])
def test_what_is_no_moment_is_refused_with_its_row(values, odd):
    with pytest.raises(UserError, match=f"'时间' should hold .* but row 2 has '{odd}'"):
        fitted(values).encode(pl.Series([str(values[0]), odd]))
    with pytest.raises(UserError, match=f"row 41 has '{odd}'"):
        fitted([*map(str, values * 20), odd])


def test_no_column_asks_for_it():
    assert Moment.sniff(pl.Series(["2024-01-01"])) == 0
