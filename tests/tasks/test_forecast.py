"""Forecast: windows and splits counted by hand, nothing of the future in what is seen, and answers in the user's words and times."""

import json
import logging
import math
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import luban
from luban import reading
from luban.bundle import judge, lines
from luban.core import config as configs
from luban.core.batch import Examples, Store
from luban.core.contract import Clock, Schema
from luban.core.errors import UserError
from luban.core.registry import MODELS, TASKS

Forecast = TASKS["forecast"]


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return math.inf


def prepared(table: pl.DataFrame, shares=(0.8, 0.1, 0.1), targets=(), part=None, **config) -> SimpleNamespace:
    """The stages' order of calls, without the stages."""
    task = Forecast(configs.build(Forecast.Config, config))
    task.settle(table, targets, None)
    task.check(table, targets)
    order = task.order(table)
    table = table if order is None else table[order]
    if part is None:
        part, _ = task.split(table, shares)
    train = table.filter(part == 0)
    schema = task.schema(train, targets).fit(train)
    store = Store(schema.encode(table, with_target=True), torch.from_numpy(part))
    head = task.head(schema)
    examples = [Examples(store, task.spans(store, number), task.batch) for number in range(3)]
    return SimpleNamespace(task=task, schema=schema, store=store, examples=examples, head=head)


def solved(data: SimpleNamespace, name: str, **config):
    cls = MODELS[name]
    planned, _, _ = cls.plan(configs.build(cls.Config, config), data.schema, data.head, len(data.examples[0]), "small")
    model = cls(planned, data.schema, data.head)
    if model.solves:
        model.solve(data.examples[0], data.examples[1], Patient())
    return model.eval()


@torch.inference_mode()
def forecast(data: SimpleNamespace, model, question: pl.DataFrame | None = None, **ask) -> list[dict]:
    """The steps that follow the question, or the data."""
    task = data.task
    order = None if question is None else task.order(question)
    encoded = {} if question is None else data.schema.encode(question if order is None else question[order], with_target=False)
    batch = task.pose(encoded, task.context(data.store))
    answers = task.answers(task.predict(model, batch, data.head, Forecast.Ask(**ask)), data.schema)
    assert answers.columns == ["prediction"] and answers.height == 1
    return answers["prediction"].to_list()[0]


def counted(n: int = 20, **columns) -> pl.DataFrame:
    """0, 1, 2, ... without a time."""
    return pl.DataFrame({"x": [float(i) for i in range(n)], **columns})


def hours(n: int) -> list[str]:
    return [str(datetime(2024, 1, 1) + timedelta(hours=i)) for i in range(n)]


def in_units(data: SimpleNamespace, z: torch.Tensor) -> list:
    return torch.round(z.double() * data.schema.inputs["c0"].std + data.schema.inputs["c0"].mean, decimals=4).tolist()


SMALL = {"look_back": 3, "horizon": 2}


# ---------------------------------------------------------------- windows and splits


def test_shares_as_numbers_of_rows_leave_the_rest_out():
    task = Forecast()
    task.config = configs.build(Forecast.Config, SMALL)
    part, how = task.split(counted(20), (10, 4, 4))
    assert part.tolist() == [0] * 10 + [1] * 4 + [2] * 4 + [3] * 2 and part.dtype == np.uint8
    assert how == "in the order of the rows, the first train"
    assert task.split(counted(20), (0.5, 0.2, 0.3))[0].tolist() == [0] * 10 + [1] * 4 + [2] * 6
    assert task.split(counted(20), (0.8, 0.2, 0.0))[0].tolist() == [0] * 16 + [1] * 4
    with pytest.raises(UserError, match="asks for 21 rows, and there are 20"):
        task.split(counted(20), (11, 5, 5))


def test_windows_by_hand():
    """Training windows lie in rows 0-9 whole: they start at 0-5. The others' horizons lie in 10-13 and 14-17; they look back further."""
    data = prepared(counted(20), (10, 4, 4), **SMALL)
    assert [each.spans.start.tolist() for each in data.examples] == [[0, 1, 2, 3, 4, 5], [7, 8, 9], [11, 12, 13]]
    batch = data.examples[2][torch.tensor([2, 0])]
    assert batch.keys() == {"c0", "y0", "naive"}
    assert data.examples[2][torch.tensor([0])]["naive"].tolist() == [[1.0]]  # each value is 1 off from the one before it
    assert in_units(data, batch["c0"]) == [[13, 14, 15], [11, 12, 13]]
    assert in_units(data, batch["y0"]) == [[16, 17], [14, 15]]


