"""Time series as the archives write them: .ts with its head, the UCR .tsv without one; and what is neither."""

from __future__ import annotations

import gzip
import json

import pytest

from luban import reading
from luban.core.errors import UserError

HEAD = "#About.\n@problemName Toy\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def test_a_class_behind_the_last_colon(tmp_path):
    path = write(tmp_path / "Toy_TRAIN.ts", HEAD + "1.0,2,?:a\n\n-3,4e-1,5:b\r\n")
    table = reading.read(path)
    assert table.columns == ["series", "label"] and table["label"].to_list() == ["a", "b"]
    assert str(json.loads(table["series"][0])) == "[1.0, 2, nan]" and json.loads(table["series"][1]) == [-3, 0.4, 5]
    zipped = tmp_path / "b.ts.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert reading.read(zipped).equals(table)
    assert [len(each) for each in reading.chunks(path, 1)] == [1, 1]
    assert reading.usual_target(path) == "label"


def test_channels_of_unequal_rows_and_a_number_as_answer(tmp_path):
    head = HEAD.replace("@classLabel true a b", "@TARGETLABEL TRUE")
    table = reading.read(write(tmp_path / "a.ts", head + "1,2:3,4:0.5\n1:3:7\n"))
    assert [json.loads(cell) for cell in table["series"]] == [[[1, 2], [3, 4]], [[1], [3]]]
    assert table["label"].to_list() == ["0.5", "7"]


def test_a_question_has_no_label(tmp_path):
    table = reading.read(write(tmp_path / "a.ts", HEAD.replace("true a b", "false") + "1,2\n3,4\n"))
    assert table.columns == ["series"] and [json.loads(cell) for cell in table["series"]] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEAD + "1,2:3,4:a\n1,2:a\n", "line 8 of a.ts should hold 2 channels and a label, parted by colons, but has 1 channels"),
        (HEAD + "1,2,3\n", "line 7 of a.ts should hold its channels and a label"),
        (HEAD.replace("@data\n", "") + "1,2:a\n", "line 6 of a.ts should be a word such as @problemName, or @data"),
        (HEAD.replace("@data\n", ""), "a.ts has no line @data"),
        (HEAD.replace("@timeStamps false", "@timeStamps true") + "(1,2):a\n", "time stamp at each number .@timeStamps true, line 3"),
        (HEAD, "a.ts has column names .* but no rows"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        reading.read(write(tmp_path / "a.ts", content))


SERIES = "\t".join(str(each / 4) for each in range(-4, 6))


def test_a_ucr_file_is_a_label_and_a_series(tmp_path, caplog):
    """NaN at the end fills up a shorter series; within it, it is a gap."""
    caplog.set_level("INFO", "luban")
    short = SERIES.replace("-0.75", "NaN").replace("1.0\t1.25", "NaN\tNaN")
    table = reading.read(write(tmp_path / "Toy_TRAIN.tsv", f"1\t{SERIES}\n-1\t{short}\n"))
    assert "a `label`, then a `series` of 10 numbers a row" in caplog.text
    assert table.columns == ["label", "series"] and table["label"].to_list() == ["1", "-1"]
    assert json.loads(table["series"][0]) == [each / 4 for each in range(-4, 6)]
    assert len(json.loads(table["series"][1])) == 8 and table["series"][1].startswith("[-1.0, NaN, -0.5")
    with pytest.raises(UserError, match=r"line 2 of Toy_TEST.tsv has 10 cells where 11 must stand"):
        reading.read(write(tmp_path / "Toy_TEST.tsv", f"1\t{SERIES}\n1\t{SERIES[5:]}\n"))


@pytest.mark.parametrize(("name", "first"), [("my_train.tsv", "label\t" + SERIES), ("my_train.tsv", "1\t2\t3"), ("my.tsv", SERIES)])
def test_any_other_table_keeps_its_line_of_names(tmp_path, name, first):
    table = reading.read(write(tmp_path / name, f"{first}\n{first}\n"))
    assert table.columns == first.split("\t") and len(table) == 1
