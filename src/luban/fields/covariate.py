"""What goes with a series: known of the future as well (a price that is planned, a holiday), of the past alone (the weather that was), or
the same at all times of an item (its size, its region).

A number is z-scored, with 0 for a gap; a few words are spelled one-hot, those beyond the most frequent, and new ones, as none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field
from luban.fields.number import Number

WORDS = 32
"""Different words that have a place of their own."""


class Covariate(Field):
    @dataclass(frozen=True)
    class Config:
        role: Literal["known", "past", "static"] = "known"
        """When its values are known: of the future as well, of the past alone, or the same at all times of an item."""

    words: tuple[str, ...] = ()
    """Where it is no number."""

    def __init__(self, columns: tuple[str, ...], config: Any = None):
        super().__init__(columns, config)
        self.number = Number(columns)

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.config.role

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.words) or 1

    def fit(self, chunks: Iterable[pl.Series]) -> Covariate:
        column = cells.whole(chunks, self.columns[0])
        if Number.sniff(column) >= 0.5 or not len(cells.present(column)):
            self.number.fit([column])
            self.has_missing = self.number.has_missing
            return self
        counts = cells.present(column).value_counts(sort=True)
        if len(counts) > WORDS:
            self.doubts.append(f"of {len(counts):,} different words the {WORDS} most frequent count")
        self.words = tuple(sorted(counts.sort("count", column.name, descending=[True, False]).head(WORDS).get_column(column.name)))
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) float32, or (N, words); NaN where a number, and in all places where a word, is missing."""
        if not self.words:
            return self.number.encode(column)
        empty = torch.from_numpy(cells.empty(column).to_numpy().copy())
        words = cells.words(column)
        found = torch.stack([torch.from_numpy((words == word).fill_null(False).to_numpy().copy()) for word in self.words], 1).float()
        return found.masked_fill(empty.unsqueeze(1), torch.nan)

    def decode(self, encoded: Encoded) -> list:
        assert isinstance(encoded, Tensor)
        if not self.words:
            return self.number.decode(encoded)
        return [self.words[int(row.argmax())] if row.max() > 0 else None for row in encoded]

    def state(self) -> dict[str, Any]:
        return {"words": list(self.words), "number": self.number.state(), "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Covariate:
        self.words, self.has_missing = tuple(state["words"]), state["has_missing"]
        self.number.restore(state["number"])
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        made = [self.words[i] for i in rng.integers(0, len(self.words), n)] if self.words else self.number.imagine(n, rng)
        made = [0 if value is None else value for value in made]
        return made[:1] * n if self.config.role == "static" else made

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [pl.Series("促销", [0, 1, 1, 0]), pl.Series("price", ["$3.5", "4", "3.25"]), pl.Series("region", ["north", "南", "north"])]
