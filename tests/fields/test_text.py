"""Hashed text: stable, aware of scripts, fast."""

from __future__ import annotations

import time

import polars as pl
import pytest

from luban.core import config as configs
from luban.core.errors import UserError
from luban.fields.text import Text


def bags(*rows: str | None, **options) -> list[set[int]]:
    field = Text(("c",), configs.build(Text.Config, options))
    encoded = field.encode(pl.Series("c", rows, dtype=pl.String))
    return [set(encoded.values[a:b].tolist()) for a, b in zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)]


def test_hash_never_changes():
    """Saved models hold weights by these ids: if this fails, they are all broken."""
    assert bags("Not bad", "房间") == [{5039, 18634, 18937}, {3573, 5456, 12863}]


def test_units_and_pairs():
    a, b, c, d = bags("good film", "film good", "GOOD  film", "good")
    assert a == c and len(a) == 3 and len(a & b) == 2 and d < a
    assert [len(bag) for bag in bags("房间很大", "iPhone很好", "don't", "!!", "ab ab ab", "안녕 하세요", "１２３")] == [7, 5, 5, 2, 2, 3, 1]
    assert bags("１２３ＡＢＣ") == bags("123abc")
    assert bags("", None, "?", "\n\t ") == [set()] * 4


def test_rows_do_not_touch():
    assert bags("a", "b", "a b")[2] > bags("a")[0] | bags("b")[0]
    assert [len(bag) for bag in bags("a", "b")] == [1, 1]
    assert bags("a\nb") == bags("a b")


def test_options():
    assert all(0 < id < 100 for bag in bags("the quick brown fox " * 9, size=100) for id in bag)
    assert [len(bag) for bag in bags("a b c d", ngrams=1)] == [4] and [len(bag) for bag in bags("a b c d", ngrams=3)] == [9]
    assert bags("a b c d", longest=2) == bags("a b")
    with pytest.raises(UserError, match="size must be 2 or more"):
        bags("a", size=1)


def test_fifty_thousand_messages_in_a_few_seconds():
    column = pl.Series("c", [f"Free entry {i} in 2 a wkly comp to win FA Cup tkts, text {i * 7919 % 10007} now" for i in range(50_000)])
    start = time.perf_counter()
    assert len(Text(("c",)).encode(column)) == 50_000
    assert time.perf_counter() - start < 15  # .6 s on 2 cores; the bound only catches a Python loop
