"""The command line. One file per command: it parses, calls the core, and prints.

Nothing heavy is imported before a command runs, so that help and completion answer at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from bench import interruption
from bench.cli.check_claims import check_claims
from bench.cli.checklist import checklist
from bench.cli.claims import claims
from bench.cli.clean import clean
from bench.cli.compare import compare
from bench.cli.cost import cost
from bench.cli.data import app as data
from bench.cli.diversity import diversity
from bench.cli.doctor import doctor
from bench.cli.ensemble import ensemble
from bench.cli.explain import explain
from bench.cli.export import export
from bench.cli.figure import figure
from bench.cli.hard_images import hard_images
from bench.cli.installation import former_installation
from bench.cli.label_noise import label_noise
from bench.cli.list import list_components
from bench.cli.merge import merge
from bench.cli.methods_text import methods_text
from bench.cli.options import VerboseOption, with_verbose
from bench.cli.pack import pack
from bench.cli.plan import plan
from bench.cli.predict import predict
from bench.cli.report import report
from bench.cli.run import run
from bench.cli.show import show
from bench.cli.status import status
from bench.cli.streams import READER_GONE, OutputGone, set_up_streams
from bench.cli.subgroups import subgroups
from bench.cli.table import table
from bench.cli.verify import verify
from bench.errors import BenchError, ConfigError, blame, describe
from bench.process import set_environment
from bench.text import one_line

VARIABLE = "_BENCH_COMPLETE"
"""By this environment variable a shell asks what a word can be completed to; it names the shell."""

app = typer.Typer(
    name="bench",
    help="Compare pretraining strategies and models on medical images, under one protocol.",
    no_args_is_help=True,
    add_completion=False,  # bench.cli.shell is faster, and right in fish and zsh
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(with_verbose(run))
app.command("plan")(with_verbose(plan))
app.command("status")(with_verbose(status))
app.command("table")(with_verbose(table))
app.command("report")(with_verbose(report))
app.command("figure")(with_verbose(figure))
app.command("check-claims")(with_verbose(check_claims))
app.command("compare")(with_verbose(compare))
app.command("claims")(with_verbose(claims))
app.command("methods-text")(with_verbose(methods_text))
app.command("checklist")(with_verbose(checklist))
app.command("ensemble")(with_verbose(ensemble))
app.command("diversity")(with_verbose(diversity))
app.command("subgroups")(with_verbose(subgroups))
app.command("hard-images")(with_verbose(hard_images))
app.command("label-noise")(with_verbose(label_noise))
app.command("explain")(with_verbose(explain))
app.command("predict")(with_verbose(predict))
app.command("export")(with_verbose(export))
app.command("verify")(with_verbose(verify))
app.command("pack")(with_verbose(pack))
app.command("merge")(with_verbose(merge))
app.command("list")(with_verbose(list_components))
app.command("show")(with_verbose(show))
app.command("cost")(with_verbose(cost))
app.command("doctor")(with_verbose(doctor))
app.command("clean")(with_verbose(clean))
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from bench import __version__

        typer.echo(f"bench {__version__}")
        raise typer.Exit


def _install_completion(wanted: bool) -> None:
    if wanted:
        from bench.cli.shell import current_shell, install

        shell = current_shell()
        files = ", ".join(map(str, install(shell)))
        typer.echo(f"completion in {shell} is set up ({files}); it works in the next {shell} you open")
        raise typer.Exit


def _show_completion(wanted: bool) -> None:
    if wanted:
        from bench.cli.shell import current_shell, script

        typer.echo(script(current_shell()), nl=False)
        raise typer.Exit


@app.callback()
def _bench(
    verbose: VerboseOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            is_eager=True,
            help="Set up completion in the shell you use.",
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            is_eager=True,
            help="Print what --install-completion would set up.",
        ),
    ] = False,
) -> None:
    """Compare pretraining strategies and models on medical images, under one protocol."""
    from bench.cli.logs import set_up_logging

    set_up_logging(verbose)


def main() -> None:
    """Entry point: a BenchError is one line on stderr and exit code 2 (1 if it was not a usage error)."""
    if asking := os.environ.get(VARIABLE):
        from bench.cli.shell import answer

        print(answer(app, asking, sys.argv[1:]))
        return
    set_up_streams()
    interruption.listen()
    set_environment()  # before torch is loaded
    try:
        if warning := former_installation():
            print(f"warning: {warning}", file=sys.stderr)
        try:
            app()
        finally:
            # An interruption within code that was run from a text (dataclasses do that) makes CPython end by
            # SIGINT whatever becomes of it, until other such code has run.
            exec("")
            sys.stdout.flush()
    except OutputGone as error:
        error.drop()
        if error.code != READER_GONE:
            _say(error, str(error))
        sys.exit(error.code)
    except BenchError as error:
        _say(error, str(error))
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except Exception as error:
        from bench.registry import installed

        if not (place := blame(error, installed().plugins)):
            raise  # a bug of ours: its traceback is what we want to be sent
        _say(error, f"{describe(error)} ({place}); --verbose shows the traceback")
        sys.exit(1)


def _say(error: Exception, text: str) -> None:
    """An error as one line; with --verbose its traceback follows."""
    from bench.cli.logs import log

    print(f"error: {one_line(text)}", file=sys.stderr)
    log.debug("raised here", exc_info=error)
