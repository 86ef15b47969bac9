"""Tables of many items: windows never cross from one into the next, each is scaled by what it sees, and nothing of the future is seen but
what was named as known ahead."""

import gzip
import logging
import math

import numpy as np
import polars as pl
import pytest
import torch
from test_forecast import Forecast, counted, forecast, prepared, solved

import luban
from luban.bundle import judge
from luban.core.batch import Store
from luban.core.errors import UserError


def days(n: int, start: str = "2024-01-01") -> pl.Series:
    return pl.Series("day", pl.date_range(pl.lit(start).str.to_date(), pl.lit(start).str.to_date() + pl.duration(days=n - 1), eager=True))


def shops(*sizes: int, **columns) -> pl.DataFrame:
    """Shop 0 sells 0, 1, 2, ..., shop 1 sells 1000, 1001, ..., and so on."""
    made = [pl.DataFrame({"shop": [f"店{i}"] * n, "day": days(n), "sold": [1000.0 * i + j for j in range(n)]}) for i, n in enumerate(sizes)]
    return pl.concat(made).with_columns(**columns)


SMALL = {"look_back": 3, "horizon": 2}


def test_items_are_found_by_the_moments_that_repeat_and_their_rows_are_put_together():
    table = shops(20, 20).sort("day", "shop")
    data = prepared(table.with_columns(note=pl.Series(["a", "b"] * 20)), **SMALL)
    assert (data.task.config.item, data.task.config.time, data.task.config.columns) == ("shop", "day", ("sold",))
    assert data.task.config.scale == "window" and data.store.columns["c0"].tolist() == [
        *map(float, range(20)),
        *map(float, range(1000, 1020)),
    ]
    assert prepared(shops(20), **SMALL).task.config.item is None  # a moment a row: there is nothing to tell apart
    codes = shops(20, 20).rename({"shop": "kennung"})
    assert prepared(codes, **SMALL).task.config.item == "kennung"  # no usual name, but it tells the rows of a moment apart


def test_windows_do_not_cross_from_one_item_into_the_next():
    data = prepared(shops(20, 15), (0, 4, 4), **SMALL)
    for examples in data.examples:
        whole = examples.whole()
        seen = whole["c0"] * whole["scale"] + whole["loc"]
        asked = whole["y0"] * whole["scale"] + whole["loc"]
        together = torch.cat([seen, asked], 1)
        assert torch.allclose(together.diff(), torch.ones(()), atol=1e-3)
    assert [len(each) for each in data.examples] == [(12 - 4) + (7 - 4), 3 * 2, 3 * 2]
    assert data.examples[2].whole()["naive"].tolist() == [[1.0]] * 6


