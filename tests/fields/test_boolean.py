"""Yes and no in many spellings."""

from __future__ import annotations

import polars as pl
import pytest

from luban.core.errors import UserError
from luban.fields.boolean import PAIRS, Boolean
from luban.planning import from_words
from luban.stages.prepare import prepare


def fit(values) -> Boolean:
    return Boolean(("c",)).fit([pl.Series("c", values)])


@pytest.mark.parametrize("no, yes", PAIRS)
def test_any_pair_is_found_learned_and_understood(no, yes):
    column = pl.Series("c", [yes.upper(), no.upper(), f" {yes.upper()} "])
    assert Boolean.sniff(column) == 0.9
    field = fit(column)
    assert field.encode(column).tolist() == [1, 0, 1]
    assert [str(word) for word in field.decode(field.encode(column))] == [yes.upper(), no.upper(), yes.upper()]
    for asked in ([True, False], [1, 0], [1.0, 0.0], ["yes", "No"], ["是", "否"]):
        assert field.encode(pl.Series(asked)).tolist() == [1, 0]


def test_most_frequent_spelling_and_the_partner_of_a_lonely_word():
    assert fit(["Yes", "YES", "Yes", "no"]).words == ("no", "Yes")
    assert fit(["是", "是"]).words == ("否", "是")
    assert fit(["0", "1"]).words == fit([0, 1]).words == fit([0.0, 1.0]).words == (0, 1)


def test_a_third_word():
    with pytest.raises(UserError, match="'c' should hold 'yes' or 'no', but row 2 has 'maybe'"):
        fit(["yes", "no"]).encode(pl.Series(["yes", "maybe"]))
    field = fit(["yes", "no", "maybe"])
    assert field.encode(pl.Series(["perhaps", "no"])).isnan().tolist() == [True, False]
    assert field.missing == pytest.approx(1 / 3)


@pytest.mark.parametrize("values", [["yes", "no", "maybe"], ["m", "f"], ["yes", "0"], ["yes", "yes"], [1, 2], [0.5, 1.0], ["2024-01-01"]])
def test_not_sniffed(values):
    assert Boolean.sniff(pl.Series(values)) == 0


def test_a_rare_third_value_outside_of_training_makes_it_numbers():
    flag = [str(i % 2) for i in range(200)]
    table = pl.DataFrame({"flag": flag, "other": [(i * 7) % 50 + 0.5 for i in range(200)], "y": ["ab"[i // 3 % 2] for i in range(200)]})
    third = table.with_columns(table["flag"].scatter(150, "2.0"))
    words = {"target": ["y"], "set": ["data.test_rows=[150,200]"]}
    for data, field in ((table, "Boolean"), (third, "Number")):
        assert type(prepare(data, from_words(words)).schema.inputs["c0"]).__name__ == field
    words["set"].append("fields.flag=boolean")
    with pytest.raises(UserError, match=r"row 151 has '2\.0'.* Or read the column as numbers: --set 'fields\.flag=number'"):
        prepare(third, from_words(words))