def test_windows_of_a_split_by_column_stay_within_their_part():
    """0 0 0 0 1 1 0 0 0 0 0 2 2: training has one whole window, in 6-10; rows 0-3 are too few."""
    part = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 2, 2], np.uint8)
    data = prepared(counted(13), part=part, **SMALL)
    assert [each.spans.start.tolist() for each in data.examples] == [[6], [1], [8]]


def test_stamps_and_series_side_by_side():
    table = counted(20, 时间=hours(20), y=[float(i * i) for i in range(20)])
    data = prepared(table, (10, 4, 4), **SMALL)
    batch = data.examples[0][torch.tensor([4])]
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "c0": (1, 3), "c1": (1, 3), "c2": (1, 3), "y0": (1, 2), "y1": (1, 2), "naive": (1, 2)}  # fmt: skip
    assert data.schema.inputs["c2"].decode(batch["c2"]) == [datetime(2024, 1, 1, hour) for hour in (4, 5, 6)]


def test_short_training_parts_shorten_the_look_back_and_say_so(caplog):
    caplog.set_level(logging.INFO, "luban")
    assert prepared(counted(100), horizon=6).task.config.look_back == (80 - 6) // 2
    assert "look_back: 37, half of what 80 training rows leave beside a horizon of 6 (336 is usual)" in caplog.messages
    assert prepared(counted(1000), horizon=6).task.config.look_back == 336
    assert prepared(counted(100), horizon=6, look_back=60).task.config.look_back == 60
    with pytest.raises(UserError, match="80 training rows are too few to look back on 75 and forecast 6"):
        prepared(counted(100), horizon=6, look_back=75)
    with pytest.raises(UserError, match="4 training rows are too few to look back on 2 and forecast 2"):
        prepared(counted(12), (4, 4, 4), horizon=2)
    with pytest.raises(UserError, match="the validation part has 10 rows, too few for a horizon of 11"):
        prepared(counted(100), horizon=11)


# ---------------------------------------------------------------- what is found


def test_time_series_and_season_are_found(caplog):
    caplog.set_level(logging.INFO, "luban")
    table = counted(60, 备注=["晴"] * 60, 时间=hours(60), 温度=[str(20 + i % 24) for i in range(60)])
    config = prepared(table, horizon=3).task.config
    assert (config.time, config.columns, config.season) == ("时间", ("x", "温度"), 1)  # 24 does not fit into the look-back of 22
    assert caplog.messages[0] == "series: 'x', '温度'; steps of 1 hour by '时间'; a season of 24"
    assert "a season of 24 does not fit into 22 rows of look-back; none is assumed" in caplog.messages
    data = prepared(table, targets=("温度",), horizon=3)
    assert data.task.config.columns == ("温度",)
    assert data.schema.ignored == {"x": "neither the time nor a series", "备注": "neither the time nor a series"}


@pytest.mark.parametrize("step, season", [("15m", 96), ("30m", 48), ("1h", 24), ("1d", 7), ("1w", 1), ("1mo", 12), ("3mo", 4), ("1y", 1),
                                          ("7m", 1)])  # fmt: skip
def test_the_season_follows_from_the_step(step, season):
    times = pl.datetime_range(datetime(2024, 1, 1), datetime(2100, 1, 1), step, eager=True).head(40)
    task = Forecast()
    task.settle(pl.DataFrame({"t": times, "x": range(40)}), (), None)
    assert task.config.season == season


