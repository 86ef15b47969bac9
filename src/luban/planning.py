"""The configuration tree, and the plan: every value that the user left open gets its number here, from data, machine and size.

All rules are pure functions of what is printed, never of a stopwatch, so that a run can be repeated and resumed bit for bit; the one
exception, a time limit, is measured once and written down as `train.steps`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from luban import catalogue, reading
from luban.core import config as configs
from luban.core.contract import Head, Model, Schema
from luban.core.device import cores, fast_bf16, memory, pick_device
from luban.core.errors import UserError
from luban.core.registry import MODELS, TASKS
from luban.data import DataConfig
from luban.layers import rules

# ---------------------------------------------------------------- the tree


@dataclass(frozen=True)
class TrainConfig:
    epochs: int | None = None
    """Passes over the training rows, at most: training stops early when validation does not improve."""
    steps: int | None = None
    """Optimiser steps, at most; wins over epochs."""
    batch_size: int | None = None
    """Rows a step. Small batches generalise a little better, large ones use the machine better."""
    lr: float | None = None
    """Learning rate at its highest. The first thing to change when training diverges (lower) or crawls (higher)."""
    optimizer: Literal["sgd", "adagrad", "rmsprop", "adam", "adamw", "muon"] | None = None
    """How gradients become steps."""
    momentum: float = 0.9
    """For sgd (0 is plain gradient descent), rmsprop and muon."""
    nesterov: bool = False
    """For sgd: look ahead along the momentum."""
    weight_decay: float | None = None
    """Decay of matrices towards 0; biases and norms are spared."""
    schedule: Literal["constant", "step", "cosine", "onecycle", "wsd"] | None = None
    """How the learning rate moves. wsd (warmup, stable, decay) is the one that can be cut short without loss."""
    warmup: float | None = None
    """Share of the steps over which the learning rate rises from 0."""
    clip: float | None = None
    """Largest norm of the gradient; 0 for none."""
    shuffle: int | None = None
    """So many rows are shuffled among themselves, read from 64 places of the disk; 0: all rows of an epoch. Unset: all, unless the
    encoded rows are larger than half of the memory."""
    semi: bool = False
    """Use the rows whose target is empty, too: by models that learn from inputs alone, then by the answers that the best model is sure of.
    What that buys is told, and nothing is kept that buys nothing."""
    accumulate: int = 1
    """Batches whose gradients are added before a step: a larger batch in the same memory."""
    ema: float | None = None
    """Decay of the moving average of the weights that is evaluated and saved; 0 for none."""
    patience: int | None = None
    """Stop after so many evaluations without improvement; 0 for never."""
    eval_every: int | None = None
    """Steps between evaluations on the validation rows."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 halves the cost of large products where the machine has them; small networks stay in fp32."""
    threads: int | None = None
    """Processor threads; small networks are faster with one."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; the best one by default."""
    time_limit: float | None = None
    """Seconds for the whole run, baselines included."""

    def __post_init__(self) -> None:
        whole = ("epochs", "steps", "batch_size", "accumulate", "eval_every", "threads")
        rules.within(
            self,
            dict.fromkeys(whole, (1, math.inf))
            | {
                "lr": (0, math.inf),
                "shuffle": (0, math.inf),
                "weight_decay": (0, math.inf),
                "clip": (0, math.inf),
                "patience": (0, math.inf),
                "momentum": (0, 0.9999),
                "warmup": (0, 1),
                "ema": (0, 0.999999),
            },
            "train",
        )


@dataclass(frozen=True)
class ReportConfig:
    language: Literal["auto", "en", "zh"] = "auto"
    """Of report.html. auto: Chinese where $LC_ALL or $LANG says so, else English."""
    costs: tuple[float, float] = (1.0, 1.0)
    """Of a false positive and of a false negative, in a question with two classes: by them the page finds the cheapest threshold."""

    def __post_init__(self) -> None:
        if len(self.costs) != 2 or not all(0 <= cost < math.inf for cost in self.costs):
            raise UserError(f"report.costs are two numbers, of a false positive and of a false negative, none below 0, not {self.costs!r}.")


@dataclass(frozen=True)
class TrackingConfig:
    tensorboard: bool = False
    """Curves and test metrics as event files in the run folder: `tensorboard --logdir runs` draws them. Needs `luban[tracking]`."""
    mlflow: bool | str = False
    """true: the run goes to MLflow's own default place (MLFLOW_TRACKING_URI, else ./mlflow.db); or the place itself: a folder, or the
    address of a server. Settings, curves, test metrics and the report. Needs `luban[tracking]`."""


