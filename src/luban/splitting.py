"""Which rows are trained on, which pick the checkpoint, and which are only ever tested: a stable hash of the row decides.

The hash is ours, so a library's new version cannot move a row from one part to another; rows with equal inputs share a hash and so
a part. A `split` column, given test rows, `--group` and `--time` are honoured, in that order of precedence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from luban.core import cells
from luban.core.contract import Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS

TRAIN, VALID, TEST = 0, 1, 2
PARTS = ("train", "valid", "test")
_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "0": TRAIN,
    "valid": VALID,
    "validation": VALID,
    "val": VALID,
    "dev": VALID,
    "1": VALID,
    "test": TEST,
    "testing": TEST,
    "2": TEST,
}  # (0/1/2 is Ludwig's convention)

# ---------------------------------------------------------------- the hash

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def row_hash(table: Table, seed: int = 0) -> np.ndarray:
    """A 64-bit hash a row, (N,) uint64, of all columns of `table` in their order. Equal rows have equal hashes, in any version."""
    text = pl.concat_str([_text(table.get_column(name)) for name in table.columns] or [pl.lit("")], separator="\x1f")
    rows = table.select(text.alias("row")).get_column("row") if table.columns else pl.Series("row", [""] * table.height)
    step = 100_000  # bounds the uint64 copy of the bytes
    pieces = [_text_hash(rows.slice(start, step)) for start in range(0, len(rows), step)]
    return _finalise(np.concatenate(pieces or [np.zeros(0, np.uint64)]) ^ np.uint64(seed * 0x632BE59BD9B4E019 & 0xFFFFFFFFFFFFFFFF))


def _text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():  # the bits, because the text of a float is a library's choice
        column = column.cast(pl.Float64).reinterpret(dtype=pl.Int64) if hasattr(column, "reinterpret") else column
    elif column.dtype.is_temporal():
        column = column.to_physical()
    elif column.dtype.is_nested():
        column = pl.Series(column.name, [str(value) for value in column])
    return column.cast(pl.String).fill_null("\x00")


def _text_hash(rows: pl.Series) -> np.ndarray:
    """sum of byte[i] * M^i mod 2^64 for each text, as one multiply and one segmented sum over all bytes."""
    rows = rows + "\x1e"  # no text is empty, as `reduceat` needs
    lengths = rows.str.len_bytes().to_numpy().astype(np.int64)
    if not len(lengths):
        return np.zeros(0, np.uint64)
    data = np.frombuffer(rows.str.join("").item().encode(), np.uint8)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    powers = np.ones(int(lengths.max()), np.uint64)
    powers[1:] = _MULTIPLIER
    powers = np.cumprod(powers, dtype=np.uint64)
    position = np.arange(len(data)) - np.repeat(starts, lengths)
    return np.add.reduceat((data.astype(np.uint64) + np.uint64(1)) * powers[position], starts)


def _finalise(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def told_apart(hashes: np.ndarray) -> np.ndarray:
    """The same hashes, (N,) uint64; but where more than half of the rows are copies of others, each copy gets a hash of its own.

    In a table of so few distinct rows, keeping copies together would put whole patterns out of training's sight.
    """
    if len(np.unique(hashes)) >= 0.5 * len(hashes):
        return hashes
    warn("more than half of the rows are copies of others; copies may stand in several parts, so the test flatters.")
    order = np.argsort(hashes, kind="stable")
    sorted_hashes = hashes[order]
    first = np.concatenate([[True], sorted_hashes[1:] != sorted_hashes[:-1]])
    run = np.arange(len(hashes)) - np.maximum.accumulate(np.where(first, np.arange(len(hashes)), 0))
    copies = np.empty(len(hashes), np.uint64)
    copies[order] = run.astype(np.uint64)
    return _finalise(hashes + copies * _MULTIPLIER)


# ---------------------------------------------------------------- the parts


def by_hash(hashes: np.ndarray, classes: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Parts (N,) uint8 in the shares `fractions` (train, valid, test), within each class; equal hashes go together.

    hashes: (N,) uint64; classes: (N,) integers, all 0 where there are none. Within a class the smallest hashes are tested, the next
    validated. A class of one row is trained on.
    """
    unique, first_row, back = np.unique(hashes, return_index=True, return_inverse=True)
    group = classes[first_row]
    order = np.lexsort((unique, group))
    sorted_group = group[order]
    starts = np.searchsorted(sorted_group, sorted_group)
    sizes = np.searchsorted(sorted_group, sorted_group, side="right") - starts
    rank = np.arange(len(order)) - starts
    n_test, n_valid = np.round(sizes * fractions[TEST]), np.round(sizes * fractions[VALID])
    part = np.empty(len(unique), np.uint8)
    part[order] = np.where(rank < n_test, TEST, np.where(rank < n_test + n_valid, VALID, TRAIN))
    return part[back]


