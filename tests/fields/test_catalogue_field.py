"""Ids with a table beside them: which are known, what the table says of them, and what is wrong with a table."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch

from luban.core.errors import UserError
from luban.fields.catalogue import Catalogue

FILMS = pl.DataFrame({
    "movieId": ["1", "2", "3", "4", "5"],
    "title": ["The House of Toys, their Story (1995)", "The Story of a House and a Man (1995)", "Grumpy Man in the Old House of Toys 2001",
              "A Man and his Toys, a Story of the Old House (2004)", ""],
    "genres": ["Comedy|Animation", "Comedy|Drama", "Drama", "Animation|Drama", None],
    "year": [1995, 1995, 2001, 2004, None],
    "colour": ["yes", "no", "yes", "yes", "no"],
    "language": ["en", "en", "zh", "zh", "en"],
    "link": ["a1", "b2", "c3", "d4", "e5"],
    "country": ["us"] * 5,
})  # fmt: skip


def fit(log: list, table: pl.DataFrame = FILMS, key: str = "movieId") -> Catalogue:
    return Catalogue.of("film", Catalogue.Config(), table, key).fit([pl.Series("film", log)])


def words(field: Catalogue, name: str) -> dict:
    """{id in the user's words: its words}"""
    (each,) = [each for each in field.features if each.name == name]
    rows = each.values.values.split(each.values.lengths.tolist())
    return {field.decode(torch.tensor([i]))[0]: sorted(each.words[word] for word in row.tolist()) for i, row in enumerate(rows) if i}


def test_ids_of_the_log_and_of_the_table_are_known_however_they_are_written():
    for log in (["3", "1", "3", "9"], [3, 1, 3, 9], [3.0, 1.0, 3.0, 9.0]):
        field = fit(log)
        assert field.words == (1, 2, 3, 4, 5, 9) and field.counts == (1, 0, 2, 0, 0, 1) and field.size == 7
        for asked in (["3"], [3], [3.0]):
            assert field.encode(pl.Series("film", asked)).tolist() == [3]
        assert field.encode(pl.Series("film", ["77"])).tolist() == [0]


def test_each_column_says_what_it_can():
    field = fit(["1", "2", "9"])
    assert [each.name for each in field.features] == ["title", "genres", "year", "colour", "language"]
    assert words(field, "genres") == {1: ["Animation", "Comedy"], 2: ["Comedy", "Drama"], 3: ["Drama"], 4: ["Animation", "Drama"],
                                      5: [], 9: []}  # fmt: skip
    assert words(field, "title")[1] == ["1995", "story", "toys"]  # "their" is of one, "house" of all
    assert words(field, "language")[3] == ["zh"]
    year = field.features[2].values
    assert year[1] == year[2] < year[3] < year[4] and year[[0, 5, 6]].isnan().all()
    assert (
        "left out of the table: link (what is different in each row says nothing of another), country (the same in all rows)"
        in field.doubts
    )
    assert field.about().startswith("3 of them known by the table alone, features: title (")


def test_a_list_may_be_parted_by_blanks():
    kinds = ["Sci-Fi Children's", "Sci-Fi", "War", "War Sci-Fi", "Drama War", "Drama", "Drama Sci-Fi", "Children's", "Children's War",
             "Drama Children's War", "Sci-Fi Drama War", "Children's Drama", "Drama War Sci-Fi Children's", "War Sci-Fi Children's",
             "Sci-Fi Children's Drama", "Children's War Drama Sci-Fi"]  # fmt: skip
    field = fit([1], pl.DataFrame({"id": range(32), "kind": kinds * 2}), "id")
    assert words(field, "kind")[0] == ["children's", "sci-fi"] and len(field.features[0].words) == 4
    assert field.where("kind=Sci-Fi")[1] and not field.where("kind=Sci-Fi")[3]


def test_chinese_titles_are_words_of_one_sign():
    table = pl.DataFrame({"id": range(4), "书名": ["红楼梦的故事", "红楼梦的人物", "三国的故事", "三国的人物与梦"]})
    assert words(fit([1], table, "id"), "书名")[0] == sorted("红楼梦故事")  # all have 的


def test_a_table_with_faults_is_told_of():
    table = pl.concat([FILMS, FILMS[1:2].with_columns(language=pl.lit("xx")), FILMS[:1].with_columns(movieId=pl.lit(""))])
    field = fit(["1", "7", "9"], table)
    assert words(field, "language")[2] == ["en"]  # the first counts
    assert "1 rows of the table have no film and are left out" in field.doubts
    assert "1 rows of the table repeat an id ('2'); the first of each counts" in field.doubts
    assert "2 of 3 are not in the table and have no features (the first: 7)" in field.doubts
    assert not any("not in the table" in each for each in fit(["1", "2"]).doubts)


def test_what_was_learned_travels():
    field = fit(["1", "2", "9", "9"])
    again = Catalogue(("film",), Catalogue.Config()).restore(json.loads(json.dumps(field.state(), allow_nan=False)))
    assert again.state() == field.state() and again.about() == field.about()
    for asked in ("genres=Comedy", "year>=2001", "colour=yes", "title=toys"):
        assert torch.equal(again.where(asked), field.where(asked))


@pytest.mark.parametrize("asked, found", [
    ("genres=Comedy", [1, 2]), ("genres != Comedy", [3, 4]), ("title=TOYS", [1, 3, 4]), ("language=zh", [3, 4]),
    ("year>=2001", [3, 4]), ("year<2001", [1, 2]), ("year=1995", [1, 2]), ("year>1995", [3, 4]), ("colour=no", [2, 5]),
])  # fmt: skip
def test_where(asked, found):
    assert fit(["1", "9"]).where(asked).nonzero().squeeze(1).tolist() == found


@pytest.mark.parametrize("asked, says", [
    ("genres", "is no condition"), ("genre=Comedy", "Did you mean 'genres'"), ("genres=comedy", "Did you mean 'Comedy'"),
    ("genres>Comedy", "does not compare"), ("year>=", "is compared with a number"),
    ("year>soon", "is compared with a number, not with 'soon'"), ("link=a1", "that was learned"),
])  # fmt: skip
def test_where_refuses(asked, says):
    with pytest.raises(UserError, match=says):
        fit(["1"]).where(asked)
