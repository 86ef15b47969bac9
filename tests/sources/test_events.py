"""Logs as MovieLens, RecBole and papers write them: which columns they give, and what is refused with its line."""

import gzip

import pytest

from luban import reading
from luban.core.errors import UserError


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_baskets(tmp_path):
    path = write(tmp_path / "a.baskets", "1 3 5 3\r\n\r\nana\t7\n")
    table = reading.read(path)
    assert table.columns == ["user", "item"]
    assert table.rows() == [("1", "3"), ("1", "5"), ("1", "3"), ("ana", "7")]
    assert [each.rows() for each in reading.chunks(path, 2)] == [table.rows()[:2], table.rows()[2:3], table.rows()[3:]]
    with pytest.raises(UserError, match=r"line 3 of b\.baskets should hold a user and their items, but is '9'"):
        reading.read(write(tmp_path / "b.baskets", "1 3\n\n9\n"))


def test_the_built_in_set_is_in_order(real_data):
    table = reading.read("beauty")
    assert table.height == 198_502 and table.rows()[4:7] == [("1", "5"), ("2", "6"), ("2", "7")]


@pytest.mark.parametrize("name", ["x.inter", "x.item.gz", "menu.item"])
def test_recbole_columns_lose_their_types(tmp_path, name):
    content = 'user_id:token\titem_id:token\trating:float\ttags:token_seq\n1\t2\t3.5\ta "b" c\n3\t4\t1\tAll: a\n'
    path = write(tmp_path / name, gzip.compress(content.encode()) if name.endswith("gz") else content)
    table = reading.read(path)
    assert table.columns == ["user_id", "item_id", "rating", "tags"]
    assert table.rows() == [("1", "2", "3.5", 'a "b" c'), ("3", "4", "1", "All: a")]
    assert [each.columns for each in reading.chunks(path, 1)] == [table.columns] * 2


def test_other_tables_of_such_endings_keep_their_names(tmp_path):
    assert reading.read(write(tmp_path / "a.user", "a:b,c:d\n1,2\n")).columns == ["a:b", "c:d"]
    assert reading.read(write(tmp_path / "a.inter", "a:token\ta:float\n1\t2\n")).columns == ["a:token", "a:float"]
    assert reading.read(write(tmp_path / "ratings.dat", "user,item\n1,2\n")).columns == ["user", "item"]
    assert reading.read(write(tmp_path / "u.data", "who\twhat\tstars\tat\n1\t2\t3\t4\n")).columns == ["who", "what", "stars", "at"]


def test_movielens_files_have_names(tmp_path):
    log = reading.read(write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"))
    assert log.columns == ["user", "item", "rating", "timestamp"] and log.rows()[1] == ("186", "302", "3", "891717742")
    assert reading.read(write(tmp_path / "ratings.dat", "1::1193::5::978300760")).rows() == [("1", "1193", "5", "978300760")]
    users = reading.read(write(tmp_path / "users.dat.gz", gzip.compress(b"1::F::1::10::48067\n")))
    assert users.columns == ["user", "gender", "age", "occupation", "zip_code"] and users.height == 1
    assert reading.read(write(tmp_path / "u.user", "1|24|M|technician|85711\n"))["occupation"].to_list() == ["technician"]


def test_movielens_titles_keep_accents_quotes_and_colons(tmp_path):
    film = "1|Misérables, Les: a (1995)|01-Jan-1995||http://x|" + "|".join("0" * 18) + "|1\n"
    table = reading.read(write(tmp_path / "u.item", film.encode("latin-1")))
    assert table.width == 24 and table["title"].to_list() == ["Misérables, Les: a (1995)"]
    assert table["video_released"].to_list() == [None] and table["Western"].to_list() == ["1"] and table["unknown"].to_list() == ["0"]
    titles = '1::"Great" Cats: one (1998)::Musical|Drama\n2::Été "x::Drama\n'
    for encoding in ("latin-1", "utf-8"):
        films = reading.read(write(tmp_path / "movies.dat", titles.encode(encoding)))
        assert films.rows() == [("1", '"Great" Cats: one (1998)', "Musical|Drama"), ("2", 'Été "x', "Drama")]


def test_movielens_in_pieces_and_with_a_bad_line(tmp_path, monkeypatch):
    monkeypatch.setattr("luban.sources.events.LINES", 2)
    lines = [f"{n}::2::5::9{n}\n" for n in range(5)]
    whole = reading.read(write(tmp_path / "ratings.dat", "".join(lines)))
    assert whole.height == 5 and [len(each) for each in reading.chunks(tmp_path / "ratings.dat", 2)] == [2, 2, 1]
    lines[3] = "3::2::5\n"
    with pytest.raises(UserError, match=r"line 4 of ratings\.dat has 3 cells where 4 must stand .divided by '::'.: '3::2::5'"):
        reading.read(write(tmp_path / "ratings.dat", "".join(lines)))
