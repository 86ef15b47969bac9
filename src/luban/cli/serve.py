"""`luban serve`: a trained model behind HTTP."""

from __future__ import annotations

import click

from luban.cli.use import complete_runs


@click.command(
    epilog="\b\nExamples:\n  luban serve last\n  luban serve runs/adult-auto --port 0\n"
    '  curl localhost:8000/predict -d \'{"rows": [{"age": 22, "workclass": "Private"}]}\'\n  curl localhost:8000/health'
)
@click.argument("run", shell_complete=complete_runs)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines ask; there is no authentication.")
@click.option("--model", metavar="my.py:Net", help="Your own network's source, where the run was trained with one elsewhere.")
@click.option("--verbose", is_flag=True, help="A line on standard error for each request.")
def serve(run: str, port: int, host: str, model: str | None, verbose: bool) -> None:
    """Answer for the model of RUN (a folder, or `last`) over HTTP, until Ctrl-C or SIGTERM, which exit with 0.

    Rows go in as JSON by POST /predict and answers come back in their order; a missing value is null, and columns that the model does not
    read are ignored. GET /health says which columns it reads.
    """
    from luban.server.serve import serve as serve_until_stopped

    serve_until_stopped(run, host, port, click.echo, model=model, verbose=verbose)
