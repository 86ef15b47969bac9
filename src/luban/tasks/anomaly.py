"""Anomaly: which moments of these series are not as their past would have them? A forecast of the next step, beside what came.

It is learned and judged as a forecast of one step, for an anomaly that is known is rare and that is not known has no name. A question is
answered at each of its moments that has a past: the value, what was expected, and the score, how far the value is off in units of how far
the outermost quantiles of the validation errors lie on that side: above 1 it lies outside of them, and the larger the stranger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core.batch import Batch, Spans, Store
from luban.core.contract import Head, Model, NoConfig, Schema, Table
from luban.core.errors import UserError
from luban.core.notes import say
from luban.tasks._windows import words
from luban.tasks.forecast import Forecast


class Anomaly(Forecast):
    asks = ""  # a forecast is meant by the same models more often
    instead = ()
    Ask = NoConfig  # type: ignore[assignment]

    @dataclass(frozen=True)
    class Config(Forecast.Config):
        quantiles: tuple[float, ...] = (0.01, 0.99)
        """The quantiles of the validation errors that a score of 1 stands for; low and high in the answers."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.horizon not in (None, 1):
                raise UserError(f"an anomaly is judged by the next step alone: leave task.horizon out, or make it 1, not {self.horizon}.")
            if len(self.quantiles) != 2:
                raise UserError(f"task.quantiles of anomalies are two, the low and the high, not {list(self.quantiles)}.")

    def settle(self, table: Table, targets: Any, time: str | None) -> None:
        self.config = replace(self.config, horizon=1)
        super().settle(table, targets, time)

    def question(self, ask: Any) -> Table | None:
        raise UserError("which moments are to be judged? Name a file of the series, or - for standard input.")

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        """Each moment that has a value and a whole look-back: (B, L) what lies before it, y0, ... (B, 1) what came."""
        L, store = self.config.look_back, Store(encoded, torch.zeros(len(encoded["c0"]), dtype=torch.uint8))
        first, _ = self._runs(store)
        end = torch.arange(len(store.part))
        end = end[end - first >= L]
        if not len(end):
            raise UserError(f"a moment is judged by the {L:,} before it, and no series here has {L + 1:,} rows: give more of the past.")
        say(f"the first {L:,} rows of each series are looked back on, and not judged")
        start, end = self._answered(store, end - L, end, 2)
        return self.batch(store, Spans(start, end + 1 - start)) | ({"at": encoded[self._stamps][end]} if self.config.time else {"at": end})

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """As a forecast of one step; value (B, C) beside it, where the question has it, in the models' scale; at (B,): the moment."""
        predicted = super().predict(model, batch, head, Forecast.Ask())
        if "at" not in batch:
            return predicted
        return predicted | {"value": torch.cat([batch[part.key] for part in head.parts], 1), "at": batch["at"]}

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """The item, the time (or the number of the row), and `prediction`: of each series (named where there are several) its value,
        prediction, low, high and score, in the user's units; no score where the quantiles are one."""
        made, names, C = [], self.config.columns, len(self.config.columns)
        if self.config.item:
            field, numbers = schema.inputs[self._item], predicted["item"]
            known = [str(n if name is None else name) for name, n in zip(field.decode(numbers), numbers.tolist(), strict=True)]
            made.append(pl.Series(self.config.item, known))
        moment: Any = schema.inputs.get(self._stamps)
        at = predicted["at"]
        made.append(pl.Series(self.config.time, words(moment, at)) if self.config.time else pl.Series("row", at.numpy() + 1))
        in_scale = (predicted["value"].unsqueeze(2), self._stacked(predicted), *predicted["bands"].unbind(1))
        v, x, low, high = (self._in_units(each.double(), predicted)[:, :, 0].flatten().numpy() for each in in_scale)  # (B * C,)
        reach = np.where(v > x, high - x, x - low)
        score = np.divide(np.abs(v - x), reach, out=np.full(len(v), np.nan), where=reach > 0)
        columns = {"value": v, "prediction": x, "low": low, "high": high, "score": np.where(v == x, 0.0, score)}
        many = [pl.Series("series", list(names) * len(at))] if C > 1 else []
        steps = pl.DataFrame([*many, *(pl.Series(key, each).fill_nan(None) for key, each in columns.items())])
        records = steps.select(pl.struct(pl.all())).to_series().reshape((len(at), C)).arr.to_list().alias("prediction")
        return pl.DataFrame([*made, records])

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        if not self.config.item:
            return answers
        names = question.get_column(self.config.item).unique()
        numbers: Any = schema.inputs[self._item].encode(names)
        known = dict(zip(map(str, numbers.tolist()), names.cast(pl.String), strict=True))
        return answers.with_columns(pl.col(self.config.item).replace(known))

    def imagine(self, schema: Schema) -> Table:
        return schema.imagine(self.config.look_back + 1)

    def example(self, schema: Schema) -> dict[str, Any]:
        return {}

    @classmethod
    def samples(cls) -> list[Table]:
        return Forecast.samples()[:2]
