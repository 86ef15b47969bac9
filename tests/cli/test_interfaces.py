"""What scripts rely on: where results go, how a run and its parts are named, what a prediction file holds, what each command says."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import yaml

import luban
from luban.cli import main

QUICK = ("--model", "linear", "--baselines", "none")


def table():
    """400 visits of 20 people: y follows x, z is x in another unit, `when` counts days of 2024 and `part` says train, valid or test."""
    rng = np.random.default_rng(0)
    x, day = rng.random(400), rng.permutation(400) // 2
    return pl.DataFrame(
        {
            "x": x.round(4),
            "b": rng.choice(["u", "v", "w"], 400),
            "who": [f"p{i}" for i in rng.integers(0, 20, 400)],
            "when": [f"{1 + d // 28}/{1 + d % 28}/2024" for d in day],
            "day": day,
            "y": np.where(x + 0.2 * rng.random(400) > 0.6, "yes", "no"),
            "z": (3 * x + rng.random(400)).round(4),
            "part": rng.choice(["train", "Training", "validation", "test"], 400),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, luban_in):
    """d.csv and run/, made of it; nothing is changed in here after."""
    folder = tmp_path_factory.mktemp("interfaces")
    table().drop("z", "part").write_csv(folder / "d.csv")
    done = luban_in(folder, "train", "d.csv", "-t", "y", *QUICK, "--out", "run")
    assert done.stdout.splitlines()[-1] == str(folder / "run")
    return folder


@pytest.fixture
def train(tmp_path, luban_in):
    """train("-t", "y", ...) on the table, written as d.csv -> its report."""
    table().write_csv(tmp_path / "d.csv")

    def call(*words, data="d.csv", code=0):
        done = luban_in(tmp_path, "train", *([data] if data else []), *words, *QUICK, "--json", code=code)
        run = json.loads(done.stdout)["run"]
        return json.loads(luban_in(tmp_path, "runs", "show", run, "--json").stdout) | {"run": run, "said": done.stderr}

    return call


def figures(done):
    """The metrics of an evaluation's or a training's plain output."""
    return {name: float(value) for name, value, *_ in (line.split() for line in done.stdout.splitlines()[:-1])}


def parts(report):
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", report["split"])]


# ---------------------------------------------------------------- where things go


def test_json_is_one_line_and_all_else_goes_to_stderr(luban_cli, luban_in, tmp_path):
    done = luban_cli("train", "iris", "--target", "species", *QUICK, "--json")
    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    run = tmp_path / "runs" / "iris-linear"
    assert answer == {"run": str(run), "metrics": json.loads((run / "report.json").read_text())["metrics"]}
    assert "split by" in done.stderr and "solving linear" in done.stderr
    luban_in(tmp_path, "data", "get", "iris", "-o", "iris.csv")
    piped = luban_cli("predict", "last", "-", stdin=(tmp_path / "iris.csv").read_text())  # a real pipe
    assert piped.stdout == luban_in(tmp_path, "predict", "last", "iris.csv").stdout and piped.stdout.count("\n") == 151
    assert piped.stderr == ""


def test_quiet_is_quiet(luban_cli, tmp_path):
    done = luban_cli("train", "iris", "--target", "species", "--model", "mlp", "--baselines", "none", "--set", "train.epochs=2", "--quiet")
    assert done.stderr == "" and done.stdout.splitlines()[-1] == str(tmp_path / "runs" / "iris-mlp")
    assert figures(done).keys() == json.loads((tmp_path / "runs/iris-mlp/report.json").read_text())["metrics"].keys()


def test_the_default_name_gets_a_suffix_and_runs_are_listed_compared_removed(tmp_path, luban_in):
    table().drop("z", "part").write_csv(tmp_path / "d.csv")
    made = [luban_in(tmp_path, "train", "d.csv", "-t", "y", *QUICK, "--seed", seed).stdout.splitlines()[-1] for seed in (1, 2)]
    assert made == [str(tmp_path / "runs" / name) for name in ("d-linear", "d-linear-2")]
    listed = luban_in(tmp_path, "runs").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["d-linear", "d-linear-2"] and "accuracy" in listed[0]
    shown = luban_in(tmp_path, "runs", "show", "d-linear").stdout
    assert "train 320, valid 40, test 40" in shown and shown.splitlines()[-1] == made[0]
    assert re.search(r"seed +1 +2", luban_in(tmp_path, "compare", "d-linear", "last").stdout)
    luban_in(tmp_path, "runs", "rm", "d-linear", "--yes")
    assert not (tmp_path / "runs" / "d-linear").exists() and (tmp_path / "runs" / "d-linear-2").exists()


# ---------------------------------------------------------------- a run, by any name


def test_names_of_a_run(folder, tmp_path, luban_in):
    expected = luban_in(folder, "predict", "run", "d.csv").stdout
    shutil.copytree(folder / "run", tmp_path / "runs" / "mine")
    shutil.copytree(folder / "run" / "model", tmp_path / "elsewhere" / "copy")
    shutil.copy(folder / "d.csv", tmp_path)
    for name in ("runs/mine", "mine", "runs/mine/model", "last", "elsewhere/copy", tmp_path / "elsewhere" / "copy"):
        assert luban_in(tmp_path, "predict", name, "d.csv").stdout == expected, name
    answer = json.loads(luban_in(tmp_path, "evaluate", "elsewhere/copy", "d.csv", "--json").stdout)
    assert answer["run"] == str(tmp_path / "elsewhere" / "copy")


# ---------------------------------------------------------------- evaluate


def test_evaluate_scores_the_test_part_of_the_training_file_and_all_of_others(folder, tmp_path, luban_in):
    report = json.loads((folder / "run" / "report.json").read_text())
    again = luban_in(folder, "evaluate", "run", "d.csv")
    assert figures(again) == pytest.approx(report["metrics"], rel=1e-5) and again.stdout.splitlines()[-1] == str(folder / "run")
    assert json.loads(luban_in(folder, "evaluate", "run", "d.csv", "--split", "valid", "--json").stdout)["metrics"] == report["valid"]
    assert "scoring 320 rows" in luban_in(folder, "evaluate", "run", "d.csv", "--split", "train").stderr
    shutil.copy(folder / "d.csv", tmp_path / "new.csv")
    assert "scoring 40 rows" in luban_in(folder, "evaluate", "run", tmp_path / "new.csv").stderr  # known under any name
    (tmp_path / "new.csv").write_text("".join((folder / "d.csv").read_text().splitlines(keepends=True)[:301]))
    assert "scoring 300 rows" in luban_in(folder, "evaluate", "run", tmp_path / "new.csv").stderr
    assert luban.evaluate(folder / "run", folder / "d.csv").metrics == report["metrics"]
    assert luban.evaluate(folder / "run", table()).metrics.keys() == report["metrics"].keys()


@pytest.mark.parametrize("words", [{}, {"train": "0", "Training": "0", "validation": "1", "test": "2"}], ids=["words", "numbers"])
def test_a_split_column_is_honoured_by_train_and_evaluate(tmp_path, train, luban_in, words):
    visits = table().drop("part").with_columns(split=table()["part"].replace(words))
    visits.write_csv(tmp_path / "d.csv")
    report = train("-t", "y", "--drop", "z")
    counts = dict(table()["part"].value_counts().iter_rows())
    assert parts(report) == [counts["train"] + counts["Training"], counts["validation"], counts["test"]]
    assert "by the column 'split'" in report["said"] and {"column": "split", "field": "ignored"}.items() <= report["columns"][-1].items()
    visits.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "other.csv")
    for name in ("d.csv", "other.csv"):
        assert figures(luban_in(tmp_path, "evaluate", "last", name)) == pytest.approx(report["metrics"], rel=1e-5)
    assert f"scoring {counts['validation']} rows" in luban_in(tmp_path, "evaluate", "last", "other.csv", "--split", "valid").stderr


# ---------------------------------------------------------------- predict


def test_prediction_files_keep_the_order_and_carry_probabilities(folder, tmp_path, luban_in):
    rows = table().drop("y", "z", "part")
    rows.write_csv(tmp_path / "new.csv")
    rows.write_ndjson(tmp_path / "new.jsonl")
    rows.write_parquet(tmp_path / "new.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        done = luban_in(tmp_path, "predict", folder / "run", f"new.{suffix}", "-o", f"out.{suffix}")
        assert done.stdout == f"{tmp_path / f'out.{suffix}'}\n" and "400 predictions" in done.stderr
    made = pl.read_csv(tmp_path / "out.csv")
    assert made.columns == ["prediction", "confidence", "p_no", "p_yes"] and made.height == 400
    assert np.allclose(made["p_no"] + made["p_yes"], 1, atol=1e-5)
    assert (made["confidence"] == made.select(pl.max_horizontal("p_no", "p_yes")).to_series()).all()
    assert ((made["prediction"] == "yes") == (made["p_yes"] > 0.5)).all()
    for other in (pl.read_ndjson(tmp_path / "out.jsonl"), pl.read_parquet(tmp_path / "out.parquet")):
        assert other["prediction"].equals(made["prediction"]) and np.allclose(other["p_yes"], made["p_yes"], atol=1e-6)
    order = np.random.default_rng(1).permutation(400)
    rows[order].write_csv(tmp_path / "mixed.csv")
    mixed = pl.read_csv(luban_in(tmp_path, "predict", folder / "run", "mixed.csv").stdout.encode())
    assert mixed["prediction"].equals(made["prediction"][order]) and np.allclose(mixed["p_yes"], made["p_yes"].to_numpy()[order], atol=1e-6)
    assert luban.predict(folder / "run", rows)["prediction"].equals(made["prediction"])


def test_a_stream_is_answered_as_the_file(folder, tmp_path, luban_in, monkeypatch):
    monkeypatch.setattr("luban.stages.predict._ROWS", 70)  # several chunks
    rows = table().drop("y", "z", "part")
    expected = luban_in(folder, "predict", "run", "d.csv").stdout
    for stdin in (rows.write_csv().encode(), rows.write_ndjson().encode()):
        assert luban_in(folder, "predict", "run", "-", stdin=stdin).stdout == expected


# ---------------------------------------------------------------- train's words


def test_baselines_stand_beside_and_none_leaves_them_out(folder, tmp_path, luban_in):
    assert json.loads((folder / "run" / "report.json").read_text())["baselines"] == {}
    luban_in(folder, "train", "d.csv", "-t", "y", "--model", "linear", "--baselines", "constant", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["baselines"].keys() == {"constant"}


def test_groups_stay_together(tmp_path, train, luban_in):
    report = train("-t", "y", "--group", "who")
    sizes = table()["who"].value_counts()["count"].to_list()
    assert parts(report)[2] in {a + b for i, a in enumerate(sizes) for b in sizes[i + 1 :]}  # two of the twenty people
    assert json.loads(luban_in(tmp_path, "evaluate", "last", "d.csv", "--json").stdout)["metrics"] == report["metrics"]


def test_large_groups_are_not_cut(train):
    """Three groups of over a hundred rows: most rows are copies of others as far as the group goes, and yet none may be split."""
    report = train("-t", "y", "--group", "b", "--set", "data.shares=[0.4,0.3,0.3]")
    assert sorted(parts(report)) == sorted(table()["b"].value_counts()["count"])


@pytest.mark.parametrize("column", ["day", "when"])
def test_time_trains_on_the_oldest_and_tests_on_the_newest(train, column):
    """As text, day 99 comes after 100 and 10/1/2024 before 2/1/2024. Two rows share each moment."""
    report = train("-t", "y", "--time", column)
    assert parts(report) == [320, 40, 40] and f"by time ({column})" in report["said"]
    newest = table().filter(pl.col("day") >= 180)
    assert sum(report["details"]["by_class"][word]["support"] for word in ("yes", "no")) == 40
    assert report["details"]["by_class"]["yes"]["support"] == (newest["y"] == "yes").sum()


def test_a_test_file_is_only_tested_on(tmp_path, train, luban_in):
    table().head(300).write_csv(tmp_path / "a.csv")
    table().tail(100).write_csv(tmp_path / "t.csv")
    report = train("-t", "y", "--test", "t.csv", data="a.csv")
    assert parts(report)[2] == 100 and sum(parts(report)) == 400
    for name in ("a.csv", "t.csv"):
        assert json.loads(luban_in(tmp_path, "evaluate", "last", name, "--json").stdout)["metrics"] == report["metrics"]


def test_metric_drop_and_seed(tmp_path, train):
    report = train("-t", "y", "--metric", "log_loss", "--drop", "z", "--drop", "who")
    assert report["metric"] == "log_loss"
    assert {each["column"] for each in report["columns"] if each["field"] == "ignored"} == {"z", "who"}
    assert yaml.safe_load(((tmp_path / "runs" / "d-linear") / "config.yaml").read_text())["data"]["drop"] == ["z", "who"]


def test_seeds(folder, tmp_path, luban_in):
    words = ("train", folder / "d.csv", "-t", "y", "--model", "mlp", "--baselines", "none", "--set", "train.epochs=1")
    made = {name: luban_in(tmp_path, *words, "--seed", seed, "--out", name) for name, seed in (("a", 1), ("b", 1), ("c", 2))}
    weights = {name: (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in made}
    assert weights["a"] == weights["b"] != weights["c"]


def test_several_targets_and_labels(tmp_path, train, luban_in):
    report = train("-t", "y", "-t", "z")
    assert {"mean_skill", "y.accuracy", "z.rmse"} <= report["metrics"].keys() and report["task"] == "several"
    head = luban_in(tmp_path, "predict", "last", "d.csv").stdout.splitlines()[0]
    assert head == "prediction_y,confidence_y,p_y_no,p_y_yes,prediction_z"
    labels = table().select("x", "b", high=(pl.col("x") > 0.5).cast(int), low=(pl.col("x") < 0.3).cast(int))
    labels.write_csv(tmp_path / "labels.csv")
    report = train("-t", "high", "-t", "low", data="labels.csv")
    assert report["task"] == "multilabel" and report["metrics"]["f1_micro"] > 0.8
    made = pl.read_csv(luban_in(tmp_path, "predict", "last", "labels.csv").stdout.encode())
    assert made.columns == ["prediction", "p_high", "p_low"] and set(made["prediction"].unique()) == {"high", "low", ""}


def test_init_then_train_then_plan(tmp_path, train, luban_in):
    assert luban_in(tmp_path, "init", "d.csv", "--target", "y").stdout == f"{tmp_path / 'luban.yaml'}\n"
    drafted = yaml.safe_load((tmp_path / "luban.yaml").read_text())
    assert drafted["data"] == {"path": "d.csv", "target": ["y"]} and drafted["fields"]["when"] == "date"
    assert train(data="luban.yaml")["metrics"]["accuracy"] > 0.8
    report = json.loads(luban_in(tmp_path, "runs", "show", "last", "--json").stdout)
    assert json.loads(luban_in(tmp_path, "evaluate", "last", "d.csv", "--json").stdout)["metrics"] == report["metrics"]
    before = sorted(tmp_path.rglob("*"))
    plan = luban_in(tmp_path, "plan", "d.csv", "-t", "y", "--model", "mlp").stdout
    for words in ("train 320, valid 40, test 40", "model mlp", "parameters", "FLOPs", "kB", "steps of", "train.lr", "when", "date"):
        assert words in plan
    assert sorted(tmp_path.rglob("*")) == before


def test_a_recipe_that_misses_exits_with_1_and_says_so(tmp_path, luban_in, train):
    text = "data: {path: d.csv, target: y}\nmodel: constant\nbaselines: none\nmust: {accuracy: FIGURE, acuracy: 0.1}\n"
    (tmp_path / "r.yaml").write_text(text.replace("FIGURE", "0.99"))
    missed = luban_in(tmp_path, "train", "r.yaml", "--json", code=1)
    assert "missed: accuracy" in missed.stderr and "Did you mean 'accuracy'?" in missed.stderr
    (tmp_path / "r.yaml").write_text(text.replace("FIGURE, acuracy: 0.1", "0.3"))
    assert "reached: accuracy" in luban_in(tmp_path, "train", "r.yaml", "--json").stderr


# ---------------------------------------------------------------- the rest of the words


def test_lists_env_and_data(tmp_path, luban_in):
    def says(*words):
        return luban_in(tmp_path, *words).stdout

    assert {"linear", "mlp", "tabm", "trees", "constant"} <= {line.split()[0] for line in says("list", "models").splitlines()}
    assert "classify" in says("list", "tasks") and "category" in says("list", "fields") and "parquet" in says("list", "sources")
    assert re.search(r"rmse +min", says("list", "metrics")) and "train.lr" in says("list", "settings")
    assert re.search(r"report.costs +Of a false positive", says("list", "settings")) and "report.language" in says("list", "settings")
    assert "model.hidden" in says("list", "models", "mlp") and "task.class_weights" in says("list", "tasks", "classify")
    assert {"python", "torch", "cores"} <= {line.split()[0] for line in says("env").splitlines()}
    assert "48,842 rows" in says("data", "list")
    assert says("data", "get", "iris") == f"{tmp_path / 'iris.csv'}\n" and "setosa" in says("data", "show", "iris.csv", "--rows", "2")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path, luban_in, shell):
    assert "_LUBAN_COMPLETE" in luban_in(tmp_path, "completion", shell).stdout


def test_completion_offers_models():
    env = {"_LUBAN_COMPLETE": "bash_complete", "COMP_WORDS": "luban train x.csv --model t", "COMP_CWORD": "4"}
    done = subprocess.run([sys.executable, "-m", "luban"], env={**os.environ, **env}, capture_output=True, text=True)
    assert set(done.stdout.split()) == {
        f"plain,{name}" for name in ("tabm", "tcn", "textcnn", "tfidf", "theta", "transformer", "trees", "twotower")
    }


COMMANDS = [name for name in main.luban.commands if name not in ("data", "runs")]
COMMANDS += [f"{group} {name}".strip() for group in ("data", "runs") for name in ("", *main.luban.commands[group].commands)]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example(tmp_path, luban_in, command):
    text = luban_in(tmp_path, *command.split(), "--help").stdout
    assert re.search(r"Examples?:\n +", text) and f"luban {command}" in text.partition("Example")[2]


def test_help_is_quick():
    began = time.perf_counter()
    for _ in range(3):
        done = subprocess.run([sys.executable, "-m", "luban", "--help"], capture_output=True, text=True, check=True)
    assert (time.perf_counter() - began) / 3 < 0.6  # 0.12 s on a free machine; the promise is 0.3
    assert done.stdout.index("train") < done.stdout.index("evaluate") < done.stdout.index("predict")
    assert set(main.luban.commands) == set(re.findall(r"^  ([a-z]+) ", done.stdout.partition("Commands:")[2], re.MULTILINE))


def test_what_to_do_next_can_be_pasted(tmp_path, luban_in):
    table().write_csv(tmp_path / "d.csv")
    told = luban_in(tmp_path, "train", "d.csv", "-t", "y", *QUICK, "--out", "我的 运行")
    assert "next: luban predict '我的 运行' rows.csv" in told.stderr and "luban serve '我的 运行'" in told.stderr
    assert any(line.startswith("f1 ") and line.endswith(" of 'yes'") for line in told.stdout.splitlines())
