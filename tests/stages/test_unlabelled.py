"""train.semi: which rows without an answer are used, what is learned from them, and that nothing is kept that buys nothing."""

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
