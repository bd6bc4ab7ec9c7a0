"""What is written down while a command runs: a log file per study, and --verbose.

    results/logs/<data sets>.<study>.log    every command on one study, one after the other

Warnings of libraries and of plugins become log records too, so that they go through the console and do not
tear progress bars.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import cannot_write

if TYPE_CHECKING:
    from bench.interfaces.executor import Outcome
    from bench.study.study import Study

log = logging.getLogger("bench")


def set_up_logging(verbose: bool) -> None:
    """Send warnings, and with `verbose` everything that is logged, to stderr."""
    logging.captureWarnings(True)
    for logger in (log, logging.getLogger("py.warnings")):
        logger.handlers.clear()
        logger.addHandler(_StderrHandler(logging.DEBUG if verbose else logging.WARNING))
        logger.propagate = False
    log.setLevel(logging.DEBUG)


class _StderrHandler(logging.Handler):
    """Writes to what sys.stderr is at the moment: while progress bars are shown, that is above them."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"{record.levelname.lower()}: {_one_line(record.getMessage())}", file=sys.stderr)
        if record.exc_info:
            print(logging.Formatter().formatException(record.exc_info), file=sys.stderr)


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def study_log(study: Study, results: Path) -> Iterator[Callable[[Outcome], None]]:
    """Log to the study's file; the function that is yielded logs outcomes. Raises StoreError."""
    from bench.identity import digest, to_json

    names = "+".join(ref.name for ref in study.datasets)
    path = results / "logs" / f"{names}.{digest(to_json(study))[:8]}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    loggers = (log, logging.getLogger("py.warnings"))
    for logger in loggers:
        logger.addHandler(handler)
    log.info("bench %s", shlex.join(sys.argv[1:]))
    try:
        yield _log_outcome
    finally:
        log.info("ended")
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def _log_outcome(outcome: Outcome) -> None:
    unit = outcome.unit
    head = f"{outcome.status} {unit.kind} {unit.label} {unit.key} {outcome.seconds:.1f} s"
    log.info("%s", f"{head} {outcome.reason}".rstrip())
