"""Delimited text to a Table of String columns: CSV, TSV and their kin; streamed block by block, so that size does not matter.

What is decided here: an empty cell, quoted or not, is null; nothing else is (fields know null tokens and numbers). The first line holds the
names; spaces around a name are dropped, spaces in cells are kept. Lines without a character are skipped, also in files of one column. A row
with more or fewer cells than there are names is an error, never filled up: polars would fill short rows in silence, hence our own count.

How: blocks of whole records are counted with numpy (cells a record, quotes by parity) and parsed by polars. A quote in the middle of a
cell (5" pipe) breaks parity, there and in polars; from that block on Python's csv module reads, many times slower. Where lines come out
even only if quotes mean nothing (many TSVs), quotes are letters. `read` is the sum of the stream: both give the same.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np
import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.notes import say, warn
from luban.core.source import Source
from luban.sources._text import opened, utf8_blocks

DELIMITERS = ",\t;|:"
WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
ONE_COLUMN = "\x1f"  # the unit separator, which no text contains: such a "delimiter" never splits
HEAD = 64 << 10  # what delimiter and quoting are judged by
LONGEST = 64 << 20  # a longer record is an unclosed quote
END = "\x00end"  # a line that no text contains: read back whole, it proves that no quote is open


class Csv(Source):
    """`names` are for a file without a line of names. They say nothing about types: every column is String."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", ".csv.gz", ".tsv.gz", ".txt.gz")
    options = ("encoding", "delimiter")
    steady = True

    def __init__(self, *, encoding: str | None = None, delimiter: str | None = None, names: tuple[str, ...] = ()):
        super().__init__(encoding=encoding, delimiter=delimiter)
        self.names = names

    def read(self, path: Path) -> Table:
        with opened(path) as file:
            return pl.concat(self._tables(file, path.name), rechunk=False)

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            yield from self.stream(file, rows, path.name)

    def stream(self, file: IO[bytes], rows: int, name: str = "the input") -> Iterator[Table]:
        """From an open file that may be a pipe: tables of at most `rows` rows. Memory is that of a few blocks."""
        for table in self._tables(file, name):
            yield from table.iter_slices(rows)

    def _tables(self, file: IO[bytes], name: str) -> Iterator[Table]:
        """The first table is empty: it tells the columns even of a file without rows."""
        blocks = utf8_blocks(file, name, self.encoding)
        first = b""
        while len(first) < HEAD and (block := next(blocks, b"")):
            first += block
        if not first.strip():
            raise UserError(f"{name} is empty. Give a file with a line of column names and a line for each row.")
        shape = _dialect(first, self.delimiter, name)
        names, used, line = (self.names, 0, 1) if self.names else _header(first, shape, name)
        yield pl.DataFrame(schema=dict.fromkeys(names, pl.String))
        pieces = _whole_records(itertools.chain([first[used:]], blocks), shape)
        blank = 0
        for piece in pieces:
            checked = _checked(piece, shape, len(names), line, name)
            if checked is None:
                yield from _slowly(itertools.chain([piece], pieces), shape, names, line, name)
                return
            line += piece.count(b"\n")
            if checked:
                yield _parse(checked, shape, names, name)
            if checked is not piece:  # those at its end are above no row
                blank += piece.rstrip(b"\r\n").count(b"\n") - checked.rstrip(b"\r\n").count(b"\n")
        _tell_blank(blank, names, name)


@dataclass(frozen=True)
class Dialect:
    """One character between cells, and what a quote means."""

    delimiter: str
    quotes: bool
    """False: a quote is a letter like any other."""


# ---------------------------------------------------------------- delimiter, quoting, names


def _dialect(first: bytes, delimiter: str | None, name: str) -> Dialect:
    """The dialect under which most lines have equally many cells; a tie goes to clean quoting, then to more cells."""
    head = first if len(first) <= HEAD else first[: first.rfind(b"\n", 0, HEAD) + 1] or first
    lines = [line for line in io.StringIO(head.decode(), newline="\n") if line.strip("\r\n")]
    if delimiter is not None:
        wanted = WORDS.get(delimiter, delimiter)
        if len(wanted) != 1 or not wanted.isascii() or wanted in '"\r\n':
            raise UserError(f"the delimiter {delimiter!r} must be one ASCII character, or comma, tab, semicolon, pipe, space.")
        _, dialect = max(_judged(lines, wanted), key=lambda each: each[0])
        if wanted not in lines[0]:
            best = max(itertools.chain.from_iterable(_judged(lines, each) for each in DELIMITERS), key=lambda each: each[0])
            if best[0][0] == 1:
                raise UserError(f"{name} is not divided by {wanted!r} but, as it seems, by {best[1].delimiter!r}. "
                                "Leave --set data.delimiter out, or correct it.")  # fmt: skip
        return dialect
    candidates = [each for mark in DELIMITERS for each in _judged(lines, mark)]
    # a colon stands in every time of day, so it divides only where it fits without exception
    fits = [each for each in candidates if each[0][0] > 0.5 and (each[1].delimiter != ":" or each[0][0] == 1)]
    if fits:
        return max(fits, key=lambda each: each[0])[1]
    return _judged(lines, ONE_COLUMN)[-1][1]


