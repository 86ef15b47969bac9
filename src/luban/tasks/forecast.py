"""Forecast: how do these series go on? An example is a window: `look_back` rows that are seen, and the `horizon` rows after them.

Windows overlap and are never laid out: an example is where it starts. A gap takes the value before it where it is looked back on, and so
does what an item is too short for; as an answer it stays a gap, NaN, which is neither trained on nor judged. No window sees a row after
the last that it looks back on, but for the calendar and for what was named as known ahead. Letters: B windows, C series, L look-back, H
horizon, Q quantiles, F features, K ensemble members, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples, Spans, Store, piece_of, size_of
from luban.core.config import within
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, listed
from luban.core.notes import say
from luban.metrics import compute, family, resampled
from luban.metrics.forecasting import errors
from luban.tasks import _judged
from luban.tasks._series import NAMES, OfSeries
from luban.tasks._windows import before, cut, filled, naive_errors, quantiles, runs, scale_of, widened, words

PIECE = 250_000
"""Steps that are judged at a time: they stay in the processor's cache."""


class Forecast(OfSeries, Task):  # type: ignore[misc]
    asks = "series"

    @dataclass(frozen=True)
    class Ask:
        horizon: int | None = None
        """How many steps; unset, as many as it was trained for. More are rolled: forecast, append, forecast again."""

        def __post_init__(self) -> None:
            within(self, {"horizon": (1, 1_000_000)}, "ask")

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.fields: dict[str, Any] = {}
        """Those of the schema, once they are fitted."""
        self._of: tuple[Any, dict[str, Any]] = (None, {})
        """The store at hand, and what was worked out of it."""
        self._overlap = 1.0
        """Windows of the part at hand that an item has, on average, and that say nearly the same."""

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Every window whose horizon lies in the part, and of which something is known; of training, windows that lie in it whole. Only an
        item that is shorter than a window has one that looks back on less: in training one, the last."""
        L, H, n = self.config.look_back, self.config.horizon, len(store.part)
        first, last = self._runs(store)
        inside = before(store.part == part)
        end = torch.arange(max(0, n - H + 1))  # the row of the first answer
        fits = (inside[end + H] - inside[end] == H) & (first[: len(end)] < end) & (end + H <= last[: len(end)])
        end = end[fits]
        start = (end - L).maximum(first[end])
        if part == 0:
            newest = torch.full((n,), -1).scatter_reduce_(0, first, torch.where(store.part == 0, torch.arange(n), -1), "amax")
            whole = inside[end] - inside[start] == end - start
            kept = whole & ((end - start == L) | (end + H - 1 == newest[first[end]]))
            start, end = start[kept], end[kept]
        start, end = self._answered(store, start, end, part)
        self._overlap = len(end) / max(1, len(first[end].unique()))
        lengths = end + H - start
        return Spans(start, L + H if (lengths == L + H).all() else lengths)

    def _answered(self, store: Store, start: Tensor, end: Tensor, part: int) -> tuple[Tensor, Tensor]:
        """Of windows by where they look back on, [start, end) of (n,) each, those that know an answer; how many answers are gaps is said
        aloud."""
        H, n, answers = self.config.horizon, len(end), []
        for i in range(len(self.config.columns)):
            known = before(~store.columns[f"c{i}"].isnan())
            seen = known[end] > known[start]  # as in `batch`: nothing seen, nothing asked
            answers.append((known[end + H] - known[end]) * seen)
        known = torch.stack(answers, 1).sum(1)  # (n,)
        if n and not known.any():
            raise UserError(f"all {n:,} windows of the {NAMES[part]} part ask for gaps: no value of {listed(self.config.columns)} is known "
                            "there, or none in the look-back before it. Fill it, leave out the rows behind the last value, or give other "
                            "data.shares.")  # fmt: skip
        kept, asked = known > 0, int((known > 0).sum()) * H * len(answers)
        left = f", and {n - int(kept.sum()):,} windows without any answer are left out" if not kept.all() else ""
        if left or int(known.sum()) < asked:
            say(f"{NAMES[part]}: {asked - int(known.sum()):,} of {asked:,} steps to be forecast are gaps and "
                f"{'not judged' if part else 'not trained on'}{left}")  # fmt: skip
        return start[kept], end[kept]

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0, ...: (B, L), gaps filled, and their stamps; y0, ...: (B, H), NaN where there is a gap, or nothing of it is seen; known,
        past, static as in layers/windows.py; naive (B, C): how far the seasonal naive forecast is off in the history, in units."""
        H, end = self.config.horizon, spans.start + spans.length - self.config.horizon
        batch, nothing = self._seen(store, spans.start, end)
        rows, facts = end.unsqueeze(1) + torch.arange(H), self._worked_out(store)
        for i, unseen in enumerate(nothing):
            y = store.columns[f"c{i}"][rows]
            if "loc" in batch:
                y = ((y - batch["loc"][:, i : i + 1]) / batch["scale"][:, i : i + 1]).float()
            batch[f"y{i}"] = y if unseen is None else y.masked_fill(unseen, torch.nan)
        if facts["known"] is not None:
            batch["known"] = torch.cat([cut(facts["known"], spans.start, end, self.config.look_back)[0], facts["known"][rows]], 1)
        first = facts["first"][end - 1]
        told = [(sums[end] - sums[first]) / (numbers[end] - numbers[first]).clamp(min=1) for sums, numbers in facts["naive"]]
        return {**batch, "naive": torch.stack(told, 1).float()}

    def _seen(self, store: Store, start: Tensor, end: Tensor) -> tuple[Batch, list[Tensor | None]]:
        """(what windows look back on, the L rows before `end` (B,); of each series which windows know nothing of it (B, 1), or None)."""
        batch: Batch = {}
        nothing, scales = [], []
        for i in range(len(self.config.columns)):
            x, short = cut(store.columns[f"c{i}"], start, end, self.config.look_back)
            x = x if short is None else x.masked_fill(short, torch.nan)
            if self.config.scale == "window":
                scales.append(scale_of(x))
                x = ((x - scales[-1][0]) / scales[-1][1]).float()
            batch[f"c{i}"], unseen = filled(x)
            nothing.append(unseen)
        if self.config.time:
            batch[self._stamps] = cut(store.columns[self._stamps], start, end, self.config.look_back)[0]
        if self.config.item:
            batch["item"] = store.columns[self._item][end - 1]
        if scales:
            batch["loc"], batch["scale"] = (torch.cat(each, 1) for each in zip(*scales, strict=True))
        facts = self._worked_out(store)
        if facts["past"] is not None:
            batch["past"] = cut(facts["past"], start, end, self.config.look_back)[0]
        if facts["static"] is not None:
            batch["static"] = facts["static"][end - 1]
        return batch, nothing

    def _runs(self, store: Store) -> tuple[Tensor, Tensor]:
        return runs(store.columns[self._item] if self.config.item else None, len(store.part))

    def _worked_out(self, store: Store) -> dict[str, Any]:
        """known, past, static: (N, F) features of all rows, gaps 0, or None; naive: sums of a series' seasonal naive errors, in units."""
        if self._of[0] is not store:
            by_role: dict[str, list[Tensor]] = {"known": [], "past": [], "static": []}
            if self.config.time:
                by_role["known"] += [self.fields[self._stamps].calendar(store.columns[self._stamps])]
            for key, (_, role) in self._beside.items():
                by_role[role].append(store.columns[key].reshape(len(store.part), -1))
            facts: dict[str, Any] = {role: torch.cat(made, 1).nan_to_num(0.0) if made else None for role, made in by_role.items()}
            facts = {role: made if made is not None and made.shape[1] else None for role, made in facts.items()}
            units = [self.fields[f"c{i}"].units(store.columns[f"c{i}"].double()) for i in range(len(self.config.columns))]
            facts["first"] = self._runs(store)[0]  # goes through all rows: once, not for each batch
            facts["naive"] = [naive_errors(x, facts["first"], self.config.season) for x in units]
            self._of = (store, facts)
        return self._of[1]

    def head(self, schema: Schema) -> Head:
        c, self.fields = self.config, schema.inputs
        return Head(tuple(Part(f"y{i}", "series", c.horizon, c.loss, bias=(0.0,) * c.horizon, quantiles=c.quantiles)
                          for i in range(len(c.columns))))  # fmt: skip

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        z = torch.cat(list(head.split(model(batch)).values()), 2)  # (B, K, C * H)
        y = torch.cat([batch[part.key] for part in head.parts], 1).unsqueeze(1).expand_as(z)
        known = ~y.isnan()
        y = torch.where(known, y, z.detach())  # a gap costs nothing, and pulls nowhere
        loss = F.mse_loss(z, y, reduction="sum") if self.config.loss == "mse" else F.l1_loss(z, y, reduction="sum")
        return loss / known.sum(), {}  # some are known in any batch: a window without an answer is no example

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """MSE first, or MAE where that is what is minimised; of many items MASE, which tells each by its own history."""
        return tuple(dict.fromkeys(["mase" if self.config.scale == "window" else self.config.loss, *family("forecasting")]))

    def called(self, metric: str, schema: Schema) -> str:
        scaled = " (scaled by window)" if self.config.scale == "window" else " (z-scored)"
        return metric + scaled * (metric in ("mse", "mae", "rmse"))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """y0, ... (B, H) the forecasts; low, high (B, H) of the first series, its outermost quantiles; inside, known (B,): how many answers
        lie between those of their series; counts, sums (B, SUMS) as in metrics/forecasting.py."""
        some = max(1, PIECE // (len(head.parts) * self.config.horizon))
        made = [self._judged(model, piece_of(batch, start, start + some), head) for start in range(0, size_of(batch), some)]
        return {key: torch.cat([each[key] for each in made]) for key in made[0]}

    def _judged(self, model: Model, batch: Batch, head: Head) -> Batch:
        predicted = self.predict(model, {key: value for key, value in batch.items() if key not in head.keys}, head, self.Ask())
        z, bands, y = self._stacked(predicted), predicted["bands"], self._stacked(batch)
        true, said, *around = (self._in_units(each, predicted).numpy(force=True) for each in (y, z, *bands.unbind(1)))
        scaled, naive = (y.numpy(force=True), z.numpy(force=True)), batch["naive"].numpy(force=True)
        counts, sums = errors(scaled, true, said, self.config.quantiles, np.stack(around, 1), naive)
        known = ~y.isnan()
        inside = known & (y >= bands[:, 0]) & (y <= bands[:, -1])
        judged = {part.key: predicted[part.key] for part in head.parts}
        return judged | {key: predicted[key] for key in ("loc", "scale", "item") if key in predicted} | {
            "low": bands[:, 0, 0], "high": bands[:, -1, 0], "inside": inside.sum((1, 2)), "known": known.sum((1, 2)),
            "counts": torch.from_numpy(counts), "sums": torch.from_numpy(sums)}  # fmt: skip

    def calibrate(self, model: Model, judged: Batch, truth: Batch, valid: Examples) -> bool:
        """How far the model is off in the validation part, step by step: the quantiles that go with its forecasts."""
        off = self._stacked(truth) - self._stacked(judged)
        model.bands = quantiles(off, torch.tensor(self.config.quantiles))
        return True

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        found = compute("forecasting", names, judged["counts"].numpy(), judged["sums"].numpy())
        if len(names) == 1 or not found:  # with one name it is training that asks, often
            return Measured(found)
        return Measured(found, _judged.details(self, judged, truth))

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("forecasting", names, judged["counts"].numpy(), judged["sums"].numpy(), counts)

    @property
    def block(self) -> int:
        """Windows one step apart share nearly all of their answers."""
        return max(1, min(self.config.horizon, round(self._overlap)))

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        return _judged.charts(self, judged, truth, scored)

    def _stacked(self, batch: Batch) -> Tensor:
        """(B, C, H), as models see it."""
        return torch.stack([batch[f"y{i}"] for i in range(len(self.config.columns))], 1)

    def _in_units(self, z: Tensor, beside: Batch) -> Tensor:
        """What models answer (B, C, steps) in the user's units."""
        if "loc" in beside:
            z = z.double() * beside["scale"].unsqueeze(2) + beside["loc"].unsqueeze(2)
        return torch.stack([self.fields[f"c{i}"].units(each) for i, each in enumerate(z.unbind(1))], 1)

    # ---------------------------------------------------------------- what it answers

    def context(self, store: Store) -> Batch:
        """The last window of each item, up to L rows: a forecast without data goes on from there."""
        last = self._runs(store)[1]
        kept = torch.arange(len(store.part)) >= last - self.config.look_back
        return {key: column[kept].clone() for key, column in store.columns.items()}

    def remember(self, store: Store, context: Batch) -> Store:
        """Where the new rows of an item go on exactly where the context ends, its rows stand before them, to be looked back on."""
        if not self.config.time or not len(store.part) or not context or not len(context["c0"]):
            return store
        past, key = Store(context, store.part.new_zeros(len(context["c0"]))), self._stamps
        pieces, order, known = self._pieces(past), [], 0
        follows = self.fields[key].after(context[key][torch.tensor([stop - 1 for _, stop in pieces])], 1)[:, 0].tolist()
        ends = {(self._name(context, each[0]), follow): each for each, follow in zip(pieces, follows, strict=True)}
        for start, stop in self._pieces(store):
            before_it = ends.get((self._name(store.columns, start), int(store.columns[key][start])))
            if before_it:
                order.append(torch.arange(*before_it))
                known += before_it[1] - before_it[0]
            order.append(torch.arange(start, stop) + len(past.part))
        if not known:
            return store
        say(f"these data go on where the run's own end: the {known:,} rows before them are looked back on")
        rows = torch.cat(order)
        columns = {name: torch.cat([context[name], column])[rows] for name, column in store.columns.items()}
        return Store(columns, torch.cat([past.part, store.part])[rows])

    def _pieces(self, store: Store) -> list[tuple[int, int]]:
        """[start, stop) of each item."""
        first, last = self._runs(store)
        starts = first.unique()
        return list(zip(starts.tolist(), last[starts].tolist(), strict=True))

    def _name(self, columns: Batch, row: int) -> int:
        return int(columns[self._item][row]) if self.config.item else 0

    def question(self, ask: Any) -> Table | None:
        return None

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        """The window before the first row to be forecast, of each item: (B, L) each, filled as in `batch`; rows behind the last value say
        what is known ahead: ahead (B, steps, F), NaN where they are no more. Rows that go on where the context ends look back on it."""
        L, asked = self.config.look_back, encoded or context
        store = Store(asked, torch.zeros(len(asked["c0"]), dtype=torch.uint8))
        store = self.remember(store, context) if encoded else store
        rows = store.columns
        known = torch.stack([~rows[f"c{i}"].isnan() for i in range(len(self.config.columns))], 1)
        pieces = torch.tensor(self._pieces(store)).reshape(-1, 2)
        first, last = pieces.unbind(1)
        valued = torch.where(known.any(1), torch.arange(len(known)), -1).cummax(0).values[last - 1]
        if len(empty := (valued < first).nonzero()):
            of = _judged.of_item(self, rows.get(self._item), first[empty[0]])
            raise UserError(f"there is no value{of} to go on from: {listed(self.config.columns)} "
                            f"{'is' if len(self.config.columns) == 1 else 'are'} empty in all of its rows.")  # fmt: skip
        end = valued + 1
        start = first.maximum(end - L)
        _judged.tell_question(self, store, known, start, end, last)
        batch, _ = self._seen(store, start, end)
        facts = self._worked_out(store)
        if facts["known"] is not None:
            width = facts["known"].shape[1] - self._calendar
            batch["beside"] = cut(facts["known"], start, end, L)[0][:, :, self._calendar :]
            at = end.unsqueeze(1) + torch.arange(max(1, int((last - end).max())))
            ahead = facts["known"][at.clamp(max=len(known) - 1)][:, :, self._calendar :]
            batch["ahead"] = ahead.masked_fill((at >= last.unsqueeze(1)).unsqueeze(2), torch.nan) if width else ahead
        return batch

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """What models answer (B, steps) under the head's keys; bands (B, Q, C, steps), its quantiles; last (B, 1): the stamps before it."""
        H = self.config.horizon
        steps = ask.horizon or H
        rounds, made = -(-steps // H), []  # of (B, C, H)
        window, known = dict(batch), batch.get("known")
        if known is None and "beside" in batch:
            known = self._known(batch, rounds * H, steps)
        floor = torch.tensor([self.fields[f"c{i}"].floor for i in range(len(head.parts))], device=batch["c0"].device)
        floor = floor.expand(len(batch["c0"]), -1) if "loc" not in batch else (floor - batch["loc"]) / batch["scale"]
        for turn in range(rounds):
            if known is not None:
                window["known"] = known[:, turn * H : turn * H + self.config.look_back + H]
            z = torch.stack([z.float().mean(1) for z in head.split(model(window)).values()], 1)
            made.append(z.maximum(floor.unsqueeze(2)))
            if turn + 1 < rounds:
                window = self._rolled(window, made[-1])
        z, bands = torch.cat(made, 2)[:, :, :steps], getattr(model, "bands", None)
        bands = z.unsqueeze(1) + (widened(bands, steps) if bands is not None else z.new_zeros(len(self.config.quantiles), 1, 1))
        bands = bands.maximum(floor.unsqueeze(1).unsqueeze(3))
        last = {"last": batch[self._stamps][:, -1:]} if self.config.time else {}
        return {part.key: z[:, i] for i, part in enumerate(head.parts)} | {"bands": bands} | last | {
            key: batch[key] for key in ("loc", "scale", "item") if key in batch}  # fmt: skip

    @property
    def _calendar(self) -> int:
        """Features that the time alone tells."""
        return self.fields[self._stamps].size if self.config.time else 0

    def _known(self, batch: Batch, steps: int, asked: int) -> Tensor:
        """What is known of the window and of the steps after it: (B, L + steps, F). Raises UserError where a question leaves it open."""
        beside, ahead = batch["beside"], batch["ahead"][:, :steps]
        if beside.shape[2]:
            there = (~ahead.isnan().any(2)).sum(1)
            if int(there.min()) < asked:
                of = _judged.of_item(self, batch.get("item"), there.argmin())
                raise UserError(f"a forecast of {asked:,} steps needs {listed(self.config.known)} in as many rows behind the last value, "
                                f"and{of} there are {int(there.min()):,}: give such rows, {listed(self.config.columns)} left empty, or ask "
                                "for less (--horizon).")  # fmt: skip
            ahead = F.pad(ahead, (0, 0, 0, max(0, steps - ahead.shape[1]))).nan_to_num(0.0)
            beside = torch.cat([beside, ahead], 1)
        if not self.config.time:
            return beside
        stamps = batch[self._stamps].cpu()
        stamps = torch.cat([stamps, self.fields[self._stamps].after(stamps[:, -1], steps)], 1)
        calendar = self.fields[self._stamps].calendar(stamps).to(beside.device)
        return torch.cat([calendar, beside], 2) if beside.shape[2] else calendar

    def _rolled(self, window: Batch, made: Tensor) -> Batch:
        """The window with its own forecast (B, C, H) appended, the stamps that follow, and the last of what only the past knows."""
        L, H, later = self.config.look_back, made.shape[2], dict(window)
        for i in range(made.shape[1]):
            later[f"c{i}"] = torch.cat([window[f"c{i}"], made[:, i]], 1)[:, -L:]
        if self.config.time:
            stamps = window[self._stamps]
            later[self._stamps] = torch.cat([stamps, self.fields[self._stamps].after(stamps[:, -1].cpu(), H).to(stamps.device)], 1)[:, -L:]
        if "past" in window:
            later["past"] = torch.cat([window["past"], window["past"][:, -1:].expand(-1, H, -1)], 1)[:, -L:]
        return later

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """The item, and `prediction`: a list of steps, each with its time (or number), a value and its quantiles for each series, in the
        user's units, not rounded."""
        B, n = predicted["y0"].shape
        steps: dict[str, Any] = {"step": list(range(1, n + 1)) * B}
        if self.config.time:
            moment: Any = schema.inputs[self._stamps]
            steps = {self.config.time: words(moment, moment.after(predicted["last"][:, 0], n))}
        points = self._in_units(self._stacked(predicted).double(), predicted)
        bands = [self._in_units(each.double(), predicted) for each in predicted["bands"].unbind(1)] if "bands" in predicted else []
        for i, name in enumerate(self.config.columns):
            of = f"_{name}" if len(self.config.columns) > 1 else ""
            steps[f"prediction{of}"] = points[:, i].flatten().numpy()
            for level, band in zip(self.config.quantiles, bands, strict=False):
                steps[f"p{round(100 * level, 3):g}{of}"] = band[:, i].flatten().numpy()
        records = pl.DataFrame(steps).select(pl.struct(pl.all())).to_series().reshape((B, n)).arr.to_list().alias("prediction")
        item = schema.inputs.get(self._item) if self.config.item else None
        return pl.DataFrame([records] if item is None else [pl.Series(self.config.item, item.decode(predicted["item"])), records])

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        """With the items in the question's own words: training may not have had them."""
        if not self.config.item:
            return answers
        column = question.get_column(self.config.item)
        return answers.with_columns(column.filter(cells.words(column).is_first_distinct()).head(answers.height))

    def example(self, schema: Schema) -> dict[str, Any]:
        return {} if self.config.known else {"horizon": self.config.horizon}

    def imagine(self, schema: Schema) -> Table:
        """A window, and where something is known ahead, rows of the horizon without a value."""
        table = schema.imagine(self.config.look_back + self.config.horizon * bool(self.config.known))
        rows = pl.int_range(table.height)
        return table.with_columns(pl.when(rows < self.config.look_back).then(pl.col(name)).alias(name) for name in self.config.columns)
