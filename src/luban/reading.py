"""Whatever a user may call "my data" to a Table: a path, a built-in data set's name, a polars or pandas frame, plain columns or rows.

Which source reads a file follows from its name's ending (the longest that a source claims), else from its first bytes; which one reads a
folder, from the names in it. Cells that name files beside the data file become whole paths. Checks that hold for
all kinds are made here once: the file is there and readable, the table has columns and rows. A large file stays on disk: see core/table.py.
"""

from __future__ import annotations

import gzip
import io
import itertools
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import polars as pl

from luban import catalogue
from luban.core import cache
from luban.core.contract import Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.files import amount, beside, home, need_file
from luban.core.notes import say, warn
from luban.core.registry import SOURCES
from luban.core.source import Source
from luban.core.table import BYTES, DiskTable
from luban.frames import from_python, plain

NO_ENDINGS: Mapping[str, str] = {}
_FILE_NAME = r"^[^\r\n\t]{1,1000}\.[A-Za-z0-9]{1,5}$"
_WHOLE = r"^(/|[A-Za-z]:[/\\]|[a-z][a-z0-9+.-]*://)"
"""Paths that are whole already, and addresses."""
_SOME = 20
LARGE = 64_000_000
"""Bytes of a file from which on it is kept on disk, not in memory."""
_PART = 500_000
"""Rows in a file of a table on disk, or as many as have BYTES: some files are read ahead."""
MAGIC = {b"PAR1": "parquet", b"PK\x03\x04": "excel", b"\xd0\xcf\x11\xe0": "excel", b"{": "jsonl", b"[": "jsonl"}


def read(
    data: Any,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    endings: Mapping[str, str] = NO_ENDINGS,
    on_disk: bool | None = False,
) -> Table:
    """The whole of `data` as a Table with at least one column and one row. Text files give String columns; nothing is inferred here.

    endings: {ending of a file's name: source}, where a task reads such files in a way of its own. on_disk: a DiskTable, if that can be
    had (None: of a large file only).
    """
    if isinstance(data, (str, Path)):
        path = _path(data)
        if path is None:
            return catalogue.table(str(data))
        if on_disk is not False and (kept := _on_disk(path, on_disk, encoding, delimiter, endings)) is not None:
            return kept
        return _checked(_found(_flat(_source(path, encoding, delimiter, endings).read(path), set()), path, {}), path.name)
    return _checked(_flat(from_python(data), set()), "the table")


def _on_disk(path: Path, wanted: bool | None, encoding: str | None, delimiter: str | None, endings: Mapping[str, str]) -> Any:
    """The file as a table on disk: Parquet as it is, where all of its columns can be used so, else a copy under home(), made once."""
    if not path.is_file() or not (wanted or path.stat().st_size >= LARGE):
        return None
    source = _source(path, encoding, delimiter, endings)
    if not source.steady:
        if wanted:
            warn(f"data.on_disk has no meaning for {path.name}: only CSV and Parquet files can be kept there.")
        return None
    facts = path.stat()
    # the path as it is asked for: other files lie beside a link than beside what it names
    asked = [path.absolute(), facts.st_ino, facts.st_size, facts.st_mtime_ns, encoding, delimiter, type(source)]
    stamp = cache.key_of(["table", *asked, cache.code()])
    lazy = source.scan(path)
    if lazy is not None and all(map(_usable, lazy.collect_schema().values())) and not _files_beside(lazy.head(_SOME).collect(), path):
        return _checked(DiskTable(lazy, file=path, stamp=stamp), path.name)
    name = f"{stamp}.table"
    if (folder := cache.held(name)) is None:
        say(f"{path.name} has {amount(facts.st_size)}: it is read once, into {home()}")
        size = facts.st_size * (5 if path.suffix == ".gz" else 1)
        try:
            with cache.making(name, size) as place:
                if place is None:
                    warn(f"there is no room for about {amount(size)} in {home()}.")
                else:
                    _write_parts(chunks(path, _PART, encoding=encoding, delimiter=delimiter, endings=endings), place / name)
        except OSError as error:
            cache.useless(error)
        if (folder := cache.held(name)) is None:
            warn(f"{path.name} is read into memory.")
            return None
    return DiskTable(_scanned(sorted(folder.glob("*.parquet"))), file=path, stamp=stamp)


