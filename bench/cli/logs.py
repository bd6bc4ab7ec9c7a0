"""What is written down while a command runs: on stderr, and in a log file per study.

    results/logs/<data sets>.<study>.log    every `bench run` of one study, one after the other

One handler writes every warning, Python's and those of loggers, as a line to what stderr is at the moment:
while progress bars are shown, that is above them. With --verbose it writes all that bench logs, with
tracebacks.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.files import cannot_write
from bench.text import one_line, printable

if TYPE_CHECKING:
    from bench.execution.plan import Plan
    from bench.interfaces.executor import Outcome
    from bench.study.study import Study

log = logging.getLogger("bench")
PYTHON_WARNINGS = "py.warnings"  # where logging.captureWarnings sends them


# --- on stderr ---------------------------------------------------------------------------------------


def set_up_logging(verbose: bool) -> None:
    """Send warnings, and with `verbose` everything that bench logs, to stderr. May be called again."""
    logging.captureWarnings(True)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _StderrHandler)]:
        root.removeHandler(handler)
    root.addHandler(_StderrHandler(logging.DEBUG if verbose else logging.WARNING))
    log.setLevel(logging.DEBUG)  # other libraries keep to their warnings


class _StderrHandler(logging.Handler):
    """Writes to what sys.stderr is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        text = _without_source(record) if record.name == PYTHON_WARNINGS else record.getMessage()
        text = " ".join(text.split()) if record.levelno >= logging.WARNING else text
        lines = [f"{record.levelname.lower()}: {text}"]
        if record.exc_info:
            lines.append(logging.Formatter().formatException(record.exc_info))
        print(printable("\n".join(lines)), file=sys.stderr)


def _without_source(record: logging.LogRecord) -> str:
    """A Python warning without the line of code that follows its message."""
    *lines, last = record.getMessage().rstrip().split("\n")
    return "\n".join([*lines, "" if last.startswith("  ") and lines else last])


# --- in a study's file -------------------------------------------------------------------------------


class _Formatter(logging.Formatter):
    """Lines that names and messages of other code cannot forge: a message is one line, then its traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, exc_info: Any) -> str:
        return textwrap.indent(printable(super().formatException(exc_info)), "  ")


class StudyLog:
    """The log file of one study. `begun` and `ended` write to it alone, and so do bench's debug messages."""

    def __init__(self, path: Path, handler: logging.Handler) -> None:
        self.path = path
        self.logger = logging.Logger("bench.study")  # not a child of "bench": stderr need not see it
        self.logger.addHandler(handler)

    def begun(self, plan: Plan, devices: Sequence[str]) -> None:
        """What runs where: versions, hardware, plugins and units."""
        from bench.execution.provenance import software

        session = plan.session
        installed = software()
        source = f", source {installed.git}" if installed.git else ""
        versions = " ".join(f"{name} {version}" for name, version in installed.packages.items())
        self.logger.info("python %s, %s, %s%s", installed.python, installed.platform, versions, source)
        environment = session.environment
        hardware = ", ".join(f"{name} {value}" for name, value in session.hardware.items())
        pretrainings = f" ({environment.pretrain_threads} of a pretraining)" * bool(
            environment.pretrain_threads
        )
        self.logger.info("%s%s, jobs %d", hardware, pretrainings, environment.jobs)
        if len(devices) > 1:
            self.logger.info("devices %s", ", ".join(devices))
        self.logger.info("plugins: %s", ", ".join(map(str, session.registry.plugins)))
        for problem in session.registry.problems:
            self.logger.warning("%s", problem)
        self.logger.info("%d units, %d to do", len(plan.units), len(plan.to_do))

    def ended(self, outcome: Outcome) -> None:
        """What became of a unit, and how long it took."""
        unit = outcome.unit
        text = (
            f"{outcome.status} {unit.kind} {unit.label} {outcome.seconds:.1f} s {unit.key} {outcome.reason}"
        )
        self.logger.log(logging.INFO if outcome.status == "done" else logging.ERROR, "%s", text.rstrip())


@contextmanager
def study_log(study: Study, results: Path) -> Iterator[StudyLog]:
    """Log to the study's file what happens inside the block, an error that ends it too. Raises StoreError."""
    from bench.identity import to_json

    asked = to_json(study)
    path = results / "logs" / f"{study.name}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    handler.setFormatter(_Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    journal = StudyLog(path, handler)
    root = logging.getLogger()
    root.addHandler(handler)
    started = time.monotonic()
    journal.logger.info("bench %s, in %s", shlex.join(sys.argv[1:]), os.getcwd())
    journal.logger.info("study %s", json.dumps(asked))
    try:
        yield journal
    except Exception as error:
        journal.logger.error("%s", error, exc_info=error)
        raise
    except KeyboardInterrupt:
        journal.logger.info("interrupted")
        raise
    finally:
        journal.logger.info("ended after %.1f s", time.monotonic() - started)
        root.removeHandler(handler)
        handler.close()
