"""`--from RUN`: the same question on newer rows, another question of the same columns, and what cannot go on."""

import polars as pl
import pytest
import torch

import luban
from luban.core.errors import UserError


@pytest.fixture(scope="module")
def table():
    from luban import reading

    return reading.read("breast-cancer")


@pytest.fixture(scope="module")
def begun(table, tmp_path_factory):
    """A run on the older rows."""
    return luban.train(table[:400], target="diagnosis", model="mlp", out=tmp_path_factory.mktemp("begun") / "run", set={"train.epochs": 20})


def test_newer_rows_need_no_words_and_start_from_the_weights(table, begun, tmp_path):
    made = luban.train(table[200:], start=begun.path, out=tmp_path / "run", set={"train.steps": 1, "train.lr": 1e-9})
    old, new = begun.load(), made.load()
    assert made.report["task"] == "classify" and made.report["target"] == ["diagnosis"] and made.report["model"] == "mlp"
    assert new.schema.state()["inputs"] == old.schema.state()["inputs"]
    assert all(torch.allclose(value, old.model.state_dict()[name], atol=1e-6) for name, value in new.model.state_dict().items())
    bought = made.report["judgement"]["bought"]
    assert bought["kept"] and bought["what"] == "the run run" and bought["without"] == "mlp" and bought["values"][0] > bought["values"][1]
    assert "What the run run bought" in made.report["verdict"]


def test_another_question_keeps_the_columns_and_begins_its_answers_anew(table, begun, tmp_path):
    sizes = pl.Series("size", ["large" if float(value) > 14 else "small" for value in table["mean radius"]])
    other = table.drop("mean radius", "diagnosis").with_columns(sizes)
    made = luban.train(other, target="size", start=begun.path, out=tmp_path / "run", set={"train.epochs": 5})
    fields = {each.columns[0]: each.state() for each in begun.load().schema.inputs.values()}
    assert all(each.state() == fields[each.columns[0]] for each in made.load().schema.inputs.values())
    assert {"mlp", "mlp from run"} <= made.report["tried"].keys() and made.report["judgement"]["bought"]


def test_columns_find_their_fields_in_another_order_and_new_labels_are_learned_anew(table, begun, tmp_path, caplog):
    caplog.set_level("INFO", "luban")
    other = table.select(reversed(table.columns)).with_columns(pl.lit("x").alias("more"), pl.col("diagnosis") + "!")
    made = luban.train(other, start=begun.path, out=tmp_path / "run", set={"train.steps": 1}, baselines=[])
    old, new = begun.load().schema, made.load().schema
    assert [each.columns for each in new.inputs.values()] == [each.columns for each in old.inputs.values()]
    assert new.ignored["more"] == "not read by the run that goes on"
    assert "has labels that the run to go on from did not have" in caplog.text and "begin anew" in caplog.text


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"model": "tabm"}, "is a mlp, whose weights a tabm cannot take"),
        ({"folds": 3}, "cannot go together"),
        ({"start": "nowhere"}, "there is no run 'nowhere'"),
    ],
)
def test_refused(table, begun, tmp_path, words, wrong):
    with pytest.raises(UserError, match=wrong):
        luban.train(table, **{"start": begun.path, "target": "diagnosis", "out": tmp_path / "run", **words})


def test_a_missing_column_and_a_solved_model_are_refused(table, begun, tmp_path):
    with pytest.raises(UserError, match="--from names the column 'mean area'"):
        luban.train(table.drop("mean area"), start=begun.path, out=tmp_path / "run")
    solved = luban.train(table, target="diagnosis", model="linear", baselines=[], out=tmp_path / "solved")
    with pytest.raises(UserError, match="linear is solved at once"):
        luban.train(table, start=solved.path, out=tmp_path / "more")


def test_rows_that_the_run_had_learned_from_are_told(table, begun, tmp_path, caplog):
    made = luban.train(table[:400], start=begun.path, out=tmp_path / "same", set={"train.steps": 1})
    assert "had learned from" not in caplog.text and made.report["split"] == begun.report["split"]
    luban.train(table[:400], start=begun.path, out=tmp_path / "other", set={"train.steps": 1, "data.split_seed": 5})
    assert "test rows are rows that the run to go on from had learned from: figures flatter" in caplog.text


def test_last_is_the_last_that_has_finished(table, begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = luban.train(table, target="diagnosis", model="mlp", set={"train.steps": 1}, baselines=[])
    (tmp_path / "runs" / "stopped").mkdir()
    (tmp_path / "runs" / "stopped" / "asked.json").write_text("{}")
    from luban.folders import remember

    remember(tmp_path / "runs" / "stopped")
    made = luban.train(table, start="last", out=tmp_path / "run", set={"train.steps": 1}, baselines=[])
    assert made.report["config"].count(str(done.path)) == 1