def _judged(lines: list[str], delimiter: str) -> list[tuple[tuple[float, int, int], Dialect]]:
    """((share of lines in records of the commonest width, cleanness, width), dialect): with quotes, and without where that is plausible."""
    share, width = _evenness(lines, Dialect(delimiter, True))
    state = _quoting(lines, delimiter)
    judged = [((share, 2 if state == "clean" else 0, width), Dialect(delimiter, True))]
    # Quotes are letters only where reading them as quotes fails and every line is even without; one column is always even, so there only
    # if quotes are astray, or one that opens early never closes (late, it is the cut of the head through a text of many lines).
    even, width = _evenness(lines, Dialect(delimiter, False))
    if even == 1 and (state == "astray" or (state == "open" and (delimiter != ONE_COLUMN or share < 0.5))):
        judged.append(((even, 1, width), Dialect(delimiter, False)))
    return judged


def _evenness(lines: list[str], shape: Dialect) -> tuple[float, int]:
    """(share of the lines that lie in records of the commonest width, that width); 0 where the delimiter does not divide."""
    reader = _reader([*lines, END], shape)
    records, before = [], 0
    for row in reader:
        records.append((len(row), reader.line_num - before))
        before = reader.line_num
    widths: Counter[int] = Counter()
    for width, span in records[:-1]:  # the last is END; if a quote was open, all since the quote is in it
        widths[width] += span
    width, count = widths.most_common(1)[0] if widths else (1, 0)
    divides = shape.delimiter == ONE_COLUMN or (width > 1 and shape.delimiter in lines[0])
    return (count / len(lines) if divides else 0.0), width


