"""A passage as its characters: an id each, in order, and one for the end. What is written is taken as it is, spaces and all.

Ids: 0 a character that training did not have, then the characters in the order of their codepoints, the last the end of a passage. Where
passages are the lines of a file, the end is the newline; so a newline that no passage held is read as an end, and an end is spelt as one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded, Ragged
from luban.core.contract import Field

UNKNOWN = "\ufffd"


class Characters(Field):
    kind = "tokens"

    @dataclass(frozen=True)
    class Config:
        context: int | None = None
        """Tokens that a model sees at once, as the task settled it; nothing is encoded by it."""
        min_count: int = 1
        """Characters that training has fewer times share the id 0; 5 thins out a Chinese vocabulary of thousands."""

    characters: str = ""
    """characters[i] has the id i + 1."""
    counts: tuple[int, ...] = ()
    """counts[i] times training had characters[i]; the last of all is the number of passages."""

    @property
    def end(self) -> int:
        """The id of the end of a passage."""
        return len(self.characters) + 1

    def fit(self, chunks: Iterable[pl.Series]) -> Characters:
        column = cells.raw(cells.whole(chunks, self.columns[0]))
        self.has_missing = column.null_count() > 0
        codes, counts = np.unique(_codes(column), return_counts=True)
        kept = counts >= self.config.min_count
        self.characters = "".join(map(chr, codes[kept].tolist()))
        self.counts = (*counts[kept].tolist(), len(column) - column.null_count())
        self.size = len(self.characters) + 2
        if not kept.all():
            self.doubts.append(f"{(~kept).sum():,} rare characters of {len(kept):,} share one id")
        return self

    def encode(self, column: pl.Series) -> Ragged:
        """The ids of each row's characters and the end; a missing row has none at all."""
        column = cells.raw(column)
        present = column.is_not_null().to_numpy()
        lengths = column.str.len_chars().fill_null(0).to_numpy().astype(np.int64) + present
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.full(offsets[-1], self.end)
        inside = np.ones(len(ids), bool)
        inside[offsets[1:][present] - 1] = False
        ids[inside] = self._ids(_codes(column))
        return Ragged(torch.from_numpy(ids), torch.from_numpy(offsets))

    def _ids(self, codes: np.ndarray) -> np.ndarray:
        known = np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)
        if not len(known):
            return np.zeros(len(codes), np.int64)
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        return np.where(known[places] == codes, places + 1, np.where(codes == ord("\n"), self.end, 0))

    def decode(self, encoded: Encoded) -> list:
        """The passages without their ends; None for a missing one."""
        assert isinstance(encoded, Ragged)
        rows = [encoded.values[start:stop] for start, stop in itertools.pairwise(encoded.offsets.tolist())]
        return [self.spell(row[:-1] if row[-1] == self.end else row) if len(row) else None for row in rows]

    def spell(self, ids: Tensor) -> str:
        """Ids (n,) as they are written."""
        signs = UNKNOWN + self.characters + "\n"
        return "".join(signs[id] for id in ids.tolist())

    def state(self) -> dict[str, Any]:
        return {"characters": self.characters, "counts": list(self.counts), "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Characters:
        self.characters, self.counts, self.has_missing = state["characters"], tuple(state["counts"]), state["has_missing"]
        self.size = len(self.characters) + 2
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Characters drawn as often as in training, up to 24 in no order: no user's passage leaves in a model."""
        shares = np.array(self.counts[:-1], float)
        if not shares.sum():
            return [""] * n
        return ["".join(rng.choice(list(self.characters), rng.integers(1, 25), p=shares / shares.sum())) for _ in range(n)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("line", ["ROMEO:", "", "  O, speak  again!", "NA", None]),
            pl.Series("诗", ["床前明月光，", "疑是地上霜。\n举头望明月，", "🙂 低头思故乡。"]),
        ]


def _codes(column: pl.Series) -> np.ndarray:
    """The codepoints of all rows, one after the other, (total,) uint32."""
    return np.frombuffer("".join(column.drop_nulls()).encode("utf-32-le"), np.uint32)
