"""A report of a study that is still running: a banner that says so, and a page that loads itself again.

Both are put into the finished page, so that the page of a study that has ended is what it is without them.
Reloading is what `<meta http-equiv="refresh">` does: it needs no script and no address, and the page's policy
allows it. Browsers keep the place to which a page that is loaded again was scrolled.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from bench.execution.status import FolderStatus, StudyStatus
from bench.text import duration, one_line

HEAD = "<head>\n"
BODY = "<body>\n"
TITLE = "<title>"
LOOK = (
    "background: light-dark(#fff3cd, #4a3b00); color: light-dark(#222, #eee); font-size: medium; "
    "margin: 0 0 1em; max-width: none; padding: 0.5em 1em"
)


def live_page(page: str, found: FolderStatus, every: float, at: float | None = None) -> str:
    """The page of a study that runs: with a banner of how far it is, and loaded again every so many seconds.

    `at` is when it was looked, seconds since 1970; now unless given.
    """
    again = f'<meta http-equiv="refresh" content="{max(1, round(every))}">\n'
    then = time.strftime("%H:%M:%S", time.localtime(at))
    lines = "<br>".join(escape(line) for line in banner([s for s in found.studies if s.runs]))
    note = f"Looked at {then}; this page loads itself again until nothing runs any more."
    text = f'<p role="status" class="live" style="{LOOK}">{lines}<br><small>{note}</small></p>\n'
    running = page.replace(HEAD, HEAD + again, 1).replace(BODY, BODY + text, 1)
    return running.replace(TITLE, f"{TITLE}{_progress(found)}", 1)


def _progress(found: FolderStatus) -> str:
    """ "12/30 ", for the tab of the browser."""
    running = [study for study in found.studies if study.runs and study.units]
    done, units = sum(study.done for study in running), sum(study.units for study in running)
    return f"{done}/{units} " if units else ""


def banner(running: Sequence[StudyStatus]) -> list[str]:
    """A line for each study: "running: 12 of 30 units done; 2 failed; about 14 min left"."""
    several = len(running) > 1
    return [_line(study, several) for study in running]


def _line(study: StudyStatus, named: bool) -> str:
    which = f"{one_line(study.title)}: " if named else "Running: "
    if not study.units:
        return f"{which}being planned"
    parts = [f"{study.done} of {study.units} units done"]
    parts += [f"{study.failed} failed"] if study.failed else []
    parts += [f"about {duration(study.left)} left"] if study.left is not None else []
    return which + "; ".join(parts)