def test_an_item_that_is_short_has_one_window_that_begins_with_its_first_value(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(shops(30, 8, 3), (0, 2, 2), look_back=6, horizon=2)
    assert "1 of 3 items are too short to be judged and are only trained on" in caplog.messages
    whole = data.examples[0].whole()
    seen = torch.round(whole["c0"] * whole["scale"] + whole["loc"], decimals=2).tolist()
    assert seen[-2:] == [[1000, 1000, 1000, 1000, 1000, 1001], [2000] * 6]  # the last window of the training rows of each
    assert (whole["y0"] * whole["scale"] + whole["loc"])[-1].tolist() == pytest.approx([2001, 2002])
    tested = data.examples[2].whole()
    assert len(tested["c0"]) == 2 and (tested["c0"] * tested["scale"] + tested["loc"])[1].round().tolist() == [1000, *range(1001, 1006)]


def test_items_too_short_to_be_judged_are_refused():
    with pytest.raises(UserError, match="no shop has the 6 rows that a horizon of 2 needs"):
        prepared(shops(3, 5), **SMALL)
    many = pl.DataFrame({"shop": np.repeat(np.arange(2_000), 3), "day": days(3).to_list() * 2_000, "sold": np.arange(6_000.0)})
    with pytest.raises(UserError, match="no shop has the 4 rows that a horizon of 1 needs"):
        prepared(many)


def test_a_moment_twice_is_told_with_its_item():
    table = pl.concat([shops(20, 20), shops(20, 20)[[30]]])
    with pytest.raises(UserError, match=r"the time 2024-01-11 of 'day' of shop '店1' stands in row 31 and again in row 41"):
        prepared(table, item="shop", **SMALL)


# ---------------------------------------------------------------- the future


def planted(where: str, value: float) -> pl.DataFrame:
    """Two shops of 40 days with what goes along; in the first shop's last 2 days `value` is planted in a column."""
    table = shops(40, 40, promo=pl.Series([float(i % 5 == 0) for i in range(80)]), rain=pl.Series([float(i % 3) for i in range(80)]))
    return table.with_columns(pl.when(pl.int_range(80).is_in([38, 39])).then(value).otherwise(pl.col(where)).alias(where))


def test_a_planted_future_reaches_neither_scaling_nor_what_is_seen():
    """Only what was named as known ahead is seen of the answers' days; the last window asks for days 38 and 39."""
    roles = {"known": ("promo",), "past": ("rain",)}
    plain = prepared(planted("sold", 7.0), (0, 4, 4), **SMALL, **roles).examples[2]
    last = torch.tensor([2])
    for where in ("sold", "rain", "promo"):
        spiked = prepared(planted(where, 1e6), (0, 4, 4), **SMALL, **roles).examples[2]
        reference = prepared(planted(where, -1e6), (0, 4, 4), **SMALL, **roles).examples[2]
        seen, other = spiked[last], reference[last]
        changed = {key for key in seen if not torch.equal(seen[key], other[key])}
        assert changed == {"sold": {"y0"}, "rain": set(), "promo": {"known"}}[where]
        if where == "promo":  # and of that only the days of the answers
            assert torch.equal(seen["known"][:, :3], other["known"][:, :3])
    assert plain[last]["y0"].shape == (1, 2)


def test_what_is_known_ahead_is_read_from_the_rows_behind_the_last_value():
    class Ahead(torch.nn.Module):
        def forward(self, batch):
            self.seen = batch["known"]
            return torch.zeros(len(batch["c0"]), 2)

    data = prepared(planted("sold", 7.0), (0, 4, 4), ("sold",), **SMALL, known=("promo",))
    model = Ahead()
    future = pl.concat([planted("sold", 7.0)[:5], planted("sold", 7.0)[40:44]])
    future = future.with_columns(
        sold=pl.when(pl.col("day").dt.day() > 3).then(None).otherwise(pl.col("sold")), promo=pl.int_range(9) % 2 * 1.0
    )
    data.task.predict(model, data.task.pose(data.schema.encode(future, with_target=False), {}), data.head, Forecast.Ask(horizon=1))
    promo = data.schema.inputs["c3"].number
    shown = (model.seen[:, :, -1] * promo.std + promo.mean).round().tolist()
    assert shown[0] == [0, 1, 0, 1, 0] and shown[1][:4] == [1, 0, 1, 0]
    with pytest.raises(
        UserError, match=r"a forecast of 2 steps needs .promo. in as many rows behind the last value, and of shop '店1' there are 1"
    ):
        data.task.predict(model, data.task.pose(data.schema.encode(future, with_target=False), {}), data.head, Forecast.Ask())


# ---------------------------------------------------------------- answers


def test_an_item_that_was_never_seen_is_forecast_as_any_other(tmp_path):
    run = luban.train(shops(60, 60), task="forecast", model="nlinear", out=tmp_path / "run", set={"task.horizon": 2, "task.look_back": 4})
    new = pl.DataFrame({"shop": ["新店"] * 2 + ["店1"] * 9, "day": days(2).to_list() + days(9).to_list(), "sold": [5.0, 6.0, *range(9)]})
    answer = run.load().predict(new)
    assert answer["shop"].to_list() == ["新店", "新店", "店1", "店1"]
    assert answer.columns == ["shop", "day", "prediction", "p10", "p50", "p90"]
    assert answer["day"].to_list() == ["2024-01-03", "2024-01-04", "2024-01-10", "2024-01-11"]
    assert answer["prediction"].to_list()[2:] == pytest.approx([9, 10], abs=0.1) and 6 < answer["prediction"][0] < 7
    alone = run.load().predict(ask={"horizon": 3})
    assert alone["shop"].to_list() == ["店0"] * 3 + ["店1"] * 3
    assert alone["prediction"].to_list() == pytest.approx([60, 61, 62, 1060, 1061, 1062], abs=0.1)


def test_new_rows_of_each_item_stand_behind_what_the_run_knows_of_it():
    table = shops(30, 30)
    before = pl.concat([table[:25], table[30:55]])
    data = prepared(before, (0, 4, 4), **SMALL)
    rows = pl.concat([table[25:30], table[58:60], shops(4, 4, 4)[8:].with_columns(shop=pl.lit("new"))])
    store = Store(data.schema.encode(rows, with_target=True), torch.full((len(rows),), 2, dtype=torch.uint8))
    found = data.task.remember(store, data.task.context(data.store))
    assert found.part.tolist() == [0] * 3 + [2] * 5 + [2] * 2 + [2] * 4  # shop 1 has a hole of three days
    assert found.columns["c0"].tolist() == [*range(22, 30), 1028, 1029, *range(2000, 2004)]


def test_a_logarithm_is_forecast_and_no_price_below_zero(caplog):
    prices = counted(120).with_columns(x=pl.Series([math.exp(0.05 * i) for i in range(120)]))
    data = prepared(prices, horizon=3, look_back=8, log=True)
    steps = forecast(data, solved(data, "nlinear", ridge=1e-6))
    assert [step["prediction"] for step in steps] == pytest.approx([math.exp(0.05 * i) for i in (120, 121, 122)], rel=1e-2)
    with pytest.raises(UserError, match=r"'x' should hold numbers above 0 \(task.log\), but row 1 has '0.0'"):
        prepared(counted(120), horizon=3, look_back=8, log=True)
    falling = counted(60).with_columns(x=pl.Series([max(0.0, 50.0 - i) for i in range(60)]))
    data = prepared(falling[:50], horizon=4, look_back=6)
    model = solved(data, "nlinear", ridge=1e-6)
    assert [step["prediction"] for step in forecast(data, model, falling[40:50])] == pytest.approx([0.0] * 4, abs=1e-5)


def test_quantiles_hold_as_much_as_they_say_on_noise():
    rng = np.random.default_rng(0)
    noise = counted(6_000).with_columns(x=pl.Series(rng.normal(size=6_000)))
    data = prepared(noise, (0.4, 0.3, 0.3), horizon=5, look_back=20)
    model = solved(data, "nlinear")
    data.task.calibrate(model, *judge(model, data.task, data.head, data.examples[1]), data.examples[1])
    judged, truth = judge(model, data.task, data.head, data.examples[2])
    found = data.task.measure(judged, truth, data.schema, data.task.metrics(data.schema))
    assert found.details["coverage"]["p10 to p90"] == pytest.approx(0.8, abs=0.03)
    steps = forecast(data, model, horizon=12)
    assert all(step["p10"] < step["p50"] < step["p90"] for step in steps)
    assert steps[11]["p90"] - steps[11]["p10"] > steps[0]["p90"] - steps[0]["p10"]  # a forecast that is rolled on is less sure


# ---------------------------------------------------------------- real data


def test_the_official_figures_of_m4_hourly(real_data):
    """The seasonal naive forecast of the competition: sMAPE 13.912, MASE 1.193 (Makridakis et al. 2020)."""
    files = [real_data / "m4" / f"Hourly-{name}.csv.gz" for name in ("train", "test")]
    parts = [pl.read_csv(gzip.decompress(file.read_bytes()), infer_schema=False) for file in files]
    rows = [
        each.unpivot(index="V1").with_columns(at=pl.col("variable").str.slice(1).cast(int) + 10_000 * i) for i, each in enumerate(parts)
    ]
    table = pl.concat(rows).filter(pl.col("value").is_not_null() & (pl.col("value") != "")).sort("at").select("V1", "value")
    data = prepared(table, (0, 48, 48), item="V1", horizon=48, season=24)
    judged, truth = judge(solved(data, "seasonal"), data.task, data.head, data.examples[2])
    found = data.task.measure(judged, truth, data.schema, data.task.metrics(data.schema)).metrics
    assert (round(found["smape"], 3), round(found["mase"], 3)) == (13.912, 1.193)


def test_a_series_a_row_is_read_with_its_continuation_in_another_file(real_data, tmp_path):
    """The competition's own files, train and test, the first 20 series of each: as luban reads them, not as we turned them."""
    files = {}
    for name in ("train", "test"):
        text = gzip.decompress((real_data / "m4" / f"Hourly-{name}.csv.gz").read_bytes()).decode().splitlines()[:21]
        files[name] = tmp_path / f"{name}.csv"
        files[name].write_text("\n".join(text))
    run = luban.train(files["train"], test=str(files["test"]), task="forecast", model="seasonal", baselines=[], out=tmp_path / "run",
                      set={"task.layout": "rows", "task.horizon": 48, "task.season": 24, "data.shares": [0, 48, 48]})  # fmt: skip
    assert run.report["split"] == "train 13,040, valid 960, test 960" and run.report["details"]["steps_not_judged"] == 0
    again = luban.evaluate(run, files["train"])
    assert again.metrics == pytest.approx(run.metrics, rel=1e-6)
    answer = run.load().predict(files["train"])
    assert answer["V1"].unique(maintain_order=True).to_list() == [f"H{i}" for i in range(1, 21)] and answer.height == 20 * 48


def test_uneven_rows_are_brought_to_even_steps_where_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    rows = [(f"2024-01-{1 + h // 24:02} {h % 24:02}:{m:02}", shop, h + m / 60) for h in range(100) for m in (5, 35) for shop in "ab"
            if not (shop == "b" and h == 7)]  # fmt: skip
    table = pl.DataFrame(rows, schema=["when", "shop", "value"], orient="row").sample(fraction=1.0, shuffle=True, seed=1)
    task = Forecast(Forecast.Config(resample="1 hour"))
    even = task.laid_out(table)
    assert even.height == 200 and "398 rows are brought to 200 of 1 hour (mean), 1 of them added, without a value" in caplog.messages
    hours = even.filter(pl.col("shop") == "b")["value"].to_list()
    assert hours[7] is None and hours[8] == pytest.approx(8 + (5 + 35) / 120)
    added = Forecast(Forecast.Config(resample="1 day", resample_by="sum")).laid_out(table).filter(pl.col("shop") == "a")
    assert added["value"].to_list()[0] == pytest.approx(sum(h + m / 60 for h in range(24) for m in (5, 35)))
    with pytest.raises(UserError, match=r"task.resample is written as '15 minutes', '1 day' or '1 month', not 'hourly'"):
        Forecast(Forecast.Config(resample="hourly")).laid_out(table)
    run = luban.train(table, task="forecast", model="naive", baselines=[], out=tmp_path / "run", set={"task.resample": "1 hour"})
    answer = run.load().predict(table, ask={"horizon": 2})
    assert answer["when"].to_list() == ["2024-01-05 04:00:00", "2024-01-05 05:00:00"] * 2
