"""Columns as they were read: what a person would read in another way than the field that takes them.

Looks at cells before any field has, so it also tells of data that cannot be learned from. Each check is a function of one column:
(the cells, are they answers?) -> findings whose rows are positions in that column.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from luban.checks.finding import DOUBT, SERIOUS, Finding, places, spaced
from luban.core import cells
from luban.core.contract import Table
from luban.core.device import side_by_side
from luban.core.registry import FIELDS
from luban.core.table import DiskTable
from luban.fields.boolean import MEANING
from luban.fields.category import NAMES
from luban.fields.date import read as dates

MOSTLY = 0.95
"""Fields take a column for numbers or dates where so many of its cells are."""
LONG = 100
"""Bytes of a cell on average beyond which a column is free text, in which nothing can be misread."""
FEW = 3
"""Different spellings of no number, up to which they are taken for one writer's words for "missing"."""
YES_NO = MEANING.keys() - {"0", "1"}
UNIT = r"^[+-]?\d[\d.,]*\s*([A-Za-z°µ²³/\p{Han}]{1,8})$"
ORDINAL = r"(?i)^(st|nd|rd|th)$"
MONTHS = (
    r"(?i)^(\d{1,2}(st|nd|rd|th)?[ -])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?[ -]"
    r"(\d{1,2}(st|nd|rd|th)?,?[ -])?\d{2,4}$"
)
CODES = r"(?i)zip|post.?code|postal|phone|mobile|邮编|邮政|电话|手机|身份证|账号|卡号|代码|编码|_code$|^code$"


def as_read(table: Table, test: Table | None, targets: Sequence[str], leave_out: Sequence[str]) -> list[Finding]:
    """The findings of all columns, each on at most 50,000 evenly spaced rows. Rows are the user's."""
    numbers = spaced(table.height + (test.height if test is not None else 0), table.width)
    first, later = numbers[numbers < table.height], numbers[numbers >= table.height] - table.height
    some = table[first] if isinstance(table, DiskTable) else None

    def one(name: str) -> list[Finding]:
        column = some.get_column(name) if some is not None else table.get_column(name).gather(first)
        if test is not None and name in test.columns and test.get_column(name).dtype == column.dtype:
            column = pl.concat([column, test.get_column(name).gather(later)])
        if column.dtype in (pl.Categorical, pl.Enum):
            column = column.cast(pl.String)
        sentences = column.dtype == pl.String and column.str.len_bytes().fill_null(0).to_numpy().mean() > LONG
        if sentences or not (column.dtype == pl.String or column.dtype.is_integer()):
            return []
        plain = column.dtype.is_integer() or not cells.unread(column, cells.numbers(column, cells.decimal_comma([column]))).any()
        found = [each for check in ((codes,) if plain else WORDS) for each in check(column, name in targets)]
        return [dataclasses.replace(each, **places(numbers[np.asarray(each.rows, np.int64)], table.height)) for each in found]

    return [each for made in side_by_side(one, [name for name in table.columns if name not in leave_out]) for each in made]


def _finding(column: pl.Series, severity: str, what: str, certainty: Any, basis: str, mend: str, mask: pl.Series | None) -> Finding:
    rows = mask.arg_true().to_list() if mask is not None else ()
    return Finding("types", severity, f"the column {column.name!r} {what}", round(float(certainty), 3), basis, column.name, mend, rows)


