"""How sure a figure is, and where a model fails: against what is known of means, of pairs, of neighbours, and of many looks."""

import time

import numpy as np
import polars as pl
import pytest

import luban
from luban.metrics import family, resampled
from luban.stages import assess, draws
from luban.stages.draws import MOST, draw
from luban.stages.slices import holm


def width(drawn_by, right):
    y = np.zeros(len(right), int)
    p = np.stack([right, 1 - right], 1)[drawn_by.numbers]
    drawn = resampled("classification", ["accuracy"], y[drawn_by.numbers], p, drawn_by.counts)["accuracy"]
    low, high = drawn_by.interval(drawn, float(p.argmin(1).mean()), float(right.mean()))
    return high - low


@pytest.mark.parametrize("n", [200, 5_000, 4 * MOST])
def test_an_interval_is_as_wide_as_the_theory_has_it(n):
    right = (np.random.default_rng(0).random(n) < 0.8).astype(float)
    assert width(draw(n), right) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / n), rel=0.2)


def test_each_draw_draws_as_many_and_the_same_each_time():
    draws = draw(300)
    assert (draws.counts.sum(0) == 300).all() and (draws.counts == draw(300).counts).all()
    assert draws.counts.std() == pytest.approx(1, rel=0.05)  # nearly Poisson
    assert draw(9) is None


def test_neighbours_that_say_the_same_are_drawn_together():
    """Fifty examples a hundred times each: an interval by single examples is ten times too narrow."""
    right = np.repeat((np.random.default_rng(0).random(50) < 0.5).astype(float), 100)
    assert width(draw(5_000, block=100), right) > 6 * width(draw(5_000), right)
    assert draw(5_000, block=100).counts.sum(0) == pytest.approx(5_000)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(50), 100))
    right = (rng.random(50) < 0.5).astype(float)[group]
    assert width(draw(5_000, groups=group), right) == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 50), rel=0.3)
    assert draw(5_000, groups=group % 9) is None


def test_neighbours_beyond_the_sample_draw_in_by_less():
    """Pairs that say the same: half as many as there are examples, of which a quarter is drawn from."""
    right = np.repeat((np.random.default_rng(0).random(2 * MOST) < 0.8).astype(float), 2)
    assert width(draw(4 * MOST, block=2), right) == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / (2 * MOST)), rel=0.2)


def test_too_few_runs_of_neighbours_have_no_interval():
    assert draw(199, block=20) is None and draw(200, block=20).block == 20


def test_draws_that_are_all_alike_are_no_certainty():
    assert draw(18).interval(np.ones(200), 1.0, 1.0) is None
    assert draw(18).interval(np.zeros(200), 0.0, 0.0, flat=True) == (0, 0)


def test_intervals_of_all_metrics_are_cheap():
    """6,500 rows, 15 metrics, 200 draws: .09 s; scikit-learn, draw by draw, takes 6.8."""
    rng = np.random.default_rng(0)
    p = rng.random(6_500)
    y, p = (rng.random(6_500) < p).astype(int), np.stack([1 - p, p], 1)
    began = time.perf_counter()
    drawn = resampled("classification", tuple(family("classification")), y, p, draw(6_500).counts)
    assert time.perf_counter() - began < 1.5 and all(np.isfinite(values).all() for values in drawn.values())


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.5])).max() == 1


