"""From a Table to a Store: choose rows, give each a part; and, once the columns have their fields, encode all of it once.

Knows neither tasks nor models by name; the task is asked what a target means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban import splitting, stores
from luban.core import cells
from luban.core.batch import Batch, Encoded, Examples, Store
from luban.core.contract import Field, Schema, Table, Task
from luban.core.device import side_by_side
from luban.core.errors import BadCells, UserError, did_you_mean, listed
from luban.core.notes import say
from luban.core.table import DiskTable, Pieces
from luban.few import classes, fewer, may_be_used, unlabelled
from luban.splitting import TEST, TRAIN, UNLABELLED, VALID


@dataclass(frozen=True)
class DataConfig:
    path: str | None = None
    """The data: a file, or a built-in name (`luban data list`)."""
    target: tuple[str, ...] = ()
    """The column to predict; several for several answers at once."""
    test: str | None = None
    """A file of test rows, used for nothing but the final score."""
    items: str | None = None
    """For recommendations: a table of the items beside the log, a row each (titles, genres, prices), or a built-in name. Its column of
    ids is called as the log's, or item, movieId, product_id or the like."""
    users: str | None = None
    """For recommendations: a table of the users beside the log, a row each, in the same way."""
    test_rows: tuple[int, ...] | None = None
    """[start, stop): these rows of the file, from 0, are the test part, where a file has an official one inside."""
    shares: tuple[float, ...] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test rows, where the data do not say; 80/10/10 is the usual choice. Of rows that stand in an
    order (a series, a passage) it may be their numbers, as in [8640, 2880, 2880]; the rest is neither trained on nor scored."""
    train_rows: int | None = None
    """Train on about so many rows only, drawn by their hash within each class: a quick try, or how much more data would buy."""
    labels: int | None = None
    """Beside the test part, use the answers of about so many rows only, a quarter of them to validate on, drawn by their hash within each
    class: what few labels give; and with train.semi, what the rows without one add."""
    split: str | None = None
    """The column that says train, valid or test; a column called `split` that holds such words is found by itself. "": no column does."""
    split_seed: int = 0
    """Another number draws another split. Apart from `seed`, so that runs of several seeds are tested on the same rows."""
    group: str | None = None
    """Rows with the same value here stay in one part (a patient, a customer)."""
    time: str | None = None
    """Train on the oldest rows, test on the newest, by this column. With given test rows, validate on the newest of the others."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    skip_bad: bool = False
    """Leave out the rows with a cell that cannot be read (a damaged picture, a word among numbers) instead of stopping, and count them."""
    encoding: str | None = None
    """A text file's encoding; found by itself for UTF-8, UTF-16 and GB18030."""
    delimiter: str | None = None
    """A text file's delimiter; found by itself among , ; tab | :"""
    on_disk: bool | None = None
    """Keep the table and what is encoded of it on disk, under $LUBAN_HOME, and map it from there: memory does not grow with the rows, and
    the next run finds it. Unset: for CSV and Parquet files of 64 MB and more."""

    @property
    def beside(self) -> dict[str, str]:
        """The tables beside the data that were named."""
        return {name: path for name in ("items", "users") if (path := getattr(self, name)) is not None}


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class Rows:
    """A table in the task's order, whose every row has a part, and an answer where the task has targets."""

    table: Table
    part: np.ndarray
    """(N,) uint8: TRAIN, VALID or TEST; 3 beyond the parts that were asked for."""
    numbers: np.ndarray
    """(N,) int64: which row of what was read (with the test rows behind it) each one is."""
    names: Callable[[int], str]
    """What the user calls row i: "row 8", "row 3 of the test file"."""
    fields: dict[str, str]
    """{target: the field that encodes it}, decided once, on all rows; empty where the task is not labelled."""
    facts: dict[str, Any]
    """For the report: how it was split, how many rows were left out."""
    noted: Batch
    """Columns of the store that no field reads."""

    def of(self, part: int) -> np.ndarray:
        """Row numbers of a part, (n,) int64."""
        return np.flatnonzero(self.part == part)


def with_target(table: Table, fields: dict[str, str], semi: bool = False) -> np.ndarray:
    """Which rows have every target, as row numbers (n,) int64; says how many have not. semi: are these used, too?"""
    present = np.ones(table.height, bool)
    for name, field in fields.items():
        present &= ~missing(table.get_column(name), nan_too=field != "number")
    if not present.any():
        raise UserError(f"the target {listed(list(fields))} is empty in all {table.height:,} rows: there is nothing to learn from.")
    gone = np.flatnonzero(~present)
    if len(gone) and not semi:
        say(f"{len(gone):,} rows have no {' / '.join(fields)} and are left out (the first: {cells.row(gone[0])})")
    return np.flatnonzero(present)