def _quoting(lines: list[str], delimiter: str) -> str:
    """clean | astray (something follows a closing quote within its cell) | open (the last quote never closes)"""
    try:
        for _ in csv.reader(lines, delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return "open" if "unexpected end" in str(error) else "astray"
    return "clean"


def _header(first: bytes, shape: Dialect, name: str) -> tuple[tuple[str, ...], int, int]:
    """Column names, how many bytes they take, and the number of the line after them."""
    raw = list(io.BytesIO(first)) if len(first) <= HEAD else list(io.BytesIO(first[: first.find(b"\n", HEAD) + 1 or None]))
    reader = _reader((line.decode() for line in raw), shape)
    try:
        names = next(tuple(cell.strip() for cell in row) for row in reader if row)
    except csv.Error as error:
        raise UserError(f"the column names of {name} cannot be read: {error}.") from error
    for column, times in Counter(names).items():
        if times > 1:
            places = [i for i, each in enumerate(names, 1) if each == column]
            raise UserError(f"{name} has {times} columns named {column!r} (columns {', '.join(map(str, places))}). Give each its own name.")
    if sum(is_number(each) for each in names) > len(names) / 2:
        warn(f"the first line of {name} looks like data, but is taken for the column names: {', '.join(names[:6])}, ...")
    return names, sum(map(len, raw[: reader.line_num])), reader.line_num + 1


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- records


def _whole_records(blocks: Iterable[bytes], shape: Dialect) -> Iterator[bytes]:
    """The same bytes, cut only after a newline that stands outside quotes. The last piece gets a newline if it had none."""
    rest = b""
    for block in blocks:
        rest += block
        end = _last_end(rest, shape)
        if not end and len(rest) > LONGEST:  # an open quote: at least cut at a line, for the slow reader to judge
            end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _last_end(text: bytes, shape: Dialect) -> int:
    end = text.rfind(b"\n")
    inside = shape.quotes and text.count(b'"', 0, max(end, 0)) & 1
    while end >= 0 and inside:
        before = text.rfind(b"\n", 0, end)
        inside ^= text.count(b'"', max(before, 0), end) & 1
        end = before
    return end + 1


def _checked(piece: bytes, shape: Dialect, width: int, line: int, name: str) -> bytes | None:
    """The piece without blank lines, or None where quotes stand so that parity does not tell. Raises UserError for a ragged row."""
    data = np.frombuffer(piece, np.uint8)
    delimiter = ord(shape.delimiter)
    mark = (data == 10) | (data == delimiter)
    if shape.quotes and b'"' in piece:
        if not _quotes_stand_well(data, delimiter):
            return None
        mark &= ~np.bitwise_xor.accumulate(data == 34)
    marks = np.flatnonzero(mark)
    ends_record = data[marks] == 10
    cells = np.diff(np.flatnonzero(ends_record), prepend=-1)  # (records,)
    if (cells == width).all() and not (b"\n\n" in piece or b"\n\r\n" in piece or piece[:2] == b"\r\n" or piece[:1] == b"\n"):
        return piece
    ends = marks[ends_record]
    starts = np.concatenate([[0], ends[:-1] + 1])
    blank = (ends == starts) | ((ends - starts == 1) & (data[starts] == 13))
    ragged = np.flatnonzero((cells != width) & ~blank)
    if len(ragged):
        at = line + piece.count(b"\n", 0, int(starts[ragged[0]]))
        _refuse_ragged(name, at, int(cells[ragged[0]]), width, shape)
    return data[np.repeat(~blank, ends + 1 - starts)].tobytes()


def _quotes_stand_well(data: np.ndarray, delimiter: int) -> bool:
    """Every quote opens at a cell's start, closes at a cell's end, or is one of a doubled pair (RFC 4180, section 2.5-2.7)."""
    quotes = np.flatnonzero(data == 34)
    if len(quotes) % 2:
        return False
    before, after = data[np.maximum(quotes[0::2], 1) - 1], data[quotes[1::2] + 1]
    opens = (before == delimiter) | (before == 10) | (before == 34) | (quotes[0::2] == 0)
    closes = (after == delimiter) | (after == 10) | (after == 34) | (after == 13)
    return bool(opens.all() and closes.all())


def _refuse_ragged(name: str, line: int, cells: int, width: int, shape: Dialect) -> None:
    mark = "" if shape.delimiter == ONE_COLUMN else f" (divided by {shape.delimiter!r})"
    raise UserError(f"line {line} of {name} has {cells} cell{'s' * (cells != 1)} where {width} must stand{mark}. "
                    "Correct the line; a cell that contains the delimiter must stand in double quotes.")  # fmt: skip


def _parse(piece: bytes, shape: Dialect, names: tuple[str, ...], name: str) -> Table:
    try:
        return pl.read_csv(piece, has_header=False, schema=dict.fromkeys(names, pl.String), separator=shape.delimiter,
                           quote_char='"' if shape.quotes else None, null_values="")  # fmt: skip
    except pl.exceptions.ComputeError as error:
        raise UserError(f"{name} cannot be read: {str(error).splitlines()[0]}.") from error


def _slowly(pieces: Iterable[bytes], shape: Dialect, names: tuple[str, ...], line: int, name: str) -> Iterator[Table]:
    """From here to the end with Python's csv module, which takes a quote inside a cell for a letter."""
    lines = itertools.chain.from_iterable(io.StringIO(piece.decode(), newline="\n") for piece in pieces)
    reader = _reader(itertools.chain(lines, [END]), shape)
    rows: list[list[str | None]] = []
    before, blank, waiting = line, 0, 0  # blank lines above a row, and those above none so far
    try:
        for row in reader:
            if row == [END]:
                break
            blank, waiting = (blank + waiting, 0) if row else (blank, waiting + 1)
            if row and len(row) != len(names):
                if END in row[-1]:
                    raise csv.Error
                _refuse_ragged(name, before, len(row), len(names), shape)
            if row:
                rows.append([cell or None for cell in row])
            if len(rows) == 50_000:
                yield _table(rows, names)
                rows = []
            before = line + reader.line_num
        else:
            raise csv.Error
    except csv.Error:
        raise UserError(f"a double quote opened in line {before} of {name} is never closed. "
                        'Close it, or write "" for a quote inside a cell.') from None  # fmt: skip
    yield _table(rows, names)
    _tell_blank(blank, names, name)


def _tell_blank(lines: int, names: tuple[str, ...], name: str) -> None:
    """In a file of one column such a line may have been meant as an empty cell."""
    if lines and len(names) == 1:
        say(f"{name} has {lines:,} empty lines, which are no rows. Write NA where an empty cell is meant.")


def _reader(lines: Iterable[str], shape: Dialect):
    csv.field_size_limit(LONGEST)  # 128 KB by default, which a long document exceeds; the limit is the process's, there is no other way
    return csv.reader(lines, delimiter=shape.delimiter, quoting=csv.QUOTE_MINIMAL if shape.quotes else csv.QUOTE_NONE)


def _table(rows: list[list[str | None]], names: tuple[str, ...]) -> Table:
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
