"""JSON to a Table: one object a line, or one array of objects.

Missing keys are null; columns stand in the order in which their keys first appear. A column of one kind keeps it (whole number, number,
true/false, text); a mixed one becomes text; lists and objects become their JSON text.
Streamed, a chunk knows only itself: a column may be whole numbers in one chunk and fractions in the next, which fields read alike.
Parsed by Python rather than polars: it is a few times slower, but can say which line is wrong and does not drop keys that appear late.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.notes import say
from luban.core.source import Source
from luban.sources._text import opened, utf8_blocks

Row = dict[str, Any]


class Jsonl(Source):
    suffixes = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")
    options = ("encoding",)

    def read(self, path: Path) -> Table:
        with opened(path) as file:
            return _table(list(_rows(utf8_blocks(file, path.name, self.encoding), path.name)), {})

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            yield from self.stream(file, rows, path.name)

    def stream(self, file: IO[bytes], rows: int, name: str = "the input") -> Iterator[Table]:
        """From an open file that may be a pipe. Every chunk has all the columns of those before it."""
        found = _rows(utf8_blocks(file, name, self.encoding), name)
        columns: dict[str, bool] = {}
        while some := list(itertools.islice(found, rows)):
            yield _table(some, columns)


def _rows(blocks: Iterator[bytes], name: str) -> Iterator[Row]:
    first = next((block for block in blocks if block.strip()), b"")
    if not first:
        raise UserError(f"{name} is empty. Give a file with one JSON object a line.")
    blocks = itertools.chain([first], blocks)
    if first.lstrip().startswith(b"["):
        yield from _array(b"".join(blocks), name)
        return
    for number, line in enumerate(_lines(blocks), 1):
        if line.strip():
            yield _object(line, f"line {number} of {name}")


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def _object(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not a JSON object: {error.msg} at character {error.pos + 1}. "
                        "Write one object a line, or one array of objects.") from error  # fmt: skip
    except _Twice as error:
        raise UserError(f"{where} has the key {str(error)!r} twice. Give each column its own name.") from error
    if not isinstance(row, dict):
        raise UserError(f'{where} is {_short(row)}, not an object such as {{"age": 22}}. Write one object a line.')
    return row


def _array(text: bytes, name: str) -> list[Row]:
    try:
        rows = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UserError(f"{name} is not whole JSON: {error.msg} in line {error.lineno}.") from error
    except _Twice as error:
        raise UserError(f"{name} has an object with the key {str(error)!r} twice. Give each column its own name.") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f'entry {number} of {name} is {_short(row)}, not an object such as {{"age": 22}}.')
    return rows


class _Twice(ValueError):
    """A key that an object has twice; Python's json would quietly keep the last."""


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return row


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:40] + "..."


def _table(rows: list[Row], columns: dict[str, bool]) -> Table:
    """`columns` is what chunks before this one knew, {name: was it said that it is nested?}; new keys are added to it."""
    for row in rows:
        for key in row:
            columns.setdefault(key, False)
    return pl.DataFrame({key: _column(key, [row.get(key) for row in rows], columns) for key in columns})


def _column(name: str, values: list[Any], columns: dict[str, bool]) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if kinds & {dict, list} and not columns[name]:
        columns[name] = True
        say(f"the column {name!r} holds lists or objects; it is read as their JSON text.")
    if kinds == {int} and max(abs(value) for value in values if value is not None) < 2**63:
        return pl.Series(name, values, pl.Int64)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds in ({float}, {int, float}):
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    words = [value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    return pl.Series(name, words, pl.String)
