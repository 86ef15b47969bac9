"""Words, codes and classes as ids: 0 was never seen in training, then the vocabulary in order; also what a classifier learns.

The order is that of numbers or of codepoints; missing has the last id, if the training rows had it. A column whose training values
are all numbers, or all true/false, compares by value: "3", 3, 3.0 and "3.0" are one. Codes such as "007" are text. The decoded word
has the type of its column: whole numbers are ints, also from a CSV.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field

NAMES = r"(?i:(?:^|[_ .-])(?:id|zip|zip_?code|postcode|postal_code))$|[a-z]I[dD]$|编号$|代码$|邮编$"
"""Whole numbers in a column so called are names, not amounts: userId, customer_id, zip code."""
PLAIN = r"^-?(0|[1-9]\d{0,14})(\.\d{1,15})?$"
"""A number that is nothing but a number: no leading zero, no sign of a code, exact as a float."""


FEW = 100
"""Cells up to which each is looked up by itself; more are joined with all words at once."""


class Category(Field):
    kind = "id"

    @dataclass(frozen=True)
    class Config:
        max_size: int = 100_000
        """Most words to keep, the most frequent first; the rest share the id 0. At a width of 64, 100,000 words are 26 MB of weights."""
        min_count: int = 1
        """Words that fewer training rows hold share the id 0. 1, because in a target every class counts; 2-5 is usual for ids."""

    words: tuple[Any, ...] = ()
    """words[i] is what the id i + 1 stands for; missing is not among them."""
    counts: tuple[int, ...] = ()
    """counts[i] training rows held words[i]."""
    _listed: tuple[tuple[Any, ...], dict[Any, int]] = ((), {})
    missing = 0
    """Training rows without a value. Above 0, missing has the id len(words) + 1."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            return 0.0
        if column.dtype in (pl.Categorical, pl.Enum):
            return 0.95
        if column.dtype == pl.Boolean:
            return 0.6
        text = cells.present(column)
        if column.dtype.is_temporal() or not len(text):
            return 0.1
        distinct = text.n_unique()
        values = cells.numbers(text).drop_nulls()
        if len(values) >= 0.95 * len(text):
            if text.str.contains(r"^0\d|^\d{16}").any():
                return 0.75
            if (values == values.floor()).all() and re.search(NAMES, column.name.strip()):
                return 0.9
            # a few whole numbers may be classes or amounts; as amounts they keep their order, so number goes first, with a doubt
            return 0.72 if distinct <= 10 and (values == values.floor()).all() else 0.1
        return 0.8 if distinct <= 50 or distinct < 0.2 * len(text) else 0.5

    def fit(self, chunks: Iterable[pl.Series]) -> Category:
        found, self.missing = cells.counts(chunks)
        dtype = next(iter(chunks)).dtype
        self.has_missing = self.missing > 0
        text, rows = found["word"], int(found["count"].sum())
        keys = _keys(text, _kind(dtype, text))
        table = found.with_columns(key=keys).group_by("key").agg(pl.col("count").sum()).sort("count", "key", descending=[True, False])
        kept = table.filter(pl.col("count") >= self.config.min_count).head(self.config.max_size).sort("key")
        self.words, self.counts = tuple(kept["key"].to_list()), tuple(kept["count"].to_list())
        self.size = 1 + len(self.words) + (self.missing > 0)
        # 1.0 and 2.0 were written with a point, or measured: they stay floats. Otherwise whole numbers are ints
        if keys.dtype == pl.Float64 and not dtype.is_float() and not text.str.contains(".", literal=True).any():
            self.words = tuple(int(word) for word in self.words)
        if kept.height < table.height:
            self.doubts.append(f"{table.height - kept.height:,} rare values of {table.height:,} share one id")
        if table.height > 100 and table.height > 0.5 * rows:
            self.doubts.append(f"{table.height:,} different values in {rows:,} rows: most will be new at prediction")
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) int64; 0 for a word that was not seen in training."""
        return torch.from_numpy(cells.by_spelling(column, self._ids).to_numpy(writable=True))

    def _ids(self, column: pl.Series) -> pl.Series:
        gone = cells.empty(column)
        unknown = len(self.words) + 1 if self.missing else 0
        if not self.words:
            return pl.Series(gone.to_numpy() * np.int64(unknown))
        kind = type(self.words[0])
        if column.dtype == pl.Boolean and kind is not bool:  # a CSV's "True", or its 1, is asked as JSON's true
            column = column.replace_strict([False, True], self._spelt_bools(), return_dtype=pl.String)
        keys = _keys(cells.words(column), kind)
        if len(keys) <= FEW:
            ids = np.array([self._places.get(key, 0) for key in keys.to_list()], np.int64)
        else:
            words = pl.Series(self.words, dtype=keys.dtype, strict=False)
            found = keys.replace_strict(words, pl.Series(range(1, len(words) + 1), dtype=pl.Int64), default=0, return_dtype=pl.Int64)
            ids = found.fill_null(0).to_numpy()
        return pl.Series(np.where(gone.to_numpy(), unknown, ids))

    @property
    def _places(self) -> dict[Any, int]:
        """{word: id}, made once: a server asked for one of a million users should not go through all."""
        if self._listed[0] is not self.words:
            self._listed = (self.words, {word: id for id, word in enumerate(self.words, 1)})
        return self._listed[1]

    def _spelt_bools(self) -> list[str]:
        spelt = {str(word).lower(): str(word) for word in self.words}
        return [spelt.get("false", "0"), spelt.get("true", "1")]

    def decode(self, encoded: Encoded) -> list:
        """The words; None for missing and for never seen."""
        assert isinstance(encoded, Tensor)
        return [self.words[id - 1] if 0 < id <= len(self.words) else None for id in encoded.tolist()]

    def state(self) -> dict[str, Any]:
        return {"words": list(self.words), "counts": list(self.counts), "missing": self.missing}

    def restore(self, state: dict[str, Any]) -> Category:
        self.words, self.counts, self.missing = tuple(state["words"]), tuple(state["counts"]), state["missing"]
        self.has_missing = self.missing > 0
        self.size = 1 + len(self.words) + self.has_missing
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Words as often as in training, missing among them."""
        if not self.words:
            return [None] * n
        counts = np.array([*self.counts, self.missing], float)
        return [(*self.words, None)[i] for i in rng.choice(len(counts), n, p=counts / counts.sum()).tolist()]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("城市", ["北京", " 上海", "北京", "?", "", "Köln", "None", "无"]),
            pl.Series("zip", ["007", "7", "01234", "NA"]),
            pl.Series("class", ["3", "1", "10", "3", "2"]),
            pl.Series("grade", [2.0, 1.0, 2.5, None, float("nan")]),
            pl.Series("level", [3, 1, 10, None], dtype=pl.UInt8),
            pl.Series("flag", [True, False, None]),
            pl.Series("size", ["S", "M", "S", None], dtype=pl.Categorical),
        ]


def _kind(dtype: pl.DataType, text: pl.Series) -> type:
    """By what the values are compared: bool (a typed column only), number or text."""
    if dtype == pl.Boolean:
        return bool
    return float if len(text) and text.str.contains(PLAIN).all() else str


def _keys(text: pl.Series, kind: type) -> pl.Series:
    """Words as what they are compared by; null where it is no such thing."""
    if kind is bool:
        spelt = {"false": False, "0": False, "true": True, "1": True}
        return text.str.to_lowercase().replace_strict(spelt, default=None, return_dtype=pl.Boolean)
    return text if kind is str else text.cast(pl.Float64, strict=False)
