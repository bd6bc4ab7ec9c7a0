"""Times a command as a whole process, with everything that it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FRESH_PARENT = str(Path(__file__).with_name("fresh_parent.py"))
EVERY = 1.0  # seconds between two looks at the memory


@dataclass(frozen=True)
class Ran:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        user: processor seconds in its own code, its ended descendants included.
        system: processor seconds in the kernel, likewise.
        faults: pages that the kernel had to map, likewise.
        largest: most memory that one of these processes held, MiB.
        together: most memory that all of them held at one time, MiB, memory that several share counted once;
            None where it was not looked at.
        output: what it wrote to stdout and stderr.
    """

    seconds: float
    user: float
    system: float
    faults: int
    largest: float
    together: float | None
    output: str


class CommandFailed(Exception):
    """A command ended with another exit code than 0; says the last line that it wrote."""


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, look_at_memory: bool = False
) -> Ran:
    """Run `command` in `folder` with `environment` and nothing else, and wait for it.

    `look_at_memory` adds `together`, by a thread that costs a little of the processor; on Linux only. Raises
    CommandFailed. What the command has started and left is ended with it.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as written, open(reading, encoding="utf-8") as usage:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", FRESH_PARENT, str(writing), *command],
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(writing,),
            )
        finally:
            os.close(writing)
        try:
            with _sampled(process.pid, look_at_memory) as samples:
                process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        text = usage.read()
        written.seek(0)
        output = written.read().decode(errors="replace")
    if not text:
        raise CommandFailed("it was killed with the process that had started it")
    took = json.loads(text)
    if code := took.pop("code"):
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise CommandFailed(f"exit code {code}: {last}")
    return Ran(**took, together=max(samples) if samples else None, output=output)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Meanwhile, so many other processes compute without end."""
    command = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


@contextmanager
def ended_with_this() -> Iterator[None]:
    """Within, SIGTERM ends this process as SIGINT does: with the command that it waits for."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def one_after_another(runs: Sequence[Callable[[], Ran]]) -> Ran:
    """Sum of what all of them take; of memory, the most that one takes."""
    done = [each() for each in runs]
    together = [ran.together for ran in done if ran.together is not None]
    return Ran(
        seconds=sum(ran.seconds for ran in done),
        user=sum(ran.user for ran in done),
        system=sum(ran.system for ran in done),
        faults=sum(ran.faults for ran in done),
        largest=max(ran.largest for ran in done),
        together=max(together) if together else None,
        output="".join(ran.output for ran in done),
    )


# --- memory ------------------------------------------------------------------------------------------


@contextmanager
def _sampled(session: int, wanted: bool) -> Iterator[list[float]]:
    """MiB of all processes of a session, every so often, until the block ends."""
    samples: list[float] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(EVERY):
            samples.append(sum(map(_memory, _processes(session))))

    if not (wanted and Path("/proc/self/smaps_rollup").exists()):
        yield samples
        return
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _processes(session: int) -> Iterator[Path]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                yield stat.parent


def _memory(process: Path) -> float:
    """MiB of a process: its own, and its part of what it shares."""
    with suppress(OSError):
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 2**10
    return 0.0
