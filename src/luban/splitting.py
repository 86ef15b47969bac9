"""Which rows are trained on, which pick the checkpoint, and which are only ever tested: a stable hash of the row decides.

The hash is ours, so a library's new version cannot move a row from one part to another; rows with equal inputs share a hash and so
a part. A `split` column, given test rows, `--time` and `--group` are honoured, in that order of precedence.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from luban import pixels
from luban.core import cells
from luban.core.contract import Table
from luban.core.device import side_by_side
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS
from luban.core.table import DiskTable, Pieces, batches

TRAIN, VALID, TEST = 0, 1, 2
UNLABELLED = 4
"""Rows without an answer that are used all the same, by train.semi; 3 is a row in no part."""
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
_INVERSE = np.uint64(pow(int(_MULTIPLIER), -1, 1 << 64))
_PIECE = 500_000
"""Bytes of text hashed at once: what they become (8 bytes each, three times) still lies in the processor's cache."""


def row_hash(table: Table, seed: int = 0) -> np.ndarray:
    """A 64-bit hash a row, (N,) uint64, of all columns of `table` in their order. Equal rows have equal hashes, in any version."""
    shared = {name: prefix for name in table.columns if (prefix := _shared_folder(table, name))}
    made = side_by_side(lambda rows: _row_hash(rows, shared), (rows for _, rows in batches(table)))
    hashes = np.concatenate([*made, np.zeros(0, np.uint64)])
    return finalise(hashes ^ np.uint64(seed * 0x632BE59BD9B4E019 & 0xFFFFFFFFFFFFFFFF))


def _row_hash(table: pl.DataFrame, shared: dict[str, str]) -> np.ndarray:
    """shared: {column: a beginning that does not count}."""
    text = pl.concat_str([_text(table.get_column(name), shared.get(name, "")) for name in table.columns] or [pl.lit("")], separator="\x1f")
    rows = table.select(text.alias("row")).get_column("row") if table.columns else pl.Series("row", [""] * table.height)
    return np.concatenate([_text_hash(rows.slice(start, stop - start)) for start, stop in _slices(rows)] or [np.zeros(0, np.uint64)])


def _slices(rows: pl.Series) -> Iterator[tuple[int, int]]:
    """[start, stop) of pieces of about so many bytes of text, or of one longer row."""
    ends = np.cumsum(rows.str.len_bytes().to_numpy().astype(np.int64) + 1)
    start, done = 0, 0
    while start < len(ends):
        stop = max(start + 1, int(np.searchsorted(ends, done + _PIECE, side="right")))
        yield start, stop
        start, done = stop, int(ends[stop - 1])


def _text(column: pl.Series, prefix: str) -> pl.Series:
    if column.dtype.is_float():  # the bits, because the text of a float is a library's choice
        bits = pl.Series(column.name, column.cast(pl.Float64).fill_null(0.0).to_numpy().view(np.int64))
        column = bits.to_frame().select(pl.when(column.is_not_null()).then(bits)).to_series()
    elif column.dtype.is_temporal():
        column = column.to_physical()
    elif column.dtype == pl.Binary or pixels.are(column.dtype):
        column = pl.Series(column.name, _digests(column), pl.String)
    elif column.dtype.is_nested():
        column = pl.Series(column.name, [str(value) for value in column])
    return column.cast(pl.String).str.strip_prefix(prefix).fill_null("\x00")


def _shared_folder(table: Table, name: str) -> str:
    """The folder that all whole paths of a column lie in: where a folder of files lies must not decide how its rows are split."""
    if table.schema[name] not in (pl.String, pl.Categorical, pl.Enum):
        return ""
    first = next((piece.drop_nulls()[0] for piece in Pieces(table, name) if piece.null_count() < len(piece)), "")
    if not first.startswith("/") and first[1:3] not in (":\\", ":/"):
        return ""
    ends = [str(end) for piece in Pieces(table, name) for end in (piece.cast(pl.String).min(), piece.cast(pl.String).max()) if end]
    shared = os.path.commonprefix(ends)  # noqa: RUF071 - cut at a separator below
    return shared[: max(shared.rfind("/"), shared.rfind("\\")) + 1]


def _digests(column: pl.Series) -> list[str | None]:
    """BLAKE2's 64 bits of each cell's bytes: 60,000 pictures of 784 pixels take a tenth of a second."""
    there = column.drop_nulls()  # with nulls, polars gives an array of floats
    digests = iter(
        [hashlib.blake2b(each, digest_size=8).hexdigest() for each in (there if column.dtype == pl.Binary else there.to_numpy())]
    )
    return [None if gone else next(digests) for gone in column.is_null()]


