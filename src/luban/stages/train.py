"""From data to a tested model in a run folder: read, split, encode, plan, train, judge beside baselines, save.

`train` is the public function; prepare.py is its first half, fit.py its loop, and this file the order of things.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luban import splitting
from luban.bundle import Bundle, load, trust
from luban.core import config as configs
from luban.core.contract import Measured, Model, Task
from luban.core.device import cores, describe, pick_device
from luban.core.errors import UserError, listed
from luban.core.files import read_json, write_json, write_text
from luban.core.notes import say
from luban.core.registry import MODELS
from luban.data import describe as describe_schema
from luban.folders import RunFolder, new_run, remember
from luban.layers.own import adapt
from luban.metrics import better
from luban.planning import Config, Plan, finish, from_words, plan, to_yaml
from luban.report.card import card
from luban.splitting import PARTS, TEST, TRAIN, VALID
from luban.stages.clock import RunClock
from luban.stages.evaluate import measure, verdict
from luban.stages.fit import Hooks, Job, fit, within
from luban.stages.prepare import Prepared, prepare


class Silent:
    """Hooks that watch nothing."""

    def on_step(self, name: str, step: int, total: int) -> None: ...
    def on_eval(self, line: dict[str, Any]) -> None: ...
    def on_end(self, name: str) -> None: ...


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    """The run folder."""
    metrics: dict[str, float]
    """Metrics of the test part."""
    report: dict[str, Any]
    """The whole report.json."""

    def load(self, model: Any = None) -> Bundle:
        """The trained model."""
        return load(self.path / "model", model)

    def predict(self, data: Any) -> Any:
        """As `luban.predict`."""
        return self.load().predict(data)


def train(
    data: Any = None,
    *,
    target: str | list[str] | None = None,
    task: str | None = None,
    model: Any = None,
    test: str | None = None,
    out: str | Path | None = None,
    size: str | None = None,
    time_limit: str | float | None = None,
    group: str | None = None,
    time: str | None = None,
    drop: list[str] | None = None,
    metric: str | None = None,
    device: str | None = None,
    seed: int | None = None,
    config: str | None = None,
    set: dict[str, Any] | list[str] | None = None,
    resume: bool = False,
    baselines: Any = None,
    hooks: Hooks | None = None,
) -> Run:
    """Trains a model on `data` to predict `target`, tests it beside baselines and saves it in a run folder.

    The words are those of `luban train --help`. data: a path, a built-in name, a frame or a dict of columns. model: a name, "auto",
    "my.py:Net", or your own nn.Module (a class or an instance; it gets (B, features) floats). set: {"train.lr": 3e-4} or "train.lr=3e-4".
    Raises UserError, in one sentence, for whatever cannot be used.
    """
    network = model if model is not None and not isinstance(model, str) else None
    name = f"python:{getattr(network, '__name__', type(network).__name__)}" if network is not None else model
    words = {
        "data": str(data) if isinstance(data, (str, Path)) else None,
        "target": [target] if isinstance(target, str) else target,
        "test": test,
        "group": group,
        "time": time,
        "drop": drop,
        "task": task,
        "model": name,
        "size": size,
        "metric": metric,
        "seed": seed,
        "baselines": baselines,
        "device": device,
        "time_limit": time_limit,
        "config": config,
        "set": [f"{key}={json.dumps(value)}" for key, value in set.items()] if isinstance(set, dict) else set,
    }
    return _run(data, from_words(words), out, resume, network, hooks or Silent())


def _run(data: Any, config: Config, out: str | Path | None, resume: bool, network: Any, hooks: Hooks) -> Run:
    """`train` with its words gathered into a Config."""
    clock = RunClock(config.train.time_limit, config.seed, config.train.threads or cores())
    if out is not None and resume and RunFolder(out).finished:
        say(f"the run in {RunFolder(out).path} has finished; there is nothing to go on with.")
        return _finished(RunFolder(out))
    prepared = prepare(config.data.path if data is None else data, config)
    drafts = draft_all(prepared, network)
    pick_device(config.train.device)
    baselines = _baseline_names(prepared)
    folder = _begin(prepared, out, resume)

    with clock.listening():
        trained = {draft.name: _train(draft, prepared, folder, clock, hooks) for draft in _cheap_first(drafts)}
        chosen = _choose(trained, prepared)
        for name in baselines:
            if name not in trained:
                trained[name] = _train(_draft(name, prepared, None, {}), prepared, folder, clock, hooks)
        others = trained if config.baselines != () else {}
    return _conclude(chosen, others, prepared, folder, clock)


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class Draft:
    """A model that was planned and built, but not trained."""

    name: str
    model: Model
    plan: Plan


@dataclass(frozen=True)
class Trained:
    name: str
    bundle: Bundle
    plan: Plan
    valid: Measured
    seconds: float


def _names(prepared: Prepared, config: Config, network: Any) -> list[str]:
    """The models to train: the one asked for, or those that suit the data, the most promising first."""
    name = config.model.get("name") or "auto"
    if name != "auto" or network is not None:
        return [name]
    options = [key for key in config.model if key != "name"]
    if options:
        raise UserError(f"model.{options[0]} needs a model that it belongs to: name one with --model ({listed(MODELS.names(), 40)}).")
    kinds = {each.kind for each in prepared.schema.inputs.values()}
    scores = sorted(
        ((cls.suits(prepared.schema, prepared.head), name) for name, cls in MODELS.items() if kinds <= cls.accepts), reverse=True
    )
    names = [name for score, name in scores if score > 0]
    say(f"model: auto tries {', '.join(names)} and keeps the best by {prepared.metric} on the validation rows")
    return names


def draft_all(prepared: Prepared, network: Any) -> list[Draft]:
    """Every model that will be trained, planned and built, so that a wrong setting is found before time is spent."""
    return [_draft(name, prepared, network) for name in _names(prepared, prepared.config, network)]


def _draft(name: str, prepared: Prepared, network: Any, options: dict[str, Any] | None = None) -> Draft:
    """Plans and builds a model. The seed is set before, so that its first weights depend on nothing else."""
    config, schema, head = prepared.config, prepared.schema, prepared.head
    model_class = adapt(network if network is not None else MODELS[name])
    kinds = {each.kind: each.columns[0] for each in schema.inputs.values()}
    for kind, column in kinds.items():
        if kind not in model_class.accepts:
            raise UserError(
                f"{name} cannot read the column {column!r} ({kind}); it reads {listed(sorted(model_class.accepts))}. "
                f"Leave the column out (--drop {column!r}) or choose another model."
            )
    if options is None:
        options = {key: value for key, value in config.model.items() if key != "name"}
    planned = plan(config, model_class, options, schema, head, len(prepared.index(TRAIN)))
    torch.manual_seed(config.seed)
    model = model_class(planned.model, schema, head)
    return Draft(name, model, finish(planned, config, model, len(prepared.index(TRAIN)), len(prepared.index(VALID))))


def _cheap_first(drafts: list[Draft]) -> list[Draft]:
    """Solved models first: they take seconds, and what they leave of a time limit goes to the networks."""
    return sorted(drafts, key=lambda draft: not draft.model.solves)


def _train(draft: Draft, prepared: Prepared, folder: RunFolder, clock: RunClock, hooks: Hooks) -> Trained:
    """Trains one model and scores it on the validation rows."""
    name, model, planned = draft.name, draft.model, draft.plan
    began = clock.seconds()
    train, valid = prepared.index(TRAIN), prepared.index(VALID)
    if model.solves:
        torch.manual_seed(prepared.config.seed)
        say(f"solving {name}")
        model.solve(prepared.store.gather(train), prepared.store.gather(valid), clock)
    else:
        device = pick_device(planned.train.device)
        job = Job(
            name,
            model,
            prepared.task,
            prepared.head,
            prepared.schema,
            prepared.store,
            train,
            valid,
            planned.train,
            prepared.metric,
            prepared.config.seed,
            folder,
            device,
        )
        if clock.limit < float("inf"):
            job.config = within(job, max(1.0, clock.seconds_left() * 0.9))  # a tenth for the test, the report and the baselines
            planned = dataclasses.replace(planned, train=job.config)
        say(f"training {name}: {sum(p.numel() for p in model.parameters()):,} parameters, {_said(planned)} on {device}")
        state = fit(job, clock, hooks)
        steps = f"step {state.best_step:,} of {state.step:,}, {state.seconds:.1f} s"
        say(f"{name}: best {prepared.metric} {state.best:.4f} on validation, {steps}")
        torch.set_num_threads(cores())
        model.cpu()
    info = {
        "task": {"name": _name_of(prepared.task), "config": configs.to_dict(prepared.task.config)},
        "model": {"name": name, "config": configs.to_dict(planned.model), "code": None, "files": list(model.files())},
    }
    bundle = Bundle(prepared.schema, prepared.task, model, prepared.head, info)
    scored = measure(bundle, prepared.store.gather(valid))
    if model.solves:
        folder.forget_lines(name, after=0)
        folder.add_line({"model": name, "step": 1, "epoch": 1, prepared.metric: scored.metrics.get(prepared.metric)})
    return Trained(name, bundle, planned, scored, clock.seconds() - began)


def _said(planned: Plan) -> str:
    c = planned.train
    options = ", ".join(f"{key} {value}" for key, value in configs.to_dict(planned.model).items())
    return f"{c.steps:,} steps of {c.batch_size} rows, {c.optimizer} lr {c.lr:g} ({c.schedule})" + (f"; {options}" if options else "")


def _choose(trained: dict[str, Trained], prepared: Prepared) -> Trained:
    """The best on the validation rows; the order of promise settles ties."""
    chosen = None
    for each in trained.values():
        value = each.valid.metrics.get(prepared.metric)
        if value is not None and (chosen is None or better(prepared.metric, value, chosen.valid.metrics[prepared.metric])):
            chosen = each
    chosen = chosen or next(iter(trained.values()))
    if len(trained) > 1:
        say(f"auto keeps {chosen.name}: {prepared.metric} on validation " + _table(trained, prepared.metric))
    return chosen


def _table(trained: dict[str, Trained], metric: str) -> str:
    return ", ".join(f"{each.name} {each.valid.metrics.get(metric, float('nan')):.4f} ({each.seconds:.1f} s)" for each in trained.values())


def _baseline_names(prepared: Prepared) -> list[str]:
    """The models to stand beside the chosen one: those asked for, else the task's own that can read the columns."""
    kinds = {each.kind for each in prepared.schema.inputs.values()}
    names = prepared.task.baselines if prepared.config.baselines is None else prepared.config.baselines
    return [name for name in names if kinds <= MODELS[name].accepts]


