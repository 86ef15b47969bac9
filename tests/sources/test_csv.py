"""Delimited text: each dialect, encoding and mistake that the source decides about; against Python's csv module where it can be asked."""

import csv
import gzip
import io
import logging
import random

import polars as pl
import pytest

import luban.sources.csv
from luban import reading
from luban.core.errors import UserError
from luban.sources import _text
from luban.sources.csv import Csv


def rows(path, **options):
    return Csv(**options).read(path).rows()


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path, **options):
    with pytest.raises(UserError) as caught:
        reading.read(path, **options)
    with pytest.raises(UserError):
        for _ in reading.chunks(path, 3, **options):
            pass
    return str(caught.value)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", ":"])
def test_the_delimiter_is_found(tmp_path, mark):
    lines = [["name", "price", "note"], ["a", "1", "x, y" if mark != "," else "x; y"], ["b", "", "z"]]
    table = Csv().read(write(tmp_path / "t.csv", "\n".join(mark.join(line) for line in lines)))
    assert table.columns == lines[0]
    assert table.rows() == [("a", "1", lines[1][2]), ("b", None, "z")]
    assert set(table.dtypes) == {pl.String}


def test_decimal_commas_and_times_do_not_divide(tmp_path):
    assert rows(write(tmp_path / "a.csv", "x;y\n1,5;2,5\n3,5;4,5\n")) == [("1,5", "2,5"), ("3,5", "4,5")]
    assert rows(write(tmp_path / "b.csv", "time\n12:30:00\n13:30:00\n")) == [("12:30:00",), ("13:30:00",)]


def test_one_column(tmp_path):
    assert rows(write(tmp_path / "t.csv", 'text\nhello, world\n\nfine\n"a\nb"\n""\n')) == [("hello, world",), ("fine",), ("a\nb",), (None,)]
    assert rows(write(tmp_path / "t.csv", 'text\n"so good" they said\n"open, never closed\nfine\n'))[0] == ('"so good" they said',)


