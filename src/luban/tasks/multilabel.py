"""Multilabel: which of these labels apply? Several yes-or-no columns, one question; any number of them may be yes, which is from .5 on.

Each label is a boolean field and a part of the head of its own, with one logit; they share everything before it.
Letters: B examples, K ensemble members, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from luban.core.registry import FIELDS, Later
from luban.layers.heads import log_odds
from luban.metrics import compute, family, resampled
from luban.tasks._targets import need_several, yes_or_no

sk = Later("sklearn.metrics")


class Multilabel(Task):
    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        alike = len(targets) > 1 and all(yes_or_no(each) or FIELDS["boolean"].sniff(each) > 0 for each in targets)
        return 0.9 if alike else 0.0

    def target_field(self, column: pl.Series) -> str:
        return "boolean"

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        names = [f"f1_{field.columns[0]}" for field in schema.targets.values()]
        return tuple(dict.fromkeys(["f1_micro", *family("labels"), *names]))

    def head(self, schema: Schema) -> Head:
        parts = []
        field: Any
        for key, field in schema.targets.items():
            no, yes = log_odds([1000 * (1 - field.share), 1000 * field.share])  # the field keeps the share; as of 1000 rows it is finite
            parts.append(Part(key, "labels", 1, "bce", bias=(yes - no,)))
        return Head(tuple(parts))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        """Binary cross-entropy, the mean over rows and labels; a missing label (NaN) weighs nothing."""
        z = _logits(model, batch, head)
        y = torch.stack([batch[part.key] for part in head.parts], -1).unsqueeze(1).expand_as(z)
        known = ~y.isnan()
        total = F.binary_cross_entropy_with_logits(z, y.nan_to_num(), known.to(z.dtype), reduction="sum")
        return total / known.sum().clamp(min=1), {}

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """{key: probability (B,)} for each label."""
        p = _logits(model, batch, head).float().sigmoid().mean(1)
        return {part.key: p[:, i] for i, part in enumerate(head.parts)}

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: the labels that apply, joined by ";" (empty for none); `p_<label>` of each."""
        names = [field.columns[0] for field in schema.targets.values()]
        p = _stacked(predicted, schema)
        joined = [";".join(name for name, yes in zip(names, row, strict=True) if yes) for row in (p >= 0.5).tolist()]
        return pl.DataFrame({"prediction": pl.Series(joined, dtype=pl.String), **{f"p_{name}": p[:, i] for i, name in enumerate(names)}})

    def measure(self, predicted: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        y, p, _ = _known(predicted, truth, schema)
        labels = [field.columns[0] for field in schema.targets.values()]
        found = compute("labels", names, y, p, _f1_of_each(labels))
        details: dict[str, Any] = {"by_class": _by_label(y, p, labels)} if len(y) and len(names) > 1 else {}  # one: training asks, often
        left_out = [name for name in names if name not in found]
        if len(names) > 1 and left_out:
            details["left_out"] = left_out
            warn(f"no value on these {len(y):,} rows for {listed(left_out)} (no row has the label, or an answer is not finite); left out.")
        return Measured({name: found[name] for name in names if name in found}, details)

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        y, p, known = _known(judged, truth, schema)
        return resampled("labels", names, y, p, counts[known], _f1_of_each([field.columns[0] for field in schema.targets.values()]))

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        y, p, known = _known(judged, truth, schema)
        found = np.full(len(known), np.nan)
        found[known] = ((p >= 0.5) != y).mean(1)
        return "wrong answers", found

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        y, p, _ = _known(judged, truth, schema)
        return {"": {"labels": [field.columns[0] for field in schema.targets.values()], "truth": y == 1, "said": p}}

    def check(self, table: Table, targets: Sequence[str]) -> None:
        need_several(targets, "multilabel")
        constant = [name for name in targets if cells.present(table.get_column(name)).n_unique() < 2]
        if len(constant) == len(targets):
            raise UserError(f"the targets {listed(targets)} have one value each: there is nothing to learn. Choose other targets.")
        if constant:
            warn(f"the labels {listed(constant)} have one value in all rows: nothing can be learned about them.")


def _logits(model: Model, batch: Batch, head: Head) -> Tensor:
    """(B, K, L): the whole output, for each part has one number."""
    z = model(batch)
    return z.unsqueeze(1) if z.dim() == 2 else z


def _stacked(batch: Batch, schema: Schema) -> np.ndarray:
    """(B, L) float32, in the schema's order."""
    return torch.stack([batch[key].reshape(-1).float() for key in schema.targets], 1).cpu().numpy()


def _known(judged: Batch, truth: Batch, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(truth (n, L) 0 or 1, probabilities (n, L), which rows these are (N,) bool): those whose labels are all known."""
    y, p = _stacked(truth, schema), _stacked(judged, schema)
    known = ~np.isnan(y).any(1)
    return y[known].astype(int), p[known], known


def _f1_of_each(labels: Sequence[str]) -> dict[str, int]:
    return {f"f1_{label}": c for c, label in enumerate(labels)}


def _by_label(y: np.ndarray, p: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, float]]:
    figures = sk.precision_recall_fscore_support(y, p >= 0.5, average=None, zero_division=0)
    return {label: {"precision": float(a), "recall": float(b), "f1": float(c), "support": int(n)}
            for label, a, b, c, n in zip(labels, *figures, strict=True)}  # fmt: skip
