"""TF-IDF of n-grams with logistic or ridge regression: what a network for words has to beat, and often does not.

The words are spelled from their tokens again, and counted as hashed n-grams: runs of up to two words, or of up to three characters where no
spaces are written. Weights are those of scikit-learn's TfidfVectorizer with sublinear_tf: (1 + ln count) (ln((1 + N) / (1 + df)) + 1), rows
scaled to length 1, n-grams of a single training row left out. Other columns enter as in `linear`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Encoded, Examples, Ragged
from luban.core.contract import Clock, Head, Schema
from luban.layers.columns import of_kind
from luban.layers.ngrams import counted, spaceless
from luban.layers.rules import within
from luban.models.linear import Linear


class Tfidf(Linear):
    needs = frozenset({"tokens"})
    idf: Tensor
    longest: Tensor

    @dataclass(frozen=True)
    class Config:
        strength: float = 10.0
        """scikit-learn's C. Hotel reviews, 4 folds: .888 at 1, .907 at 10, .908 at 100; SST-2 .780, .795, .795."""
        iterations: int = 1000
        """Most steps of L-BFGS."""
        ngrams: int = 0
        """Longest run of units. 0: 2 of words, 3 of characters where most letters are of a script without spaces."""
        size: int | None = None
        """Ids that n-grams are hashed to. Unset: some 64 for each training row, 32,768 to 1,048,576."""

        def __post_init__(self) -> None:
            within(self, {"strength": (1e-12, 1e12), "iterations": (1, 1_000_000), "ngrams": (0, 10), "size": (1024, 2**26)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        self._size = config.size
        super().__init__(config, schema, head)
        self.spelled = of_kind(schema, "tokens")
        self.register_buffer("idf", torch.zeros(len(self.spelled), config.size))
        self.register_buffer("longest", torch.tensor(config.ngrams or 2))

    def widths(self, schema: Schema) -> dict[str, int]:
        return {key: self._size if schema.inputs[key].kind == "tokens" else size for key, size in super().widths(schema).items()}

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.6

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        ids = config.size or 2 ** int(np.clip(np.ceil(np.log2(64 * max(n_rows, 1))), 15, 20))
        return replace(config, size=ids), {}, {"model.size": "some 64 for each row"}

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        rows = train.whole()
        if not self.config.ngrams:
            some = torch.arange(min(1000, len(train)))
            written = [text or "" for key, field in self.spelled.items() for text in field.decode(rows[key][some])]
            self.longest.fill_(3 if spaceless(written) > 0.5 else 2)
        for i, key in enumerate(self.spelled):
            ids, _, _ = self._counted(key, rows[key])
            df = np.bincount(ids, minlength=self._size)
            self.idf[i] = torch.from_numpy(np.where(df > 1, np.log((1 + len(train)) / (1 + df)) + 1, 0))
        super().solve(train, valid, clock)

    def bag(self, key: str, column: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        if key not in self.spelled:
            return super().bag(key, column)
        ids, counts, lengths = (torch.from_numpy(each).to(self.idf.device) for each in self._counted(key, column))
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        weights = (1 + counts.float().log()) * self.idf[list(self.spelled).index(key)][ids]
        row = torch.arange(len(lengths), device=ids.device).repeat_interleave(lengths)
        norms = weights.new_zeros(len(lengths)).index_add_(0, row, weights.square()).sqrt().clamp(min=1e-12)
        return ids, offsets, weights / norms[row]

    def _counted(self, key: str, column: Encoded) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert isinstance(column, Ragged)
        written = [text or "" for text in self.spelled[key].decode(Ragged(column.values.cpu(), column.offsets.cpu()))]
        return counted(written, int(self.longest), self._size)
