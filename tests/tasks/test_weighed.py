"""How often an event came, and when: what is noted of it, that no later part is seen by it, and what models make of it."""

from __future__ import annotations

import logging
import math

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban.bundle import lines
from luban.core import config as configs
from luban.core.batch import Store
from luban.core.errors import UserError
from luban.core.registry import TASKS
from luban.data import DataConfig, assign

Recommend = TASKS["recommend"]


def events(text: str) -> pl.DataFrame:
    """ "a1 a2": user a had item 1, then 2; a third sign says how often."""
    rows = [(each[0], each[1], *map(float, each[2:])) for each in text.split()]
    return pl.DataFrame(rows, schema=["user", "item", "plays"][: len(rows[0])], orient="row")


def noted(table: pl.DataFrame, part: list[int], held: str = "", **config) -> dict[str, list]:
    """What is noted of the rows that are kept, in their order. part: that of each of these; held: rows of the table that were given so."""
    task = Recommend(configs.build(Recommend.Config, config))
    task.settle(table, (), None)
    rows = task.order(table)
    given = np.isin(np.arange(table.height), [*map(int, held)])
    return {name: each.tolist() for name, each in task.noted(table, rows, np.array(part, np.uint8), given).items()}


def about(*weights, of: int | None = None):
    """Weights divided by the mean of the first `of`, those of training; or of all."""
    return pytest.approx([each / np.mean(weights[:of]) for each in weights])


def test_repeats_count_and_without_any_nothing_is_noted(caplog):
    caplog.set_level(logging.INFO, "luban")
    log = events("a1 a2 a1 a3 a1 b3 b3")
    assert noted(log, [0] * 4) == {"weight": about(2, 1, 1, math.log2(3))}
    assert caplog.messages[-1] == "3 rows repeat an earlier user and item and are counted with it (the first: row 3)"
    assert noted(log, [0] * 4, weighed="plain") == {"weight": about(3, 1, 1, 2)}
    assert noted(log, [0] * 4, weighed="once") == {} and caplog.messages[-1].endswith("and are left out (the first: row 3)")
    assert noted(events("a1 a2 b1"), [0] * 3) == {}


def test_the_page_says_that_repeats_are_counted(tmp_path):
    log = pl.DataFrame({"user": [f"u{i % 8}" for i in range(60)], "item": [i * 5 % 23 for i in range(60)]})
    run = luban.train(pl.concat([log, log[:9]]), task="recommend", model="popular", baselines=[], out=tmp_path / "run")
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "9 rows were left out, or are counted with others." in page and "no target" not in page


def test_what_came_after_what_is_held_back_counts_for_nothing():
    """a's 1 comes again before the 3 that is tested, and after it; by drawn protocols both count, for nothing there is later."""
    log = events("a1 a2 a1 a3 a1 a3")
    assert noted(log, [0, 0, 2], weighed="plain") == {"weight": about(2, 1, 1, of=2)}
    assert noted(log, [0, 1, 2], weighed="plain") == {}
    assert noted(log, [0, 0, 2], weighed="plain", protocol="random") == {"weight": about(3, 1, 2, of=2)}


def test_what_came_again_when_others_are_tested_counts_for_nothing():
    """By the newest events a's 1 comes again when b's 2 is tested, though nothing of a is; the moment of the test counts to it."""
    log = pl.DataFrame([*zip("aaaabb", [1, 2, 1, 2, 1, 2], [0, 1, 5, 6, 2, 6], strict=True)], schema=["user", "item", "time"], orient="row")
    assert noted(log, [0, 0, 0, 2], weighed="plain", protocol="time")["weight"] == about(2, 1, 1, 1, of=3)
    assert noted(log, [0, 0, 0, 0], weighed="plain", protocol="time")["weight"] == about(2, 2, 1, 1)


def test_what_came_again_in_rows_that_were_given_for_the_test_counts_for_nothing():
    log = events("a1 a2 a1 b1 b2 a1 a3")
    for protocol in ("last", "random"):
        weight = noted(log, [0, 0, 2, 0, 0], held="56", weighed="plain", protocol=protocol)["weight"]
        assert [each / weight[1] for each in weight] == [2, 1, 1, 1, 1]
    task = Recommend(Recommend.Config(protocol="random", weighed="plain"))
    task.settle(log, (), None)
    named = log.with_columns(split=pl.Series([*["train"] * 4, "valid", *["test"] * 2]))
    for table, config in ((log, DataConfig(test_rows=(5, 7), shares=(0.5, 0.25, 0.25))), (named, DataConfig())):
        weight = assign(table, None, config, task).noted["weight"]
        assert (weight / weight[1]).tolist() == [2, 1, 1, 1, 1]


def test_a_column_says_how_often(caplog):
    caplog.set_level(logging.INFO, "luban")
    log = events("a19 a2- b13 b10 a11".replace("-", "1"))
    assert noted(log, [0] * 3, weighed="plain") == {"weight": about(10, 1, 3)}
    assert "; how often 'plays' (task.weighed=plain)" in caplog.messages[-3]
    assert "1 rows have no plays that is a number above 0 and are left out (the first: row 4)" in caplog.messages
    odd = log.with_columns(plays=pl.Series(["9", "1", "3", "inf", "1"]))
    assert noted(odd, [0] * 3, weighed="plain") == {"weight": about(10, 1, 3)}
    assert noted(log.rename({"plays": "hours"}), [0] * 3, weight="hours") == {"weight": about(*np.log2([11, 2, 4]))}
    assert noted(log.rename({"plays": "hours"}), [0] * 3, weighed="plain") == {"weight": about(2, 1, 2)}
    with pytest.raises(UserError, match="the column 'hour' is missing"):
        noted(log, [0] * 3, weight="hour")


