"""`luban runs`: what was trained, and removing it. How runs differ: `luban compare`."""

from __future__ import annotations

import json

import click

from luban.cli.use import complete_runs


@click.group(
    invoke_without_command=True,
    epilog="\b\nExamples:\n  luban runs\n  luban runs show last\n  luban runs rm adult-mlp",
)
@click.pass_context
def runs(ctx: click.Context) -> None:
    """List the runs under runs/; show or remove them."""
    if ctx.invoked_subcommand is not None:
        return
    from luban import folders
    from luban.core.files import read_json
    from luban.core.notes import padded

    for folder in folders.all_runs():
        if folder.finished:
            report = read_json(folder.report)
            text = f"{report['model']:<12} {report['metric']} {report['metrics'].get(report['metric'], float('nan')):.4f}"
        else:
            text = f"unfinished, {len(folder.lines())} evaluations"
        click.echo(f"{padded(folder.path.name, 32)} {folders.age(folder)}  {text}")


@runs.command(epilog="\b\nExample:\n  luban runs show last")
@click.argument("run", shell_complete=complete_runs)
@click.option("--json", "as_json", is_flag=True, help="The whole report.json.")
def show(run: str, as_json: bool) -> None:
    """What RUN was, and how good."""
    from luban import folders
    from luban.core.errors import UserError
    from luban.core.files import read_json

    folder = folders.find(run)
    if not folder.finished:
        raise UserError(
            f"the run {folder.path} has not finished; go on with it by the same `luban train` command and --resume --out {folder.path}."
        )
    report = read_json(folder.report)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    click.echo(f"{report['task']} by {report['model']}; {report['split']} rows\n{report['verdict']}\n")
    names = [report["model"], *report["baselines"]]
    click.echo(f"{report['scored']:<24}" + "".join(f"{name:>12}" for name in names))
    for metric, value in report["metrics"].items():
        row = [value, *(values.get(metric) for values in report["baselines"].values())]
        click.echo(f"{metric:<24}" + "".join(f"{each:>12.4f}" if each is not None else f"{'-':>12}" for each in row))
    click.echo(str(folder.path))


@runs.command(epilog="\b\nExample:\n  luban runs rm adult-mlp")
@click.argument("run", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def rm(run: tuple[str, ...], yes: bool) -> None:
    """Remove runs, for good."""
    from luban import folders

    for name in run:
        folder = folders.find(name)
        if yes or click.confirm(f"remove {folder.path}?", err=True):
            folders.remove(folder)
            click.echo(str(folder.path))
