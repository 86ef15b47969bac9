"""Whatever a user may call "my data" to a Table: a path, a built-in data set's name, a polars or pandas frame, plain columns or rows.

Which source reads a file follows from its name's ending (the longest that a source claims), else from its first bytes; which one reads a
folder, from the names in it. Cells that name files beside the data file become whole paths. Checks that hold for
all kinds are made here once: the file is there and readable, the table has columns and rows. pandas is never imported: a pandas frame is
recognised by its type's name and taken apart column by column, without pyarrow; its index is dropped.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl

from luban import catalogue, pixels
from luban.core import cells
from luban.core.contract import Source, Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import SOURCES

NO_ENDINGS: Mapping[str, str] = {}
_FILE = {"bytes": pl.Binary(), "path": pl.String()}
"""A file in a cell as the libraries of Hugging Face write it into Parquet."""
_FILE_NAME = r"^[^\r\n\t]{1,1000}\.[A-Za-z0-9]{1,5}$"
_WHOLE = r"^(/|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)"
"""Paths that are whole already, and addresses."""
_SOME = 20
MAGIC = {b"PAR1": "parquet", b"PK\x03\x04": "excel", b"\xd0\xcf\x11\xe0": "excel", b"{": "jsonl", b"[": "jsonl"}


def read(data: Any, *, encoding: str | None = None, delimiter: str | None = None, endings: Mapping[str, str] = NO_ENDINGS) -> Table:
    """The whole of `data` as a Table with at least one column and one row. Text files give String columns; nothing is inferred here.

    endings: {ending of a file's name: source}, where a task reads such files in a way of its own.
    """
    if isinstance(data, (str, Path)):
        path = _path(data)
        if path is None:
            return catalogue.table(str(data))
        return _checked(_found(_flat(_source(path, encoding, delimiter, endings).read(path), set()), path, {}), path.name)
    return _checked(_flat(_from_python(data), set()), "the table")


def chunks(
    data: Any, rows: int, *, encoding: str | None = None, delimiter: str | None = None, endings: Mapping[str, str] = NO_ENDINGS
) -> Iterator[Table]:
    """The same rows as `read`, in tables of at most `rows`; files are read piece by piece where their format allows."""
    path = _path(data) if isinstance(data, (str, Path)) else None
    if path is None:
        yield from read(data).iter_slices(rows)
        return
    beside: dict[str, bool] = {}
    for table in _some(_source(path, encoding, delimiter, endings).chunks(path, rows), path.name):
        yield _found(table, path, beside)


def read_stream(
    file: IO[bytes], rows: int, *, encoding: str | None = None, delimiter: str | None = None, endings: Mapping[str, str] = NO_ENDINGS
) -> Iterator[Table]:
    """From a pipe (sys.stdin.buffer): JSON lines if it begins with { or [, else what `endings` has for .txt, else delimited text; gzip is
    unpacked."""
    buffered: Any = file if hasattr(file, "peek") else io.BufferedReader(file)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        buffered = io.BufferedReader(gzip.GzipFile(fileobj=buffered))
    kind = "jsonl" if buffered.peek(1).lstrip()[:1] in (b"{", b"[") else endings.get(".txt", "csv")
    yield from _some(SOURCES[kind](encoding=encoding, delimiter=delimiter).stream(buffered, rows), "the input")


def _some(tables: Iterator[Table], name: str) -> Iterator[Table]:
    """The tables that have rows; a UserError where none has."""
    told: set[str] = set()
    rows = 0
    for table in tables:
        rows += len(table)
        if len(table):
            yield _flat(table, told)
    if not rows:
        raise UserError(f"{name} has no rows. Give at least one row of data.")


def _checked(table: Table, name: str) -> Table:
    if not table.width:
        raise UserError(f"{name} has no columns. Give a table with at least one named column.")
    if not len(table):
        raise UserError(f"{name} has column names ({listed(table.columns, 6)}) but no rows. Give at least one row of data.")
    return table


def _flat(table: Table, told: set[str]) -> Table:
    """Columns of kinds that no field reads become text or nothing; pixels and bytes stay. `told`: the columns of which this was said."""
    for column in table:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            flat = _plain(column)
            table = table.with_columns(flat)
            if column.name not in told and column.dtype.is_nested() and flat.dtype == pl.String:
                say(f"the column {column.name!r} holds lists or structs; it is read as their JSON text.")
            elif column.name not in told and flat.dtype == pl.Null:
                warn(f"the column {column.name!r} holds values of type {column.dtype}, which nothing here reads; it is read as empty.")
            told.add(column.name)
    return table


def _plain(column: pl.Series) -> pl.Series:
    """Lists and structs as their JSON text, as from a JSON file; bytes as the text they spell, else as they are; objects as nulls."""
    if pixels.are(column.dtype):
        return column
    if isinstance(column.dtype, pl.Struct) and dict(column.dtype) == _FILE:
        return column.struct.field("bytes").alias(column.name)
    if column.dtype.is_nested():
        texts = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in column.to_list()]
        return pl.Series(column.name, texts, pl.String)
    if column.dtype == pl.Binary:
        try:
            return column.cast(pl.String)
        except pl.exceptions.ComputeError:  # not UTF-8: a picture, a pickle
            return column
    return pl.Series(column.name, [None] * len(column), pl.Null) if column.dtype == pl.Object else column


def _found(table: Table, path: Path, beside: dict[str, bool]) -> Table:
    """Text columns that name files beside `path`, as whole paths. `beside`: what an earlier chunk found out of a column.

    The first cells decide: all look like names of files, and one at least is there. The others become paths, too, so that whoever
    opens them can say which one is missing.
    """
    if path.is_dir():
        return table
    folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - `resolve` would leave the folder of a link
    for column in table:
        if column.dtype != pl.String:
            continue
        if column.name not in beside:
            some = column.drop_nulls().head(_SOME)
            named = len(some) > 0 and bool(some.str.contains(_FILE_NAME).all())
            beside[column.name] = named and any(Path(folder, each).is_file() for each in some if "\0" not in each)
        if beside[column.name]:
            cell = pl.col(column.name)
            relative = cell.str.contains(_FILE_NAME) & ~cell.str.contains(_WHOLE)
            whole = pl.lit(f"{folder}{os.sep}") + cell.str.strip_prefix("./")
            table = table.with_columns(pl.when(relative).then(whole).otherwise(cell).alias(column.name))
    return table


# ---------------------------------------------------------------- files


def _path(data: str | Path) -> Path | None:
    """The file called `data`, or None where that is a built-in data set. A file goes before a data set of the same name."""
    path = Path(data).expanduser()
    if path.is_dir() and str(data) not in catalogue.names():
        return path
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise UserError(f"{path} may not be read by this user. Change its permissions (chmod +r).")
        if not path.stat().st_size:
            raise UserError(f"{path} is empty. Give a file with a line of column names and a line for each row.")
        return path
    if str(data) in catalogue.names():
        if path.is_dir():
            say(f"{str(data)!r} is the built-in data set; for the folder of that name write ./{data}.")
        return None
    try:
        neighbours = [each.name for each in path.parent.iterdir()]
    except OSError:
        raise UserError(f"there is no file {str(data)!r}: the folder {str(path.parent)!r} is not there or cannot be read.") from None
    near = did_you_mean(path.name, neighbours)
    if near and path.parent != Path():
        near += f" (in {path.parent})"
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"there is no file {str(data)!r}.{near}")
    raise UserError(
        f"there is neither a file nor a built-in data set {str(data)!r}.{did_you_mean(path.name, catalogue.names()) or near} "
        "`luban data list` shows the data sets."
    )


def _source(path: Path, encoding: str | None, delimiter: str | None, endings: Mapping[str, str]) -> Source:
    name = next((endings[ending] for ending in endings if path.name.lower().endswith(ending)), None) or _claimant(path)
    given = {key: value for key, value in (("encoding", encoding), ("delimiter", delimiter)) if value is not None}
    for key in given.keys() - SOURCES[name].options:
        warn(f"data.{key} is ignored for {path.name}: it has no meaning in a {name} file.")
    return SOURCES[name](encoding=encoding, delimiter=delimiter)


def usual_target(data: Any) -> str | None:
    """The column that data of this kind are about, if there is such; None where they cannot be found, too."""
    path = Path(data).expanduser() if isinstance(data, (str, Path)) else None
    if path is None or str(data) in catalogue.names() or not path.exists():
        return None
    return SOURCES[_claimant(path)].target


def _claimant(path: Path) -> str:
    """The name of the source that reads this file or folder."""
    if path.is_dir():
        idx = SOURCES["idx"].suffixes
        return "idx" if any(each.name.lower().endswith(idx) for each in os.scandir(path)) else "folder"
    claims = {suffix: name for name, source in SOURCES.items() for suffix in source.suffixes}
    fitting = [suffix for suffix in claims if path.name.lower().endswith(suffix)]
    if fitting:
        return claims[max(fitting, key=len)]
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "excel" if "[Content_Types].xml" in archive.namelist() else "archive"
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    if path.suffix:
        known = ", ".join(sorted(suffix for suffix in claims if "idx" not in suffix))
        raise UserError(f"{path.name} ends in {path.suffix!r}, which Luban does not read. It reads {known}.")
    return "csv"


# ---------------------------------------------------------------- Python


def _from_python(data: Any) -> Table:
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns"):
        return _from_pandas(data)
    if isinstance(data, Mapping):
        return _from_columns(data)
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(key for row in data for key in row)
        gaps = [str(name) for name in names if any(name not in row for row in data)]
        if gaps:  # alone, such a row would lack the column, which is an error
            say(f"some of the rows have no {listed(gaps)}; it is read as missing there.")
        return _from_columns({name: [row.get(name) for row in data] for name in names})
    raise UserError(
        f"data cannot be {_described(data)}. Give a path, a built-in data set's name, a polars or pandas frame, "
        "a dict of columns or a list of row dicts."
    )


def _from_columns(data: Mapping[Any, Any]) -> Table:
    """Columns of equal length; a dict whose values are all single is one row."""
    if data and not any(_is_column(values) for values in data.values()):
        data = {name: [value] for name, value in data.items()}
    single = [str(name) for name, values in data.items() if not _is_column(values)]
    if single:
        raise UserError(f"the columns {listed(single, 6)} are single values among columns of many. Give each column as a list.")
    lengths = {str(name): len(values) for name, values in data.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"the columns are of unequal length: {', '.join(f'{name!r} {n}' for name, n in list(lengths.items())[:6])}.")
    _refuse_twice([str(name) for name in data])
    # a dict, not a list: in a list polars gives a column called "" another name
    return pl.DataFrame({str(name): _series(str(name), values) for name, values in data.items()})


def _is_column(values: Any) -> bool:
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype == np.uint8:
        return False  # a single grey picture
    return (isinstance(values, (Sequence, np.ndarray, pl.Series)) or pixels.is_tensor(values)) and not isinstance(values, (str, bytes))


def _series(name: str, values: Any) -> pl.Series:
    """One kind where polars finds one; numbers and yes/no together are numbers; anything else mixed is text."""
    if (pictures := pixels.series(name, values)) is not None:
        return pictures
    if pixels.is_tensor(values):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return pl.Series(name, values)
    values = values if isinstance(values, pl.Series) else list(values)
    try:
        return pl.Series(name, values, strict=True)
    except TypeError:
        present = [value for value in values if value is not None]
        if all(isinstance(value, (int, float, np.number, np.bool_)) for value in present):  # True is 1, as polars makes of [1.5, True]
            return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
        return _mixed(name, values)


def _mixed(name: str, values: list) -> pl.Series:
    """Each value as the text that it is in a column of its own kind, so that a row reads the same alone as among others."""
    texts: list[str | None] = [None] * len(values)
    for kind in {type(value) for value in values if value is not None}:
        at = [i for i, value in enumerate(values) if type(value) is kind]
        same = [values[i] for i in at]
        if issubclass(kind, (list, tuple, dict)):  # they may not make one kind of list in polars
            same = [json.dumps(value, ensure_ascii=False, default=str) for value in same]
        column = _plain(pl.Series(name, same, strict=False))
        if column.dtype == pl.Binary:  # a picture's bytes among paths
            column = pl.Series(name, [base64.b64encode(value).decode() for value in column])
        for i, text in zip(at, cells.words(column), strict=True):
            texts[i] = text
    return pl.Series(name, texts, pl.String)


def _from_pandas(frame: Any) -> Table:
    names = [str(name) for name in frame.columns]
    _refuse_twice(names)
    return pl.DataFrame({name: _from_pandas_column(name, frame.iloc[:, i]) for i, name in enumerate(names)})


def _from_pandas_column(name: str, column: Any) -> pl.Series:
    """pandas writes a missing number as NaN, so a NaN becomes null here. Times with a zone keep it."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return pl.Series(name, column.to_numpy(), nan_to_null=True)
    if column.dtype.kind in "mM":
        zone = getattr(column.dtype, "tz", None)
        plain = column.dt.tz_convert(None) if zone else column  # polars takes numpy's times, which know no zone
        times = pl.Series(name, plain.to_numpy().astype(f"{column.dtype.kind}8[us]"))
        return times.dt.replace_time_zone("UTC").dt.convert_time_zone(str(zone)) if zone else times
    missing = column.isna().to_numpy()
    return _series(name, [None if gone else value for value, gone in zip(column.astype(object).tolist(), missing, strict=True)])


def _refuse_twice(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the table has two columns named {twice[0]!r}. Give each its own name.")


def _described(data: Any) -> str:
    return f"a {type(data).__module__}.{type(data).__qualname__}".replace("builtins.", "")
