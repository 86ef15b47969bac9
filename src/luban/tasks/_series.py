"""What a question about series reads: which column is the time, the item, a series; in which order rows stand, and how they are split.

A row is a moment: of all series, a column each (a wide table), or of one item among many (a long one), whose rows then lie together. Rows
are sorted by item and time, and each item is split in that order, the oldest rows train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.config import within
from luban.core.contract import Schema, Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS
from luban.tasks import _roles
from luban.tasks._windows import usual_season, words

FIRST = 96
"""Horizon, where the papers on the ETT data begin."""
USUAL = 336
"""Look-back: two weeks of hours, as DLinear and PatchTST have it."""
NAMES = ("training", "validation", "test")
"""Of the parts, in messages."""


class OfSeries:
    """What such a task says before it learns: for a Task to inherit beside."""

    config: Any
    labelled = False
    rowwise = False
    noun = "windows"
    _read: tuple[Table, Any] = (pl.DataFrame(), None)
    """Time and item as they were read last, and the moment that they gave: `order` asks for that of `settle` again."""

    @dataclass(frozen=True)
    class Config:
        horizon: int | None = None
        """Steps that are forecast at once. Unset: 96, where the papers begin, or half of the smallest part where that is less. A longer
        forecast can be asked for later: it is rolled."""
        look_back: int | None = None
        """Steps that a model sees. Unset: 336, or half of what the training rows leave beside the horizon where that is less."""
        season: int | None = None
        """Steps after which the series repeats. Unset: by the usual step, 24 of hours, 7 of days, 12 of months, 4 of quarters, else 1."""
        time: str | None = None
        """The column that says when; --time (data.time) wins over it. Unset: the first that reads as dates; where there is none, rows
        stand as they come."""
        item: str | None = None
        """The column that says of which item a row is, where a table holds many. Unset: where moments repeat, the column that tells their
        rows apart (item_id, symbol, store, ...)."""
        step: str | None = None
        """The usual step from row to row, as in `15 minutes`, `1 month`, or a number where the time is one. Unset: that of the time
        column. A question whose rows go by another is refused."""
        day_first: bool | None = None
        """Is 01/05/2024 the first of May? Unset: the time column decides, by a value that leaves no choice; else the month goes first."""
        columns: tuple[str, ...] = ()
        """The series; --target (data.target) wins over it. Unset: every column of numbers, or of many items the one called target, value,
        sales, price, ..."""
        known: tuple[str, ...] = ()
        """Columns whose future is known, too (a planned price, a promotion): a question holds rows for it, the series left empty."""
        past: tuple[str, ...] = ()
        """Columns that are known of the past alone."""
        static: tuple[str, ...] = ()
        """Columns that say the same at all times of an item (its size, its region)."""
        holidays: str | None = None
        """The country whose public holidays models are told, as CN or US. Wants `luban[time]`."""
        layout: Literal["rows"] | None = None
        """rows: a series a row, its name first, then its values. Unset: a moment a row."""
        resample: str | None = None
        """Brings uneven rows to even steps, as in `1 hour`: those of a step become one, a step without a row an empty one."""
        resample_by: Literal["mean", "sum", "last"] = "mean"
        """What several rows of a step become."""
        scale: Literal["column", "window"] | None = None
        """column: each series is z-scored by its training rows. window: each window by what it sees, so that items of any size are learned
        from alike. Unset: window where there are items."""
        log: bool = False
        """The logarithm is forecast: for prices and what else grows by shares. All values must be above 0."""
        quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
        """Which quantiles go with each forecast: by how far it was off in the validation part, step by step."""
        loss: Literal["mse", "mae"] = "mse"
        """mse aims at the mean; mae at the median, which single spikes move less."""

        def __post_init__(self) -> None:
            within(self, {"horizon": (1, 100_000), "look_back": (2, 1_000_000), "season": (1, 1_000_000)}, "task")
            if not all(0 < level < 1 for level in self.quantiles) or list(self.quantiles) != sorted(set(self.quantiles)):
                raise UserError(f"task.quantiles must be increasing numbers between 0 and 1, not {list(self.quantiles)}.")

    # ---------------------------------------------------------------- what it reads

    def laid_out(self, table: Table, time: str | None = None) -> Table:
        c = self.config
        if c.layout == "rows":
            table = _roles.upright(table, c.item)
        if c.resample:
            time = _roles.time_of(table, time or c.time, c.columns)
            item = _roles.item_of(table, time, c.item, (*c.columns, *c.known, *c.past, *c.static))
            table = _roles.even(table, time, item, c.resample, c.resample_by)
        return table

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        if self.config.layout and self.config.item is None:
            self.config = replace(self.config, item=table.columns[0])
        c = self.config
        others = (*c.known, *c.past, *c.static)
        for name in (*targets, *c.columns, *others):
            _roles.there(table, name)
        time = _roles.time_of(table, time or c.time, targets)
        item = _roles.item_of(table, time, c.item, (*targets, *c.columns, *others))
        columns = tuple(targets) or c.columns or _roles.series_of(table, time, item, others)
        if time in columns or not columns:
            why = f"{time!r} is both the time and a series" if columns else f"no column of numbers in {listed(table.columns)}"
            raise UserError(f"there is nothing to forecast: {why}. Name the series with --target, and the time with --time.")
        if twice := sorted({name for name in (*columns, *others) if [time, item, *columns, *others].count(name) > 1}):
            raise UserError(f"{listed(twice)} cannot be two things at once: series, time, item, task.known, task.past and task.static are "
                            "different columns.")  # fmt: skip
        for name in c.static:
            _roles.steady(table, item, name)
        self.config = replace(c, time=time, item=item, columns=columns, season=c.season or 1,
                              scale=c.scale or ("window" if item else "column"))  # fmt: skip
        pace = "as the rows come"
        if time:
            moment = self._moment(table)
            moment.tell()
            self.config = replace(
                self.config, day_first=moment.day_first, season=c.season or usual_season(moment), step=c.step or moment.pace()
            )
            pace = f"steps of {moment.pace()} by {time!r}"
        items = f" of {len(_roles.sizes(table, item)):,} items by {item!r}" if item else ""
        season = f"a season of {self.config.season:,}" if self.config.season > 1 else "no season"
        say(f"series: {listed(columns)}{items}; {pace}; {season}")
        left = [name for name in table.columns if name not in (time, item, *columns, *others)]
        if item and left:
            say(f"not read: {listed(left)}. What is known ahead: --set 'task.known=[...]'; of the past alone: task.past; at all times: "
                "task.static")  # fmt: skip

    def _moment(self, table: Table) -> Any:
        """The time column, with the step of the longest item."""
        read = table.select(self.config.time, *[self.config.item] * (self.config.item is not None))
        if read.equals(self._read[0]):
            return self._read[1]
        moment: Any = FIELDS["moment"]
        column = table.get_column(self.config.time)
        moment = moment.of(column, self.config.day_first)
        if self.config.item:
            rank = _roles.ranks(table.get_column(self.config.item))
            stamps = moment.encode(column)[torch.from_numpy(rank == np.bincount(rank).argmax())].unique()
            moment = moment.paced(stamps) if len(stamps) > 1 else moment
        self._read = read, moment
        return moment

    def order(self, table: Table) -> np.ndarray | None:
        """By item, as they first come, and time. A moment twice is an error, for only the user knows which row is right; uneven steps are
        told."""
        name, item = self.config.time, self.config.item
        if item and item not in table.columns:
            raise UserError(f"the column {item!r} is missing, which says of which item each row is.{did_you_mean(item, table.columns)}")
        rank = _roles.ranks(table.get_column(item)) if item else np.zeros(table.height, np.int64)
        if name is None:
            return rank.argsort(kind="stable") if item else None
        if name not in table.columns:
            raise UserError(f"the column {name!r} is missing, which says when each row was.{did_you_mean(name, table.columns)}")
        moment = self._moment(table)
        stamps = moment.encode(table.get_column(name))
        if moment.has_missing:
            empty = cells.empty(table.get_column(name), cells.BLANK).arg_true()[0]
            raise UserError(f"the time column {name!r} is empty in {cells.row(empty)}. Write when it was, or take the row out.")
        order = np.lexsort((stamps.numpy(), rank))
        stamps, same = stamps[torch.from_numpy(order)], torch.from_numpy(np.diff(rank[order]) == 0)
        doubled = ((stamps.diff() == 0) & same).nonzero().flatten()
        if len(doubled):
            i = int(doubled[0])
            raise _roles.refuse_twice(table, name, item, (int(order[i]), int(order[i + 1])), words(moment, stamps[i : i + 1])[0])
        if self.config.step and len(stamps) > 1 and same.any() and not moment.keeps(self.config.step):
            raise UserError(f"the rows are usually {moment.pace()} apart by {name!r}, and this forecast goes in steps of "
                            f"{self.config.step}. Give rows {self.config.step} apart, or train on rows like these.")  # fmt: skip
        uneven = ((moment.after(stamps[:-1], 1)[:, 0] != stamps[1:]) & same).nonzero().flatten()
        if len(uneven):
            i = int(uneven[0])
            warn(f"{len(uneven):,} of {int(same.sum()):,} steps of {name!r} are not {moment.pace()}, the first after "
                 f"{words(moment, stamps[i : i + 1])[0]} ({cells.row(int(order[i]))}); rows are taken as if evenly spaced.")  # fmt: skip
        return order

    def split(self, table: Table, shares: tuple[float, float, float], seed: int = 0) -> tuple[np.ndarray, str]:
        """Three runs of rows of each item, the oldest train. Of numbers of rows, what lies beyond is in part 3; where the first is 0, all
        but the newest train. An item that is too short to be judged is only trained on."""
        sizes, counts, many = _roles.sizes(table, self.config.item), max(shares) > 1, self.config.item is not None
        if counts and not many and sum(shares) > table.height:
            raise UserError(f"data.shares asks for {int(sum(shares)):,} rows, and there are {table.height:,}.")
        if counts:
            held = np.tile(np.array(shares[1:], np.int64), (len(sizes), 1))  # (items, 2): rows that validate and that are tested
            train = sizes - held.sum(1) if not shares[0] else np.full(len(sizes), int(shares[0]))
        else:
            ends = np.round(np.cumsum(shares) * sizes[:, None]).astype(np.int64)
            held, train = np.diff(ends, axis=1), ends[:, 0]
        usual = {NAMES[0]: int(np.median(train)), NAMES[1]: int(np.median(held[:, 0])), NAMES[2]: int(np.median(held[:, 1]))}
        usual = {name: rows for name, rows in usual.items() if rows > 0}
        if usual:
            self._settle_horizon(*min(usual.items(), key=lambda each: each[1]))
        H = self.config.horizon
        if many and not counts:
            held = np.where(np.array(shares[1:]) > 0, held.clip(min=H), 0)
            train = sizes - held.sum(1)
        for name, rows in usual.items():
            if name != "training" and rows < H and (counts or not many):
                raise UserError(f"the {name} part has {rows:,} rows, too few for a horizon of {H:,}: "
                                f"forecast fewer steps (--set task.horizon={max(1, rows // 2)}), or give other data.shares.")  # fmt: skip
        if many:
            short = (train < 2) | (train + held.sum(1) > sizes)
            if short.all():
                raise UserError(f"no {self.config.item} has the {2 + int(held.sum(1).min()):,} rows that a horizon of {H:,} needs: two to "
                                f"train on, and some to hold back. {'Forecast fewer steps (task.horizon), or give' if H > 1 else 'Give'} "
                                "longer series.")  # fmt: skip
            if short.any():
                say(f"{int(short.sum()):,} of {len(short):,} items are too short to be judged and are only trained on")
            held, train = np.where(short[:, None], 0, held), np.where(short, sizes, train)
        of = np.repeat(np.arange(len(sizes)), sizes)
        at = np.arange(table.height) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        ends = np.stack([train, train + held[:, 0], train + held.sum(1)], 1)[of]
        part = (at[:, None] >= ends).sum(1).astype(np.uint8)
        if self.config.time:
            return part, "by time, the oldest rows of each item train" if many else "by time, the oldest rows train"
        return part, "in the order of the rows, the first of each item train" if many else "in the order of the rows, the first train"

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """Series under c0, c1, ..., then the moment, the item and what goes with them; nothing is a target, for what is forecast is read,
        too."""
        c = self.config
        sizes = _roles.sizes(table, c.item)
        self._settle_horizon("training", int(np.median(sizes)) // 2)  # where the data say which rows are tested, there was no `split`
        self._fit_into(int(np.median(sizes)) if c.item else table.height)
        constant = []
        for name in c.columns:
            column = table.get_column(name)
            values = cells.numbers(column, cells.decimal_comma([column]))
            values = values.filter(values.is_finite())
            if len(values) and values.n_unique() == 1:
                constant.append(name)
            if not len(values):
                example = f" ({cells.first(column, column.is_not_null())})" if column.count() else ""
                raise UserError(f"the series {name!r} has no number in the {table.height:,} training rows{example}. "
                                f"Leave it out with --drop {name!r}, or name the series with --target.")  # fmt: skip
        if constant:
            warn(f"{listed(constant)} never changed in the {table.height:,} training rows: there is nothing to learn from "
                 f"{'them' if len(constant) > 1 else 'it'}, and what is scored there says nothing.")  # fmt: skip
        c, series, moment, item, beside = self.config, *(FIELDS[name] for name in ("series", "moment", "item", "covariate"))
        inputs = {f"c{i}": series((name,), series.Config(c.look_back, c.season, c.scale == "column", c.log))
                  for i, name in enumerate(c.columns)}  # fmt: skip
        if c.time:
            inputs[self._stamps] = moment((c.time,), moment.Config(c.day_first, c.step if c.item else None, c.holidays))
        if c.item:
            inputs[self._item] = item((c.item,))
        for key, (name, role) in self._beside.items():
            inputs[key] = beside((name,), beside.Config(role))
        used = {each.columns[0] for each in inputs.values()}
        return Schema(inputs, {}, {name: "neither the time nor a series" for name in table.columns if name not in used})

    def _settle_horizon(self, name: str, rows: int) -> None:
        """Where none was asked for: what leaves the smallest part, of so many rows, as many windows as each has steps."""
        if self.config.horizon is None:
            horizon = max(1, min(FIRST, rows // 2))
            self.config = replace(self.config, horizon=horizon)
            if horizon < FIRST:
                say(f"horizon: {horizon}, half of the {rows:,} rows of the {name} part ({FIRST} is usual)")

    def _fit_into(self, n: int) -> None:
        """Settles how far n training rows, of many items those of the middle one, let a window look back, and whether a season fits."""
        c, room = self.config, n - self.config.horizon
        longest = room if c.look_back else room // 2  # unset: as many windows as each looks back, at least
        if c.item:
            longest = max(longest, c.look_back or 2)  # what is too short is laid out with its first value
        if longest < (c.look_back or 2):
            raise UserError(f"{n:,} training rows are too few to look back on {c.look_back or 2:,} and forecast {c.horizon:,}: "
                            "give more rows, or a smaller task.horizon or task.look_back.")  # fmt: skip
        look_back = c.look_back or min(USUAL, longest)
        if look_back < min(USUAL, c.look_back or USUAL):
            say(f"look_back: {look_back}, half of what {n:,} training rows leave beside a horizon of {c.horizon} ({USUAL} is usual)")
        if c.season > look_back:
            say(f"a season of {c.season:,} does not fit into {look_back:,} rows of look-back; none is assumed")
        self.config = replace(c, look_back=look_back, season=c.season if c.season <= look_back else 1)

    # ---------------------------------------------------------------- under which key each column is

    @property
    def _stamps(self) -> str:
        """Of the moment, where there is one."""
        return f"c{len(self.config.columns)}"

    @property
    def _item(self) -> str:
        """Of the item, where there is one."""
        return f"c{len(self.config.columns) + (self.config.time is not None)}"

    @property
    def _beside(self) -> dict[str, tuple[str, str]]:
        """{key: (column, role)} of what goes with the series."""
        c = self.config
        start = len(c.columns) + (c.time is not None) + (c.item is not None)
        roles = [(name, role) for role in ("known", "past", "static") for name in getattr(c, role)]
        return {f"c{start + i}": each for i, each in enumerate(roles)}

    @classmethod
    def samples(cls) -> list[Table]:
        """Dated hours of two series, a series without a time, and three items, one of them short, with what is known ahead."""
        hours = np.arange(1_200)
        load = pl.Series("负荷", 50 + 10 * np.sin(hours * 2 * np.pi / 24) + hours / 100)
        times = pl.Series("时间", hours * 3_600_000_000).cast(pl.Datetime("us"))
        days = {name: np.arange(n) for name, n in (("甲", 300), ("b", 200), ("c", 5))}
        items = [pl.DataFrame({"item_id": name, "day": pl.Series(day).cast(pl.Date), "sales": 20.0 + day % 7 + 9 * (day % 5 == 0),
                               "promo": (day % 5 == 0).astype(int)}) for name, day in days.items()]  # fmt: skip
        return [pl.DataFrame([times, load, (load * 2).alias("price.usd")]), load.to_frame(), pl.concat(items)]