# ---------------------------------------------------------------- the end


def _conclude(chosen: Trained, others: dict[str, Trained], prepared: Prepared, folder: RunFolder, clock: RunClock) -> Run:
    """Scores on the test rows, writes report, configuration and bundle."""
    part = TEST if len(prepared.index(TEST)) else VALID
    if part == VALID:
        say("there are no test rows: the figures are of the validation rows, which also picked the checkpoint; they flatter.")
    encoded = prepared.store.gather(prepared.index(part))
    test = measure(chosen.bundle, encoded)
    baselines = {name: measure(each.bundle, encoded).metrics for name, each in others.items() if name != chosen.name}
    metric = prepared.metric
    words = verdict(
        metric,
        chosen.name,
        test.metrics.get(metric, float("nan")),
        {name: values[metric] for name, values in baselines.items()},
        len(prepared.index(part)),
    )
    say(words)
    resolved = dataclasses.replace(
        prepared.config,
        task=_named(prepared.task),
        model={"name": chosen.name, **configs.to_dict(chosen.plan.model)},
        train=chosen.plan.train,
    )
    report = {
        "metrics": test.metrics,
        "metric": metric,
        "task": _name_of(prepared.task),
        "model": chosen.name,
        "verdict": words,
        "scored": PARTS[part],
        "valid": chosen.valid.metrics,
        "baselines": baselines,
        "tried": {name: {"valid": each.valid.metrics.get(metric), "seconds": round(each.seconds, 3)} for name, each in others.items()},
        "details": test.details,
        "split": splitting.summary(prepared.rows.part),
        "data": prepared.rows.facts,
        "columns": [dict(zip(("column", "field", "facts", "doubts"), line, strict=True)) for line in describe_schema(prepared.schema)],
        "findings": prepared.findings,
        "plan": chosen.plan.why,
        "parameters": sum(p.numel() for p in chosen.bundle.model.parameters()),
        "seconds": round(clock.seconds(), 3),
        "machine": describe(),
    }
    extra = {"report.json": json.dumps(report, indent=1, ensure_ascii=False), "README.md": card(report, prepared.schema)}
    extra |= _code(chosen)
    write_text(folder.config, to_yaml(resolved))
    chosen.bundle.save(folder.model, extra)
    write_json(folder.report, report)
    return Run(folder.path, test.metrics, report)


