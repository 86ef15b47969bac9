"""`luban train`, `luban plan` and `luban init`: the commands that start from data."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path
from typing import Any

import click

from luban.core.files import need_file

SCREEN: Any = None
"""The progress display while a model is training; notes are printed above it."""


def _names(package: str):
    """Completes the names of a registry from its folder listing, without importing a plug-in."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from luban.core.registry import Registry

        return [name for name in Registry(package, "").names() if name.startswith(incomplete)]

    return complete


QUESTION = [
    click.argument("data", required=False),
    click.option("--target", "-t", multiple=True, metavar="COLUMN", help="The column to predict; again for several."),
    click.option("--task", metavar="TASK", shell_complete=_names("luban.tasks"), help="classify, regress, ...; found from the target."),
]
ROWS = [
    click.option("--test", metavar="FILE", help="Test rows, used for the final score only."),
    click.option("--group", metavar="COLUMN", help="Rows with one value here stay together (a patient, a customer)."),
    click.option("--time", metavar="COLUMN", help="Train on the oldest rows, test on the newest."),
    click.option("--drop", multiple=True, metavar="COLUMN", help="Leave this column out; again for several."),
]
SETTINGS = [
    click.option("--config", metavar="FILE", help="A YAML file (`luban init` writes one)."),
    click.option(
        "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting: train.lr=3e-4, fields.zip=category (`luban list settings`)."
    ),
]
DATA_OPTIONS = [
    *QUESTION,
    click.option(
        "--model",
        "-m",
        metavar="MODEL",
        shell_complete=_names("luban.models"),
        help="A name (`luban list models`), my.py:Net, or auto, which tries a few and keeps the best on validation. [auto]",
    ),
    *ROWS,
    click.option("--size", type=click.Choice(["small", "base", "large"]), help="How large a network and how long a training. [base]"),
    click.option("--time-limit", metavar="TIME", help="10m, 90s, 1.5h: for everything, baselines included."),
    click.option("--metric", metavar="METRIC", help="What picks the best checkpoint and model."),
    click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps. [the best one here]"),
    click.option("--from", "start", metavar="RUN", help="Go on from the weights of a run: newer rows, or another question of its columns."),
    click.option("--seed", type=int, metavar="N", help="Fixes weights, order and dropout. [42]"),
    *SETTINGS,
]
"""What `train` and `plan` share."""


def with_options(options: list) -> Any:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.command(
    epilog="\b\nExamples:\n  luban train data.csv --target label\n"
    "  luban train houses.parquet -t price --time-limit 10m --out runs/houses\n"
    "  luban train visits.xlsx -t ill --group patient --drop ward\n  luban train data.csv -t y --model mlp --set model.hidden=[64,64] "
    "--set train.lr=1e-3\n  luban train data.csv -t y --model my.py:Net\n  luban train data.csv -t y --folds 5\n"
    "  luban train newer.csv --from last\n"
    "  luban train recipes/adult.yaml\n\n"
    "Ctrl-C saves and stops; the same command with --resume goes on."
)
@with_options(DATA_OPTIONS)
@click.option("--out", metavar="DIR", help="The run folder. [runs/<data>-<model>]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; start it where there is none.")
@click.option("--baselines", metavar="NAMES", help="Models to show beside the result, by commas; none for none. [the task's]")
@click.option("--folds", type=int, metavar="K", help="Train the chosen model on K folds, too, and tell how far its figures spread.")
@click.option("--quiet", "-q", is_flag=True, help="Only errors and the result.")
@click.option("--json", "as_json", is_flag=True, help="The result as one line of JSON.")
def train(**options: Any) -> int:
    """Train on DATA (a file, a built-in name, or a recipe) and test beside baselines."""
    global SCREEN
    as_json, quiet, words = options.pop("as_json"), options.pop("quiet"), words_of(options)
    from luban.stages import recipe
    from luban.stages.clock import Interrupted

    if quiet:
        logging.getLogger("luban").setLevel(logging.ERROR)
    from luban.cli.screen import Screen

    try:
        with Screen(quiet) as SCREEN:
            outcome = recipe.run(words, SCREEN) if recipe.is_recipe(words) else recipe.single(words, SCREEN)
    except Interrupted as stop:
        command = "the same command with --resume" + ("" if words["out"] else f" --out {shlex.quote(str(stop))}")
        raise Interrupted(f"stopped and saved in {stop}. To go on: {command}.") from None
    finally:
        SCREEN = None
    run = outcome.run
    if as_json:
        folds = {"folds": run.report["folds"]} if "folds" in run.report else {}
        click.echo(json.dumps({"run": str(run.path), "metrics": outcome.metrics, **folds}, ensure_ascii=False))
        return outcome.exit_code
    if not quiet:
        from luban.report.card import asked

        path, question = shlex.quote(_short(run.path)), asked(run.report.get("example", {}))
        click.echo(f"next: luban predict {path} {question}\n      luban evaluate {path} MORE_DATA\n      luban serve {path}", err=True)
    called, metric = run.report.get("called", {}), run.report["metric"]
    for name, value in outcome.metrics.items():
        click.echo(f"{name:<24} {value:.6g}{called.get(name, name).removeprefix(name)}")
    if values := run.report.get("folds", {}).get("metrics", {}).get(metric):
        from luban.report.words import folds as told

        click.echo(f"{f'{metric}_of_folds':<24} {sum(values) / len(values):.6g}  {told(run.report['folds'], metric, 'en')}")
    click.echo(str(run.path))
    return outcome.exit_code


def words_of(options: dict[str, Any]) -> dict[str, Any]:
    """The command's options as the words of `luban.train`. Raises UserError where there is no such file."""
    words: dict[str, Any] = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    words["set"] = words.pop("sets")
    if words.get("baselines"):
        words["baselines"] = [] if words["baselines"] == "none" else words["baselines"].split(",")
    if str(words["data"]).endswith((".yaml", ".yml")):  # a configuration or a recipe that names its own data
        words["data"], words["config"] = None, words["data"]
    if words["data"] is not None and not words.get("resume"):
        need_file(words["data"])
    return words


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@click.command(epilog="\b\nExamples:\n  luban plan data.csv --target label\n  luban plan data.csv -t label --model tabm --size large")
@with_options(DATA_OPTIONS)
def plan(**options: Any) -> None:
    """Say what `train` would do with DATA: columns, model, FLOPs, memory, time. Trains nothing."""
    words = words_of(options)
    from luban.stages.plan import foresee

    logging.getLogger("luban").setLevel(logging.WARNING)  # what the notes would say is in the plan
    for line in foresee(words):
        click.echo(line)


@click.command(epilog="\b\nExamples:\n  luban init data.csv --target label\n  luban init data.csv -t label -o my.yaml; luban train my.yaml")
@click.argument("data")
@click.option("--target", "-t", multiple=True, metavar="COLUMN", help="The column to predict.")
@click.option("--task", metavar="TASK", shell_complete=_names("luban.tasks"), help="forecast, recommend, ...; found from the target.")
@click.option("--out", "-o", default="luban.yaml", metavar="FILE", help="Where to write. [luban.yaml]")
def init(data: str, target: tuple[str, ...], task: str | None, out: str) -> None:
    """Write a configuration for DATA, with each column as it was understood, to be edited."""
    from luban.stages.plan import write_draft

    click.echo(str(write_draft(data, list(target), task, Path(out))))
