"""`luban`: one command a verb. Parses words, calls one stage function, prints; loads nothing heavy before a command needs it."""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback

import click

from luban.cli import compare, data, inspect, runs, serve, train, use
from luban.core.errors import UserError, did_you_mean


class Verbs(click.Group):
    """A group that knows what a mistyped command was meant to be, and lists commands in the order of a model's life."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in self.commands:
            raise click.UsageError(f"there is no command {args[0]!r}.{did_you_mean(args[0], self.commands)} `luban --help` lists them.")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        from importlib import metadata

        click.echo(f"luban {metadata.version('luban')}")
        ctx.exit()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="\b\nExamples:\n  luban train adult --target income\n  luban evaluate last adult\n"
    "  luban predict last new.csv -o predictions.csv\n\nEvery command takes --debug, which shows the traceback of an error.",
)
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version.")
def luban() -> None:
    """Train, test and use models on your own data."""


for command in (
    train.train,
    use.evaluate,
    use.predict,
    compare.compare,
    serve.serve,
    train.plan,
    train.init,
    data.data,
    runs.runs,
    inspect.list_,
    inspect.env,
    inspect.completion,
):
    luban.add_command(command)


def run() -> None:
    """The entry point: parses, runs, and turns the user's mistakes into one paragraph on stderr and exit code 2."""
    # a thread that waits should soon sleep, not spin on: beside other work tabm took 273 s instead of 19 s (dev/LOG.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    gc.set_threshold(100_000, 20, 20)  # the search for garbage is a third of the time that imports take
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    log = logging.getLogger("luban")
    log.addHandler(_Plain())
    log.setLevel(logging.INFO)
    try:
        code = luban.main(arguments, prog_name="luban", standalone_mode=False)
    except BrokenPipeError:  # `luban predict ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (KeyboardInterrupt, click.Abort) as stop:  # click turns the first into the second
        click.echo(str(stop.__cause__ or stop) or "stopped.", err=True)
        code = 130
    except click.exceptions.NoArgsIsHelpError as asked:  # `luban` alone: someone looks around
        asked.show()
        code = 2
    except (UserError, click.ClickException, OSError) as error:
        if debug:
            traceback.print_exc()
        click.echo(f"error: {_paragraph(error)}", err=True)
        code = 2
    gc.freeze()  # what the process holds is not searched for garbage at its end: .8 s of every command that loaded torch
    sys.exit(code if isinstance(code, int) else 0)


def _paragraph(error: BaseException) -> str:
    if isinstance(error, click.UsageError) and error.ctx:
        return f"{' '.join(error.format_message().split())} See `{error.ctx.command_path} --help`."
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split())
    if isinstance(error, OSError):  # what no room expected: say at least which file and why
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
    return " ".join(str(error).split())


class _Plain(logging.Handler):
    """Notes on stderr; the rich screen takes over while it is open."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        text = prefix + record.getMessage()
        screen = train.SCREEN
        if screen is not None:
            screen.print(text)
        else:
            click.echo(text, err=True)
