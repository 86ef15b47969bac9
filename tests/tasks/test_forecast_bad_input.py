"""What a forecast says of data that are not as they should be: one sentence each, with the place and what to do."""

import logging
import re
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch
from test_forecast import Forecast, prepared
from test_forecast_items import SMALL, days, shops

import luban
from luban.core.errors import UserError
from luban.core.registry import FIELDS
from luban.server import app
from luban.tasks._windows import scale_of, widened


def test_items_with_moments_of_their_own_are_items(caplog):
    """Else the months of one would go on where the days of another end."""
    other = pl.DataFrame(
        {"shop": ["m"] * 20, "day": pl.date_range(pl.date(2010, 1, 1), pl.date(2011, 8, 1), "1mo", eager=True), "sold": np.arange(20.0)}
    )
    table = pl.concat([shops(30).with_columns(pl.col("day").cast(pl.Date)), other])
    assert table.get_column("day").is_unique().all()
    assert prepared(table, **SMALL).task.config.item == "shop"
    assert prepared(shops(30), **SMALL).task.config.item is None  # one item: a series


def test_an_hour_that_the_clocks_give_twice_is_told_with_what_to_write():
    berlin = pl.datetime_range(datetime(2024, 10, 26), datetime(2024, 10, 28), "1h", time_zone="UTC", eager=True).dt.convert_time_zone(
        "Europe/Berlin"
    )
    load = pl.Series("load", np.arange(len(berlin)) % 24 * 1.0)
    task = Forecast()
    wall = pl.DataFrame({"t": berlin.dt.strftime("%Y-%m-%d %H:%M:%S"), "load": load})
    task.settle(wall, (), None)
    assert task.config.item is None and task.config.columns == ("load",)
    with pytest.raises(
        UserError, match=r"time 2024-10-27 02:00:00 .* stands in row 25 and again in row 26.*offset, as in 2024-10-27T02:30.01:00"
    ):
        task.order(wall)
    offset = pl.DataFrame({"t": berlin.dt.strftime("%Y-%m-%dT%H:%M:%S%z"), "load": load})
    task = Forecast()
    task.settle(offset, (), None)
    assert task.order(offset).tolist() == list(range(len(load))) and task.config.step == "1 hour"


def test_what_is_static_and_changes_is_refused_with_its_rows():
    size = pl.Series("size", ["small"] * 20 + ["large"] * 7 + [None] + ["small"] * 12)
    with pytest.raises(
        UserError,
        match=r"task.static names 'size', .* of shop '店1', and says 'large' in row 21 and 'small' in row 29. Name it in task.past",
    ):
        Forecast(Forecast.Config(static=("size",))).settle(shops(20, 20).with_columns(size), (), None)
    steady = pl.Series("size", ["small"] * 20 + ["large"] * 7 + [None] + ["large"] * 12)
    Forecast(Forecast.Config(static=("size",))).settle(shops(20, 20).with_columns(steady), (), None)


