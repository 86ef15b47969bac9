"""The time of a row: whole microseconds since 1970, or a whole number (a year, a running index) as it is; exact both ways.

Read as the date field reads, and with its limits: zones are converted to UTC and dropped, and so are fractions of a second. Training
rows teach the usual step, so that a forecast can go on where its question ends. What cannot be read is an error, always.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field
from luban.core.errors import UserError
from luban.core.notes import warn
from luban.core.registry import Later
from luban.fields.date import Date, read

holidays = Later("holidays")

MISSING = torch.iinfo(torch.int64).min
UNITS = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000}
CYCLES = {"day": 1.0, "week": 7.0, "year": 365.2425}
"""Days each, for the calendar."""


class Moment(Field):
    kind = "time"

    @dataclass(frozen=True)
    class Config(Date.Config):
        step: str | None = None
        """The usual step in words, where the task knows it: of many items the rows, taken together, do not tell."""
        holidays: str | None = None
        """Of which country, as CN or US, the calendar knows the public holidays. Wants `luban[time]`."""

    form = "number"
    """date | datetime | number: what the training values were."""
    day_first = False
    first: int | None = None
    """The first training moment; None where there was none."""
    step = 1
    """The median distance of neighbours, in encoded units."""
    months = 0
    """The step in calendar months, where all training moments stand on the same day of a month, or on the last; else 0."""
    month_end = False
    cycles: tuple[str, ...] = ()
    """Of CYCLES, those that are longer than a step and were seen twice: what a model may be told of a moment."""

    @property
    def size(self) -> int:  # type: ignore[override]
        """Features of the calendar."""
        return 2 * len(self.cycles) + (self.config.holidays is not None)

    @classmethod
    def of(cls, column: pl.Series, day_first: bool | None = None) -> Moment:
        """Fitted on the whole column, by which a task puts its rows in order."""
        return cls((column.name,), cls.Config(day_first)).fit([column])

    def tell(self) -> None:
        """Warns of what is doubtful."""
        for doubt in self.doubts:
            warn(f"{self.columns[0]!r}: {doubt}")

    def fit(self, chunks: Iterable[pl.Series]) -> Moment:
        column = cells.whole(chunks, self.columns[0])
        if column.dtype.is_temporal() or Date.sniff(column) > 0:
            date = Date(self.columns, Date.Config(self.config.day_first)).fit([column])
            self.form, self.day_first, self.step = "datetime" if date.clock else "date", date.day_first, UNITS["day"]
            self.doubts += [doubt.partition(";")[0] + "; else set day_first" for doubt in date.doubts]
            if date.clock and _zoned(column):
                self.doubts.append("time zones are read and told as UTC")
        stamps = self.encode(column)
        if self.config.holidays:
            _free(self.config.holidays, pl.Series([], dtype=pl.Date))  # a country that is none is told before time is spent
        self.has_missing = bool((stamps == MISSING).any())
        known = stamps[stamps != MISSING].unique()  # increasing
        if len(known):
            self.first = int(known[0])
        if len(known) < 2:
            return self
        self.paced(known)
        if self.config.step:
            self.step, self.months = self._spelt(self.config.step)
        if self.form != "number":
            days, step = float(known[-1] - known[0]) / UNITS["day"], self.step / UNITS["day"]
            self.cycles = tuple(name for name, length in CYCLES.items() if step < length / 2 and days >= 2 * length)
        return self

    def paced(self, known: Tensor) -> Moment:
        """Learns the usual step from two or more increasing stamps (N,)."""
        self.step = int(known.diff().median())
        self.months, self.month_end = (0, False) if self.form == "number" else _months(known, self.step)
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) int64; MISSING where there is none."""
        if self.form == "number":
            stamps, wanted = cells.words(column).str.replace(r"\.0+$", "").cast(pl.Int64, strict=False), "dates or whole numbers"
        else:
            stamps, wanted = read(column, self.day_first).dt.epoch("us"), "dates such as 2024-01-31"
        cells.refuse(column, cells.unread(column, stamps), self.columns[0], wanted)
        return torch.tensor(stamps.fill_null(MISSING).to_numpy())

    def decode(self, encoded: Encoded) -> list:
        """Dates, datetimes where the training values had a time of day, or whole numbers; None where missing."""
        assert isinstance(encoded, Tensor)
        stamps = pl.Series(encoded.reshape(-1).cpu().numpy()).replace(MISSING, None)
        if self.form == "number":
            return stamps.to_list()
        times = stamps.cast(pl.Datetime("us"))
        return (times if self.form == "datetime" else times.dt.date()).to_list()

    # ---- how time goes on

    def after(self, stamps: Tensor, n: int) -> Tensor:
        """The n moments that follow each of `stamps` (B,) by the usual step: (B, n) int64."""
        if not self.months:
            return stamps.unsqueeze(1) + self.step * torch.arange(1, n + 1)
        times = pl.Series("time", stamps.repeat_interleave(n).numpy()).cast(pl.Datetime("us"))
        by = pl.Series("by", [f"{self.months * i}mo" for i in range(1, n + 1)] * len(stamps), dtype=pl.String)
        later = pl.DataFrame([times, by]).select(pl.col("time").dt.offset_by(pl.col("by"))).to_series()
        later = later.dt.month_end() if self.month_end else later
        return torch.tensor(later.dt.epoch("us").to_numpy()).reshape(-1, n)

    def calendar(self, stamps: Tensor) -> Tensor:
        """Where each of `stamps` (...) stands in the cycles of the calendar, as sine and cosine: (..., size) float32."""
        days = stamps.double() / UNITS["day"] + 3  # 1970 began on a Thursday; so a week begins on a Monday
        turns = [2 * math.pi * (days / CYCLES[name]) for name in self.cycles]
        found = [wave for turn in turns for wave in (turn.sin(), turn.cos())]
        if self.config.holidays:
            free = _free(self.config.holidays, pl.Series(stamps.flatten().numpy()).cast(pl.Datetime("us")).dt.date())
            found.append(torch.from_numpy(free.to_numpy().copy()).reshape(stamps.shape))
        return torch.stack([each.float() for each in found], -1) if found else stamps.new_zeros((*stamps.shape, 0), dtype=torch.float32)

    def pace(self) -> str:
        """The usual step in words: "15 minutes", "1 month"; "1" for numbers."""
        if self.form == "number":
            return f"{self.step:,}"
        unit, size = next((each for each in UNITS.items() if self.step % each[1] == 0), ("second", UNITS["second"]))
        unit, count = ("month", self.months) if self.months else (unit, self.step // size)
        return f"{count:,} {unit}{'s' * (count > 1)}"

    def keeps(self, pace: str) -> bool:
        """Is the usual step about that of `pace`, another's words? By half more or less: months differ, and so do uneven rows."""
        size, _ = self._spelt(pace)
        form = "number" if pace.replace(",", "").strip().isdecimal() else "datetime"
        return (form == "number") == (self.form == "number") and 2 / 3 < self.step / size < 3 / 2

    @staticmethod
    def _spelt(pace: str) -> tuple[int, int]:
        """(about how many encoded units, how many calendar months or 0): what `pace` says in words. Raises UserError."""
        count, _, unit = pace.replace(",", "").strip().partition(" ")
        size = {**UNITS, "month": 30 * UNITS["day"], "": 1}.get(unit.rstrip("s"))
        if size is None or not count.isdecimal() or not int(count):
            raise UserError(f"a step is written as '15 minutes', '1 day', '3 months', or as a number where the time is one, not {pace!r}.")
        return int(count) * size, int(count) if unit.startswith("month") else 0

    # ---- what travels

    def state(self) -> dict[str, Any]:
        return {"form": self.form, "day_first": self.day_first, "first": self.first, "step": self.step, "months": self.months,
                "month_end": self.month_end, "cycles": list(self.cycles), "has_missing": self.has_missing}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Moment:
        self.form, self.day_first, self.first, self.step = state["form"], state["day_first"], state["first"], state["step"]
        self.months, self.month_end, self.has_missing = state["months"], state["month_end"], state["has_missing"]
        self.cycles = tuple(state.get("cycles", ()))
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """n moments in a row; ISO text where they are dates, for it must go into JSON."""
        if self.first is None:
            return [None] * n
        made = self.decode(self.after(torch.tensor([self.first]), n))
        return made if self.form == "number" else [moment.isoformat() for moment in made]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("日期", ["2024年1月5日", "2024年1月6日", "2024/1/7", None]),
            pl.Series("hourly", ["2016-07-01 00:00:00", "2016-07-01 01:00:00", "2016-07-01T02:00:00Z", "?"]),
            pl.Series("month ends", ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
            pl.Series("us", ["01/13/2024 3:04 PM", "01/14/2024 3:04 PM"]),
            pl.Series("typed", pl.Series(["2020-02-29", None, "1900-01-01"]).str.to_date()),
            pl.Series("stamp", pl.Series(["2020-02-29 23:59:59.999999", "1969-12-31 23:59:59"]).str.to_datetime(time_unit="us")),
            pl.Series("zoned", pl.Series(["2024-01-05 12:00:00", None]).str.to_datetime()).dt.replace_time_zone("Asia/Shanghai"),
            pl.Series("year", [2019, 2020, 2022, 2021]),
            pl.Series("index", ["0", "1", "2"]),
        ]


def _months(known: Tensor, step: int) -> tuple[int, bool]:
    """(months between neighbours, are they all ends of months?), from the increasing stamps (N,); 0 where months do not fit."""
    times = pl.Series(known.numpy()).cast(pl.Datetime("us"))
    month_end = bool((times.dt.month_end() == times).all())
    same_day = times.dt.day().n_unique() == 1 and times.dt.time().n_unique() == 1
    if step < 28 * UNITS["day"] or not (month_end or same_day):
        return 0, False
    count = times.dt.year().cast(pl.Int64) * 12 + times.dt.month()
    return int(np.median(np.diff(count.to_numpy()))), month_end


def _zoned(column: pl.Series) -> bool:
    if isinstance(column.dtype, pl.Datetime):
        return column.dtype.time_zone is not None
    return column.dtype == pl.String and bool(column.str.contains(r"\d\s*(Z|UTC|[+-]\d{2}:?\d{2})\s*$").any())


def _free(country: str, days: pl.Series) -> pl.Series:
    """Which of the days are public holidays there."""
    spelt = days.unique()
    years = spelt.dt.year().unique().to_list()
    try:
        known = holidays.country_holidays(country, years=years)
    except NotImplementedError as error:
        raise UserError(f"task.holidays names a country as CN, US or DE, not {country!r}.") from error
    return days.replace_strict(spelt, [day in known for day in spelt], return_dtype=pl.Boolean)
