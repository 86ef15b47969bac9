"""Anomalies: what is planted is found, each moment is judged by those before it alone, and the answers are in the user's words."""

import numpy as np
import polars as pl
import pytest

import luban
from luban.core.errors import UserError


def waves(n: int = 600, planted: dict[int, float] | None = None, seed: int = 0) -> list[float]:
    x = 10 * np.sin(np.arange(n) * 2 * np.pi / 24) + np.random.default_rng(seed).normal(size=n)
    for i, by in (planted or {}).items():
        x[i] += by
    return x.tolist()


def hours(n: int) -> pl.Series:
    return pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2030, 1, 1), "1h", eager=True).head(n).alias("时间")


def test_what_is_planted_is_found_and_a_moment_is_judged_by_its_past(tmp_path):
    table = pl.DataFrame([hours(600), pl.Series("负荷", waves())])
    run = luban.train(table, task="anomaly", model="nlinear", out=tmp_path / "run", set={"task.look_back": 48})
    assert run.metrics["mse"] < run.report["baselines"]["seasonal"]["mse"]
    bundle = run.load()
    plain = bundle.predict(table)
    assert plain.columns == ["时间", "value", "prediction", "low", "high", "score"] and plain.height == 600 - 48
    assert plain["score"].max() < 3 and 0.9 < (plain["score"] < 1).mean() < 1
    odd = bundle.predict(pl.DataFrame([hours(600), pl.Series("负荷", waves(planted={300: 15.0, 450: -12.0}))]))
    at = odd.sort("score", descending=True)["时间"].head(2).to_list()
    assert set(at) == {str(hours(600)[300]), str(hours(600)[450])}
    before = odd.filter(pl.col("时间") < at[0] if at[0] < at[1] else pl.col("时间") < at[1])
    assert before.equals(plain.head(before.height))  # nothing of the future
    with pytest.raises(UserError, match="a moment is judged by the 48 before it, and no series here has 49 rows"):
        bundle.predict(table[:48])
    with pytest.raises(UserError, match="which moments are to be judged"):
        bundle.predict()
    with pytest.raises(UserError, match="an anomaly is judged by the next step alone"):
        luban.train(table, task="anomaly", set={"task.horizon": 5})


def test_items_are_named_known_or_new(tmp_path):
    table = pl.concat([pl.DataFrame({"sensor": name, "t": hours(300), "value": waves(300, seed=i)}) for i, name in enumerate("ab")])
    run = luban.train(table, task="anomaly", model="nlinear", baselines=[], out=tmp_path / "run", set={"task.look_back": 24})
    new = pl.concat([pl.DataFrame({"sensor": name, "t": hours(40), "value": waves(40, {30: 20.0}, seed=7)}) for name in ("新", "b")])
    answer = run.load().predict(new)
    assert answer["sensor"].to_list() == ["新"] * 16 + ["b"] * 16
    assert (
        answer.group_by("sensor", maintain_order=True).agg(pl.col("t").sort_by("score").last())["t"].to_list() == [str(hours(40)[30])] * 2
    )
