"""Tokens as they are given, an id each; or a text, cut into words or characters here.

A cell is a list of tokens (as its JSON text), or a text. Each token becomes numbers of one vocabulary, whose embeddings a model adds up:
its own id (that of its small letters where it was never seen, else 0) and hashes: where tokens are words, of its first and last letters and
of its shape, by which a name that was never seen looks like a name (Lample et al. 2016 read its characters, arXiv 1603.01360); where they
are characters, of the pairs with its neighbours; or, for a pretrained encoder, the pieces that its tokenizer cuts the token into. The last
two are where it begins and ends: characters of the text, or the token's number in a list.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.batch import Encoded, Ragged
from luban.core.contract import Field
from luban.core.errors import BadCells, UserError
from luban.core.hub import tokenizer_of
from luban.core.registry import Later

hf = Later("tokenizers")

BUCKETS = 20_000
"""Ids that affixes, shapes and pairs are hashed to."""
PIECES = 8
"""Pieces of a token that a pretrained encoder reads; a name of 30 letters has about so many."""
HAN = r"\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts without spaces, of which each character is a token."""
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+(?:['’.-][^\W_{HAN}]+)*|\S")
CHARACTER = re.compile(r"\S")

Token = tuple[str, int, int]
"""(as it is written, where it begins, where it ends)"""


class Words(Field):
    kind = "words"
    invertible = False  # a token that was never seen is gone

    @dataclass(frozen=True)
    class Config:
        min_count: int = 1
        """A token that stands fewer times in the training rows is unknown."""
        hashed: bool = True
        """Beside its id, tell of a word its first and last letters and its shape, of a character the pairs with its neighbours."""
        strip: str | None = None
        """A regular expression; what it matches in a token of a list is taken away, as a mark of segmentation: "(?<=.)[0-9]$"."""
        pieces: str | None = None
        """hf:PATH: beside its id, the pieces of a pretrained model's tokenizer, instead of what is hashed."""

        def __post_init__(self) -> None:
            try:
                re.compile(self.strip or "")
            except re.error as error:
                raise UserError(f"strip is not a regular expression ({error}): {self.strip!r}.") from error
            if self.pieces and not self.pieces.startswith("hf:"):
                raise UserError(f"pieces must be hf:PATH, not {self.pieces!r}.")

    length = 1
    """Tokens of the longest training row."""
    around: tuple[list[int], list[int]] = ([], [])
    """The special pieces that a pretrained model wants before and behind a row: [CLS] and [SEP]; of T5 only what ends it."""
    reads = 0
    """Pieces of a row that a pretrained model reads, at most."""
    single = False
    """Are the tokens of the training rows characters? Then a text is cut into such."""

    def fit(self, chunks: Iterable[pl.Series]) -> Words:
        counts: Counter[str] = Counter()
        listed: Counter[bool] = Counter()
        for column in chunks:
            self.has_missing = self.has_missing or bool(cells.empty(column).any())
            for tokens in self.cut(column):
                self.length = max(self.length, len(tokens))
                counts.update(token for token, _, _ in tokens)
        for token, count in counts.items():
            listed[len(token) == 1] += count
        self.single = listed[True] > 9 * listed[False]
        kept = sorted((-count, token) for token, count in counts.items() if count >= self.config.min_count)
        self.vocabulary = {token: i for i, (_, token) in enumerate(kept, 1)}
        if self.config.pieces:
            self._saved, self.reads, _ = tokenizer_of(self.config.pieces.removeprefix("hf:"))
        return self._ready()

    def _ready(self) -> Words:
        self.size = len(self.vocabulary) + 1 + BUCKETS * self._hashes
        if self.config.pieces:
            self._tokenizer = hf.Tokenizer.from_str(json.dumps(self._saved))
            found = self._tokenizer.encode("a")
            within = [at for at, special in enumerate(found.special_tokens_mask) if not special]
            self.around = found.ids[: within[0]], found.ids[within[-1] + 1 :]
        return self

    @property
    def _hashes(self) -> bool:
        return self.config.hashed and not self.config.pieces

    def about(self) -> str:
        return f"{len(self.vocabulary):,} {'characters' if self.single else 'tokens'}"

    # ---- encoding

    def cut(self, column: pl.Series) -> list[list[Token]]:
        """The tokens of each row; none of a missing one. Raises BadCells where a list holds something else than tokens."""
        gone = cells.empty(column).to_list()
        return [[] if none else self._cut(cell, i) for i, (cell, none) in enumerate(zip(cells.raw(column).to_list(), gone, strict=True))]

    def _cut(self, cell: str, i: int) -> list[Token]:
        given = listed(cell)
        if given is None:
            return [(found.group(), found.start(), found.end()) for found in (CHARACTER if self.single else WORD).finditer(cell)]
        if not all(isinstance(token, str) for token in given):
            raise BadCells(f"the column {self.columns[0]!r} should hold lists of tokens, but {cells.row(i)} has {cell[:60]!r}.", [i])
        if self.config.strip:
            given = [re.sub(self.config.strip, "", token) for token in given]
        return [(token, at, at + 1) for at, token in enumerate(given)]

    def encode(self, column: pl.Series) -> Ragged:
        """Ragged int64 (total, numbers of a token + 2); pieces count from 1, and 0 is none."""
        rows, known, flat = self.cut(column), functools.cache(self._ids), []
        for row in rows:
            tokens = ["", *(token for token, _, _ in row), ""]
            for i, (token, start, end) in enumerate(row, 1):
                pairs = [self._bucket(tokens[i - 1] + " " + token), self._bucket(token + " " + tokens[i + 1])] if self._pairs else []
                flat.append([*known(token), *pairs, start, end])
        width = len(self._ids("")) + 2 * self._pairs + 2
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        return Ragged(torch.tensor(flat, dtype=torch.int64).reshape(-1, width), torch.from_numpy(offsets).long())

    @property
    def _pairs(self) -> bool:
        return self._hashes and self.single

    def _ids(self, token: str) -> list[int]:
        low = token.lower()
        own = self.vocabulary.get(token) or self.vocabulary.get(low, 0)
        if self.config.pieces:
            # a word begins with a space, by which byte-level pieces know it
            cut = self._tokenizer.encode(token if self.single else " " + token, add_special_tokens=False).ids[:PIECES]
            return [own, *(id + 1 for id in cut), *[0] * (PIECES - len(cut))]
        if self.single or not self.config.hashed:
            return [own]
        shape = re.sub(r"(.)\1+", r"\1\1", _shape(token))
        parts = (f"l{low}", f"p{low[:2]}", f"p{low[:3]}", f"s{low[-2:]}", f"s{low[-3:]}", f"s{low[-4:]}", f"#{shape}")
        return [own, *map(self._bucket, parts)]

    def _bucket(self, written: str) -> int:
        return len(self.vocabulary) + 1 + zlib.crc32(written.encode()) % BUCKETS

    # ---- and back

    def decode(self, encoded: Encoded) -> list:
        """The tokens of each row side by side; None for a row without one."""
        assert isinstance(encoded, Ragged)
        signs, gap = ["\ufffd", *self.vocabulary], "" if self.single else " "
        rows = [encoded.values[start:stop, 0].tolist() for start, stop in itertools.pairwise(encoded.offsets.tolist())]
        return [gap.join(signs[id] for id in row) if row else None for row in rows]

    def state(self) -> dict[str, Any]:
        return {
            "vocabulary": list(self.vocabulary),
            "single": self.single,
            "length": self.length,
            "has_missing": self.has_missing,
            **({"tokenizer": self._saved, "reads": self.reads} if self.config.pieces else {}),
        }

    def restore(self, state: dict[str, Any]) -> Words:
        self.vocabulary = {token: i for i, token in enumerate(state["vocabulary"], 1)}
        self.single, self.has_missing = state["single"], state["has_missing"]
        self.length = state["length"]
        if self.config.pieces:
            self._saved, self.reads = state["tokenizer"], state["reads"]
        return self._ready()

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Lists of up to 12 tokens drawn from the vocabulary, in no order: no user's sentence leaves in a model."""
        known = list(self.vocabulary) or ["?"]
        return [json.dumps([known[i] for i in rng.integers(0, len(known), rng.integers(1, 13))], ensure_ascii=False) for _ in range(n)]

    def phrase(self) -> str:
        return "在这里写一句话" if self.single else "a short text to ask about"

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("tokens", ['["Mr.", "Smith", "lives", "in", "New", "York"]', None, '["in", "York"]', "Smith's in-laws, too."]),
            pl.Series("字", ['["鲁", "班", "在", "曲", "阜"]', "鲁班 在曲阜"]),
        ]


def listed(cell: str) -> list | None:
    """The list that a cell is the JSON text of; None where it is something else."""
    if not cell.lstrip().startswith("["):
        return None
    try:
        found = json.loads(cell)
    except json.JSONDecodeError:  # a text that begins with a bracket
        return None
    return found if isinstance(found, list) else None


def _shape(token: str) -> str:
    return "".join("X" if sign.isupper() else "x" if sign.islower() else "9" if sign.isdigit() else sign for sign in token)