def test_quotes_newlines_and_line_ends(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b\r\n"x ""y""","1\r\n2"\r\n"",\r\n"p,q", r \r\n\r\n\r\n')
    assert rows(path) == [('x "y"', "1\r\n2"), (None, None), ("p,q", " r ")]
    assert rows(write(tmp_path / "mac.csv", "a,b\r1,2\r3,4\r")) == [("1", "2"), ("3", "4")]
    assert rows(write(tmp_path / "noend.csv", "a,b\n1,")) == [("1", None)]
    assert rows(write(tmp_path / "blank.csv", "\n\na,b\n\n1,2\n\n3,4\n")) == [("1", "2"), ("3", "4")]


def test_names_survive(tmp_path):
    table = Csv().read(write(tmp_path / "t.csv", '"",items,type,a.b, 价格 ,"x,\ny"\n1,2,3,4,5,6\n'))
    assert table.columns == ["", "items", "type", "a.b", "价格", "x,\ny"]
    assert table.rows() == [("1", "2", "3", "4", "5", "6")]


def test_quotes_inside_cells(tmp_path):
    """Python's reading where quoting is otherwise in use; letters where only that makes the lines even."""
    assert rows(write(tmp_path / "a.csv", 'size,name\n5" pipe,"a, b"\n6,c\n')) == [('5" pipe', "a, b"), ("6", "c")]
    assert rows(write(tmp_path / "b.tsv", 'l\tm\nham\t"Hi" he said\nspam\t"free\nham\tno\n')) == [
        ("ham", '"Hi" he said'), ("spam", '"free'), ("ham", "no")]  # fmt: skip


def test_encodings(tmp_path):
    text = "城市,价格\n北京,1\n上海,二\n"
    for encoding in ("utf-8", "utf-8-sig", "gb18030", "utf-16"):
        table = reading.read(write(tmp_path / f"数据-{encoding}.csv", text.encode(encoding)))
        assert table.columns == ["城市", "价格"]
        assert table.rows() == [("北京", "1"), ("上海", "二")]
    assert rows(write(tmp_path / "t.csv", "café,x\né,1\n".encode("latin-1")), encoding="latin-1") == [("é", "1")]


def test_chinese_after_a_block_of_ascii(tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "BLOCK", 101)  # odd, so that blocks end inside characters
    monkeypatch.setattr(luban.sources.csv, "HEAD", 50)
    text = "a,b\n" + "1,2\n" * 60 + "北京,上海\n" * 40
    for encoding in ("utf-8", "gb18030"):
        assert Csv().read(write(tmp_path / "t.csv", text.encode(encoding))).rows()[60:] == [("北京", "上海")] * 40


def test_gzip_by_content(tmp_path):
    packed = gzip.compress(b"a,b\n1,2\n")
    for name in ("t.csv", "t.csv.gz"):
        assert reading.read(write(tmp_path / name, packed)).rows() == [("1", "2")]
    assert "damaged gzip" in refused(write(tmp_path / "t.csv.gz", packed[:-12]))


def test_a_file_without_names(tmp_path):
    path = write(tmp_path / "t.tsv", "ham\thello\nspam\tfree\n")
    assert Csv(names=("label", "text")).read(path).rows() == [("ham", "hello"), ("spam", "free")]


def test_names_that_look_like_data(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "luban"):
        Csv().read(write(tmp_path / "t.csv", "1.5,2,x\n3,4,y\n"))
    assert "looks like data" in caplog.text


# ---------------------------------------------------------------- against Python's csv


def tricky(seed, most):
    """A file of random cells full of quotes, delimiters, line ends and Chinese, as csv.writer writes them."""
    rng = random.Random(seed)
    width = rng.randint(2, 5)
    pieces = ['"', '""', ",", "\n", "\r\n", ";", "\t", "a", "北", " ", "x" * 30, "'", "\\", ""]
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting, lineterminator=rng.choice(["\n", "\r\n"]))
    writer.writerow([f"c{i}" for i in range(width)])
    for _ in range(rng.randint(most // 2, most)):
        writer.writerow(["".join(rng.choices(pieces, k=rng.randint(0, 5))) for _ in range(width)])
    return out.getvalue()


@pytest.mark.parametrize("seed", range(60))
def test_as_python_reads_it(tmp_path, monkeypatch, seed):
    text = tricky(seed, 4000 if seed < 8 else 60)  # some longer than what the dialect is judged by
    path = write(tmp_path / "t.csv", text)
    header, *expected = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    wanted = [tuple(cell or None for cell in row) for row in expected]
    whole = Csv(delimiter=",").read(path)
    assert whole.columns == header
    assert whole.rows() == wanted
    monkeypatch.setattr(_text, "BLOCK", 1997)
    chunks = list(Csv(delimiter=",").chunks(path, 7))
    assert pl.concat(chunks).equals(whole)
    assert max(len(table) for table in chunks) <= 7


@pytest.mark.parametrize("block", [350, 397, 1 << 20])
def test_the_slow_way_reads_the_same(tmp_path, monkeypatch, block):
    """One stray quote in the middle sends the rest through Python's csv."""
    monkeypatch.setattr(_text, "BLOCK", block)
    monkeypatch.setattr(luban.sources.csv, "HEAD", 300)  # a short one, so that the file goes through many blocks
    lines = ["a,b", *[f'{i},"x, {i}"' for i in range(50)], '50,5" pipe', *[f'{i},"x\n{i}"' for i in range(51, 99)]]
    path = write(tmp_path / "t.csv", "\n".join(lines))
    expected = [("50", '5" pipe') if i == 50 else (str(i), f"x, {i}" if i < 50 else f"x\n{i}") for i in range(99)]
    assert Csv().read(path).rows() == expected
    write(path, "\n".join([*lines, "1,2,3"]))
    assert f"line {100 + 48 + 1} " in refused(path)


# ---------------------------------------------------------------- what is refused


def test_ragged_rows_are_counted_as_an_editor_counts(tmp_path):
    path = write(tmp_path / "t.csv", 'a,b,c\n1,"2\n2",3\n\n4,5\n6,7,8\n')
    assert "line 5 of t.csv has 2 cells where 3 must stand" in refused(path)
    assert "line 2 of t.csv has 4 cells" in refused(write(path, "a,b,c\n1,2,3,4\n" + "1,2,3\n" * 9))
    assert "line 3 of t.csv has 1 cell " in refused(write(path, 'a;b\n1;2\n"1;2"\n3;4\n'))


def test_a_ragged_row_far_down(tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "BLOCK", 1000)
    monkeypatch.setattr(luban.sources.csv, "HEAD", 500)
    lines = ["a,b,c", *['1,"2, ""x""",3'] * 2000]
    lines[1500] = "1,2"
    assert "line 1501 " in refused(write(tmp_path / "t.csv", "\n".join(lines)))


def test_an_open_quote(tmp_path):
    lines = ["a,b,c", *['1,"2, y",3'] * 30]
    lines[20] = '1,"2, y,3'
    assert "line 21" in refused(write(tmp_path / "t.csv", "\n".join(lines)))


@pytest.mark.parametrize("first", ["a", 'a "b" c'])  # the second is read by Python's csv module
def test_empty_lines_of_one_column_are_told(tmp_path, caplog, first):
    with caplog.at_level(logging.INFO, "luban"):
        assert rows(write(tmp_path / "t.csv", f'x\n{first}\n\n\n""\nb\n\n')) == [(first,), (None,), ("b",)]
        rows(write(tmp_path / "two.csv", "x,y\n1,2\n\n3,4\n"))
    assert [line for line in caplog.messages if "empty lines" in line] == [
        "t.csv has 2 empty lines, which are no rows. Write NA where an empty cell is meant."
    ]


def test_a_line_of_utf_8_in_gb18030_is_told(tmp_path, caplog):
    lines = ["评论", *["房间很大，早餐太差"] * 30]
    rows(write(tmp_path / "pure.csv", "\n".join(lines).encode("gb18030")))
    assert not caplog.messages
    rows(write(tmp_path / "mixed.csv", "\n".join(lines).encode("gb18030") + "\n房间很大\n".encode()))
    assert ["line 32 is UTF-8" in line and "the first that is none is line 1." in line for line in caplog.messages] == [True]
    error = refused(write(tmp_path / "most.csv", "\n".join(lines).encode() + "\n房间很大\n".encode("gb18030") + b"\xff\n"))
    assert "line 1 is UTF-8" in error and "offset 847 (line 32)" in error and "convert one of them before" in error


def test_duplicate_and_missing_names(tmp_path):
    assert "2 columns named 'b' (columns 2, 4)" in refused(write(tmp_path / "t.csv", "a,b,c,b\n1,2,3,4\n"))
    assert "no rows" in refused(write(tmp_path / "t.csv", "a,b,c\n"))
    assert "no rows" in refused(write(tmp_path / "t.csv", "a,b,c"))
    assert "is empty" in refused(write(tmp_path / "t.csv", ""))
    assert "column" not in refused(write(tmp_path / "t.bio", ""))
    assert "is empty" in refused(write(tmp_path / "t.csv", " \n\n"))


def test_a_wrong_delimiter(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c\n1,2,3\n")
    assert "not divided by ';' but, as it seems, by ','" in refused(path, delimiter=";")
    assert "must be one ASCII character" in refused(path, delimiter="::")
    assert rows(write(path, "a b\n1 2\n"), delimiter="space") == [("1", "2")]


def test_not_text(tmp_path):
    assert "PNG picture" in refused(write(tmp_path / "t.csv", b"\x89PNG\r\n\x1a\n\0\0"))
    assert "Excel workbook" in refused(write(tmp_path / "t.csv", b"PK\x03\x04\0\0"))
    assert "zero byte in line 2" in refused(write(tmp_path / "t.csv", b"a,b\n1,\0\n"))


def test_neither_utf8_nor_chinese(tmp_path):
    message = refused(write(tmp_path / "t.csv", "name,x\nok,1\nélan vérité,2\n".encode("latin-1")))
    assert "byte 0xE9 at offset 12 (line 3)" in message
    assert "--set data.encoding=latin-1" in message
    assert "there is no encoding 'utf9'" in refused(write(tmp_path / "t.csv", "a,b\n1,2\n"), encoding="utf9")


def test_utf8_that_breaks_later(tmp_path, monkeypatch):
    monkeypatch.setattr(_text, "BLOCK", 100)
    content = "a,b\n北京,1\n".encode() + b"1,2\n" * 100 + b"\xff,1\n"
    assert f"byte 0xFF at offset {len(content) - 4} (line 103)" in refused(write(tmp_path / "t.csv", content))
    assert "middle of a character" in refused(write(tmp_path / "t.csv", "a,b\n1,北".encode()[:-1]))
