"""Which models are tried, how each is planned, built and trained, and which one is kept."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch

from luban.bundle import Bundle, judge
from luban.core import config as configs
from luban.core.contract import Measured, Model
from luban.core.device import cores, pick_device
from luban.core.errors import UserError, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS, MODELS
from luban.folders import RunFolder, find
from luban.layers.own import adapt
from luban.metrics import better
from luban.planning import Plan, finish, plan, steps_per_epoch
from luban.splitting import TRAIN, VALID
from luban.stages import origin
from luban.stages.clock import Interrupted, RunClock
from luban.stages.fit import Hooks, Job, fit, within
from luban.stages.prepare import Prepared


@dataclass(frozen=True)
class Draft:
    """A model that was planned and built, but not trained."""

    name: str
    model: Model
    plan: Plan
    label: str = ""
    """What it is called, and its checkpoints, where a run trains two of one model."""
    extra: str = ""
    """What it learns from beside rows with an answer: rows without one, another run."""
    surveys: bool = False
    """Is it shown the rows without an answer first?"""
    start: Bundle | None = None
    """Whose weights it starts from, where it does not begin anew."""
    beside: bool = False
    """Is it a simple rule that was not asked for?"""


@dataclass(frozen=True)
class Trained:
    of: Draft
    bundle: Bundle
    valid: Measured
    seconds: float

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def plan(self) -> Plan:
        return self.of.plan

    @property
    def label(self) -> str:
        """What people read: its name, unless there are two of one model."""
        return self.of.label or self.of.name


# ---------------------------------------------------------------- choosing and building


def draft_all(prepared: Prepared, network: Any) -> list[Draft]:
    """Every model that will be trained, planned and built, so that a wrong setting is found before time is spent."""
    config = prepared.config
    name = config.model.get("name") or "auto"
    options = {key: value for key, value in config.model.items() if key != "name"}
    if name != "auto" or network is not None:
        chosen = draft(name, prepared, network, options)
        _tell_left([chosen], prepared)
        loop = ("epochs", "steps", "batch_size", "lr", "optimizer", "schedule", "warmup", "clip", "ema", "patience", "weight_decay")
        unused = [f"train.{key}" for key in loop if getattr(config.train, key) is not None]
        if chosen.model.solves and unused:
            warn(f"{name} is solved at once and not trained in steps, so that nothing comes of {listed(unused)}.")
        alone = [chosen] if prepared.start is None or config.baselines != () else []  # what begins anew stands beside, and first
        if prepared.start:
            run = find(config.start).path.name
            alone.append(
                dataclasses.replace(copy.deepcopy(chosen), label=f"{name} from {run}", extra=f"the run {run}", start=prepared.start)
            )
        return alone + _on_all_rows(prepared, [chosen], options)
    if options:
        raise UserError(f"model.{next(iter(options))} belongs to one model: name it with --model ({listed(MODELS.names(), 40)}).")
    scores = [(promise(cls, prepared), name) for name, cls in MODELS.items() if fits(cls, prepared)]
    names = [name for score, name in sorted(scores, reverse=True) if score > 0]
    if not names:
        kinds = sorted({part.kind for part in prepared.head.parts})
        raise UserError(f"no model here answers {name_of(prepared.task)} ({listed(kinds)}) from these columns; name one with --model.")
    # rules that cost nothing come first: among equals they are kept
    simple = [name for name in baseline_names(prepared) if name not in names and MODELS[name].baseline]
    besides = f", beside {', '.join(simple)}," if simple else ""
    say(f"model: auto tries {', '.join(names)}{besides} and keeps the best by {prepared.metric} on validation")
    drafts = [dataclasses.replace(draft(name, prepared, None, {}), beside=name in simple) for name in simple + names]
    _tell_left(drafts[len(simple) :], prepared)
    return drafts + _on_all_rows(prepared, drafts, {})


def _tell_left(drafts: list[Draft], prepared: Prepared) -> None:
    """Which columns that the user named some of these models read and make nothing of."""
    for each in prepared.schema.inputs.values():
        if names := [draft.name for draft in drafts if each.kind in draft.model.leaves]:
            able = [name for name, cls in MODELS.items() if fits(cls, prepared) and each.kind not in cls.leaves and not cls.joins]
            say(f"{', '.join(names)} make{'s' * (len(names) == 1)} nothing of {each.columns[0]!r}; {', '.join(able)} do")


ROWS = "rows without an answer"
ROUNDS = 3
"""Students that learn from them, one after the other, at most; see unlabelled.py."""


def _on_all_rows(prepared: Prepared, drafts: list[Draft], asked: dict[str, Any]) -> list[Draft]:
    """Of these, the ones that can learn from rows without an answer, where there are such: beside what the answers alone give. asked: what
    the user set of the model."""
    if not prepared.config.train.semi:
        return []
    able = [each for each in drafts if each.model.unlabelled]
    return [
        dataclasses.replace(
            draft(each.name, prepared, None, {**configs.to_dict(each.plan.model), **each.model.unlabelled, **asked}),
            label=f"{each.name} on all rows",
            extra=ROWS,
            surveys=True,
        )
        for each in able
    ]


def promise(model_class: type[Model], prepared: Prepared) -> float:
    return model_class.suits(prepared.schema, prepared.head, len(prepared.examples[TRAIN]))


def baseline_names(prepared: Prepared) -> list[str]:
    """The models to stand beside the chosen one: of those asked for, else of all baselines, those that fit the question."""
    asked = prepared.config.baselines
    names = [name for name, cls in MODELS.items() if cls.baseline] if asked is None else asked
    return [name for name in names if fits(MODELS[name], prepared)]


def fits(model_class: type[Model], prepared: Prepared) -> bool:
    """Can it read the columns, and answer what is asked?"""
    return not (_unread(model_class, prepared) or _wanting(model_class, prepared) or _unanswered(model_class, prepared))


def _unread(model_class: type[Model], prepared: Prepared) -> list[tuple[str, str]]:
    return [(each.columns[0], each.kind) for each in prepared.schema.inputs.values() if each.kind not in model_class.accepts]


def column_kinds(prepared: Prepared) -> list[str]:
    return [f"{each.columns[0]!r} ({each.kind})" for each in prepared.schema.inputs.values()]


def _wanting(model_class: type[Model], prepared: Prepared) -> list[str]:
    """The kinds of which it needs a column and has none."""
    kinds = {each.kind for each in prepared.schema.inputs.values()}
    return [] if kinds & model_class.needs else sorted(model_class.needs)


def _unanswered(model_class: type[Model], prepared: Prepared) -> list[str]:
    return [part.kind for part in prepared.head.parts if part.kind not in model_class.gives]


def draft(name: str, prepared: Prepared, network: Any, options: dict[str, Any]) -> Draft:
    """Plans and builds a model. The seed is set before, so that its first weights depend on nothing else."""
    config, schema, head = prepared.config, prepared.schema, prepared.head
    model_class = adapt(network if network is not None else MODELS.from_file(name) if ".py:" in name else MODELS[name])
    for kind in _unanswered(model_class, prepared):
        able = [other for other, cls in MODELS.items() if fits(cls, prepared)]
        raise UserError(
            f"{name} cannot answer {name_of(prepared.task)} ({kind}); it answers {listed(sorted(model_class.gives))}. "
            f"Models that can: {listed(able, 40)}."
        )
    for column, kind in _unread(model_class, prepared):
        raise UserError(
            f"{name} cannot read the column {column!r} ({kind}); it reads {listed(sorted(model_class.accepts))}. "
            f"Leave the column out (--drop {column!r}) or choose another model."
        )
    if kinds := _wanting(model_class, prepared):
        able = [each for each, cls in FIELDS.items() if cls.kind in kinds and prepared.task.labelled]
        whole = [each.columns[0] for each in schema.inputs.values() if getattr(each, "integer", False) and kinds == ["id"]]
        fix = " ".join(f"--set 'fields.{column}={able[-1]}'" for column in whole[:2] or ["COLUMN"]) if able else ""
        hint = f"If {'these are' if whole[1:] else 'one of them is'} such, say so ({fix}), or choose" if able else "Choose"
        raise UserError(f"{name} needs a column of {' or '.join(kinds)}, and there is none among {listed(column_kinds(prepared))}. "
                        f"{hint} another model.")  # fmt: skip
    n_train, n_valid = len(prepared.examples[TRAIN]), len(prepared.examples[VALID])
    planned = plan(config, model_class, options, schema, head, n_train)
    torch.manual_seed(config.seed)
    model = model_class(planned.model, schema, head)
    return Draft(name, model, finish(planned, config, model, n_train, n_valid, prepared.store.nbytes))


def choose(trained: dict[str, Trained], metric: str) -> Trained:
    """The best on validation; among equals the first, the simplest."""
    ranked = rank(trained, metric)
    if len(trained) > 1:
        values = [f"{each.label} {each.valid.metrics.get(metric, math.nan):.4f} ({each.seconds:.1f} s)" for each in trained.values()]
        say(f"kept {ranked[0].label}: {metric} on validation {', '.join(values)}")
    return ranked[0]


def rank(trained: dict[str, Trained], metric: str) -> list[Trained]:
    """The best first; those without a value last."""
    up = better(metric, 1.0, 0.0)

    def key(each: Trained) -> tuple[bool, float]:
        value = each.valid.metrics.get(metric)
        return value is None, 0.0 if value is None else -value if up else value

    return sorted(trained.values(), key=key)


# ---------------------------------------------------------------- training

BESIDE = 100_000
"""Examples that a baseline is solved from, at most: it stands beside the result and must cost little."""
SHARE = 0.2
"""Of a time limit, what all baselines may take together; half of it is kept for them while what was asked for is trained."""
SOLVED = 500_000_000
"""Bytes of encoded rows that any model is solved from, at most: they lie in memory, and the solver makes copies."""


@dataclass
class Workshop:
    """Where models are trained: the data, the run folder, the clock and who watches."""

    prepared: Prepared
    folder: RunFolder
    clock: RunClock
    hooks: Hooks
    folds: dict[str, Any] | None = None
    """What the folds said of the chosen model, for the report."""

    def train_all(self, drafts: list[Draft], to_come: bool = False) -> dict[str, Trained]:
        """Solved models first: they take seconds, and what they leave of a time limit goes to the networks; a fold to come has its share,
        too. Of several that promise something, the best two are then joined by each model that can, at no further cost. to_come:
        will baselines be trained behind them?"""
        trained = self.train_beside([each for each in drafts if each.beside])
        asked = sorted((each for each in drafts if not each.beside), key=lambda each: not each.model.solves)
        end = (0.9 - SHARE / 2 * to_come) * self.clock.limit
        for done, each in enumerate(asked):
            self.clock.allot(len(asked) - done + (self.prepared.config.folds or 0) + ROUNDS * self.prepared.config.train.semi, end)
            trained[each.label or each.name] = self.train(each)
        able = {name: each for name, each in trained.items() if promise(type(each.bundle.model), self.prepared) and not each.of.extra}
        if len(able) > 1:
            best = rank(able, self.prepared.metric)[:2]
            for name, cls in MODELS.items():
                if cls.joins and fits(cls, self.prepared):
                    trained[name] = self._join(name, cls, best)
        return trained

    def train_beside(self, drafts: list[Draft], most: int = 0) -> dict[str, Trained]:
        """Baselines, which together have their SHARE of a time limit. most: as `train` has it."""
        trained, end = {}, self.clock.seconds() + SHARE * self.clock.limit
        for done, each in enumerate(drafts):
            self.clock.allot(len(drafts) - done, end)
            trained[each.name] = self.train(each, most)
        return trained

    def train(self, one: Draft, most: int = 0) -> Trained:
        """Trains one model, by the loop, by its own `solve`, or by training what it is made of. most: examples to solve it from; 0 for
        as many as fit into SOLVED bytes."""
        if one.model.joins:
            members = []
            for i, member in enumerate(one.plan.model.members):
                options = {key: value for key, value in member.items() if key != "name"}
                made = draft(member["name"], self.prepared, None, options)
                members.append(self.train(dataclasses.replace(made, label=f"{one.label + ', ' if one.label else ''}{i}.{made.name}")))
            joined = self._join(one.name, type(one.model), members)
            return dataclasses.replace(joined, of=dataclasses.replace(joined.of, label=one.label, extra=one.extra))
        began = self.clock.seconds()
        if one.model.solves:
            ready = self.prepared
            most = most or max(1, SOLVED * len(ready.rows.part) // max(1, ready.store.nbytes))
            train, valid = (ready.examples[part].thinned(most) if ready.task.labelled else ready.examples[part] for part in (TRAIN, VALID))
            n = len(ready.examples[TRAIN])
            say(f"solving {one.label or one.name}" + (f" from {len(train):,} of the {n:,} {ready.task.noun}" if len(train) < n else ""))
            torch.manual_seed(ready.config.seed)
            if one.surveys:
                one.model.survey(ready.unlabelled.thinned(most))
            if one.start:
                origin.take(one.model, ready.schema, one.start)
            one.model.solve(train, valid, self.clock)
            if self.clock.stopped():
                raise Interrupted(str(self.folder.path))
            return self._trained(one, began)
        return self._trained(self._stepped(one), began)

    def _stepped(self, one: Draft) -> Draft:
        ready, c = self.prepared, one.plan.train
        if one.surveys:
            one.model.survey(ready.unlabelled)
        if one.start:
            origin.take(one.model, ready.schema, one.start)
        one.model.look(ready.examples[TRAIN])
        job = Job(one.label or one.name, one.model, ready, c, self.folder, pick_device(c.device))
        if self.clock.limit < float("inf"):
            job.config = within(job, max(0.1, self.clock.seconds_left()))
        parameters = sum(p.numel() for p in one.model.parameters())
        options = ", ".join(f"{key} {value}" for key, value in configs.to_dict(one.plan.model).items() if not isinstance(value, dict))
        how = f"{job.config.steps:,} steps of {c.batch_size} {ready.task.noun}, {c.optimizer} lr {c.lr:g} ({c.schedule}) on {job.device}"
        say(f"training {one.label or one.name}: {parameters:,} parameters; {options or 'no settings'}; {how}")
        state, first = fit(job, self.clock, self.hooks), steps_per_epoch(len(ready.examples[TRAIN]), c)
        if state.step == state.steps < min(first, c.steps):
            warn(f"{job.name}: the time limit ended it after {state.step:,} of {first:,} steps of the first epoch: give more time or "
                 "fewer rows.")  # fmt: skip
        say(
            f"{job.name}: best {ready.metric} {state.best:.4f} on validation, "
            f"step {state.best_step:,} of {state.step:,}, {state.seconds:.1f} s"
        )
        torch.set_num_threads(cores())
        one.model.cpu().settle()
        return dataclasses.replace(one, plan=dataclasses.replace(one.plan, train=job.config))

    def _join(self, name: str, cls: type[Model], members: list[Trained]) -> Trained:
        """A model made of trained ones; its plan is that of the first that was stepped."""
        began = self.clock.seconds()
        config = cls.Config(members=tuple({"name": each.name, **configs.to_dict(each.plan.model)} for each in members))
        model = cls(config, self.prepared.schema, self.prepared.head)
        model.adopt([each.bundle.model for each in members])
        stepped = [each for each in members if not each.bundle.model.solves] or members
        return self._trained(Draft(name, model, dataclasses.replace(stepped[0].plan, model=config)), began)

    def _trained(self, one: Draft, began: float) -> Trained:
        """Bundles a trained model and scores it on validation. Those that took no steps leave one line in metrics.jsonl."""
        ready = self.prepared
        info = {
            "task": {"name": name_of(ready.task), "config": configs.to_dict(ready.task.config)},
            "model": {"name": one.name, "config": configs.to_dict(one.plan.model), "code": None, "files": list(one.model.files())},
            "reading": {"encoding": ready.config.data.encoding, "delimiter": ready.config.data.delimiter},
        }
        bundle = Bundle(ready.schema, ready.task, one.model, ready.head, ready.task.context(ready.store), info)
        some = ready.examples[VALID].thinned(BESIDE)
        judged = judge(one.model, ready.task, ready.head, some)
        if ready.task.calibrate(one.model, *judged, some):
            judged = judge(one.model, ready.task, ready.head, some)
        scored = ready.task.measure(*judged, ready.schema, ready.task.metrics(ready.schema))
        if one.model.solves or one.model.joins:
            self.folder.forget_lines(one.name, after=0)
            self.folder.add_line({"model": one.name, "step": 1, "epoch": 1, ready.metric: scored.metrics.get(ready.metric)})
        return Trained(one, bundle, scored, self.clock.seconds() - began)


def name_of(plugin: Any) -> str:
    """The name of a task's or a field's file."""
    return type(plugin).__module__.rpartition(".")[2]
