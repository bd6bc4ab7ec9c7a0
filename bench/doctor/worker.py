"""The process in which checks run, so that one that crashes or hangs takes nothing else with it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from bench.doctor.checks import chosen
from bench.doctor.finding import Finding, Result
from bench.errors import describe
from bench.interfaces.executor import Environment


def serve() -> None:
    """Read requests as lines of JSON and answer each with a line; whatever else is printed goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        environment = Environment(
            data=Path(request["data"]),
            results=Path(request["results"]),
            device=request["device"],
            threads=request["threads"],
        )
        answers.write(json.dumps(examine(request["check"], environment).plain) + "\n")
        answers.flush()


def examine(name: str, environment: Environment) -> Result:
    """Do one check in this process. What it raises is what it finds."""
    (check,) = chosen([name])
    started = time.perf_counter()
    try:
        finding = check.run(environment)
    except Exception as error:  # of PyTorch, a plugin or a driver: the check has failed
        import traceback

        traceback.print_exc()
        finding = Finding(False, describe(error))
    return Result.of(check, finding, time.perf_counter() - started)


def request(name: str, environment: Environment) -> str:
    """The line that asks for a check."""
    return json.dumps(
        {
            "check": name,
            "data": str(environment.data),
            "results": str(environment.results),
            "device": environment.device,
            "threads": environment.threads,
        }
    )
