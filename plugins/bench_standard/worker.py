"""What runs in each process of the executor `packed`: units come through a pipe, and news go back through it.

Everything that would be written to the terminal goes through the pipe too: log records, warnings, and what is
printed. Written here it would break the progress bars of the other process.
"""

from __future__ import annotations

import io
import logging
import logging.handlers
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple, TextIO

from bench import Outcome, Progress, Session

Memory = tuple[int, int]  # bytes this process holds on the GPU, bytes free there

INTERVAL = 0.2  # least seconds between two reports of one worker's progress


class Printed(NamedTuple):
    """A line that a worker printed, and on which stream: "stdout" or "stderr"."""

    stream: str
    line: str


def serve(pipe: Connection) -> None:
    """Execute what comes through the pipe until it is closed."""
    signal.signal(signal.SIGTERM, _interrupt)
    channel = _Channel(pipe)
    _forward_logs(channel)
    sys.stdout, sys.stderr = (
        _Printer(channel, "stdout", sys.stdout),
        _Printer(channel, "stderr", sys.stderr),
    )
    session: Session | None = None
    try:
        while True:
            execute, unit, environment = pipe.recv()
            if session is None or session.environment != environment:
                session = Session(environment)
            outcome = execute(unit, session, _ProgressSender(channel, environment.device))
            channel.send(outcome)
            _release(environment.device)
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


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
        self.channel.send(record)


def _forward_logs(channel: _Channel) -> None:
    logging.captureWarnings(True)
    logging.getLogger().handlers = [_LogForwarder(channel)]
    logging.getLogger("bench").setLevel(logging.DEBUG)  # what is shown is up to the other process


class _Printer(io.TextIOBase):
    """A standard stream of which the other process prints the lines, without breaking its progress bars."""

    def __init__(self, channel: _Channel, name: str, original: TextIO) -> None:
        self.channel, self.stream, self.original = channel, name, original
        self.unfinished = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.original.fileno()

    def write(self, text: str) -> int:
        *lines, last = (self.unfinished + text).split("\n")
        self.unfinished = last.rpartition("\r")[2]  # of a line that is written over and over, the last
        with suppress(OSError):  # the other process is gone
            for line in lines:
                self.channel.send(Printed(self.stream, line.rpartition("\r")[2]))
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
        try:
            self.channel.send(progress, _memory(self.device))
        except OSError:  # the other process is gone, which is not a failure of the unit
            raise KeyboardInterrupt from None


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

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
