"""From data to a tested model in a run folder: read, split, encode, plan, train, judge beside baselines, save.

`train` is the public function. prepare.py is all before a model, candidates.py the models, fit.py the loop; here is their order.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luban import splitting
from luban.bundle import Bundle, load, trust
from luban.columns import describe as describe_schema
from luban.core import config as configs
from luban.core.contract import Task
from luban.core.device import cores, describe, pick_device
from luban.core.errors import UserError
from luban.core.files import read_json, write_json, write_text
from luban.core.notes import say
from luban.core.registry import MODELS
from luban.folders import RunFolder, all_runs, find, new_run, remember
from luban.planning import Config, from_words, to_yaml
from luban.report.card import card
from luban.report.page import page
from luban.report.words import verdict as verdict_words
from luban.splitting import PARTS, TEST, TRAIN, VALID
from luban.stages import origin
from luban.stages.assess import assess, beside, detail, difference, draws_of, groups_of, learning
from luban.stages.candidates import BESIDE, Trained, Workshop, baseline_names, choose, draft, draft_all, name_of, promise, rank
from luban.stages.clock import RunClock
from luban.stages.evaluate import verdict
from luban.stages.fit import Hooks
from luban.stages.folds import judge_folds, parts
from luban.stages.prepare import Prepared, prepare
from luban.stages.show import cells_of, figures
from luban.stages.tracking import followed, need
from luban.stages.unlabelled import taught


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
    report: dict[str, Any] = field(repr=False)
    """The whole report.json."""
    network: Any = field(default=None, repr=False)
    """The class of the user's own network, where it came as one."""

    def load(self, model: Any = None) -> Bundle:
        """The trained model; a network that was handed in as an instance has to be handed in again."""
        return load(self.path / "model", model or self.network)

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
    folds: int | None = None,
    start: str | Path | None = None,
    hooks: Hooks | None = None,
) -> Run:
    """Trains a model on `data` to predict `target`, tests it beside baselines and saves it in a run folder.

    The words are those of `luban train --help`. data: a path, a built-in name, a frame or a dict of columns. model: a name, "auto",
    "my.py:Net", or your own nn.Module (a class or an instance; it gets (B, features) floats;
    (B, C, H, W) where such a column is all there is).
    set: {"train.lr": 3e-4} or "train.lr=3e-4". start: a run to go on from, `--from` of the command.
    Raises UserError, in one sentence, for whatever cannot be used.
    """
    if target is not None and not isinstance(target, (str, list, tuple)):
        raise UserError(f"target is the name of a column, or a list of names, not {type(target).__name__}.")
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
        "folds": folds,
        "start": str(start) if start is not None else None,
        "device": device,
        "time_limit": time_limit,
        "config": config,
        "set": [f"{key}={json.dumps(value)}" for key, value in set.items()] if isinstance(set, dict) else set,
    }
    made = _run(data, from_words(words), out, resume, network, hooks or Silent())
    return dataclasses.replace(made, network=network) if isinstance(network, type) else made


def _run(data: Any, config: Config, out: str | Path | None, resume: bool, network: Any, hooks: Hooks) -> Run:
    """`train` with its words gathered into a Config."""
    need(config.tracking)
    clock = RunClock(config.train.time_limit, config.seed, config.train.threads or cores())
    if out is not None and resume and RunFolder(out).finished:
        say(f"the run in {RunFolder(out).path} has finished; there is nothing to go on with.")
        return _finished(RunFolder(out))
    prepared = prepare(config.data.path if data is None else data, config)
    if config.folds and config.train.semi:
        raise UserError("--folds and train.semi cannot go together yet. Leave one of them out.")
    folds = parts(prepared) if config.folds is not None else []
    fresh = copy.deepcopy(network) if folds or config.train.semi else None
    drafts = draft_all(prepared, network)
    pick_device(config.train.device)
    others = [name for name in baseline_names(prepared) if name not in {each.label or each.name for each in drafts}]
    folder = _begin(prepared, out, resume)
    origin.remember(prepared.rows, prepared.schema, folder.learned)
    if prepared.start:
        origin.recall(prepared.rows, prepared.start, find(prepared.config.start).learned)
    with followed(config.tracking, folder, hooks) as told:
        workshop = Workshop(prepared, folder, clock, told)
        with clock.listening():
            trained = workshop.train_all(drafts, bool(others))
            if config.train.semi:
                trained |= taught(rank(trained, prepared.metric)[0], workshop, fresh)
            chosen = choose(trained, prepared.metric)
            trained |= workshop.train_beside([draft(name, prepared, None, {}) for name in others], BESIDE)
            if folds:
                workshop.folds = judge_folds(chosen, folds, workshop, fresh)
        return _conclude(chosen, trained if config.baselines != () else {}, workshop)


