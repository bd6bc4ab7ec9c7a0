"""Third parties' functions that a command calls itself, in a process beside it.

Units have processes of their own; listing a data set, scoring and rendering would run in the command's. Here
they run in one child, which is started when the first is called, stays for the next ones, is replaced when it
dies, and ends with the command. What a function does to its process (a crash, `os._exit`, a hang) is then an
error of its call, as what it raises is. What is installed with `bench` itself runs where it is called.

The child knows a function by its component's name: it need not be picklable. What it is given and what it
gives must be; rows of memory maps travel as their place in a file.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import mmap
import os
import pickle
import queue
import shutil
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from bench import errors
from bench.child import Child, watched
from bench.errors import BenchError, ErrorElsewhere, blame, blame_text, describe
from bench.registry import DISTRIBUTION, Components, Entry, Plugin, Registry, installed

LIMIT = 1800.0  # seconds that one call may take; the longest, listing a large data set, takes minutes
TRIES = 3  # calls of one function that may end the process; after that it is not called again

FUNCTIONS = {
    "datasets": ("index", "sources"),
    "metrics": ("score", "reference", "of_counts", "of_weights"),
    "reporters": ("render",),
}
"""Kind of component -> the functions of it that commands call themselves."""


@contextmanager
def contained(registry: Registry, limit: float = 0.0) -> Iterator[Registry]:
    """The registry, its third parties' functions replaced by such as call them in a process beside this one,
    which ends with the block.

    A call that takes longer than `limit` seconds (0: half an hour) is given up. What a function raises, or
    does to its process, is raised as ErrorElsewhere, a BenchError as itself.
    """
    helper = _Helper(limit or LIMIT, registry.plugins)
    kinds: dict[str, Any] = {
        kind: _replaced_all(getattr(registry, kind), kind, functions, helper)
        for kind, functions in FUNCTIONS.items()
    }
    try:
        yield dataclasses.replace(registry, **kinds)
    finally:
        helper.stop()


def _replaced_all(
    components: Components[Any], kind: str, functions: Sequence[str], helper: _Helper
) -> Components[Any]:
    entries = {
        name: entry
        if entry.plugin.distribution == DISTRIBUTION
        else Entry(_replaced(entry, kind, functions, helper), entry.plugin)
        for name, entry in components.entries.items()
    }
    return dataclasses.replace(components, entries=entries)


def _replaced(entry: Entry[Any], kind: str, functions: Sequence[str], helper: _Helper) -> Any:
    component = entry.component
    own = {name: getattr(component, name) for name in functions}
    return dataclasses.replace(
        component,
        **{
            name: _elsewhere(function, (kind, component.name, name), entry.plugin, helper)
            for name, function in own.items()
            if function is not None
        },
    )


def _elsewhere(
    function: Callable[..., Any], address: _Address, plugin: Plugin, helper: _Helper
) -> Callable[..., Any]:
    @functools.wraps(function)  # it is still asked for its module
    def call(*arguments: Any) -> Any:
        try:
            request = pickle.dumps((address, arguments))
        except Exception:  # parameters of a class that nobody else can import
            return function(*arguments)
        return helper.call(address, request, plugin)

    return call


# --- this side ---------------------------------------------------------------------------------------

_Address = tuple[str, str, str]  # kind, name and function of a component


class _Failure(NamedTuple):
    """What a call raised there: the class in `bench.errors`, or "" for any other, its line, its place, and
    its traceback."""

    error: str
    said: str
    place: str
    traceback: str


class _Helper:
    """The child, and what ended it."""

    def __init__(self, limit: float, plugins: Iterable[Plugin]) -> None:
        self.limit = limit
        self.plugins = tuple(plugins)
        self.child: Child | None = None
        self.deaths: Counter[_Address] = Counter()
        self.causes: dict[_Address, tuple[str, str, str]] = {}

    def call(self, address: _Address, request: bytes, plugin: Plugin) -> Any:
        """What the function gives. Raises what it raises."""
        if self.deaths[address] >= TRIES:
            raise ErrorElsewhere(*self.causes[address])
        self.child = self.child or _started()
        try:
            self.child.pipe.send_bytes(request)
            answer = _received(self.child, self.limit)
        except (EOFError, OSError) as error:
            self.causes[address] = self._death(self.child, isinstance(error, TimeoutError), address, plugin)
            self.stop()
            raise ErrorElsewhere(*self.causes[address]) from None
        except KeyboardInterrupt:
            self.stop()  # or its answer would be the next call's
            raise
        value = _loads(answer)
        if not isinstance(value, _Failure):
            return value
        if value.error:
            kind: type[BenchError] = getattr(errors, value.error)
            raise kind.__new__(kind, value.said)  # without __init__, which makes the message of some
        raise ErrorElsewhere(value.said, value.place or f"plugin {plugin}", value.traceback)

    def _death(self, child: Child, overdue: bool, address: _Address, plugin: Plugin) -> tuple[str, str, str]:
        """Why there is no answer, and where the function was: in a word, and as a traceback."""
        if overdue:
            said, where = f"took longer than {self.limit:g} seconds", child.where(ask=True)
        else:
            said, where = f"its process ended before it did: {child.ended_by()[0]}", child.where()
        self.deaths[address] += TRIES if overdue else 1  # one hang is long enough
        return said, blame_text(where, self.plugins) or f"plugin {plugin}", where

    def stop(self) -> None:
        """End the child."""
        if self.child is not None:
            self.child.end()
            shutil.rmtree(self.child.tracebacks.parent, ignore_errors=True)
            self.child = None


def _started() -> Child:
    child = Child.start(serve, Path(tempfile.mkdtemp(prefix="bench-")))
    with suppress(EOFError, OSError):  # the first request will tell
        _received(child, LIMIT)  # it has loaded the plugins, which is no part of a call
    return child


def _received(child: Child, limit: float) -> bytes:
    """What the child sends. Raises TimeoutError if nothing comes in time, EOFError or another OSError if it
    is gone."""
    if not wait([child.pipe, child.process.sentinel], limit):
        raise TimeoutError
    if not child.pipe.poll():  # what it has started may keep the pipe open, so that this end waits for ever
        raise EOFError
    return child.pipe.recv_bytes()


# --- the child ---------------------------------------------------------------------------------------


def serve(pipe: Connection, tracebacks: str) -> None:
    """Call what comes through the pipe until that is closed."""
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with watched(tracebacks):
        installed()
        pipe.send_bytes(b"ready")
        threading.Thread(target=_listen, args=(pipe, requests, Path(tracebacks)), daemon=True).start()
        while True:
            pipe.send_bytes(_answer(requests.get()))


def _listen(pipe: Connection, requests: queue.SimpleQueue[bytes], tracebacks: Path) -> None:
    """Pass requests on. The end of the process that sends them ends this one, whatever it is doing."""
    while True:
        try:
            requests.put(pipe.recv_bytes())
        except (EOFError, OSError):
            shutil.rmtree(tracebacks.parent, ignore_errors=True)
            os._exit(1)


def _answer(request: bytes) -> bytes:
    try:
        (kind, name, function), arguments = pickle.loads(request)
        return _dumps(getattr(getattr(installed(), kind).get(name), function)(*arguments))
    except BenchError as error:
        known = next(c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__)
        return _dumps(_Failure(known, str(error), "", ""))
    except BaseException as error:  # whatever a third-party function raises, sys.exit too
        place, text = blame(error, installed().plugins), "".join(traceback.format_exception(error))
        return _dumps(_Failure("", describe(error), place, errors.encodable(text)))


# --- what is sent ------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where the bytes of an array lie in a file that is mapped."""

    file: str
    offset: int
    dtype: str
    shape: tuple[int, ...]


