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

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Base of every error whose message is meant for the user."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the one line, as on the command line."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(BenchError):
    """A value on the command line or in a file cannot be used."""


class UnknownName(ConfigError):
    """No component of this kind has this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(set(known))
        similar = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if similar:
            remedy = f"did you mean {' or '.join(similar)}?"
        elif len(known) <= 20:
            remedy = f"known: {', '.join(known) or 'none'}"
        else:
            remedy = f"{len(known)} names are known; `bench list {kind}s` shows them"
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
