"""All checks of a machine, one after another, and what they come to."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.doctor.finding import FAILED, PASSED, SKIPPED, Check, Finding, Result, Status
from bench.doctor.worker import request
from bench.interfaces.executor import Environment
from bench.text import one_line

START = 60.0  # seconds to load PyTorch and the plugins, on top of the limit of a process's first check
JOIN = 5.0  # seconds that the output of a killed process may take to end


def examine(
    checks: Sequence[Check], environment: Environment, begun: Callable[[Check], object] = lambda check: None
) -> Iterator[Result]:
    """Do the checks in a process beside this one, which is started anew after one that crashed or hung."""
    worker: _Worker | None = None
    try:
        for check in checks:
            if check.gpu and not environment.device.startswith("cuda"):
                why = "no GPU" if environment.device == "cpu" else "for CUDA devices"
                yield Result(check.name, check.question, SKIPPED, why)
                continue
            begun(check)
            started = time.perf_counter()
            fresh = worker is None
            worker = worker or _Worker()
            try:
                yield worker.ask(check, environment, check.limit + (START if fresh else 0.0))
            except _Gone as error:
                worker.stop()
                worker = None
                yield Result.of(check, Finding(False, str(error)), time.perf_counter() - started)
    finally:
        if worker is not None:
            worker.stop()


def verdict(results: Sequence[Result]) -> Status:
    """PASS, unless a check failed."""
    return FAILED if any(result.status == FAILED for result in results) else PASSED


class _Gone(Exception):
    """The process of a check crashed or hung."""


class _Worker:
    """A process that does checks (`bench.doctor.worker`)."""

    def __init__(self) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        # Without the current folder on the path (-P): a file there could stand for a package.
        command = [sys.executable, "-P", "-c", "from bench.doctor.worker import serve; serve()"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        self.process = subprocess.Popen(command, text=True, encoding="utf-8", **pipes)
        self.answers: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def ask(self, check: Check, environment: Environment, limit: float) -> Result:
        """Raises _Gone if there is no answer within `limit` seconds, or ever."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # if it is gone, there is no answer
            self.process.stdin.write(request(check.name, environment) + "\n")
            self.process.stdin.flush()
        try:
            answer = self.answers.get(timeout=limit)
        except queue.Empty:
            raise _Gone(f"did not end within {limit:.0f} s") from None
        if not answer:
            raise _Gone(f"its process ended before it did: {self._cause()}")
        return Result(**json.loads(answer))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join(JOIN)  # not for ever: what the process had started may keep its output open
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.errors.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.answers.put(line)
        self.answers.put("")  # no more

    def _cause(self) -> str:
        code = self.process.wait()
        cause = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"{cause} ({one_line(last.strip())[:200]})" if last else cause
