"""train.semi: which rows without an answer are used, what is learned from them, and that nothing is kept that buys nothing."""

import json

import numpy as np
import polars as pl
import pytest

import luban
from luban import reading
from luban.core.errors import UserError
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, UNLABELLED, VALID
from luban.stages.prepare import prepare


@pytest.fixture(scope="module")
def cancer():
    return reading.read("breast-cancer")


def few(cancer, every=5):
    """Only each fifth row has its answer."""
    return cancer.with_columns(pl.when(pl.int_range(pl.len()) % every == 0).then("diagnosis").alias("diagnosis"))


def prepared(table, *settings, **words):
    return prepare(table, from_words({"target": ["diagnosis"], "set": ["train.semi=true", *settings], **words}))


def test_rows_without_an_answer_are_kept_in_no_part(cancer):
    ready = prepared(few(cancer))
    part = ready.rows.part
    assert (part == UNLABELLED).sum() == len(ready.unlabelled) == 455 and np.isin(part, (TRAIN, VALID, TEST)).sum() == 114
    assert ready.rows.table["diagnosis"].is_null().to_numpy().tolist() == (part == UNLABELLED).tolist()
    alone = prepare(few(cancer), from_words({"target": ["diagnosis"]}))
    assert alone.rows.numbers[alone.rows.of(TEST)].tolist() == ready.rows.numbers[ready.rows.of(TEST)].tolist()


def test_fields_learn_from_them_but_never_from_tested_rows(cancer):
    (field, *_) = prepared(few(cancer)).schema.inputs.values()
    (alone, *_) = prepare(few(cancer), from_words({"target": ["diagnosis"]})).schema.inputs.values()
    assert field.state() != alone.state()


def test_copies_of_tested_rows_and_tested_groups_are_left_out(cancer):
    table = few(cancer)
    tested = prepared(table)
    copies = tested.rows.table[tested.rows.of(TEST)].with_columns(pl.lit(None, pl.String).alias("diagnosis"))
    assert len(prepared(pl.concat([table, copies])).unlabelled) == 455
    grouped = prepared(table.with_columns((pl.int_range(pl.len()) // 10).alias("ward")), group="ward")
    wards = grouped.rows.table["ward"].to_numpy()
    assert not set(wards[grouped.rows.of(TEST)]) & set(wards[grouped.rows.of(UNLABELLED)])


def test_hidden_answers_of_tested_groups_and_copies_are_left_out_too(cancer):
    grouped = prepared(cancer.with_columns((pl.int_range(pl.len()) // 10).alias("ward")), "data.labels=80", group="ward")
    wards, part = grouped.rows.table["ward"].to_numpy(), grouped.rows.part
    assert (part == UNLABELLED).any() and not set(wards[(part == TEST) | (part == VALID)]) & set(wards[part == UNLABELLED])
    twice = pl.concat([cancer, cancer]).with_columns(pl.Series("split", ["train"] * 569 + ["train"] * 300 + ["test"] * 269))
    hidden = prepared(twice, "data.labels=80").rows
    inputs = [name for name in cancer.columns if name != "diagnosis"]
    tested, used = (set(hidden.table[hidden.of(part)].select(inputs).rows()) for part in (TEST, UNLABELLED))
    assert used and not tested & used


def test_rows_that_the_split_column_holds_out_are_not_learned_from(cancer):
    words = pl.Series("split", ["train", "test", "valid", ""] * 142 + ["train"])
    table = cancer.with_columns(words).with_columns(pl.when(pl.int_range(pl.len()) % 8 < 4).then("diagnosis").alias("diagnosis"))
    answered = table.filter(pl.col("diagnosis").is_not_null()).with_columns(pl.col("split").replace("", "train"))
    ready = prepared(pl.concat([answered, table.filter(pl.col("diagnosis").is_null())]))
    assert set(ready.rows.table[ready.rows.of(UNLABELLED)]["split"]) == {"train", ""}


def test_few_labels_of_many(cancer):
    ready = prepared(cancer, "data.labels=60")
    assert len(ready.rows.of(TRAIN)) + len(ready.rows.of(VALID)) == pytest.approx(60, abs=2)
    assert len(ready.rows.of(TEST)) == 57 and len(ready.unlabelled) == 569 - 57 - len(ready.rows.of(TRAIN)) - len(ready.rows.of(VALID))
    with pytest.raises(UserError, match=r"data\.labels=5000"):
        prepared(cancer, "data.labels=5000")


def test_answers_are_learned_from_where_the_teacher_is_sure(cancer, tmp_path, caplog):
    caplog.set_level("INFO", "luban")
    made = luban.train(few(cancer), target="diagnosis", model="mlp", out=tmp_path / "run", set={"train.semi": True, "train.epochs": 40})
    bought = made.report["judgement"]["bought"]
    assert bought["what"] == "rows without an answer" and bought["with"] == "mlp, round 1" and bought["without"] == "mlp"
    assert "mlp is sure of" in caplog.text and "What rows without an answer bought" in made.report["verdict"]
    assert made.report["split"] == "train 92, valid 11, test 11"
    assert made.load().golden["rows"]


def test_nothing_is_kept_that_buys_nothing(cancer, tmp_path):
    hopeless = {"train.semi": True, "task.sure": 0.0, "train.steps": 1, "train.lr": 1e-9}
    made = luban.train(few(cancer), target="diagnosis", model="mlp", out=tmp_path / "run", set=hopeless)
    assert made.report["judgement"]["bought"]["kept"] is False and "it is not kept" in made.report["verdict"]


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"time": "mean radius"}, "train.semi and --time cannot go together"),
        ({"folds": 3}, "cannot go together"),
        ({"set": ["train.semi=true"]}, "every row that may be learned from has an answer"),
        ({"target": ["diagnosis", "mean radius"]}, "train.semi is for questions of one class a row"),
        ({"target": "mean radius"}, "train.semi is for questions of one class a row"),
    ],
)
def test_refused(cancer, tmp_path, words, wrong):
    with pytest.raises(UserError, match=wrong):
        luban.train(
            cancer,
            **{
                "target": "diagnosis",
                "model": "mlp",
                "out": tmp_path / "run",
                "set": ["train.semi=true", "train.steps=1", "data.labels=90"],
                **words,
            },
        )


def test_reviews_without_a_label_are_worth_ten_points(real_data, tmp_path):
    made = luban.train("hotel-reviews", model="tfidf", out=tmp_path / "run", set={"train.semi": True, "data.labels": 200})
    with_it, without = made.report["judgement"]["bought"]["values"]
    assert made.report["judgement"]["bought"]["kept"] and with_it > without + 0.05 and with_it > 0.82


def test_a_joined_student_is_trained_on_more_than_its_teacher(cancer, tmp_path):
    members = [{"name": "mlp"}, {"name": "linear"}]
    options = {"train.semi": True, "data.labels": 60, "model.members": members, "train.epochs": 5}
    made = luban.train(cancer, target="diagnosis", model="ensemble", out=tmp_path / "run", set=options)
    assert {"ensemble", "ensemble, round 1"} <= made.report["tried"].keys()
    steps = [
        line["step"]
        for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
        if "round 1, 0.mlp" in line["model"]
    ]
    assert steps and made.report["judgement"]["bought"]["with"].startswith("ensemble, round")
