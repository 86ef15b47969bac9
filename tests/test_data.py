"""From a table to parts and tensors: what decides the part of a row, and by which number a bad row is called."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import luban
from luban.checks.copies import exact_copies
from luban.checks.finding import Look
from luban.checks.leaks import leaking_columns
from luban.columns import _names_rows, describe, fit_schema, sniff_all
from luban.core import table as tables
from luban.core.errors import UserError
from luban.core.registry import FIELDS
from luban.data import DataConfig, Rows, assign, encode
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages import predict
from luban.stages.evaluate import evaluate
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


# ---------------------------------------------------------------- cells that cannot be read

GRIDS = np.random.default_rng(0).integers(0, 256, (100, 9, 8), np.uint8)
RICH, CONFIG = pl.Series(["yes", "no"] * 50), DataConfig(target=("rich",))
SKIP = ["data.skip_bad=true"]


@pytest.fixture
def filed(tmp_path):
    """A table of 100 paths, each of a readable file until a test spoils it; so a row keeps its hash."""
    for i, grid in enumerate(GRIDS):
        Image.fromarray(grid).save(tmp_path / f"a{i:03}.png")
    return pl.DataFrame({"file": [str(tmp_path / f"a{i:03}.png") for i in range(100)], "rich": RICH})


def spoil(table, *rows):
    for row in rows:
        Path(table["file"][row]).write_bytes(b"")


def prepared(table, **words):
    return prepare(table, from_words({"target": ["rich"], **words}))


def test_what_cannot_be_read_stops_and_says_how_to_go_on(filed):
    spoil(filed, 7)
    Path(filed["file"][19]).unlink()
    with pytest.raises(UserError, match=r"2 of 100 pictures .*row 8 .*a007.png' \(0 bytes\), row 20 .*--set data.skip_bad=true"):
        prepared(filed)


def test_what_cannot_be_read_is_left_out_as_if_it_had_never_been_there(filed, caplog):
    caplog.set_level("INFO")
    before = prepared(filed).rows
    assert before.facts["copies_across_parts"] == 0 and "rows_unreadable" not in before.facts
    bad = sorted([int(before.of(TRAIN)[1]), *before.of(TEST)[:4].tolist()])
    spoil(filed, *bad)
    made = prepared(filed, set=SKIP)
    rest = np.delete(np.arange(100), bad)
    assert made.rows.facts["rows_unreadable"] == 5 and made.rows.facts["unreadable"] == bad and made.rows.facts["rows"] == 95
    assert "left out, as asked: 5 rows. 5 of 100 pictures" in caplog.text
    assert (made.rows.numbers == rest).all() and len(made.store.columns["c0"]) == 95
    assert (made.rows.part == parts(filed[rest]).part).all() and made.rows.names(94) == f"row {rest[-1] + 1}"


def test_official_test_rows_keep_their_numbers_when_rows_are_left_out(filed, tmp_path):
    spoil(filed, 3, 45)
    rows = prepared(filed, set=[*SKIP, "data.test_rows=[40,60]"]).rows
    assert (rows.numbers[rows.of(TEST)] == np.delete(np.arange(40, 60), 5)).all()
    filed[40:60].write_csv(tmp_path / "test.csv")
    rows = prepared(filed[:40], set=SKIP, test=str(tmp_path / "test.csv")).rows
    assert rows.facts["unreadable"] == [3, 45] and len(rows.of(TEST)) == 19
    assert rows.names(len(rows.part) - 1) == "row 20 of the test file"


def test_no_row_that_can_be_read(filed):
    spoil(filed, *range(100))
    with pytest.raises(UserError, match=r"80 of 80 pictures.* and 70 more"):
        prepared(filed, set=SKIP)


def test_evaluate_finds_the_parts_that_were_made_without_unreadable_rows(tmp_path):
    table = people().with_columns(who=pl.int_range(pl.len()).cast(pl.String))
    words = {"target": "rich", "model": "linear", "baselines": [], "group": "who", "set": [*SKIP, "fields.age=number"]}
    bad = np.flatnonzero(parts(table, group="who").part != TRAIN)[:9]  # in a training row a word among numbers is missing, with a doubt
    for row in bad:
        table = spoiled(table, "age", row, "odd")
    run = luban.train(table, **words, out=tmp_path / "run")
    assert run.report["data"]["unreadable"] == bad.tolist()
    assert evaluate(run.path, table).metrics["accuracy"] == pytest.approx(run.report["metrics"]["accuracy"])


# ---------------------------------------------------------------- columns of bytes and of pixels


def held(**columns):
    """Rows as `assign` gives them, of columns that a source gave."""
    table = pl.DataFrame(columns)
    part = np.where(np.arange(table.height) % 5 == 0, TEST, np.where(np.arange(table.height) % 5 == 1, VALID, TRAIN)).astype(np.uint8)
    return Rows(table, part, np.arange(table.height), lambda i: f"row {i + 1}", {"rich": "category"}, {"split": "by hand"}, {})


def look(schema, store, rows):
    return Look(rows, schema, store, DataConfig(), len(rows.part))


def test_a_column_that_nothing_reads_is_set_aside_with_the_reason():
    odd_ones = {"bytes": pl.Series([bytes([255, i]) for i in range(100)]), "many": pl.Series([{"a": i} for i in range(100)]),
                "floats": pl.Series(np.zeros((100, 3)), dtype=pl.Array(pl.Float64, 3)), "x": pl.Series(range(100)) * 1.5}  # fmt: skip
    rows = held(**odd_ones, rich=RICH)
    schema = fit_schema(rows, CONFIG, {}, Classify())
    assert [each.columns for each in schema.inputs.values()] == [("x",)]
    assert "Binary, which nothing here reads" in schema.ignored["bytes"] and schema.ignored.keys() == {"bytes", "many", "floats"}
    assert {name: field for name, field, _ in sniff_all(rows.table, ())}["bytes"] == "ignore"


def test_pixels_pass_and_are_described():
    rows = held(pixels=pl.Series(GRIDS, dtype=pl.Array(pl.UInt8, (9, 8))), rich=RICH)
    schema = fit_schema(rows, CONFIG, {}, Classify())
    assert describe(schema)[0] == ("pixels", "picture", "9 x 8, grey", "")
    store = encode(schema, rows)
    assert (store.columns["c0"].numpy()[:, 0] == GRIDS).all()
    assert exact_copies(look(schema, store, rows)) == [] == leaking_columns(look(schema, store, rows))


def test_copies_are_seen_by_content():
    grids = GRIDS.copy()
    grids[5] = grids[2]  # a test row and a training row
    rows = held(pixels=pl.Series(grids, dtype=pl.Array(pl.UInt8, (9, 8))), rich=RICH)
    schema = fit_schema(rows, CONFIG, {}, Classify())
    (copies,) = exact_copies(look(schema, encode(schema, rows), rows))
    assert copies.rows == [6]


def test_paths_are_no_ids(filed):
    assert describe(prepared(filed).schema)[0] == ("file", "picture", "9 x 8, grey", "")


# ---------------------------------------------------------------- doubts


def checked(table, target="rich", task=None):
    config = DataConfig(target=(target,))
    rows = assign(table, None, config, task or Classify())
    schema = fit_schema(rows, config, {}, task or Classify())
    return schema, rows


def test_a_leak_is_found_in_a_table_sorted_by_its_target():
    table = people().with_columns(pl.col("pay").cast(pl.Float64)).sort("pay")
    schema, rows = checked(table.with_columns(copy=pl.col("pay") * 2), "pay", Regress())
    assert "copy" in [found.column for found in leaking_columns(look(schema, encode(schema, rows), rows))]


def test_copies_are_seen_behind_an_id():
    table = pl.concat([people(200), people(200).head(60)]).with_row_index("id")
    schema, rows = checked(table)
    (copies,) = exact_copies(look(schema, encode(schema, rows), rows))
    assert "id" in schema.ignored and copies.count > 5


def test_a_prediction_in_chunks_names_the_row_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "_ROWS", 100)
    run = luban.train(people(), target="rich", model="linear", baselines=[], out=tmp_path / "run")
    spoiled(people(), "age", 250, "odd").write_csv(tmp_path / "new.csv")
    with pytest.raises(UserError, match="row 251 has 'odd'"):
        predict.predict_to(str(run.path), str(tmp_path / "new.csv"), tmp_path / "answers.csv", {})


def test_fewer_training_rows_leave_the_others_out(caplog):
    caplog.set_level("INFO")
    table = pl.DataFrame({"x": np.random.default_rng(0).normal(size=2_000), "y": ["a", "b", "b", "b"] * 500})
    whole, few = (prepare(table, from_words({"target": ["y"], "set": more})).rows for more in ([], ["data.train_rows=200"]))
    assert (few.part == TEST).sum() == (whole.part == TEST).sum() and (few.part == VALID).sum() == (whole.part == VALID).sum()
    kept = few.table.filter(few.part == TRAIN)
    assert 180 <= len(kept) <= 220 and 0.2 < (kept["y"] == "a").mean() < 0.3
    assert "neither trained on nor scored" in caplog.text
    for wrong in (0, 5_000):
        with pytest.raises(UserError, match=r"data.train_rows=\d+ would take [\d,]+ of the 1,6\d\d rows to train on"):
            prepare(table, from_words({"target": ["y"], "set": [f"data.train_rows={wrong}"]}))


def test_columns_are_encoded_some_rows_at_a_time_and_rows_keep_their_names(monkeypatch):
    table = pl.DataFrame({"x": [str(i * 7 % 20 + 0.5) for i in range(60)], "z": [f"{i % 9}.25" for i in range(60)], "y": ["a", "b"] * 30})
    config, held = from_words({"target": ["y"], "set": ["data.test_rows=[50, 60]"]}), 55
    ready = prepare(table, config)
    wrong = table.with_columns(pl.when(pl.int_range(pl.len()) == held).then(pl.lit("so")).otherwise("x").alias("x"))

    def told():
        with pytest.raises(UserError) as error:
            prepare(wrong, config)
        return str(error.value)

    before = told()
    monkeypatch.setattr(tables, "PIECE", 7)
    assert told() == before and f"row {held + 1}" in before
    assert torch.equal(prepare(table, config).store.columns["c0"], ready.store.columns["c0"])


def test_no_column_of_sentences_is_read_as_a_whole_to_see_whether_it_names_the_rows():
    sentences, codes = (pl.Series("x", [f"{word}{i}" for i in range(100)]) for word in ("row ", "r"))
    field = FIELDS["category"](("x",))
    assert _names_rows(sentences, pytest.fail, field) is None
    assert "a different code" in (_names_rows(codes, lambda name: codes, field) or "")
