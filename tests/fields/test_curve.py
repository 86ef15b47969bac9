"""Curves: a cell's numbers however they are written, gaps filled, lengths and channels, and what is said of a cell that is none."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from luban.core import config as configs
from luban.core.errors import BadCells, UserError
from luban.fields.curve import Curve, _strided


def fitted(*cells: str | None, **options) -> Curve:
    return Curve(("心电",), Curve.Config(**options)).fit([pl.Series("心电", cells, dtype=pl.String)])


def steps(field: Curve, cell: str) -> list:
    (decoded,) = field.decode(field.encode(pl.Series([cell])))
    return json.loads(decoded)


@pytest.mark.parametrize(
    "cell", ["[1, 2.5, -3]", "1, 2.5, -3", "1 2.5 -3", "1\t2.5\t-3", "1; 2.5; -3", "1;2,5;-3", '["1", "2.5", "-3"]', "[1.0e0 2.5 -3]"]
)
def test_one_curve_however_it_is_written(cell):
    assert steps(fitted("[0, 1, 2, 4, 8]"), cell) == pytest.approx([1, 2.5, -3], abs=1e-5)


def test_scaled_by_the_channel():
    field = fitted("[[1, 3], [10, 10]]", "[[5], [40]]")
    assert (field.mean, field.size) == (pytest.approx((3, 20)), 2) and field.std == pytest.approx((np.sqrt(8 / 3), np.sqrt(200)))
    encoded = field.encode(pl.Series(["[[3], [20]]", "[[1, 5], [10, 40]]"]))
    assert encoded.lengths.tolist() == [1, 2] and encoded.values[0].tolist() == [0, 0]
    assert encoded.values[:, 1].tolist() == pytest.approx([0, -(0.5**0.5), 2**0.5])


@pytest.mark.parametrize("gap", ["null", "NaN", "Infinity"])
def test_a_gap_takes_the_value_before_it_and_the_first_ones_the_first(gap):
    field = fitted(f"[{gap}, 2, {gap}, {gap}, 5]")
    assert field.gaps == pytest.approx(0.6) and field.mean == (3.5,) and "60.0% of them gaps" in field.about()
    assert steps(field, f"[{gap}, 2, {gap}, {gap}, 5, {gap}]") == pytest.approx([2, 2, 2, 2, 5, 5])
    assert steps(field, "?, 2, NA, , 5, -") == pytest.approx([2, 2, 2, 2, 5, 5])
    assert steps(field, f"[{gap}, {gap}]") == pytest.approx([3.5, 3.5])  # nothing is known of it


def test_an_empty_cell_has_no_step():
    field = fitted("[1, 2]", None, "", " NA ", "[]")
    encoded = field.encode(pl.Series(["[]", None, "[1]"]))
    assert field.has_missing and encoded.lengths.tolist() == [0, 0, 1] and field.decode(encoded)[:2] == [None, None]


def test_one_step_and_a_constant():
    assert fitted("7", "[7]").encode(pl.Series(["7", "[7, 7]"])).values.tolist() == [[0], [0], [0]]
    assert fitted("[0.1, 0.1]", "[0.1]").std == (1.0,)


@pytest.mark.parametrize("cell", ["abc", "[1, [2]]", "{}", "1,5 2,5", '["a"]', "[[1, 2], [3]]", "[[[1]]]", "[" * 5000, "[1, 2", "1, 2]"])
def test_what_is_no_curve_is_refused_with_its_row(cell):
    field = fitted("[1, 2]", "[3]")
    with pytest.raises(BadCells, match=r"'心电' should hold a list of numbers in each cell, but row 2 has '.*, and 1 more") as error:
        field.encode(pl.Series(["[1]", cell, cell]))
    assert error.value.rows == [1, 2]
    assert not fitted("[1, 2]", cell).has_missing  # it is not empty


def test_another_number_of_channels_is_refused():
    field = fitted("[[1, 2], [3, 4]]", "[[1], [2]]", "[1, 2]")
    with pytest.raises(BadCells, match="should hold 2 lists of numbers, all of one length in each cell, but row 1 has '\\[1, 2\\]'"):
        field.encode(pl.Series(["[1, 2]"]))


def test_a_very_long_one_is_averaged_alike_in_all_rows():
    long = np.repeat(np.arange(1000.0), 1000)
    field = fitted(json.dumps(long.tolist()), "[5, 7]")
    assert (field.stride, field.length, field.shortest) == (200, 5000, 1)
    assert "up to 1,000,000 steps: each 200 are averaged" in field.doubts[0] and "max_length: 1000000" in field.doubts[0]
    encoded = field.encode(pl.Series([json.dumps(long.tolist()), "[5, 7]"]))
    assert encoded.lengths.tolist() == [5000, 1]
    assert json.loads(field.decode(encoded)[0])[::5] == pytest.approx(np.arange(1000.0), abs=1e-3)
    assert json.loads(field.decode(encoded)[1]) == pytest.approx([6], abs=1e-4)
    assert _strided(np.array([[1.0, 3.0, 5.0, 7.0, 8.0]]), 2).tolist() == [[2, 6, 8]]


def test_one_long_row_among_many_is_cut_and_does_not_blur_the_others():
    field = fitted(*["[1, 2, 3]"] * 200, str(list(range(50))), max_length=10)
    assert (field.stride, field.length) == (1, 10) and steps(field, str(list(range(50)))) == pytest.approx(range(10), abs=1e-5)


def test_max_length_is_checked():
    with pytest.raises(UserError, match="max_length must be 1 or more, not 0"):
        configs.build(Curve.Config, {"max_length": 0})


def test_found_unasked():
    """Only where nearly all cells hold some numbers: not dates, prices, short lists or sentences."""
    curves = [json.dumps(row) for row in np.random.default_rng(0).normal(size=(40, 8)).tolist()]
    assert Curve.sniff(pl.Series([*curves, None])) > 0.95
    assert Curve.sniff(pl.Series(["1 2 3 4 5 6 7 8"] * 9)) > 0.95
    for other in (["1,234.5"], ["[1, 2, 3]"], ["2024-01-31"], ["the room was good and 1 2 3 4 5 6 7 8"], [*curves[:20], *["a"] * 20]):
        assert Curve.sniff(pl.Series(other)) == 0
    assert Curve.sniff(pl.Series([1.0, 2.0])) == 0


def test_imagined_ones_are_as_long_as_those_of_training_and_small():
    field = fitted(str([0.5] * 20), str([0.25] * 30))
    lengths = [len(json.loads(cell)) for cell in field.imagine(50, np.random.default_rng(0))]
    assert min(lengths) >= 20 and max(lengths) <= 30 and len(set(lengths)) > 5
    assert len(json.loads(fitted(str([1] * 4000)).imagine(1, np.random.default_rng(0))[0])) == 256


def test_drawn():
    field = fitted("[[0, 1, 0], [0, 0, 1]]", None)
    drawn, none = field.show(field.encode(pl.Series(["[[0, 1, 0], [0, 0, 1]]", None])))
    assert drawn.count("<polyline") == 2 and drawn.startswith("<svg") and none == ""
    assert field.show(field.encode(pl.Series([json.dumps([[0] * 4000] * 2)])))[0].count(",") < 500
