"""Series: scaled by the training rows, gaps left as they are."""

import math

import numpy as np
import polars as pl
import pytest

from luban.core.errors import UserError
from luban.fields.series import Series


def fitted(*values) -> Series:
    return Series(("负荷",)).fit([pl.Series("负荷", values)])


def test_scaled_by_the_population_spread_of_the_known_values():
    field = fitted(1.5, None, 3.5)
    assert (field.mean, field.std, field.has_missing) == (2.5, 1.0, True)
    assert field.decode(field.encode(pl.Series([0.0, 7.5]))) == [0.0, 7.5]


def test_a_gap_stays_a_gap():
    """What a model sees in its place is for the task to say, which knows the order of the rows."""
    encoded = fitted(1.0, 3.0).encode(pl.Series([None, 1.0, float("nan"), 3.0]))
    assert encoded.isnan().tolist() == [True, False, True, False] and encoded[[1, 3]].tolist() == [-1, 1]


def test_a_gap_alone_stays_missing():
    assert math.isnan(fitted(1.0, 3.0).encode(pl.Series([None], dtype=pl.Float64))[0])


def test_imagined_rows_have_no_gaps():
    made = fitted(1.5, None, None, 3.0).imagine(50, np.random.default_rng(0))
    assert None not in made and min(made) >= 1.5 and max(made) <= 3.0


def test_a_word_is_refused_with_its_row():
    with pytest.raises(UserError, match="'负荷' should hold numbers, but row 2 has '停电'"):
        fitted(1, 2).encode(pl.Series(["1", "停电"]))


def test_no_column_asks_for_it():
    assert Series.sniff(pl.Series([1.5, 2.5])) == 0
