"""How a raw cell is read: trimmed words, numbers however they are written, and what counts as empty.

Columns come as the source gave them, all text for a CSV and typed otherwise; both must give the same value for the same content,
because a model trained on a CSV is later asked in JSON. Knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import numpy as np
import polars as pl

from luban.core.errors import BadCells, UserError

EMPTY = frozenset({"", "?", "na", "n/a", "#n/a", "nan", "null"})
"""Empty in any column, in any letter case. "None", "无", "-" are not here: in a column of words they may be an answer ("no garage")."""
BLANK = EMPTY | {"none", "nil", "-", "--", "—", "n.a.", "#value!", "#div/0!", "#null!", "missing", "无", "空", "缺失"}
"""Empty in a column of numbers, dates or yes/no, where they can mean nothing else."""

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
"""Scripts in which no spaces are written, for a class of a regular expression that knows Unicode's names. layers/ngrams.py has
them by codepoints, for saved weights go by these; fields/words.py the signs that are a token each, punctuation among them."""


def whole(chunks: Iterable[pl.Series], name: str) -> pl.Series:
    """The chunks as one column, for what is learned from all of it at once. Costs the memory of one column of training rows."""
    chunks = list(chunks)
    return pl.concat(chunks) if chunks else pl.Series(name, [], dtype=pl.Null)


def raw(column: pl.Series) -> pl.Series:
    """Any column as text, as it is written. Raises UserError for lists and bytes."""
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise UserError(f"the column {column.name!r} holds values of type {column.dtype}; text, numbers, dates and yes/no can be read. "
                        f"Leave it out with --drop {column.name!r}, or make it text first.")  # fmt: skip
    return column.cast(pl.String)


def words(column: pl.Series) -> pl.Series:
    """As `raw`, trimmed: 3, 3.0 and " 3" are all "3", True is "true", NaN is "NaN"."""
    text = raw(column)
    return text.str.strip_suffix(".0") if column.dtype.is_float() else text.str.strip_chars()


def by_spelling(column: pl.Series, read: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """`read` of a column, asked for each spelling once where they are few: of a million cells that costs a fifth."""
    few = column.dtype == pl.String and len(column) > 10_000
    if few and (
        column.head(1000).n_unique() < 300 or column.gather_every(len(column) // 1000).n_unique() < 700
    ):  # of one item all days differ
        spelt = column.unique()
        if len(spelt) < 0.1 * len(column):
            return column.replace_strict(spelt, read(spelt))
    return read(column)


def empty(column: pl.Series, tokens: frozenset[str] = EMPTY) -> pl.Series:
    """(N,) bool: null, NaN, or one of `tokens`."""
    return by_spelling(column, lambda cells: _empty(cells, tokens))


def _empty(column: pl.Series, tokens: frozenset[str]) -> pl.Series:
    if column.dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(True)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = words(column).alias("cell")
        # no token is longer than 16 bytes, and a cell may be a picture of a megabyte
        short = pl.when(pl.col("cell").str.len_bytes() > 16).then(pl.lit("full")).otherwise("cell")
        lower = text.to_frame().select(short.str.to_lowercase()).to_series()
        return lower.is_in(tokens).fill_null(True).alias(column.name)
    return column.is_null()


def present(column: pl.Series, tokens: frozenset[str] = EMPTY) -> pl.Series:
    """The cells that are not empty, as words; what a sniff looks at."""
    return words(column.filter(~empty(column, tokens)))


# ---------------------------------------------------------------- numbers


def numbers(column: pl.Series, comma: bool = False) -> pl.Series:
    """Float64, null where there is no number. comma: "1.234,5" is 1234.5, else "1,234.5" is."""
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64)
    if column.dtype == pl.Duration:
        return column.dt.total_microseconds() / 1e6
    text = words(column)
    if comma:
        return _written(text, comma)
    plain = text.cast(pl.Float64, strict=False)  # 15 ms a million; the rest of the notations cost a second
    odd = (plain.is_null() & text.is_not_null()).arg_true()
    return plain.scatter(odd, _written(text.gather(odd), comma)) if len(odd) else plain


def _written(text: pl.Series, comma: bool) -> pl.Series:
    """Currency signs, grouping, full-width digits, percent, ten thousands: "￥1,234", "5 €", "１２", "12%" = 0.12 (as Excel keeps it),
    "70.4万" = 704,000, "3亿元" = 300,000,000."""
    point, group = (",", r"\.") if comma else (r"\.", ",")
    grouped = rf"^[+-]?[1-9]\d{{0,2}}(?:(?:{group}\d{{3}})+|(?: \d{{3}})+)(?:{point}\d*)?$"
    s = pl.col("s")
    frame = text.alias("s").to_frame().lazy()
    frame = frame.with_columns(s.str.normalize("NFKC").str.replace_all("[−–]", "-"))
    frame = frame.with_columns(s.str.replace(r"^([+-]?)\s*[$€£¥₹₩]\s*", "${1}").str.replace(r"\s*(?:[$€£¥₹₩]|元)$", ""))
    frame = frame.with_columns(s.str.replace(r"\s*%$", ""), percent=s.str.ends_with("%"))
    frame = frame.with_columns(s.str.replace(r"\s*[万萬亿億]$", ""), tens=pl.when(s.str.contains("[万萬]$")).then(pl.lit("e4"))
                               .when(s.str.contains("[亿億]$")).then(pl.lit("e8")).otherwise(pl.lit("")))  # fmt: skip
    frame = frame.with_columns(s=pl.when(s.str.contains(grouped)).then(s.str.replace_all(rf"{group}| ", ""))
                               .when(s.str.contains(group) if comma else False).then(None).otherwise(s))  # fmt: skip
    if comma:
        frame = frame.with_columns(s.str.replace(",", ".", literal=True))
    value = pl.concat_str(s, "tens").cast(pl.Float64, strict=False)  # "70.4e4" is exact, 70.4 * 1e4 need not be
    return frame.select(pl.when(pl.col("percent")).then(value / 100).otherwise(value)).collect().to_series()


def decimal_comma(chunks: Iterable[pl.Series]) -> bool:
    """Is the comma this column's decimal mark? Only where some value can be read in no other way, and none only with a point.

    "1,234" alone proves nothing and is read as one thousand two hundred and thirty-four.
    """
    if not any(_written_with(column, ",").any() for column in chunks):  # most columns end here
        return False
    proof = False
    for column in chunks:
        text = words(column)
        text = text.filter(_written_with(text, "[,.]"))
        by_comma, by_point = numbers(text, True).is_not_null(), numbers(text, False).is_not_null()
        if (by_point & ~by_comma).any():
            return False
        proof = proof or bool((by_comma & ~by_point).any())
    return proof


def _written_with(column: pl.Series, marks: str) -> pl.Series:
    """(N,) bool: is it text with one of the marks in it?"""
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return pl.Series([False]).new_from_index(0, len(column))
    return column.cast(pl.String).str.contains(marks).fill_null(False)


def counts(chunks: Iterable[pl.Series]) -> tuple[pl.DataFrame, int]:
    """({word, count} of all that is not empty, the most frequent first; how many cells are empty)."""
    seen = [column.alias("cell").value_counts(name="count") for column in chunks]
    raw_counts = pl.concat(seen)  # first as they are written: there are fewer spellings than cells
    gone = empty(raw_counts["cell"])
    there = raw_counts.filter(~gone)
    found = pl.DataFrame({"word": words(there["cell"]), "count": there["count"]}).group_by("word").agg(pl.col("count").sum())
    return found.sort("count", "word", descending=[True, False]), int(raw_counts.filter(gone)["count"].sum())


# ---------------------------------------------------------------- what cannot be read


def unread(column: pl.Series, values: pl.Series) -> pl.Series:
    """(N,) bool: the cell holds something, and it became no value."""
    without = values.is_null()
    at = without.arg_true()  # few, mostly: only these cells are looked at
    return without.scatter(at, ~empty(column.gather(at), BLANK)) if len(at) else without


_row: ContextVar[Callable[[int], str]] = ContextVar("row", default=lambda i: f"row {i + 1}")


def row(i: int) -> str:
    """What the user calls row i of the column at hand: "row 8" counts the data rows of their file from 1."""
    return _row.get()(i)


@contextmanager
def numbered(name: Callable[[int], str]) -> Iterator[None]:
    """Within it, `row(i)` is `name(i)`: for a column that holds only some of the file's rows (a chunk, a part, those with a target).

    A context and not an argument, because only messages need it, and those are worded below every `encode` and `check`.
    """
    token = _row.set(name)
    try:
        yield
    finally:
        _row.reset(token)


def picked(rows: Sequence[int] | np.ndarray) -> AbstractContextManager[None]:
    """Within it, row i is what was row rows[i] outside."""
    outer = _row.get()
    return numbered(lambda i: outer(int(rows[i])))


_names: dict[int, str] = {}


def name_bytes(content: bytes, name: str) -> None:
    """Remembers what the user calls a cell of bytes: a name in an archive, where the cell cannot hold one."""
    _names[hash(content)] = name


def name_of(content: bytes) -> str | None:
    return _names.get(hash(content))


_files: ContextVar[bool] = ContextVar("files", default=True)


def files_allowed() -> bool:
    """May a cell that names a file be followed?"""
    return _files.get()


@contextmanager
def without_files() -> Iterator[None]:
    """Within it, a cell that names a file is refused: who asks over a network has no business with the files of this machine."""
    token = _files.set(False)
    try:
        yield
    finally:
        _files.reset(token)


def first(column: pl.Series, mask: pl.Series) -> str:
    """Where the first marked cell is and what it holds: "row 3 has 'abc'"."""
    i = mask.arg_true()[0]
    return f"{row(i)} has {str(column[i])[:60]!r}"


class Odd:
    """Training cells that cannot be read, gathered piece by piece: how many, and which was the first."""

    def __init__(self, name: str, wanted: str):
        self.name, self.wanted, self.count, self.read, self.where = name, wanted, 0, 0, ""

    def see(self, column: pl.Series, values: pl.Series) -> None:
        odd = unread(column, values)
        self.where = self.where or (first(column, odd) if odd.any() else "")
        self.count, self.read = self.count + int(odd.sum()), self.read + values.count()

    def doubts(self) -> list[str]:
        """What is to be told of them. Raises UserError where not one cell could be read."""
        if not self.count:
            return []
        if not self.read:
            raise UserError(f"the column {self.name!r} should hold {self.wanted}, but training {self.where}, and no other row is better. "
                            f"Choose another field for it: --set 'fields.{self.name}=category'.")  # fmt: skip
        return [f"not {self.wanted}, so missing: {self.count:,} (training {self.where})"]


def refuse(column: pl.Series, mask: pl.Series, name: str, wanted: str) -> None:
    """Raises BadCells naming the first marked cell, if there is one."""
    if mask.any():
        more = f", and {mask.sum() - 1:,} more like it" if mask.sum() > 1 else ""
        raise BadCells(f"the column {name!r} should hold {wanted}, but {first(column, mask)}{more}. "
                       "Correct the value, or leave it empty where it is not known.", mask.arg_true().to_list())  # fmt: skip
