"""What a time limit promises: baselines leave most of it to what was asked for, and a training that it cut short says so."""

import dataclasses
import time

import numpy as np
import torch

import luban
from luban.folders import RunFolder
from luban.planning import from_words
from luban.splitting import VALID
from luban.stages.candidates import SHARE, Workshop, draft
from luban.stages.clock import RunClock
from luban.stages.fit import Job, within
from luban.stages.prepare import prepare
from luban.stages.train import Silent

ENDLESS = {"rounds": 1_000_000, "patience": 1_000_000}


def test_baselines_together_keep_to_their_share(tmp_path):
    ready = prepare("breast-cancer", from_words({"target": ["diagnosis"]}))
    drafts = [dataclasses.replace(draft("trees", ready, None, ENDLESS), name=name) for name in ("one", "another", "a third")]
    workshop = Workshop(ready, RunFolder(tmp_path / "run"), RunClock(10.0, 0, 1), Silent())
    began = time.perf_counter()
    assert len(workshop.train_beside(drafts)) == 3
    assert 0.7 * SHARE * 10 < time.perf_counter() - began < 2 * SHARE * 10  # a busy machine may double it


def test_some_time_is_kept_for_baselines_to_come(tmp_path):
    ready = prepare("breast-cancer", from_words({"target": ["diagnosis"]}))
    for to_come, end in ((False, 9.0), (True, 8.0)):
        clock = RunClock(10.0, 0, 1)
        Workshop(ready, RunFolder(tmp_path / "run"), clock, Silent()).train_all([draft("constant", ready, None, {})], to_come)
        assert abs(clock.until - end) < 0.01


def test_a_training_that_the_limit_ends_in_its_first_epoch_says_so(tmp_path, caplog):
    x = np.random.default_rng(0).normal(size=20_000)
    words = {"target": "y", "model": "mlp", "baselines": [], "time_limit": "1s", "set": {"train.batch_size": 1}}
    with caplog.at_level("WARNING", "luban"):
        luban.train({"x": x, "y": x > 0}, out=tmp_path / "cut", **words)
        said = [record.getMessage() for record in caplog.records if "the time limit ended it" in record.getMessage()]
        assert len(said) == 1 and " of 16," in said[0] and said[0].endswith("steps of the first epoch: give more time or fewer rows.")
        caplog.clear()
        luban.train({"x": x[:500], "y": x[:500] > 0}, out=tmp_path / "whole", **{**words, "time_limit": "20s"})
    assert "the time limit ended it" not in caplog.text


def test_many_rows_that_validate_do_not_take_the_time_of_the_training(tmp_path):
    ready = prepare("breast-cancer", from_words({"target": ["diagnosis"], "set": ["data.shares=[0.2,0.6,0.2]", "train.epochs=100"]}))
    made = draft("mlp", ready, None, {})
    job = Job("mlp", made.model, ready, made.plan.train, RunFolder(tmp_path / "run"), torch.device("cpu"))
    cut = within(job, 0.01)
    passes = cut.steps / cut.eval_every * len(ready.examples[VALID]) / 3  # in rows that are trained on: an evaluation costs a third
    assert cut.steps < made.plan.train.steps and passes <= 0.12 * cut.steps * cut.batch_size
