"""Predictions for a file, a frame or a stream of rows, in their order; a file larger than memory goes through in chunks."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from luban import reading
from luban.bundle import Bundle, lines, load
from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.files import atomic

_ROWS = 50_000
_WRITERS: dict[str, Callable[..., str]] = {
    ".csv": pl.DataFrame.write_csv,
    ".jsonl": pl.DataFrame.write_ndjson,
    ".ndjson": pl.DataFrame.write_ndjson,
}


def predict(run: str | Path | Bundle, data: Any = None, *, ask: dict[str, Any] | None = None, model: Any = None) -> Table:
    """Predictions of a run's model: a polars frame, in the order of the questions.

    run: a run folder, its model/, `last`, or a loaded Bundle. data: a path, a built-in name, a polars or pandas frame, a dict of
    columns, or a list of rows as dicts; it needs no target. ask: what the task can be asked, such as {"k": 5}; with {"user": 42} or
    {"prompt": "ROMEO:"} no data are needed. model: the user's own network, as for `luban.load`.
    Columns: `prediction`; for classes also `confidence` and `p_<label>`. Raises UserError for a missing column or an unreadable value.
    """
    return (run if isinstance(run, Bundle) else load(run, model)).predict(data, ask)


def predict_to(run: str, data: str | None, out: Path | None, ask: dict[str, Any], model: str | None = None, skip_bad: bool = False) -> int:
    """Streams predictions for the file `data` (or "-", standard input; None: what `ask` means) to `out` (or standard output).

    skip_bad: rows that cannot be read get an empty answer. Returns the lines written.
    """
    suffix = out.suffix.lower() if out is not None else ".csv"
    if suffix not in (*_WRITERS, ".parquet"):
        raise UserError(f"predictions are written as .csv, .jsonl or .parquet, not {out.name!r}.")
    bundle = load(run, model)
    made = bundle.asked(ask)
    if data is None:
        answers: Iterator[Table] = iter([lines(bundle.answer(None, made))])
    else:
        bundle.refuse_both(made)
        if out is not None and data != "-" and Path(data).exists() and out.exists() and out.samefile(data):
            raise UserError(f"the predictions would overwrite the data: {out} is both. Name another file with -o.")
        chunks = (
            reading.read_stream(sys.stdin.buffer, _ROWS, **bundle.reading) if data == "-" else reading.chunks(data, _ROWS, **bundle.reading)
        )
        answers = bundle.predict_chunks(chunks, made, skip_bad)
    if out is None:
        return _write_text(answers, sys.stdout.buffer, ".csv") if data is not None else _show(next(answers))
    if suffix == ".parquet":
        return _write_parquet(answers, out)
    with atomic(out) as file:
        return _write_text(answers, file, suffix)


def _show(answer: Table) -> int:
    """Prints the answer to what was asked without data: a passage as it is, anything else as CSV."""
    if answer.height == 1 and set(answer.dtypes) == {pl.String}:
        sys.stdout.write("".join(word or "" for word in answer.row(0)) + "\n")
        return 1
    return _write_text(iter([answer]), sys.stdout.buffer, ".csv")


def _write_text(answers: Iterator[Table], file: Any, suffix: str) -> int:
    rows = 0
    for answer in answers:
        # the header once, then only rows
        options = {"include_header": rows == 0} if suffix == ".csv" else {}
        # as text first: polars' own writing would hide a full disk in an error of its own
        file.write(_WRITERS[suffix](answer, **options).encode())
        rows += answer.height
    file.flush()
    return rows


def _write_parquet(answers: Iterator[Table], out: Path) -> int:
    """Parquet has its index at the end, so the answers (a few numbers a row) are gathered first."""
    table, whole = pl.concat(list(answers)), io.BytesIO()
    table.write_parquet(whole)
    with atomic(out) as file:
        file.write(whole.getbuffer())
    return table.height