def test_what_cannot_be_forecast_is_refused():
    task = Forecast()
    with pytest.raises(UserError, match=r"no column of numbers in '时间', 'a'.*--target"):
        task.settle(pl.DataFrame({"时间": hours(3), "a": ["x", "y", "z"]}), (), None)
    with pytest.raises(UserError, match="'x' is both the time and a series"):
        task.settle(counted(5), ("x",), "x")
    with pytest.raises(UserError, match=r"the column 'tme' is not in the data.+ mean 'time'"):
        task.settle(counted(3, time=hours(3)), (), "tme")
    with pytest.raises(UserError, match=r"'a' has no number in the 16 training rows \(row 1 has 'b'\)"):
        prepared(counted(20, a=["b"] * 20), targets=("a",), **SMALL)
    with pytest.raises(UserError, match=r"'a' has no number in the 16 training rows\. Leave it out"):
        prepared(counted(20, a=[None] * 16 + [1.0] * 4), targets=("a",), **SMALL)
    with pytest.raises(UserError, match=r"ask\.horizon must lie between 1 and"):
        Forecast.Ask(horizon=0)


def test_an_unset_horizon_fits_into_the_smallest_part(caplog, tmp_path):
    caplog.set_level(logging.INFO, "luban")
    task = prepared(counted(60)).task
    assert task.config.horizon == 3
    assert "horizon: 3, half of the 6 rows of the validation part (96 is usual)" in caplog.messages
    assert prepared(counted(2_000)).task.config.horizon == 96
    assert prepared(counted(100), (20, 40, 40)).task.config.horizon == 10  # the training part is the smallest
    by_column = prepared(counted(40), part=np.repeat(np.array([0, 1, 2], np.uint8), [20, 10, 10]))
    assert by_column.task.config.horizon == 5 and all(len(each) for each in by_column.examples)
    assert luban.train(counted(200), task="forecast", model="naive", baselines=[], out=tmp_path / "run").metrics


