"""Yes or no, in many spellings, as 1.0 and 0.0; decodes to the words of the training rows.

Any pair below is understood at any time: trained on yes/no, asked with true or 1, it answers. A third word is missing if the
training rows had one too, else an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field

PAIRS = (("no", "yes"), ("false", "true"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1"),
         ("否", "是"), ("假", "真"), ("无", "有"), ("错", "对"))  # fmt: skip
MEANING = {word: float(side) for pair in PAIRS for side, word in enumerate(pair)}


class Boolean(Field):
    kind = "scalar"
    words: tuple[Any, Any] = (False, True)
    """How no and yes were written."""
    share = 0.5
    """Of yes among the training rows that say either."""
    missing = 0.0
    """Share of the training rows that say neither."""
    lenient = False
    """Did training rows hold a third word? Then it is missing later, too."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype == pl.Boolean:
            return 1.0
        if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Categorical, pl.Enum)):
            return 0.0
        found = set(_lower(column).drop_nulls().unique()) - (cells.BLANK - MEANING.keys())
        for pair in PAIRS:
            if found == set(pair):
                return 0.9
        return 0.0

    def fit(self, chunks: Iterable[pl.Series]) -> Boolean:
        odd, rows = cells.Odd(self.columns[0], "yes or no"), 0
        for column in chunks:
            odd.see(column, _read(column))
            rows += len(column)
        self.lenient = bool(odd.count)
        self.doubts += odd.doubts()
        found, _ = cells.counts(chunks)
        found = found.with_columns(value=_read(found["word"])).drop_nulls("value")
        n = int(found["count"].sum())
        self.missing = 1 - n / rows if rows else 0.0
        self.has_missing = n < rows
        if n:
            self.share = float((found["value"] * found["count"]).sum() / n)
            self.words = (False, True) if next(iter(chunks)).dtype == pl.Boolean else _spelling(found)
            self.edges = tuple(sorted(found["value"].unique().to_list()))
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) float32: 0, 1, or NaN where missing."""
        values = _read(column)
        if not self.lenient:
            cells.refuse(column, cells.unread(column, values), self.columns[0], f"{self.words[1]!r} or {self.words[0]!r}")
        return torch.from_numpy(values.fill_null(float("nan")).to_numpy().astype(np.float32))

    def decode(self, encoded: Encoded) -> list:
        """The training rows' words: yes from .5 upwards; None for NaN."""
        assert isinstance(encoded, Tensor)
        return [None if value != value else self.words[value >= 0.5] for value in encoded.reshape(-1).tolist()]

    def state(self) -> dict[str, Any]:
        return {"words": list(self.words), "share": self.share, "missing": self.missing, "has_missing": self.has_missing,
                "lenient": self.lenient, "edges": list(self.edges)}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Boolean:
        self.words, self.share, self.missing = tuple(state["words"]), state["share"], state["missing"]
        self.has_missing, self.lenient, self.edges = state["has_missing"], state["lenient"], tuple(state["edges"])
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Yes and no as often as in training, missing too."""
        yes, gone = (rng.random(n) < self.share).tolist(), (rng.random(n) < self.missing).tolist()
        return [None if g else self.words[y] for y, g in zip(yes, gone, strict=True)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("flag", [True, False, None, True]),
            pl.Series("会员", ["是", "否", "", "是 "]),
            pl.Series("garage", ["有", "无", "?"]),
            pl.Series("smoker", ["Yes", "No", "no", "Yes", "None"]),
            pl.Series("won", ["1", "0", "NA"]),
            pl.Series("paid", [1.0, 0.0, float("nan")]),
        ]


def _lower(column: pl.Series) -> pl.Series:
    return cells.words(column).str.to_lowercase().str.strip_suffix(".0")


def _read(column: pl.Series) -> pl.Series:
    """Float64 0 and 1, null for all else."""
    return _lower(column).replace_strict(list(MEANING), list(MEANING.values()), default=None, return_dtype=pl.Float64)


def _spelling(found: pl.DataFrame) -> tuple[Any, Any]:
    """The most frequent spelling of no and of yes; of one that did not occur, its partner's. 0 and 1 are ints, from a CSV as well.

    found: {word, count, value}, the most frequent first.
    """
    sides = [found.filter(pl.col("value") == side)["word"] for side in (0.0, 1.0)]
    seen = next(side for side in (0, 1) if len(sides[side]))
    pair = next(pair for pair in PAIRS if pair[seen] == _lower(sides[seen])[0])
    spelt = [sides[side][0] if len(sides[side]) else pair[side] for side in (0, 1)]
    return (0, 1) if spelt in (["0", "1"], ["0.0", "1.0"]) else (spelt[0], spelt[1])
