"""Parquet, JSON lines, workbooks, frames and plain Python through the one door `reading.read`, with what each refuses."""

import datetime
import gzip
import io
import json
import logging
import os
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import polars as pl
import pytest

from luban import frames, reading
from luban.core import cells
from luban.core.errors import UserError


def refused(data, **options):
    with pytest.raises(UserError) as caught:
        reading.read(data, **options)
    return str(caught.value)


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ---------------------------------------------------------------- Parquet


def test_parquet(tmp_path):
    table = pl.DataFrame({"名": ["a", None, "c"], "n": [1, 2, 3], "when": [datetime.date(2020, 1, 1)] * 3})
    table.write_parquet(tmp_path / "数据.parquet")
    assert reading.read(tmp_path / "数据.parquet").equals(table)
    chunks = list(reading.chunks(tmp_path / "数据.parquet", 2))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert pl.concat(chunks).equals(table)


def test_parquet_without_its_ending_and_damaged(tmp_path):
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "data.bin")
    whole = (tmp_path / "data.bin").read_bytes()
    assert reading.read(tmp_path / "data.bin").rows() == [(1,)]
    assert "not a whole Parquet file" in refused(write(tmp_path / "t.parquet", whole[:-5]))
    assert "not a whole Parquet file" in refused(write(tmp_path / "t.parquet", "a,b\n1,2\n"))
    pl.DataFrame(schema={"a": pl.Int64}).write_parquet(tmp_path / "none.parquet")
    assert "column names ('a') but no rows" in refused(tmp_path / "none.parquet")
    with pytest.raises(UserError, match="no rows"):
        list(reading.chunks(tmp_path / "none.parquet", 5))


def test_nested_columns_become_text(tmp_path):
    pl.DataFrame({"tags": [["a", "b"], None], "at": [{"x": 1}, {"x": 2}]}).write_parquet(tmp_path / "t.parquet")
    assert reading.read(tmp_path / "t.parquet").rows() == [('["a", "b"]', '{"x": 1}'), (None, '{"x": 2}')]


# ---------------------------------------------------------------- JSON


def test_json_lines(tmp_path):
    lines = ['{"a": 1, "名": "北京", "f": 1, "b": true}', "", '{"a": null, "f": 2.5, "b": false, "late": "x"}']
    path = write(tmp_path / "t.jsonl", "\n".join(lines))
    table = reading.read(path)
    assert table.columns == ["a", "名", "f", "b", "late"]
    assert table.dtypes == [pl.Int64, pl.String, pl.Float64, pl.Boolean, pl.String]
    assert table.rows() == [(1, "北京", 1.0, True, None), (None, None, 2.5, False, "x")]
    first, second = reading.chunks(path, 1)
    assert first.columns == ["a", "名", "f", "b"]
    assert second.columns == table.columns
    assert reading.read(write(tmp_path / "t.ndjson.gz", gzip.compress(lines[0].encode()))).rows() == [(1, "北京", 1, True)]


def test_json_array_and_mixed_columns(tmp_path):
    rows = [{"m": 1, "n": ["a", {"b": "é"}], "big": 2**70}, {"m": "x", "n": None, "big": 1}]
    table = reading.read(write(tmp_path / "t.json", json.dumps(rows, indent=1)))
    assert table.rows() == [("1", '["a", {"b": "é"}]', str(2**70)), ("x", None, "1")]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"a": 1}\n{"a": 2\n', "line 2 of t.json is not a JSON object"),
        ('{"a": 1}\n[1]\n', "line 2 of t.json is [1], not an object"),
        ('{"a": 1, "a": 2}\n', "line 1 of t.json has the key 'a' twice"),
        ('[{"a": 1},\n{"a": }]', "not whole JSON: Expecting value in line 2"),
        ("[1]", "entry 1 of t.json is 1, not an object"),
        ("[]", "no columns"),
        ("{}\n{}", "no columns"),
        ("\n\n", "is empty"),
    ],
)
def test_bad_json(tmp_path, content, message):
    assert message in refused(write(tmp_path / "t.json", content))


# ---------------------------------------------------------------- workbooks