# ---------------------------------------------------------------- the end


def _conclude(chosen: Trained, others: dict[str, Trained], workshop: Workshop) -> Run:
    """Scores on the test rows, writes report, configuration and bundle."""
    prepared, folder = workshop.prepared, workshop.folder
    part, noun = TEST if len(prepared.examples[TEST]) else VALID, prepared.task.noun
    if part == VALID:
        say(f"there are no test {noun}: the figures are of the validation {noun}, which also picked the checkpoint; they flatter.")
    scored = prepared.examples[part]
    bundle, metric = chosen.bundle, prepared.metric
    draws = draws_of(prepared.task, scored, groups_of(prepared.rows.table, prepared.config.data.group))
    test = assess(bundle, scored, draws)
    baselines, apart = {}, {}
    few = beside(scored, draws)
    if others and len(few) < len(scored):
        say(f"the others are judged on {len(few):,} of the {len(scored):,} {noun}, drawn at random")
    for name, each in others.items():
        if each is not chosen:
            other = assess(each.bundle, few, draws)
            baselines[name], apart[name] = other.measured, difference(draws, test, other, metric)
    ours = test.measured.metrics.get(metric, math.nan)
    if len(few) < len(scored) and metric in test.once:  # as the others, on the same examples
        ours = float(test.once[metric][0])
    theirs = {name: each.metrics.get(metric, math.nan) for name, each in baselines.items()}
    beside_it = {name: value for name, value in theirs.items() if not others[name].of.extra}
    facts = verdict(metric, chosen.label, ours, beside_it, apart) | {
        "examples": len(few),
        "of": len(scored),
        "noun": noun,
        "part": PARTS[part],
        "called": prepared.task.called(metric, prepared.schema),
        "bought": _bought(chosen, others, {chosen.label: ours, **theirs}, apart, metric),
        "simple": type(bundle.model).baseline and not promise(type(bundle.model), prepared),
    }
    words = verdict_words(facts, "en")
    say(words)
    model = {"name": chosen.name, **configs.to_dict(chosen.plan.model)}
    resolved = dataclasses.replace(prepared.config, task=_named(prepared.task), model=model, train=chosen.plan.train)
    report = {
        "metrics": test.measured.metrics,
        "metric": metric,
        "task": name_of(prepared.task),
        "model": chosen.name,
        "target": [each.columns[0] for each in prepared.schema.targets.values()],
        "verdict": words,
        "judgement": facts,
        "scored": PARTS[part],
        "valid": chosen.valid.metrics,
        "baselines": {name: each.metrics for name, each in baselines.items()},
        "baseline_intervals": {name: each.intervals for name, each in baselines.items()},
        "baselines_judged_on": len(few),
        "tried": {name: {"valid": each.valid.metrics.get(metric), "seconds": round(each.seconds, 3)} for name, each in others.items()},
        **detail(bundle, scored, draws, test, metric),
        "costs": list(prepared.config.report.costs),
        "path": prepared.config.data.path,
        "learning": learning(folder.lines(), metric),
        "split": splitting.summary(prepared.rows.part),
        "data": prepared.rows.facts,
        "columns": [dict(zip(("column", "field", "facts", "doubts"), line, strict=True)) for line in describe_schema(prepared.schema)],
        "findings": prepared.known.findings,
        "plan": chosen.plan.why,
        **({"folds": workshop.folds} if workshop.folds else {}),
        "example": prepared.task.example(prepared.schema),
        "parameters": sum(p.numel() for p in chosen.bundle.model.parameters()),
        "seconds": round(workshop.clock.seconds(), 3),
        "machine": describe(),
        "config": to_yaml(resolved),
    }
    travels = {key: value for key, value in report.items() if key not in ("config", "path")}  # not where the data lie on this machine
    extra = {"report.json": json.dumps(travels, indent=1, ensure_ascii=False), "README.md": card(report, prepared.schema)}
    write_text(folder.config, to_yaml(resolved))
    chosen.bundle.save(folder.model, {**extra, **code_of(chosen)})
    seen = figures(bundle, test.judged, test.truth, scored, prepared.examples[TRAIN], cells_of(prepared.rows.table, scored))
    write_text(folder.page, page(report, seen, prepared.config.report.language))
    write_json(folder.report, report)  # last: where it is, the run is complete
    return Run(folder.path, test.measured.metrics, report)


