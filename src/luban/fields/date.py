"""Dates and times of day as a z-scored day number and the cycles of the calendar; decodes exactly, to the second.

Read: ISO 8601 with or without a time, fraction and zone; 2024/1/5, 2024-01, 2024年1月5日, 20240105, 05.01.2024, 01/05/2024 3:04 PM,
1/5/24. Zones are converted to UTC and dropped; fractions of a second are dropped. Dots put the day first; slashes and dashes the
month, unless a value of the column can only be read otherwise. Seconds since 1970 are numbers here, not dates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field

DAY = 86_400
FIRST, LAST = -719_162, 2_932_896
"""Days from 1970 to the years 1 and 9999, where Python's calendar ends."""
CLOCK = (r"(?:[T\s]+(?P<H>\d{1,2})[:时](?P<M>\d{1,2})(?:[:分](?P<S>\d{1,2})(?:[.,]\d+)?秒?|分)?\s*(?P<p>[AaPp]\.?[Mm]\.?)?"
         r"\s*(?P<z>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?$")  # fmt: skip
FORMS = (
    r"^(?P<Y>\d{4})(?:[-/.年](?P<m>\d{1,2})[-/.月](?P<d>\d{1,2})日?|[-/年](?P<m1>\d{1,2})月?)" + CLOCK,
    r"^(?P<Y>(?:1[6-9]|20|21)\d\d)(?P<m>\d\d)(?P<d>\d\d)(?:T?(?P<H>\d\d)(?P<M>\d\d)(?P<S>\d\d)(?P<z>Z)?)?$",
    r"^(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<Y>\d{4})" + CLOCK,
    r"^(?P<a>\d{1,2})(?:[-/](?P<b>\d{1,2})[-/](?P<Y>\d{4})|/(?P<b1>\d{1,2})/(?P<y>\d{2}))" + CLOCK,
)


