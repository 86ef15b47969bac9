"""Words as counts of hashed n-grams: no vocabulary, nothing learned, any language.

A unit is a run of letters and digits, a single character of a script that is written without spaces (Chinese, Japanese, Thai, ...), or a
single sign: "iPhone很好!" is four units. Each run of up to n neighbouring units in a row is hashed to an id.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

SPACELESS = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3040, 0x30FF), (0x31F0, 0x31FF),
             (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip
"""Codepoints of Thai, Lao, Burmese, Khmer, kana and Han. Hangul is written with spaces."""


def counted(rows: Sequence[str], longest: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, counts, row lengths): the distinct ids of each row, 1 <= id < size, sorted. No Python per row."""
    codes = np.frombuffer("\n".join([*rows, ""]).encode("utf-32-le"), np.uint32)
    row_of_code = np.repeat(np.arange(len(rows)), [len(row) + 1 for row in rows])
    kind = _kinds(codes)
    after_letter = np.concatenate([[False], kind[:-1] == 1])
    start = (kind == 2) | ((kind == 1) & ~after_letter)
    row, unit = row_of_code[start], _hash_units(codes[kind > 0], np.flatnonzero(start[kind > 0]))

    keys, run = [], unit
    for n in range(1, longest + 1):
        if n > 1:
            run = _mix(run[:-1] * np.uint64(3) + unit[n - 1 :])
        same = row[: len(run)] == row[n - 1 :]
        ids = run[same] % np.uint64(size - 1) + np.uint64(1)
        keys.append(row[: len(run)][same] * size + ids.astype(np.int64))
    unique, counts = np.unique(np.concatenate(keys), return_counts=True)
    return unique % size, counts, np.bincount(unique // size, minlength=len(rows))


def spaceless(rows: Sequence[str]) -> float:
    """The share of letters that belong to scripts written without spaces."""
    codes = np.frombuffer("".join(rows).encode("utf-32-le"), np.uint32)
    letters = codes[_kinds(codes) > 0]
    inside = sum(int(((letters >= low) & (letters <= high)).sum()) for low, high in SPACELESS)
    return inside / max(len(letters), 1)


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
