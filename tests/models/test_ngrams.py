"""Hashed n-grams: stable, aware of scripts, fast; and TF-IDF of them against scikit-learn's own."""

from __future__ import annotations

import time

import numpy as np

from luban.layers.ngrams import counted, spaceless


def bags(*rows: str, longest: int = 2, size: int = 2**15) -> list[set[int]]:
    ids, _, lengths = counted(rows, longest, size)
    return [set(each.tolist()) for each in np.split(ids, np.cumsum(lengths)[:-1])]


def test_hash_never_changes():
    """Saved models hold weights by these ids: if this fails, they are all broken."""
    assert bags("not bad", "房间") == [{5039, 18634, 18937}, {3573, 5456, 12863}]


def test_units_and_pairs():
    a, b, c = bags("good film", "film good", "good")
    assert len(a) == 3 and len(a & b) == 2 and c < a
    assert [len(bag) for bag in bags("房间很大", "iphone很好", "don't", "!!", "ab ab ab", "안녕 하세요", "123")] == [7, 5, 5, 2, 2, 3, 1]
    assert bags("", "\n\t ") == [set()] * 2
    assert [len(bag) for bag in bags("a b c d", longest=1)] == [4] and [len(bag) for bag in bags("a b c d", longest=3)] == [9]


def test_rows_do_not_touch():
    assert bags("a", "b", "a b")[2] > bags("a")[0] | bags("b")[0]
    assert [len(bag) for bag in bags("a", "b")] == [1, 1]


def test_counts_and_bounds():
    ids, counts, lengths = counted(["ab ab cd ab"], 1, 100)
    assert sorted(counts.tolist()) == [1, 3] and lengths.tolist() == [2] and ids.min() > 0 and ids.max() < 100


def test_which_scripts():
    assert spaceless(["房间很大。"]) > 0.7 and spaceless(["a room", "안녕"]) == 0 and spaceless([]) == 0


def test_fifty_thousand_messages_in_a_few_seconds():
    rows = [f"free entry {i} in 2 a wkly comp to win fa cup tkts, text {i * 7919 % 10007} now" for i in range(50_000)]
    start = time.perf_counter()
    assert len(counted(rows, 2, 2**15)[2]) == 50_000
    assert time.perf_counter() - start < 15  # .6 s on 2 cores; the bound only catches a Python loop
