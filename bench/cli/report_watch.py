"""`bench report --watch`: the page of a study that runs, written again as its units end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.pages import write_whole
from bench.cli.screen import make_console, say, warn
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.execution.status import FolderStatus
    from bench.report.page import Page

EVERY = 20.0  # seconds between two writings, and after which a browser loads the page again
LOOK = 1.0  # seconds between two looks at whether anything runs


def write_again(make: Callable[[], Page], output: Path, results: Path) -> None:
    """Write the page, with how far the study is, until nothing runs on the results folder; then without.

    What it says of results is made anew when units have ended, the banner at every writing. The last page is
    what `bench report` writes, also where the watching is interrupted: then of the results so far. Raises
    what `make` does where there is nothing to make one of in the end, and leaves no page that says it runs.
    """
    from bench.execution.status import look
    from bench.report.live import live_page

    console = make_console(stderr=True)
    page, seen = _nothing_yet(results), None
    found = look(results)
    try:
        while found.runs:
            if (now := _stored(found)) != seen:
                page, seen = _made(make, results) or page, now
            size = write_whole(output, live_page(page, found, EVERY))
            say(console, f"{time.strftime('%H:%M:%S')}  written: {output} ({size}); {_counts(found)}")
            found = _wait(found, results)
        last = make()
    except (KeyboardInterrupt, BenchError):
        write_whole(output, page)
        raise
    warn(last.warnings)
    size = write_whole(output, last.html)
    say(console, f"written: {output} ({size}); nothing runs any more")


def _wait(found: FolderStatus, results: Path) -> FolderStatus:
    """The next thing to write about: after a while, or as soon as nothing runs."""
    from bench.execution.status import look

    then = time.monotonic() + EVERY
    while found.runs and time.monotonic() < then:
        time.sleep(LOOK)
        found = look(results)
    return found


def _made(make: Callable[[], Page], results: Path) -> str | None:
    """The page of what is stored; None while there is nothing to make one of. Its warnings are said once, of
    the last page."""
    try:
        with redirect_stderr(StringIO()):
            return make().html
    except BenchError:
        return None


def _stored(found: FolderStatus) -> tuple[object, ...]:
    """What a report is made of, as far as a listing of folders tells."""
    return (
        tuple((study.name, study.done, study.failed) for study in found.studies),
        tuple(found.others.items()),
    )


def _counts(found: FolderStatus) -> str:
    from bench.cli.status_text import summary

    return "; ".join(summary(study) for study in found.studies if study.runs)


def _nothing_yet(results: Path) -> str:
    from bench.page import html_page, shown

    text = f"<h1>Nothing to report yet</h1>\n<p>No run of {shown(str(results))} has finished.</p>"
    return html_page("Nothing to report yet", text)
