"""Recipes: a configuration with the score that it must reach; trained once, or on several splits and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say
from luban.metrics import better
from luban.planning import read_yaml
from luban.stages.fit import Hooks
from luban.stages.train import Run, train


@dataclass(frozen=True)
class Outcome:
    run: Run
    """The run; of several splits, the last."""
    metrics: dict[str, float]
    """Test metrics; of several splits, their means."""
    missed: tuple[str, ...] = ()
    """Metrics that did not reach their figure."""

    @property
    def exit_code(self) -> int:
        return 1 if self.missed else 0


def is_recipe(words: dict[str, Any]) -> bool:
    """Does the configuration say what it must reach, or on how many splits?"""
    return words.get("config") is not None and bool({"must", "splits"} & read_yaml(Path(words["config"])).keys())


def single(words: dict[str, Any], hooks: Hooks) -> Outcome:
    """A plain training."""
    made = train(**words, hooks=hooks)
    return Outcome(made, made.metrics)


def run(words: dict[str, Any], hooks: Hooks) -> Outcome:
    """Trains the recipe on each of its splits and holds the means against its figures."""
    recipe = read_yaml(Path(words["config"]))
    splits, must = recipe.get("splits", 1), recipe.get("must", {})
    if not isinstance(splits, int) or splits < 1 or not isinstance(must, dict):
        raise UserError(f"{words['config']}: `splits` is a whole number and `must` maps metrics to figures.")
    runs = []
    for number in range(splits):
        mine = dict(words)
        if splits > 1:
            say(f"split {number + 1} of {splits}")
            mine["set"] = [*words["set"], f"data.split_seed={number}"]
            mine["out"] = f"{words['out']}/split-{number}" if words["out"] else None
        runs.append(train(**mine, hooks=hooks))
    shared = [name for name in runs[0].metrics if all(name in each.metrics for each in runs)]
    means = {name: sum(each.metrics[name] for each in runs) / splits for name in shared}
    missed = tuple(name for name, figure in must.items() if name not in means or better(name, float(figure), means[name]))
    for name, figure in must.items():
        if name in means:
            say(f"{'missed' if name in missed else 'reached'}: {name} {means[name]:.4f}, must be {figure}")
        else:
            say(f"missed: there is no metric {name!r} here.{did_you_mean(name, means)} There are: {listed(means, 40)}")
    return Outcome(runs[-1], means, missed)
