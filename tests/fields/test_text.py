"""Words as tokens: cleaned, cut alike in any order and number of rows, spelled again, and what was cut is said."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch

from luban.core import config as configs
from luban.core.errors import UserError
from luban.fields.text import KINDS, Text

REVIEWS = pl.Series(
    "评论", ["房间很大，早餐太差。", "房间很小，服务很好！", "Not a bad room, not at all", "the room was bad", "<b>AT&amp;T</b>\x00x"] * 20
)


def fitted(column: pl.Series = REVIEWS, **options) -> Text:
    return Text((column.name,), configs.build(Text.Config, options)).fit([column])


def tokens(field: Text, *rows: str | None) -> list[list[int]]:
    encoded = field.encode(pl.Series(field.columns[0], rows, dtype=pl.String))
    return [encoded.values[a:b].tolist() for a, b in zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_spelled_again_and_the_same_after_a_journey(kind):
    field = fitted(tokenizer=kind, vocab_size=400)
    again = Text(("评论",), field.config).restore(json.loads(json.dumps(field.state())))
    rows = ["房间很大", "the room", "新词 unheard-of 🙂"]
    assert tokens(field, *rows) == tokens(again, *rows) and field.about() == again.about()
    written = field.decode(field.encode(pl.Series(rows)))
    assert written[0].replace(" ", "") == "房间很大" and written[1].replace(" ", "") == "theroom"
    assert json.dumps(fitted(tokenizer=kind, vocab_size=400).state()) == json.dumps(field.state())  # learned alike, or kept


def test_cleaning_is_optional_step_by_step():
    plain = fitted()
    assert tokens(plain, "ＲＯＯＭ") == tokens(plain, "room") == tokens(plain, "<i>room</i>")
    assert tokens(plain, "a\x00b") == tokens(plain, "a b") and tokens(plain, "a&lt;b") == tokens(plain, "a<b")
    assert tokens(fitted(lowercase=False), "Room") != tokens(fitted(lowercase=False), "room")
    assert len(tokens(fitted(html=False), "<i>room</i>")[0]) > len(tokens(plain, "<i>room</i>")[0])
    assert tokens(fitted(nfkc=False), "１") != tokens(fitted(nfkc=False), "1")


def test_byte_level_knows_everything_and_words_do_not():
    assert 0 not in tokens(fitted(), "🙂 שלום ᚠ")[0]
    assert tokens(fitted(tokenizer="words"), "unheardof")[0] == [0]
    assert len(tokens(fitted(tokenizer="words"), "房间很大 the room")[0]) == 6  # a character each, a word each


def test_the_lengths_choose_the_maximum_and_what_is_cut_is_said():
    lengths = [1] * 90 + [600] * 10
    field = fitted(pl.Series("t", [" ".join(["word"] * n) for n in lengths]))
    assert field.length == 512 and field.cut == pytest.approx(0.1) and "10% of the rows are longer than the 512" in field.doubts[0]
    assert len(tokens(field, "word " * 10_000)[0]) == 512 and "at most 512" in field.about()
    assert fitted(max_length=3).length == 3


def test_empty_blank_and_odd_cells():
    field = fitted()
    assert tokens(field, "", None, "?", "\n\t ") == [[]] * 4
    assert len(tokens(field, "x" * 1_000_000)[0]) <= field.length
    assert fitted(pl.Series("t", ["", None])).decode(field.encode(pl.Series(["房间"])))
    assert field.decode(field.encode(pl.Series("t", [None, "room"]))) == [None, "room"]


def test_pieces_are_what_was_written():
    field = fitted()
    ids = torch.tensor(tokens(field, "房间很大")[0])
    assert "".join(field.pieces(ids)) == "房间很大"


ODD = [
    "",
    None,
    "\x00 abc",
    " ▁x y ▁ z▁",
    "a  b   c \n\n d",
    "e\u0301 \u0301x",
    "x\u3000y\u180ez \u200b w",
    "don't 're ' s",
    "١٢ ३",
    "the room the",
]


@pytest.mark.parametrize("options", [{}, {"controls": False}, {"max_length": 3}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_stretches_that_are_cut_once_are_cut_as_in_their_rows(kind, options):
    field, column = fitted(pl.concat([REVIEWS, pl.Series("评论", ODD)]), tokenizer=kind, **options), pl.Series("评论", [*ODD, *REVIEWS])
    assert tokens(field, *column) == [each.ids for each in field._tokenizer.encode_batch(field._clean(column).to_list())]
    assert len(field.encode(column.head(0))) == 0


def test_a_stretch_is_cut_once(monkeypatch):
    field, seen = fitted(), []
    cut = field._cut
    monkeypatch.setattr(field, "_cut", lambda clean: seen.extend(clean) or cut(clean))
    tokens(field, "the room the room", "the room")
    assert sorted(seen) == [" room", " the", "the"]


WRONG = [
    ({"tokenizer": "wordpiece"}, "must be one of bpe"),
    ({"vocab_size": 3}, "300 or more"),
    ({"max_length": 0}, "1 or more"),
    ({"tokenizer": "hf:/nowhere"}, "no folder '/nowhere'"),
]


@pytest.mark.parametrize("options, why", WRONG)
def test_what_cannot_be(options, why):
    with pytest.raises(UserError, match=why):
        fitted(**options)


def test_unigram_names_the_least_vocabulary_that_will_do():
    signs = pl.Series("评论", ["".join(chr(0x4E00 + 7 * i + j) for j in range(7)) for i in range(50)] * 3)
    with pytest.raises(UserError, match=r"these texts hold 351 different characters.*vocab_size to 351 or more"):
        fitted(signs, tokenizer="unigram", vocab_size=350)
    assert fitted(signs, tokenizer="unigram", vocab_size=351).size >= 351


def test_a_folder_that_is_no_model_and_a_pickled_one(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json"):
        fitted(tokenizer=f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"only pytorch_model\.bin, whose format runs whatever is in it"):
        fitted(tokenizer=f"hf:{tmp_path}")


def test_scripts_are_shares_of_letters():
    field = Text(("x",)).fit([pl.Series("x", ["房间 abc 12!", "привет ！？", "ひカé", None])])
    assert field.scripts == pytest.approx({"Cyrillic": 6 / 14, "Latin": 4 / 14, "Han": 2 / 14, "kana": 2 / 14})
    assert "letters: 43% Cyrillic + 29% Latin + 14% Han + 14% kana" in field.about()
    state = {key: value for key, value in field.state().items() if key != "scripts"}  # as an older run has it
    assert "letters" not in Text(("x",)).restore(state).about()


def test_a_phrase_to_try_is_in_the_letters_of_most_rows():
    english = "a short text to ask about"
    for cell, said in [("房间很大 tv", "在这里写一句话"), ("a clean room 大", english), ("123", english)]:
        assert Text(("x",)).fit([pl.Series("x", [cell])]).phrase() == said
