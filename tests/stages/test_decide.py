"""Which tokens an answer hangs on: the word that decides is marked, and what cannot be told is not."""

from __future__ import annotations

import html
import re

import polars as pl
import pytest

import luban
from luban.stages.decide import marked

WORDS = ["room", "bed", "breakfast", "street", "lift", "window"]
ROWS = [(f"the {a} was {w} and the {b} <was> there", label) for a in WORDS for b in WORDS for w, label in (("good", "yes"), ("bad", "no"))]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    table = pl.DataFrame(ROWS, schema=["review", "label"], orient="row")
    run = luban.train(table, target="label", model="tfidf", out=tmp_path_factory.mktemp("decide") / "run", baselines=[],
                      set=["fields.review={field: text, tokenizer: words, html: false}"])  # fmt: skip
    return luban.load(run.path / "model")


def told(bundle, *rows: str | None) -> list[str]:
    return marked(bundle, {"c0": bundle.schema.inputs["c0"].encode(pl.Series("review", rows, dtype=pl.String))}, "c0")


def test_the_word_that_decides_is_the_strongest(bundle):
    for word in ("good", "bad"):
        (row,) = told(bundle, f"the room was {word} and the bed <was> there")
        strength = {name: float(a) for a, name in re.findall(r"rgba\(70,110,180,([\d.]+)\)\">([^<]*)</span>", row)}
        assert max(strength, key=strength.get).strip() == word and strength[max(strength, key=strength.get)] == 0.6


def test_no_tokens_and_html(bundle):
    empty, row = told(bundle, None, "the <was> room")
    assert empty == "" and "<was>" not in row and html.escape("<") in row


def test_what_is_too_dear_is_left_out(bundle, monkeypatch):
    monkeypatch.setattr("luban.stages.decide.COST", -1)
    assert told(bundle, "good") is None


def test_the_report_shows_them(bundle, tmp_path):
    table = pl.DataFrame(ROWS, schema=["review", "label"], orient="row")
    run = luban.train(table, target="label", model="tfidf", out=tmp_path / "run", baselines=[])
    assert 'style="background:rgba(' in (run.path / "report.html").read_text(encoding="utf-8")


def test_pieces_of_one_character_are_one_word(tmp_path):
    rows = [f"房间{w}大" for w in ("很", "不") for _ in range(40)]
    table = pl.DataFrame({"评论": [f"{row}{i % 5}" for i, row in enumerate(rows)], "label": ["yes"] * 40 + ["no"] * 40})
    run = luban.train(
        table, target="label", model="tfidf", out=tmp_path / "run", baselines=[], set=["fields.评论={field: text, max_length: 20}"]
    )
    bundle = luban.load(run.path / "model")
    (row,) = marked(bundle, {"c0": bundle.schema.inputs["c0"].encode(pl.Series("评论", ["房间很𰻝大"]))}, "c0")
    assert re.sub("<[^>]*>", "", row) == "房间很𰻝大"
