"""Every recipe several times over: the mean of its gated metrics with its standard error, beside the gate and the best other model.

    python bench/recipes.py [sms-auto adult ...] [--rounds 3] [--set KEY=VALUE ...]

Without names, all that are not `slow`. Round i has seed i and split i; where a data set has an official test part only the seed differs,
and the standard error then says nothing of other data. Figures are kept in bench/recipes.json, recipe by recipe, and the table of all of
them is a part of RESULTS.md. A recipe whose `about` asks for --set model.path=PATH gets $LUBAN_MINILM there, and is left out without it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import results

import luban
from luban.metrics import direction
from luban.planning import read_yaml

RECIPES, KEPT = results.HERE.parent / "recipes", results.HERE / "recipes.json"


def given_weights(recipe: dict[str, Any]) -> list[str] | None:
    """The settings that name its pretrained weights; None where it needs some that are not given."""
    if "model.path=" not in recipe["about"]:
        return []
    return [f"model.path={os.environ['LUBAN_MINILM']}"] if "LUBAN_MINILM" in os.environ else None


def run(path: Path, recipe: dict[str, Any], settings: list[str], rounds: int) -> dict[str, Any]:
    """{metric: {"must", "values", "baseline"}} of the gated metrics, and the seconds; baseline: the best other, by its mean."""
    reports, began = [], time.perf_counter()
    for i in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            made = luban.train(config=str(path), seed=i, set=[f"data.split_seed={i}", *settings], out=f"{folder}/run")
        reports.append(made.report)
    found: dict[str, Any] = {}
    for name, must in recipe["must"].items():
        others = [{who: figures[name] for who, figures in each["baselines"].items() if name in figures} for each in reports]
        means = {who: mean(each[who] for each in others) for who in others[0] if all(who in each for each in others)}
        best = (max if direction(name) == "max" else min)(means, key=means.__getitem__, default=None)
        baseline = {best: means[best]} if best else {}
        found[name] = {"must": must, "values": [each["metrics"][name] for each in reports], "baseline": baseline}
    return {"metrics": found, "seconds": (time.perf_counter() - began) / rounds, "split": reports[0]["split"]}


def lines_of(name: str, told: dict[str, Any]) -> list[str]:
    """A line of the table for each gated metric."""
    made = []
    for metric, each in told["metrics"].items():
        values, seconds = each["values"], told["seconds"]
        error = f" ± {stdev(values) / math.sqrt(len(values)):.4f}" if len(values) > 1 else ""
        beside = " ".join(f"{value:.4f} ({who})" for who, value in each["baseline"].items())
        made.append(f"| {name} | {metric} | {mean(values):.4f}{error} | {len(values)} | {each['must']} | {beside} | {seconds:.0f} |")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a recipe's file name without .yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="handed on to every recipe")
    given = parser.parse_args()
    recipes = {path.stem: read_yaml(path) for path in sorted(RECIPES.glob("*.yaml"))}
    if unknown := set(given.names) - recipes.keys():
        sys.exit(f"there is no recipe {min(unknown)!r}: {', '.join(recipes)}")
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for name in given.names or [name for name, recipe in recipes.items() if not recipe.get("slow")]:
        if (weights := given_weights(recipes[name])) is None:
            print(f"{name}: left out, LUBAN_MINILM names no folder", flush=True)
            continue
        kept[name] = run(RECIPES / f"{name}.yaml", recipes[name], [*weights, *given.set], given.rounds)
        print(*lines_of(name, kept[name]), sep="\n", flush=True)
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    table = ["## Recipes", "", "| recipe | metric | mean ± standard error | rounds | must | best beside it | seconds a round |"]
    table += ["|---|---|---|---|---|---|---|", *(line for name in sorted(kept) for line in lines_of(name, kept[name]))]
    results.write("recipes", "recipes.py", [*table, *results.about("recipes.py")])


if __name__ == "__main__":
    main()
