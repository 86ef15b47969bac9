"""What a person should see of a run beside its figures: the examples that it got most wrong, and what the model shows of itself."""

from __future__ import annotations

import html

import torch

from luban.bundle import Bundle
from luban.core.batch import Batch, Examples
from luban.report.page import sheet, table

MOST = 16
BATCH = 32
COLUMNS = 8
"""Columns of an example that are shown, at most."""


def figures(bundle: Bundle, judged: Batch, truth: Batch, scored: Examples, train: Examples) -> dict[str, str]:
    """{title: HTML}: the first of each order that the task puts its examples in, then what the model shows of the training batch."""
    found = {}
    for title, order in bundle.task.ranked(judged, truth).items():
        numbers = order.argsort(descending=True, stable=True)[:MOST]
        numbers = numbers[order[numbers] > -torch.inf]
        if len(numbers):
            found[title] = _examples(bundle, judged, scored, numbers)
    seen = bundle.model.show(train[torch.arange(min(len(train), BATCH))])
    return found | {caption: sheet(each) for caption, each in seen.items()}


def _examples(bundle: Bundle, judged: Batch, scored: Examples, numbers: torch.Tensor) -> str:
    schema, batch = bundle.schema, scored[numbers]
    answers = bundle.task.answers({key: value[numbers] for key, value in judged.items()}, schema)
    shown = {**schema.targets, **dict(list(schema.inputs.items())[:COLUMNS])}
    head = [*answers.columns[:2], *(each.columns[0] for each in shown.values())]
    columns = [each.show(batch[key]) for key, each in shown.items()]
    # the answer, and how sure it is
    said = [[f"{cell:.3f}" if isinstance(cell, float) else html.escape(str(cell)) for cell in row[:2]] for row in answers.iter_rows()]
    return table(head, [[*words, *cells] for *cells, words in zip(*columns, said, strict=True)])
