"""Writing to the terminal."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer

from bench.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import Console

    from bench.interfaces.executor import Environment
    from bench.registry import Registry


def make_console(*, stderr: bool = False) -> Console:
    """A console that does not wrap what is read by programs and honours NO_COLOR and COLUMNS."""
    from bench.cli.console import PlainConsole

    console = PlainConsole(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = PlainConsole(stderr=stderr, highlight=False, width=160)
    return console


def echo(text: str = "", *, nl: bool = True, err: bool = False, color: bool | None = None) -> None:
    """A text on standard output or error, with escape sequences where that is a terminal.

    Not by `typer.echo` alone: where the encoding is ASCII, that writes UTF-8 past `bench.cli.streams`.
    """
    typer.echo(text, file=sys.stderr if err else sys.stdout, nl=nl, color=color)


def say(console: Console, text: str) -> None:
    """A line of text as it is: its brackets are not markup, and the terminal wraps it."""
    console.print(text, markup=False, soft_wrap=True)


def write_output(path: Path | None, text: str, option: str = "--output") -> None:
    """A text into the file that an option names, or on standard output without one. Raises StoreError."""
    if path is None:
        echo(text, nl=False)
        return
    from bench.errors import StoreError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); choose another {option}") from None
    make_console(stderr=True).print(f"written: {path}", markup=False)


def warn(problems: Iterable[str]) -> None:
    """Say on stderr what is wrong without being an error."""
    for problem in problems:
        echo(f"warning: {one_line(problem)}", err=True)


def installed_components() -> Registry:
    """The registry; what is wrong with installed plugins is said on stderr."""
    from bench.registry import installed

    registry = installed()
    warn(registry.problems)
    return registry


_until_the_end: ContextVar[ExitStack] = ContextVar("_until_the_end")


@contextmanager
def of_one_command() -> Iterator[None]:
    """What `contain` opens within the block is closed at its end."""
    with ExitStack() as stack:
        token = _until_the_end.set(stack)
        try:
            yield
        finally:
            _until_the_end.reset(token)


def contain(registry: Registry, limit: float = 0.0) -> Registry:
    """The registry with third parties' functions contained, as `bench.execution.apart` does it, until the
    command ends."""
    from bench.execution.apart import contained

    return _until_the_end.get().enter_context(contained(registry, limit))


def share(environment: Environment) -> str:
    """What a unit gets of a machine: "2 at once, 1 thread each"."""
    each = f"{environment.threads} thread{'s' * (environment.threads != 1)}"
    if environment.pretrain_threads:
        each += f", a pretraining {environment.pretrain_threads}"
    return f"{environment.jobs} at once, {each} each" if environment.jobs > 1 else each


def units(count: int) -> str:
    """ "1 unit", "2 units"."""
    return f"{count} unit{'s' * (count != 1)}"
