"""The errors a user can cause. Each message says what was given, what was expected, and what to do.

BenchError
├── ConfigError        a value on the command line or in a file cannot be used
│   ├── UnknownName    no component has this name; the nearest names are suggested
│   └── SizeError      a network cannot take images of this size
├── PluginError        a plugin package is broken, or two packages have a component of one name
├── DataError          something is wrong with the images or their index
│   ├── DataNotFound   nothing was found where the data set was looked for
│   └── SplitError     no split with the requested properties can be drawn
├── WeightsError       pretrained weights are missing, or do not fit the network
├── TrainingError      training cannot go on (non-finite loss, out of memory)
└── StoreError         a result cannot be read back or written

`bench.cli` prints them as one line and exits; anything else is a bug and keeps its traceback.
This module imports nothing of `bench`.
"""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Protocol, TypeVar


class BenchError(Exception):
    """Base of every error whose message is meant for the user."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the one line, as on the command line."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(BenchError):
    """A value on the command line or in a file cannot be used."""


class UnknownName(ConfigError):
    """No component of this kind has this name; `listed` says where so many names as cannot be shown are."""

    def __init__(
        self, kind: str, name: str, known: Iterable[str], hint: str = "", *, listed: str = ""
    ) -> None:
        known = sorted(set(known))
        if len(name) > 100:  # nobody's name: comparing it would take long, and showing it fill the screen
            name = f"{name[:97]}..."
        similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if similar:
            remedy = f"did you mean {' or '.join(similar)}?"
        elif len(known) <= 20:
            remedy = f"known: {', '.join(known) or 'none'}"
        else:
            remedy = f"{len(known)} names are known; {listed or f'`bench list {kind}s` shows them'}"
        super().__init__(f"unknown {kind} {name!r}; {remedy}" + (f" {hint}" if hint else ""))
        self.name = name


class SizeError(ConfigError):
    """A network cannot take images of this size; `nearest` is the nearest size that is known to work."""

    def __init__(self, message: str, nearest: int) -> None:
        super().__init__(message)
        self.nearest = nearest


class PluginError(BenchError):
    """A plugin package is broken, or two packages have a component of one name."""


class DataError(BenchError):
    """Something is wrong with the images of a data set or with their index."""


class DataNotFound(DataError):
    """Nothing was found where the data set was looked for."""


class SplitError(DataError):
    """No split with the requested properties can be drawn from this data set."""


class WeightsError(BenchError):
    """Pretrained weights are missing, or do not fit the network."""


class TrainingError(BenchError):
    """Training cannot go on: the loss is not finite, or memory ran out."""


class StoreError(BenchError):
    """A stored result cannot be read back, or a new one cannot be written."""


# --- errors that plugins raise -----------------------------------------------------------------------


class _Plugin(Protocol):
    @property
    def package(self) -> str:
        """The top-level package that is imported."""


class ErrorElsewhere(Exception):
    """What a plugin's function raised in another process, or did to it: as a line, the place that `blame`
    found there, and the traceback as a note. Not a BenchError: who called the function says what it means.
    """

    def __init__(self, said: str, place: str, where: str = "") -> None:
        super().__init__(said)
        self.place = place
        if where:
            self.add_note(where.rstrip())


def failure_of(
    what: str, error: BaseException, plugins: Iterable[_Plugin], remedy: str, owner: _Plugin | None = None
) -> PluginError:
    """The one line that stands for what a plugin's function raised, or what its value led to, to be raised
    from it. `owner` is the plugin whose function it was."""
    place = blame(error, plugins) or (f"plugin {owner}, " if owner else "") + _last_place(error)
    return PluginError(f"{what}: {describe(error)} ({place}); {remedy}")


T = TypeVar("T")


def checked(value: object, kind: type[T], what: str, owner: _Plugin) -> T:
    """What a plugin's function returned. Raises PluginError naming the plugin if it is not of this kind."""
    if isinstance(value, kind):
        return value
    package = kind.__module__.partition(".")[0]
    wanted = kind.__name__ if package == "builtins" else f"{package}.{kind.__name__}"
    raise PluginError(f"{what} gave {type(value).__name__} instead of {wanted}; repair the plugin {owner}")


def describe(error: BaseException) -> str:
    """An error as a line: its type and its message, whatever a plugin's exception makes of that."""
    if isinstance(error, ErrorElsewhere):  # such a line already
        return str(error)
    try:
        message = str(error)
    except Exception:  # a plugin's __str__ may raise anything, and the error must be told all the same
        message = "(its message cannot be shown)"
    return encodable(" ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":"))


def encodable(text: str) -> str:
    """`text` with what no file can hold, halves of surrogate pairs, as \\udc80."""
    return text.encode("utf-8", "backslashreplace").decode()


def blame(error: BaseException, plugins: Iterable[_Plugin]) -> str:
    """The plugin in whose code an error was raised, and where: "plugin NAME (PACKAGE VERSION), FILE:LINE".

    Code that a plugin calls counts as the plugin's. Empty if no plugin was at work.
    """
    if isinstance(error, ErrorElsewhere):
        return error.place
    by_package = {plugin.package: plugin for plugin in plugins}
    package, place = place_in(error, by_package)
    return f"plugin {by_package[package]}, {place}" if place else ""


def blame_text(text: str, plugins: Iterable[_Plugin]) -> str:
    """`blame` for what `faulthandler` wrote: a traceback of each thread, whose first line is the innermost.

    The thread that crashed or was asked counts, then the one that executes the unit; the others wait.
    """
    by_package = {plugin.package: plugin for plugin in plugins}
    threads = text.split("\n\n")
    current = [thread for thread in threads if thread.startswith(("Current thread", "Stack"))]
    executing = [thread for thread in threads if re.search(r" in execute$", thread, re.MULTILINE)]
    for thread in (*current, *executing):
        for file, line, function in re.findall(r'File "([^"]+)", line (\d+) in (\S+)', thread):
            if function == "execute":  # what called the unit is no part of it
                break
            parts = Path(file).with_suffix("").parts
            if package := next((part for part in reversed(parts) if part in by_package), ""):
                return f"plugin {by_package[package]}, {file}:{line}"
    return ""


def place_in(error: BaseException, packages: Container[str]) -> tuple[str, str]:
    """The innermost of these packages that an error went through, and where: (package, "FILE:LINE")."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in packages:
            return package, f"{frame.f_code.co_filename}:{line}"
    return "", ""


def _last_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "no traceback"