def missing(column: pl.Series, nan_too: bool) -> np.ndarray:
    """(N,) bool: null or a null token. A NaN counts for classes; in a number to be learned it is a mistake that the task reports."""
    if nan_too:
        return cells.empty(column).to_numpy()
    return (column.is_null() if column.dtype.is_float() else cells.empty(column, cells.EMPTY - {"nan"})).to_numpy()


def assign(table: Table, test: Table | None, config: DataConfig, task: Task, bad: Sequence[int] | np.ndarray = (),
           semi: bool = False) -> Rows:  # fmt: skip
    """Every row that is used gets its part: by the split column, given test rows, time, group, the task's own rule or the row's hash.

    bad: rows that are not to be used, as `Rows.numbers` counts them. semi: rows without an answer are kept, as UNLABELLED.
    """
    if semi:
        may_be_used(config, task)
    if config.group and config.time:
        raise UserError("--group and --time cannot both decide which rows are tested. Choose one of them.")
    height = table.height
    part = np.full(height, TRAIN, np.uint8)
    if config.test_rows:
        part = _rows_as_test(part, config.test_rows)  # by the rows of the file, before any is left out
    table, name = joined(table, test)
    part = np.concatenate([part, np.full(table.height - height, TEST, np.uint8)])
    whole, given = table, part
    with cells.numbered(name):
        kept, fields = used(table, config.target, task, semi)
        facts: dict[str, Any] = {"rows_without_target" if task.labelled else "rows_left_out": table.height - len(kept)}
        if len(bad):
            gone = np.isin(kept, bad)
            facts |= {"rows_unreadable": len(bad), "unreadable": np.asarray(bad).tolist()}  # by which `evaluate` finds the parts again
            kept = kept[~gone]
            if not len(kept):
                raise UserError("not one row is left: in each some cell cannot be read.")
        facts["rows"] = len(kept)
        if (part == TEST).any() and not (part[kept] == TEST).any():
            raise UserError(f"none of the given test rows has a {' and '.join(fields)}: there is nothing to test on.")
        table, part = picked(table, kept), part[kept]
        with cells.picked(kept):
            part, facts["split"], facts["drawn"] = _parts(table, part, config, task, fields)
            if (asked := [each for each in ("train_rows", "labels") if getattr(config, each) is not None]) and not task.labelled:
                raise UserError(f"data.{asked[0]} is for rows that stand by themselves; here, say data.shares as numbers of rows.")
            if config.train_rows is not None:
                part = fewer(table, part, TRAIN, "train_rows", config.train_rows, config, fields)
            if config.labels is not None:
                valid = min(max(1, config.labels // 4), int((part == VALID).sum()))  # of few, a tenth cannot tell models apart
                aside = UNLABELLED if semi else TEST + 1
                part = fewer(table, part, VALID, "labels", valid, config, fields, aside)
                part = fewer(table, part, TRAIN, "labels", config.labels - valid, config, fields, aside)
        named = _named(whole, config)
        noted = task.noted(whole, kept, part, given == TEST if named is None else splitting.held_out(named))
        if semi:
            part, kept = unlabelled(whole, given, part, kept, bad, config)
            table = picked(whole, kept)
            facts["rows_unlabelled"] = int((part == UNLABELLED).sum())
            say(f"{facts['rows_unlabelled']:,} rows without an answer are used as such")
    if beyond := int((part == TEST + 1).sum()):  # they stay, for a forecast goes on from the end of the data
        say(f"{beyond:,} rows lie beyond the parts that were asked for: they are neither trained on nor scored")
    splitting.check_parts(part)
    splitting.announce(part, facts["split"])
    return Rows(table, part, kept, lambda i: name(int(kept[i])), fields, facts, noted)


def joined(table: Table, test: Table | None) -> tuple[Table, Callable[[int], str]]:
    """The rows of both files, and what the user calls row i of them."""
    height = table.height
    if test is not None:
        table = _stack(table, test)
    return table, lambda i: f"row {i + 1}" if i < height else f"row {i + 1 - height} of the test file"


def picked(table: Table, rows: np.ndarray) -> Table:
    """These rows, by number; where they are all, in order, nothing is copied."""
    return table if len(rows) == table.height and (rows == np.arange(len(rows))).all() else table[rows]


def used(table: Table, targets: Sequence[str], task: Task, semi: bool = False) -> tuple[np.ndarray, dict[str, str]]:
    """(numbers of the rows that the task uses, in its order, (n,) int64; {target: field}). Raises where they cannot be learned."""
    task.check(table, targets)
    if task.labelled:
        fields = {target: task.target_field(table.get_column(target)) for target in targets}
        return with_target(table, fields, semi), fields
    order = task.order(table)
    return np.arange(table.height) if order is None else order, {}


def _parts(table: Table, part: np.ndarray, config: DataConfig, task: Task, fields: dict[str, str]) -> tuple[np.ndarray, str, bool]:
    """The part of each row, in words what decided it, and were test rows drawn by a hash? part: TEST where the user said so, else TRAIN."""
    shares = _shares(config.shares)
    named = _named(table, config)
    from_column = splitting.by_column(named) if named is not None else None
    if config.split and from_column is None:
        splitting.need(table, config.split, "data.split")
        raise UserError(f"the split column {config.split!r} must say train, valid or test (or 0, 1, 2) in every row.")
    given = (part == TEST).any()
    if from_column is None and not given and (own := task.split(table, shares, config.split_seed)) is not None:
        return *own, False
    aside = (*config.target, *config.drop, *([] if named is None else [named.name]))
    inputs = table.drop([each for each in aside if each in table.columns])
    if config.group:
        hashes = splitting.row_hash(splitting.need_column(table, config.group, "--group").to_frame(), config.split_seed)
    else:
        hashes = splitting.told_apart(splitting.row_hash(inputs, config.split_seed))  # rows with equal inputs have equal ones
    strata = classes(table, config, fields)
    time = splitting.need_column(table, config.time, "--time") if config.time else None
    if sum(shares) > 1.5 and task.labelled:
        raise UserError(f"data.shares as numbers of rows, {list(config.shares)}, needs rows in an order; give shares that add up to 1.")
    if from_column is not None:
        part, how = from_column, f"by the column {named.name!r}"
    elif given:
        how = "by the given test rows"
    elif time is not None:
        part, how = splitting.by_time(time, shares), f"by time ({config.time})"
    else:
        how = f"by {config.group}" if config.group else "by a stable hash of the row"
        part = splitting.within_classes(hashes, strata, shares)
    if not (part == VALID).any():
        part, train, fraction = part.copy(), np.flatnonzero(part == TRAIN), shares[VALID] / (shares[TRAIN] + shares[VALID])
        with cells.picked(train):
            parts = (1 - fraction, fraction, 0.0) if max(shares) <= 1 else (shares[TRAIN], shares[VALID], 0.0)
            own = None if task.labelled else task.split(table[train], parts)
        if own is None:
            part = splitting.carve_valid(part, hashes, strata, time, fraction)
        else:
            part[train] = own[0]
    return part, how, from_column is None and not given and time is None


def _named(table: Table, config: DataConfig) -> pl.Series | None:
    """The column that says of which part each row is, where there is one."""
    name = "split" if config.split is None else config.split
    return table.get_column(name) if name and name in table.columns else None


def _shares(shares: Sequence[float]) -> tuple[float, float, float]:
    counts = len(shares) == 3 and shares[VALID] >= 1 and all(share == int(share) >= 0 for share in shares)
    fine = len(shares) == 3 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6 and shares[TRAIN] > 0 and shares[VALID] > 0
    if not (fine or counts):
        raise UserError(
            "data.shares must be three shares (train, valid, test) that add up to 1, the first two above 0, or numbers of rows, "
            f"where 0 to train on means all that are left, not {list(shares)}."
        )
    return shares[0], shares[1], shares[2]


def _rows_as_test(part: np.ndarray, rows: Sequence[int]) -> np.ndarray:
    if len(rows) != 2 or not 0 <= rows[0] < rows[1] <= len(part):
        raise UserError(f"data.test_rows must be [start, stop] within the {len(part):,} rows of the file, not {list(rows)}.")
    part[rows[0] : rows[1]] = TEST
    return part


def _stack(table: Table, test: Table) -> Table:
    lacking = [name for name in table.columns if name not in test.columns]
    if lacking:
        raise UserError(f"the test file lacks the columns {listed(lacking)}.{did_you_mean(lacking[0], test.columns)}")
    if isinstance(table, DiskTable):
        return table.stacked(test.select(table.columns))
    return pl.concat([table, test.select(table.columns)], how="vertical_relaxed")


def reworded(rows: Rows, schema: Schema) -> Rows:
    """The rows, and behind them the training rows again, once for each column whose field puts them in other words."""
    train, tables = rows.of(TRAIN), [rows.table]
    for each in schema.inputs.values():
        other = each.reworded(Pieces(rows.table, each.columns[0], rows.part == TRAIN))
        if other is not None and isinstance(rows.table, DiskTable):
            raise UserError("rows in other words must lie in memory: --set data.on_disk=false.")
        if other is not None:
            tables.append(rows.table[train].with_columns(other))
            say(f"{len(train):,} training rows are read again in other words of {each.columns[0]!r}")
    if len(tables) == 1:
        return rows
    of = np.concatenate([np.arange(len(rows.part)), *[train] * (len(tables) - 1)])
    return replace(rows, table=pl.concat(tables), part=rows.part[of], numbers=rows.numbers[of], names=lambda i: rows.names(int(of[i])))


# ---------------------------------------------------------------- store


def encode(schema: Schema, rows: Rows, folder: Path | None = None) -> Store:
    """Every column once, a piece at a time; in `folder`, where one is given, instead of in memory. Raises BadCells, with rows as
    `Rows.numbers` counts them, where a cell cannot be read."""
    try:
        with cells.numbered(rows.names):
            columns = encode_columns(schema, rows.table, folder)
    except BadCells as bad:
        raise BadCells(
            f"{bad} Or leave such rows out: --set data.skip_bad=true.{_otherwise(schema, rows, bad)}", rows.numbers[bad.rows]
        ) from bad
    return Store(columns | rows.noted, torch.from_numpy(rows.part))


def _otherwise(schema: Schema, rows: Rows, bad: BadCells) -> str:
    """Which field can read the column, where it is for the user to say."""
    if not rows.fields or not any(each.columns[0] == bad.column and each.kind == "scalar" for each in schema.inputs.values()):
        return ""
    numbers = not cells.numbers(rows.table.get_column(bad.column).gather(bad.rows)).null_count()
    return f" Or read the column as {'numbers' if numbers else 'words'}: --set 'fields.{bad.column}={'number' if numbers else 'category'}'."


def encode_columns(schema: Schema, table: Table, folder: Path | None) -> Batch:
    """Inputs and targets of all rows."""
    schema.need(table)
    fields = schema.fields
    return dict(zip(fields, side_by_side(lambda key: _encoded(table, fields[key], folder, key), fields), strict=True))


def _encoded(table: Table, each: Field, folder: Path | None, key: str) -> Encoded:
    """A column as a whole. Raises BadCells for all of its pieces at once."""
    refused: list[BadCells] = []

    def pieces() -> Iterator[Encoded]:
        start = 0
        for piece in Pieces(table, each.columns[0]):
            try:
                yield each.encode(piece)
            except BadCells as bad:
                refused.append(BadCells(str(bad), [start + row for row in bad.rows]))
            start += len(piece)
        if refused:
            raise BadCells(str(refused[0]), np.concatenate([bad.rows for bad in refused]), each.columns[0])

    return stores.column(pieces(), folder, key)


def examples(task: Task, store: Store, part: int) -> Examples:
    return Examples(store, task.spans(store, part), task.batch)


def shuffled(n: int, seed: int, epoch: int, among: int = 0) -> Tensor:
    """The order of an epoch's n examples: a pure function of its arguments, so that resume needs no state.

    among: so many examples are shuffled among themselves, drawn as _RUNS runs of neighbours from anywhere; 0 for all of them. Then what is
    read in one stretch of an epoch lies in a few places of the disk.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    if not 0 < among < n:
        return torch.randperm(n, generator=generator)
    length = max(1, among // _RUNS)
    starts = torch.randperm(-(-n // length), generator=generator) * length
    order = torch.cat([torch.arange(start, min(start + length, n)) for start in starts.tolist()])
    return torch.cat([piece[torch.randperm(len(piece), generator=generator)] for piece in order.split(length * _RUNS)])


def alike(order: Tensor, lengths: Tensor, size: int, seed: int, epoch: int) -> Tensor:
    """The same epoch in batches of `size` examples of about one length: sorted within stretches of 50 batches, which are then shuffled."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    sorted_ = [piece[lengths[piece].argsort(stable=True)] for piece in order.split(50 * size)]
    batches = torch.cat([piece[: len(piece) // size * size] for piece in sorted_]).reshape(-1, size)
    rest = torch.cat([piece[len(piece) // size * size :] for piece in sorted_])
    return torch.cat([batches[torch.randperm(len(batches), generator=generator)].flatten(), rest])


_RUNS = 64
