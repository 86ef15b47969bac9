"""Classify: which one of several classes? Two or a thousand, equal in size or not.

The target is a category field: the id i + 1 stands for the class field.words[i], and the id 0 for a label never seen in training,
which is neither learned from nor judged. With two classes the second one (the later number or word: 1, true, "yes", "spam") is
the positive one. The probabilities of an ensemble's K members are averaged; their losses too, so that each learns by itself.
"""

from __future__ import annotations

import functools
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
from luban.core.registry import Later
from luban.layers.heads import log_odds
from luban.metrics import compute, family, resampled
from luban.tasks._targets import discrete, need_one

sk = Later("sklearn.metrics")

COLUMNS = 20
"""Up to so many classes each gets its column `p_<label>` and its metric `f1_<label>`; with more, the three likeliest are answered."""

ONE_SIDED = 0.8
"""Above this share of the largest class, accuracy hardly moves from that of always naming it, and ROC-AUC comes first instead."""

OF_ONE = ("precision", "recall", "f1", "pr_auc")
"""Of two classes, these are of the second one."""

MOST_CONFUSED = 50
"""Classes up to which the confusion matrix is kept."""


class Classify(Task):
    @dataclass(frozen=True)
    class Config:
        loss: Literal["cross_entropy", "bce"] = "cross_entropy"
        """cross_entropy, or bce for two classes with one output: the same model, spelt as textbooks do for binary questions."""
        label_smoothing: float = 0.0
        """Share of the probability spread over all classes, for networks only. 0, because smoothed probabilities are too timid; .1 may help
        pictures."""
        class_weights: Literal["none", "balanced"] = "none"
        """balanced: each class counts the same in the loss, however rare. none, because balancing falsifies the probabilities."""
        mixup: float = 0.0
        """Trains on pairs of rows, mixed (Zhang et al. 2018, arXiv 1710.09412): pictures and numbers of two rows are averaged by a share
        drawn from Beta(mixup, mixup), and so are their losses; other columns and missing numbers stay. .2 may help pictures where
        training is long. For networks only."""
        sure: float = 0.8
        """With train.semi: the probability from which the answer to a row that has none is learned from."""
        max_classes: int = 1000
        """More different labels than this are taken for a mistake in the choice of the target."""

        def __post_init__(self) -> None:
            if not 0 <= self.label_smoothing < 1:
                raise UserError(f"task.label_smoothing is a share of the probability, at least 0 and below 1, not {self.label_smoothing}.")
            if self.mixup < 0:
                raise UserError(f"task.mixup is 0 for none, or above 0 (.2 is usual), not {self.mixup}.")

    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        return 0.9 if len(targets) == 1 and discrete(targets[0]) else 0.0

    def target_field(self, column: pl.Series) -> str:
        return "category"

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """Accuracy first, or ROC-AUC where one class holds more than 80 % of the training rows."""
        _, field = _target(schema)
        names = [name for name in family("classification") if len(field.words) == 2 or name not in ("precision", "recall", "f1")]
        first = "roc_auc" if max(field.counts) > ONE_SIDED * sum(field.counts) else "accuracy"
        each = [f"f1_{word}" for word in field.words] if len(field.words) <= COLUMNS else []
        return tuple(dict.fromkeys([first, *names, *each]))

    def called(self, metric: str, schema: Schema) -> str:
        _, field = _target(schema)
        return f"{metric} of {str(field.words[1])!r}" if metric in OF_ONE and len(field.words) == 2 else metric

    def head(self, schema: Schema) -> Head:
        key, field = _target(schema)
        counts = field.counts
        if len(counts) < 2:
            raise UserError(f"the training rows hold a single class of {field.columns[0]!r} ({listed(map(str, field.words))}); the others "
                            "are all in validation and test. Take another split (--set data.split_seed=1), or more rows.")  # fmt: skip
        balanced = self.config.class_weights == "balanced"
        weights = tuple(sum(counts) / (len(counts) * count) for count in counts) if balanced else ()
        bias = log_odds([count * weight for count, weight in zip(counts, weights or (1.0,) * len(counts), strict=True)])
        if self.config.loss == "cross_entropy":
            return Head((Part(key, "classes", len(counts), "cross_entropy", weights, bias),))
        if len(counts) != 2:
            raise UserError(f"the loss bce is for two classes; {field.columns[0]!r} has {len(counts)}. Use --set task.loss=cross_entropy.")
        return Head((Part(key, "binary", 1, "bce", weights, (bias[1] - bias[0],)),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        (part,) = head.parts
        if self.config.mixup and model.training:
            mixed, partner, share = self._mixed(batch, part.key)
            z = head.split(model(mixed))[part.key]
            return share * self.criterion(z, batch[part.key], part) + (1 - share) * self.criterion(z, partner, part), {}
        return self.criterion(head.split(model(batch))[part.key], batch[part.key], part), {}

    def _mixed(self, batch: Batch, key: str) -> tuple[Batch, Tensor, Tensor]:
        """(the batch, each row averaged with another, the answers of those others, the share of the rows themselves)"""
        order = torch.randperm(len(batch[key]), device=batch[key].device)
        alpha = torch.tensor(float(self.config.mixup), device=order.device)
        share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()

        def mixed(value: Any) -> Any:  # bytes are pixels
            if not isinstance(value, Tensor) or not (value.is_floating_point() or value.dtype == torch.uint8):
                return value
            both = share * value + (1 - share) * value.index_select(0, order)
            return torch.where(both.isnan(), value, both) if value.is_floating_point() else both

        return {name: value if name == key else mixed(value) for name, value in batch.items()}, batch[key].index_select(0, order), share

    def criterion(self, z: Tensor, ids: Tensor, part: Part) -> Tensor:
        """The mean loss of logits z (B, K, C) against ids (B,). Rows of unseen labels weigh nothing."""
        smooth = self.config.label_smoothing
        y = ids - 1 if z.shape[1] == 1 else (ids - 1).unsqueeze(1).expand(z.shape[:2])
        if part.kind == "classes" and not part.weights:  # the usual case, in one kernel: a small step is made of calls
            return F.cross_entropy(_classes_second(z), y, ignore_index=-1, label_smoothing=smooth)
        known = ids > 0
        weights = _on(part.weights, z.device) if part.weights else None
        if part.kind == "classes":
            total = F.cross_entropy(_classes_second(z), y, weights, ignore_index=-1, reduction="sum", label_smoothing=smooth)
        else:
            y = (ids - 1).clamp(min=0)
            row = known.to(z.dtype) if weights is None else known * weights[y]
            truth = (y * (1 - smooth) + smooth / 2).to(z.dtype).unsqueeze(1).expand(z.shape[:2])
            total = F.binary_cross_entropy_with_logits(z.squeeze(-1), truth, row.unsqueeze(1).expand_as(truth), reduction="sum")
        return total / (known.sum().clamp(min=1) * z.shape[1])

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """Probabilities (B, C)."""
        (part,) = head.parts
        return {part.key: self.outcome(head.split(model(batch))[part.key], part)}

    def outcome(self, z: Tensor, part: Part) -> Tensor:
        """Logits of K members (B, K, C or 1) -> probabilities (B, C)."""
        if part.kind == "classes":
            return _classes_second(z.float()).softmax(1).reshape(len(z), part.size, -1).mean(2)
        yes = z.float().sigmoid().mean(1)
        return torch.cat([1 - yes, yes], 1)

    def guess(self, predicted: Batch, again: Batch, head: Head) -> Batch:
        (part,) = head.parts
        (p, label), other = predicted[part.key].max(1), again[part.key].argmax(1)
        return {part.key: (label + 1).masked_fill((p < self.config.sure) | (label != other), 0)}

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction` and `confidence`; with up to 20 classes `p_<label>`, with more the next two: `prediction_2`, `confidence_2`, ..."""
        key, field = _target(schema)
        p = predicted[key].cpu()
        words = pl.Series(field.words)
        top = p.topk(1 if len(words) <= COLUMNS else 3, dim=1)
        columns = {}
        for rank in range(top.values.shape[1]):
            suffix = f"_{rank + 1}" if rank else ""
            columns[f"prediction{suffix}"] = words.gather(top.indices[:, rank].numpy())
            columns[f"confidence{suffix}"] = pl.Series(top.values[:, rank].numpy())
        if len(words) <= COLUMNS:
            columns |= {f"p_{word}": pl.Series(p[:, i].numpy()) for i, word in enumerate(field.words)}
        return pl.DataFrame(columns)

    def measure(self, predicted: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        """The details (confusion matrix, figures of each class) come with more than one name: training asks for one, often."""
        _, field = _target(schema)
        y, p, known = _known(predicted, truth, schema)
        found = compute("classification", names, y, p, _f1_of_each(field))
        details = _by_class(y, p, field.words) if len(y) and len(names) > 1 else {}
        left_out = [name for name in names if name not in found]
        if len(names) > 1 and not known.all():
            details["rows_with_unseen_label"] = int((~known).sum())
            warn(f"{(~known).sum():,} rows have a {field.columns[0]!r} that the training rows did not have; they are not judged.")
        if len(names) > 1 and left_out:
            details["left_out"] = left_out
            warn(f"no value on these {len(y):,} rows for {listed(left_out)} (a class is absent, or an answer is not finite); left out.")
        return Measured({name: found[name] for name in names if name in found}, details)

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        y, p, known = _known(judged, truth, schema)
        return resampled("classification", names, y, p, counts[known], _f1_of_each(_target(schema)[1]))

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        """Wrong answers where accuracy is what counts, else the nats of the true class."""
        y, p, known = _known(judged, truth, schema)
        found = np.full(len(known), np.nan)
        found[known] = p.argmax(1) != y if metric == "accuracy" else -np.log(p[np.arange(len(y)), y].clip(min=1e-7))
        return "wrong answers" if metric == "accuracy" else "log loss", found

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        y, p, _ = _known(judged, truth, schema)
        words = [str(word) for word in _target(schema)[1].words]
        return {"": {"classes": words, "truth": y, "said": p}}

    def ranked(self, judged: Batch, truth: Batch) -> dict[str, Tensor]:
        """The wrong ones by the probability that the truth got; all by that of the answer."""
        ((key, p),) = judged.items()
        ids = truth[key]
        true = p.gather(1, (ids - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        right = (p.argmax(1) == ids - 1) | (ids == 0)  # an unseen label is nobody's fault
        return {"Most wrong": (1 - true).masked_fill(right, -torch.inf), "Most doubtful": 1 - p.max(1).values}

    def check(self, table: Table, targets: Sequence[str]) -> None:
        need_one(targets, "classify")
        name, column = targets[0], table.get_column(targets[0])
        counts, gone = cells.counts([column])
        rows = len(column) - gone
        if not rows:
            raise UserError(f"the target {name!r} is empty in all {len(column):,} rows: there is nothing to learn from.")
        if counts.height == 1:
            raise UserError(f"the target {name!r} has one class only ({counts[0, 0]!r}, in {rows:,} rows): nothing to tell apart. "
                            "Add rows of another class, or choose another target.")  # fmt: skip
        too_many = f"the target {name!r} has {counts.height:,} different values in {rows:,} rows"
        amounts = not cells.numbers(counts["word"]).null_count()
        if rows >= 20 and counts.height > rows / 2:
            hint = "If it is an amount: --task regress." if amounts else "Choose another target."
            raise UserError(f"{too_many}: most rows would be a class of their own, which cannot be learned. {hint}")
        if counts.height > self.config.max_classes:
            hint = "If it is an amount: --task regress. " if amounts else ""
            raise UserError(f"{too_many}, more than {self.config.max_classes:,} classes. {hint}If it is what you want: "
                            f"--set task.max_classes={counts.height}.")  # fmt: skip
        once = counts.filter(pl.col("count") == 1)["word"]
        if len(once):
            single = cells.words(column).is_in(once.implode()).fill_null(False).arg_true()[:5]
            where = ", ".join(f"{str(column[i]).strip()!r} ({cells.row(i)})" for i in single)
            more = f" and {len(once) - 5} more" if len(once) > 5 else ""
            warn(f"a class of {name!r} with a single row cannot be both learned and tested: {where}{more}. "
                 "Add rows of it, merge it with another, or leave it out.")  # fmt: skip


def _target(schema: Schema) -> tuple[str, Any]:
    """(key, its category field)."""
    ((key, field),) = schema.targets.items()
    return key, field


def _known(judged: Batch, truth: Batch, schema: Schema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(class numbers (n,), probabilities (n, C), which rows these are (N,) bool): those whose label training had."""
    key, field = _target(schema)
    ids, p = truth[key].cpu().numpy(), judged[key].float().cpu().numpy()
    known = (ids > 0) & (ids <= len(field.words))
    return ids[known] - 1, p[known], known


def _f1_of_each(field: Any) -> dict[str, int]:
    """{f1_<label>: the number of its class}."""
    return {f"f1_{word}": c for c, word in enumerate(field.words[:COLUMNS])}


def _classes_second(z: Tensor) -> Tensor:
    """(B, K, C) -> (B, C, K), or (B, C) where K = 1. A softmax over the last dimension is slow where that is short: for 256 rows,
    32 members and 2 classes, loss and gradient cost 470 us flattened to (B * K, C) and 160 us so."""
    return z[:, 0] if z.shape[1] == 1 else z.transpose(1, 2).contiguous()


@functools.lru_cache(maxsize=8)
def _on(weights: tuple[float, ...], device: torch.device) -> Tensor:
    """Kept, because a copy to an accelerator at each step would wait for it."""
    return torch.tensor(weights, device=device)


def _by_class(y: np.ndarray, p: np.ndarray, words: Sequence[Any]) -> dict[str, Any]:
    """{"by_class": {label: precision, recall, f1, support}, "classes", "confusion" (rows: truth, columns: prediction)}."""
    labels, named = np.arange(len(words)), [str(word) for word in words]
    chosen = p.argmax(1)
    figures = zip(*sk.precision_recall_fscore_support(y, chosen, labels=labels, zero_division=0), strict=True)
    by_class = {label: {"precision": float(a), "recall": float(b), "f1": float(c), "support": int(n)}
                for label, (a, b, c, n) in zip(named, figures, strict=True)}  # fmt: skip
    if len(words) > MOST_CONFUSED:
        return {"by_class": by_class}
    return {"by_class": by_class, "classes": named, "confusion": sk.confusion_matrix(y, chosen, labels=labels).tolist()}
