"""What a training promises: the same bits for the same seed, a stop that is explained, a time limit that is kept, honest words."""

import itertools
import json
import time

import numpy as np
import polars as pl
import pytest
import torch
import yaml

import luban
from luban import reading
from luban.core.errors import UserError

TABLE = "breast-cancer"


def quick(tmp_path, name="run", **words):
    options = {"target": "diagnosis", "model": "mlp", "baselines": [], "set": {"train.epochs": 3}, "out": tmp_path / name, **words}
    return luban.train(TABLE, **options)


def weights(run):
    return (run.path / "model" / "model.safetensors").read_bytes()


def test_a_seed_fixes_everything(tmp_path):
    one, same, other = (quick(tmp_path, name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert weights(one) == weights(same) != weights(other)
    assert one.metrics == same.metrics


def test_the_resolved_configuration_repeats_the_run(tmp_path):
    first = quick(tmp_path, "first")
    again = luban.train(config=str(first.path / "config.yaml"), out=tmp_path / "again")
    assert weights(first) == weights(again)
    left_open = {key for key, value in yaml.safe_load((first.path / "config.yaml").read_text())["train"].items() if value is None}
    assert left_open == {"device", "time_limit"}


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rmsprop", "adam", "adamw", "muon"])
@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_every_optimiser_learns(tmp_path, optimizer, schedule):
    lr = {"sgd": 0.05, "adagrad": 0.05, "muon": 0.01}.get(optimizer, 0.005)
    settings = {"train.epochs": 8, "train.optimizer": optimizer, "train.schedule": schedule, "train.lr": lr, "model.hidden": [16, 16]}
    assert quick(tmp_path, set=settings).metrics["roc_auc"] > 0.95


def test_accumulation_is_a_larger_batch(tmp_path):
    """4 batches of 16 are one of 64, up to rounding: the same losses."""
    settings = {"train.epochs": 2, "train.eval_every": 1, "train.clip": 0}
    whole = quick(tmp_path, "whole", set={**settings, "train.batch_size": 64})
    parts = quick(tmp_path, "parts", set={**settings, "train.batch_size": 16, "train.accumulate": 4})
    losses = [[json.loads(line)["train_loss"] for line in (run.path / "metrics.jsonl").read_text().splitlines()] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_diverging_loss_stops_and_names_the_step(tmp_path):
    settings = {"train.lr": 1e18, "train.optimizer": "sgd", "train.clip": 0, "train.warmup": 0, "train.schedule": "constant"}
    with pytest.raises(UserError, match=r"at step \d+.*train\.lr=1e\+17"):
        quick(tmp_path, set=settings)


def test_a_network_that_gives_no_number_is_told_apart_from_a_high_rate(tmp_path):
    class Broken(torch.nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.layer = torch.nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.layer(x) / (x.abs().sum() * 0 + (x == 0).all())  # finite on the zeros it is tried with, infinite on data

    with pytest.raises(UserError, match="step 1"):
        quick(tmp_path, model=Broken)


def test_a_time_limit_is_kept(tmp_path):
    quick(tmp_path, "warm")
    began = time.perf_counter()
    run = quick(tmp_path, set={"train.epochs": 100_000, "train.patience": 0}, time_limit="4s")
    assert 1.5 < time.perf_counter() - began < 8  # used, and a busy machine may double it
    assert 10 < yaml.safe_load((run.path / "config.yaml").read_text())["train"]["steps"] < 1_000_000


def test_early_stopping_keeps_the_best(tmp_path):
    run = quick(tmp_path, set={"train.epochs": 200, "train.patience": 3, "train.lr": 0.01})
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    best = max(line["accuracy"] for line in lines)
    assert 4 <= len(lines) < 200 and lines[-4]["accuracy"] == best  # the best, then three that are no better
    assert run.report["valid"]["accuracy"] == pytest.approx(best)


def test_auto_keeps_the_best_on_validation_and_shows_the_others(tmp_path):
    run = luban.train("iris", target="species", out=tmp_path / "run", time_limit="60s")
    tried = {name: facts["valid"] for name, facts in run.report["tried"].items()}
    assert {"tabm", "trees", "linear", "constant"} <= set(tried)
    assert tried[run.report["model"]] == max(tried.values())
    assert run.report["model"] not in run.report["baselines"] and "constant" in run.report["baselines"]
    assert "worth it" in run.report["verdict"] or "level" in run.report["verdict"]


def test_auto_keeps_a_simple_rule_where_that_is_best(tmp_path):
    """A season too long for 400 rows of a linear map of 336 weights, and exact for the rule that repeats it."""
    season = np.random.default_rng(0).normal(size=48)
    table = {"v": np.tile(season, 12)}
    settings = {"task.season": 48, "task.look_back": 48, "task.horizon": 8, "data.shares": [0.4, 0.3, 0.3]}
    run = luban.train(table, task="forecast", out=tmp_path / "run", set=settings)
    assert run.report["model"] == "seasonal" and {"naive", "drift", "theta", "nlinear", "dlinear", "lags"} < set(run.report["tried"])
    assert "A simple rule does best here: seasonal reaches mse (z-scored) 0.0000" in run.report["verdict"]


def test_the_report_is_complete_when_report_json_is_there(tmp_path, monkeypatch):
    def fail(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr("luban.stages.train.page", fail)
    with pytest.raises(UserError, match="disk is full"):
        quick(tmp_path)
    assert not (tmp_path / "run/report.json").exists()


def test_users_own_network(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    run = quick(tmp_path, model=net, set={"train.epochs": 20, "train.lr": 0.01})
    assert run.metrics["accuracy"] > 0.85
    with pytest.raises(UserError, match="hand the same network in again"):
        run.load()
    fresh = torch.nn.Sequential(torch.nn.Linear(30, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    assert run.load(fresh).predict(TABLE).height == 569


def test_frames_of_all_kinds_give_the_same_model(tmp_path):
    table = reading.read(TABLE)
    columns = table.to_dict(as_series=False)
    frames = {"polars": table, "dict": columns, "rows": table.to_dicts(), "pandas": pytest.importorskip("pandas").DataFrame(columns)}
    made = [luban.train(data, target="diagnosis", model="linear", baselines=[], out=tmp_path / name) for name, data in frames.items()]
    for one, other in itertools.pairwise(made):
        assert weights(one) == weights(other)


def test_a_leak_is_told_before_training(tmp_path, caplog):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 500)
    table = pl.DataFrame({"x": rng.normal(size=500), "paid_back": y * 3 + 1, "y": np.where(y, "yes", "no")})
    run = luban.train(table, target="y", model="constant", baselines=[], out=tmp_path / "run")
    assert [each["column"] for each in run.report["findings"]] == ["paid_back"]
    assert "--drop 'paid_back'" in caplog.text


def test_nothing_is_left_by_a_run_that_could_not_start(tmp_path):
    wrong = {"target": "diagnosys"}, {"model": "mpl"}, {"metric": "acuracy"}, {"set": {"model.hiden": [4]}}, {"set": {"train.lr": "fast"}}
    for words in wrong:
        with pytest.raises(UserError):
            quick(tmp_path, **words)
    assert list(tmp_path.iterdir()) == []


def test_several_targets_at_once(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    table = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "price": x @ [1, 2, 0], "kind": np.where(x[:, 2] > 0, "up", "down")})
    words = {"target": ["price", "kind"], "model": "mlp", "baselines": ["constant", "linear"], "set": {"train.epochs": 20}}
    run = luban.train(table, out=tmp_path / "run", **words)
    assert run.metrics["kind.accuracy"] > 0.9 and run.metrics["price.r2"] > 0.9
    assert {"prediction_price", "prediction_kind", "p_kind_up"} <= set(run.predict(table).columns)


def test_one_row_left_over_goes_with_the_batch_before(tmp_path):
    """129 rows of training in batches of 16: batch norm cannot take a batch of one row."""
    table = reading.read(TABLE).head(129 + 40).with_columns(split=pl.Series(["train"] * 129 + ["valid"] * 20 + ["test"] * 20))
    settings = {"model.norm": "batch", "train.batch_size": 16, "train.epochs": 2}
    run = luban.train(table, target="diagnosis", model="mlp", baselines=[], out=tmp_path / "run", set=settings)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 16


@pytest.mark.parametrize("setting", ["train.epochs=0", "train.batch_size=0", "train.lr=-1", "train.eval_every=-3", "train.warmup=2"])
def test_settings_out_of_bounds_are_refused(tmp_path, setting):
    with pytest.raises(UserError, match=setting.partition("=")[0].replace(".", r"\.")):
        quick(tmp_path, set=[setting])
    assert list(tmp_path.iterdir()) == []


def test_two_members_of_one_model_are_trained_apart(tmp_path):
    members = [{"name": "mlp", "hidden": [8]}, {"name": "mlp", "hidden": [16], "activation": "tanh"}]
    run = quick(tmp_path, model="ensemble", set={"model.members": members, "train.epochs": 10})
    assert {path.name for path in (run.path / "checkpoints").iterdir()} == {"0.mlp", "1.mlp"}
    assert run.metrics["roc_auc"] > 0.9 and run.predict(TABLE).height == 569


def test_a_class_that_the_test_part_lacks_is_left_out_of_the_metrics(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.permutation(["a"] * 150 + ["b"] * 47 + ["rare"] * 3)
    table = pl.DataFrame({"x": rng.normal(size=200) + (y == "b"), "y": y, "split": ["train"] * 150 + ["valid"] * 20 + ["test"] * 30})
    table = table.with_columns(split=pl.when(pl.col("y") == "rare").then(pl.lit("train")).otherwise("split"))
    run = luban.train(table, target="y", out=tmp_path / "run", model="linear")
    assert "accuracy" in run.metrics and "f1_rare" not in run.metrics