def workbook(path, sheets):
    """{name: rows} as the least that Office Open XML needs, so that no package for writing workbooks is needed."""
    ns = "http://schemas.openxmlformats.org"
    kinds = {".rels": "vnd.openxmlformats-package.relationships", ".xml": "vnd.openxmlformats-officedocument.spreadsheetml.sheet.main"}

    def cell(value, at):
        if value is None:
            return ""
        if isinstance(value, (int, float)):
            return f'<c r="{at}"><v>{value}</v></c>'
        return f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'

    def relation(i, kind, target):
        return f'<Relationship Id="r{i}" Type="{ns}/officeDocument/2006/relationships/{kind}" Target="{target}"/>'

    def relations(*inside):
        return f'<Relationships xmlns="{ns}/package/2006/relationships">{"".join(inside)}</Relationships>'

    with zipfile.ZipFile(path, "w") as archive:
        defaults = "".join(f'<Default Extension="{end[1:]}" ContentType="application/{kind}+xml"/>' for end, kind in kinds.items())
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{ns}/package/2006/content-types">{defaults}</Types>')
        archive.writestr("_rels/.rels", relations(relation(0, "officeDocument", "xl/workbook.xml")))
        names = "".join(f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in enumerate(sheets, 1))
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{ns}/spreadsheetml/2006/main" '
                         f'xmlns:r="{ns}/officeDocument/2006/relationships"><sheets>{names}</sheets></workbook>')  # fmt: skip
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            relations(*(relation(i, "worksheet", f"worksheets/s{i}.xml") for i in range(1, len(sheets) + 1))),
        )
        for i, rows in enumerate(sheets.values(), 1):
            body = "".join(f'<row r="{r}">{"".join(cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row))}</row>'
                           for r, row in enumerate(rows, 1))  # fmt: skip
            sheet = f'<worksheet xmlns="{ns}/spreadsheetml/2006/main"><sheetData>{body}</sheetData></worksheet>'
            archive.writestr(f"xl/worksheets/s{i}.xml", sheet)
    return path


def test_excel(tmp_path, caplog):
    path = workbook(tmp_path / "表.xlsx", {"一": [["名", "n", "mixed", None], ["a", 1, 1, None], [None, 2.5, "x", None]], "二": []})
    with caplog.at_level(logging.INFO, "luban"):
        table = reading.read(path)
    assert table.columns == ["名", "n", "mixed"]
    assert table.rows() == [("a", 1.0, "1"), (None, 2.5, "x")]
    assert "the first, '一', is read" in caplog.text
    assert [len(chunk) for chunk in reading.chunks(path, 1)] == [1, 1]
    assert reading.read(path.rename(tmp_path / "no-ending")).equals(table)


def test_bad_workbooks(tmp_path):
    assert "two columns named 'b' in sheet 's'" in refused(workbook(tmp_path / "t.xlsx", {"s": [["a", "b", "b"], [1, 2, 3]]}))
    assert "no rows" in refused(workbook(tmp_path / "t.xlsx", {"s": [["a", "b"]]}))
    assert "no columns" in refused(workbook(tmp_path / "t.xlsx", {"s": []}))
    assert "not a whole workbook" in refused(write(tmp_path / "t.xlsx", b"PK\x03\x04 cut"))


def test_without_the_extra(tmp_path, monkeypatch):
    path = workbook(tmp_path / "t.xlsx", {"s": [["a"], [1]]})
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    monkeypatch.delitem(sys.modules, "luban.sources.excel", raising=False)
    assert "pip install 'luban[excel]'" in refused(path)
    assert reading.read(write(tmp_path / "t.csv", "a\n1\n")).rows() == [("1",)]


# ---------------------------------------------------------------- files that are not there, or of no kind


