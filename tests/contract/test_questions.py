"""What every task must do whose examples are no labelled rows, with every model that answers it: from a table to a bundle that moved.

A new task is tested here by its `samples()`, a new model by its `gives`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban.columns import fit_schema
from luban.core import config as configs
from luban.core.batch import Ragged, size_of
from luban.core.contract import Schema
from luban.core.errors import UserError
from luban.core.registry import MODELS, TASKS
from luban.data import encode, examples
from luban.metrics import direction
from luban.planning import from_words
from luban.server import app, serve
from luban.splitting import TEST, TRAIN, VALID
from luban.stages.prepare import prepare

QUESTIONS = [name for name in TASKS.names() if not TASKS[name].labelled]
TABLES = [pytest.param(name, i, id=f"{name}-{i}") for name in QUESTIONS for i in range(len(TASKS[name].samples()))]


SLOW = {"ets", "arima"}  # a fit a window, minutes of them here; tests/models/test_forecasters.py has them on a few


def able(name: str) -> list[str]:
    """Models that can answer the task's first sample, but for SLOW and those that must be told of a pretrained one: test_embed.py."""
    prepared = prepared_for(name, 0)
    kinds = {each.kind for each in prepared.schema.inputs.values()}
    parts = {part.kind for part in prepared.head.parts}
    return [
        model for model, cls in MODELS.items() if kinds <= cls.accepts and parts <= cls.gives and not cls.argument and model not in SLOW
    ]


def prepared_for(name: str, i: int):
    return prepare(TASKS[name].samples()[i], from_words({"task": name}))


PAIRS = [pytest.param(name, model, id=f"{name}-{model}") for name in QUESTIONS for model in able(name)]


def test_every_question_has_samples_a_baseline_and_a_model():
    for name in QUESTIONS:
        assert TASKS[name].samples()
        assert any(MODELS[model].baseline for model in able(name)) and any(not MODELS[model].baseline for model in able(name))


@pytest.mark.parametrize(("name", "words", "why"), [
    ("forecast", {"model": "nlinear"}, "as nlinear answers it"),
    ("forecast", {"set": ["task.horizon=5"]}, "by task.horizon"),
    ("recommend", {"model": "ease", "target": ["商品"]}, "as ease answers it"),
    ("generate", {"model": "gpt"}, "as gpt answers it"),
])  # fmt: skip
def test_a_question_is_meant_by_its_model_or_its_options(name, words, why, caplog):
    caplog.set_level(logging.INFO, "luban")
    assert type(prepare(TASKS[name].samples()[0], from_words(words)).task) is TASKS[name]
    assert f"task: {name}, {why}" in caplog.messages


def test_what_several_questions_have_means_none_of_them():
    with pytest.raises(UserError, match="name the column to predict"):
        prepare(TASKS["forecast"].samples()[0], from_words({"model": "lstm", "set": ["task.loss=mae"]}))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_option_has_its_reason_and_a_default(name):
    for cls in (TASKS[name].Config, TASKS[name].Ask):
        assert set(configs.docs(cls)) == {each.name for each in dataclasses.fields(cls)}
        assert configs.build(cls, json.loads(json.dumps(configs.to_dict(cls())))) == cls()
    TASKS[name].Ask(**TASKS[name].golden)


@pytest.mark.parametrize(("name", "i"), TABLES)
def test_what_was_settled_is_all_that_prediction_needs(name, i):
    prepared = prepared_for(name, i)
    saved = json.loads(json.dumps(configs.to_dict(prepared.task.config)))
    again = TASKS[name](configs.build(TASKS[name].Config, saved))
    schema = Schema.restore(json.loads(json.dumps(prepared.schema.state())))
    assert not TASKS[name].asks or {part.kind for part in prepared.head.parts} == {TASKS[name].asks}
    assert again.head(schema) == prepared.head and again.metrics(schema) == prepared.task.metrics(prepared.schema)
    assert all(direction(each) in ("max", "min") for each in again.metrics(schema))