def by_time(column: pl.Series, fractions: Sequence[float]) -> np.ndarray:
    """The oldest rows train, the newest are tested. Rows of one moment stay together."""
    moments = _moments(column)
    if moments.null_count():
        row = int(moments.is_null().arg_max() or 0)
        what = "is empty" if column[row] is None else f"has {str(column[row])[:60]!r}, which is no time,"
        raise UserError(f"the time column {column.name!r} {what} in row {row + 1}; correct it or leave out --time.")
    values = moments.rank("dense").to_numpy()
    later = np.sort(values)
    n = len(values)
    first_valid, first_test = (
        later[min(int(n * fractions[TRAIN]), n - 1)],
        later[min(int(n * (fractions[TRAIN] + fractions[VALID])), n - 1)],
    )
    return np.where(values >= first_test, TEST, np.where(values >= first_valid, VALID, TRAIN)).astype(np.uint8)


def _moments(column: pl.Series) -> pl.Series:
    """Text as the numbers or dates that it spells, for as text 10 comes before 9; null where there is neither."""
    if column.dtype != pl.String:
        return column
    numbers = cells.numbers(column)
    if numbers.null_count() == column.null_count():
        return numbers
    date = FIELDS["date"]((column.name,))
    return pl.Series(column.name, date.decode(date.fit([column], {}).encode(column))) if date.sniff(column) else numbers


def by_column(column: pl.Series) -> np.ndarray | None:
    """Parts from a column of words (train, valid, test; 0, 1, 2), or None where it holds anything else."""
    words = column.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase().str.replace(r"\.0$", "")
    if not len(words) or words.null_count() or not set(words.unique()) <= set(_WORDS):
        return None
    return words.replace_strict(_WORDS, return_dtype=pl.UInt8).to_numpy()


def carve_valid(part: np.ndarray, hashes: np.ndarray, classes: np.ndarray, fraction: float) -> np.ndarray:
    """Takes a validation part out of the training rows, where none was given."""
    part, train = part.copy(), part == TRAIN
    part[train] = by_hash(hashes[train], classes[train], (1 - fraction, fraction, 0.0))
    return part


def need_column(table: Table, name: str, option: str) -> pl.Series:
    if name not in table.columns:
        there = f"There are: {listed(table.columns)}."
        if table.width == 1:
            there = f"There is only {table.columns[0]!r}; if that is several, name what divides them, e.g. --set data.delimiter=^"
        raise UserError(f"{option} names the column {name!r}, which the data do not have.{did_you_mean(name, table.columns)} {there}")
    return table.get_column(name)


def check_parts(part: np.ndarray) -> None:
    """Raises UserError where a part that is needed is empty."""
    counts = np.bincount(part, minlength=3)
    if not counts[TRAIN] or not counts[VALID]:
        raise UserError(
            f"the split leaves {counts[TRAIN]} rows to train on and {counts[VALID]} to validate on; both need at least one. "
            "Give more rows (or groups), or other shares: --set data.shares=[0.6,0.2,0.2]."
        )


def report_duplicates(part: np.ndarray, hashes: np.ndarray) -> int:
    """Says how many validation and test rows have a twin with the same inputs among the training rows; returns the number."""
    known = np.isin(hashes[part != TRAIN], hashes[part == TRAIN])
    if known.any():
        share = known.mean()
        warn(
            f"{int(known.sum()):,} of the {len(known):,} validation and test rows ({share:.1%}) are copies of training rows: "
            "the score will flatter by as much. Remove the copies, or split by --group."
        )
    return int(known.sum())


def summary(part: np.ndarray) -> str:
    counts = np.bincount(part, minlength=3)
    return ", ".join(f"{name} {count:,}" for name, count in zip(PARTS, counts, strict=True))


def announce(part: np.ndarray, how: str) -> None:
    say(f"split {how}: {summary(part)} rows")
