"""A table on disk answers as the same one in memory does, however its files are cut."""

import numpy as np
import polars as pl
import pytest

from luban import reading
from luban.core import cells, table
from luban.core.table import DiskTable, Pieces, batches


@pytest.fixture
def both(tmp_path, monkeypatch):
    """(in memory, on disk): wine in files of 50 rows, gone through 33 and 20 rows at a time."""
    monkeypatch.setattr(table, "PIECE", 33)
    monkeypatch.setattr(table, "BATCH", 20)
    whole = reading.read("wine")
    for i, part in enumerate(whole.iter_slices(50)):
        part.write_parquet(tmp_path / f"{i}.parquet", row_group_size=7)
    return whole, DiskTable(pl.scan_parquet(sorted(tmp_path.iterdir())))


def test_it_is_the_same_table(both):
    whole, kept = both
    assert (kept.columns, kept.height, kept.width, len(kept)) == (whole.columns, whole.height, whole.width, whole.height)
    for name in whole.columns:
        assert kept.get_column(name).equals(whole.get_column(name))
        pieces = list(kept.pieces(name))
        assert [start for start, _ in pieces] == [0, 33, 66, 99, 132, 165] and pl.concat([each for _, each in pieces]).equals(whole[name])
    for size in (20, 1000):
        frames = list(batches(kept, size))
        assert pl.concat([frame for _, frame in frames]).equals(whole) and {len(frame) for _, frame in frames[:-1]} <= {size}
    assert kept.select(whole.columns[2:4]).get_column(whole.columns[3]).equals(whole[whole.columns[3]])
    assert kept.drop(whole.columns[:2]).columns == whole.columns[2:]


def test_a_wide_table_goes_by_fewer_rows(both, monkeypatch):
    monkeypatch.setattr(table, "CELLS", 7 * both[0].width)
    assert [[len(frame) for _, frame in batches(each)] for each in both] == [[7] * 25 + [3]] * 2


def test_rows_by_number(both):
    whole, kept = both
    few = np.array([170, 3, 3, 90])
    assert kept[few].equals(whole[few])
    many = np.flatnonzero(np.arange(whole.height) % 3 > 0)
    chosen = kept[many]
    assert isinstance(chosen, DiskTable) and chosen.height == len(many)
    assert pl.concat([frame for _, frame in batches(chosen)]).equals(whole[many])
    assert chosen.get_column("alcohol").equals(whole[many]["alcohol"])
    again = chosen[np.arange(1, 60)]
    assert again.get_column("alcohol").equals(whole[many][1:60]["alcohol"])
    assert kept[np.arange(whole.height)] is kept
    with pytest.raises(AssertionError, match="in their order"):
        kept[many[::-1]]


def test_pieces_name_their_rows(both):
    keep = np.arange(both[0].height) % 2 == 1
    for each in both:
        pieces, said = Pieces(each, "alcohol", keep), []
        for piece in pieces:
            said += [cells.row(i) for i in range(len(piece))]
        assert said == [f"row {i + 1}" for i in np.flatnonzero(keep)]
        assert pl.concat(list(pieces)).equals(both[0]["alcohol"].filter(pl.Series(keep)))  # a second time
    assert [len(piece) for piece in Pieces(both[0], "alcohol")] == [len(piece) for piece in Pieces(both[1], "alcohol")]


def test_long_words_go_by_fewer_rows(both, monkeypatch):
    whole, kept = both
    monkeypatch.setattr(table, "BYTES", 100)
    words = whole.with_columns(pl.col("alcohol").cast(pl.String))
    there = DiskTable(kept.lazy.with_columns(pl.col("alcohol").cast(pl.String)))
    for each, other in ((words, there), (words[50:], there[np.arange(50, whole.height)])):
        pieces = [list(Pieces(one, "alcohol")) for one in (each, other)]
        assert [len(piece) for piece in pieces[0]] == [len(piece) for piece in pieces[1]] and 15 < len(pieces[0][0]) < 28
        assert all(pl.concat(one).equals(each["alcohol"]) for one in pieces)


def test_stacked_rows(both):
    whole, kept = both
    for below in (whole.head(30), kept):
        joined = kept.stacked(below)
        assert joined.get_column("alcohol").equals(pl.concat([whole["alcohol"], below.get_column("alcohol")]))
