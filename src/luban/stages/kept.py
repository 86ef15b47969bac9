"""What was made of a table on disk, kept beside it for whoever asks the same of the same file: parts, schema, encoded rows, findings.

It is found by the file's stamp, all that was asked of it, and the code that made it; what was said then is said again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from luban import stores
from luban.core import cache
from luban.core.batch import Store
from luban.core.contract import Schema, Table
from luban.core.files import amount, home
from luban.core.notes import recorded, say, warn
from luban.core.table import batches
from luban.data import Rows, joined, picked


@dataclass(frozen=True)
class Known:
    """What was made of the data before a model is."""

    rows: Rows
    schema: Schema
    store: Store
    findings: list[dict[str, Any]]
    fingerprint: str
    """Of the data as they were given: see splitting.fingerprint."""


def known(asked: list[Any], table: Table, test: Table | None, make: Callable[[Path | None], Known]) -> Known:
    """Made by `make`, in the folder that it is given, or found. asked: all that decides what comes of it."""
    name = f"{cache.key_of([*asked, cache.code()])}.store"
    if (folder := cache.found(name)) is not None:
        say(f"prepared before: {folder}")
        return _read(folder, table, test)
    size = _size(table)
    try:
        with cache.making(name, size) as place:
            if place is None:
                warn(f"there is no room for about {amount(size)} in {home()}.")
            else:
                with recorded() as said:
                    _write(make(place / name), said, place / name)
    except OSError as error:
        cache.useless(error)
    if (folder := cache.found(name)) is not None:
        return _read(folder, table, test, again=False)
    warn("the encoded rows stay in memory.")
    return make(None)


def _size(table: Table) -> int:
    """Bytes of its encoded rows, about, by the first of them: 8 a cell, and of long ones 5 for each of theirs."""
    _, some = next(batches(table, 1000))
    lengths = [column.str.len_bytes().fill_null(0).to_numpy().mean() for column in some if column.dtype == pl.String]
    return int(table.height * (8 * table.width + 5 * sum(each for each in lengths if each > _LONG)))


_LONG = 24
"""Bytes of a cell on average beyond which its words, and pairs of them, are what is kept."""


def _write(made: Known, said: list[tuple[str, str]], folder: Path) -> None:
    facts = {
        "schema": made.schema.state(),
        "doubts": {key: each.doubts for key, each in made.schema.fields.items()},
        "fields": made.rows.fields,
        "facts": made.rows.facts,
        "findings": made.findings,
        "fingerprint": made.fingerprint,
        "said": said,
    }
    np.save(folder / "part.npy", made.rows.part)
    np.save(folder / "numbers.npy", made.rows.numbers)
    (folder / "known.json").write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")


def _read(folder: Path, table: Table, test: Table | None, again: bool = True) -> Known:
    facts = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    for tell, words in facts["said"] if again else ():
        (warn if tell == "warn" else say)(words)
    schema = Schema.restore(facts["schema"])
    for key, each in schema.fields.items():
        each.doubts = facts["doubts"][key]
    part, numbers = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("part", "numbers"))
    whole, names = joined(table, test)
    rows = Rows(picked(whole, numbers), part, numbers, lambda i: names(int(numbers[i])), facts["fields"], facts["facts"], {})
    columns = {key: stores.opened(folder, key) for key in schema.fields}
    return Known(rows, schema, Store(columns, torch.from_numpy(part)), facts["findings"], facts["fingerprint"])
