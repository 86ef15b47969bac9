"""Gradient-boosted trees by LightGBM (Ke et al. 2017): the model to beat on tables, in seconds.

One booster a target (one a label where there are many), stopped when the validation part no longer gets better. Missing numbers go in
as NaN and ids as categories, both of which LightGBM splits natively; an id never seen in training takes the "others" branch. What
was learned is LightGBM's own text, which any LightGBM reads; the answers come from that text from the first moment on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Part, Schema
from luban.core.registry import Later
from luban.layers import boosted
from luban.layers.boosted import LOSSES
from luban.layers.columns import BINS, frequencies
from luban.layers.heads import truth

if TYPE_CHECKING:
    import lightgbm as lgb
else:
    lgb = Later("lightgbm")

SURE = 15.0
"""LightGBM answers +-34 where a label had one value in all training rows; a probability of 3e-7 is as much as data ever prove."""


class Trees(Model):
    solves = True
    baseline = True
    Config = boosted.Config

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.columns = {key: (field.kind, field.size) for key, field in schema.inputs.items()}
        self.boosters: dict[str, lgb.Booster] = {}  # "y0", or "y0.3" for the label number 3

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.0 if all(each.kind == "tokens" for each in schema.inputs.values()) else 0.9  # it reads words as shares

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        jobs = [(part, label) for part in self.head.parts for label in (range(part.size) if part.kind == "labels" else [None])]
        parts = [each.whole() for each in (train, valid) if each is not None]
        matrices = [self._matrix(batch) for batch in parts]
        texts = {}
        for done, (part, label) in enumerate(jobs):
            answered = [(x, batch) for x, batch in zip(matrices, parts, strict=True) if len(truth(batch, part)[1])]
            sets = [_dataset(x, batch, part, label, self._ids()) for x, batch in answered]
            left = clock.seconds_left()
            until = left - left / (len(jobs) - done) if math.isfinite(left) else 0.0  # an equal share of the time for each booster
            texts[_file(part, label)] = self._boost(part, sets, clock, until)
        self.restore(texts)

    def _boost(self, part: Part, sets: list[lgb.Dataset], clock: Clock, until: float) -> str:
        """One booster, trained until it stops improving or only `until` seconds are left; its text."""
        objective = {
            "objective": LOSSES[part.loss] if part.kind == "value" else "multiclass" if _many(part) else "binary",
            "num_class": part.size if _many(part) else 1,
        }
        return boosted.boosted(self.config, objective, sets, clock, until)

    def _ids(self) -> list[int]:
        """Numbers of the matrix's columns that are categories."""
        widths = [min(size, BINS) if kind == "tokens" else 1 if kind == "id" else size for kind, size in self.columns.values()]
        starts = np.cumsum([0, *widths])
        return [int(start) for start, (kind, _) in zip(starts, self.columns.values(), strict=False) if kind == "id"]

    def _matrix(self, batch: dict[str, Any]) -> np.ndarray:
        """(B, F): numbers with their NaN, ids as they are, tokens as shares."""
        made = [frequencies(batch[key], size) if kind == "tokens" else batch[key].reshape(len(batch[key]), -1)
                for key, (kind, size) in self.columns.items()]  # fmt: skip
        return torch.cat([each.float().cpu() for each in made], 1).numpy()

    def forward(self, batch: Batch) -> Tensor:
        x = self._matrix(batch)
        made = []
        for part in self.head.parts:
            for label in range(part.size) if part.kind == "labels" else [None]:
                booster = self.boosters[_file(part, label)]
                raw = np.asarray(booster.predict(x, raw_score=True, num_threads=torch.get_num_threads())).reshape(len(x), -1)
                if part.kind == "classes" and not _many(part):
                    made.append(np.zeros((len(x), 1)))  # the logit of the first of two classes
                made.append(raw if part.kind == "value" else raw.clip(-SURE, SURE))
        return torch.from_numpy(np.concatenate(made, 1)).float()

    def files(self) -> dict[str, str]:
        return {name: booster.model_to_string() for name, booster in self.boosters.items()}

    def restore(self, files: dict[str, str]) -> None:
        self.boosters = {name: lgb.Booster(model_str=text) for name, text in files.items()}


def _many(part: Part) -> bool:
    """More than two classes: as many trees a round. Two need one, for the logit between them."""
    return part.kind == "classes" and part.size > 2


def _file(part: Part, label: int | None) -> str:
    return f"trees.{part.key}.txt" if label is None else f"trees.{part.key}.{label}.txt"


def _dataset(x: np.ndarray, batch: Batch, part: Part, label: int | None, ids: list[int]) -> lgb.Dataset:
    y, rows = truth(batch, part)
    y = y if label is None else y[:, label]
    weight = np.array(part.weights)[y] if part.weights and part.kind in ("classes", "binary") else None
    return lgb.Dataset(x[rows], y, weight=weight, categorical_feature=ids, params={"verbosity": -1})