def _code(chosen: Trained) -> dict[str, str]:
    """The source of the user's own network travels in the bundle; it is run elsewhere only when named. See bundle.py."""
    name = chosen.name
    if name.startswith("python:"):
        chosen.bundle.info["model"]["code"] = "python"
        return {}
    if ".py:" not in name:
        return {}
    source = Path(name.rpartition(":")[0])
    chosen.bundle.info["model"]["code"] = source.name
    trust(source)
    return {source.name: source.read_text(encoding="utf-8")}


def _begin(prepared: Prepared, out: str | Path | None, resume: bool) -> RunFolder:
    path = prepared.config.data.path
    stem = Path(path).name.split(".")[0] if path else "table"
    label = prepared.config.model.get("name") or "auto"
    folder = RunFolder(out if out is not None else new_run(stem, label.rpartition("/")[2]))
    asked = {
        f"{key}.{inner}" if isinstance(value, dict) else key: value[inner] if isinstance(value, dict) else value
        for key, value in configs.to_dict(prepared.config).items()
        for inner in (value if isinstance(value, dict) else [key])
    }
    folder.begin(json.loads(json.dumps({**asked, "the data's fingerprint": prepared.print})), resume)
    remember(folder.path)
    return folder


def _finished(folder: RunFolder) -> Run:
    report = read_json(folder.report)
    remember(folder.path)
    return Run(folder.path, report["metrics"], report)


def _name_of(plugin: Any) -> str:
    return type(plugin).__module__.rpartition(".")[2]


def _named(task: Task) -> dict[str, Any]:
    return {"name": _name_of(task), **configs.to_dict(task.config)}
