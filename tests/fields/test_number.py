"""Numbers in every notation, and what is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from luban.core import cells
from luban.core.errors import UserError
from luban.fields.number import Number


def read(*raw: str, comma: bool = False) -> list:
    return cells.numbers(pl.Series("c", raw), comma).to_list()


def fit(values, **kwargs) -> Number:
    return Number(("c",)).fit([pl.Series("c", values, **kwargs)])


@pytest.mark.parametrize("cell, value", [
    ("7", 7), (" 7 ", 7), ("+7", 7), ("-7", -7), ("−7", -7), ("1e-3", 1e-3), (".5", 0.5), ("１２", 12), ("－１，２３４．５", -1234.5),
    ("1,234", 1234), ("1,234,567.25", 1234567.25), ("12 345", 12345), ("$5", 5), ("-$5", -5), ("$-1,234.5", -1234.5), ("5 €", 5),
    ("￥3", 3), ("¥ 3", 3), ("3元", 3), ("12%", 0.12), ("12 %", 0.12), ("１２％", 0.12), ("0.5", 0.5),
    ("70.4万", 704_000), ("3.2亿", 320_000_000), ("1,234 万元", 12_340_000), ("-5萬", -50_000), ("￥５万", 50_000),
    ("万", None), ("1e5万", None),
    ("1,23", None), ("1,2345", None), ("0,123", None), ("1.234,5", None), ("12a", None), ("1 2", None), ("1_000", None), ("0x10", None),
    ("--5", None), ("$", None), ("%", None), ("5$5", None), ("2024-01-05", None), ("", None), ("5 000 000 kg", None),
])  # fmt: skip
def test_notations(cell, value):
    assert read(cell) == [value]


def test_decimal_comma_only_where_nothing_else_can_be_meant():
    assert read("1.234,5", "1,5", "1.234", "0,123", "-7,25 €", "12,5%", "1,5万", comma=True) == [
        1234.5,
        1.5,
        1234,
        0.123,
        -7.25,
        0.125,
        15_000,
    ]
    assert read("1.5", "1,234.5", comma=True) == [None, None]
    for raw, comma in ((["1,5", "2"], True), (["1,234", "2"], False), (["1.234,5"], True), (["1,5", "1,234.5"], False), (["1.5"], False)):
        assert cells.decimal_comma([pl.Series(raw)]) == comma
    field = fit(["1.234,5", "0,5"])
    assert field.decode(field.encode(pl.Series([1234.5, 0.5]))) == pytest.approx([1234.5, 0.5])
    assert "decimal mark" in field.doubts[0]


@pytest.mark.parametrize("token", ["", "NA", "n/a", "?", "null", "None", "NaN", "nil", "-", "--", "#N/A", "缺失", "无", " na "])
def test_null_tokens(token):
    assert fit(["1", "2"]).encode(pl.Series([token])).isnan().all()


def test_equal_values_encode_alike_whatever_their_type():
    field = fit(["22", "3", "57.5"])
    asked = [pl.Series([22]), pl.Series([22.0]), pl.Series(["22"]), pl.Series(["22.0"]), pl.Series([22], dtype=pl.UInt8),
             pl.Series(["22"], dtype=pl.Categorical), pl.Series(["22.00"]).cast(pl.Decimal(6, 2))]  # fmt: skip
    assert len({float(field.encode(column)) for column in asked}) == 1


def test_z_scores_are_computed_in_float64():
    """Seconds since 1970: in float32 alone, neighbours an hour apart would fall together."""
    seconds = 1_700_000_000 + 3600 * np.arange(1000)
    field = fit(seconds)
    z = field.encode(pl.Series(seconds))
    assert float(z.mean()) == pytest.approx(0, abs=1e-6) and float(z.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert field.decode(z) == seconds.tolist()


def test_infinite_is_missing_and_said():
    field = fit(["1", "inf", "-Infinity", "1e200", "2"])
    assert field.encode(pl.Series([float("inf"), 1.0, 1e99])).isnan().tolist() == [True, False, False]
    assert field.doubts == ["infinite, so missing: 3 (training row 2 has 'inf')"]
    assert field.encode(pl.Series([1e99])).isfinite().all()
    assert (field.mean, field.missing) == (1.5, 0.6)


def test_constant_and_whole_columns():
    field = fit([0.1] * 1000)
    assert field.std == 1 and len(field.edges) == 1
    assert field.encode(pl.Series([0.1, 1.1])).tolist() == pytest.approx([0, 1])
    whole = fit(["3", "4", "10"])
    assert whole.decode(torch.tensor([0.0, float("nan")])) == [6, None]
    assert all(isinstance(value, int) for value in whole.imagine(9, np.random.default_rng(0)))
    assert isinstance(fit([1.5]).decode(torch.zeros(1))[0], float)


def test_edges_are_few_distinct_and_span_the_column():
    skewed = np.random.default_rng(0).lognormal(0, 3, 20_000)
    field = fit(skewed)
    assert len(field.edges) == 129 and (np.diff(np.float32(field.edges)) > 0).all()
    share = np.histogram(field.encode(pl.Series(skewed)).numpy(), field.edges)[0] / len(skewed)
    assert abs(share - 1 / 128).max() < 1e-3
    assert len(fit([1, 1, 1, 2, 3]).edges) == 3
    assert len(fit([0] * 9000 + list(range(1000))).edges) < 129


def test_errors_name_column_row_and_value():
    field = Number(("年龄",)).fit([pl.Series([1, 2])])
    with pytest.raises(UserError, match=r"'年龄' should hold numbers, but row 3 has 'old'\. Correct"):
        field.encode(pl.Series(["1", None, "old"]))
    tolerant = fit(["1", "2", "three"])
    assert tolerant.doubts == ["not numbers, so missing: 1 (training row 3 has 'three')"]
    assert tolerant.encode(pl.Series(["four"])).isnan().all()
