"""Categories: order, unseen, missing, and equality across types."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from luban.core import config as configs
from luban.fields.category import Category


def fit(values, dtype=None, **options) -> Category:
    return Category(("c",), configs.build(Category.Config, options)).fit([pl.Series("c", values, dtype=dtype)])


def ids(field: Category, values, dtype=None) -> list[int]:
    return field.encode(pl.Series("c", values, dtype=dtype)).tolist()


def test_order_unseen_and_missing():
    field = fit(["b", "a", "B", "b", "上海", None])
    assert field.words == ("B", "a", "b", "上海") and field.counts == (1, 1, 2, 1) and field.size == 6
    assert ids(field, [" a ", "B", "c", None, "?", "上海"]) == [2, 1, 0, 5, 5, 4]
    assert field.decode(torch.tensor([0, 2, 5])) == [None, "a", None]
    assert ids(fit(["a"]), [None, "zz"]) == [0, 0]  # missing that training never saw is as unknown as any word


def test_numbers_compare_by_value_and_sort_as_numbers():
    for training in (["10", "2", "3.0"], [10, 2, 3], [10.0, 2.0, 3.0]):
        field = fit(training)
        assert field.words == (2, 3, 10)
        for asked in (["3"], [3], [3.0], ["3.0"], [" 3 "]):
            assert ids(field, asked) == [2]
        assert ids(field, ["three", "4"]) == [0, 0]
    assert ids(fit([0.1, 2.5], pl.Float32), ["0.1", "2.5"]) == ids(fit(["0.1", "2.5"]), [0.1, 2.5], pl.Float32) == [1, 2]
    assert [type(word) for word in fit(["1", "2"]).words] == [int, int]
    assert [type(word) for word in fit([1.0, 2.0]).words] == [float, float]
    assert [type(word) for word in fit(["1.0", "2.5"]).words] == [float, float]


def test_codes_stay_text():
    field = fit(["007", "7", "A1"])
    assert field.words == ("007", "7", "A1")
    assert ids(field, [7]) == ids(field, [7.0]) == ids(field, ["7"]) == [2]
    long = fit([2**60, 2**60 + 1])
    assert ids(long, [2**60 + 1]) == ids(long, [str(2**60 + 1)]) == [2]


def test_booleans():
    field = fit([True, False])
    assert field.words == (False, True)
    assert ids(field, [True, False]) == ids(field, ["TRUE", "false"]) == ids(field, [1, 0]) == [2, 1]
    assert ids(fit(["True", "False", "Maybe"]), [True, False]) == [3, 1]
    assert ids(fit([0, 1]), [True, False]) == [2, 1]


def test_none_and_nothing_are_words_na_is_not():
    field = fit(["None", "无", "-", "NA", "n/a", "nan", "NULL", ""])
    assert field.words == ("-", "None", "无") and field.missing == 5


def test_max_size_and_min_count():
    values = ["a"] * 5 + ["b"] * 3 + ["c"] * 3 + ["d"]
    field = fit(values, max_size=2)
    assert field.words == ("a", "b") and ids(field, ["c"]) == [0] and "2 rare values of 4" in field.doubts[0]
    assert fit(values, min_count=2).words == ("a", "b", "c")


def test_identifiers_are_doubted():
    assert "200 different values in 200 rows" in fit([f"u{i}" for i in range(200)]).doubts[0]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["x", "y"])])
def test_categorical_dtypes(dtype):
    field = fit(["y", "x", "y"], dtype)
    assert ids(field, ["x", "y"], dtype) == ids(field, ["x", "y"]) == [1, 2]
