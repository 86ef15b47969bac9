"""`luban data`: the built-in data sets, a look at any, and a search for what may be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from luban.cli.train import QUESTION, ROWS, SETTINGS, with_options, words_of


@click.group(
    epilog="\b\nExamples:\n  luban data list\n  luban data get adult\n  luban data show my.csv\n  luban data check my.csv -t label"
)
def data() -> None:
    """List, fetch, look at and check data."""


@data.command("list", epilog="\b\nExample:\n  luban data list")
def list_() -> None:
    """The built-in data sets."""
    from luban import catalogue

    for name in catalogue.names():
        facts = catalogue.describe(name)
        asked = f"{facts['task']} {facts.get('target', '')}"
        click.echo(f"{name:<16} {facts['rows']:>9,} rows  {asked:<22} {facts['title']}")


@data.command(epilog="\b\nExamples:\n  luban data get adult -o adult.csv\n  luban data get mnist -o mnist-png")
@click.argument("name")
@click.option("--out", "-o", type=click.Path(path_type=Path), metavar="PATH", help="Where to write. [NAME.csv, or NAME for pictures]")
def get(name: str, out: Path | None) -> None:
    """Write the data set NAME as a CSV file; one of pictures as a folder: train/CLASS/00001.png."""
    from luban import catalogue

    out = out or Path(name if catalogue.pictures(name) else f"{name}.csv")
    catalogue.save(name, out)
    click.echo(str(out.resolve()))


@data.command(epilog="\b\nExamples:\n  luban data show adult\n  luban data show my.csv --rows 20")
@click.argument("name")
@click.option("--rows", default=5, show_default=True, help="How many rows to print.")
def show(name: str, rows: int) -> None:
    """The first rows of a data set or a file; its origin and licence."""
    import polars as pl

    from luban import catalogue, reading

    if name in catalogue.names():
        for key, value in catalogue.describe(name).items():
            named = ", ".join(each["file"] for each in value) if key == "files" else value
            click.echo(f"{key:<10} {named}", err=True)
    table = reading.read(name)
    with pl.Config(tbl_rows=rows, tbl_cols=-1, tbl_width_chars=160, fmt_str_lengths=40, tbl_hide_column_data_types=True):
        click.echo(str(table.head(rows)))
    click.echo(f"{table.height:,} rows, {table.width} columns", err=True)


@data.command(
    epilog="\b\nExamples:\n  luban data check my.csv --target label\n  luban data check train.csv -t price --test test.csv -o doubts.json"
)
@with_options([*QUESTION, *ROWS, *SETTINGS])
@click.option("--out", "-o", type=click.Path(path_type=Path), metavar="FILE", help="All findings with all their rows, as JSON.")
@click.option("--json", "as_json", is_flag=True, help="The same as one line on standard output.")
def check(out: Path | None, as_json: bool, **options: Any) -> None:
    """Look for the seeds of error in DATA before anything is trained: leaks, copies, wrong labels, codes read as numbers, drift.

    Takes the words of `luban train`; some seconds, because it trains small models. Exit code 0 with findings, too.
    """
    words = words_of(options)
    import json
    import logging

    from luban.cli.screen import show_findings
    from luban.core.files import write_text
    from luban.stages.check import check as look

    logging.getLogger("luban").setLevel(logging.ERROR)  # what the notes would say is among the findings
    checked = look(words)
    if out is not None:
        write_text(out, json.dumps(checked, ensure_ascii=False, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(checked, ensure_ascii=False))
    else:
        show_findings(checked)
    if out is not None:
        click.echo(str(out.resolve()), err=as_json)