def test_no_such_file(tmp_path, monkeypatch):
    write(tmp_path / "titanic.csv", "a\n1\n")
    assert "Did you mean 'titanic.csv'?" in refused(tmp_path / "titanik.csv")
    assert "the folder" in refused(tmp_path / "nowhere" / "t.csv")
    assert "is a folder without pictures, and not a file. Give one of its files: 'titanic.csv'" in refused(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "Did you mean 'adult'?" in refused("adullt")
    assert "Did you mean 'titanic.csv'?" in refused("titanic")
    (tmp_path / "adult").mkdir()  # a run's folder, say: the data set is meant
    assert len(reading.read("adult")) == 48842


def test_kinds_unknown_and_empty(tmp_path):
    assert "ends in '.doc', which Luban does not read. It reads .avif, " in refused(write(tmp_path / "t.doc", b"\x89PNG"))
    assert "is empty" in refused(write(tmp_path / "t.parquet", b""))
    assert reading.read(write(tmp_path / "rows", '{"a": 1}')).rows() == [(1,)]
    assert reading.read(write(tmp_path / "plain", "a,b\n1,2\n")).rows() == [("1", "2")]


def test_unreadable(tmp_path, monkeypatch):
    path = write(tmp_path / "t.csv", "a\n1\n")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read anything, so permissions cannot be tried
    assert "may not be read" in refused(path)


def test_options_that_mean_nothing_are_said(tmp_path, caplog):
    path = write(tmp_path / "t.jsonl", '{"a": 1}')
    with caplog.at_level(logging.WARNING, "luban"):
        reading.read(path, delimiter=";")
    assert "data.delimiter is ignored" in caplog.text


# ---------------------------------------------------------------- pipes


class Pipe(io.RawIOBase):
    """Gives a few bytes a call, cannot seek."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        some = self.content.read(min(len(buffer), 7))
        buffer[: len(some)] = some
        return len(some)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_streams(pack):
    text = "城,b\n" + "".join(f'"x\n{i}",{i}\n' for i in range(20))
    tables = list(reading.read_stream(Pipe(pack(text.encode())), 8))
    assert [len(table) for table in tables] == [8, 8, 4]
    assert pl.concat(tables).rows() == [(f"x\n{i}", str(i)) for i in range(20)]
    lines = "".join(json.dumps({"a": i, "b": "é"}) + "\n" for i in range(5))
    assert pl.concat(reading.read_stream(Pipe(pack(lines.encode())), 2)).rows() == [(i, "é") for i in range(5)]


def test_empty_streams():
    for content, message in ((b"", "the input is empty"), (b"a,b\n", "no rows")):
        with pytest.raises(UserError, match=message):
            list(reading.read_stream(io.BytesIO(content), 5))


# ---------------------------------------------------------------- frames and plain Python


def test_polars_and_plain_python():
    table = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert reading.read(table) is table
    assert reading.read(table.lazy()).equals(table)
    assert reading.read({"a": [1, 2], "b": ["x", None]}).equals(table)
    assert reading.read({"a": np.array([1, 2]), "b": ("x", None)}).equals(table)
    assert reading.read([{"a": 1, "b": "x"}, {"a": 2}]).equals(table)
    assert reading.read({"a": 22, "b": "x"}).rows() == [(22, "x")]
    assert reading.read({3: [1, 2.5], "m": [1, "x"]}).to_dict(as_series=False) == {"3": [1.0, 2.5], "m": ["1", "x"]}
    assert [len(chunk) for chunk in reading.chunks(table, 1)] == [1, 1]


def test_a_row_reads_the_same_alone_as_among_others():
    when = datetime.datetime(2024, 1, 2, 3, 4)
    values = [True, "maybe", 3.0, 3, 2.5, "A", datetime.date(2024, 1, 2), when, [1, "x"], {"k": 1}, b"bytes", np.float64(7), 1e20]
    together = reading.read([{"x": value} for value in values])["x"]
    assert together.to_list() == [cells.words(reading.read([{"x": value}])["x"])[0] for value in values]
    assert together.to_list()[:3] == ["true", "maybe", "3"]
    assert reading.read({"x": [True, 2.5]})["x"].to_list() == reading.read({"x": [2.5, True]})["x"].to_list()[::-1] == [1, 2.5]


def test_rows_without_a_key_are_said(caplog):
    caplog.set_level(logging.INFO, "luban")
    assert reading.read([{"a": 1, "b": 2}, {"a": 3}]).rows() == [(1, 2), (3, None)]
    assert "no 'b'; it is read as missing" in caplog.text


def test_bytes_and_objects_do_not_stop_the_rest(caplog):
    picture = pl.Series([b"\xff\xd8", b"\x00"])
    table = pl.DataFrame({"picture": picture, "spark": ["é".encode(), None], "thing": pl.Series([{1}, {2}], dtype=pl.Object), "n": [1, 2]})
    assert reading.read(table).rows() == [(b"\xff\xd8", "é", None, 1), (b"\x00", None, None, 2)]
    assert "'picture' holds" not in caplog.text and "'thing' holds values of type Object" in caplog.text


def test_bad_python():
    assert "unequal length: 'a' 2, 'b' 1" in refused({"a": [1, 2], "b": [1]})
    assert "single values" in refused({"a": [1, 2], "b": 1})
    assert "two columns named '1'" in refused({1: [1], "1": [2]})
    assert "data cannot be a int" in refused(3)
    assert "no columns" in refused({})
    assert "no rows" in refused({"a": []})


def test_pandas():
    when = pd.to_datetime(["2020-01-02 03:04", None])
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, None],
            "s": ["北京", None],
            "o": ["a", 1],
            "c": pd.Categorical(["x", None]),
            "ci": pd.Categorical([3, 4]),
            "d": when,
            "z": when.tz_localize("Asia/Shanghai"),
            "I": pd.array([1, None], dtype="Int64"),
            "b": [True, False],
            "B": pd.array([True, None], dtype="boolean"),
            7: np.array([1, 2], dtype="int8"),
        },
        index=[10, 20],
    )
    table = reading.read(frame)
    moment = datetime.datetime(2020, 1, 2, 3, 4)
    assert table.columns == ["i", "f", "s", "o", "c", "ci", "d", "z", "I", "b", "B", "7"]
    assert table.drop("z").rows() == [
        (1, 1.5, "北京", "a", "x", 3, moment, 1, True, True, 1),
        (2, None, None, "1", None, 4, None, None, False, None, 2),
    ]
    assert table["z"].dtype == pl.Datetime("us", "Asia/Shanghai")
    assert table["z"].dt.replace_time_zone(None).to_list() == [moment, None]
    assert table.schema["I"] == pl.Int64
    frame.columns = [*frame.columns[:-1], "i"]
    assert "two columns named 'i'" in refused(frame)


def test_reading_does_not_import_pandas():
    assert "import pandas" not in Path(frames.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_lists_from_python_keep_their_fractions(kind):
    """polars would make whole numbers of all of them where the first is whole."""
    table = reading.read({"a": [kind([1, 2]), kind([2.5]), None]})
    assert [cell and json.loads(cell) for cell in table["a"]] == [[1, 2], [2.5], None]
    assert reading.read([{"a": kind([1])}, {"a": kind([2.5])}])["a"].to_list() == ["[1]", "[2.5]"]
