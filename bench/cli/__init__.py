"""The command line. One file per command: it parses, calls the core, and prints.

Nothing heavy is imported before a command runs, so that help and completion answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from bench.cli.clean import clean
from bench.cli.cost import cost
from bench.cli.data import app as data
from bench.cli.list import list_components
from bench.cli.plan import plan
from bench.cli.run import run
from bench.cli.show import show
from bench.cli.table import table
from bench.errors import BenchError, ConfigError

app = typer.Typer(
    name="bench",
    help="Compare pretraining strategies and models on medical images, under one protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("plan")(plan)
app.command("table")(table)
app.command("list")(list_components)
app.command("show")(show)
app.command("cost")(cost)
app.command("clean")(clean)
app.add_typer(data, name="data")


def _version(show_it: bool) -> None:
    if show_it:
        from bench import __version__

        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _bench(
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Say on stderr what is logged, with tracebacks."
    ),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Compare pretraining strategies and models on medical images, under one protocol."""
    from bench.cli.logs import set_up_logging

    set_up_logging(verbose)


def main() -> None:
    """Entry point: a BenchError is one line on stderr and exit code 2 (1 if it was not a usage error)."""
    signal.signal(signal.SIGTERM, _interrupt)
    # Before torch is loaded: threads that wait for each other sleep instead of spinning. With other work on
    # the machine, spinning made a training step seven times slower (docs/architecture.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except BenchError as error:
        from bench.cli.logs import log

        print(f"error: {error}", file=sys.stderr)
        log.debug("raised here", exc_info=error)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except BrokenPipeError:  # `bench table | head`
        sys.stderr.close()
        sys.exit(141)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """A polite kill is handled like Ctrl-C."""
    raise KeyboardInterrupt
