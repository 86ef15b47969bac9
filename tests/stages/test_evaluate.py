"""Scoring: training rows are known again and left out, doubts are said, and the words about a difference are honest."""

import math
import shutil

import numpy as np
import polars as pl
import pytest

import luban
from luban import reading
from luban.core.errors import UserError
from luban.report import words
from luban.stages.evaluate import verdict

TABLE = "breast-cancer"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    reading.read(TABLE).cast(pl.String).write_csv(folder / "wdbc.csv")
    return luban.train(str(folder / "wdbc.csv"), target="diagnosis", model="linear", baselines=[], out=folder / "run")


@pytest.fixture
def data(run):
    return run.path.parent / "wdbc.csv"


def test_the_training_data_are_known_under_another_name(run, data, tmp_path):
    (tmp_path / "copy.csv").write_bytes(data.read_bytes())
    for given in (data, tmp_path / "copy.csv", reading.read(data)):
        assert luban.evaluate(run.path, given).metrics == run.metrics
    assert luban.evaluate(run.path, tmp_path / "copy.csv", split="train").metrics != run.metrics


def test_training_rows_in_another_form_are_scored_with_a_warning(run, data, caplog):
    luban.evaluate(run.path, TABLE)  # numbers where the file had text
    luban.evaluate(run.path, reading.read(data).sample(fraction=1, shuffle=True, seed=0))
    assert caplog.text.count("in another order or form") == 2


def test_a_file_that_has_changed_since_is_told(run, data, caplog):
    before = data.read_bytes()
    try:
        data.write_bytes(b"\n".join(before.split(b"\n")[:101]))
        luban.evaluate(run.path, data)
        assert "has changed since" in caplog.text
        with pytest.raises(UserError, match="--split test needs data"):
            luban.evaluate(run.path, data, split="test")
    finally:
        data.write_bytes(before)


def test_the_test_file_may_be_gone_when_new_rows_are_scored(data, tmp_path, caplog):
    table = reading.read(data)
    table.head(300).write_csv(tmp_path / "train.csv")
    table.slice(300, 100).write_csv(tmp_path / "test.csv")
    words = {"target": "diagnosis", "model": "linear", "baselines": [], "out": tmp_path / "run"}
    run = luban.train(str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"), **words)
    assert luban.evaluate(run.path, tmp_path / "train.csv").metrics == run.metrics
    (tmp_path / "test.csv").unlink()
    luban.evaluate(run.path, table.tail(100))
    assert "flatter" not in caplog.text


def test_a_run_that_has_not_finished_is_told_how_to_go_on(run, data, tmp_path):
    shutil.copytree(run.path, tmp_path / "半 成", ignore=shutil.ignore_patterns("model", "report*"))
    for call in (luban.evaluate, luban.predict):
        with pytest.raises(
            UserError, match=r"has not finished\. Go on with it by the same `luban train` command and --resume --out '/.*半 成'"
        ):
            call(tmp_path / "半 成", data)


def test_a_bad_row_is_named_by_its_number_in_the_given_table(run, data):
    table = reading.read(data)
    column = table.columns[0]
    at = pl.int_range(pl.len())
    table = table.with_columns(
        pl.when(at < 3).then(pl.lit("")).otherwise("diagnosis").alias("diagnosis"),
        pl.when(at == 50).then(pl.lit("odd")).otherwise(column).alias(column),
    )
    with pytest.raises(UserError, match="row 51 has 'odd'"):
        luban.evaluate(run.path, table)


def test_rows_of_one_class_and_of_unseen_classes(run, data):
    table = reading.read(data)
    one = luban.evaluate(run.path, table.filter(pl.col("diagnosis") == table["diagnosis"][0]))
    assert "accuracy" in one.metrics and "roc_auc" not in one.metrics
    with pytest.raises(UserError, match="none of these rows can be judged"):
        luban.evaluate(run.path, table.with_columns(diagnosis=pl.lit("other")))


def test_a_class_that_is_only_in_the_test_rows_does_not_stop_the_training(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = np.where(x > 0, "up", "down").astype(object)
    y[190:] = "new"
    run = luban.train({"x": x, "y": list(y)}, target="y", model="mlp", baselines=["constant"], out=tmp_path / "run",
                      set={"data.test_rows": [190, 200], "train.epochs": 2})  # fmt: skip
    assert "nan" not in run.report["verdict"] and "has no value" in run.report["verdict"]


# ---------------------------------------------------------------- words


def said(metric, name, value, others, differences, noun="rows"):
    return words.verdict(verdict(metric, name, value, others, differences) | {"examples": 100, "noun": noun, "part": "test"}, "en")


def test_a_verdict_never_says_nan():
    assert "has no value on the 100 test rows (they lack a class" in said("roc_auc", "mlp", math.nan, {"trees": 0.9}, {})
    assert "100 test windows (they never change" in said("mase", "nlinear", math.nan, {}, {}, "windows")  # series know no classes
    told = said("accuracy", "mlp", 0.9, {"trees": math.nan, "constant": 0.5}, {"constant": (0.3, 0.5)})
    assert "was worth it" in told and "Left out" in told and "trees" in told and "nan" not in told
    assert "no baseline could be judged" in said("accuracy", "mlp", 0.9, {"trees": math.nan}, {})


def test_a_difference_within_the_noise_is_level():
    assert "level" in said("accuracy", "mlp", 0.91, {"trees": 0.9}, {"trees": (-0.01, 0.03)})
    assert "was worth it" in said("accuracy", "mlp", 0.91, {"trees": 0.9}, {"trees": (0.004, 0.016)})
    assert "level" in said("rmse", "mlp", 99.5, {"trees": 100.0}, {"trees": (-1.5, 0.5)})
    assert "was not worth it" in said("price.rmse", "mlp", 102.0, {"trees": 100.0}, {"trees": (1.0, 3.0)})
    assert "level" in said("accuracy", "mlp", 1.0, {"trees": 1.0}, {"trees": None})
    assert "may be chance" in said("accuracy", "mlp", 1.0, {"trees": 0.5, "linear": 0.4}, {"linear": (-1, 1)})  # the best one decides


def test_of_what_was_held_back_only_items_can_be_unknown():
    """A classifier whose mcc is 0 answers one class, as the constant does: that is level, and no other model knows more of the rows."""
    assert "Neither knows what was held back" in said("ndcg@10", "ease", 0.0, {"popular": 0.0}, {"popular": (0.0, 0.0)}, "users")
    assert "are level: mcc 0.0000" in said("mcc", "mlp", 0.0, {"constant": 0.0}, {"constant": (0.0, 0.0)})


def test_the_paired_interval_decides_who_is_ahead():
    """The figure of all rows may lie on the other side of a baseline's on a sample than its own on the sample."""
    assert "was worth it" in said("accuracy", "mlp", 0.89, {"trees": 0.9}, {"trees": (0.001, 0.004)})
    assert "was not worth it" in said("rmse", "mlp", 0.89, {"trees": 0.9}, {"trees": (0.001, 0.004)})
