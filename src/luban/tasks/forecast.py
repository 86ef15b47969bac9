"""Forecast: how do these series go on? An example is a window: `look_back` rows that are seen, and the `horizon` rows after them.

A row is a moment, a column a series; all series are forecast together. Rows are sorted by time and split in that order, the oldest
train. Windows overlap and are never laid out: an example is where it starts. A gap takes the value before it where it is looked back
on; as an answer it stays a gap, NaN, which is neither trained on nor judged. Letters: B windows, C series, L look-back, H horizon, K
ensemble members, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples, Spans, Store
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS
from luban.layers.rules import within
from luban.metrics import compute, family, resampled
from luban.tasks._windows import before, filled, rolled, usual_season, words

FIRST = 96
"""Horizon, where the papers on the ETT data begin."""
USUAL = 336
"""Look-back: two weeks of hours, as DLinear and PatchTST have it."""
NAMES = ("training", "validation", "test")
"""Of the parts, in messages."""


class Forecast(Task):
    labelled = False
    rowwise = False
    noun = "windows"

    @dataclass(frozen=True)
    class Config:
        horizon: int | None = None
        """Steps that are forecast at once. Unset: 96, where the papers begin, or half of the smallest part where that is less. A longer
        forecast can be asked for later: it is rolled."""
        look_back: int | None = None
        """Steps that a model sees. Unset: 336, or half of what the training rows leave beside the horizon where that is less."""
        season: int | None = None
        """Steps after which the series repeats. Unset: by the usual step, 24 of hours, 7 of days, 12 of months, 4 of quarters, else 1."""
        time: str | None = None
        """The column that says when; --time (data.time) wins over it. Unset: the first that reads as dates; where there is none, rows
        stand as they come."""
        step: str | None = None
        """The usual step from row to row, as in `15 minutes`, `1 month`, or a number where the time is one. Unset: that of the time
        column. A question whose rows go by another is refused."""
        day_first: bool | None = None
        """Is 01/05/2024 the first of May? Unset: the time column decides, by a value that leaves no choice; else the month goes first."""
        columns: tuple[str, ...] = ()
        """The series; --target (data.target) wins over it. Unset: every column of numbers."""
        loss: Literal["mse", "mae"] = "mse"
        """mse aims at the mean; mae at the median, which single spikes move less."""

        def __post_init__(self) -> None:
            within(self, {"horizon": (1, 100_000), "look_back": (2, 1_000_000), "season": (1, 1_000_000)}, "task")

    @dataclass(frozen=True)
    class Ask:
        horizon: int | None = None
        """How many steps; unset, as many as it was trained for. More are rolled: forecast, append, forecast again."""

        def __post_init__(self) -> None:
            within(self, {"horizon": (1, 1_000_000)}, "ask")

    # ---------------------------------------------------------------- what it reads

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        c, sample = self.config, table.gather_every(max(1, table.height // 1_000))
        dates = [name for name in table.columns if name not in targets and FIELDS["date"].sniff(sample.get_column(name)) > 0]
        numbers = [name for name in table.columns if name not in dates and FIELDS["number"].sniff(sample.get_column(name)) >= 0.5]
        time = time or c.time or next(iter(dates), None)
        columns = tuple(targets) or c.columns or tuple(name for name in numbers if name != time)
        for name in filter(None, (time, *columns)):
            if name not in table.columns:
                there = f"{did_you_mean(name, table.columns)} There are: {listed(table.columns)}."
                raise UserError(f"the column {name!r} is not in the data.{there}")
        if time in columns or not columns:
            why = f"{time!r} is both the time and a series" if columns else f"no column of numbers in {listed(table.columns)}"
            raise UserError(f"there is nothing to forecast: {why}. Name the series with --target, and the time with --time.")
        self.config = replace(c, time=time, columns=columns, season=c.season or 1)
        pace = "as the rows come"
        if time:
            moment = self._moment(table, time)
            moment.tell()
            self.config = replace(
                self.config, day_first=moment.day_first, season=c.season or usual_season(moment), step=c.step or moment.pace()
            )
            pace = f"steps of {moment.pace()} by {time!r}"
        season = f"a season of {self.config.season:,}" if self.config.season > 1 else "no season"
        say(f"series: {listed(columns)}; {pace}; {season}")

    def _moment(self, table: Table, time: str) -> Any:
        moment: Any = FIELDS["moment"]
        return moment.of(table.get_column(time), self.config.day_first)

    def order(self, table: Table) -> np.ndarray | None:
        """By time. A moment twice is an error, for only the user knows which row is right; uneven steps are told."""
        name = self.config.time
        if name is None:
            return None
        if name not in table.columns:
            raise UserError(f"the column {name!r} is missing, which says when each row was.{did_you_mean(name, table.columns)}")
        moment = self._moment(table, name)
        stamps = moment.encode(table.get_column(name))
        if moment.has_missing:
            empty = cells.empty(table.get_column(name), cells.BLANK).arg_true()[0]
            raise UserError(f"the time column {name!r} is empty in {cells.row(empty)}. Write when it was, or take the row out.")
        stamps, order = stamps.sort(stable=True)
        doubled = (stamps.diff() == 0).nonzero().flatten()
        if len(doubled):
            i = int(doubled[0])
            first, second = (cells.row(int(order[j])) for j in (i, i + 1))
            raise UserError(f"the time {words(moment, stamps[i : i + 1])[0]} of {name!r} stands in {first} and again in {second}. "
                            "A series has one row for each moment; several series go side by side, a column each.")  # fmt: skip
        if self.config.step and len(stamps) > 1 and not moment.keeps(self.config.step):
            raise UserError(f"the rows are usually {moment.pace()} apart by {name!r}, and this forecast goes in steps of "
                            f"{self.config.step}. Give rows {self.config.step} apart, or train on rows like these.")  # fmt: skip
        uneven = (moment.after(stamps[:-1], 1)[:, 0] != stamps[1:]).nonzero().flatten()
        if len(uneven):
            i = int(uneven[0])
            warn(f"{len(uneven):,} of {len(stamps) - 1:,} steps of {name!r} are not {moment.pace()}, the first after "
                 f"{words(moment, stamps[i : i + 1])[0]} ({cells.row(int(order[i]))}); rows are taken as if evenly spaced.")  # fmt: skip
        return order.numpy()

    def split(self, table: Table, shares: tuple[float, float, float]) -> tuple[np.ndarray, str]:
        """Three runs of rows, the oldest train. Of numbers of rows, what lies beyond is in part 3."""
        n, ends = table.height, np.cumsum(shares)
        if max(shares) > 1 and ends[-1] > n:
            raise UserError(f"data.shares asks for {int(ends[-1]):,} rows, and there are {n:,}.")
        ends = ends if max(shares) > 1 else np.round(ends * n)
        part = np.searchsorted(ends, np.arange(n), side="right").astype(np.uint8)
        sizes = {NAMES[number]: rows for number, rows in enumerate(np.bincount(part)[:3].tolist()) if rows}
        if sizes:
            self._settle_horizon(*min(sizes.items(), key=lambda each: each[1]))
        for name, rows in sizes.items():
            if name != "training" and rows < self.config.horizon:
                raise UserError(f"the {name} part has {rows:,} rows, too few for a horizon of {self.config.horizon:,}: "
                                f"forecast fewer steps (--set task.horizon={max(1, rows // 2)}), or give other data.shares.")  # fmt: skip
        return part, "by time, the oldest rows train" if self.config.time else "in the order of the rows, the first train"

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """Series under c0, c1, ..., then the moment; nothing is a target, for what is forecast is read, too."""
        self._settle_horizon("training", table.height // 2)  # where the data say which rows are tested, there was no `split`
        self._fit_into(table.height)
        c, series, moment, constant = self.config, FIELDS["series"], FIELDS["moment"], []
        for name in c.columns:
            column = table.get_column(name)
            values = cells.numbers(column, cells.decimal_comma([column]))
            values = values.filter(values.is_finite())
            if len(values) and values.n_unique() == 1:
                constant.append(name)
            if not len(values):
                example = f" ({cells.first(column, column.is_not_null())})" if column.count() else ""
                raise UserError(f"the series {name!r} has no number in the {table.height:,} training rows{example}. "
                                f"Leave it out with --drop {name!r}, or name the series with --target.")  # fmt: skip
        if constant:
            warn(f"{listed(constant)} never changed in the {table.height:,} training rows: there is nothing to learn from "
                 f"{'them' if len(constant) > 1 else 'it'}, and what is scored there says nothing.")  # fmt: skip
        inputs = {f"c{i}": series((name,), series.Config(c.look_back, c.season)) for i, name in enumerate(c.columns)}
        if c.time:
            inputs[self._stamps] = moment((c.time,), moment.Config(c.day_first))
        used = {c.time, *c.columns}
        return Schema(inputs, {}, {name: "neither the time nor a series" for name in table.columns if name not in used})

    def _settle_horizon(self, name: str, rows: int) -> None:
        """Where none was asked for: what leaves the smallest part, of so many rows, as many windows as each has steps."""
        if self.config.horizon is None:
            horizon = max(1, min(FIRST, rows // 2))
            self.config = replace(self.config, horizon=horizon)
            if horizon < FIRST:
                say(f"horizon: {horizon}, half of the {rows:,} rows of the {name} part ({FIRST} is usual)")

    def _fit_into(self, n: int) -> None:
        """Settles how far n training rows let a window look back, and whether a season fits into it."""
        c, room = self.config, n - self.config.horizon
        longest = room if c.look_back else room // 2  # unset: as many windows as each looks back, at least
        if longest < (c.look_back or 2):
            raise UserError(f"{n:,} training rows are too few to look back on {c.look_back or 2:,} and forecast {c.horizon:,}: "
                            "give more rows, or a smaller task.horizon or task.look_back.")  # fmt: skip
        look_back = c.look_back or min(USUAL, longest)
        if look_back < min(USUAL, c.look_back or USUAL):
            say(f"look_back: {look_back}, half of what {n:,} training rows leave beside a horizon of {c.horizon} ({USUAL} is usual)")
        if c.season > look_back:
            say(f"a season of {c.season:,} does not fit into {look_back:,} rows of look-back; none is assumed")
        self.config = replace(c, look_back=look_back, season=c.season if c.season <= look_back else 1)

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Every window whose horizon lies in the part, and of which something is known; of training, windows that lie in it whole."""
        L, H = self.config.look_back, self.config.horizon
        inside = before(store.part == part)
        first = torch.arange(max(0, len(store.part) - L - H + 1))
        fits = inside[first + L + H] - inside[first + L] == H
        if part == 0:
            fits &= inside[first + L] - inside[first] == L
        return Spans(self._answered(store, first[fits], part), L + H)

    def _answered(self, store: Store, first: Tensor, part: int) -> Tensor:
        """Of windows by where they start, (n,), those that know an answer; how many answers are gaps is said aloud."""
        L, H, n, answers = self.config.look_back, self.config.horizon, len(first), []
        for i in range(len(self.config.columns)):
            known = before(~store.columns[f"c{i}"].isnan())
            seen = known[first + L] > known[first]  # as in `batch`: nothing seen, nothing asked
            answers.append((known[first + L + H] - known[first + L]) * seen)
        known = torch.stack(answers, 1).sum(1)  # (n,)
        if n and not known.any():
            raise UserError(f"all {n:,} windows of the {NAMES[part]} part ask for gaps: no value of {listed(self.config.columns)} is known "
                            "there, or none in the look-back before it. Fill it, or give other data.shares.")  # fmt: skip
        kept, asked = first[known > 0], int((known > 0).sum()) * H * len(answers)
        left = f", and {n - len(kept):,} windows without any answer are left out" if len(kept) < n else ""
        if left or int(known.sum()) < asked:
            say(f"{NAMES[part]}: {asked - int(known.sum()):,} of {asked:,} steps to be forecast are gaps and "
                f"{'not judged' if part else 'not trained on'}{left}")  # fmt: skip
        return kept

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0, ...: (B, L), stamps as well, gaps filled; y0, ...: (B, H), NaN where there is a gap, or nothing of the series is seen."""
        L, batch, answers = self.config.look_back, {}, {}
        for key, column in store.columns.items():
            window = column.unfold(0, L + self.config.horizon, 1)[spans.start]  # (B, L + H)
            x, y = window[:, :L], window[:, L:]
            if key != self._stamps:
                x, nothing = filled(x)
                answers[key.replace("c", "y")] = y if nothing is None else y.masked_fill(nothing, torch.nan)
            batch[key] = x
        return batch | answers

    def head(self, schema: Schema) -> Head:
        c = self.config
        return Head(tuple(Part(f"y{i}", "series", c.horizon, c.loss, bias=(0.0,) * c.horizon) for i in range(len(c.columns))))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        z = torch.cat(list(head.split(model(batch)).values()), 2)  # (B, K, C * H)
        y = torch.cat([batch[part.key] for part in head.parts], 1).unsqueeze(1).expand_as(z)
        known = ~y.isnan()
        y = torch.where(known, y, z.detach())  # a gap costs nothing, and pulls nowhere
        loss = F.mse_loss(z, y, reduction="sum") if self.config.loss == "mse" else F.l1_loss(z, y, reduction="sum")
        return loss / known.sum(), {}  # some are known in any batch: a window without an answer is no example

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """MSE first, or MAE where that is what is minimised."""
        return tuple(dict.fromkeys([self.config.loss, *family("forecasting")]))

    def called(self, metric: str, schema: Schema) -> str:
        return f"{metric} (z-scored)"

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        y, v = self._stacked(truth), self._stacked(judged)
        found = compute("forecasting", names, y, v)
        if len(names) == 1 or not found:  # with one name it is training that asks, often
            return Measured(found)
        H = self.config.horizon
        by_column = {name: _mse(y[:, i], v[:, i]) for i, name in enumerate(self.config.columns)}
        by_step = {str(h): _mse(y[:, :, h - 1], v[:, :, h - 1]) for h in sorted({1, -(-H // 4), -(-H // 2), H})}
        units = {name: mse and mse**0.5 * self._series(schema, i).std for i, (name, mse) in enumerate(by_column.items())}
        details = {"mse_by_column": by_column, "mse_by_step": by_step, "rmse_in_units": units}
        return Measured(found, {**details, "steps_not_judged": int(np.isnan(y).sum())})

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("forecasting", names, self._stacked(truth), self._stacked(judged), counts)

    @property
    def block(self) -> int:
        """Windows one step apart share nearly all of their answers."""
        return self.config.horizon

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """The error by step, and of the first series the window whose error is the median one: what a forecast usually looks like."""
        y, v = self._stacked(truth), self._stacked(judged)
        squared, known, steps = np.square(v - y), ~np.isnan(y), np.arange(1, y.shape[2] + 1)
        by_step = np.where(known, squared, 0.0).sum(0) / np.maximum(known.sum(0), 1)  # (C, H)
        names = self.config.columns
        lines = {name: (steps, by_step[i]) for i, name in enumerate(names[:8])}
        notes = [["Drawn are the first {n} of {of} series.", {"n": 8, "of": len(names)}]] if len(names) > 8 else []
        error = np.where(known, squared, 0.0).sum((1, 2)) / known.sum((1, 2))
        usual, series = int(np.argsort(error)[len(error) // 2]), self._series(schema, 0)
        past = scored[torch.tensor([usual])]["c0"][0, -2 * self.config.horizon :].numpy()
        drawn = {"before": (np.arange(1 - len(past), 1), past), "true": (steps, y[usual, 0]), "forecast": (steps, v[usual, 0])}
        window = {name: (x, z * series.std + series.mean) for name, (x, z) in drawn.items()}
        return {"Error by step": {"x": "step", "y": "mean squared error, z-scored", "lines": lines, "notes": notes},
                f"{names[0]}: A usual forecast": {"x": "step", "y": "value", "lines": window, "fixed": True}}  # fmt: skip

    def _stacked(self, batch: Batch) -> np.ndarray:
        """(B, C, H), z-scored."""
        return torch.stack([batch[f"y{i}"] for i in range(len(self.config.columns))], 1).numpy()

    # ---------------------------------------------------------------- what it answers

    def context(self, store: Store) -> Batch:
        """The last window, (L,) each: a forecast without data goes on from there."""
        return {key: column[-self.config.look_back :].clone() for key, column in store.columns.items()}

    def remember(self, store: Store, context: Batch) -> Store:
        """Where the new rows go on exactly where the context ends, its rows stand before them, to be looked back on."""
        key = self._stamps
        if not self.config.time or not len(store.part):
            return store
        moment: Any = FIELDS["moment"]((self.config.time,))
        moment.form = "datetime" if " " in self.config.step else "number"
        if store.columns[key][0] != moment.paced(context[key]).after(context[key][-1:], 1)[0, 0]:
            return store
        say(f"these data go on where the run's own end: the {len(context[key]):,} rows before them are looked back on")
        part = torch.cat([store.part.new_zeros(len(context[key])), store.part])
        return Store({key: torch.cat([context[key], column]) for key, column in store.columns.items()}, part)

    def question(self, ask: Any) -> Table | None:
        return None

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        """The last L rows as the only window, (1, L) each, filled as in `batch`."""
        rows, L = encoded or context, self.config.look_back
        if len(rows["c0"]) < L:
            raise UserError(f"this model looks back on {L:,} rows, and the data have {len(rows['c0']):,}: give at least the last {L:,}.")
        window = {key: column[-L:].unsqueeze(0) for key, column in rows.items()}
        for i, name in enumerate(self.config.columns):
            gaps = int(window[f"c{i}"].isnan().sum())
            if gaps == L:
                raise UserError(f"the series {name!r} is empty in all of the last {L:,} rows: there is nothing to go on from.")
            if gaps:
                say(f"{name}: {gaps:,} of the last {L:,} values are missing; each takes the value before it")
            window[f"c{i}"], _ = filled(window[f"c{i}"])
        return window

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """z-scores (B, steps) under the head's keys, and under `last` the stamps (B, 1) that they follow."""
        H = self.config.horizon
        steps, window = ask.horizon or H, batch
        made: list[Tensor] = []  # of (B, C, H)
        while len(made) * H < steps:
            window = rolled(window, made[-1]) if made else window
            made.append(torch.stack([z.float().mean(1) for z in head.split(model(window)).values()], 1))
        z = torch.cat(made, 2)[:, :, :steps]
        last = {"last": batch[self._stamps][:, -1:]} if self.config.time else {}
        return {part.key: z[:, i] for i, part in enumerate(head.parts)} | last

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: a list of steps, each with its time (or number) and a value a series, in the users' units, not rounded."""
        B, n = predicted["y0"].shape
        steps: dict[str, Any] = {"step": list(range(1, n + 1)) * B}
        if self.config.time:
            moment: Any = schema.inputs[self._stamps]
            steps = {self.config.time: words(moment, moment.after(predicted["last"][:, 0], n))}
        for i, name in enumerate(self.config.columns):
            series = self._series(schema, i)
            key = f"prediction_{name}" if len(self.config.columns) > 1 else "prediction"
            steps[key] = predicted[f"y{i}"].flatten().double().numpy() * series.std + series.mean
        records = pl.DataFrame(steps).to_dicts()
        return pl.DataFrame({"prediction": [records[i : i + n] for i in range(0, B * n, n)]})

    def example(self, schema: Schema) -> dict[str, Any]:
        return {"horizon": self.config.horizon}

    def imagine(self, schema: Schema) -> Table:
        return schema.imagine(self.config.look_back)

    # ---------------------------------------------------------------- small words

    @property
    def _stamps(self) -> str:
        """The key of the moment, where there is one."""
        return f"c{len(self.config.columns)}"

    def _series(self, schema: Schema, i: int) -> Any:
        return schema.inputs[f"c{i}"]

    @classmethod
    def samples(cls) -> list[Table]:
        hours = np.arange(1_200)
        load = pl.Series("负荷", 50 + 10 * np.sin(hours * 2 * np.pi / 24) + hours / 100)
        times = pl.Series("时间", hours * 3_600_000_000).cast(pl.Datetime("us"))
        return [pl.DataFrame([times, load, (load * 2).alias("price.usd")]), load.to_frame()]


def _mse(y: np.ndarray, v: np.ndarray) -> float | None:
    return compute("forecasting", ["mse"], y, v).get("mse") if not np.isnan(y).all() else None
