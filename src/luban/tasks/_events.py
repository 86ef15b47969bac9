"""What a question about a log of events reads: which column says who, what and when; in which order rows stand, and how they are split.

A row is an event: a user had an item, perhaps at a time, perhaps with a rating. Rows are sorted by user and time, and come once a user and
item. What is held back is the protocol: each user's last event, the newest events of all, or events drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.batch import Batch
from luban.core.config import within
from luban.core.contract import Field, Schema, Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.core.registry import FIELDS

NAMES = {
    "user": "user userid username uid member memberid customer customerid reviewer reviewerid account accountid visitor visitorid session "
    "sessionid 用户 用户id 用户编号 会员 会员id 客户 客户id 顾客",
    "item": "item itemid iid movie movieid film filmid product productid parentasin asin article articleid book bookid isbn song songid "
    "track trackid artist artistid sku 商品 商品id 商品编号 物品 物品id 产品 产品id 电影 电影id 书 书名 歌曲 文章",
    "time": "timestamp time datetime date when ts unixtime unixreviewtime eventtime createdat 时间 时间戳 日期 评分时间 购买时间 下单时间",
    "rating": "rating ratings score stars overall 评分 打分 星级",
    "weight": "weight count counts plays playcount listens listencount clicks views quantity qty 次数 数量 权重 播放次数",
}
"""What such columns are called, in lower case and without blanks, _ - and dots; the first name that is there is taken."""
HELD = {
    "time": "by time, the newest events are tested, those before validate",
    "random": "at random, event by event",
    "user": "at random, the same share of each user's events",
    "item": "at random, the same share of each item's events",
    "cold": "whole items at random: all events of some are tested, all of others validate, and training has none of either",
}
NEWEST = ("last", "time")
"""Protocols that hold back what came last."""
OPTIONS = {"user": "--set task.user=COLUMN", "item": "--target COLUMN"}
BOT = 50
"""A user with so many times the events of the usual one, and with as large a share of all items, is told of: a bot, or a shared account."""


class OfEvents:
    """What such a task says before it learns: for a Task to inherit beside."""

    config: Any
    labelled = False
    noun = "users"
    beside: Mapping[str, Table | None] = {"items": None, "users": None}

    @dataclass(frozen=True)
    class Config:
        user: str | None = None
        """The column that says who. Unset: one called user, userId, customer_id, 用户 or the like."""
        item: str | None = None
        """The column that says what. Unset: the --target, or one called item, movieId, product_id, asin, 商品 or the like."""
        time: str | None = None
        """The column that says when. Unset: one called timestamp, date, 时间 or the like; where there is none, rows stand as they come."""
        rating: str | None = None
        """The column that says how much they liked it, for task.least. Unset: one called rating, stars, 评分 or the like."""
        least: float | None = None
        """Events rated lower are left out, and so are those without a rating. Unset: whatever was rated was wanted."""
        weight: str | None = None
        """The column that says how often, or how much. Unset: one called count, plays, quantity, 次数 or the like. Rows that repeat a user
        and an item add up, with such a column and without."""
        weighed: Literal["log", "plain", "once"] = "log"
        """What an event counts that came w times: log2(1 + w), for of such counts a few are in the thousands (log); w (plain); or 1 (once);
        each divided by what events of training count on average, so that settings mean the same. So count popular, itemknn, ease, puresvd
        and ials; to the others something was had or not."""
        protocol: Literal["last", "time", "random", "user", "item", "cold"] = "last"
        """What is held back: each user's last event for the test and the one before for validation (last); the newest events (time); a
        share of all events, of each user's or of each item's, drawn at random (random, user, item); all events of a share of the items,
        which training then knows by their table alone (cold). data.shares says how much, and where the
        protocol draws, another data.split_seed draws others."""
        core: int = 1
        """Leave out users and items with fewer events, again and again until all that are left have as many. What so small a remainder
        scores says nothing of the users that were left out."""
        day_first: bool | None = None
        """Is 01/05/2024 the first of May? Unset: the time column decides, by a value that leaves no choice; else the month goes first."""

        def __post_init__(self) -> None:
            within(self, {"core": (1, 10_000)}, "task")

    # ---------------------------------------------------------------- which columns

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        if len(targets) > 1:
            raise UserError(f"--target names one column here, the items, not {len(targets)}: {listed(targets)}.")
        c = self.config
        user, item = _column(table, "user", c.user), _column(table, "item", next(iter(targets), c.item))
        when = _column(table, "time", time or c.time)
        rating = _column(table, "rating", c.rating) if c.rating or c.least is not None else None
        weight = None if c.weighed == "once" else _column(table, "weight", c.weight)
        if len({user, item, when}) < 3:
            raise UserError(f"user, item and time must be different columns, not {listed([user, item, *([when] if when else [])])}.")
        if c.least is not None and rating is None:
            raise UserError(f"task.least needs a column of ratings, and none is called rating, stars or the like. There are: "
                            f"{listed(table.columns, 40)}. Name it: --set task.rating=COLUMN.")  # fmt: skip
        if c.protocol == "time" and when is None:
            raise UserError("task.protocol=time needs a time column, and none is called timestamp, date or the like: --time COLUMN.")
        if c.protocol == "cold" and self.beside.get("items") is None:
            raise UserError("task.protocol=cold holds back whole items, of which nothing is known without a table: --set data.items=FILE.")
        self.config = replace(c, user=user, item=item, time=when, rating=rating, weight=weight)
        if when:
            moment: Any = FIELDS["moment"]
            moment = moment.of(table.get_column(when), c.day_first)
            moment.tell()
            self.config = replace(self.config, day_first=moment.day_first)
        stands = f"when {when!r}" if when else "in the order of the rows (no time column was found; --time COLUMN names one)"
        say(f"events: who {user!r}, what {item!r}, {stands}" + (f"; how often {weight!r} (task.weighed={c.weighed})" if weight else ""))

    def check(self, table: Table, targets: Sequence[str]) -> None:
        """One user says nothing of another, and of one item none can be chosen."""
        c = self.config
        for name, what in ((c.user, "user"), (c.item, "item")):
            ids = _ids(table.get_column(name))
            counts = np.bincount(ids)[1:]
            if len(counts) < 2:
                raise UserError(f"{name!r} names fewer than two {what}s in {table.height:,} rows: there is nothing to learn from. "
                                "Give the events of more, or name the right column (--set task.user=COLUMN, --target COLUMN).")  # fmt: skip
            if what == "user":
                most, usual = int(counts.max()), float(np.median(counts))
                items = table.get_column(c.item).n_unique()
                if most > BOT * usual and most > items / 5:
                    who = table.get_column(name)[int((ids == counts.argmax() + 1).argmax())]
                    say(
                        f"{c.user} {who!r} has {most:,} events, {most / usual:,.0f} times the usual one's: a bot, or an account of several?"
                    )

    # ---------------------------------------------------------------- which rows, in which order

    def order(self, table: Table) -> np.ndarray:
        """By user, then time, stable on ties, the first of each user and item. Rows with an empty cell or rated low are left out, aloud."""
        c = self.config
        for name in (c.user, c.item, *([c.time] if c.time else []), *([c.rating] if c.least is not None else [])):
            _there(table, name)
        user, item, gone = _ids(table.get_column(c.user)), _ids(table.get_column(c.item)), np.zeros(table.height, bool)
        for name, ids in ((c.user, user), (c.item, item)):
            gone |= _told(ids == 0, f"have no {name}")
        if c.least is not None:
            values = cells.numbers(table.get_column(c.rating)).fill_nan(None)
            gone |= _told(values.is_null().to_numpy(), f"have no {c.rating} that is a number")
            gone |= _told((values < c.least).fill_null(False).to_numpy(), f"are rated below {c.least:g}")
        if c.weight in table.columns:  # new data may say nothing of it
            counts = cells.numbers(table.get_column(c.weight)).fill_nan(None)
            fine = counts.is_between(0, np.inf, closed="none").fill_null(False)
            gone |= _told(~fine.to_numpy(), f"have no {c.weight} that is a number above 0")
        keys = [user]
        if c.time:
            column = table.get_column(c.time)
            keys.insert(0, _moments(column, c.day_first))
            gone |= _told(cells.empty(column, cells.BLANK).to_numpy(), f"have no {c.time}")
        rows = np.lexsort(keys) if c.time else np.argsort(user, kind="stable")  # stable
        rows = rows[~gone[rows]]
        if not len(rows):
            names = " and ".join(name for name in (c.user, c.item, c.time) if name)
            enough = "" if c.least is None else f", with {c.rating} of {c.least:g} or more: lower task.least"
            raise UserError(f"none of the {table.height:,} rows names {names}{enough}.")
        first = firsts(user[rows], item[rows])
        again = first != np.arange(len(rows))
        self._again = rows[again], rows[first[again]], np.cumsum(~again)[again]
        if again.any():
            what = "are left out" if c.weighed == "once" else "are counted with it"
            say(f"{int(again.sum()):,} rows repeat an earlier {c.user} and {c.item} and {what} "
                f"(the first: {cells.row(int(rows[again].min()))})")  # fmt: skip
        return rows[~again]

    def noted(self, table: Table, rows: np.ndarray, part: np.ndarray, held: np.ndarray) -> Batch:
        """age: how long each event was before the newest of training, as a share of the time that training spans; where there are times.
        weight: how much each counts, 1 on average; where they differ. What was repeated in a row that was given to be held back counts for
        nothing; nor, where the newest are held back, does what came after these: of the user (last), or of anybody (time)."""
        c, found = self.config, Batch()
        trained = part == 0 if (part == 0).any() else np.ones(len(part), bool)
        if c.time and len(rows):
            when = _moments(table.get_column(c.time).gather(rows), c.day_first)
            old = when[trained]
            found["age"] = torch.from_numpy(((old.max() - when) / max(1, np.ptp(old))).astype(np.float32))
        if c.weighed == "once":
            return found
        once = np.ones(table.height) if c.weight not in table.columns else cells.numbers(table.get_column(c.weight)).to_numpy()
        weight, (again, first, before) = once[rows], self._again
        if len(again):
            at = np.zeros(table.height, np.int64)
            at[rows] = np.arange(len(rows))
            asked = (part == 1) | (part == 2)
            known = np.isin(first, rows) & ~held[again]
            if c.protocol == "last":
                events = np.append(0, np.cumsum(asked))
                known &= events[before] == events[at[first]]
            elif c.protocol == "time" and asked.any():
                when = _moments(table.get_column(c.time), c.day_first)
                known &= when[again] < when[rows[asked]].min()
            weight = weight + np.bincount(at[first[known]], once[again[known]], minlength=len(rows))
        if (weight != weight[:1]).any():
            weight = np.log2(1 + weight) if c.weighed == "log" else weight
            found["weight"] = torch.from_numpy((weight / weight[trained].mean()).astype(np.float32))
        return found

    def split(self, table: Table, shares: tuple[float, float, float], seed: int = 0) -> tuple[np.ndarray, str]:
        """By the protocol; where no test part is asked for (shares[2] is 0), what would be tested validates."""
        c, n = self.config, table.height
        user, item = (_ids(table.get_column(name)) for name in (c.user, c.item))
        part, used = np.full(n, 3, np.uint8), _core(user, item, c.core, c)
        if c.protocol == "last":
            part[used], how = _last(user[used], 1 + (shares[2] > 0), c.user)
            return part, how
        valid, test = shares[1:] if max(shares) <= 1 else (shares[1] / n, shares[2] / n)
        if c.protocol == "time":
            order = np.argsort(stamps := _moments(table.get_column(c.time).gather(used), c.day_first), kind="stable")
            first = stamps[order][np.minimum((np.array([1 - valid - test, 1 - test]) * len(used)).astype(int), len(used) - 1)]
            part[used] = (stamps >= first[0]).astype(np.uint8) + ((stamps >= first[1]) & (test > 0))  # those of a moment stay together
            return part, HELD["time"]
        if c.protocol == "cold":
            items = np.random.default_rng(seed).permutation(np.unique(item[used]))
            tests, valids = np.split(items, np.cumsum(np.round(np.array([test, valid]) * len(items)).astype(int)))[:2]
            part[used] = 2 * np.isin(item[used], tests) + np.isin(item[used], valids)
            return part, HELD["cold"]
        group = {"random": np.zeros_like(user), "user": user, "item": item}[c.protocol][used]
        order = np.lexsort([np.random.default_rng(seed).random(len(used)), group])
        _, start, count = np.unique(group[order], return_index=True, return_counts=True)
        place = np.arange(len(used)) - np.repeat(start, count)
        n_test, n_valid = (np.repeat(np.round(count * share), count) for share in (test, valid))
        part[used[order]] = np.where(place < n_test, 2, np.where(place < n_test + n_valid, 1, 0))
        return part, HELD[c.protocol]

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """No user and no item is too rare to be kept: a model that cannot hold so many says so."""
        c = self.config
        user, item = self._field(table, c.user, "user"), self._field(table, c.item, "item")
        rating = c.rating or _column(table, "rating", None)
        why = {c.time: "only orders the events", rating: "says which events count" if c.least else "task.least could say which count"}
        why |= {c.weight: "says how much an event counts"} if c.weight else {}
        why |= {name: "neither user nor item" for name in table.columns if name not in why}
        return Schema({"c0": user}, {"y0": item}, {name: why[name] for name in table.columns if name not in (c.user, c.item)})

    def _field(self, table: Table, name: str, role: str) -> Field:
        """Of ids alone, or of ids with a table beside them."""
        beside = self.beside.get(f"{role}s")
        category = FIELDS["category" if beside is None else "catalogue"]
        if beside is None:
            return category((name,), category.Config(max_size=max(1, table.height)))
        key = name if name in beside.columns else _column(beside, role, None, f"the table of {role}s has no column {name!r}, and ")
        return category.of(name, category.Config(max_size=table.height + beside.height), beside, key)

    @classmethod
    def samples(cls) -> list[Table]:
        """A dated log with Chinese names, and one without a time: eight users, seven items, in two circles of taste."""
        pairs = [(u, (u % 2 * 3 + i * (1 + u % 3)) % 7) for i in range(7) for u in range(8) if i < 3 + u % 4]
        days = pl.Series("日期", [f"2024-{1 + n % 12:02}-{1 + n % 28:02}" for n in range(len(pairs))])
        chinese = pl.DataFrame({"用户": [f"客{u}" for u, _ in pairs], "商品": [f"书{i}" for _, i in pairs], "评分": [3.5] * len(pairs)})
        return [chinese.with_columns(days), pl.DataFrame({"user_id": [u for u, _ in pairs], "item": [10 * i for _, i in pairs]})]


# ---------------------------------------------------------------- small words


def _column(table: Table, role: str, named: str | None, where: str = "") -> str | None:
    """The column of a role, as named or by its usual names. Raises UserError where it must be there and is not. where: the table, in words,
    where it is not the log, whose columns can be named."""
    if named is not None:
        return _there(table, named)
    plain = {"".join(each for each in name.lower() if each not in " _-."): name for name in reversed(table.columns)}
    found = next((plain[name] for name in NAMES[role].split() if name in plain), None)
    if found is None and role in OPTIONS:
        name_it = "Call its column of ids so." if where else f"Name it: {OPTIONS[role]}."
        raise UserError(f"{where}no column is called {role}, {role}Id or the like. There are: {listed(table.columns, 40)}. {name_it}")
    return found


def _there(table: Table, name: str) -> str:
    if name not in table.columns:
        raise UserError(f"the column {name!r} is missing.{did_you_mean(name, table.columns)} There are: {listed(table.columns, 40)}.")
    return name


def _ids(column: pl.Series) -> np.ndarray:
    """(N,) numbers from 1 for the different words, in their order; 0 where empty. What is one word is for the field to say."""
    category = FIELDS["category"]
    field = category((column.name,), category.Config(max_size=max(1, len(column)))).fit([column])
    ids = field.encode(column).numpy()
    return np.where(ids > len(field.words), 0, ids)


def _moments(column: pl.Series, day_first: bool | None) -> np.ndarray:
    moment: Any = FIELDS["moment"]
    return moment.of(column, day_first).encode(column).numpy()


def _told(gone: np.ndarray, why: str) -> np.ndarray:
    """Says how many rows are left out, and which is the first."""
    if gone.any():
        say(f"{int(gone.sum()):,} rows {why} and are left out (the first: {cells.row(int(gone.argmax()))})")
    return gone


def firsts(user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(N,): the first row of the same user and item."""
    pairs = user * (item.max() + 1) + item
    order = np.argsort(pairs, kind="stable")
    new = np.append(True, np.diff(pairs[order]) != 0)
    first = np.empty_like(order)
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def _core(user: np.ndarray, item: np.ndarray, core: int, c: Any) -> np.ndarray:
    """The rows (n,) whose users and items all have `core` events among them; aloud."""
    rows = np.arange(len(user))
    while True:
        kept = np.ones(len(rows), bool)
        for ids in (user[rows], item[rows]):
            kept &= np.bincount(ids)[ids] >= core
        if kept.all():
            break
        rows = rows[kept]
    if len(rows) < len(user):
        counts = [f"{len(np.unique(ids[rows])):,} of {len(np.unique(ids)):,}" for ids in (user, item)]
        say(f"task.core={core} leaves {len(rows):,} of {len(user):,} events, {counts[0]} {c.user}, {counts[1]} {c.item}")
    if not len(rows):
        raise UserError(f"task.core={core} leaves no event: no {c.user} and {c.item} have so many. Lower it.")
    return rows


def _last(user: np.ndarray, held: int, name: str) -> tuple[np.ndarray, str]:
    """Of users in their order, the last event is tested (2) where two are held back, the one before validates."""
    _, start, count = np.unique(user, return_index=True, return_counts=True)
    left = np.repeat(start + count, count) - 1 - np.arange(len(user))  # how many events of the user follow
    kept = np.repeat(count > held, count)
    if not kept.any():
        raise UserError(f"no {name} has {held + 1} events or more: one to train on, and {held} to hold back. Give longer logs.")
    if not kept.all():
        say(f"{int((count <= held).sum()):,} of {len(count):,} users have fewer than {held + 1} events and are only trained on")
    part = np.where(kept & (left < held), held - left, 0).astype(np.uint8)
    return part, "by user, the last event is tested, the one before validates" if held > 1 else "by user, the last event validates"