def test_what_is_known_ahead_and_not_given_is_told_with_its_item(tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    table = shops(30, 30).with_columns(promo=pl.int_range(60) % 5)
    luban.train(table, task="forecast", model="nlinear", out=tmp_path / "run",
                set={"task.known": ["promo"], "task.look_back": 3, "task.horizon": 2, "data.shares": [0, 4, 4]})  # fmt: skip
    assert any(line.startswith("nlinear makes nothing of 'promo'; gru, lags, lstm") for line in caplog.messages)
    assert not any("no value" in line for line in caplog.messages)  # of the golden rows, which no user asked for
    bundle = luban.load(tmp_path / "run")
    assert bundle.task.example(bundle.schema) == {}  # what to try next is not what is refused
    assert re.search(r'"promo": \d+\}, \.\.\.\]\}', app.example(bundle, "http://x"))
    ahead = [pl.DataFrame({"shop": [f"店{i}"] * n, "day": days(32)[30 : 30 + n], "promo": [i] * n}) for i, n in ((0, 2), (1, 1))]
    with pytest.raises(UserError, match=r"2 steps needs 'promo' .* of shop '店1' there are 1: .*'sold' left empty.*--horizon"):
        bundle.predict(pl.concat([table, *ahead], how="diagonal_relaxed"))
    caplog.clear()
    alone = pl.concat(ahead[:1]).with_columns(sold=pl.lit(None))  # what is to come, and nothing else
    assert bundle.predict(alone).equals(
        bundle.predict(pl.concat([table, ahead[0]], how="diagonal_relaxed").filter(pl.col("shop") == "店0"))
    )
    assert any("go on where the run's own end: the 3 rows" in line for line in caplog.messages)
    empty = pl.concat([table, ahead[0].with_columns(promo=pl.lit(None))], how="diagonal_relaxed").filter(pl.col("shop") == "店0")
    bundle.predict(empty)
    assert "promo: 2 of 2 values behind the last of 'sold' are missing, and count as usual ones" in caplog.messages
    with pytest.raises(UserError, match=r"no value of shop '店0' to go on from: 'sold' is empty"):
        bundle.predict(empty.with_columns(sold=pl.lit(None)))


def test_the_last_digits_of_large_values_are_forecast():
    """A meter that stands at 1e9 and moves by tenths: float32 knows it to 64."""
    meter = pl.DataFrame({"shop": ["a"] * 60 + ["b"] * 60, "day": [*days(60), *days(60)], "sold": [1e9 + 0.1 * i for i in range(60)] * 2})
    data = prepared(meter, **SMALL)
    batch = data.examples[2].whole()
    assert all(value.dtype != torch.float64 for value in batch.values())  # some devices know none
    said = data.task._in_units(data.task._stacked(batch), batch)
    assert torch.allclose(said.diff(dim=2), torch.tensor(0.1).double(), atol=1e-3)
    flat = prepared(meter.with_columns(sold=pl.lit(5.1)), **SMALL).examples[0].whole()
    assert torch.allclose(flat["scale"], torch.tensor(5.1)) and flat["c0"].abs().max() < 1e-6


def test_a_batch_does_not_go_through_all_rows(monkeypatch):
    """Once did: 3,700 batches of 10,000 items took seven minutes."""
    data = prepared(shops(20, 20), **SMALL)
    data.examples[0].whole()
    monkeypatch.setattr(data.task, "_runs", None)
    data.examples[0].whole()
    data.examples[2].whole()


def test_of_rows_that_no_user_gave_nothing_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    luban.train(shops(60), task="anomaly", model="naive", out=tmp_path / "run")
    luban.load(tmp_path / "run")
    assert not any("and not judged" in line for line in caplog.messages)


def test_windows_are_scaled_alike_with_and_without_gaps():
    x = torch.rand(4, 9, generator=torch.Generator().manual_seed(0)) * 100
    gap = torch.cat([x, torch.full((4, 1), torch.nan)], 1)
    for whole, other in zip(scale_of(x), scale_of(gap), strict=True):
        assert torch.allclose(whole, other, rtol=1e-6)


def test_whole_numbers_that_are_called_a_time_are_no_series():
    years = pl.DataFrame({"Year": range(1900, 1960), "gdp": [float(i % 7) for i in range(60)]})
    config = prepared(years, horizon=2).task.config
    assert (config.time, config.columns, config.step) == ("Year", ("gdp",), "1")
    assert prepared(years, targets=("Year",), horizon=2).task.config.columns == ("Year",)
    assert prepared(years.with_columns(Year=pl.col("Year") / 7), horizon=2).task.config.time is None


def test_quantiles_of_a_rolled_forecast_keep_their_sides_and_order():
    bands = torch.tensor([[-1.0, -2.0], [-0.1, 2.0], [0.5, 3.0]]).unsqueeze(1)  # (Q, C, H): the median errs to either side
    rolled = widened(bands, 6)
    assert torch.equal(rolled[:, :, :2], bands) and (rolled.diff(dim=0) > 0).all()
    assert rolled[1, 0, 2] == pytest.approx((2**2 - 0.1**2) ** 0.5) and (rolled[2, 0, 2::2].diff() > 0).all()


def test_an_item_that_is_spelt_in_two_ways_is_one():
    table = shops(30, 30)
    data = prepared(table, **SMALL)
    spelt = table.with_columns(pl.when(pl.int_range(60) == 29).then(pl.lit("店0 ")).otherwise("shop").alias("shop"))
    answers = pl.DataFrame({"shop": [None, None], "prediction": [[0.0], [1.0]]})
    assert data.task.told(answers, spelt, data.schema).get_column("shop").to_list() == ["店0", "店1"]


def test_a_country_that_is_none_is_told_before_a_run_is_begun(tmp_path):
    pytest.importorskip("holidays")
    with pytest.raises(UserError, match="names a country as CN, US or DE, not 'ZZ'"):
        luban.train(shops(60), task="forecast", model="naive", set={"task.holidays": "ZZ"}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stepped_run_of_what_can_be_solved_goes_on(tmp_path):
    words = {"task": "forecast", "model": "nlinear"}
    steps = {"model.fit": "steps", "task.look_back": 3, "task.horizon": 2, "train.steps": 5}
    luban.train(shops(60), **words, set=steps, out=tmp_path / "run")
    run = luban.train(shops(70), set={"start": str(tmp_path / "run"), "train.steps": 5}, out=tmp_path / "on")
    assert run.report["model"] == "nlinear"
    luban.train(shops(60), **words, set={"task.look_back": 3, "task.horizon": 2}, out=tmp_path / "solved")
    with pytest.raises(UserError, match="nlinear is solved at once"):
        luban.train(shops(70), set={"start": str(tmp_path / "solved")}, out=tmp_path / "no")


def test_moments_are_read_once_and_anew_where_rows_are_others(monkeypatch):
    """A table is put in order after it was settled, and its dates take most of that time."""
    Moment, read = FIELDS["moment"], []
    monkeypatch.setattr(Moment, "of", lambda column, day_first=None, of=Moment.of: read.append(column) or of(column, day_first))
    task, table = Forecast(), shops(20, 20)
    task.settle(table, (), None)
    assert task.order(table).tolist() == list(range(40)) and len(read) == 1
    later = table[::-1]
    assert task.order(later).tolist() == [*range(19, -1, -1), *range(39, 19, -1)] and len(read) == 2
    other = table.with_columns(shop=pl.Series(["a"] * 20 + ["b"] * 20))
    task.order(other)
    assert len(read) == 3
