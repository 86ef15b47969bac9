"""Free text as a bag of hashed words and pairs of neighbours: no vocabulary, nothing learned, any language.

A unit is a run of letters and digits, a single character of a script that is written without spaces (Chinese, Japanese, Thai, ...),
or a single sign: "iPhone很好!" is four units. Each unit and each pair of neighbours in a row is hashed to an id; an id is listed once
a row. A hash cannot be undone: `decode` gives None. It does not know word order beyond pairs, nor that "cat" and "cats" are kin.

With a linear SVM on TF-IDF over these ids, 5 folds: SMS spam .984 accuracy, Chinese hotel reviews .894; without the signs .980 and
.890, without pairs .987 and .865.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.batch import Encoded, Ragged
from luban.core.contract import Field
from luban.core.errors import UserError

SPACELESS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3040, 0x30FF), (0x31F0, 0x31FF),
             (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip
"""Codepoints of Thai, Lao, Burmese, Khmer, kana and Han. Hangul is written with spaces."""
UNITS = r"[A-Za-z0-9\p{L}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]+|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]{2}"
"""Roughly a word each, for the sniff: letters and digits, or two characters where no spaces are written."""
SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "鲁", "班", "木", "工", "尺", "墨")


class Text(Field):
    kind = "tokens"

    @dataclass(frozen=True)
    class Config:
        size: int = 2**15
        """How many ids, 0 (unused) included. More ids collide less and cost more weights: 32,768 at a width of 64 are 8 MB."""
        ngrams: int = 2
        """Longest run of neighbouring units that is hashed as one. 1 is single words, 3 was worse than 2 at this size."""
        longest: int = 512
        """Units of a row that are read, of 8 characters each; what follows is cut. 512 is the usual limit of text encoders."""

    invertible = False
    missing = 0.0
    """Share of the training rows that are empty."""

    def __init__(self, columns: tuple[str, ...], config: Any = None):
        super().__init__(columns, config)
        self.size = self.config.size
        if min(self.size - 1, self.config.ngrams, self.config.longest) < 1:
            raise UserError(f"the column {columns[0]!r}: size must be 2 or more, ngrams and longest 1 or more; got {self.config}.")

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype != pl.String:
            return 0.0
        text = cells.present(column)
        if not len(text):
            return 0.0
        units = text.str.head(200).str.count_matches(UNITS).to_numpy().mean()
        distinct = text.n_unique() / len(text)
        if units >= 5 and distinct >= 0.3:
            return 0.9
        return 0.6 if units >= 2 and distinct >= 0.5 else 0.05

    def fit(self, chunks: Iterable[pl.Series], peers: dict[str, Field]) -> Text:
        gone, rows = 0, 0
        for column in chunks:
            gone, rows = gone + int(cells.empty(column).sum()), rows + len(column)
        self.missing, self.has_missing = gone / max(rows, 1), gone > 0
        return self

    def encode(self, column: pl.Series) -> Ragged:
        """Ragged int64, the sorted distinct ids of each row; an empty row where missing."""
        parts = [_ids(chunk, self.config) for chunk in _chunks(column, 2000)]  # bounds the memory: about 100 bytes a character
        lengths = torch.cat([lengths for _, lengths in parts])
        offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=offsets[1:])
        return Ragged(torch.cat([values for values, _ in parts]), offsets)

    def decode(self, encoded: Encoded) -> list:
        """None for each row: a hash cannot be undone."""
        return [None] * len(encoded)

    def state(self) -> dict[str, Any]:
        return {"missing": self.missing, "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Text:
        self.missing, self.has_missing = state["missing"], state["has_missing"]
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Words of no language: no user's text leaves in a model."""
        rows = [" ".join("".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(rng.integers(3, 13))) for _ in range(n)]
        return [None if gone else row for row, gone in zip(rows, rng.random(n) < self.missing, strict=True)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("review", ["Not bad, not bad at all!", "NOT BAD", "", None, "don't — ever", "привет мир"]),
            pl.Series("评论", ["房间很大，早餐太差。", "iPhone很好", "？？？", "１２３ ABC"]),
            pl.Series("number", [12, 3, None]),
        ]


# ---------------------------------------------------------------- hashing


def _ids(column: pl.Series, config: Text.Config) -> tuple[torch.Tensor, torch.Tensor]:
    """(values, row lengths) of a few rows. All steps are over the codepoints of all rows at once, no Python per row."""
    text = cells.words(column)
    text = pl.select(pl.when(cells.empty(column)).then(pl.lit("")).otherwise(text)).to_series()
    text = text.str.head(8 * config.longest).str.normalize("NFKC").str.to_lowercase() + "\n"
    codes = np.frombuffer("".join(text).encode("utf-32-le"), np.uint32)
    row_of_code = np.repeat(np.arange(len(text)), text.str.len_chars().to_numpy())

    kind = _kinds(codes)
    after_letter = np.concatenate([[False], kind[:-1] == 1])
    start = (kind == 2) | ((kind == 1) & ~after_letter)
    row = row_of_code[start]
    unit = _hash_units(codes[kind > 0], np.flatnonzero(start[kind > 0]))
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    row, unit = row[rank < config.longest], unit[rank < config.longest]

    keys, run = [], unit
    for n in range(1, config.ngrams + 1):
        if n > 1:
            run = _mix(run[:-1] * np.uint64(3) + unit[n - 1 :])
        same = row[: len(run)] == row[n - 1 :]
        ids = run[same] % np.uint64(config.size - 1) + np.uint64(1)
        keys.append(row[: len(run)][same] * config.size + ids.astype(np.int64))
    unique = np.unique(np.concatenate(keys))
    lengths = np.bincount(unique // config.size, minlength=len(text))
    return torch.from_numpy(unique % config.size), torch.from_numpy(lengths)


def _kinds(codes: np.ndarray) -> np.ndarray:
    """(total,) uint8: 0 between units, 1 a letter or digit of a word, 2 a unit by itself. Letter, mark, number, punctuation,
    symbol: the first letter of the Unicode category."""
    found = np.flatnonzero(np.bincount(codes)) if len(codes) else np.zeros(0, np.int64)
    table = np.zeros(int(found[-1]) + 1 if len(found) else 1, np.uint8)
    for code in found.tolist():
        category = unicodedata.category(chr(code))[0]
        if category in "LMN":
            table[code] = 2 if any(low <= code <= high for low, high in SPACELESS) else 1
        elif category in "PS":
            table[code] = 2
    return table[codes]


def _hash_units(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Polynomial in an odd base modulo 2**64, a term a codepoint, then mixed: (units,) uint64."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    powers = np.multiply.accumulate(np.full(int(place.max()) + 1, 0x9E3779B97F4A7C15, np.uint64))
    return _mix(np.add.reduceat(codes.astype(np.uint64) * powers[place], starts))


def _mix(h: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele et al. 2014): every bit of the input reaches the low bits, of which the id is made."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def _chunks(column: pl.Series, size: int) -> Iterator[pl.Series]:
    """A column in chunks of `size` rows."""
    return (column.slice(start, size) for start in range(0, max(len(column), 1), size))
