"""`luban compare`: which of several runs is better, and is the difference more than chance?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luban.cli.use import complete_runs


@click.command(
    epilog="\b\nExamples:\n  luban compare adult-mlp adult-trees\n  luban compare runs/a runs/b last -o compare.html\n"
    "  luban compare adult-mlp last --json\n  luban compare old new --data moved/data.csv\n\n"
    "The others are held against the first RUN. In brackets stands the 95 % interval of the difference, drawn from the rows that both were "
    "tested on; * where it leaves out 0: the difference is more than the choice of these rows."
)
@click.argument("runs", metavar="RUN RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--data", metavar="FILE", help="Where the runs' data are now, if not where they were.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), metavar="FILE", help="The same as one page, with learning curves: an .html file."
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def compare(runs: tuple[str, ...], data: str | None, out: Path | None, as_json: bool) -> None:
    """Hold finished runs of one question side by side: metrics, time, size, settings, curves."""
    import dataclasses
    import json

    from luban.core.errors import UserError
    from luban.core.files import write_text
    from luban.stages.compare import compare as hold

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out writes a page, so its name ends in .html, not {out.name!r}. Figures for programs: --json.")
    made = hold(*runs, data=data)
    if out is not None:
        from luban.report.compare import page

        write_text(out, page(made))
        click.echo(f"the page is in {out}", err=True)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made), ensure_ascii=False))
    else:
        _print(made)


def _print(made: Any) -> None:
    """The comparison as tables of a terminal; into a file they are as wide as they need to be."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from luban.report.compare import facts, setting

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=40 * (1 + len(made.runs)))
    names = [each.name for each in made.runs]

    def show(title: str, rows: list[list[Any]]) -> None:
        table = Table(title, *names, box=SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)

    scored = "/".join(dict.fromkeys(each.scored for each in made.runs))
    show(f"{scored} part", [[name, *(_cell(made, name, each) for each in made.runs)] for name in made.runs[0].metrics])
    show("", [[what, *values] for what, values in facts(made).items()])
    if made.settings:
        show("setting", [[key, *map(setting, values)] for key, values in made.settings.items()])
    for sentence in made.verdicts:
        console.print(sentence, soft_wrap=True)


def _cell(made: Any, metric: str, run: Any) -> Any:
    """A metric of a run: its value, the best one bold; and its difference from the first run, coloured where it is sure."""
    from rich.text import Text

    from luban.metrics import better
    from luban.report.compare import best, interval

    if metric not in run.metrics:
        return Text("-")
    cell = Text(f"{run.metrics[metric]:.4f}", "bold" if run.name in best(made, metric) else "")
    if metric in run.differences:
        d = run.differences[metric]
        colour = ("green" if better(metric, d.value, 0.0) else "red") if d.sure else "dim"
        cell.append(f"  {interval(d)}", colour)
    return cell