class Date(Field):
    kind = "scalar"

    @dataclass(frozen=True)
    class Config:
        day_first: bool | None = None
        """Is 01/05/2024 the first of May? Unset: the column decides, by a value that leaves no choice; else the month goes first."""

    mean = 0.0
    std = 1.0
    """Of the day number, days since 1970."""
    clock = False
    """Did any training value have a time of day? Without it the clock's columns are left out and times are ignored."""
    day_first = False
    missing = 0.0
    """Share of the training rows without a date."""
    lenient = False
    """Did training rows hold what is no date? Then it is missing later, too."""
    size = 6

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype in (pl.Date, pl.Datetime):
            return 1.0
        if column.dtype != pl.String and not column.dtype.is_integer():
            return 0.0
        text = cells.present(column, cells.BLANK)
        if not len(text) or read(text.head(100), False).count() + read(text.head(100), True).count() == 0:
            return 0.0  # most columns end here, for the price of a hundred rows
        share = max(read(text, day_first).count() for day_first in (False, True)) / len(text)
        return (0.9 if text.str.contains(r"^\d+$").any() else 0.95) if share >= 0.95 else 0.0

    def fit(self, chunks: Iterable[pl.Series]) -> Date:
        self.day_first = self._order(chunks) if self.config.day_first is None else self.config.day_first
        odd, rows, days = cells.Odd(self.columns[0], "dates such as 2024-01-31"), 0, []
        for column in chunks:
            times = read(column, self.day_first)
            odd.see(column, times)
            rows += len(column)
            seconds = times.drop_nulls().dt.epoch("s").to_numpy()
            days.append((seconds // DAY).astype(np.int32))
            self.clock = self.clock or bool((seconds % DAY).any())
        self.lenient = bool(odd.count)
        self.doubts += odd.doubts()
        known = np.concatenate(days).astype(np.float64)
        self.missing = 1 - len(known) / rows if rows else 0.0
        self.has_missing = len(known) < rows
        if len(known):
            self.mean, self.std = float(known.mean()), float(known.std()) or 1.0
        self.size = 9 if self.clock else 6
        return self

    def _order(self, chunks: Iterable[pl.Series]) -> bool:
        """Is the day first? Where each order reads as many values, nothing tells: the month is taken, and the doubt told."""
        counts, example = [0, 0], None
        for column in chunks:
            if column.dtype != pl.String:
                return False
            may = column.filter(column.str.contains(r"^\s*\d{1,2}[-/]").fill_null(False))  # of the others no order is in doubt
            readable = [read(may, day_first) for day_first in (False, True)]
            counts = [count + each.count() for count, each in zip(counts, readable, strict=True)]
            unlike = may.filter((readable[0] != readable[1]).fill_null(False))
            example = unlike[0] if example is None and len(unlike) else example
        if counts[0] == counts[1] and example is not None:
            name = self.columns[0]
            self.doubts.append(f"{example!r} is read month first; if the day is: --set 'fields.{name}={{field: date, day_first: true}}'")
        return counts[1] > counts[0]

    def encode(self, column: pl.Series) -> Tensor:
        """(N, size) float32: day number, day of the month, sine and cosine of month and weekday; then, with a clock, the second of the
        day and its sine and cosine. All NaN where missing."""
        times = read(column, self.day_first)
        if not self.lenient:
            cells.refuse(column, cells.unread(column, times), self.columns[0], "dates such as 2024-01-31")
        seconds = times.dt.epoch("s").fill_null(0).to_numpy()
        day, second = seconds // DAY, seconds % DAY
        month, weekday = times.dt.month().fill_null(1).to_numpy(), times.dt.weekday().fill_null(1).to_numpy()
        parts = [(day - self.mean) / self.std, times.dt.day().fill_null(1).to_numpy() / 31,
                 *_cycle((month - 1.0) / 12), *_cycle((weekday - 1.0) / 7)]  # fmt: skip
        if self.clock:
            parts += [second / DAY, *_cycle(second / DAY)]
        encoded = np.stack(parts, 1).astype(np.float32)
        encoded[times.is_null().to_numpy()] = np.nan
        return torch.from_numpy(encoded)

    def decode(self, encoded: Encoded) -> list:
        """Dates, or datetimes where the training values had a time of day; None for NaN."""
        assert isinstance(encoded, Tensor)
        day = encoded[:, 0].double() * self.std + self.mean
        second = encoded[:, 6].double() * DAY if self.clock else day * 0
        return [None if d != d else self._moment(round(d), round(s)) for d, s in zip(day.tolist(), second.tolist(), strict=True)]

    def _moment(self, day: int, second: int) -> date:
        day = min(max(day, FIRST), LAST)  # what a model puts out, or imagination, may lie outside the calendar
        return datetime(1970, 1, 1) + timedelta(day, second) if self.clock else date(1970, 1, 1) + timedelta(day)

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "clock": self.clock, "day_first": self.day_first, "missing": self.missing,
                "has_missing": self.has_missing, "lenient": self.lenient}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Date:
        self.mean, self.std, self.clock, self.day_first = state["mean"], state["std"], state["clock"], state["day_first"]
        self.missing, self.has_missing, self.lenient = state["missing"], state["has_missing"], state["lenient"]
        self.size = 9 if self.clock else 6
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """ISO text, for it must go into JSON: days within the spread of the training rows."""
        days, seconds = self.mean + self.std * rng.uniform(-1.5, 1.5, n), rng.integers(0, DAY, n)
        made = [self._moment(round(day), second).isoformat() for day, second in zip(days.tolist(), seconds.tolist(), strict=True)]
        return [None if gone else moment for moment, gone in zip(made, rng.random(n) < self.missing, strict=True)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("日期", ["2024年1月5日", "2024/2/29", "20231231", "05.01.2024", "?"]),
            pl.Series("when", ["2024-01-05T10:20:30Z", "2024-01-05 23:59:59.75", "2024-01-05T01:00:00+08:00", None, "1999-12-31 00:00:00"]),
            pl.Series("us", ["01/13/2024 3:04 PM", "1/5/24"]),
            pl.Series("eu", ["13/01/2024", "05/01/2024"]),
            pl.Series("typed", [date(2020, 2, 29), None, date(1900, 1, 1)]),
            pl.Series("stamp", [datetime(2020, 2, 29, 23, 59, 59, 999_999), datetime(1, 1, 1), datetime(9999, 12, 31, 1, 2, 3)]),
            pl.Series("zoned", [datetime(2024, 1, 5, 12), None]).dt.replace_time_zone("Asia/Shanghai"),
        ]


# ---------------------------------------------------------------- reading


def read(column: pl.Series, day_first: bool) -> pl.Series:
    """Datetime in whole seconds, null where there is no date."""
    if isinstance(column.dtype, pl.Datetime):
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if column.dtype.time_zone else column
        return column.cast(pl.Datetime("us")).dt.truncate("1s")
    if column.dtype in (pl.Date, pl.Null):
        return column.cast(pl.Datetime("us"))
    return cells.by_spelling(cells.raw(column), lambda text: _read(text.str.strip_chars(), day_first))


def _read(text: pl.Series, day_first: bool) -> pl.Series:
    times = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")  # the common forms at 15 ms a million
    times = times.zip_with(times.is_not_null(), text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")))
    times = times.zip_with(text.str.contains(r"^\d{4}-"), pl.Series([None], dtype=times.dtype))  # 24-01-05 would be the year 24
    for form in FORMS:
        rest = (times.is_null() & text.str.contains(form)).arg_true()
        if len(rest):
            times = times.scatter(rest, _by_form(text.gather(rest), form, day_first))
    return times


def _by_form(text: pl.Series, form: str, day_first: bool) -> pl.Series:
    found = text.str.extract_groups(form).struct.unnest()

    def part(*names: str) -> pl.Expr:
        return pl.coalesce(*(pl.col(name) for name in names if name in found.columns), pl.lit(None, pl.String))

    first, second = part("a"), part("b", "b1")
    year = part("Y").fill_null(pl.when(part("y") < "69").then("20" + part("y")).otherwise("19" + part("y")))  # POSIX: 69 is 1969
    month = pl.coalesce(part("m", "m1"), second if day_first else first)
    day = pl.coalesce(part("d"), first if day_first else second, pl.lit("1"))
    hour = part("H").cast(pl.Int64)
    afternoon = part("p").str.to_lowercase().str.starts_with("p")
    hour = pl.when(part("p").is_null()).then(hour).otherwise(hour % 12 + 12 * afternoon.cast(pl.Int64))
    iso = pl.format("{}-{}-{} {}:{}:{}", year, month, day, hour.fill_null(0), part("M").fill_null("0"), part("S").fill_null("0"))
    zone = part("z").str.extract_groups(r"^([+-])(\d\d):?(\d\d)?$").struct
    minutes = zone.field("2").cast(pl.Int64) * 60 + zone.field("3").cast(pl.Int64).fill_null(0)
    east = pl.when(zone.field("1") == "-").then(-minutes).otherwise(minutes).fill_null(0)
    return found.select(iso.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us") - pl.duration(minutes=east)).to_series()


def _cycle(turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sine and cosine, so that December is next to January."""
    return np.sin(2 * np.pi * turns), np.cos(2 * np.pi * turns)
