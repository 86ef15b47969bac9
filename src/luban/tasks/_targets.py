"""Which column is asked for, and what a target is like: classes or amounts, empty or not. Looks at raw columns, before any field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from luban.core import cells
from luban.core.contract import Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say

FEW = 20
"""Whole numbers are classes up to so many different ones, and where each has 5 rows on average; above, they are amounts."""


def discrete(column: pl.Series) -> bool:
    """Would a person call these values classes? All words are; so are two numbers, and few different whole ones (1.0 is whole)."""
    if column.dtype.is_temporal():
        return False
    text = cells.present(column)
    values = cells.numbers(text, cells.decimal_comma([text])).drop_nulls()
    if len(values) < 0.95 * len(text) or column.dtype == pl.Boolean:
        return True
    distinct = values.n_unique()
    whole = bool((values.is_finite() & (values == values.floor())).all())
    return distinct <= 2 or (whole and distinct <= FEW and 5 * distinct <= len(values))


def yes_or_no(column: pl.Series) -> bool:
    """Only 0 and 1, or true and false; one of the two alone will do: a label may be rare."""
    return set(cells.present(column).str.to_lowercase().unique()) <= {"0", "1", "0.0", "1.0", "true", "false"}


def column_of(table: Table, name: str | None, what: str) -> str:
    """The column of `what` by this name, or without one the column with the longest cells. Raises UserError where there is none."""
    if name is not None and name not in table.columns:
        raise UserError(f"the column {name!r} is not in the data.{did_you_mean(name, table.columns)} There are: {listed(table.columns)}.")
    written = {each.name: each.str.len_chars().mean() or 0.0 for each in table if each.dtype == pl.String}
    if name is None and not written:
        raise UserError(f"there is no column of {what} in {listed(table.columns)}. Name one with --target.")
    return name or max(written, key=lambda each: written[each])


def no_time(time: str | None) -> None:
    if time:
        raise UserError("--time has no meaning for rows of words, which stand by themselves. Leave it out.")


def not_empty(column: pl.Series) -> np.ndarray:
    """Numbers of the rows in which something is written, (n,) int64; the others, such as the blank lines of a book, are left out aloud."""
    gone = cells.empty(column).to_numpy()
    if gone.all():
        raise UserError(f"the column {column.name!r} is empty in all {len(column):,} rows: there is nothing to learn from.")
    if gone.any():
        say(f"{int(gone.sum()):,} rows are empty and are left out (the first: {cells.row(int(gone.argmax()))})")
    return np.flatnonzero(~gone)


def need_one(targets: Sequence[str], question: str) -> None:
    if len(targets) != 1:
        raise UserError(f"{question} has one target, not {len(targets)} ({listed(targets)}). For several at once: --task several, or "
                        "--task multilabel where each of them is yes or no.")  # fmt: skip


def need_several(targets: Sequence[str], question: str) -> None:
    if len(targets) < 2:
        raise UserError(f"{question} needs at least two targets, not {listed(targets)}. Name more of them: --target A --target B.")
