"""What folds promise: each row judged once, by a model that saw neither it nor its like; a stop and a resume change nothing."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban import reading
from luban.core.errors import UserError
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages import folds
from luban.stages.prepare import prepare

LINEAR = {"model": "linear", "baselines": []}


def divided(data, k=5, **words):
    """(what was prepared, the part of each row in each fold)"""
    ready = prepare(data, from_words({"folds": k, **words}))
    return ready, np.array(folds.parts(ready))


def test_every_row_is_judged_once_and_classes_are_spread_evenly():
    ready, part = divided(reading.read("iris"), target=["species"])
    assert ((part == TEST).sum(0) == 1).all() and set(np.unique(part)) == {TRAIN, VALID, TEST}
    species = ready.rows.table["species"].to_numpy()
    counts = [np.unique(species[each == TEST], return_counts=True)[1].tolist() for each in part]
    assert counts == [[10, 10, 10]] * 5


def test_groups_and_equal_rows_stay_in_one_part():
    table = reading.read("iris")
    patients = pl.Series("病人", [f"p{i % 13}" for i in range(len(table))])
    ready, part = divided(table.with_columns(patients), target=["species"], group="病人")
    names = ready.rows.table["病人"].to_numpy()
    assert all(len(np.unique(each[names == name])) == 1 for each in part for name in np.unique(names))
    _, part = divided(pl.concat([table, table[:40]]), target=["species"])
    assert (part[:, :40] == part[:, 150:]).all()


def test_folds_of_time_follow_each_other():
    table = reading.read("diabetes")
    days = np.random.default_rng(0).permutation(len(table))
    ready, part = divided(table.with_columns(pl.Series("day", days)), 4, target=["progression"], time="day")
    day = ready.rows.table["day"].to_numpy()
    for each in part:
        assert day[each == TRAIN].max() < day[each == VALID].min() and day[each == VALID].max() < day[each == TEST].min()
    newest = [day[each == TEST].max() for each in part]
    assert newest == sorted(newest) and newest[-1] == len(table) - 1


def test_test_rows_that_were_set_aside_stay_aside():
    _, part = divided(reading.read("iris"), 3, target=["species"], set=["data.test_rows=[60,90]"])
    assert (part[:, 60:90] > TEST).all() and ((part == TEST).sum(0) == 1).sum() == 120


def test_fields_are_fitted_on_the_training_rows_of_the_fold_alone(tmp_path):
    ready, part = divided(reading.read("iris"), target=["species"])
    fold = folds._prepared(ready, part[2], tmp_path)
    column = fold.schema.inputs["c0"]
    values = ready.rows.table[column.columns[0]].cast(pl.Float64).to_numpy()[part[2] == TRAIN]
    assert column.mean == pytest.approx(values.mean()) and len(fold.examples[TEST]) == (part[2] == TEST).sum()


@pytest.mark.parametrize(("data", "target", "metric"), [("wine", "cultivar", "accuracy"), ("diabetes", "progression", "rmse")])
def test_the_report_has_every_fold_and_the_model_is_that_of_the_run(tmp_path, data, target, metric):
    with_folds = luban.train(data, target=target, folds=4, out=tmp_path / "a", **LINEAR)
    without = luban.train(data, target=target, out=tmp_path / "b", **LINEAR)
    found = json.loads((with_folds.path / "report.json").read_text())["folds"]
    assert found["k"] == 4 and all(len(values) == 4 for values in found["metrics"].values())
    assert len(set(found["metrics"][metric])) > 1 and "folds" not in without.report
    assert (with_folds.path / "model/model.safetensors").read_bytes() == (without.path / "model/model.safetensors").read_bytes()


def test_the_figures_are_those_of_scikit_learn_on_the_same_folds(tmp_path):
    """As an independent judge: plain least squares on the same training rows, RMSE on the same test rows."""
    from sklearn.linear_model import LinearRegression

    run = luban.train("diabetes", target="progression", folds=3, out=tmp_path / "a", set={"model.strength": 1e6}, **LINEAR)
    ready, part = divided(reading.read("diabetes"), 3, target=["progression"])
    X = ready.rows.table.drop("progression").cast(pl.Float64).to_numpy()
    y = ready.rows.table["progression"].cast(pl.Float64).to_numpy()
    errors = []
    for each in part:
        seen, judged = each == TRAIN, each == TEST
        errors.append(np.sqrt(np.mean((LinearRegression().fit(X[seen], y[seen]).predict(X[judged]) - y[judged]) ** 2)))
    assert run.report["folds"]["metrics"]["rmse"] == pytest.approx(errors, rel=0.01)


def test_a_joined_model_and_a_network_of_ones_own(tmp_path):
    members = [{"name": "linear"}, {"name": "trees"}]
    run = luban.train("iris", target="species", model="ensemble", baselines=[], folds=2, out=tmp_path / "a", set={"model.members": members})
    assert min(run.report["folds"]["metrics"]["accuracy"]) > 0.8

    class Net(torch.nn.Module):
        begun = 0

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)
            self.register_buffer("steps", torch.zeros(()))

        def forward(self, x):
            if self.training:
                Net.begun += int(self.steps) == 0
                self.steps += 1
            return self.layer(x)

    counts = []
    for k in (None, 3):
        Net.begun = 0
        luban.train("iris", target="species", model=Net(), baselines=[], folds=k, out=tmp_path / f"{k}", set={"train.epochs": 2})
        counts.append(Net.begun)
    assert counts[1] == 4 * counts[0] > 0  # each fold begins with the network as it was handed over, untrained


def test_a_row_that_only_a_fold_cannot_read_is_left_out_of_it(tmp_path):
    table = reading.read("iris").with_columns(pl.col("petal length (cm)").cast(pl.String))
    bad = table.with_columns(
        pl.when(pl.int_range(pl.len()) == 60).then(pl.lit("坏")).otherwise("petal length (cm)").alias("petal length (cm)")
    )
    run = luban.train(bad, target="species", folds=4, out=tmp_path / "a", **LINEAR)
    assert run.report["folds"]["k"] == 4


def rare(rows):
    """A class of five rows that are copies: they all go into one fold, whose model then knows one class only."""
    x = np.r_[np.random.default_rng(0).normal(size=rows - 5), np.full(5, 9.0)]
    return pl.DataFrame({"x": x, "y": ["often"] * (rows - 5) + ["rare"] * 5, "day": range(rows)})


def test_a_fold_that_cannot_be_trained_does_not_lose_the_run(tmp_path, caplog, luban_in):
    table = rare(60)
    rows = {"out": tmp_path / "a", "set": {"data.test_rows": [0, 20], "data.shares": [0.5, 0.3, 0.2]}, "metric": "log_loss"}
    run = luban.train(table, target="y", folds=2, **rows, **LINEAR)
    found = run.report["folds"]
    assert "is left out: " in caplog.text and len(found["done"]) < 2 and found["model"] == "linear" and run.metrics
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "folds" in page.partition("<h2>")[0]


def test_the_figures_of_folds_are_told_without_words_and_as_json(tmp_path, luban_in):
    asked = ("train", "iris", "-t", "species", "-m", "linear", "--baselines", "none", "--folds", "3", "-q")
    told = luban_in(tmp_path, *asked).stdout.splitlines()[-2]
    assert told.startswith("accuracy_of_folds ") and "3 folds of linear: accuracy 0." in told
    answer = json.loads(luban_in(tmp_path, *asked, "--json").stdout)
    assert answer["folds"]["model"] == "linear" and len(answer["folds"]["metrics"]["accuracy"]) == 3


WRITTEN = pl.DataFrame({"line": [str(each) for each in luban.folders.__doc__.split("\n")] * 20})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"folds": 1}, "2 or more, not 1"),
        ({"folds": 200}, "too few different rows for 200 folds"),
        ({"folds": 5, "data": WRITTEN, "target": None, "task": "generate"}, "rule of its own"),
    ],
)
def test_folds_that_cannot_be_are_refused_before_time_is_spent(tmp_path, words, message):
    options = {"data": "iris", "target": "species", **words}
    with pytest.raises(UserError, match=message):
        luban.train(options.pop("data"), out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_within_a_fold_goes_on_there(tmp_path):
    def train(name, hooks=None, resume=False):
        return luban.train("iris", target="species", model="mlp", baselines=[], folds=3, set={"train.epochs": 10},
                           out=tmp_path / name, hooks=hooks, resume=resume)  # fmt: skip

    class Killer:
        def on_step(self, name, step, total):
            if name.startswith("fold 2") and step == total // 2:
                raise KeyboardInterrupt

        def on_eval(self, line): ...
        def on_end(self, name): ...

    with pytest.raises(KeyboardInterrupt):
        train("stopped", Killer())
    assert not (tmp_path / "stopped/report.json").exists() and (tmp_path / "stopped/checkpoints/fold-1/report.json").exists()
    assert train("stopped", resume=True).report["folds"] == train("whole").report["folds"]
