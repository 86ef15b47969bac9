"""Hidden tokens: what is asked, what it costs, what is answered, and a network that goes on from it to another question."""

import json
import math

import polars as pl
import pytest
import torch

import luban
from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.tasks import fill

SAID = ["the room was clean and the staff was kind", "the room was dark and the staff was rude", "we came late and left early"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    table = pl.DataFrame({"said": SAID * 60, "no": range(180)})
    options = {"train.epochs": 30, "model.dropout": 0.0, "task.tokenizer": "words"}
    return luban.train(table, task="fill", model="lstm", set=options, out=tmp_path_factory.mktemp("fill") / "run", drop=["no"])


def test_hidden_tokens_are_foretold_from_their_neighbours(learned):
    assert learned.report["metric"] == "loss" and learned.metrics["loss"] < 0.7 < learned.report["baselines"]["constant"]["loss"]
    made = learned.load()
    usual, odd = made.predict({"said": [SAID[0], "the room was early and the staff was clean"]})["prediction"]
    assert usual < odd
    assert made.predict(ask={"text": SAID[0]})["prediction"][0] == pytest.approx(usual, abs=1e-5)
    assert made.predict({"said": ["", "the"]})["prediction"].is_null().to_list() == [True, False]


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_what_may_stand_in_a_gap(learned, tmp_path, tokenizer):
    if tokenizer == "bpe":
        table, options = {"said": SAID * 60}, {"train.epochs": 40, "model.dropout": 0.0, "train.batch_size": 16}
        learned = luban.train(table, task="fill", model="lstm", set=options, baselines=[], out=tmp_path / "run")
    made = learned.load()
    rows = ["the [MASK] was clean and the [mask] was kind", SAID[0], "", "the room [MASK] dark and the staff was zzz"]
    answers = made.predict({"said": rows}, {"k": 3})
    first, none, empty, third = (json.loads(each) if each else each for each in answers["gaps"])
    assert none is None and empty is None and answers["prediction"].is_null().to_list() == [False, False, True, False]
    assert [gap[0][0] for gap in first] == ["room", "staff"] and all(len(gap) == 3 for gap in first) and third[0][0][0] == "was"
    assert all(1 >= gap[0][1] >= gap[1][1] >= gap[2][1] >= 0 for gap in first)
    assert made.predict({"said": rows}, {"k": 0}).columns == ["prediction", "least_expected"]
    alone = made.predict(ask={"text": rows[0]})
    assert [gap[0] for gap in json.loads(alone["gaps"][0])] == [gap[0] for gap in first]
    assert abs(answers["prediction"][0] - answers["prediction"][1]) < 1  # a gap itself costs nothing
    assert made.predict({"said": ["the [MASK]", "[MASK] [MASK]"]})["least_expected"][0] == "the"


def test_each_token_is_asked_once_in_an_answer_and_a_seventh_in_judgement():
    words = Ragged(torch.arange(1, 21), torch.tensor([0, 9, 9, 20]))
    hidden = []

    def model(batch):
        hidden.append(batch["hidden"])
        assert (batch["c0"].values[batch["hidden"]] == 0).all()
        return torch.zeros(int(batch["hidden"].sum()), 21)

    for offset in range(fill.PASSES):
        nats = fill._nats(model, words, torch.full((3,), offset))
        assert torch.allclose(nats[nats >= 0], torch.tensor(math.log(21)))
    assert (torch.stack(hidden).sum(0) == 1).all()


def test_another_question_goes_on_from_it(learned, tmp_path):
    table = pl.DataFrame({"said": SAID * 30, "good": ["yes", "no", "no"] * 30, "no": [i % 7 for i in range(90)]})
    made = luban.train(
        table, target="good", start=learned.path, out=tmp_path / "run", drop=["no"], set={"train.steps": 1, "train.lr": 1e-9}
    )
    old, new = learned.load(), made.load()
    assert new.schema.inputs["c0"].state() == old.schema.inputs["c0"].state()
    assert torch.allclose(new.model.embed.weight, old.model.embed.weight, atol=1e-6) or made.report["judgement"]["bought"]["kept"] is False
    assert new.model.output.weight.shape[0] == 2


def test_other_settings_of_the_words_are_told_and_not_used(learned, tmp_path, caplog):
    table, options = pl.DataFrame({"said": SAID * 30}), {"train.steps": 1, "task.vocab_size": 500}
    with caplog.at_level("INFO", "luban"):
        luban.train(table, start=learned.path, baselines=[], out=tmp_path / "same", set={"train.steps": 1})
        assert "is read as the run" not in caplog.text
        made = luban.train(table, start=learned.path, baselines=[], out=tmp_path / "other", set=options).load()
    assert "'said' is read as the run to go on from reads it: vocab_size 10000 instead of 500" in caplog.text
    assert made.schema.inputs["c0"].config == learned.load().schema.inputs["c0"].config


def test_refused(tmp_path):
    for table, wrong in [({"n": [1, 2] * 20}, "no column of words"), ({"t": ["", None] * 20}, "is empty in all")]:
        with pytest.raises(UserError, match=wrong):
            luban.train(pl.DataFrame(table), task="fill", out=tmp_path / "run")
    for task in ("fill", "embed"):
        with pytest.raises(UserError, match="--time has no meaning for rows of words"):
            luban.train(pl.DataFrame({"said": SAID * 9, "day": range(27)}), task=task, time="day", out=tmp_path / "run")


def test_rows_of_few_tokens_are_judged(tmp_path):
    table = pl.DataFrame({"said": ["good room", "bad room here", "a clean room at last"] * 20})
    made = luban.train(table, task="fill", model="constant", out=tmp_path / "run", set={"task.tokenizer": "words"}, baselines=[])
    assert made.metrics["loss"] > 0
    for n in range(2, 20):
        words = Ragged(torch.arange(1, n + 1), torch.tensor([0, n]))
        nats = fill._nats(lambda batch: torch.zeros(int(batch["hidden"].sum()), 30), words, words.lengths // 2 % fill.PASSES)
        assert (nats >= 0).any()
