"""What a training would be, without training: `luban plan` foresees cost, `luban init` writes the configuration to edit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luban import reading, splitting
from luban.columns import describe, sniff_all
from luban.core import config as configs
from luban.core.device import pick_device
from luban.core.errors import UserError
from luban.core.files import amount, write_text
from luban.core.registry import TASKS
from luban.folders import RunFolder
from luban.planning import from_words
from luban.stages.candidates import Draft, draft, draft_all, name_of
from luban.stages.fit import Job, step_seconds
from luban.stages.prepare import Prepared, prepare


def foresee(words: dict[str, Any]) -> Iterator[str]:
    """Lines that say what `luban train` with the same words would do."""
    config = from_words(words)
    prepared = prepare(config.data.path, config)
    yield f"task {name_of(prepared.task)}; {splitting.summary(prepared.rows.part)} rows; first metric {prepared.metric}"
    for column, field, facts, doubts in describe(prepared.schema):
        yield f"  {column:<24} {field:<20} {facts}{f'  [{doubts}]' if doubts else ''}"
    for one in draft_all(prepared, None):
        yield from _one(one, prepared)


def _one(one: Draft, prepared: Prepared) -> Iterator[str]:
    yield f"model {one.name}: " + ", ".join(f"{key} {value}" for key, value in vars(one.plan.model).items())
    if one.model.joins:
        for member in one.plan.model.members:
            options = {key: value for key, value in member.items() if key != "name"}
            yield from _one(draft(member["name"], prepared, None, options), prepared)
        return
    if one.model.solves:
        yield "  solved in one go"
        return
    c, n = one.plan.train, sum(p.numel() for p in one.model.parameters())
    job = Job(one.name, one.model, prepared, c, RunFolder("."), pick_device(c.device))
    each = step_seconds(job, 1.0)
    flops = 3 * one.model.flops() * c.batch_size * c.accumulate
    # weights, gradients, two moments, and a checkpoint's copy; activations of a batch at about the cost of its products
    memory = 4 * n * 5 + 4 * flops / 6 / 100
    yield f"  {n:,} parameters, {flops:.2e} FLOPs a step, about {amount(memory)} beside the data"
    longest = _clock(c.steps * each * 1.05)
    yield (
        f"  {c.steps:,} steps of {c.batch_size} {prepared.task.noun} at {1000 * each:.3g} ms: "
        f"at most {longest}, less when validation stops it early"
    )
    for key, value in vars(c).items():
        reason = one.plan.why.get(f"train.{key}")
        yield f"  train.{key} {value}" + (f": {reason}" if reason else "")


def _clock(amount: float) -> str:
    return f"{amount:.0f} s" if amount < 120 else f"{amount / 60:.0f} minutes"


def write_draft(data: str, target: list[str], task: str | None, out: Path) -> Path:
    """Writes a configuration for `data` to `out`: each column with the field that it was taken for, and the doubts; or, where the task
    chooses its fields itself, what it found."""
    if out.exists():
        raise UserError(f"{out} exists already; choose another file with -o.")
    asked = TASKS[task] if task else None
    table = reading.read(data, endings=asked.endings if asked else {})
    for name in target:
        splitting.need(table, name, "--target")
    lines = [f"# made by `luban init {data}`; train with `luban train {out}`. All settings: `luban list settings`", "data:"]
    lines += [f"  path: {_quoted(data)}"]
    if asked and not asked.labelled:
        made = asked()
        made.settle(table, target, None)
        found = {key: value for key, value in configs.to_dict(made.config).items() if value not in (None, [])}
        lines += ["task:", f"  name: {task}", *(f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items())]
    else:
        nameless = "" if target else "  # name the column to predict, out of those below"
        lines += [f"  target: [{', '.join(map(_quoted, target))}]{nameless}", *([f"task: {task}"] if task else []), "fields:"]
        for name, field, doubts in sniff_all(table, leave_out=target):
            lines.append(f"  {_quoted(name)}: {field}" + (f"  # {doubts}" if doubts else ""))
    lines += ["model: auto  # `luban list models`", "train: {}  # e.g. {lr: 1e-3, epochs: 20}", "size: base", "seed: 42"]
    write_text(out, "\n".join(lines) + "\n")
    return out.resolve()


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
