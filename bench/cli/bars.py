"""The bars of a terminal: all units, and a line for each that is at work.

    all units          3/18                 ━━━╺━━━━━━━━━━━           0:41:07  3 at work
    lite0.egmae.r0     pretrain epoch 4/30  ━╸━━━━━━━━━━━━━  112/960  0:03:51  loss 0.4127  61 images/s
    lite0.imagenet.r0  fine-tune epoch 1/9  ━━━━━━━━╸━━━━━━  101/180  0:00:38  loss 1.0051  88 images/s
    and 1 more at work

News are kept as they come, which costs microseconds; lines are made when rich draws the screen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from threading import Lock

from rich.console import Console, ConsoleOptions, RenderResult
from rich.filesize import decimal

from bench.cli.rows import Row, draw
from bench.execution.at_work import Line, UnitsAtWork, steps_done, steps_in_all
from bench.interfaces.executor import Outcome, Progress
from bench.interfaces.progress_text import position
from bench.study.spec import UnitSpec
from bench.text import one_line

ROOM = 6  # lines of the terminal that are left to all units, to "and N more", and to what is said above


class Bars:
    """What is known of the units at work, drawn by rich."""

    def __init__(self, units: Sequence[UnitSpec]) -> None:
        self.lock = Lock()  # rich draws in a thread of its own
        self.known = UnitsAtWork(units)
        self.total = len(units)
        self.estimate: tuple[float | None, float] | None = None  # seconds left, and when that was found

    def report(self, news: Progress, now: float) -> None:
        """How far a unit is."""
        with self.lock:
            self.known.report(news, now)

    def ended(self, outcome: Outcome, now: float) -> None:
        """A unit's line goes."""
        with self.lock:
            self.known.ended(outcome, now)
            self.estimate = None

    # --- rows ----------------------------------------------------------------------------------------

    def rows(self, now: float, height: int) -> Iterator[Row]:
        """All units, those at work as far as the height allows, and how many more there are."""
        with self.lock:
            lines = list(self.known.lines.values())
            if self.total:
                yield self._overall(now)
            limit = max(1, height - ROOM)
            if len(lines) > limit:
                lines.sort(key=lambda line: line.waits)  # stable: those at work first
            yield from (_row(line, now) for line in lines[:limit])
            waiting = sum(line.waits for line in lines[limit:])
            at_work = len(lines[limit:]) - waiting
            more = [f"{n} more {what}" for n, what in ((at_work, "at work"), (waiting, "waiting")) if n]
            if more:
                yield Row(f"and {', '.join(more)}", bar=False)

    def _overall(self, now: float) -> Row:
        known = self.known
        at_work = [line for line in known.lines.values() if not line.waits]
        known.at_once(now)
        parts = sum(line.fraction for line in at_work)
        if self.estimate is None or now - self.estimate[1] > 1.0 + len(known.time.to_do) / 500:
            self.estimate = (known.left(now), now)
        seconds, found = self.estimate
        return Row(
            "all units",
            f"{len(known.gone)}/{self.total}",
            len(known.gone) + parts,
            self.total,
            left=clock(None if seconds is None else max(0.0, seconds - (now - found))),
            note=f"{len(at_work)} at work" if len(at_work) > 1 else "",
        )

    # --- drawing -------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = list(self.rows(time.monotonic(), options.size.height))
        yield from draw(rows, console, options)


def _row(line: Line, now: float) -> Row:
    news, steps, total = line.news, steps_done(line.news), steps_in_all(line.news)
    if line.waits:
        return Row(one_line(news.unit), one_line(news.stage), bar=False)
    speed = f"{news.images_per_s:.0f} images/s" if news.images_per_s else ""
    if news.in_bytes and (each := line.pace.seconds_per_step):
        speed = f"{decimal(int(1 / each))}/s"
    return Row(
        one_line(news.unit),
        one_line(f"{news.stage} {position(news)}"),
        steps,
        total or None,
        f"{steps}/{total}" if news.epochs else "",
        clock(line.pace.left(total, now) if total else None),
        f"loss {news.loss:.4f}" if news.loss is not None else "",
        speed,
    )


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
