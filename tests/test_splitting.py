"""The split: stable, stratified, without a row on both sides."""

import numpy as np
import polars as pl
import pytest

from luban import splitting
from luban.core.errors import UserError
from luban.splitting import TEST, TRAIN, VALID


def table(n=1000):
    rng = np.random.default_rng(0)
    return pl.DataFrame({"a": rng.normal(size=n), "b": [f"词{i % 7}" for i in range(n)], "c": rng.integers(0, 1000, n)})


def test_the_hash_is_ours_and_never_changes():
    frozen = pl.DataFrame({"a": ["1", "", None, "寿司"], "b": [1.5, float("nan"), None, -0.0]})
    assert [f"{int(value):016x}" for value in splitting.row_hash(frozen)] == FROZEN
    assert splitting.row_hash(frozen, seed=1).tolist() != splitting.row_hash(frozen).tolist()


FROZEN = ["3f7b2aa0ca041ebd", "b1beaa05add710b6", "3168bc477c14a4c7", "7e4a1f3b5650b6c6"]


def test_a_row_hashes_the_same_alone_and_in_company():
    rows = table()
    together = splitting.row_hash(rows)
    alone = [splitting.row_hash(rows[i])[0] for i in range(0, 1000, 97)]
    assert together[::97].tolist() == [int(value) for value in alone]
    assert len(np.unique(together)) == len(set(rows.rows()))


def test_columns_do_not_run_into_each_other():
    one, other = pl.DataFrame({"a": ["x"], "b": ["yz"]}), pl.DataFrame({"a": ["xy"], "b": ["z"]})
    assert splitting.row_hash(one)[0] != splitting.row_hash(other)[0]


def test_shares_hold_in_every_class():
    hashes, classes = splitting.row_hash(table(10_000)), np.repeat([0, 1, 2], [9000, 900, 100])
    part = splitting.by_hash(hashes, classes, (0.8, 0.1, 0.1))
    for each in range(3):
        counts = np.bincount(part[classes == each], minlength=3)
        assert counts[TEST] == counts[VALID] == round(0.1 * (classes == each).sum())


def test_a_class_of_one_row_is_trained_on():
    hashes = splitting.row_hash(table(101))
    part = splitting.by_hash(hashes, np.repeat([0, 1], [100, 1]), (0.8, 0.1, 0.1))
    assert part[-1] == TRAIN


def test_copies_stay_together():
    rows = table(1000)
    doubled = pl.concat([rows, rows.head(300)])
    part = splitting.by_hash(splitting.row_hash(doubled), np.zeros(1300, np.int64), (0.8, 0.1, 0.1))
    assert (part[:300] == part[1000:]).all()


def test_more_rows_move_few_old_ones():
    hashes = splitting.row_hash(table(5000))
    before = splitting.by_hash(hashes[:4500], np.zeros(4500, np.int64), (0.8, 0.1, 0.1))
    after = splitting.by_hash(hashes, np.zeros(5000, np.int64), (0.8, 0.1, 0.1))[:4500]
    assert (before != after).mean() < 0.02


def test_time_keeps_moments_together_and_the_newest_for_the_test():
    column = pl.Series("t", np.repeat(np.arange(100), 10))
    part = splitting.by_time(column, (0.8, 0.1, 0.1))
    assert (np.diff(np.array([TRAIN, VALID, TEST])[part].astype(int)) >= 0).all()
    assert all(len(set(part[column.to_numpy() == moment])) == 1 for moment in range(100))
    with pytest.raises(UserError, match="row 2"):
        splitting.by_time(pl.Series("t", [1, None, 3]), (0.8, 0.1, 0.1))


def test_split_columns():
    assert splitting.by_column(pl.Series(["train", "Val", "TEST"])).tolist() == [TRAIN, VALID, TEST]
    assert splitting.by_column(pl.Series([0, 1, 2])).tolist() == [TRAIN, VALID, TEST]
    assert splitting.by_column(pl.Series([0.0, 1.0, 2.0])).tolist() == [TRAIN, VALID, TEST]
    assert splitting.by_column(pl.Series(["a", "train"])) is None


def test_time_with_an_empty_share_leaves_that_part_empty():
    assert np.bincount(splitting.by_time(pl.Series(range(100)), (0.9, 0.1, 0.0)), minlength=3).tolist() == [90, 10, 0]


def test_long_texts_hash_in_pieces_as_in_one(monkeypatch):
    texts = pl.DataFrame({"a": ["x" * (i % 50) + str(i) for i in range(300)]})
    whole = splitting.row_hash(texts).tolist()
    monkeypatch.setattr(splitting, "_PIECE", 40)
    assert len(list(splitting._slices(texts["a"]))) > 200
    assert splitting.row_hash(texts).tolist() == whole


def test_a_fingerprint_sees_the_order_and_knows_the_content():
    text = pl.DataFrame({"a": ["1", " 2.50", "?"], "b": ["x", "Y", ""]})
    typed = pl.DataFrame({"b": ["Y", None, "x"], "a": [2.5, None, 1.0]})
    (exact, content), (other, same) = (splitting.fingerprint(each).split("/") for each in (text, typed))
    assert exact != other and content == same
    assert splitting.fingerprint(text) == splitting.fingerprint(text.clone())
    assert splitting.fingerprint(text[[1, 0, 2]]).split("/")[0] != exact
    assert splitting.fingerprint(text.head(2)).split("/")[1] != content
    assert splitting.fingerprint(text, text).split("/") == [splitting.fingerprint(text, text).split("/")[0], content] != [exact, content]


def test_where_a_folder_lies_does_not_split_it():
    here, there = (pl.DataFrame({"picture": [f"{root}/猫/{i}.png" for i in range(50)], "n": range(50)}) for root in ("/a", "/home/b/c"))
    assert (splitting.row_hash(here) == splitting.row_hash(there)).all()
    assert splitting.fingerprint(here) == splitting.fingerprint(there)
    urls = pl.DataFrame({"x": ["https://a/1", "https://a/2"]})
    assert (splitting.row_hash(urls) != splitting.row_hash(urls.with_columns(pl.col("x").str.replace("a/", "b/")))).all()
