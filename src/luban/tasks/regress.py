"""Regress: how much? One number, learned as a z-score and answered, and judged, in the user's units.

The target is a number field (mean and standard deviation of the training rows). Answers are not rounded, even where all training
values were whole: 2.4 rooms are more useful than 2, and the file then agrees with the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, listed
from luban.core.notes import warn
from luban.core.registry import FIELDS
from luban.metrics import compute, family, resampled
from luban.tasks._targets import discrete, need_one


class Regress(Task):
    @dataclass(frozen=True)
    class Config:
        loss: Literal["mse", "mae", "huber"] = "mse"
        """mse aims at the mean, as RMSE and R2 judge; mae at the median; huber in between, where a few targets are far off."""
        delta: float = 1.0
        """huber: where square turns into absolute, in standard deviations of the target. Smaller is nearer to mae."""

    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        return 0.9 if len(targets) == 1 and not discrete(targets[0]) else 0.0

    def target_field(self, column: pl.Series) -> str:
        return "number"

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """RMSE first, or MAE where that is what is minimised."""
        return tuple(dict.fromkeys(["mae" if self.config.loss == "mae" else "rmse", *family("regression")]))

    def head(self, schema: Schema) -> Head:
        (key,) = schema.targets
        return Head((Part(key, "value", 1, self.config.loss, bias=(0.0,)),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        (part,) = head.parts
        return self.criterion(head.split(model(batch))[part.key], batch[part.key], part), {}

    def criterion(self, z: Tensor, y: Tensor, part: Part) -> Tensor:
        """The mean loss of z (B, K, 1) against z-scores y (B,)."""
        z = z.squeeze(-1)
        y = y.unsqueeze(1).expand_as(z)
        if self.config.loss == "huber":
            return F.huber_loss(z, y, delta=self.config.delta)
        return F.mse_loss(z, y) if self.config.loss == "mse" else F.l1_loss(z, y)

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """z-scores (B,)."""
        (part,) = head.parts
        return {part.key: self.outcome(head.split(model(batch))[part.key], part)}

    def outcome(self, z: Tensor, part: Part) -> Tensor:
        """The mean of K members: (B, K, 1) -> (B,)."""
        return z.float().mean((1, 2))

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`, in the user's units."""
        (key,) = schema.targets
        return pl.DataFrame({"prediction": _units(predicted[key], schema)})

    def measure(self, predicted: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        (key,) = schema.targets
        y, v, known = self._known(predicted, truth, schema)
        found = compute("regression", names, y, v)
        left_out = [name for name in names if name not in found]
        details: dict[str, Any] = {}
        if len(names) > 1 and not known.all():  # with one name it is training that asks, often: say nothing
            details["rows_without_number"] = int((~known).sum())
            warn(f"{(~known).sum():,} rows have no finite number in {schema.targets[key].columns[0]!r}; they are not judged.")
        if len(names) > 1 and left_out:
            details["left_out"] = left_out
            warn(f"no value on these {known.sum():,} rows for {listed(left_out)} (constant, or with a zero, or too large); left out.")
        return Measured(found, details)

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        y, v, known = self._known(judged, truth, schema)
        return resampled("regression", names, y, v, counts[known])

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        y, v, known = self._known(judged, truth, schema)
        found = np.full(len(known), np.nan)
        found[known] = np.abs(y - v)
        return "absolute error", found

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        y, v, _ = self._known(judged, truth, schema)
        return {"": {"amounts": True, "truth": y, "said": v}}

    def ranked(self, judged: Batch, truth: Batch) -> dict[str, Tensor]:
        """By how far the answer is off."""
        ((key, v),) = judged.items()
        return {"Most wrong": (v - truth[key].reshape(-1)).abs().nan_to_num(-torch.inf)}

    def _known(self, judged: Batch, truth: Batch, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(truth (n,), answers (n,), both in the user's units; which rows these are (N,) bool): those with a finite truth."""
        (key,) = schema.targets
        y, v = _units(truth[key], schema), _units(judged[key], schema)
        known = np.isfinite(y)
        return y[known], v[known], known

    def check(self, table: Table, targets: Sequence[str]) -> None:
        need_one(targets, "regress")
        name, column = targets[0], table.get_column(targets[0])
        # empty cells are no mistake, their rows are left out; a NaN that was written is: something upstream went wrong
        floats = column.dtype.is_float()
        blank = (column.is_null() if floats else cells.empty(column, cells.EMPTY - {"nan"})).to_numpy()
        if blank.all():
            raise UserError(f"the target {name!r} is empty in all {len(column):,} rows: there is nothing to learn from.")
        if cells.numbers(column).null_count() == len(column):
            where = cells.first(column, ~cells.empty(column, frozenset({""})))
            raise UserError(
                f"regress needs numbers, but in the target {name!r} {where}, and no row is better. Leave out --task to classify."
            )
        z = FIELDS["number"]((name,)).fit([column]).encode(column).numpy()
        bad = np.flatnonzero(np.isnan(z) & ~blank)
        if len(bad):
            more = f", and {len(bad) - 1:,} more like it" if len(bad) > 1 else ""
            what = str(column[int(bad[0])])[:60]
            raise UserError(f"the target {name!r} has {what!r} in {cells.row(int(bad[0]))}, which is not a finite number{more}. "
                            "Correct it, or leave the cell empty: rows without a target are left out.")  # fmt: skip
        if np.ptp(z[~blank]) == 0:
            raise UserError(f"the target {name!r} is the same number in every row ({column.drop_nulls()[0]}): there is nothing to learn. "
                            "Choose another target.")  # fmt: skip


def _units(z: Tensor, schema: Schema) -> np.ndarray:
    """z-scores (B,) to the user's units, float64."""
    field: Any = next(iter(schema.targets.values()))
    return z.reshape(-1).to(torch.float64).cpu().numpy() * field.std + field.mean
