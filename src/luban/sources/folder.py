"""A folder of pictures to a Table of their paths: `train/<class>/*`, `<class>/*`, metadata.csv with `file_name`, or just pictures.

`_pictures` says how the names are meant. Only names are read: 60,000 take a fifth of a second. One picture's file is a table of one row.
"""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.source import Source
from luban.sources._pictures import ENDINGS, Found, arrange, hidden
from luban.sources.csv import Csv
from luban.sources.jsonl import Jsonl


class Folder(Source):
    suffixes = ENDINGS
    target = "label"

    def read(self, path: Path) -> Table:
        path = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow a link, and name another file than the user
        if path.is_file():
            return pl.DataFrame({"picture": [str(path)]})
        found = _walk(path)
        if not found.pictures:
            files = [each.name for each in sorted(path.iterdir()) if each.is_file() and not hidden(each.name)]
            raise UserError(f"{path} is a folder without pictures, and not a file. Give one of its files"
                            f"{': ' + listed(files, 6) if files else ''}, or a folder of pictures: one folder a class.")  # fmt: skip

        def read_list(name: str) -> Table:
            return (Csv() if name.lower().endswith(".csv") else Jsonl()).read(path / name)

        table = arrange(found, path.name, read_list)
        column = "picture" if "file_name" not in table.columns else "file_name"
        return table.with_columns((pl.lit(f"{path}{os.sep}") + pl.col(column)).alias(column))


def _walk(root: Path) -> Found:
    """All names below `root`. Links are followed, but not one that leads back to where it came from."""
    found = Found()
    todo: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while todo:
        folder, prefix, above = todo.pop()
        try:
            facts = Path(folder).stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UserError(f"the folder {folder!r} cannot be read: {error.strerror}. Change its permissions, or remove it.") from error
        if (facts.st_dev, facts.st_ino) in above:
            continue
        if prefix:
            found.folders.append(prefix[:-1])
        for entry in entries:
            if hidden(entry.name):
                continue
            if not entry.name.isascii() and (odd := os.fsencode(entry.name)).decode(errors="ignore") != entry.name:
                raise UserError(f"the name {odd!r} in {folder!r} is not UTF-8. Rename it (convmv does it for many).")
            if entry.is_dir():
                todo.append((entry.path, f"{prefix}{entry.name}/", above | {(facts.st_dev, facts.st_ino)}))
            else:
                found.add(prefix + entry.name)
    return found
