"""Tagged sentences: a line a token, whatever stands between its columns."""

import gzip
import io
import json

import pytest

from luban import catalogue, reading
from luban.core.errors import UserError


def rows(path, **options):
    return [[json.loads(cell) for cell in row] for row in reading.read(path, **options).rows()]


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("ending", [".conll", ".bio", ".bmes"])
def test_sentences(tmp_path, ending):
    path = write(tmp_path / f"a{ending}", "\ufeff-DOCSTART- -X- O\r\n\r\nEU NNP B-ORG\r\nrejects VBZ O\r\n\r\n\r\n曲阜\tB-LOC\n \tO")
    assert rows(path) == [[["EU", "rejects"], ["B-ORG", "O"]], [["曲阜", " "], ["B-LOC", "O"]]]
    assert reading.read(path).columns == ["tokens", "tags"]
    assert [len(each) for each in reading.chunks(path, 1)] == [1, 1]


def test_tokens_alone_are_a_question(tmp_path):
    path = write(tmp_path / "a.conll.gz", gzip.compress(b"one\ntwo\n\nthree\n"))
    assert rows(path) == [[["one", "two"]], [["three"]]]
    piped = list(reading.read_stream(io.BytesIO(b"one O\n\ntwo O"), 10, endings={".txt": "conll"}))
    assert piped[0]["tokens"].to_list() == ['["one"]', '["two"]']


@pytest.mark.parametrize(
    ("content", "wrong"),
    [("a O\nb\n", "line 2 of a.bio should hold a token and.*its tag"), ("a\nb O\n", "line 2"), ("a\t\n", "line 1"), ("\n \n", "is empty")],
)
def test_refused(tmp_path, content, wrong):
    with pytest.raises(UserError, match=wrong):
        reading.read(write(tmp_path / "a.bio", content))


def test_the_built_in_set_has_its_official_parts(real_data):
    table = catalogue.table("weibo-ner")
    assert dict(table["split"].value_counts().iter_rows()) == {"train": 1350, "valid": 270, "test": 270}
    assert sum(cell.count('"B-') for cell in table["tags"]) == 2688
