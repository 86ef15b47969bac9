"""A user a line, then the items that they had, the oldest first, blanks between: as logs come with papers on next items.

Each item becomes a row of two columns, `user` and `item`. No ending but .baskets is claimed here, for a .txt is more often a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.source import Source
from luban.sources._text import opened, text_lines


class Baskets(Source):
    suffixes = (".baskets", ".baskets.gz")
    options = ("encoding",)
    steady = True

    def read(self, path: Path) -> Table:
        return pl.concat(list(self.chunks(path, 1_000_000)))

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            users: list[str] = []
            items: list[str] = []
            for number, line in enumerate(text_lines(file, path.name, self.encoding), 1):
                user, *had = line.split() or [""]
                if user and not had:
                    raise UserError(f"line {number} of {path.name} should hold a user and their items, but is {line[:60]!r}.")
                users += [user] * len(had)
                items += had
                if len(items) >= rows:
                    yield from _table(users, items).iter_slices(rows)
                    users, items = [], []
            yield _table(users, items)


def _table(users: list[str], items: list[str]) -> Table:
    return pl.DataFrame({"user": users, "item": items}, {"user": pl.String, "item": pl.String})
