"""What rows without an answer add: the best model answers them, and another learns from the answers that it is sure of, too.

Self-training in rounds, each from the start: the teacher answers undisturbed, the student learns under its own noise (dropout, hidden
tokens), as in the noisy student of Xie et al. (2020, arXiv 1911.04252). It ends with the round that gains nothing on validation.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from luban.bundle import Bundle, predict_all
from luban.core import config as configs
from luban.core.batch import Batch, Examples, Spans, Store, piece_of
from luban.core.notes import say
from luban.metrics import better
from luban.splitting import TRAIN
from luban.stages.candidates import ROUNDS, ROWS, SOLVED, Draft, Trained, Workshop, draft
from luban.stages.prepare import Prepared

_PIECE = 256


def taught(best: Trained, workshop: Workshop, network: Any) -> dict[str, Trained]:
    """{label: student} of each round, the last of which may have gained nothing. network: the user's own, untrained."""
    ready, found = workshop.prepared, {}
    metric, options, first = ready.metric, configs.to_dict(best.plan.model), best.label
    for number in range(1, ROUNDS + 1):
        workshop.clock.allot(ROUNDS - number + 1)
        more = answered(ready, best.bundle)
        sure = len(more.examples[TRAIN]) - len(ready.examples[TRAIN])
        say(f"{best.label} is sure of {sure:,} of the {len(ready.unlabelled):,} {ready.task.noun} without an answer")
        if not sure:
            break
        made: Draft = draft(best.name, more, copy.deepcopy(network), options)
        before = best.of.extra.removesuffix(ROWS).removesuffix(" and ")
        made = dataclasses.replace(made, label=f"{first}, round {number}", extra=f"{before} and {ROWS}" if before else ROWS,
                                   surveys=best.of.surveys, start=best.of.start)  # fmt: skip
        student = found[made.label] = dataclasses.replace(workshop, prepared=more).train(made)
        if not better(metric, student.valid.metrics.get(metric, float("nan")), best.valid.metrics.get(metric, float("nan"))):
            break
        best = student
    return found


def answered(ready: Prepared, teacher: Bundle) -> Prepared:
    """The same data with those rows among its training examples that `teacher` is sure of."""
    rows = ready.unlabelled.thinned(max(1, SOLVED * len(ready.rows.part) // max(1, ready.store.nbytes)))  # they go through at once
    inputs = {key: value for key, value in rows.whole().items() if key not in ready.head.keys}
    said = predict_all(teacher.model, ready.task, ready.head, inputs, ready.task.Ask())
    guesses = ready.task.guess(said, _disturbed(teacher, ready, inputs, len(rows)) or said, ready.head)
    columns, sure = dict(ready.store.columns), torch.ones(len(rows), dtype=torch.bool)
    for key, guess in guesses.items():
        columns[key] = columns[key].clone()
        columns[key][rows.spans.start] = guess.to(columns[key].dtype)
        sure &= (guess > 0) if not guess.is_floating_point() else ~guess.isnan()
    train = Spans(torch.cat([ready.examples[TRAIN].spans.start, rows.spans.start[sure]]))
    more = Examples(Store(columns, ready.store.part), train, ready.task.batch)
    return dataclasses.replace(ready, examples=(more, *ready.examples[1:]))


def _disturbed(teacher: Bundle, ready: Prepared, inputs: Batch, n: int) -> Batch | None:
    """What it says under the noise of its training; None where it has none."""
    if teacher.model.solves or teacher.model.joins:
        return None
    noisy = copy.deepcopy(teacher.model).train()
    with torch.no_grad():
        pieces = [ready.task.predict(noisy, piece_of(inputs, i, i + _PIECE), ready.head, ready.task.Ask()) for i in range(0, n, _PIECE)]
    return {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