@pytest.mark.parametrize(("name", "i"), TABLES)
def test_examples_of_a_part_are_answered_in_it(name, i):
    """Each part has examples of its own, every batch has the same keys, and an example alone is the example in a batch."""
    prepared = prepared_for(name, i)
    for part in (TRAIN, VALID, TEST):
        each = prepared.examples[part]
        if not len(each):
            assert part == TEST
            continue
        whole = each.whole()
        assert set(whole) >= prepared.head.keys and size_of(whole) == len(each)
        for number in (0, len(each) - 1):
            alone = each[torch.tensor([number])]
            for key, value in whole.items():
                mine, theirs = alone[key], value[torch.tensor([number])]
                same = torch.equal(mine.values, theirs.values) if isinstance(mine, Ragged) else torch.equal(mine, theirs)
                assert same, key


@pytest.mark.parametrize(("name", "i"), TABLES)
def test_training_rows_alone_decide_what_is_learned(name, i):
    """With all rows of the other parts changed for those of training, fields and training examples stay the same."""
    prepared = prepared_for(name, i)
    task, rows = prepared.task, prepared.rows
    others = np.flatnonzero(rows.part != TRAIN)
    index = np.arange(rows.table.height)
    index[others] = rows.of(TRAIN)[np.arange(len(others)) % len(rows.of(TRAIN))]
    planted = dataclasses.replace(rows, table=rows.table[index])
    schema = fit_schema(planted, prepared.config.data, {}, task)
    assert schema.state() == prepared.schema.state()
    mine, theirs = examples(task, encode(schema, planted), TRAIN).whole(), prepared.examples[TRAIN].whole()
    for key, value in theirs.items():
        assert torch.equal(mine[key].values, value.values) if isinstance(value, Ragged) else torch.equal(mine[key], value), key


@pytest.mark.parametrize(("name", "model"), PAIRS)
def test_trained_moved_proved_and_asked(name, model, tmp_path):
    table = TASKS[name].samples()[0]
    run = luban.train(table, task=name, model=model, baselines=[], out=tmp_path / "run", set={"train.steps": 3})
    assert run.metrics and all(math.isfinite(value) for value in run.metrics.values())
    shutil.move(run.path / "model", tmp_path / "别处")
    bundle = luban.load(tmp_path / "别处")  # proves itself by its golden rows
    rows, ask = pl.DataFrame(bundle.golden["rows"]), bundle.golden["ask"]
    nested = bundle.answer(rows, ask)
    assert "prediction" in nested.columns and not nested["prediction"].null_count()
    assert nested.height == len(rows) if bundle.task.rowwise else nested.height
    assert json.loads(json.dumps(nested.to_dicts(), default=str, allow_nan=False))
    asked = bundle.predict(rows, ask)
    assert asked.equals(bundle.predict(rows, ask)) and not any(dtype.is_nested() for dtype in asked.dtypes)
    if bundle.task.rowwise:
        alone = pl.concat([bundle.predict(rows[i : i + 1], ask) for i in range(len(rows))])
        numbers = [column for column in asked.columns if asked[column].dtype.is_float()]
        assert alone.drop(numbers).equals(asked.drop(numbers))


@pytest.mark.parametrize(("name", "model"), PAIRS)
def test_served(name, model, tmp_path):
    """Over HTTP the golden question is answered as in process, the first example is answered, and an absent column is named."""
    table = TASKS[name].samples()[0]
    bundle = luban.train(table, task=name, model=model, baselines=[], out=tmp_path / "run", set={"train.steps": 3}).load()
    example = bundle.task.example(bundle.schema)
    assert not example or bundle.predict(ask=example).height
    with serve.bound("127.0.0.1", 0) as sock, serve.running(app.application(bundle), sock):
        url = serve.address(sock)
        assert "golden" in serve.prove(bundle, url)
        if example:
            status, answer = serve.post(url, example)  # which may say besides that few are left to choose from
            assert status == 200 and answer["predictions"] == app.jsonable(bundle.answer(ask=example))
        status, answer = serve.post(url, {"rows": [{}]})
        assert status == 422 and f"row 1 has no {bundle.columns[0]!r}" in answer["error"]


@pytest.mark.parametrize(("name", "model"), PAIRS)
def test_evaluate_finds_the_parts_again(name, model, tmp_path):
    TASKS[name].samples()[0].write_csv(tmp_path / "数据.csv")
    run = luban.train(tmp_path / "数据.csv", task=name, model=model, baselines=[], out=tmp_path / "run", set={"train.steps": 3})
    measured = luban.evaluate(run, tmp_path / "数据.csv")
    assert measured.metrics == pytest.approx(run.metrics, rel=1e-6)