def _scanned(files: list[Path]) -> pl.LazyFrame:
    """As one; a column that is bytes in some of them is bytes in all, as it would be in memory."""
    parts = [pl.scan_parquet(file, glob=False) for file in files]
    if all(part.collect_schema() == parts[0].collect_schema() for part in parts):
        return pl.scan_parquet(files, glob=False)
    return pl.concat(parts, how="vertical_relaxed")


def _write_parts(tables: Iterator[Any], folder: Path) -> None:
    folder.mkdir()
    held: list[Any] = []
    for table in itertools.chain(tables, [None]):  # None: the end
        if held and (table is None or sum(map(len, held)) >= _PART or sum(each.estimated_size() for each in held) >= BYTES):
            whole = io.BytesIO()  # polars' own writing would hide a full disk in an error of its own
            pl.concat(held, how="vertical_relaxed").write_parquet(whole, compression="lz4", statistics=False)
            (folder / f"{len(list(folder.iterdir())):06d}.parquet").write_bytes(whole.getbuffer())
            held = []
        held.append(table)


def _usable(dtype: pl.DataType) -> bool:
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))


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


def _checked(table: Any, name: str) -> Any:
    if not table.width:
        raise UserError(f"{name} has no columns. Give a table with at least one named column.")
    if not len(table):
        raise UserError(f"{name} has column names ({listed(table.columns, 6)}) but no rows. Give at least one row of data.")
    return table


def _flat(table: Table, told: set[str]) -> Table:
    """Columns of kinds that no field reads become text or nothing; pixels and bytes stay. `told`: the columns of which this was said."""
    for column in table:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            flat = plain(column)
            table = table.with_columns(flat)
            if column.name not in told and column.dtype.is_nested() and flat.dtype == pl.String:
                say(f"the column {column.name!r} holds lists or structs; it is read as their JSON text.")
            elif column.name not in told and flat.dtype == pl.Null:
                warn(f"the column {column.name!r} holds values of type {column.dtype}, which nothing here reads; it is read as empty.")
            told.add(column.name)
    return table


def _found(table: Table, path: Path, beside: dict[str, bool]) -> Table:
    """Text columns that name files beside `path`, as whole paths. `beside`: what an earlier chunk found out of a column.

    The first cells decide: all look like names of files, and one at least is there. The others become paths, too, so that whoever
    opens them can say which one is missing.
    """
    if path.is_dir():
        return table
    folder = _folder(path)
    new = table.select([name for name in table.columns if name not in beside])
    beside |= dict.fromkeys(new.columns, False) | dict.fromkeys(_files_beside(new, path), True)
    for name in [name for name in table.columns if beside[name]]:
        cell = pl.col(name)
        relative = cell.str.contains(_FILE_NAME) & ~cell.str.contains(_WHOLE)
        whole = pl.lit(f"{folder}{os.sep}") + cell.str.strip_prefix("./")
        table = table.with_columns(pl.when(relative).then(whole).otherwise(cell).alias(name))
    return table


def _files_beside(table: Table, path: Path) -> list[str]:
    """The text columns whose first cells name files beside `path`."""
    found = []
    for column in table:
        if column.dtype != pl.String:
            continue
        some = column.drop_nulls().head(_SOME)
        named = len(some) > 0 and some.str.contains(_FILE_NAME).all()
        if named and any(Path(_folder(path), each).is_file() for each in some if "\0" not in each):
            found.append(column.name)
    return found


def _folder(path: Path) -> str:
    return os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 - `resolve` would leave the folder of a link


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
            raise UserError(f"{path} is empty: it has not one byte. Give a file with data in it.")
        return path
    if str(data) in catalogue.names():
        if path.is_dir():
            say(f"{str(data)!r} is the built-in data set; for the folder of that name write ./{data}.")
        return None
    need_file(data)
    raise UserError(
        f"there is neither a file nor a built-in data set {str(data)!r}.{did_you_mean(path.name, catalogue.names()) or beside(path)} "
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
