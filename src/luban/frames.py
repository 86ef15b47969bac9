"""What Python hands over to a Table: polars and pandas frames, dicts of columns, lists of rows.

pandas is never imported: its frame is recognised by its type's name and taken apart column by column, without pyarrow; its index is
dropped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from luban import pixels
from luban.core import cells
from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.notes import say

_FILE = {"bytes": pl.Binary(), "path": pl.String()}
"""A file in a cell as the libraries of Hugging Face write it into Parquet."""


def from_python(data: Any) -> Table:
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
    if not isinstance(values, pl.Series):
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
        if any(isinstance(value, (list, tuple)) for value in values):  # polars makes whole numbers of [2.5] behind [1]
            return _mixed(name, values)
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
        column = plain(pl.Series(name, same, strict=False))
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


def plain(column: pl.Series) -> pl.Series:
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
