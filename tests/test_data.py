"""From a table to parts and tensors: what decides the part of a row, and by which number a bad row is called."""

import numpy as np
import polars as pl
import pytest

import luban
from luban.checks import report_copies, report_leaks
from luban.core.errors import UserError
from luban.data import DataConfig, assign, encode, fit_schema
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages import predict
from luban.stages.prepare import prepare
from luban.tasks.classify import Classify
from luban.tasks.regress import Regress
from luban.tasks.several import Several


def people(n=400, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n)
    pay = (age * 10 + rng.normal(size=n)).round(3)
    return pl.DataFrame({"age": age.astype(str), "pay": pay.astype(str), "rich": np.where(age > 50, "yes", "no")})


def spoiled(table, column, row, value):
    return table.with_columns(pl.when(pl.int_range(pl.len()) == row).then(pl.lit(value)).otherwise(column).alias(column))


def parts(table, task=None, test=None, **words):
    return assign(table, test, DataConfig(**{"target": ("rich",), **words}), task or Classify())


# ---------------------------------------------------------------- parts


def test_official_test_rows_are_counted_in_the_file_before_any_row_is_left_out():
    table = people()
    for row in (0, 5, 150):
        table = spoiled(table, "rich", row, "")
    rows = parts(table, test_rows=(100, 200))
    called = [int(rows.names(int(i)).removeprefix("row ")) for i in rows.of(TEST)]
    assert called == [i + 1 for i in range(100, 200) if i != 150]
    with pytest.raises(UserError, match="within the 400 rows"):
        parts(table, test_rows=(0, 401))


def test_group_and_time_together_are_refused():
    with pytest.raises(UserError, match="--group and --time"):
        parts(people(), group="age", time="pay")


def test_time_without_a_test_share_makes_no_test_part():
    counts = np.bincount(parts(people(), time="pay", shares=(0.9, 0.1, 0.0)).part, minlength=3)
    assert counts[TEST] == 0 and 35 <= counts[VALID] <= 45


def test_with_a_test_file_and_time_the_newest_training_rows_validate():
    table = people().with_row_index("when").cast({"when": pl.String})
    rows = parts(table, test=table.head(50), time="when")
    assert (rows.part[:355] == TRAIN).all() and (rows.part[356:400] == VALID).all() and (rows.part[400:] == TEST).all()


def test_many_small_classes_are_split_without_regard_to_classes(caplog):
    table = pl.DataFrame({"x": [str(i) for i in range(200)], "rich": [f"c{i % 50}" for i in range(200)]})
    assert (np.bincount(parts(table).part) == [160, 20, 20]).all()
    assert "does not regard them" in caplog.text


def test_a_test_file_without_the_target_is_told():
    with pytest.raises(UserError, match="the test file lacks the columns 'rich'"):
        parts(people(), test=people(20).drop("rich"))


def test_a_test_file_is_read_with_the_delimiter_of_the_data(tmp_path):
    people().write_csv(tmp_path / "all.csv", separator="^")
    people(40, seed=1).write_csv(tmp_path / "test.csv", separator="^")
    words = {"data": str(tmp_path / "all.csv"), "test": str(tmp_path / "test.csv"), "target": ["rich"], "set": ["data.delimiter=^"]}
    assert len(prepare(words["data"], from_words(words)).rows.of(TEST)) == 40


def test_the_target_fields_are_decided_once_on_all_rows():
    """9 values in 45 rows are classes, 9 in the 36 rows of training would be amounts."""
    table = people(45).with_columns(grade=pl.int_range(pl.len()) % 9)
    config = DataConfig(target=("grade", "pay"))
    rows = assign(table, None, config, Several())
    schema = fit_schema(rows, config, {}, Several())
    assert rows.fields == {"grade": "category", "pay": "number"}
    assert [each.kind for each in schema.targets.values()] == ["id", "scalar"]


# ---------------------------------------------------------------- the numbers of rows


def test_training_names_a_row_by_its_number_in_the_file():
    table = spoiled(spoiled(people(), "rich", 0, ""), "age", 300, "odd")
    config = DataConfig(target=("rich",))
    rows = assign(table, None, config, Classify())
    row = int(np.flatnonzero(rows.table["age"] == "odd")[0])
    rows.part[row] = TRAIN
    chosen = {"age": "number"}
    assert "training row 301 has 'odd'" in " ".join(fit_schema(rows, config, chosen, Classify()).inputs["c0"].doubts)
    rows.part[row] = TEST
    with pytest.raises(UserError, match="row 301 has 'odd'"):
        encode(fit_schema(rows, config, chosen, Classify()), rows)


def test_a_row_of_the_test_file_is_named_as_such():
    test = spoiled(people(40, seed=1), "age", 7, "odd")
    config = DataConfig(target=("rich",))
    rows = assign(people(), test, config, Classify())
    with pytest.raises(UserError, match="row 8 of the test file has 'odd'"):
        encode(fit_schema(rows, config, {}, Classify()), rows)


def test_an_empty_time_is_named_by_its_number_in_the_file():
    table = spoiled(spoiled(people(), "rich", 0, ""), "pay", 9, "")
    with pytest.raises(UserError, match="in row 10;"):
        parts(table, time="pay")


# ---------------------------------------------------------------- doubts


def checked(table, target="rich", task=None):
    config = DataConfig(target=(target,))
    rows = assign(table, None, config, task or Classify())
    schema = fit_schema(rows, config, {}, task or Classify())
    return schema, rows


def test_a_leak_is_found_in_a_table_sorted_by_its_target():
    table = people().with_columns(pl.col("pay").cast(pl.Float64)).sort("pay")
    schema, rows = checked(table.with_columns(copy=pl.col("pay") * 2), "pay", Regress())
    assert "copy" in [found["column"] for found in report_leaks(schema, encode(schema, rows), rows)]


def test_copies_are_seen_behind_an_id():
    table = pl.concat([people(200), people(200).head(60)]).with_row_index("id")
    schema, rows = checked(table)
    assert "id" in schema.ignored and report_copies(schema, encode(schema, rows), rows) > 5


def test_a_prediction_in_chunks_names_the_row_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "_ROWS", 100)
    run = luban.train(people(), target="rich", model="linear", baselines=[], out=tmp_path / "run")
    spoiled(people(), "age", 250, "odd").write_csv(tmp_path / "new.csv")
    with pytest.raises(UserError, match="row 251 has 'odd'"):
        predict.predict_to(str(run.path), str(tmp_path / "new.csv"), tmp_path / "answers.csv", {})