def _bought(
    chosen: Trained, others: dict[str, Trained], test: dict[str, float], apart: dict[str, Any], metric: str
) -> dict[str, Any] | None:
    """What a model gained by more than the rows with an answer, on the test rows: the best with, and the same model without; else None."""
    best = next((each for each in rank(others, metric) if each.of.extra), None)
    plain = next((each for each in others.values() if best and each.name == best.name and not each.of.extra), None)
    if best is None or plain is None:
        return None
    interval = apart.get(plain.label) if chosen is best else None
    return {"what": best.of.extra, "kept": chosen is best, "with": best.label, "without": plain.label,
            "values": [test[best.label], test[plain.label]], "interval": interval}  # fmt: skip


def code_of(chosen: Trained) -> dict[str, bytes]:
    """The source of the user's own network, as it ran here, travels in the bundle; it is run elsewhere only when named. See bundle.py."""
    name = chosen.name
    if name.startswith("python:"):
        chosen.bundle.info["model"]["code"] = "python"
        return {}
    if ".py:" not in name:
        return {}
    file = Path(name.rpartition(":")[0])
    chosen.bundle.info["model"]["code"] = file.name
    trust(MODELS.sources[name], file)
    return {file.name: MODELS.sources[name]}


def _begin(prepared: Prepared, out: str | Path | None, resume: bool) -> RunFolder:
    path = prepared.config.data.path
    stem = Path(path).name.split(".")[0] if path else "table"
    label = prepared.config.model.get("name") or "auto"
    asked = {
        f"{key}.{inner}" if isinstance(value, dict) else key: value[inner] if isinstance(value, dict) else value
        for key, value in configs.to_dict(prepared.config).items()
        for inner in (value if isinstance(value, dict) else [key])
    }
    asked["the data's fingerprint"] = prepared.known.fingerprint
    for name, table in prepared.task.beside.items():
        if table is not None:
            asked[f"the fingerprint of data.{name}"] = splitting.fingerprint(table)
    learned = json.dumps(prepared.schema.state(), sort_keys=True, ensure_ascii=False)
    asked["the hash of what was learned of its columns"] = hashlib.sha256(learned.encode()).hexdigest()[:16]
    if label in MODELS.sources:
        asked["the sha256 of its source"] = hashlib.sha256(MODELS.sources[label]).hexdigest()
    asked = json.loads(json.dumps(asked))
    if out is None and resume:  # the newest run here that was begun with the same words and data, and has not finished
        out = next((each.path for each in reversed(all_runs()) if not each.finished and read_json(each.asked) == asked), None)
    folder = RunFolder(out if out is not None else new_run(stem, label.rpartition("/")[2]))
    folder.begin(asked, resume)
    remember(folder.path)
    return folder


def _finished(folder: RunFolder) -> Run:
    report = read_json(folder.report)
    remember(folder.path)
    return Run(folder.path, report["metrics"], report)


def _named(task: Task) -> dict[str, Any]:
    return {"name": name_of(task), **configs.to_dict(task.config)}