def odd_cells(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Numbers but for a few cells; dates but for a few. Either most of the cells are (95 %, the share at which a field takes them), or
    half of them and the others have at most FEW spellings: one writer's words for "missing"."""
    filled = ~cells.empty(column, cells.BLANK)
    n = int(filled.sum())
    if n < 20:
        return
    for wanted, field, read in (("numbers", "number", _numbers), ("dates", "date", _dates)):
        some = read(column.filter(filled).gather_every(max(1, n // 1_000)))
        if some.null_count() > 0.5 * len(some):
            continue
        values = read(column)
        odd = filled & values.is_null()
        share = 1 - odd.sum() / n
        few = column.filter(odd).n_unique() <= FEW
        if odd.any() and values.n_unique() > 10 and (share >= MOSTLY or (share >= 0.5 and few)):
            taken = "They are read as missing where training rows hold such, else refused"
            taken = taken if share >= MOSTLY else f"It is read as words: --set 'fields.{column.name}={field}'"
            mend = f"{taken}. Better correct the cells; to leave out rows that cannot be read: --set data.skip_bad=true"
            if target:
                mend = "Correct these cells, or empty them: rows without an answer are left out"
            what = f"holds {wanted} but for {odd.sum():,} of {n:,} cells, such as {str(column.filter(odd)[0])[:40]!r}"
            yield _finding(column, SERIOUS if target else DOUBT, what, share, f"share of the cells that are {wanted}", mend, odd)
        return


def _numbers(column: pl.Series) -> pl.Series:
    return cells.numbers(column, cells.decimal_comma([column]))


def _dates(column: pl.Series) -> pl.Series:
    return max((dates(column, day_first) for day_first in (False, True)), key=lambda read: read.count())


def date_forms(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Dates in more than one order of year, month and day, or with the month in words, which no field reads."""
    text = cells.words(column)
    filled = ~cells.empty(column, cells.BLANK)
    n = int(filled.sum())
    if n < 20:
        return
    named = text.str.contains(MONTHS).fill_null(False)
    if named.sum() >= 0.8 * n:
        yield _finding(
            column,
            DOUBT,
            f"holds dates with the month in words, such as {text.filter(named)[0]!r}, which are read as words",
            named.sum() / n,
            "share of the cells that are such dates",
            "Write them as 2024-01-31",
            named,
        )
        return
    if FIELDS["date"].sniff(column.gather_every(max(1, len(column) // 5_000))) < 0.9:
        return
    day = text.str.extract(r"^([^T\s]+)", 1)
    form = day.str.replace_all(r"\d{4}", "Y").str.replace_all(r"\d+", "9")
    kinds = form.filter(filled).value_counts(sort=True)
    if kinds.height > 1:
        usual = kinds[0, 0]
        odd = filled & (form != usual).fill_null(False)
        yield _finding(
            column,
            DOUBT,
            f"writes dates in {kinds.height} forms, {_example(text, form == usual)} and {_example(text, odd)}, "
            "so days and months may be mixed up",
            1 - odd.sum() / n,
            "share of the commonest form",
            "Write all as 2024-01-31",
            odd,
        )
        return
    slashes = day.str.extract_groups(r"^(\d{1,2})[-/](\d{1,2})[-/]\d{2,4}$").struct
    first, second = (slashes.field(side).cast(pl.Int64) for side in ("1", "2"))
    day_first, month_first = (first > 12).fill_null(False), (second > 12).fill_null(False)
    few = day_first if day_first.sum() <= month_first.sum() else month_first
    if day_first.any() and month_first.any():
        yield _finding(
            column,
            DOUBT,
            f"writes the day before the month and after it, {_example(text, day_first)} and {_example(text, month_first)}",
            1.0,
            "cells that can be read in one order only",
            "Write all as 2024-01-31",
            few,
        )


def _example(text: pl.Series, mask: pl.Series) -> str:
    return repr(text.filter(mask)[0])


def units(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Numbers with a unit behind them, which makes them words: at least ten different ones with at most FEW units."""
    text = cells.present(column, cells.BLANK)
    if len(text) < 20 or cells.numbers(text.head(200)).null_count() < 0.5 * min(200, len(text)):
        return
    found = text.str.extract(UNIT, 1)
    share = 1 - found.null_count() / len(text)
    kinds = found.drop_nulls().unique().sort()
    if share >= 0.8 and len(kinds) <= FEW and text.n_unique() >= 10 and not kinds.str.contains(ORDINAL).all():
        several = f"units ({', '.join(kinds)})" if len(kinds) > 1 else f"the unit {kinds[0]!r}"
        yield _finding(
            column,
            SERIOUS if target else DOUBT,
            f"holds numbers with {several}, such as {text[0]!r}, which are read as words",
            share,
            "share of the cells that are a number and a unit",
            "Write the number alone, all in one unit, and the unit into the column's name",
            None,
        )


def yes_or_no(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Yes and no in more than one way each ("yes", "Y", 1)."""
    kinds = column.drop_nulls().unique() if column.n_unique() <= 20 else pl.Series([], dtype=pl.String)
    lower = {word.strip().lower() for word in kinds} - (cells.BLANK - MEANING.keys())
    if len(lower) > 2 and lower <= MEANING.keys() and lower & YES_NO:
        counts = column.drop_nulls().value_counts(sort=True)
        usual = _usual(counts)
        odd = ~cells.empty(column) & ~column.is_in(usual).fill_null(True)
        yield _finding(
            column,
            SERIOUS if target else DOUBT,
            f"says yes and no in {len(lower)} ways ({', '.join(sorted(lower))})",
            1.0,
            "every cell is one of the known pairs",
            f"Write all as {' and '.join(map(repr, usual))}",
            odd,
        )


def _usual(counts: pl.DataFrame) -> list[str]:
    """The commonest yes and the commonest no."""
    best: dict[float, str] = {}
    for word, _ in counts.iter_rows():
        best.setdefault(MEANING.get(word.strip().lower(), -1.0), word)
    return [best[side] for side in (1.0, 0.0) if side in best]


def spellings(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Categories that differ only by case, spaces, full width or a mark at the end ("Male", "male ", "Ｍale").

    Only where values come back (a category): in free text such pairs are natural.
    """
    text = cells.present(column)
    counts = text.value_counts(name="rows", sort=True)
    if counts.height > min(5_000, 0.5 * len(text)) or counts.height < 2:
        return
    word = pl.col(column.name)
    folded = counts.with_columns(key=word.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"[\s_]+", " ").str.strip_chars(" .。"))
    folded = folded.filter(pl.len().over("key") > 1)
    lower = set(folded["key"])
    if not folded.height or lower <= MEANING.keys():  # of yes and no see above: they are read in any case
        return
    group = folded.filter(pl.col("key") == folded["key"][0])
    rare = folded.filter(pl.col("rows") < pl.col("rows").max().over("key"))[column.name]
    odd = cells.words(column).is_in(rare.to_list()).fill_null(False)
    yield _finding(
        column,
        SERIOUS if target else DOUBT,
        f"spells {len(lower):,} of its values in several ways, such as {' and '.join(map(repr, group[column.name].to_list()[:3]))}",
        1.0,
        "equal but for case, spaces, width and marks",
        "Spell each in one way",
        odd,
    )


def codes(column: pl.Series, target: bool) -> Iterator[Finding]:
    """Whole numbers that are names: a column so called, or values of five digits and more that fill their decade from edge to edge with
    none outside it, which amounts do not."""
    if target or re.search(NAMES, column.name.strip()):  # those are taken for categories
        return
    text = cells.present(column, cells.BLANK)
    if len(text) < 50 or not text.head(200).str.contains(r"^\d+$").all() or not text.str.contains(r"^\d+$").all():
        return
    lengths = text.str.len_chars()
    k = int(lengths[0])
    values = text.cast(pl.Float64)
    called = re.search(CODES, column.name.strip()) and text.n_unique() > 10
    decade = k >= 5 and lengths.n_unique() == 1 and values.min() < 2 * 10 ** (k - 1) and values.max() > 8 * 10 ** (k - 1)
    dates = k == 8 and FIELDS["date"].sniff(text.head(500)) > 0
    named_rows = text.n_unique() > 0.98 * len(text)  # told as such
    if (called or decade) and not (dates or named_rows) and not text.str.contains(r"^0\d").any():
        why = "by its name" if called else f"all have {k} digits"
        yield _finding(
            column,
            DOUBT,
            f"holds whole numbers that look like codes ({why}), and is read as amounts",
            0.9 if called else 0.7,
            "the column's name" if called else "values fill their decade and none lies outside",
            f"--set 'fields.{column.name}=category'",
            None,
        )


WORDS: tuple[Callable[[pl.Series, bool], Iterator[Finding]], ...] = (odd_cells, date_forms, units, yes_or_no, spellings)
"""The checks of columns that are not all numbers."""
