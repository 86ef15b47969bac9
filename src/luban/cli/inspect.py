"""`luban list`, `luban env` and `luban completion`: what there is, on what machine, and how a shell completes it."""

from __future__ import annotations

import ast
from typing import Any

import click

_FAMILIES = ("models", "tasks", "fields", "sources")


@click.command("list", epilog="\b\nExamples:\n  luban list models\n  luban list models mlp\n  luban list settings")
@click.argument("kind", type=click.Choice([*_FAMILIES, "metrics", "settings"]))
@click.argument("name", required=False)
def list_(kind: str, name: str | None) -> None:
    """What there is: models, tasks, fields, sources, metrics, or settings; with NAME, the settings of one."""
    from luban.core import registry

    if kind == "settings":
        _settings()
    elif kind == "metrics":
        _metrics()
    elif name and kind == "sources":
        click.echo(f"{name:<16} {_first_line('luban.sources', name)}")
    elif name:
        _knobs(getattr(registry, kind.upper())[name].Config, f"{kind.rstrip('s')}.")
    else:
        package = f"luban.{kind}"
        for each in registry.Registry(package, kind.rstrip("s")).names():
            click.echo(f"{each:<16} {_first_line(package, each)}")


def _first_line(package: str, name: str) -> str:
    """The first line of a plug-in's docstring, read from its source: listing imports nothing heavy."""
    import importlib.util

    spec = importlib.util.find_spec(f"{package}.{name}")
    if spec is None or spec.origin is None:
        return "(installed by another package)"
    with open(spec.origin, encoding="utf-8") as file:
        return (ast.get_docstring(ast.parse(file.read())) or "").partition("\n")[0]


def _metrics() -> None:
    import pkgutil

    from luban import metrics

    for module in pkgutil.iter_modules(metrics.__path__):
        for name, function in metrics.family(module.name).items():
            click.echo(f"{name:<20} {function.direction}  {module.name:<16} {(function.__doc__ or '').partition(chr(10))[0]}")


def _settings() -> None:
    from luban.data import DataConfig
    from luban.planning import Config, ReportConfig, TrackingConfig, TrainConfig

    _knobs(Config, "", leave_out=("data", "train", "report", "tracking"))
    _knobs(DataConfig, "data.")
    _knobs(TrainConfig, "train.")
    _knobs(ReportConfig, "report.")
    _knobs(TrackingConfig, "tracking.")
    click.echo("model.* and task.*: `luban list models NAME`, `luban list tasks NAME`")


def _knobs(config: Any, prefix: str, leave_out: tuple[str, ...] = ()) -> None:
    import dataclasses

    from luban.core.config import docs

    texts = docs(config)
    for field in dataclasses.fields(config):
        if field.name in leave_out:
            continue
        default = "" if field.default in (dataclasses.MISSING, None) else f" [{field.default}]"
        click.echo(f"{prefix + field.name:<20} {texts.get(field.name, '')}{default}")


@click.command(epilog="\b\nExample:\n  luban env")
def env() -> None:
    """The machine and the versions, for a bug report."""
    from luban.core.device import describe

    for name, value in describe().items():
        click.echo(f"{name:<14} {value}")


@click.command(epilog='\b\nExample:\n  eval "$(luban completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that makes SHELL complete luban's commands, options, models and runs."""
    from click.shell_completion import get_completion_class

    from luban.cli.main import luban

    made = get_completion_class(shell)
    if made is not None:
        click.echo(made(luban, {}, "luban", "_LUBAN_COMPLETE").source())