@dataclass(frozen=True)
class Config:
    data: DataConfig = field(default_factory=DataConfig)
    """Which rows and columns."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Column -> field, where the inferred one is not wanted: `age: category`, `code: ignore`."""
    task: dict[str, Any] = field(default_factory=dict)
    """The question: `name` and its options; found from the target by itself."""
    model: dict[str, Any] = field(default_factory=dict)
    """The model: `name` (`luban list models`, my.py:Net, or auto) and its options."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The loop."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """The page."""
    metric: str | None = None
    """The metric that picks the best checkpoint and model; the task's first by default."""
    size: Literal["small", "base", "large"] = "base"
    """One dial for width, depth and length of training."""
    baselines: tuple[str, ...] | None = None
    """Models to show beside the result; the task's by default, none to leave them out."""
    folds: int | None = None
    """Train the chosen model, as it was planned, again on so many folds: each row is judged once by a model that did not see it."""
    start: str | None = None
    """A run to go on from (`--from`): its fields and weights, and where nothing else is said its question and its model."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    """Who else is told of the run: nobody by default."""
    seed: int = 42
    """Fixes weights, order and dropout."""


WORDS = {
    "data": "data.path",
    "target": "data.target",
    "test": "data.test",
    "group": "data.group",
    "time": "data.time",
    "drop": "data.drop",
    "task": "task.name",
    "model": "model.name",
    "size": "size",
    "metric": "metric",
    "seed": "seed",
    "baselines": "baselines",
    "folds": "folds",
    "start": "start",
    "device": "train.device",
    "time_limit": "train.time_limit",
}
"""The words of `luban train` that are short for a setting."""

_RECIPE_KEYS = ("must", "splits", "about", "slow")


def from_words(words: dict[str, Any]) -> Config:
    """A Config from words["config"] (a YAML file), then the words, then words["set"] ("a.b=value" each); later wins."""
    values = read_yaml(Path(words["config"])) if words.get("config") else {}
    for key in _RECIPE_KEYS:
        values.pop(key, None)
    for key in ("task", "model"):
        if isinstance(values.get(key), str):
            values[key] = {"name": values[key]}
    for word, key in WORDS.items():
        value = words.get(word)
        if value is not None and value != []:
            configs.override(values, key, value)
    for setting in words.get("set") or []:
        _set(values, setting)
    if words.get("baselines") in ([], "none") or values.get("baselines") in ("none", ["none"]):
        values["baselines"] = []
    data = values.get("data") if isinstance(values.get("data"), dict) else {}
    _bring_along(values, data)
    asked = values.get("task") if isinstance(values.get("task"), dict) else {}
    if not data.get("target") and _labelled(asked.get("name")) and (usual := reading.usual_target(data.get("path"))):
        data["target"] = [usual]
    # absolute, so that the run can be repeated and evaluated from any folder; a built-in name stays
    for key in ("path", "test", "items", "users"):
        if isinstance(data.get(key), str) and Path(data[key]).is_file():
            data[key] = str(Path(data[key]).resolve())
    _argument(values)
    limit = values.get("train", {}).get("time_limit") if isinstance(values.get("train"), dict) else None
    if limit is not None:
        values["train"]["time_limit"] = seconds(limit)
    return configs.build(Config, values)


def _argument(values: dict[str, Any]) -> None:
    """`--model NAME:VALUE` is the model NAME with its option `argument`; a folder is made absolute, so that the run can be repeated.
    A name is a file's, and biased-mf that of biased_mf."""
    model = values.get("model") if isinstance(values.get("model"), dict) else {}
    if (plain := str(model.get("name", "")).replace("-", "_")) in MODELS.names():
        model["name"] = plain
    name, _, value = str(model.get("name", "")).partition(":")
    if value and name in MODELS.names() and MODELS[name].argument:
        model["name"] = name
        model[MODELS[name].argument] = str(Path(value).resolve()) if Path(value).is_dir() else value


def reads(config: Config) -> dict[str, dict[str, Any]]:
    """{field: options} that the named model asks of its fields."""
    options = dict(config.model)
    name = options.pop("name", None)
    return MODELS[name].reads(options) if name in MODELS.names() else {}


def _labelled(task: Any) -> bool:
    """Does the task of this name, or any that may be found, want a target column?"""
    return task not in TASKS.names() or TASKS[task].labelled


def _bring_along(values: dict[str, Any], data: dict[str, Any]) -> None:
    """The task and the settings that go with a built-in data set, where the user asked nothing else of it."""
    name = data.get("path")
    if name not in catalogue.names() or Path(name).is_file():
        return
    about = catalogue.describe(name)
    usual = [about["target"]] if "target" in about else []
    if not data.get("target") and usual and _labelled(values.get("task", {}).get("name")):
        data["target"] = usual
    if not usual or data.get("target") in (usual, about["target"]):
        task = values.setdefault("task", {})
        if task.setdefault("name", about["task"]) == about["task"]:
            values["data"] = {**about.get("data", {}), **data}
            values["task"] = {**about.get("options", {}), **task}


