"""Several questions at once: each target is a classify or a regress of its own, and one model answers all of them.

The head is their parts side by side, the loss the mean of their losses (nats and squared z-scores are both about 1 for a constant
answer, so none drowns another). Metrics and answers carry the target's name: `price.rmse`, `prediction_price`. `mean_skill`
comes first: how far each target's own first metric has come from the best constant answer to perfect, averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError
from luban.metrics.several import mean_skill
from luban.tasks._targets import discrete, need_several
from luban.tasks.classify import Classify
from luban.tasks.regress import Regress


class Several(Task):
    @dataclass(frozen=True)
    class Config:
        classify: Classify.Config = field(default_factory=Classify.Config)
        """For all targets that are classes."""
        regress: Regress.Config = field(default_factory=Regress.Config)
        """For all targets that are numbers."""

        def __post_init__(self) -> None:
            if self.classify.mixup:
                raise UserError("task.classify.mixup is for a single target: of several, each would need a share of its own.")

    def __init__(self, config: Any = None):
        super().__init__(config)
        self.classify, self.regress = Classify(self.config.classify), Regress(self.config.regress)

    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        return 0.5 if len(targets) > 1 else 0.0

    def target_field(self, column: pl.Series) -> str:
        return self._question(column).target_field(column)

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        return ("mean_skill", *(f"{name}.{metric}" for name, task, alone in self._apart(schema) for metric in task.metrics(alone)))

    def called(self, metric: str, schema: Schema) -> str:
        for name, task, alone in self._apart(schema):
            if metric.startswith(f"{name}."):
                return f"{name}.{task.called(metric.removeprefix(f'{name}.'), alone)}"
        return metric

    def head(self, schema: Schema) -> Head:
        return Head(tuple(part for _, task, alone in self._apart(schema) for part in task.head(alone).parts))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        output = head.split(model(batch))
        losses = {part.key: self._task(part).criterion(output[part.key], batch[part.key], part) for part in head.parts}
        return torch.stack(list(losses.values())).mean(), {f"loss_{key}": value.detach() for key, value in losses.items()}

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        output = head.split(model(batch))
        return {part.key: self._task(part).outcome(output[part.key], part) for part in head.parts}

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """Each target's columns with its name inside: `prediction_<target>`, `confidence_<target>`, `p_<target>_<label>`."""
        tables = []
        for name, task, alone in self._apart(schema):
            table = task.answers(predicted, alone)
            tables.append(table.rename({column: "_".join([first, name, *rest]) for column in table.columns
                                        for first, *rest in [column.split("_", 1)]}))  # fmt: skip
        return pl.concat(tables, how="horizontal")

    def measure(self, predicted: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        metrics: dict[str, float] = {}
        details: dict[str, Any] = {}
        reached: dict[str, Any] = {}
        reference: dict[str, Any] = {}
        for name, task, alone in self._apart(schema):
            (key,) = alone.targets
            first, *_ = task.metrics(alone)
            wanted = [metric for metric in task.metrics(alone) if f"{name}.{metric}" in names]
            if wanted:
                found = task.measure(predicted, truth, alone, wanted)
                metrics |= {f"{name}.{metric}": value for metric, value in found.metrics.items()}
                details[name] = found.details
            if "mean_skill" in names:
                constant = {key: _best_constant(truth[key], predicted[key])}
                reached |= {f"{name}.{k}": v for k, v in task.measure(predicted, truth, alone, [first]).metrics.items()}
                reference |= {f"{name}.{k}": v for k, v in task.measure(constant, truth, alone, [first]).metrics.items()}
        skill = float(mean_skill(reference, reached)[0])
        if math.isfinite(skill):
            metrics["mean_skill"] = skill
        return Measured({name: metrics[name] for name in names if name in metrics}, details)

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        reference: dict[str, np.ndarray] = {}
        firsts = []
        for name, task, alone in self._apart(schema):
            (key,) = alone.targets
            first, *_ = task.metrics(alone)
            constant = {key: _best_constant(truth[key], judged[key])}
            reference |= {f"{name}.{k}": v for k, v in task.resample(constant, truth, alone, [first], counts).items()}
            found |= {f"{name}.{k}": v for k, v in task.resample(judged, truth, alone, task.metrics(alone), counts).items()}
            firsts.append(f"{name}.{first}")
        if "mean_skill" in names:
            found["mean_skill"] = np.broadcast_to(mean_skill(reference, {k: found[k] for k in firsts if k in found}), counts.shape[1])
        return {name: found[name] for name in names if name in found}

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        """The mean over the targets, each error as a multiple of its mean, so that none drowns another; the first metric of each counts."""
        each = [task.losses(judged, truth, alone, task.metrics(alone)[0])[1] for _, task, alone in self._apart(schema)]
        means = [np.nanmean(errors) if np.isfinite(errors).any() else np.nan for errors in each]
        return "error over its mean", np.mean([errors / mean if mean else errors for errors, mean in zip(each, means, strict=True)], 0)

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        return {f"{name}: {title}" if title else name: chart for name, task, alone in self._apart(schema)
                for title, chart in task.charts({key: judged[key] for key in alone.targets}, truth, scored, alone).items()}  # fmt: skip

    def check(self, table: Table, targets: Sequence[str]) -> None:
        need_several(targets, "several")
        for name in targets:
            self._question(table.get_column(name)).check(table, [name])

    def _question(self, column: pl.Series) -> Classify | Regress:
        return self.classify if discrete(column) else self.regress

    def _task(self, part: Part) -> Classify | Regress:
        return self.regress if part.kind == "value" else self.classify

    def _apart(self, schema: Schema) -> list[tuple[str, Classify | Regress, Schema]]:
        """(the target's name, its question, the schema with it alone) of each target."""
        return [(each.columns[0], self.classify if each.kind == "id" else self.regress, Schema(schema.inputs, {key: each}))
                for key, each in schema.targets.items()]  # fmt: skip


def _best_constant(truth: Tensor, like: Tensor) -> Tensor:
    """The shares of the classes, or the mean, of these very rows, for each row: what a constant answer can reach at most."""
    if like.dim() == 1:
        return truth.nanmean().expand_as(like)
    shares = torch.bincount(truth, minlength=like.shape[1] + 1)[1 : like.shape[1] + 1].float()
    return (shares / shares.sum().clamp(min=1)).expand_as(like)