def test_series_that_never_change_are_told(caplog):
    prepared(counted(60, y=[7] * 60, z=["3", *[""] * 20, *["3"] * 27, *["4"] * 12]), horizon=3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["'y', 'z' never changed in the 48 training rows: there is nothing to learn from them, and what is scored there "
                        "says nothing."]  # fmt: skip


def test_time_and_target_win_over_the_tasks_own_options():
    task = Forecast(configs.build(Forecast.Config, {"time": "a", "columns": ["x"]}))
    table = counted(20, a=hours(20), b=list(range(20)), y=range(20))
    task.settle(table, ("y",), "b")
    assert (task.config.time, task.config.columns, task.config.step) == ("b", ("y",), "1")


# ---------------------------------------------------------------- order


def test_rows_are_sorted_by_time_as_times_not_as_text():
    table = pl.DataFrame({"t": ["10/1/2024", "9/30/2024", "10/2/2024"], "x": [2.0, 1.0, 3.0]})
    task = Forecast()
    task.settle(table, (), None)
    assert task.order(table).tolist() == [1, 0, 2]
    task = Forecast()
    task.settle(counted(3, year=[2021, 2019, 2020]), (), "year")
    assert task.order(counted(3, year=[2021, 2019, 2020])).tolist() == [1, 2, 0]
    assert Forecast().order(counted(3)) is None


def test_a_moment_twice_or_none_is_refused_with_its_rows():
    task = Forecast()
    times = hours(6)
    task.settle(counted(6, 时间=times), (), None)
    with pytest.raises(UserError, match="time 2024-01-01 01:00:00 of '时间' stands in row 2 and again in row 5"):
        task.order(counted(6, 时间=[*times[:4], times[1], times[5]]))
    with pytest.raises(UserError, match="time column '时间' is empty in row 4"):
        task.order(counted(6, 时间=[*times[:3], " ", *times[4:]]))
    with pytest.raises(UserError, match="'时间' should hold dates such as 2024-01-31, but row 3 has '停'"):
        task.order(counted(30, 时间=[*times[:2], "停", *hours(30)[3:]]))
    with pytest.raises(UserError, match="column '时间' is missing"):
        task.order(counted(6))


def test_uneven_steps_are_counted_and_the_first_is_named(caplog):
    task = Forecast()
    even = counted(10, t=hours(10))
    task.settle(even, (), None)
    task.order(even)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    task.order(even[[9, 8, 7, 5, 3, 2, 1, 0]])  # 4 and 6 are missing; 3 is row 5 here
    assert caplog.messages[-1] == ("2 of 7 steps of 't' are not 1 hour, the first after 2024-01-01 03:00:00 (row 5); "
                                   "rows are taken as if evenly spaced.")  # fmt: skip


def test_another_step_than_that_of_training_is_refused():
    def by(step: str, n: int = 30, start=datetime(2024, 1, 1)) -> pl.DataFrame:
        return pl.DataFrame({"t": pl.datetime_range(start, datetime(2100, 1, 1), step, eager=True).head(n), "x": range(n)})

    def trained_on(table: pl.DataFrame):
        task = Forecast()
        task.settle(table, (), None)
        return Forecast(configs.build(Forecast.Config, json.loads(json.dumps(configs.to_dict(task.config)))))

    daily, monthly = trained_on(by("1d")), trained_on(by("1mo"))
    with pytest.raises(UserError, match="the rows are usually 7 days apart by 't', and this forecast goes in steps of 1 day"):
        daily.order(by("1w"))
    with pytest.raises(UserError, match="usually 12 hours apart"):
        daily.order(by("12h"))
    with pytest.raises(UserError, match="usually 3 months apart by 't', and this forecast goes in steps of 1 month"):
        monthly.order(by("3mo"))
    assert len(daily.order(by("1d", 5)[[0, 1, 3, 4]])) == 4  # a day is missing; the usual step is the same
    assert len(monthly.order(by("1mo", 2, datetime(2023, 2, 1)))) == 2 == len(monthly.order(by("30d", 2)))
    assert len(daily.order(by("1w", 1))) == 1  # one row has no step
    numbers = Forecast()
    numbers.settle(counted(20, i=[2_000 * i for i in range(20)]), (), "i")
    assert numbers.config.step == "2,000" and len(numbers.order(counted(5, i=[7 + 2_000 * i for i in range(5)]))) == 5
    with pytest.raises(UserError, match="usually 1,000 apart by 'i', and this forecast goes in steps of 2,000"):
        numbers.order(counted(5, i=[1_000 * i for i in range(5)]))
    with pytest.raises(UserError, match=r"a step is written as '15 minutes'.*not 'hourly'"):
        prepared(by("1h"), horizon=2, step="hourly")


def test_months_are_even_though_their_days_differ(caplog):
    table = counted(14, t=[f"{2023 + i // 12}年{i % 12 + 1}月" for i in range(14)])
    task = Forecast()
    task.settle(table, (), None)
    task.order(table)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# ---------------------------------------------------------------- the future


def test_nothing_of_the_future_reaches_scaling_or_input():
    plain = {"t": hours(40), "x": [float(i % 7) for i in range(40)]}
    spiked = {"t": hours(40), "x": [*plain["x"][:33], None, 1e9, *plain["x"][35:]]}  # a gap, then a value that would be seen anywhere
    a, b = (prepared(pl.DataFrame(each), (24, 8, 8), horizon=2, look_back=4) for each in (plain, spiked))
    assert a.schema.state() == b.schema.state()
    for part in (0, 1):
        first, second = a.examples[part].whole(), b.examples[part].whole()
        assert all(torch.equal(first[key], second[key]) for key in first)
    # what the window sees whose horizon begins at the spike: the gap before it holds the value before the gap
    at = torch.tensor(b.examples[2].spans.start.tolist().index(30))
    assert in_units(b, b.examples[2][at[None]]["c0"]) == [[2, 3, 4, 4]]
    model = solved(a, "nlinear")
    seen = {key: value for key, value in a.examples[1].whole().items() if key not in a.head.keys}
    changed = {key: value for key, value in b.examples[1].whole().items() if key not in b.head.keys}
    assert torch.equal(model(seen), solved(b, "nlinear")(changed))


# ---------------------------------------------------------------- gaps


def gappy(*gaps: int, n: int = 40) -> list[float | None]:
    return [None if i in gaps else float(i % 7) for i in range(n)]


def measured(data: SimpleNamespace, model, part: int = 2):
    judged, truth = judge(model, data.task, data.head, data.examples[part])
    return data.task.measure(judged, truth, data.schema, data.task.metrics(data.schema))


def test_a_gap_is_filled_where_it_is_seen_and_stays_one_where_it_is_asked_for():
    data = prepared(pl.DataFrame({"x": gappy(3, 4, 7)}), (24, 8, 8), look_back=4, horizon=2)
    starts = data.examples[0].spans.start.tolist()
    seen = {start: in_units(data, data.examples[0][torch.tensor([i])]["c0"])[0] for i, start in enumerate(starts)}
    assert seen[0] == [0, 1, 2, 2] and seen[2] == [2, 2, 2, 5]
    assert seen[3] == [5, 5, 5, 6] and seen[4] == [5, 5, 6, 6]  # from the window alone: what it is asked of has no more, either
    answers = {start: data.examples[0][torch.tensor([i])]["y0"].isnan().tolist()[0] for i, start in enumerate(starts)}
    assert answers[1] == [False, False] and answers[2] == [False, True] and answers[3] == [True, False]
    alone = data.task.pose(data.schema.encode(pl.DataFrame({"x": gappy(3, 4, 7)[3:7]}), with_target=False), {})
    assert in_units(data, alone["c0"])[0] == seen[3]


def test_gaps_are_neither_judged_nor_trained_on(caplog):
    """What stands in a gap cannot matter: naive is scored by hand on the rest, and both ways of training have the loss of the rest."""
    caplog.set_level(logging.INFO, "luban")
    data = prepared(pl.DataFrame({"x": gappy(35, 36, 37), "y": [float(i) for i in range(40)]}), (24, 8, 8), look_back=2, horizon=2)
    found = measured(data, solved(data, "naive"))
    whole = data.examples[2].whole()
    pairs = [(x[-1].item(), y.item()) for x, steps in zip(whole["c0"], whole["y0"], strict=True) for y in steps if not y.isnan()]
    assert len(pairs) == 14 - 6 - 3  # 3 gaps lie in two windows each; the last two windows see nothing but gaps, and ask for 3 values
    assert found.details["mse_by_column"]["x"] == pytest.approx(np.mean([(x - y) ** 2 for x, y in pairs]))
    assert found.details["steps_not_judged"] == 7 * 2 - len(pairs)
    assert f"test: {14 - len(pairs)} of 28 steps to be forecast are gaps and not judged" in caplog.messages
    batch = data.examples[2].whole()
    model = solved(data, "naive")
    model.shift = nn.Parameter(torch.zeros(()))
    model.register_forward_hook(lambda module, _, out: out + module.shift)
    loss, _ = data.task.loss(model, batch, data.head)
    loss.backward()
    assert loss.item() == pytest.approx(found.metrics["mse"], rel=1e-5) and model.shift.grad.isfinite()


def test_a_part_of_gaps_alone_is_refused():
    with pytest.raises(UserError, match=r"all 7 windows of the test part ask for gaps: no value of 'x' is known"):
        prepared(pl.DataFrame({"x": gappy(*range(32, 40))}), (24, 8, 8), look_back=4, horizon=2)


def test_windows_without_an_answer_are_left_out(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(pl.DataFrame({"x": gappy(*range(12, 16), 35)}), (24, 8, 8), look_back=4, horizon=2)
    # of the starts 0..18, 8, 9 and 10 ask for gaps alone, and 12 sees nothing else
    assert data.examples[0].spans.start.tolist() == [*range(8), 11, *range(13, 19)]
    # the windows that start at 7 and 11 ask for one gap each
    assert ("training: 2 of 30 steps to be forecast are gaps and not trained on, and 4 windows without any answer are left out"
            in caplog.messages)  # fmt: skip


def test_nlinear_is_solved_on_whole_windows_or_stepped(caplog):
    wave = [math.sin(i * 0.3) * 5 + 40 for i in range(400)]
    few = prepared(pl.DataFrame({"x": [None if i in (50, 51, 200) else x for i, x in enumerate(wave)]}), horizon=4, look_back=12)
    model = solved(few, "nlinear", ridge=1e-6)
    assert model.solves and measured(few, model).metrics["mse"] < 1e-3
    cls, config = MODELS["nlinear"], MODELS["nlinear"].Config()
    many = prepared(pl.DataFrame({"x": [None if i % 4 == 3 else x for i, x in enumerate(wave)]}), horizon=4, look_back=12)
    planned, _, why = cls.plan(config, many.schema, many.head, 300, "small")
    assert planned.fit == "steps" and why["model.fit"] == "gaps leave too few windows whole for the exact solution"
    with pytest.raises(UserError, match=r"each training window has a gap in its answers.*model\.fit=steps"):
        solved(many, "nlinear", fit="solve")


# ---------------------------------------------------------------- models


def test_naive_and_seasonal_by_hand():
    data = prepared(counted(30), horizon=3, look_back=5, season=2, shares=(0.6, 0.2, 0.2))
    batch = data.examples[2][torch.tensor([0])]  # 19 20 21 22 23 -> 24 25 26
    assert in_units(data, solved(data, "naive")(batch)) == [[23, 23, 23]]
    assert in_units(data, solved(data, "seasonal")(batch)) == [[22, 23, 22]]
    judged, truth = judge(solved(data, "naive"), data.task, data.head, data.examples[2])
    measured = data.task.measure(judged, truth, data.schema, data.task.metrics(data.schema))
    variance = (18**2 - 1) / 12  # of 0..17
    smape = np.mean([200 * h / (2 * last + h) for last in (23, 24, 25, 26) for h in (1, 2, 3)])
    expected = {"mse": (1 + 4 + 9) / 3 / variance, "mae": 2 / variance**0.5, "rmse": (14 / 3 / variance) ** 0.5, "smape": smape,
                "mase": 2 / 2, "wql": measured.metrics["wql"]}  # fmt: skip
    assert measured.metrics == pytest.approx(expected, rel=1e-5)
    assert measured.details["mse_by_step"] == pytest.approx({"1": 1 / variance, "2": 4 / variance, "3": 9 / variance}, rel=1e-5)
    assert measured.details["rmse_in_units"] == pytest.approx({"x": (14 / 3) ** 0.5}, rel=1e-5)
    json.dumps(measured.details, allow_nan=False)


def test_channels_keep_their_places():
    data = prepared(counted(30, y=[100.0 - i for i in range(30)]), horizon=2, look_back=4)
    for name in ("naive", "seasonal", "nlinear"):
        steps = forecast(data, solved(data, name))
        assert steps[0]["prediction_x"] == pytest.approx(29, abs=1.1) and steps[0]["prediction_y"] == pytest.approx(71, abs=1.1)


def test_nlinear_finds_the_rule_of_a_wave():
    """sin(w t) follows x(t) = 2 cos(w) x(t-1) - x(t-2): linear in two values, and so is every later step."""
    wave = pl.DataFrame({"x": np.sin(np.arange(400) * 0.3) * 5 + 40})
    data = prepared(wave, horizon=4, look_back=12)
    judged, truth = judge(solved(data, "nlinear", ridge=1e-6), data.task, data.head, data.examples[2])
    assert torch.allclose(judged["y0"], truth["y0"], atol=1e-3)


def test_nlinear_stepped_begins_as_naive_and_follows_the_gradient():
    data = prepared(counted(60, y=[math.sin(i) for i in range(60)]), horizon=2, look_back=8, loss="mae")
    model = solved(data, "nlinear")  # absolute errors have no exact solution, so it is stepped
    assert not model.solves and solved(data, "nlinear", fit="solve").solves
    batch = data.examples[0].whole()
    assert torch.equal(model(batch), solved(data, "naive")(batch))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first, _ = data.task.loss(model, batch, data.head)
    assert first.item() == pytest.approx((model(batch) - torch.cat([batch["y0"], batch["y1"]], 1)).abs().mean().item())
    for _ in range(100):
        optimiser.zero_grad()
        loss, _ = data.task.loss(model, batch, data.head)
        loss.backward()
        optimiser.step()
    assert loss < 0.3 * first


# ---------------------------------------------------------------- answers


def test_a_longer_horizon_is_rolled():
    """Trained for 2 steps with a season of 3, asked for 7: each round sees the last one's answers."""
    table = pl.DataFrame({"x": [1.0, 2.0, 5.0] * 10})
    data = prepared(table, horizon=2, look_back=4, season=3)
    values = [round(step["prediction"], 4) for step in forecast(data, solved(data, "seasonal"), horizon=7)]
    assert values == [1, 2, 5, 1, 2, 5, 1]
    assert [step["step"] for step in forecast(data, solved(data, "seasonal"), horizon=1)] == [1]


class Watch(nn.Module):
    """Notes the stamps that it is shown, and forecasts the mean."""

    def __init__(self, size: int):
        super().__init__()
        self.size, self.seen = size, []

    def forward(self, batch):
        self.seen += batch["c1"].tolist()
        return torch.zeros(len(batch["c0"]), self.size)


def test_stamps_roll_with_the_values():
    data = prepared(counted(20, year=list(range(2000, 2020))), (12, 4, 4), targets=("x",), time="year", **SMALL)
    model = Watch(2)
    assert [step["year"] for step in forecast(data, model, horizon=5)] == [2020, 2021, 2022, 2023, 2024]
    assert model.seen == [[2017, 2018, 2019], [2019, 2020, 2021], [2021, 2022, 2023]]


def test_answers_are_in_the_users_words_units_and_times():
    months = [f"{2014 + i // 12}年{i % 12 + 1}月" for i in range(120)]
    table = pl.DataFrame({"月份": months, "客流": [float(1000 + i % 12) for i in range(120)], "收入": ["￥1,200"] * 119 + ["￥1,300"]})
    data = prepared(table, horizon=3)
    steps = forecast(data, solved(data, "seasonal"))
    assert [list(step) for step in steps] == [
        ["月份", *(f"{of}_{name}" for name in ("客流", "收入") for of in ("prediction", "p10", "p50", "p90"))]] * 3  # fmt: skip
    assert [step["月份"] for step in steps] == ["2024-01-01", "2024-02-01", "2024-03-01"]
    assert [step["prediction_客流"] for step in steps] == pytest.approx([1000, 1001, 1002])
    assert steps[0]["prediction_收入"] == pytest.approx(1200)
    # another question, in another order and longer than needed: its last rows by time count
    later = pl.DataFrame({"月份": [f"{2030 + i // 12}-{i % 12 + 1:02}" for i in range(72)], "客流": range(72), "收入": [1] * 72})
    steps = forecast(data, solved(data, "naive"), later.reverse(), horizon=1)
    assert len(steps) == 1 and steps[0]["月份"] == "2036-01-01"
    assert (steps[0]["prediction_客流"], steps[0]["prediction_收入"]) == (pytest.approx(71), pytest.approx(1))
    again = Schema.restore(json.loads(json.dumps(data.schema.state())))
    predicted = {"y0": torch.zeros(2, 1), "y1": torch.zeros(2, 1), "last": torch.zeros(2, 1, dtype=torch.int64)}
    assert data.task.answers(predicted, again).equals(data.task.answers(predicted, data.schema))
    assert lines(data.task.answers(predicted, again))["月份"].to_list() == ["1970-02-01"] * 2


def test_a_short_question_is_answered_and_an_empty_one_refused(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(counted(20, y=range(20)), **SMALL)
    steps = forecast(data, solved(data, "naive"), pl.DataFrame({"x": [1.0, 2.0], "y": [1, 7]}))
    assert (steps[0]["prediction_x"], steps[0]["prediction_y"]) == (pytest.approx(2, abs=1e-4), pytest.approx(7, abs=1e-4))
    assert caplog.messages[-1] == "these are 2 of the 3 rows that are looked back on; the first value stands for the rest"
    with pytest.raises(UserError, match="series 'y' is empty in all of the last 3 rows"):
        forecast(data, solved(data, "naive"), pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": ["", "NA", None, "?"]}))
    with pytest.raises(UserError, match="there is no value to go on from: 'x', 'y' are empty in all of its rows"):
        forecast(data, solved(data, "naive"), pl.DataFrame({"x": [None, "NA"], "y": ["", "NA"]}))


@pytest.mark.parametrize("stamps", [hours(30), [2_000 * i for i in range(30)], [f"{2020 + i // 12}-{i % 12 + 1:02}" for i in range(30)]])
def test_new_data_that_go_on_where_the_context_ends_look_back_on_it(stamps):
    table = pl.DataFrame({"t": stamps, "x": [None if i == 24 else float(i % 7) for i in range(30)]})
    data = prepared(table[:25], (17, 4, 4), targets=("x",), time="t", look_back=3, horizon=2)

    def remembered(rows: pl.DataFrame) -> Store:
        store = Store(data.schema.encode(rows, with_target=True), torch.full((len(rows),), 2, dtype=torch.uint8))
        return data.task.remember(store, data.task.context(data.store))

    store = remembered(table[25:])
    assert store.part.tolist() == [0] * 3 + [2] * 5
    whole = data.schema.encode(table[22:], with_target=True)
    assert torch.equal(store.columns["c1"], whole["c1"]) and torch.allclose(store.columns["c0"], whole["c0"], equal_nan=True)
    assert data.task.spans(store, 2).start.tolist() == [0, 1, 2, 3]
    for other in (table[26:], table[24:], table[:20]):
        assert remembered(other).part.tolist() == [2] * len(other)


def test_a_forecast_without_data_goes_on_from_the_end_of_all_data(tmp_path):
    """Rows beyond the parts are neither trained on nor scored, and yet the newest that is known; what they say teaches nothing."""
    table = pl.DataFrame({"t": hours(200), "x": [float(i % 24) for i in range(200)]})
    strange = table.with_columns(x=pl.when(pl.col("t") >= hours(200)[180]).then(pl.col("x") + 1e6).otherwise(pl.col("x")))
    words = {"task": "forecast", "model": "nlinear", "set": {"data.shares": [100, 40, 40], "task.horizon": 4, "task.look_back": 24}}
    run, other = luban.train(table, out=tmp_path / "run", **words), luban.train(strange, out=tmp_path / "other", **words)
    assert run.report["split"] == "train 100, valid 40, test 40" and run.metrics == other.metrics
    answer = run.load().predict()
    assert answer["t"].to_list() == [str(datetime(2024, 1, 1) + timedelta(hours=i)) for i in range(200, 204)]
    assert answer["prediction"].to_list() == pytest.approx([8, 9, 10, 11], abs=0.2)
    assert luban.evaluate(run, table).metrics == pytest.approx(run.metrics, rel=1e-6)


@pytest.mark.parametrize("table", Forecast.samples()[:2], ids=["with time", "without"])
def test_a_run_from_training_to_a_forecast_without_data(table, tmp_path):
    run = luban.train(table, task="forecast", model="nlinear", out=tmp_path / "run")
    assert run.metrics["mse"] < 0.01 < run.report["baselines"]["naive"]["mse"]
    bundle = run.load()
    alone, asked = bundle.predict(ask={"horizon": 100}), bundle.predict(table, ask={"horizon": 100})
    assert alone.equals(asked) and alone.height == 100
    when = "时间" if "时间" in table.columns else "step"
    assert alone[when][0] == ("1970-02-20 00:00:00" if when == "时间" else 1)
    truth = [50 + 10 * math.sin(i * 2 * math.pi / 24) + i / 100 for i in range(1_200, 1_300)]
    assert np.abs(alone[alone.columns[1]].to_numpy() - truth).max() < 0.3


# ---------------------------------------------------------------- real data


def test_etth1_as_in_the_papers(real_data):
    """Closed form .370; the papers have .375 for DLinear and .370 for PatchTST/64, and 1.295 / .713 for repeating the last value."""
    data = prepared(reading.read(real_data / "ett1" / "ETTh1.csv"), (8640, 2880, 2880))
    assert [len(each) for each in data.examples] == [8209, 2785, 2785]
    assert (data.task.config.look_back, data.task.config.season) == (336, 24)
    found = {}
    for name in ("naive", "seasonal", "nlinear"):
        judged, truth = judge(solved(data, name), data.task, data.head, data.examples[2])
        found[name] = data.task.measure(judged, truth, data.schema, ("mse", "mae")).metrics
    assert found["naive"] == pytest.approx({"mse": 1.2944, "mae": 0.7132}, abs=1e-3)
    assert found["seasonal"] == pytest.approx({"mse": 0.5122, "mae": 0.4333}, abs=1e-3)
    assert found["nlinear"] == pytest.approx({"mse": 0.370, "mae": 0.391}, abs=2e-3)
