"""Dates in the usual notations, exact to the second there and back."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from luban.core import config as configs
from luban.core.errors import UserError
from luban.fields.date import Date, read


def fit(values, **options) -> Date:
    return Date(("c",), configs.build(Date.Config, options)).fit([pl.Series("c", values)])


@pytest.mark.parametrize("cell, moment", [
    ("2024-01-05", (2024, 1, 5)), ("2024/1/5", (2024, 1, 5)), ("2024.1.5", (2024, 1, 5)), ("2024年1月5日", (2024, 1, 5)),
    ("2024-01", (2024, 1, 1)), ("2024年1月", (2024, 1, 1)), ("20240105", (2024, 1, 5)), ("05.01.2024", (2024, 1, 5)),
    ("2024-01-05 03:04", (2024, 1, 5, 3, 4)), ("2024-01-05T03:04:05", (2024, 1, 5, 3, 4, 5)), ("20240105T030405Z", (2024, 1, 5, 3, 4, 5)),
    ("2024-01-05 03:04:05.678", (2024, 1, 5, 3, 4, 5)), ("2024-01-05T03:04:05.678901Z", (2024, 1, 5, 3, 4, 5)),
    ("2024-01-05T03:04:05+08:00", (2024, 1, 4, 19, 4, 5)), ("2024-01-05 03:04:05-0530", (2024, 1, 5, 8, 34, 5)),
    ("2024-01-05 03:04:05+08", (2024, 1, 4, 19, 4, 5)), ("2024年1月5日 3时4分", (2024, 1, 5, 3, 4)),
    ("2024/1/5 23:59:59", (2024, 1, 5, 23, 59, 59)),
    ("1/5/2024 3:04 PM", (2024, 1, 5, 15, 4)), ("1/5/2024 12:04 AM", (2024, 1, 5, 0, 4)), ("1/5/24", (2024, 1, 5)),
    ("1/5/70", (1970, 1, 5)),
    ("2024-02-30", None), ("2024-13-01", None), ("24-01-05", None), ("24-01-05 01:02:03", None), ("2024", None), ("2024.5", None),
    ("1704412800", None), ("12345678", None), ("5.1.10", None), ("10:30", None), ("2024-01-05 25:00", None), ("x2024-01-05", None),
])  # fmt: skip
def test_notations(cell, moment):
    assert read(pl.Series([cell]), day_first=False).to_list() == [datetime(*moment) if moment else None]


def test_day_or_month_first():
    assert fit(["13/01/2024", "05/01/2024"]).day_first and not fit(["01/13/2024", "05/01/2024"]).day_first
    unsure = fit(["05/01/2024", "03/02/2024"])
    assert not unsure.day_first and "'05/01/2024' is read month first" in unsure.doubts[0]
    told = fit(["05/01/2024"], day_first=True)
    assert told.decode(told.encode(pl.Series(["05/01/2024"]))) == [date(2024, 1, 5)] and not told.doubts
    assert not fit(["05/05/2024", "2024-01-02"]).doubts


def test_exact_to_the_second_over_all_years():
    rng = np.random.default_rng(0)
    moments = [datetime(1, 1, 1) + timedelta(int(day), int(second)) for day, second in zip(rng.integers(0, 3_652_059, 20_000),
               rng.integers(0, 86_400, 20_000), strict=True)]  # fmt: skip
    field = fit(moments)
    assert field.size == 9
    assert field.decode(field.encode(pl.Series(moments))) == moments


def test_dates_only_leave_the_clock_out():
    for days in ([date(2024, 1, 5), date(2023, 1, 5)], ["2024-01-05", "2023-01-05"], [datetime(2024, 1, 5), datetime(2023, 1, 5)]):
        field = fit(days)
        assert field.size == 6
        assert field.decode(field.encode(pl.Series(["2024-01-05 10:00:00"]))) == [date(2024, 1, 5)]


def test_calendar_parts():
    x = fit([datetime(2024, 1, 1, 6), datetime(2024, 7, 3, 18)]).encode(pl.Series([datetime(2024, 7, 1, 18)]))  # a Monday
    assert x[0, 1:].tolist() == pytest.approx([1 / 31, 0, -1, 0, 1, 0.75, -1, 0], abs=1e-6)
    assert fit([date(2024, 1, 5)]).encode(pl.Series([date(2024, 1, 5)]))[0, 0] == 0


def test_types_agree_and_zones_become_utc():
    stamps = pl.Series([datetime(2024, 1, 5, 12, 30)]).dt.replace_time_zone("Asia/Shanghai")
    field = fit(stamps)
    assert field.decode(field.encode(stamps)) == [datetime(2024, 1, 5, 4, 30)]
    for asked in ("2024-01-05T04:30:00Z", "2024-01-05 12:30:00+08:00", "2024/1/5 4:30"):
        assert torch.equal(field.encode(pl.Series([asked])), field.encode(stamps))
    assert torch.equal(field.encode(stamps.cast(pl.Datetime("ns", "UTC"))), field.encode(stamps))
    compact = fit(["20240105", "20231231"])
    assert torch.equal(compact.encode(pl.Series([20240105])), compact.encode(pl.Series(["2024-01-05"])))


def test_what_is_no_date():
    with pytest.raises(UserError, match="'c' should hold dates such as 2024-01-31, but row 2 has 'soon'"):
        fit(["2024-01-05"]).encode(pl.Series([None, "soon"]))
    field = fit(["2024-01-05", "soon"])
    assert field.encode(pl.Series(["later"])).isnan().all() and "row 2 has 'soon'" in field.doubts[0]
    assert field.decode(torch.full((1, 6), 1e9)) == [date(9999, 12, 31)]


def test_long_columns_are_read_a_spelling_at_a_time():
    """Of many items one below the other: 500 different days in a row, again and again."""
    some = [(date(2020, 1, 1) + timedelta(days=i)).isoformat() for i in range(500)]
    column = pl.Series(["soon", None, *some[2:]] + some * 39)
    whole = read(column, False)
    assert whole[0] is None and whole[1] is None and whole.null_count() == 2
    assert whole[500:1000].equals(read(pl.Series(some), False))