def test_age_is_a_share_of_the_time_of_training():
    log = pl.DataFrame({"user": ["a"] * 4, "item": [1, 2, 3, 4], "time": [100, 300, 200, 900]})
    assert noted(log, [0, 0, 0, 2]) == {"age": [1, 0.5, 0, -3]}


def planted() -> pl.DataFrame:
    """Every user played the films of their circle often, and one of the other circle once."""
    rng = np.random.default_rng(0)
    rows = [(u, item, 20 if item // 6 == u % 2 else 1) for u in range(40)
            for item in [*(rng.permutation(6)[:4] + u % 2 * 6), (1 - u % 2) * 6 + rng.integers(6)]]  # fmt: skip
    return pl.DataFrame(rows, schema=["user", "item", "plays"], orient="row")


@pytest.mark.parametrize("model", ["popular", "itemknn", "ease", "puresvd", "ials"])
def test_what_was_had_often_says_more(model, tmp_path):
    """Weights are learned by, and answered by; the bundle has those of each user, and evaluate finds them again."""
    run = luban.train(planted(), task="recommend", model=model, out=tmp_path / "run", baselines="none", set={"task.protocol": "random"})
    bundle = run.load()
    assert (bundle.context["weight"].values.unique() / bundle.context["weight"].values.min()).tolist() == pytest.approx([1, math.log2(21)])
    assert luban.evaluate(tmp_path / "run", planted()).metrics == run.metrics
    batch = bundle.task.pose({"c0": torch.tensor([1])}, bundle.context)
    plain = {name: each for name, each in batch.items() if name != "weight"}
    with torch.no_grad():
        assert torch.equal(bundle.model(batch), bundle.model(plain)) == (model == "popular")
    once = luban.train(planted(), task="recommend", model=model, out=tmp_path / "once", baselines="none",
                       set={"task.protocol": "random", "task.weighed": "once"})  # fmt: skip
    assert "weight" not in once.load().context and run.metrics != once.metrics
    assert lines(bundle.answer(None, {"user": "3", "because": True})).height == lines(once.load().answer(None, {"user": "3"})).height


def test_the_data_of_a_run_whose_parts_a_column_names_are_no_new_events(tmp_path):
    log = planted()
    log = log.with_columns(split=pl.Series(np.random.default_rng(0).choice(["train", "valid", "test"], log.height, p=[0.6, 0.2, 0.2])))
    run = luban.train(log, task="recommend", model="ease", out=tmp_path / "run", baselines="none")
    assert luban.evaluate(tmp_path / "run", log).metrics == run.metrics
    assert luban.evaluate(tmp_path / "run", log, split="valid").metrics != run.metrics


def test_new_events_count_beside_those_of_before(tmp_path):
    run = luban.train(planted(), task="recommend", model="ease", out=tmp_path / "run", baselines="none", set={"task.protocol": "random"})
    bundle, one = run.load(), torch.tensor([1])
    before = bundle.context["history"][one].values.tolist()
    item = next(item for item in range(1, 13) if item not in before)
    for weight in ({"weight": torch.tensor([7.0])}, {}):
        new = Store({"c0": one, "y0": torch.tensor([item]), **weight}, torch.tensor([2], dtype=torch.uint8))
        kept = bundle.task.remember(new, bundle.context).columns
        assert kept["y0"].tolist() == [*before, item]
        assert kept["weight"].tolist() == [*bundle.context["weight"][one].values.tolist(), 7.0 if weight else 1.0]


def test_popular_by_what_was_had_lately(tmp_path):
    """All had 1 and 2 long ago, half of them 3 lately; and the log without times is told."""
    log = pl.DataFrame([(u, item, when) for u in range(20) for item, when in ((1, 0), (2, 1), (3 + u % 2, 100), (5, 50), (6 + u % 3, 99))],
                       schema=["user", "item", "time"], orient="row")  # fmt: skip
    words = {"task": "recommend", "model": "popular", "baselines": "none"}
    scores = {}
    for half in (None, 0.1):
        bundle = luban.train(log, **words, out=tmp_path / f"{half}", set={"model.half_life": half, "task.protocol": "random"}).load()
        popular = bundle.model.popular[1:]
        assert float(popular.sum()) == pytest.approx(sum(bundle.schema.targets["y0"].counts) / 20)
        scores[half] = dict(zip(bundle.schema.targets["y0"].words, popular.tolist(), strict=True))
    assert scores[None][1] > scores[None][3] and scores[0.1][3] > 10 * scores[0.1][1]
    with pytest.raises(UserError, match=r"popular: model\.half_life needs the time of each event"):
        luban.train(log.drop("time"), **words, out=tmp_path / "none", set={"model.half_life": 0.1})
