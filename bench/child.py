"""A process beside this one, for code that may end it: starting it, and learning how and where it ended.

A process that dies or hangs cannot say where. So where it was is written to a file, by `faulthandler`.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, Self, TextIO

from bench.interruption import SIGNALS

PRELOAD = "_BENCH_PRELOAD"
"""The environment variable by which `bench.preload` is told what to load, names with commas between them."""

PATIENCE = 60.0  # seconds in which a process that has closed its connection must end
SHOW = getattr(signal, "SIGUSR2", None)  # makes a process write down where it is


@dataclass
class Child:
    """A process that this one has started, and the connection to it.

    Attributes:
        process: the process.
        pipe: this process's end of the connection.
        tracebacks: the file in which it writes where it is, when it crashes or is asked.
    """

    process: BaseProcess
    pipe: Connection
    tracebacks: Path

    @classmethod
    def start(
        cls, serve: Callable[[Connection, str], None], folder: Path, *, loaded: Sequence[str] = ()
    ) -> Self:
        """Let a new process call `serve` with its end of the connection and the name of a file in `folder`
        for its tracebacks, in which `serve` works within `watched`.

        `loaded` names modules that it has loaded then: once for all such processes, which are forked (see
        `load_for_children`). Not for one that uses a GPU, because CUDA does not survive a fork.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tracebacks = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.txt"
        # Not a daemon, because those may have no children, and a plugin may want a DataLoader's; it ends when
        # this process does, for then its pipe is closed.
        pipe, child_pipe = multiprocessing.Pipe()
        arguments = serve, dict(os.environ), child_pipe, str(tracebacks)
        process: BaseProcess
        if loaded and load_for_children(loaded):
            process = multiprocessing.get_context("forkserver").Process(target=_serve, args=arguments)
        else:
            process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
        with _without_main():
            process.start()
        child_pipe.close()  # only the child has this end open, so that reading fails here when it is gone
        return cls(process, pipe, tracebacks)

    def ended_by(self) -> tuple[str, int]:
        """Why it is gone, in words and as its exit code (-N for signal N)."""
        self.process.join(PATIENCE)
        code = self.process.exitcode
        self.pipe.close()
        if code is None:
            self.process.kill()
            return "it closed its connection", 1
        if code >= 0:
            return f"exit code {code}", code
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"killed by {name}{' (memory?)' if name == 'SIGKILL' else ''}", code

    def where(self, ask: bool = False) -> str:
        """What it has written about where it was when it crashed, or, if asked, where it is now."""
        if ask and SHOW is not None and self.process.pid is not None:
            with suppress(OSError):
                os.kill(self.process.pid, SHOW)
            time.sleep(0.5)
        try:
            text = self.tracebacks.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        if not ask:
            self.tracebacks.unlink(missing_ok=True)
        return "\n".join(line for line in text.splitlines() if "in exit_with_traceback" not in line)

    def end(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()
        self.tracebacks.unlink(missing_ok=True)


def load_for_children(modules: Sequence[str]) -> bool:
    """Begin to load these modules in a process off which children that want them are forked: they start at
    once and share its memory. False where that is not possible.

    Only on Linux: elsewhere libraries of the system do not survive a fork. That process is the fork server
    of Python's multiprocessing; it computes nothing, so no thread is lost in a fork, and ends with this one.
    """
    if sys.platform != "linux":
        return False
    from multiprocessing import forkserver

    # It must outlive signals to the whole group, or this process would take its children for ended.
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    in_main_thread = threading.current_thread() is threading.main_thread()
    with _without_main():
        forkserver.set_forkserver_preload(["bench.preload"])
        os.environ[PRELOAD] = ",".join(modules)
        if in_main_thread:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
        try:
            forkserver.ensure_running()
        finally:
            del os.environ[PRELOAD]
            if in_main_thread:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
    return True


def _serve(
    serve: Callable[[Connection, str], None],
    environment: Mapping[str, str],
    pipe: Connection,
    tracebacks: str,
) -> None:
    """Call `serve` with the environment of the process that asked for it, which may have changed since the
    one began off which this one is forked."""
    os.environ.clear()
    os.environ.update(environment)
    if "numpy" in sys.modules:  # forked: else all would draw the same numbers where nobody has set a seed
        sys.modules["numpy"].random.seed()
    serve(pipe, tracebacks)


@contextmanager
def watched(tracebacks: str) -> Iterator[None]:
    """What a child does within this block leaves its place in the file if it crashes, exits or is asked.

    Signals are ignored, because the process that started it decides, and what is printed goes to stderr, also
    from native code: stdout is for tables.
    """
    for number in SIGNALS:  # a signal to the whole group
        signal.signal(number, signal.SIG_IGN)
    os.dup2(2, 1)
    with open(tracebacks, "w", encoding="utf-8") as file:
        faulthandler.enable(file)
        if SHOW is not None:
            faulthandler.register(SHOW, file, all_threads=True)
        with _recorded_exits(file):
            yield


@contextmanager
def _recorded_exits(file: TextIO) -> Iterator[None]:
    """Let os._exit write down who called it: nothing else can tell afterwards."""
    end = os._exit

    def exit_with_traceback(status: int) -> NoReturn:
        faulthandler.dump_traceback(file, all_threads=False)
        end(status)

    os._exit = exit_with_traceback
    try:
        yield
    finally:
        os._exit = end


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module: a spawned process would import it, and a script without
    `if __name__ == "__main__"` would begin again in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
