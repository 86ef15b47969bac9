"""How a table of series is laid out: which column is the time, the item, a series; how long each item is; rows brought to even steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from luban.core import cells
from luban.core.contract import Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.core.registry import FIELDS

ITEMS = (
    "item itemid item_id series seriesid series_id unique_id uniqueid id symbol ticker store shop sku product productid station sensor "
    "meter device city region country 股票 股票代码 代码 商品 商品编号 门店 店铺 站点 设备 城市 地区"
)
"""What a column of items is called, in lower case."""
TIMES = "year time timestamp ds t period step 年 年份 年度 时间 时刻"
"""What a column of whole numbers is called that says when, in lower case."""
VALUES = "target y value values sales demand price close 目标 数值 值 销量 需求 价格 收盘价"
"""What the only series of a table of many items is called; else every column of numbers is one."""


def there(table: Table, name: str) -> str:
    if name not in table.columns:
        raise UserError(f"the column {name!r} is not in the data.{did_you_mean(name, table.columns)} There are: {listed(table.columns)}.")
    return name


def time_of(table: Table, named: str | None, targets: Sequence[str]) -> str | None:
    """The first column that reads as dates, else one of whole numbers that is called as a time is, unless one is named."""
    if named is not None:
        return there(table, named)
    sample = table.gather_every(max(1, table.height // 1_000))
    free = [name for name in table.columns if name not in targets]
    dates = [name for name in free if FIELDS["date"].sniff(sample.get_column(name)) > 0]
    called = [
        name
        for name in free
        if name.lower() in TIMES.split() and not cells.words(sample.get_column(name)).cast(pl.Int64, strict=False).has_nulls()
    ]
    return next(iter(dates + called), None)


def item_of(table: Table, time: str | None, named: str | None, others: Sequence[str]) -> str | None:
    """The column that says of which item a row is, unless one is named: one that is called so, and has several, or moments that repeat;
    else one that tells the rows of a moment apart, where most moments have several."""
    if named is not None:
        return there(table, named)
    if time is None:
        return None
    moments = table.get_column(time).n_unique()
    usual = next((name for name in table.columns if name.lower() in ITEMS.split() and name not in (time, *others)), None)
    if usual is not None and (moments < table.height or 1 < table.get_column(usual).n_unique() <= table.height / 2):
        return usual
    if 2 * moments > table.height:  # a moment that is there twice is a mistake, no item
        return None
    for name, dtype in table.schema.items():
        if name in (time, *others) or not (dtype == pl.String or dtype.is_integer()):
            continue
        if 2 * table.get_column(name).n_unique() <= table.height and table.select(time, name).n_unique() == table.height:
            return name
    return None


def series_of(table: Table, time: str | None, item: str | None, others: Sequence[str]) -> tuple[str, ...]:
    """The columns of numbers; of many items the one that is called as a value is, where there is such."""
    sample = table.gather_every(max(1, table.height // 1_000))
    aside = {time, item, *others}
    dates = {name for name in table.columns if FIELDS["date"].sniff(sample.get_column(name)) > 0}
    numbers = [name for name in table.columns if name not in aside | dates and FIELDS["number"].sniff(sample.get_column(name)) >= 0.5]
    usual = [name for name in numbers if name.lower() in VALUES.split()] if item else []
    return tuple(usual[:1] or numbers)


def ranks(column: pl.Series) -> np.ndarray:
    """(N,): which item each row is of, numbered as they first came."""
    empty = cells.empty(column)
    if empty.any():
        raise UserError(f"the column {column.name!r} says of which item a row is, and is empty in {cells.row(empty.arg_true()[0])}.")
    words = cells.words(column)
    spelt = words.unique(maintain_order=True)
    return words.replace_strict(spelt, np.arange(len(spelt)), return_dtype=pl.Int64).to_numpy()


def sizes(table: Table, item: str | None) -> np.ndarray:
    """(items,): rows of each item, whose rows lie together."""
    if item is None:
        return np.array([table.height])
    return np.bincount(ranks(table.get_column(item)))


def steady(table: Table, item: str | None, name: str) -> None:
    """Raises UserError where a static column has two values in one item."""
    column = table.get_column(name)
    said = pl.DataFrame({"item": ranks(table.get_column(item)) if item else np.zeros(table.height, np.int64), "value": column})
    said = said.with_row_index("row").filter(~cells.empty(column))
    first = said.unique(["item", "value"], keep="first", maintain_order=True)
    again = first.filter(pl.col("item").is_duplicated()).sort("item", "row")
    if again.height:
        (i, _, one), (j, _, other) = again.rows()[:2]
        of = f" of {item} {table.get_column(item)[i]!r}" if item else ""
        raise UserError(f"task.static names {name!r}, which should say the same in all rows{of}, and says {one!r} in {cells.row(i)} and "
                        f"{other!r} in {cells.row(j)}. Name it in task.past, or in task.known where its future is known.")  # fmt: skip


def refuse_twice(table: Table, time: str, item: str | None, rows: tuple[int, int], when: Any) -> UserError:
    """The error of a moment that has two rows."""
    first, second = (cells.row(row) for row in rows)
    of = f" of {item} {table.get_column(item)[rows[0]]!r}" if item else ""
    hint = "" if item else " Or, where the rows are of several items, name the column that tells them apart: --set task.item=COLUMN."
    if str(when)[11:13] in ("00", "01", "02", "03"):
        hint += " Or, where clocks were set back, write each time with its offset, as in 2024-10-27T02:30+01:00."
    return UserError(f"the time {when} of {time!r}{of} stands in {first} and again in {second}. "
                     f"A series has one row for each moment; several series go side by side, a column each.{hint}")  # fmt: skip


def upright(table: Table, item: str | None) -> Table:
    """A table of a series a row (the M4 competition's), as one of a moment a row: the item, and `value`. A name again goes on with its
    series. item: unset, the first column."""
    name = there(table, item or table.columns[0])
    if table.width < 3:
        raise UserError(f"task.layout=rows reads a series a row, its name first; beside {name!r} there are no values.")
    values = table.drop(name).with_columns(pl.all().cast(pl.String))
    long = (
        pl.concat([table.select(name), values], how="horizontal").with_row_index("\0row").unpivot(index=[name, "\0row"], value_name="value")
    )
    long = long.filter(~cells.empty(long.get_column("value"), cells.BLANK))  # what a series is shorter than the longest
    return long.sort("\0row", maintain_order=True).select(name, "value")


EVERY = {"second": "s", "minute": "m", "hour": "h", "day": "d", "week": "w", "month": "mo", "quarter": "q", "year": "y"}
"""Units of a step, as polars writes them."""


def even(table: Table, time: str | None, item: str | None, step: str, by: str) -> Table:
    """Rows of even steps: those of a step become one (numbers by mean, sum or last, words by the last), and a step without a row becomes
    an empty one."""
    count, _, unit = step.replace(",", "").strip().partition(" ")
    if not count.isdecimal() or not int(count) or unit.rstrip("s") not in EVERY:
        raise UserError(f"task.resample is written as '15 minutes', '1 day' or '1 month', not {step!r}.")
    if time is None:
        raise UserError("task.resample needs a column that says when each row was: name it with --time.")
    every, moment = count + EVERY[unit.rstrip("s")], FIELDS["moment"].of(table.get_column(time))  # type: ignore[attr-defined]
    if moment.form == "number":
        raise UserError(f"task.resample needs dates, and {time!r} holds whole numbers.")
    stamps = pl.Series(time, moment.encode(table.get_column(time)).numpy()).cast(pl.Datetime("us"))
    names = [name for name in table.columns if name not in (time, item)]
    numbers = [name for name in names if FIELDS["number"].sniff(table.get_column(name)) >= 0.5]
    table = table.with_columns(stamps.dt.truncate(every), *(cells.numbers(table.get_column(name)).alias(name) for name in numbers))
    keys = [*([item] if item else []), time]
    how = {"mean": pl.Expr.mean, "last": pl.Expr.last, "sum": lambda each: pl.when(each.count() > 0).then(each.sum())}[by]
    made = [how(pl.col(name).drop_nulls() if by == "last" else pl.col(name)).alias(name) if name in numbers else pl.col(name).last()
            for name in names]  # fmt: skip
    whole = table.group_by(keys, maintain_order=True).agg(made)
    spans = whole.group_by(keys[:-1] or pl.lit(0), maintain_order=True).agg(
        pl.datetime_range(pl.col(time).min(), pl.col(time).max(), every)
    )
    even = spans.explode(time).select(keys).join(whole, on=keys, how="left", maintain_order="left")
    if not table.height == whole.height == even.height:
        added = f", {even.height - whole.height:,} of them added, without a value" if even.height > whole.height else ""
        say(f"{table.height:,} rows are brought to {even.height:,} of {step} ({by}){added}")
    return even.with_columns(pl.col(time).dt.to_string("iso"))
