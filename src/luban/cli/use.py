"""`luban evaluate` and `luban predict`: the commands that start from a run."""

from __future__ import annotations

import json
from pathlib import Path

import click


def complete_runs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    names = ["last"] + [f"runs/{path.parent.name}" for path in sorted(Path("runs").glob("*/asked.json"))]
    return [name for name in names if name.startswith(incomplete)]


@click.command(epilog="\b\nExamples:\n  luban evaluate last test.csv\n  luban evaluate runs/adult-auto adult --split test --json")
@click.argument("run", shell_complete=complete_runs)
@click.argument("data")
@click.option("--split", metavar="PART", help="train, valid or test; without it the test part where DATA have one, else all rows.")
@click.option("--model", metavar="my.py:Net", help="Your own network's source, where the run was trained with one elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def evaluate(run: str, data: str, split: str | None, model: str | None, as_json: bool) -> None:
    """Score the model of RUN (a folder, or `last`) on DATA, which must hold the target."""
    from luban.folders import find
    from luban.stages.evaluate import evaluate as score

    measured, path = score(run, data, split=split, model=model), str(find(run).path)
    if as_json:
        click.echo(json.dumps({"run": path, "metrics": measured.metrics}, ensure_ascii=False))
        return
    for name, value in measured.metrics.items():
        click.echo(f"{name:<24} {value:.6g}")
    click.echo(path)


@click.command(
    epilog="\b\nExamples:\n  luban predict last new.csv -o predictions.csv\n  head -5 new.csv | luban predict runs/adult-auto -\n"
    "  luban predict last new.parquet -o predictions.parquet"
)
@click.argument("run", shell_complete=complete_runs)
@click.argument("data")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), metavar="FILE", help="A .csv, .jsonl or .parquet file. [CSV on standard output]"
)
@click.option("--model", metavar="my.py:Net", help="Your own network's source, where the run was trained with one elsewhere.")
def predict(run: str, data: str, out: Path | None, model: str | None) -> None:
    """Answer for each row of DATA (a file, or - for standard input), in their order. Needs no target."""
    from luban.stages.predict import predict_to

    rows = predict_to(run, data, out, model)
    if out is not None:
        click.echo(f"{rows:,} predictions in {out}", err=True)
        click.echo(str(out.resolve()))
