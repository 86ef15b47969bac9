"""Configuration: coercion, did-you-mean, overrides, and the docstrings that are the help."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from luban.core import config as configs
from luban.core.errors import UserError, did_you_mean
from luban.core.files import amount
from luban.core.registry import FIELDS, MODELS, TASKS
from luban.data import DataConfig
from luban.planning import Config, TrainConfig, from_words, seconds


@dataclass(frozen=True)
class Example:
    lr: float | None = None
    """How fast."""
    name: Literal["a", "b"] = "a"
    """Which."""
    hidden: tuple[int, ...] = (1,)
    """How wide."""
    free: dict[str, Any] | None = None
    """Anything."""


def test_values_are_coerced():
    made = configs.build(Example, {"lr": "1e-4", "hidden": [8, 16.0], "free": {"x": [1]}})
    assert made.lr == 1e-4 and made.hidden == (8, 16) and made.free == {"x": [1]}
    assert configs.build(Example, {"hidden": 5}).hidden == (5,)
    assert configs.build(Example, configs.to_dict(made)) == made


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lrr": 1}, ["'lrr'", "'lr'"]),
        ({"name": "c"}, ["name", "'c'", "'b'"]),
        ({"lr": "fast"}, ["lr", "a number", "'fast'"]),
        ({"hidden": [1.5]}, ["hidden[0]", "a whole number"]),
        ({"lr": True}, ["lr", "True"]),
        (["lr"], ["mapping"]),
    ],
)
def test_wrong_values_are_named(values, words):
    with pytest.raises(UserError) as error:
        configs.build(Example, values)
    assert all(word in str(error.value) for word in words)


def test_docstrings_are_the_help():
    assert configs.docs(Example) == {"lr": "How fast.", "name": "Which.", "hidden": "How wide.", "free": "Anything."}


def test_every_knob_of_every_plug_in_is_explained():
    owners = [Config, DataConfig, TrainConfig, *(cls.Config for family in (MODELS, TASKS, FIELDS) for _, cls in family.items())]
    silent = [f"{cls.__qualname__}.{name}" for cls in owners for name in cls.__dataclass_fields__ if name not in configs.docs(cls)]
    assert silent == []


def test_words_win_over_the_file_and_settings_over_words(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("model: mlp\ntrain: {lr: 1e-3, epochs: 3}\nseed: 1\n")
    settings = ["train.lr=5e-4", "fields.a.b=category", "model.hidden=[4]", "data.delimiter=|"]
    made = from_words({"config": str(file), "seed": 2, "target": ["y"], "set": settings})
    assert made.data.delimiter == "|"
    assert (made.seed, made.train.lr, made.train.epochs, made.data.target) == (2, 5e-4, 3, ("y",))
    assert made.fields == {"a.b": "category"} and made.model == {"name": "mlp", "hidden": [4]}


def test_time_limits():
    assert [seconds(each) for each in ("90", "90s", "10m", "1.5h", 30)] == [90, 90, 600, 5400, 30]
    for wrong in ("soon", "-5m", "0", ""):
        with pytest.raises(UserError, match="10m"):
            seconds(wrong)


@pytest.mark.parametrize("name, near", [("收人", "收入"), ("性別", "性别"), ("Age", "age"), ("ig", "")])
def test_a_name_of_two_characters_has_a_near_one(name, near):
    assert did_you_mean(name, ["年龄", "收入", "性别", "age", "id"]) == (f" Did you mean {near!r}?" if near else "")


@pytest.mark.parametrize(
    "size, words", [(0, "0 bytes"), (999, "999 bytes"), (5_130, "5.1 kB"), (999_700, "1.0 MB"), (64e6, "64 MB"), (3e12, "3,000 GB")]
)
def test_an_amount_is_never_nothing(size, words):
    assert amount(size) == words
