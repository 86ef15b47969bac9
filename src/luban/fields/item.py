"""Which item a row of many series is of (a shop, a share, a meter): a stable number for each word, known to training or not.

No model reads it: it tells where one series ends and the next begins, so that an item that was never seen is forecast as any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field


class Item(Field):
    kind = "item"
    words: tuple[str, ...] = ()
    """Of the training rows, as they first came."""
    whole = False
    """Were they whole numbers?"""

    def fit(self, chunks: Iterable[pl.Series]) -> Item:
        chunks = list(chunks)
        self.has_missing = any(cells.empty(column).any() for column in chunks)
        self.whole = all(column.dtype.is_integer() for column in chunks)
        self.words = tuple(dict.fromkeys(word for column in chunks for word in cells.present(column).unique(maintain_order=True)))
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) int64: 63 bits of the word's BLAKE2; 0 where it is empty."""
        words = cells.words(column).set(cells.empty(column), None)
        spelt = words.drop_nulls().unique()
        numbers = words.replace_strict(spelt, [_number(word) for word in spelt], default=0, return_dtype=pl.Int64)
        return torch.from_numpy(numbers.fill_null(0).to_numpy().copy())

    def decode(self, encoded: Encoded) -> list:
        """None for an item that training never had."""
        assert isinstance(encoded, Tensor)
        known = {_number(word): int(word) if self.whole else word for word in self.words}
        return [known.get(number) for number in encoded.reshape(-1).tolist()]

    def state(self) -> dict[str, Any]:
        return {"words": list(self.words), "whole": self.whole, "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Item:
        self.words, self.whole, self.has_missing = tuple(state["words"]), state["whole"], state["has_missing"]
        return self

    def about(self) -> str:
        return f"{len(self.words):,} items"

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """One item, whose rows are in a row."""
        return [self.words[0] if self.words else "item"] * n

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [pl.Series("股票", ["茅台", "AAPL", "茅台"]), pl.Series("store", [3, 3, 1, 2]), pl.Series("id", ["007", "7", " 8 "])]


def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big") >> 1
