"""What runs in a process of the executor `packed`: units come through a pipe, and news go back through it.

Everything that would be written to the terminal goes through the pipe too: log records, warnings, and what is
printed. Written here it would break the progress bars of the other process.
"""

from __future__ import annotations

import gc
import io
import logging
import logging.handlers
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import BinaryIO, NamedTuple, TextIO

from bench import Environment, Execute, Outcome, Progress, Session, Unit, interrupt, watched

Memory = tuple[int, int]  # bytes this process holds on the GPU, bytes free there

INTERVAL = 0.2  # least seconds between two reports of one worker's progress


class Task(NamedTuple):
    """A unit to execute."""

    execute: Execute
    unit: Unit
    environment: Environment


class Printed(NamedTuple):
    """A line that a worker printed."""

    line: str


def serve(pipe: Connection, tracebacks: str) -> None:
    """Execute what comes through the pipe until it is closed or says None; `tracebacks` names a file."""
    with watched(tracebacks):
        _serve(pipe)
        with suppress(OSError):
            os.unlink(tracebacks)  # the process that would remove it may have been killed


def _serve(pipe: Connection) -> None:
    channel = _Channel(pipe)
    _forward_logs(channel)
    sys.stdout = sys.stderr = _Printer(channel, sys.stderr)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    stop, busy = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, partial(_stop, stop, busy))
    threading.Thread(target=_listen, args=(pipe, tasks, stop), daemon=True).start()
    session: Session | None = None
    try:
        while (task := tasks.get()) is not None:
            busy.set()
            if session is None or session.environment != task.environment:
                session = Session(task.environment)
            sender = _ProgressSender(channel, task.environment.device)
            outcome = task.execute(task.unit, session, sender)
            busy.clear()
            channel.send(replace(outcome, unit=task.unit))
            _release(task.environment.device)
    except (KeyboardInterrupt, BrokenPipeError):
        pass


def _stop(stop: threading.Event, busy: threading.Event, signum: int, frame: object) -> None:
    if stop.is_set() and busy.is_set():
        interrupt()


def _listen(pipe: Connection, tasks: queue.SimpleQueue[Task | None], stop: threading.Event) -> None:
    """Pass tasks on. None, or the end of the process that started this one, interrupts the main thread."""
    task: Task | None = None
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            task = None
        tasks.put(task)
        if task is None:
            break
    stop.set()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        import _thread

        _thread.interrupt_main(signal.SIGTERM)


class _Channel:
    """Sends messages to the process that started this one; one thread at a time."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.lock = threading.Lock()

    def send(
        self, message: Outcome | Progress | logging.LogRecord | Printed, memory: Memory | None = None
    ) -> None:
        with self.lock:
            self.pipe.send((message, memory))


class _LogForwarder(logging.handlers.QueueHandler):
    """Sends log records to the other process, which shows them without breaking its progress bars."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(channel)  # type: ignore[arg-type]  # not a queue; only `enqueue` uses it
        self.channel = channel

    def enqueue(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # the other process is gone
            self.channel.send(record)


def _forward_logs(channel: _Channel) -> None:
    logging.captureWarnings(True)
    logging.getLogger().handlers = [_LogForwarder(channel)]
    logging.getLogger("bench").setLevel(logging.DEBUG)  # what is shown is up to the other process


class _Printer(io.TextIOBase):
    """A standard stream of which the other process prints the lines, without breaking its progress bars."""

    def __init__(self, channel: _Channel, original: TextIO) -> None:
        self.channel, self.original = channel, original
        self.unfinished = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.original.fileno()

    @property
    def buffer(self) -> BinaryIO:
        """For what writes bytes; these lines are not kept apart from progress bars."""
        return self.original.buffer

    def write(self, text: str) -> int:
        *lines, last = (self.unfinished + text).split("\n")
        self.unfinished = last.rpartition("\r")[2]  # of a line that is written over and over, the last
        with suppress(OSError):  # the other process is gone
            for line in lines:
                self.channel.send(Printed(line.rpartition("\r")[2]))
        return len(text)


class _ProgressSender:
    """A report that sends progress to the other process, not too often, with the memory of the GPU."""

    def __init__(self, channel: _Channel, device: str) -> None:
        self.channel = channel
        self.device = device
        self.sent = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self.sent < INTERVAL and progress.done < progress.total:
            return
        self.sent = now
        with suppress(OSError):  # the other process is gone, which `_listen` notices
            self.channel.send(progress, _memory(self.device))


def _memory(device: str) -> Memory | None:
    if not device.startswith("cuda"):
        return None
    import torch

    context = 600 * 2**20  # what a process holds beside PyTorch's memory: code, cuBLAS, cuDNN
    return torch.cuda.max_memory_reserved(device) + context, torch.cuda.mem_get_info(device)[0]


def _release(device: str) -> None:
    """Give what a finished unit held back to the other processes."""
    if device.startswith("cuda"):
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
