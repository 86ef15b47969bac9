"""Which tokens an answer hangs on: each is left out in turn and the answer given again (occlusion; Zeiler and Fergus 2014)."""

from __future__ import annotations

import html
from typing import Any

import torch
from torch import Tensor

from luban.bundle import Bundle, predict_all
from luban.core.batch import Batch, Ragged, rows_of
from luban.core.contract import Field

MOST = 80
"""Tokens of a row that are left out in turn: the first of them."""
BROKEN = "\ufffd"
"""What a piece of a character decodes to."""
COST = 3e11
"""FLOPs that this may cost for all rows: some seconds. A large network goes without."""


def marked(bundle: Bundle, batch: Batch, key: str) -> list[str] | None:
    """Each row's tokens as HTML, blue where the answer would be less sure without them, red where more; None where that is too dear, or
    where tokens are no words. batch: inputs and answers; key: the column of tokens."""
    field, tokens = bundle.schema.inputs[key], batch[key]
    tried = int(tokens.lengths.clamp(max=MOST).sum())
    if tried * bundle.model.flops() * min(1.0, MOST / field.length) > COST or field.pieces(tokens.values[:1]) is None:
        return None
    inputs = {name: column for name, column in batch.items() if name in bundle.schema.inputs}
    return [_marked(bundle, inputs, key, i) for i in range(len(tokens))]


def _marked(bundle: Bundle, inputs: Batch, key: str, i: int) -> str:
    ids = inputs[key][torch.tensor([i])].values
    if not len(ids):
        return ""
    words, unit = _units(bundle.schema.inputs[key], ids)
    n = min(len(words), MOST)
    without = [ids[unit != j] for j in range(n)]
    lengths = torch.tensor([0, len(ids), *map(len, without)])
    rows = torch.full((n + 1,), i)
    asked = {name: Ragged(torch.cat([ids, *without]), lengths.cumsum(0)) if name == key else rows_of(column, rows)
             for name, column in inputs.items()}  # fmt: skip
    weights = _lost(predict_all(bundle.model, bundle.task, bundle.head, bundle.task.pose(asked, bundle.context), bundle.asked()))
    strongest = max(float(weights.abs().max()), 1e-9)
    cells = [_coloured(word, float(w) / strongest) for word, w in zip(words, weights, strict=False)]
    return "".join([*cells, *(html.escape(word) for word in words[n:])])


def _units(field: Field, ids: Tensor) -> tuple[list[str], Tensor]:
    """(words, the word of each token (n,)): tokens that are pieces of one character are one word."""
    pieces: Any = field.pieces(ids)
    broken = [BROKEN in piece for piece in pieces]
    new = [not (broken[at] and at and broken[at - 1]) for at in range(len(pieces))]
    unit = torch.tensor(new).cumsum(0) - 1
    whole = field.decode(Ragged(ids, torch.cat([torch.tensor(new).nonzero()[:, 0], torch.tensor([len(ids)])])))
    first = [pieces[at] for at, each in enumerate(new) if each]
    return [found if BROKEN in piece else piece for found, piece in zip(whole, first, strict=True)], unit


def _lost(predicted: Batch) -> Tensor:
    """How much of the answer of the first row each other row has lost: (n,)."""
    p = next(iter(predicted.values())).float()
    p = p.reshape(len(p), -1)
    return (p[0] - p[1:])[:, p[0].argmax()]


def _coloured(word: str, weight: float) -> str:
    if abs(weight) <= 0.05:
        return html.escape(word)
    colour = "70,110,180" if weight > 0 else "200,80,60"
    return f'<span style="background:rgba({colour},{0.6 * abs(weight):.2f})">{html.escape(word)}</span>'
