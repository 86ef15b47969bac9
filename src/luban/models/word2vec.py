"""Word vectors that foretell a word's neighbours, by negative sampling; with `subwords` also of pieces of words, so that any word has one.

Mikolov et al. 2013, arXiv 1301.3781 and 1310.4546; Bojanowski et al. 2017, arXiv 1607.04606. Training is gensim's, the bundle is not: it
holds the vectors as tensors, and answers without gensim.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Examples
from luban.core.contract import Clock, Head, Schema
from luban.core.errors import UserError
from luban.core.notes import say
from luban.core.registry import Later, how_to_install
from luban.layers.rules import within
from luban.layers.words import PIECE, WordVectors

gensim = Later("gensim.models")

ROW = 10_000
"""Words that gensim reads of a row; a longer one is handed over in several."""
SHORTEST, LONGEST = 3, 6
"""Characters of a piece of a word, its ends among them: fastText's."""


class Word2Vec(WordVectors):
    @dataclass(frozen=True)
    class Config:
        width: int = 100
        """Of a vector. 300 for hundreds of millions of words."""
        window: int = 5
        """Words to each side that are foretold, at most: each time a number from 1 up to it is drawn. 2 finds words of the same kind, 10 of
        the same topic."""
        negative: int = 5
        """Other words drawn beside each true one; 5 to 20 for small data."""
        epochs: int | None = None
        """Passes over the rows. Unset: 5, and up to 15 where they have fewer than a million words; on 170,000, 50 learn them by heart."""
        min_count: int = 5
        """A word that training has fewer times gets no vector."""
        kind: Literal["sg", "cbow"] = "sg"
        """sg (skip-gram): a word foretells each neighbour, better for rare words. cbow: the mean of the neighbours foretells the word, some
        times faster."""
        subwords: bool = False
        """Also a vector for pieces of 3 to 6 characters (fastText): a word that training never had is answered by how it is written. Needs
        task.tokenizer=words."""
        buckets: int = 50_000
        """With subwords: vectors that the pieces share by their hash. fastText has 2,000,000, which are 800 MB of 100 numbers."""
        sample: float = 1e-3
        """Words more frequent than this share are skipped at times, the more the oftener; 0 for never. 1e-5 for billions of words."""
        lr: float = 0.025
        """Learning rate at the start; it falls in a line to nothing."""
        workers: int = 1
        """Threads. With more than one the same seed no longer gives the same vectors."""
        weighting: Literal["sif", "idf", "mean"] = "sif"
        """How much a word counts in its row's vector. sif: a / (a + its share of all words), a = 0.001. idf: minus the log of its share."""

        def __post_init__(self) -> None:
            bounds = {"width": (1, 10_000), "window": (1, 1000), "negative": (1, 100), "epochs": (1, 10_000), "min_count": (1, 1_000_000),
                      "buckets": (1, 10_000_000), "sample": (0.0, 1.0), "lr": (1e-6, 1.0), "workers": (1, 256)}  # fmt: skip
            within(self, bounds)

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.5 if importlib.util.find_spec("gensim") else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        if not importlib.util.find_spec("gensim"):
            raise UserError(f"word2vec is trained by the package gensim, which is not installed: {how_to_install('gensim')}. "
                            "Or take --model svd.")  # fmt: skip
        ((_, field),) = schema.inputs.items()
        if config.subwords and getattr(field.config, "tokenizer", "words") != "words":
            raise UserError(f"model.subwords cuts words by itself and needs task.tokenizer=words, not {field.config.tokenizer!r}.")
        words = max(1, int(n_rows * getattr(field, "usual", 10)))
        return replace(config, epochs=config.epochs or max(5, min(15, 5_000_000 // words))), {}, {"model.epochs": "some five million words"}

    parts: Tensor

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.register_buffer("parts", torch.zeros(config.buckets if config.subwords else 0, config.width))  # of the pieces of words

    def learn(self, train: Examples, counts: Tensor, clock: Clock) -> None:
        c = self.config
        names = self.field.pieces(torch.arange(self.field.size)) if c.subwords else None
        words = np.array(names or [str(i) for i in range(self.field.size)], dtype=object)  # two ids of one spelling would be one word
        options = dict(vector_size=c.width, window=c.window, negative=c.negative, min_count=c.min_count, sg=int(c.kind == "sg"),
                       sample=c.sample, workers=c.workers, seed=clock.seed % 2**31, alpha=c.lr)  # fmt: skip
        if c.subwords:
            model = gensim.FastText(**options, bucket=c.buckets, min_n=SHORTEST, max_n=LONGEST)
        else:
            model = gensim.Word2Vec(**options)
        rows = _Rows(train, self.key, words)
        model.build_vocab_from_freq({words[i]: int(counts[i]) for i in torch.nonzero(counts).squeeze(1).tolist()})
        total, least = int(counts.sum()), 1e-4
        for epoch in range(c.epochs):  # one by one, so that a limit and Ctrl-C are heeded
            if clock.stopped():
                return
            if clock.seconds_left() <= 0:
                say(f"the time is up after {epoch} of {c.epochs} epochs")
                break
            start, end = (c.lr + (least - c.lr) * min(1.0, e / c.epochs) for e in (epoch, epoch + 1))
            model.train(rows, total_words=total, epochs=1, start_alpha=start, end_alpha=end)
        place = {word: i for i, word in enumerate(words)}
        ids = torch.tensor([place[word] for word in model.wv.index_to_key])
        self.vectors[ids], self.outer[ids] = torch.from_numpy(model.wv.vectors), torch.from_numpy(model.syn1neg)
        if c.subwords:
            self.parts.copy_(torch.from_numpy(model.wv.vectors_ngrams))

    def spelled(self, word: str) -> Tensor:
        """The mean of its pieces' vectors."""
        pieces = [_hash(piece) % len(self.parts) for piece in _pieces(word.lower().strip())] if self.config.subwords else []
        return self.parts[torch.tensor(pieces)].mean(0) if pieces else super().spelled(word)


class _Rows:
    """The training rows as gensim reads them, lists of words, as often as it asks."""

    def __init__(self, train: Examples, key: str, words: np.ndarray):
        self.train, self.key, self.words = train, key, words

    def __iter__(self) -> Iterator[list[str]]:
        for batch in self.train.pieces(PIECE):
            tokens = batch[self.key]
            words = self.words[tokens.values.numpy()].tolist()
            for start, stop in zip(tokens.offsets[:-1].tolist(), tokens.offsets[1:].tolist(), strict=True):
                yield from (words[first : min(first + ROW, stop)] for first in range(start, stop, ROW))


def _pieces(word: str) -> list[str]:
    """All runs of SHORTEST to LONGEST characters of <word>."""
    whole = f"<{word}>"
    return [whole[i : i + n] for i in range(len(whole)) for n in range(SHORTEST, LONGEST + 1) if i + n <= len(whole)]


def _hash(piece: str) -> int:
    """fastText's: FNV-1a of 32 bits, whose bytes above 127 are negative (as theirs is by mistake)."""
    h = 2166136261
    for byte in piece.encode():
        h = ((h ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return h