def _text_hash(rows: pl.Series) -> np.ndarray:
    """sum of (byte[i] + 1) * M^i mod 2^64 for each text, as one multiply and one segmented sum over all bytes.

    The powers run on from text to text, and M, being odd, has an inverse by which each sum is moved back to its own start.
    """
    rows = rows + "\x1e"  # no text is empty, as `reduceat` needs
    lengths = rows.str.len_bytes().to_numpy().astype(np.int64)
    if not len(lengths):
        return np.zeros(0, np.uint64)
    data = np.frombuffer(rows.str.join("").item().encode(), np.uint8)
    starts = np.cumsum(lengths) - lengths
    sums = np.add.reduceat((data.astype(np.uint64) + np.uint64(1)) * _powers(_MULTIPLIER, len(data)), starts)
    return sums * _powers(_INVERSE, len(data))[starts]


_kept: dict[np.uint64, np.ndarray] = {}


def _powers(base: np.uint64, n: int) -> np.ndarray:
    """base^0 .. base^(n - 1) mod 2^64, kept for the usual piece."""
    made = _kept.get(base)
    if made is None or len(made) < n:
        made = np.full(max(n, _PIECE + _PIECE // 8), base)
        made[0] = 1
        made = np.cumprod(made, dtype=np.uint64)
        if n <= _PIECE + _PIECE // 8:
            _kept[base] = made
    return made[:n]


def finalise(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele et al. 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fingerprint(table: Table, test: Table | None = None) -> str:
    """ "EXACT/CONTENT": both 16 hex digits.

    EXACT changes with anything that a run or a split could notice: a cell, the order of rows or columns, text become numbers, the test
    file. CONTENT is the same for the same rows of `table` in any order and from any format ("3.0", 3), so it knows training rows again.
    Of a table on disk both are those of its file's bytes, and "/file" follows: it can be told again only of one that is read so.
    """
    if isinstance(table, DiskTable):
        exact = hashlib.sha256(table.digest.encode() + (row_hash(test).tobytes() if test is not None else b"none"))
        return f"{exact.hexdigest()[:16]}/{table.digest[:16]}/file"
    exact = hashlib.sha256(repr(table.columns).encode())
    for each in (table, test):
        exact.update(row_hash(each).tobytes() if each is not None else b"none")
    content = row_hash(pl.DataFrame([_meaning(table.get_column(name)) for name in sorted(table.columns)])).sum(dtype=np.uint64)
    return f"{exact.hexdigest()[:16]}/{int(content):016x}"


def _meaning(column: pl.Series) -> pl.Series:
    """The values that a column spells: numbers where all its cells are, else words."""
    if column.dtype.is_temporal() or column.dtype.is_nested() or column.dtype == pl.Binary:
        return column
    words = cells.words(column).str.to_lowercase()
    words = words.to_frame().select(pl.when(~words.is_in(cells.EMPTY)).then(words)).to_series()
    values = words.cast(pl.Float64, strict=False)
    return values if values.null_count() == words.null_count() else words


def told_apart(hashes: np.ndarray) -> np.ndarray:
    """The same hashes, (N,) uint64; but where more than half of the rows are copies of others, each copy gets a hash of its own.

    In a table of so few distinct rows, keeping copies together would put whole patterns out of training's sight.
    """
    # sorting is three times as fast as numpy's `unique`, which hashes
    if 1 + np.count_nonzero(np.diff(np.sort(hashes))) >= 0.5 * len(hashes):
        return hashes
    warn("more than half of the rows are copies of others; copies may stand in several parts, so the test flatters.")
    order = np.argsort(hashes, kind="stable")
    sorted_hashes = hashes[order]
    first = np.concatenate([[True], sorted_hashes[1:] != sorted_hashes[:-1]])
    run = np.arange(len(hashes)) - np.maximum.accumulate(np.where(first, np.arange(len(hashes)), 0))
    copies = np.empty(len(hashes), np.uint64)
    copies[order] = run.astype(np.uint64)
    return finalise(hashes + copies * _MULTIPLIER)


# ---------------------------------------------------------------- the parts


def by_hash(hashes: np.ndarray, classes: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Parts (N,) uint8 in the shares `fractions` (train, valid, test), within each class; equal hashes go together.

    hashes: (N,) uint64; classes: (N,) integers, all 0 where there are none. Within a class the smallest hashes are tested, the next
    validated. A class of one row is trained on.
    """
    order = np.argsort(hashes)  # not stable: eight times as fast for ten million
    first = np.concatenate([[True], np.diff(hashes[order]) != 0])  # of the rows with one hash
    group = classes[np.minimum.reduceat(order, np.flatnonzero(first))]
    if group.max() < 1 << 16:
        group = group.astype(np.uint16)  # whose stable sort is by radix
    by_class = np.argsort(group, kind="stable")  # hashes increase within each class
    sizes = np.unique(group, return_counts=True)[1]
    rank = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    n_test, n_valid = (np.repeat(np.round(sizes * fractions[which]), sizes) for which in (TEST, VALID))
    parts = np.empty(len(group), np.uint8)
    parts[by_class] = np.where(rank < n_test, TEST, np.where(rank < n_test + n_valid, VALID, TRAIN))
    part = np.empty(len(hashes), np.uint8)
    part[order] = parts[np.cumsum(first) - 1]
    return part


def within_classes(hashes: np.ndarray, classes: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """As `by_hash`; but where classes of few rows each would round a whole part away, the rows are split without regard to classes."""
    part = by_hash(hashes, classes, fractions)
    empty = [name for i, name in enumerate(PARTS) if fractions[i] and not (part == i).any()]
    if not empty or len(part) < 10 or (classes == classes[0]).all():
        return part
    warn(f"the classes have so few rows each that no {' and no '.join(empty)} row would be left; the split does not regard them.")
    return by_hash(hashes, np.zeros_like(classes), fractions)


def by_time(column: pl.Series, fractions: Sequence[float]) -> np.ndarray:
    """The oldest rows train, the newest are tested. Rows of one moment stay together."""
    moments = _moments(column)
    if moments.null_count():
        i = int(moments.is_null().arg_max() or 0)
        what = "is empty" if column[i] is None else f"has {str(column[i])[:60]!r}, which is no time,"
        raise UserError(f"the time column {column.name!r} {what} in {cells.row(i)}; correct it or leave out --time.")
    values = moments.rank("dense").to_numpy()
    later = np.sort(values)
    n = len(values)
    first_valid = later[min(int(n * fractions[TRAIN]), n - 1)]
    first_test = later[min(int(n * (fractions[TRAIN] + fractions[VALID])), n - 1)] if fractions[TEST] else np.inf
    return np.where(values >= first_test, TEST, np.where(values >= first_valid, VALID, TRAIN)).astype(np.uint8)


def _moments(column: pl.Series) -> pl.Series:
    """Text as the numbers or dates that it spells, for as text 10 comes before 9; null where there is neither."""
    if column.dtype != pl.String:
        return column
    numbers = cells.numbers(column)
    if numbers.null_count() == column.null_count():
        return numbers
    date = FIELDS["date"]((column.name,))
    return pl.Series(column.name, date.decode(date.fit([column]).encode(column))) if date.sniff(column) else numbers


def by_column(column: pl.Series) -> np.ndarray | None:
    """Parts from a column of words (train, valid, test; 0, 1, 2), or None where it holds anything else."""
    words = column.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase().str.replace(r"\.0$", "")
    if not len(words) or words.null_count() or not set(words.unique()) <= set(_WORDS):
        return None
    return words.replace_strict(_WORDS, return_dtype=pl.UInt8).to_numpy(writable=True)


def held_out(column: pl.Series) -> np.ndarray:
    """(N,) bool: cells of a split column that say valid or test, whatever stands in the others."""
    words = column.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase().str.replace(r"\.0$", "")
    return words.replace_strict(_WORDS, default=TRAIN, return_dtype=pl.UInt8).to_numpy() != TRAIN


def carve_valid(part: np.ndarray, hashes: np.ndarray, classes: np.ndarray, time: pl.Series | None, fraction: float) -> np.ndarray:
    """Takes a validation part out of the training rows, where none was given: the newest by `time`, else by their hash."""
    part, train = part.copy(), np.flatnonzero(part == TRAIN)
    fractions = (1 - fraction, fraction, 0.0)
    if time is None:
        part[train] = within_classes(hashes[train], classes[train], fractions)
    else:
        with cells.picked(train):
            part[train] = by_time(time.gather(train), fractions)
    return part


def need_column(table: Table, name: str, option: str) -> pl.Series:
    need(table, name, option)
    return table.get_column(name)


def need(table: Table, name: str, option: str) -> None:
    """Raises UserError where there is no such column; of a table on disk nothing is read."""
    if name not in table.columns:
        there = f"There are: {listed(table.columns)}."
        if table.width == 1:
            there = f"There is only {table.columns[0]!r}; if that is several, name what divides them, e.g. --set data.delimiter=^"
        raise UserError(f"{option} names the column {name!r}, which the data do not have.{did_you_mean(name, table.columns)} {there}")


def check_parts(part: np.ndarray) -> None:
    """Raises UserError where a part that is needed is empty."""
    counts = np.bincount(part, minlength=3)
    if not counts[TRAIN] or not counts[VALID]:
        raise UserError(
            f"the split leaves {counts[TRAIN]} rows to train on and {counts[VALID]} to validate on; both need at least one. "
            "Give more rows (or groups), or other shares: --set data.shares=[0.6,0.2,0.2]."
        )


def summary(part: np.ndarray) -> str:
    counts = np.bincount(part, minlength=3)[:3]  # without what lies beyond the parts
    return ", ".join(f"{name} {count:,}" for name, count in zip(PARTS, counts, strict=True))


def announce(part: np.ndarray, how: str) -> None:
    say(f"split {how}: {summary(part)} rows")
