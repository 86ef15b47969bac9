"""Tokens and tags: every scheme says the same, a text is cut as its training was, and what was never seen is told apart."""

import json

import polars as pl
import pytest
import torch

from luban.core.errors import UserError
from luban.fields.tags import Tags, marked
from luban.fields.words import Words


def words(cells, **options):
    column = pl.Series("t", cells)
    return Words(("t",), Words.Config(**options)).fit([column])


def cut(field, cell):
    return [token for token, _, _ in field.cut(pl.Series("t", [cell]))[0]]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER O B-LOC B-LOC",
        "I-PER I-PER O I-LOC B-LOC",  # IOB1
        "B-PER E-PER O S-LOC S-LOC",  # BIOES, BMES
        "B-PER L-PER O U-LOC U-LOC",  # BILOU
        "B_PER I_PER O B_LOC B_LOC",
    ],
)
def test_every_scheme_says_the_same(tags):
    assert marked(tags.split(), True)[0] == [(0, 2, "PER"), (3, 4, "LOC"), (4, 5, "LOC")]


def test_what_goes_on_without_a_beginning_is_one():
    assert marked(["O", "I-A", "I-A", "I-B"], True) == ([(1, 3, "A"), (3, 4, "B")], True)
    assert marked(["B-A", "M-A", "E-A", "E-A"], True) == ([(0, 3, "A"), (3, 4, "A")], True)
    assert marked(["B", "E", "S"], True) == ([(0, 2, ""), (2, 3, "")], False)  # segments without a label
    assert marked(["B", "NOUN"], False) == ([(0, 1, "B"), (1, 2, "NOUN")], False)


def test_entities_in_both_forms():
    field = Tags(("e",)).fit([pl.Series("e", ['[[3, 5, "b"], [0, 2, "a"]]'])])
    pairs, dicts = (field.encode(pl.Series("e", [cell])).values.tolist() for cell in (
        '[[3, 5, "b"], [0, 2, "a"]]', '[{"start": 0, "end": 2, "label": "a"}, {"label": "b", "start": 3, "end": 5}]'))  # fmt: skip
    assert pairs == dicts == [[0, 2, 1], [3, 5, 2]]
    assert field.encode(pl.Series("e", ['[[0, 1, "new"]]'])).values.tolist() == [[0, 1, field.size]]
    for wrong in ('[[2, 2, "a"]]', '[["a", 1, 2]]', "[1, 2]", "O O", '[{"start": 1}]', '["O", 1]'):
        with pytest.raises(UserError, match=r"'e' should hold a list of tags.*row 2 has"):
            field.encode(pl.Series("e", ["[]", wrong]))


def test_a_text_is_cut_as_the_training_was():
    characters, english = words(['["鲁", "班", "A"]'] * 9), words(['["Mr.", "Smith"]'])
    assert cut(characters, "鲁班 AB") == ["鲁", "班", "A", "B"]
    assert cut(english, "Smith's 2.5km, 北京!") == ["Smith's", "2.5km", ",", "北", "京", "!"]
    assert english.cut(pl.Series("t", ["a  bc"])) == [[("a", 0, 1), ("bc", 3, 5)]]
    assert cut(english, "[sic] not a list") == ["[", "sic", "]", "not", "a", "list"]
    with pytest.raises(UserError, match=r"lists of tokens, but row 1 has"):
        cut(english, "[1, 2]")


def test_small_letters_stand_in_and_affixes_tell():
    field = words(['["the", "Smithson", "x"]'])
    ids = field.encode(pl.Series("t", ['["The", "Johnson", "Smithson"]'])).values
    assert ids[:, 0].tolist() == [field.vocabulary["the"], 0, field.vocabulary["Smithson"]]
    shared = set(ids[1, 1:-2].tolist()) & set(ids[2, 1:-2].tolist())
    assert len(shared) == 3  # -son, -on, and the shape
    assert words(['["the", "x"]'], hashed=False).encode(pl.Series("t", ["the"])).values.shape == (1, 3)


def test_pairs_of_characters_are_of_one_row():
    field = words([json.dumps(list("鲁班鲁班"))])
    ids = field.encode(pl.Series("t", ["鲁班鲁", "班"])).values
    assert ids[0, 2] == ids[1, 1] and ids[1, 2] == ids[2, 1] and ids[0, 1] != ids[2, 1]
    assert torch.equal(ids[3, 1:3], field.encode(pl.Series("t", ["班"])).values[0, 1:3])


def test_what_is_stripped_and_counted():
    column = ['["科0", "技1", "1", "科0"]']
    assert list(words(column, strip="(?<=.)[0-9]$").vocabulary) == ["科", "1", "技"]
    assert list(words(column, strip="(?<=.)[0-9]$", min_count=2).vocabulary) == ["科"]
    with pytest.raises(UserError, match=r"not a regular expression"):
        Words.Config(strip="(")
