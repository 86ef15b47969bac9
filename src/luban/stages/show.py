"""What a person should see of a run beside its figures: the examples that it got most wrong, and what the model shows of itself."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from luban.bundle import Bundle
from luban.core.batch import Batch, Examples
from luban.core.contract import Field, Table
from luban.report.page import sheet, table
from luban.stages.decide import marked

MOST = 10
BATCH = 32
COLUMNS = 8
"""Columns of an example that are shown, at most."""
LETTERS = 200
"""Of a cell."""
PASSAGE = 1000
"""Of what the task itself writes."""


Raw = Callable[[str, np.ndarray], Iterable[Any]]
"""(column, numbers of examples) -> its cells as they were read, for fields that cannot give them back."""


def figures(bundle: Bundle, judged: Batch, truth: Batch, scored: Examples, train: Examples, raw: Raw) -> dict[str, str]:
    """{title: HTML}: the first of each order that the task puts its examples in, then what the model shows of the training batch."""
    found = {}
    for title, order in bundle.task.ranked(judged, truth).items():
        numbers = order.argsort(descending=True, stable=True)[:MOST]
        numbers = numbers[order[numbers] > -torch.inf]
        if len(numbers):
            found[title] = _examples(bundle, (judged, truth), scored, numbers, raw)
    seen = bundle.model.show(train[torch.arange(min(len(train), BATCH))])
    return found | {caption: sheet(each) for caption, each in seen.items()}


def cells_of(table: Table, scored: Examples, kept: np.ndarray | None = None) -> Raw:
    """Of examples that are rows of `table`, or of its rows `kept`, as the store has them."""

    def raw(name: str, numbers: np.ndarray) -> Iterable[Any]:
        rows = scored.spans.start.numpy()[numbers]
        return table.get_column(name).gather(rows if kept is None else kept[rows]) if name in table.columns else [None] * len(rows)

    return raw


def _examples(bundle: Bundle, of: tuple[Batch, Batch], scored: Examples, numbers: torch.Tensor, raw: Raw) -> str:
    schema, batch = bundle.schema, scored[numbers]
    judged, truth = ({key: value[numbers] for key, value in each.items()} for each in of)
    written = bundle.task.written(judged, truth, lambda name: list(raw(name, numbers.numpy())), schema)
    if written is not None:
        return table(written.columns, [[_cut(cell, PASSAGE) for cell in row] for row in written.iter_rows()], "words")
    answers = bundle.task.answers(judged, schema)
    shown = {**schema.targets, **dict(list(schema.inputs.items())[:COLUMNS])}
    head = [*answers.columns[:2], *(each.columns[0] for each in shown.values())]

    def column(key: str, each: Field) -> Sequence[str]:
        if each.kind == "tokens" and key in schema.inputs and (words := marked(bundle, batch, key)) is not None:
            return words
        return each.show(batch[key]) if each.invertible else [_cut(cell) for cell in raw(each.columns[0], numbers.numpy())]

    columns = [column(key, each) for key, each in shown.items()]
    # the answer, and how sure it is
    said = [[f"{cell:.3f}" if isinstance(cell, float) else html.escape(str(cell)) for cell in row[:2]] for row in answers.iter_rows()]
    return table(head, [[*words, *cells] for *cells, words in zip(*columns, said, strict=True)], "rows")


def _cut(cell: Any, most: int = LETTERS) -> str:
    written = "" if cell is None else str(cell)
    return html.escape(written if len(written) <= most else written[:most] + "…")