# ---------------------------------------------------------------- slices


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A table on which nothing can be known of one town, and 30 columns that have nothing to do with it."""
    rng = np.random.default_rng(0)
    n = 6_000
    x, town = rng.normal(size=n), rng.choice(["北京", "上海", "广州", "深圳"], n)
    y = np.where(town == "深圳", rng.random(n) < 0.5, x > 0)
    noise = {f"n{i}": rng.normal(size=n) if i % 2 else rng.choice(list("abc"), n) for i in range(30)}
    table = pl.DataFrame({"x": x, "城市": town, **noise, "y": np.where(y, "是", "否")})
    words = {"model": "trees", "baselines": [], "set": {"data.shares": [0.4, 0.1, 0.5]}}
    return luban.train(table, target="y", out=tmp_path_factory.mktemp("slices") / "run", **words)


def test_the_town_of_which_nothing_is_known_is_found_and_nothing_else(failing):
    found = failing.report["slices"]
    worse = [(column["column"], each["value"]) for column in found["columns"] for each in column["levels"] if each["worse"]]
    assert ("城市", "深圳") in worse and {column for column, _ in worse} <= {"城市", "x"}  # of x the middle may be hard, too
    town = next(column for column in found["columns"] if column["column"] == "城市")
    levels = {each["value"]: each for each in town["levels"]}
    assert levels["深圳"]["metric"] < 0.65 < 0.9 < levels["北京"]["metric"]
    assert sum(each["rows"] for each in levels.values()) == failing.report["resampling"]["examples"]
    for each in levels.values():
        low, high = each["interval"]
        assert low <= each["metric"] <= high and each["loss"] == pytest.approx(1 - each["metric"])


def test_what_is_worse_is_told_on_the_page_and_on_the_card(failing):
    page = (failing.path / "report.html").read_text(encoding="utf-8")
    assert "worse beyond chance" in page and "None is truly worse" not in page and "<td>深圳</td>" in page
    assert "| 城市 | 深圳 |" in (failing.path / "model" / "README.md").read_text(encoding="utf-8")


def test_slices_of_a_sample_are_as_sure_as_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "MOST", 500)
    rng = np.random.default_rng(0)
    town, y = rng.choice(["北京", "上海"], 6_000), rng.random(6_000) < 0.5
    run = luban.train({"城市": town, "x": rng.normal(size=6_000), "y": np.where(y, "是", "否")}, target="y", out=tmp_path / "run",
                      model="linear", baselines=[], metric="accuracy", set={"data.shares": [0.4, 0.1, 0.5]})  # fmt: skip
    found = run.report["slices"]
    (levels,) = (each["levels"] for each in found["columns"] if each["column"] == "城市")
    for each in levels:
        low, high = each["interval"]
        assert high - low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(each["rows"]), rel=0.25)
    assert found["sample"] == 500 and "Of a sample of 500 rows." in (run.path / "report.html").read_text(encoding="utf-8")


def test_beside_a_baseline_on_a_sample_the_model_is_judged_on_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "MOST", 500)
    monkeypatch.setattr(assess, "BESIDE", 600)
    x = np.random.default_rng(0).normal(size=(6_000, 2))
    words = {"model": "linear", "baselines": ["constant"], "set": {"data.shares": [0.4, 0.1, 0.5]}}
    run = luban.train({"a": x[:, 0], "y": np.where(x.sum(1) > 0, "是", "否")}, target="y", out=tmp_path / "run", **words)
    facts = run.report["judgement"]
    assert (facts["examples"], facts["of"]) == (500, 3_000) and "on 500 of the 3,000 test rows" in run.report["verdict"]
    low, high = facts["difference"]
    assert low <= facts["value"] - facts["theirs"] <= high and facts["value"] != run.metrics["accuracy"]
    assert "The others were judged on 500 of them." in (run.path / "report.html").read_text(encoding="utf-8")


def test_rows_of_one_group_make_an_interval_wider(tmp_path):
    """Sixty patients of twenty rows, who differ in nothing but what cannot be known of them."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 20)
    table = {"p": patient.astype(str), "x": rng.normal(size=1_200), "y": (rng.random(60) < 0.5)[patient].astype(int)}
    words = {"target": "y", "model": "constant", "baselines": [], "metric": "accuracy", "set": {"data.shares": [0.4, 0.1, 0.5]}}
    run = luban.train(table, group="p", out=tmp_path / "run", **words)
    low, high = run.report["intervals"]["accuracy"]
    assert high - low > 3 * 2 * 1.96 * 0.5 / np.sqrt(600)
    assert run.report["resampling"]["grouped"] and "Rows of one group" in (run.path / "report.html").read_text(encoding="utf-8")
    again = luban.evaluate(run.path, table)
    assert again.intervals["accuracy"] == pytest.approx((low, high))


def test_a_pair_is_compared_more_closely_than_two_apart(tmp_path):
    run = luban.train("breast-cancer", target="diagnosis", model="trees", baselines=["linear"], out=tmp_path / "run",
                      set={"data.shares": [0.5, 0.1, 0.4]})  # fmt: skip
    facts, (low, high) = run.report["judgement"], run.report["intervals"]["accuracy"]
    other = run.report["baseline_intervals"]["linear"]["accuracy"]
    apart = np.hypot(high - low, other[1] - other[0])
    assert facts["best"] == "linear" and facts["difference"][1] - facts["difference"][0] < apart
    assert facts["difference"][0] <= run.metrics["accuracy"] - run.report["baselines"]["linear"]["accuracy"] <= facts["difference"][1]
