"""Which words stand near each other, counted, and the table of it cut to its largest directions: word vectors before neural networks.

Positive pointwise mutual information with contexts smoothed by 0.75, then a truncated SVD whose singular values are shared out evenly:
as good as word2vec on small data (Levy, Goldberg and Dagan 2015, "Improving distributional similarity", section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Examples
from luban.core.contract import Clock, Head, Schema
from luban.core.notes import say
from luban.core.registry import Later
from luban.layers.rules import within
from luban.layers.words import PIECE, WordVectors

sparse, extmath = Later("scipy.sparse"), Later("sklearn.utils.extmath")

MOST = 5_000_000
"""Words that are counted, at most: rows beyond, evenly spaced, are left out. Each makes some ten entries of 16 bytes."""


class Svd(WordVectors):
    baseline = True

    @dataclass(frozen=True)
    class Config:
        width: int = 100
        """Of a vector; the words' number less one at most."""
        window: int = 5
        """Words to each side that count as near, the nearest most."""
        min_count: int = 5
        """A word that training has fewer times gets no vector."""
        weighting: Literal["sif", "idf", "mean"] = "sif"
        """How much a word counts in its row's vector. sif: a / (a + its share of all words), a = 0.001. idf: minus the log of its share."""

        def __post_init__(self) -> None:
            within(self, {"width": (1, 10_000), "window": (1, 1000), "min_count": (1, 1_000_000)})

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.3

    def learn(self, train: Examples, counts: Tensor, clock: Clock) -> None:
        if int(counts.sum()) > MOST:
            train = train.thinned(len(train) * MOST // int(counts.sum()))
            say(f"svd counts {len(train):,} of the rows, evenly spaced: some {MOST:,} words")
        V, window = self.field.size, self.config.window
        table = sparse.csr_matrix((V, V))
        for batch in train.pieces(16 * PIECE):
            values = batch[self.key].values.numpy()
            row = np.repeat(np.arange(len(batch[self.key])), batch[self.key].lengths.numpy())
            for d in range(1, min(window, len(values) - 1) + 1):
                same = row[d:] == row[:-d]
                a, b = values[:-d][same], values[d:][same]
                one = sparse.coo_matrix((np.full(len(a), (window + 1 - d) / window), (a, b)), (V, V)).tocsr()
                table = table + one + one.T
        has = torch.nonzero(counts >= self.config.min_count).squeeze(1).numpy()
        found = table[has][:, has].tocoo()
        word, other = (np.asarray(found.sum(axis)).ravel() for axis in (1, 0))
        smooth = other**0.75 / (other**0.75).sum()
        pmi = np.log(found.data / word[found.row] / smooth[found.col])
        kept = pmi > 0
        matrix = sparse.csr_matrix((pmi[kept], (found.row[kept], found.col[kept])), (len(has), len(has)))
        U, S, Vt = extmath.randomized_svd(matrix, min(self.config.width, len(has) - 1), random_state=clock.seed % 2**32)
        for buffer, side in ((self.vectors, U), (self.outer, Vt.T)):
            buffer[has, : len(S)] = torch.from_numpy(np.ascontiguousarray(side * np.sqrt(S), dtype=np.float32))