def _set(values: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals:
        raise UserError(f"--set takes KEY=VALUE, such as train.lr=3e-4, not {setting!r}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if value in (None, "") and text in ("|", ">", "#"):  # delimiters that YAML reads as nothing
        value = text
    if key in ("task", "model"):
        key += ".name"
    if key.startswith("fields."):  # a column's name may hold dots
        values.setdefault("fields", {})[key.removeprefix("fields.")] = value
    else:
        configs.override(values, key, value)


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values (`luban init DATA` writes such a file), not {type(values).__name__}.")
    return values


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(configs.to_dict(config), sort_keys=False, allow_unicode=True)


def seconds(text: str | float) -> float:
    """ "90", "90s", "10m", "1.5h" -> seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    digits = str(text).strip().lower()
    unit = units.get(digits[-1:], 1)
    try:
        value = float(digits.rstrip("smhd")) * unit
    except ValueError:
        value = -1.0
    if not value > 0:
        raise UserError(f"a time limit looks like 90s, 10m or 1.5h, not {text!r}.")
    return value


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Plan:
    """A model's configuration and its training's, all filled, and why."""

    model: Any
    train: TrainConfig
    why: dict[str, str]


_BUDGET_SECONDS = 600
_BF16_FLOPS = 1e8  # a step; below it the casts cost more than they save (a tabm step on Adult, 1e9, takes .55 of its fp32 time)


def plan(config: Config, model_class: type[Model], options: dict[str, Any], schema: Schema, head: Head, n_train: int) -> Plan:
    """Fills the configuration of `model_class` and of its training, but for what depends on the built model (`finish`)."""
    model_config: Any = configs.build(model_class.Config, options, "model")
    model_config, proposed, why = model_class.plan(model_config, schema, head, n_train, config.size)
    usual, reasons = rules.training(n_train)
    train = _fill(_fill(config.train, proposed), usual)
    why = {**reasons, **why}
    if train.batch_size > n_train:
        train = dataclasses.replace(train, batch_size=n_train)
        why["train.batch_size"] = "all training rows"
    return Plan(model_config, train, why)


def finish(planned: Plan, config: Config, model: Model, n_train: int, n_valid: int, nbytes: int) -> Plan:
    """Fills what depends on the model's cost: epochs within the budget, evaluation within 5 % of the time, threads, precision; and how far
    rows are shuffled, which depends on whether all of them (`nbytes`) fit into memory."""
    train, why = planned.train, dict(planned.why)
    cost = 3 * model.flops()  # a row forward and backward
    per_epoch = steps_per_epoch(n_train, train)
    if train.steps is None and config.train.epochs is None and config.train.time_limit is None:
        affordable = _BUDGET_SECONDS * cores() * model.rate / max(cost, 1.0) / n_train
        if affordable < train.epochs:
            whole, part = int(affordable), max(1, int(affordable * per_epoch))  # of less than one epoch, its steps
            train = dataclasses.replace(train, epochs=max(1, whole), steps=None if whole else part)
            why["train.epochs"] = f"what about {_BUDGET_SECONDS // 60} minutes on {cores()} cores allow"
    steps = train.steps or train.epochs * per_epoch
    # a forward pass of the validation rows costs a third of a training pass over as many: 5 % of the time is one for 6.7 trained rows each
    often = max(min(per_epoch, -(-steps // 10)), -(-int(6.7 * n_valid) // (train.batch_size * train.accumulate)))
    values: dict[str, Any] = {
        "steps": steps,
        "eval_every": train.eval_every or min(often, steps),
        "threads": train.threads or model.threads or (1 if cost * train.batch_size < 2e8 else cores()),
        "precision": train.precision,
    }
    if train.shuffle is None:
        fits = nbytes <= memory() / 2
        values["shuffle"] = 0 if fits else max(10_000, int(n_train * memory() / 8 / nbytes))
        if not fits:
            why["train.shuffle"] = "the encoded rows are larger than half of the memory"
    if train.precision == "auto":
        pays = cost * train.batch_size > _BF16_FLOPS and fast_bf16(pick_device(train.device))
        values["precision"] = "bf16" if pays else "fp32"
        why["train.precision"] = "large products, and the machine has fast bf16" if pays else "small products, or no fast bf16 here"
    return Plan(planned.model, dataclasses.replace(train, **values), why)


def steps_per_epoch(n_train: int, train: TrainConfig) -> int:
    """The last step takes what is left, and a single row left over goes with the step before: one row has no batch statistics."""
    whole, rest = divmod(n_train, train.batch_size * train.accumulate)
    return max(1, whole + (rest > 1 or (rest == 1 and train.batch_size == 1)))


def _fill(train: TrainConfig, proposed: dict[str, Any]) -> TrainConfig:
    return dataclasses.replace(train, **{key: value for key, value in proposed.items() if getattr(train, key) in (None, "auto")})
