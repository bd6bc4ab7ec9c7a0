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
from dataclasses import dataclass
from threading import Lock

from rich.console import Console, ConsoleOptions, RenderResult
from rich.filesize import decimal

from bench.cli.rows import Row, draw
from bench.cli.time_left import AtWork, Pace, StudyTime
from bench.interfaces.executor import Outcome, Progress
from bench.interfaces.progress_text import position
from bench.study.spec import UnitSpec
from bench.text import one_line

ROOM = 6  # lines of the terminal that are left to all units, to "and N more", and to what is said above
RECENT = 30.0  # seconds: between the end of a unit and the start of the next, fewer are at work than at once


@dataclass
class _Line:
    """A unit at work, or a data set."""

    news: Progress
    since: float  # when it was first heard of
    pace: Pace

    @property
    def waits(self) -> bool:
        """Nothing is counted: it waits for something."""
        return not (self.news.done or self.news.total or self.news.in_bytes)

    @property
    def is_complete(self) -> bool:
        return 0 < self.news.total == self.news.done and not self.news.epochs


class Bars:
    """What is known of the units at work, drawn by rich."""

    def __init__(self, units: Sequence[UnitSpec]) -> None:
        self.lock = Lock()  # rich draws in a thread of its own
        self.lines: dict[str, _Line] = {}  # in the order in which they came
        self.total = len(units)
        self.keys = {unit.key for unit in units}
        self.gone: set[str] = set()
        self.time = StudyTime(units)
        self.most = (0, 0.0)  # at work at once, lately; and when that was so
        self.estimate: tuple[float | None, float] | None = None  # seconds left, and when that was found

    def report(self, news: Progress, now: float) -> None:
        """How far a unit is. News of one that has ended are late, and change nothing."""
        key = news.key or news.unit
        steps = _steps(news)
        with self.lock:
            line = self.lines.get(key)
            if line is None:
                if news.key in self.gone:
                    return
                self._make_room(news)
                self.lines[key] = _Line(news, now, Pace(now, steps))
            elif (news.stage, news.epochs) != (line.news.stage, line.news.epochs) or steps < line.pace.steps:
                line.news, line.pace = news, Pace(now, steps)  # another stage, or this one from the start
            else:
                line.news = news
                line.pace.add(now, steps)

    def ended(self, outcome: Outcome, now: float) -> None:
        """A unit's line goes."""
        key, label = outcome.unit.key, outcome.unit.label
        with self.lock:
            self._count(now)
            line = self.lines.pop(key, None) or self.lines.pop(label, None)
            self.gone.add(key)
            seconds = outcome.seconds
            if line and line.news.resumed:  # it took less than all of it does
                seconds = line.pace.whole(_all_steps(line.news)) or 0.0
            self.time.ended(outcome, seconds)
            self.estimate = None

    def _make_room(self, news: Progress) -> None:
        """The lines of data sets that are through go when the next one's comes: nobody says that they end."""
        if not news.key:
            for key in [key for key, line in self.lines.items() if line.is_complete and not line.news.key]:
                del self.lines[key]

    def _count(self, now: float) -> int:
        """Units at work at once."""
        count, (most, then) = sum(not line.waits for line in self.lines.values()), self.most
        if count >= most or now - then > RECENT:
            self.most = (count, now)
        return max(1, self.most[0])

    # --- rows ----------------------------------------------------------------------------------------

    def rows(self, now: float, height: int) -> Iterator[Row]:
        """All units, those at work as far as the height allows, and how many more there are."""
        with self.lock:
            lines = list(self.lines.values())
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
        at_work = [line for line in self.lines.values() if not line.waits]
        self._count(now)
        parts = sum(_fraction(line.news) for line in at_work)
        if self.estimate is None or now - self.estimate[1] > 1.0 + len(self.time.to_do) / 500:
            self.estimate = (self._left(now), now)
        seconds, found = self.estimate
        return Row(
            "all units",
            f"{len(self.gone)}/{self.total}",
            len(self.gone) + parts,
            self.total,
            left=clock(None if seconds is None else max(0.0, seconds - (now - found))),
            note=f"{len(at_work)} at work" if len(at_work) > 1 else "",
        )

    def _left(self, now: float) -> float | None:
        at_work = {}
        for key, line in self.lines.items():
            if not line.waits:
                total = _all_steps(line.news) if line.news.epochs else 0
                pace = (line.pace.left(total, now), line.pace.whole(total)) if total else (None, None)
                at_work[key] = AtWork(now - line.since, *pace)
        return self.time.left(at_work, self._count(now))

    # --- drawing -------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = list(self.rows(time.monotonic(), options.size.height))
        yield from draw(rows, console, options)


def _row(line: _Line, now: float) -> Row:
    news, steps, total = line.news, _steps(line.news), _all_steps(line.news)
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


def _steps(news: Progress) -> int:
    """Steps of the stage that are done."""
    return (news.epoch - 1) * news.total + news.done if news.epochs else news.done


def _all_steps(news: Progress) -> int:
    return news.epochs * news.total if news.epochs else news.total


def _fraction(news: Progress) -> float:
    """Of a unit, as far as its training has come."""
    total = _all_steps(news) if news.epochs else 0
    return _steps(news) / total if total else 0.0


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
