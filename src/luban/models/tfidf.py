"""TF-IDF of n-grams with logistic or ridge regression: what a network for words has to beat, and often does not.

The words are spelled from their tokens again, and counted as hashed n-grams: runs of up to two words, or of up to three characters where no
spaces are written. Weights are those of scikit-learn's TfidfVectorizer with sublinear_tf: (1 + ln count) (ln((1 + N) / (1 + df)) + 1), rows
scaled to length 1, n-grams of a single training row left out. Other columns enter as in `linear`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch, Encoded, Examples, Ragged
from luban.core.contract import Clock, Head, Schema
from luban.core.notes import say
from luban.core.registry import Later
from luban.layers.columns import of_kind
from luban.layers.ngrams import counted, spaceless
from luban.layers.rules import within
from luban.models.linear import MANY, Linear, sparse

decomposition = Later("sklearn.decomposition")


class Tfidf(Linear):
    needs = frozenset({"tokens"})
    unlabelled: ClassVar[Mapping[str, Any]] = {"topics": 100, "size": 2**16}
    idf: Tensor
    axes: Tensor
    longest: Tensor

    @dataclass(frozen=True)
    class Config:
        strength: float = 10.0
        """scikit-learn's C. Hotel reviews, 4 folds: .888 at 1, .907 at 10, .908 at 100; SST-2 .780, .795, .795."""
        iterations: int = 1000
        """Most steps of L-BFGS."""
        ngrams: int = 0
        """Longest run of units. 0: 2 of words, 3 of characters where most letters are of a script without spaces."""
        topics: int = 0
        """Rows as so many numbers, their shares of the directions in which all rows differ most (latent semantic analysis, Deerwester et
        al. 1990). 0: as their n-grams. With train.semi 100, of the rows without an answer, too: hotel reviews, 200 answers, .73 and .85."""
        size: int | None = None
        """Ids that n-grams are hashed to. Unset: some 64 for each training row, 32,768 to 1,048,576."""

        def __post_init__(self) -> None:
            within(
                self,
                {"strength": (1e-12, 1e12), "iterations": (1, 1_000_000), "ngrams": (0, 10), "topics": (0, 10_000), "size": (1024, 2**26)},
            )

    def __init__(self, config: Any, schema: Schema, head: Head):
        self._size = config.size
        super().__init__(config, schema, head)
        self.spelled = of_kind(schema, "tokens")
        self.register_buffer("idf", torch.zeros(len(self.spelled), config.size))
        self.register_buffer("longest", torch.tensor(config.ngrams or 2))
        self.more: Examples | None = None
        if config.topics:
            self.register_buffer("axes", torch.zeros(len(self.weight), config.topics))
            self.weight = torch.zeros(config.topics, head.size)

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
            if (tokens := len(rows[key].values)) > MANY // 5:
                say(f"counting the n-grams of {tokens:,} tokens")
            df, n = np.bincount(self._counted(key, rows[key])[0], minlength=self._size), len(train)
            if self.more:
                df, n = df + np.bincount(self._counted(key, self.more.whole()[key])[0], minlength=self._size), n + len(self.more)
            self.idf[i] = torch.from_numpy(np.where(df > 1, np.log((1 + n) / (1 + df)) + 1, 0))
        if self.config.topics:
            x = self._design(rows)
            self._turn(sparse.vstack([x, self._design(self.more.whole())]) if self.more else x)
            x = F.normalize(torch.from_numpy(x @ self.axes.double().numpy())).numpy()
            weights, biases = zip(*(self._solve_part(x, rows, part, clock) for part in self.head.parts), strict=True)
            self.weight.copy_(torch.from_numpy(np.concatenate(weights, 1)))
            self.bias.copy_(torch.from_numpy(np.concatenate(biases)))
        else:
            super().solve(train, valid, clock)
        self.more = None

    def survey(self, rows: Examples) -> None:
        self.more = rows

    def _turn(self, x: Any) -> None:
        """The axes of all rows x (N, F), which are sparse."""
        most = max(1, min(self.config.topics, min(x.shape) - 1))
        if x.nnz > MANY:
            say(f"finding {most} topics in {x.shape[0]:,} rows")
        self.axes[:, :most] = torch.from_numpy(decomposition.TruncatedSVD(most, random_state=0).fit(x).components_.T)

    def forward(self, batch: Batch) -> Tensor:
        if not self.config.topics:
            return super().forward(batch)
        return F.normalize(self.added(batch, self.axes)) @ self.weight + self.bias

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