def _dumps(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return file.getvalue()


def _loads(data: bytes) -> Any:
    return _Unpickler(io.BytesIO(data)).load()


class _Pickler(pickle.Pickler):
    """Sends a row of a memory map as its place: a data set may be larger than memory."""

    def persistent_id(self, value: Any) -> _Place | None:
        numpy: Any = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray) or not value.flags.c_contiguous:
            return None
        base: Any = value
        while isinstance(base, numpy.ndarray) and not isinstance(base, numpy.memmap):
            base = base.base
        if not isinstance(base, numpy.memmap) or base.filename is None or base.mode != "r":
            return None
        mapping = base._mmap
        start = base.offset - base.offset % mmap.ALLOCATIONGRANULARITY  # where numpy lets a map begin
        within = value.ctypes.data - numpy.frombuffer(mapping, numpy.uint8).ctypes.data
        return _Place(str(base.filename), start + within, value.dtype.str, value.shape)


class _Unpickler(pickle.Unpickler):
    """Maps each file once."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.maps: dict[str, Any] = {}

    def persistent_load(self, place: _Place) -> Any:
        import numpy as np

        if place.file not in self.maps:
            self.maps[place.file] = np.asarray(np.memmap(place.file, np.uint8, "r"))
        return np.ndarray(place.shape, place.dtype, self.maps[place.file], place.offset)
