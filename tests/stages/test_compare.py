"""What a comparison promises: the same rows, found again; differences that agree with the reports; words that follow from the interval."""

import dataclasses
import json
import shutil

import numpy as np
import polars as pl
import pytest

import luban
from luban import reading
from luban.core.errors import UserError
from luban.planning import from_words
from luban.report.compare import facts, page
from luban.splitting import TEST
from luban.stages import compare as stage
from luban.stages import draws
from luban.stages.prepare import prepare


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three runs of one table in a file, by Chinese names."""
    folder = tmp_path_factory.mktemp("runs")
    reading.read("breast-cancer").write_csv(folder / "乳腺癌.csv")
    for name, model in (("常数", "constant"), ("线性", "linear"), ("网络", "mlp")):
        luban.train(folder / "乳腺癌.csv", target="diagnosis", model=model, baselines=[], out=folder / name)
    return folder


def test_differences_are_those_of_the_reports_on_the_same_rows(runs):
    made = luban.compare(runs / "常数", runs / "线性", runs / "网络")
    assert made.rows == 57 and [each.name for each in made.runs] == ["常数", "线性", "网络"] and made.targets == ("diagnosis",)
    assert made.runs[0].differences == {}
    for run in made.runs[1:]:
        for name, d in run.differences.items():
            assert d.value == pytest.approx(run.metrics[name] - made.runs[0].metrics[name], abs=1e-9), name
            assert d.low <= d.value <= d.high
        assert run.differences["roc_auc"].sure and run.differences["log_loss"].high < 0
    assert "线性 is better than 常数" in made.verdicts[0]


def test_the_interval_is_that_of_the_right_and_wrong_answers_drawn_in_pairs(runs):
    """Accuracy is a mean over rows, so the interval follows from the rows themselves: by plain numpy, with more draws."""
    made = luban.compare(runs / "线性", runs / "网络")
    table = reading.read(runs / "乳腺癌.csv")
    rows = prepare(runs / "乳腺癌.csv", from_words({"target": ["diagnosis"]})).rows.of(TEST)
    right = [luban.predict(runs / name, table[rows])["prediction"].cast(pl.String).to_numpy() == table["diagnosis"].to_numpy()[rows]
             for name in ("线性", "网络")]  # fmt: skip
    draws = np.random.default_rng(5).integers(0, len(rows), (4000, len(rows)))
    low, high = np.quantile(right[1][draws].mean(1) - right[0][draws].mean(1), [0.025, 0.975])
    d = made.runs[1].differences["accuracy"]
    assert (d.low, d.high) == pytest.approx((low, high), abs=1.01 / len(rows))


def test_a_run_does_not_differ_from_its_double(runs, tmp_path):
    shutil.copytree(runs / "线性", tmp_path / "again")
    made = luban.compare(runs / "线性", tmp_path / "again")
    assert all((d.value, d.low, d.high) == (0, 0, 0) and not d.sure for d in made.runs[1].differences.values())
    assert made.settings == {} and "cannot be told apart" in made.verdicts[0]


def test_settings_and_curves(runs):
    made = luban.compare(runs / "线性", runs / "网络")
    assert made.settings["model.name"] == ["linear", "mlp"] and "data.path" not in made.settings
    assert len(made.runs[1].curves["mlp"]) > 5 and len(made.runs[0].curves["linear"]) == 1
    assert made.runs[1].size > 1000 and made.runs[1].parameters > 0


def test_windows_that_overlap_are_drawn_in_blocks(tmp_path, real_data):
    for name in ("naive", "seasonal"):
        luban.train("etth1", model=name, baselines=[], out=tmp_path / name)
    made = luban.compare(tmp_path / "naive", tmp_path / "seasonal")
    assert made.rows == 2785 and made.runs[1].differences["mse"].sure


# ---------------------------------------------------------------- what cannot be compared on the same rows


def test_data_that_are_gone_moved_or_changed(runs, tmp_path):
    file = tmp_path / "数据.csv"
    shutil.copy(runs / "乳腺癌.csv", file)
    made = [luban.train(file, target="diagnosis", model=model, baselines=[], out=tmp_path / model) for model in ("constant", "linear")]
    moved = file.rename(tmp_path / "别处.csv")
    alone = luban.compare(*made)
    assert alone.rows == 0 and "there is no file" in alone.verdicts[0] and alone.runs[1].metrics == made[1].metrics
    assert luban.compare(*made, data=moved).rows == 57
    reading.read(moved)[:-1].write_csv(file)
    assert "have changed since" in luban.compare(*made).verdicts[0]
    assert "not what it was trained and tested on" in luban.compare(*made, data="iris").verdicts[0]


def test_data_from_python_are_handed_in_again(tmp_path):
    table = reading.read("iris")
    made = [luban.train(table, target="species", model=model, baselines=[], out=tmp_path / model) for model in ("constant", "linear")]
    assert "came from Python" in luban.compare(*made).verdicts[0]
    assert luban.compare(*made, data=table).rows == 15


def test_other_rows_or_a_bundle_alone_leave_the_stored_figures(runs, tmp_path):
    luban.train(runs / "乳腺癌.csv", target="diagnosis", model="linear", baselines=[], out=tmp_path / "b", set={"data.split_seed": 1})
    made = luban.compare(runs / "线性", tmp_path / "b", runs / "网络")
    assert made.runs[1].differences == {} and made.runs[2].differences and "tested on other rows" in made.verdicts[0]
    shutil.copytree(runs / "网络/model", tmp_path / "copy")
    made = luban.compare(runs / "线性", tmp_path / "copy")
    assert "without its run folder" in made.verdicts[0] and made.settings == {} and made.runs[1].metrics


def test_the_same_rows_in_another_file_are_known_and_others_of_the_same_numbers_are_not(tmp_path):
    table = reading.read("breast-cancer")
    files = {"a": table, "b": table.sample(fraction=1, shuffle=True, seed=0), "c": table.with_columns(pl.col("diagnosis").reverse())}
    for name, each in files.items():
        each.write_csv(tmp_path / f"{name}.csv")
        luban.train(tmp_path / f"{name}.csv", target="diagnosis", model="linear", baselines=[], out=tmp_path / name)
    made = luban.compare(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert made.rows == 57 and made.runs[1].differences["accuracy"].value == pytest.approx(0) and not made.runs[2].differences
    made = luban.compare(tmp_path / "a", tmp_path / "b")
    assert made.runs[1].differences["accuracy"].value == pytest.approx(made.runs[1].metrics["accuracy"] - made.runs[0].metrics["accuracy"])


def test_a_table_on_disk_and_one_in_memory_are_each_read_as_they_were(runs, tmp_path):
    words = {"target": "diagnosis", "model": "constant", "baselines": []}
    file = runs / "乳腺癌.csv"
    luban.train(file, out=tmp_path / "disk", set={"data.on_disk": True}, **words)
    for pair in ((runs / "线性", tmp_path / "disk"), (tmp_path / "disk", runs / "线性")):
        assert luban.compare(*pair).rows == 57


def test_windows_of_a_sample_are_drawn_as_in_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "MOST", 300)
    monkeypatch.setattr(stage, "MOST", 300)
    wave = {"v": np.sin(np.arange(6_000) / 5) + np.random.default_rng(0).normal(size=6_000)}
    words = {"task": "forecast", "baselines": ["naive"], "set": {"task.horizon": 12, "task.look_back": 24, "task.season": 12}}
    made = [luban.train(wave, model=model, out=tmp_path / model, **words) for model in ("naive", "nlinear")]
    d = luban.compare(*made, data=wave).runs[1].differences["mse"]
    low, high = made[1].report["judgement"]["difference"]
    assert d.high - d.low == pytest.approx(high - low, rel=0.02)


def test_what_is_no_comparison_is_refused(runs, tmp_path):
    with pytest.raises(UserError, match="two runs or more"):
        luban.compare(runs / "线性")
    with pytest.raises(UserError, match="named twice"):
        luban.compare(runs / "线性", runs / "线性/model")
    with pytest.raises(UserError, match="no run"):
        luban.compare(runs / "线性", runs / "线")
    luban.train("iris", target="species", model="linear", baselines=[], out=tmp_path / "iris")
    with pytest.raises(UserError, match="different questions: classify of 'diagnosis', and classify of 'species'"):
        luban.compare(runs / "线性", tmp_path / "iris")
    shutil.copytree(runs / "线性", tmp_path / "half", ignore=shutil.ignore_patterns("model", "report*"))
    with pytest.raises(UserError, match="has not finished"):
        luban.compare(runs / "线性", tmp_path / "half")


# ---------------------------------------------------------------- what is shown


def test_the_command_prints_tables_json_and_a_page(runs, luban_in):
    done = luban_in(runs, "compare", "常数", "线性", "网络", "-o", "比较.html")
    assert "线性 is better than 常数" in done.stdout and "model.name" in done.stdout and " *" in done.stdout
    words = (runs / "比较.html").read_text(encoding="utf-8")
    assert "<svg" in words and ">网络</span>" in words and "http://www.w3.org" in words and "src=" not in words
    answer = json.loads(luban_in(runs, "compare", "常数", "线性", "--json").stdout)
    assert answer["rows"] == 57 and answer["runs"][1]["differences"]["accuracy"]["low"] > 0
    assert "ends in .html" in luban_in(runs, "compare", "常数", "线性", "-o", "x.csv", code=2).stderr
    assert luban_in(runs, "compare", "常数", code=2).stderr.count("\n") == 1


def test_the_page_is_the_same_each_time_and_escapes_what_users_wrote(runs):
    made = luban.compare(runs / "线性", runs / "网络")
    evil = dataclasses.replace(made.runs[1], name="<script>$x$")
    shown = page(dataclasses.replace(made, runs=(made.runs[0], evil), targets=("<b>",)))
    assert "<script>" not in shown and "<b>;" not in shown and page(made) == page(made)
    assert made.verdicts[0].split(":")[0] in page(made)
    chinese = page(made, "zh")
    for word in ('lang="zh"', "网络 与 线性 分不出高下", "学习曲线", "整个运行，秒", ">轮<", "不同的设置"):
        assert word in chinese, word


def test_parameters_of_what_took_no_steps_are_not_zero(runs):
    shown = facts(luban.compare(runs / "线性", runs / "网络"))
    assert shown["parameters"][0] == "-" and shown["parameters"][1] != "-" and "whole run, seconds" in shown
