"""`luban evaluate` and `luban predict`: the commands that start from a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from luban.core.files import need_file


def complete_runs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    names = ["last"] + [f"runs/{path.parent.name}" for path in sorted(Path("runs").glob("*/asked.json"))]
    return [name for name in names if name.startswith(incomplete)]


@click.command(
    epilog="\b\nExamples:\n  luban evaluate last test.csv\n  luban evaluate runs/adult-auto adult --split test --json\n"
    "  luban evaluate last test.csv --report test.html"
)
@click.argument("run", shell_complete=complete_runs)
@click.argument("data")
@click.option("--split", metavar="PART", help="train, valid or test; without it the test part where DATA have one, else all rows.")
@click.option("--model", metavar="my.py:Net", help="Your own network's source, where the run was trained with one elsewhere.")
@click.option("--skip-bad", is_flag=True, help="Leave out rows that cannot be read, instead of stopping.")
@click.option("--report", metavar="FILE.html", help="Also write a page: curves, intervals, slices, thresholds.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def evaluate(run: str, data: str, split: str | None, model: str | None, skip_bad: bool, report: str | None, as_json: bool) -> None:
    """Score the model of RUN (a folder, or `last`) on DATA, which must hold the answers: the target, or what came after."""
    need_file(data)
    from luban.folders import find
    from luban.stages.evaluate import evaluate as score

    measured, path = score(run, data, split=split, model=model, skip_bad=skip_bad, report=report), str(find(run).path)
    if report is not None:
        click.echo(f"the page: {Path(report).resolve()}", err=True)
    if as_json:
        click.echo(json.dumps({"run": path, "metrics": measured.metrics, "intervals": measured.intervals}, ensure_ascii=False))
        return
    for name, value in measured.metrics.items():
        low, high = measured.intervals.get(name, (None, None))
        interval = f" [{low:.6g}, {high:.6g}]" if low is not None else ""
        click.echo(f"{name:<24} {value:<10.6g}{interval}{measured.called.get(name, name).removeprefix(name)}")
    click.echo(path)


class Asking(click.Command):
    """A command with further options: what the task of RUN can be asked (k, horizon, prompt), from the fields of its Ask."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        run, asks_for_help = self._first(args), bool({"-h", "--help"} & set(args))
        ctx.meta["luban.ask"], ctx.meta["luban.run"] = _options_of(run, lenient=asks_for_help), run
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without a RUN, what each task's runs can be asked, too."""
        super().format_options(ctx, formatter)
        if ctx.meta.get("luban.run") is None:
            from luban.core.registry import TASKS

            for name, task in TASKS.items():
                if records := [option.get_help_record(ctx) for option in _options(task.Ask)]:
                    with formatter.section(f"Of a run of the task {name}"):
                        formatter.write_dl([record for record in records if record])

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *ctx.meta.get("luban.ask", [])]

    def _first(self, args: list[str]) -> str | None:
        """RUN: the first word that is no option, nor an option's value."""
        from luban.core.registry import TASKS

        valued = {name for each in self.params if isinstance(each, click.Option) and not each.is_flag for name in each.opts}
        valued |= {name for _, task in TASKS.items() for option in _options(task.Ask) if not option.is_flag for name in option.opts}
        before = ""
        for arg in args:
            if not arg.startswith("-") and before not in valued:
                return arg
            before = arg
        return None


def _options_of(run: str | None, lenient: bool) -> list[click.Option]:
    """What the task of `run` can be asked. lenient: a run that is not there has no options, instead of being an error."""
    if run is None:
        return []
    from luban.bundle import read_info
    from luban.core.errors import UserError
    from luban.core.registry import TASKS
    from luban.folders import find

    try:
        return _options(TASKS[read_info(find(run).model)["task"]["name"]].Ask)
    except UserError:
        if lenient:
            return []
        raise


def _options(ask: type) -> list[click.Option]:
    import dataclasses

    from luban.core import config as configs

    options = []
    for each in dataclasses.fields(ask):
        name = f"-{each.name}" if len(each.name) == 1 else "--" + each.name.replace("_", "-")
        default = "" if each.default in (None, False) else f" [{each.default}]"
        text = configs.docs(ask).get(each.name, "") + default
        flag = isinstance(each.default, bool)
        options.append(click.Option([name, each.name], is_flag=flag, default=None, help=text, metavar=None if flag else "VALUE"))
    return options


@click.command(
    cls=Asking,
    epilog="\b\nExamples:\n  luban predict last new.csv -o predictions.csv\n  head -5 new.csv | luban predict runs/adult-auto -\n"
    "  luban predict last new.parquet -o predictions.parquet\n  luban predict runs/films --user 42 -k 10\n"
    "  luban predict runs/load series.csv --horizon 96\n  luban predict runs/plays --prompt ROMEO:",
)
@click.argument("run", shell_complete=complete_runs)
@click.argument("data", required=False)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), metavar="FILE", help="A .csv, .jsonl or .parquet file. [CSV on standard output]"
)
@click.option("--model", metavar="my.py:Net", help="Your own network's source, where the run was trained with one elsewhere.")
@click.option("--skip-bad", is_flag=True, help="Leave the answer empty where a row cannot be read, instead of stopping.")
def predict(run: str, data: str | None, out: Path | None, model: str | None, skip_bad: bool, **ask: Any) -> None:
    """Answer for each row of DATA (a file, or - for standard input), in their order. Needs no target.

    A model of histories, series or passages also answers without DATA: for a user, from its last window, or a prompt.
    """
    if data is not None:
        need_file(data)
    from luban.stages.predict import predict_to

    rows = predict_to(run, data, out, {key: value for key, value in ask.items() if value is not None}, model, skip_bad)
    if out is not None:
        click.echo(f"{rows:,} predictions in {out}", err=True)
        click.echo(str(out.resolve()))
