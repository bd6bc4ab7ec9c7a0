"""What is known of the units at work, from their news: how far each is, how fast, and how long all take.

News are kept as they come, which costs microseconds; what is shown of them is made when somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.execution.time_left import AtWork, Pace, StudyTime
from bench.interfaces.executor import Outcome, Progress
from bench.study.spec import UnitSpec

RECENT = 30.0  # seconds: between the end of a unit and the start of the next, fewer are at work than at once


@dataclass
class Line:
    """A unit at work, or a data set.

    Attributes:
        news: the last.
        since: when it was first heard of.
        pace: of the stage it is in.
    """

    news: Progress
    since: float
    pace: Pace

    @property
    def waits(self) -> bool:
        """Nothing is counted: it waits for something."""
        return waits(self.news)

    @property
    def is_complete(self) -> bool:
        return 0 < self.news.total == self.news.done and not self.news.epochs

    @property
    def fraction(self) -> float:
        """Of a unit, as far as its training has come."""
        total = steps_in_all(self.news) if self.news.epochs else 0
        return steps_done(self.news) / total if total else 0.0


class UnitsAtWork:
    """The last news of each unit at work, and what to expect of the rest. Times are of one clock."""

    def __init__(self, units: Sequence[UnitSpec]) -> None:
        self.lines: dict[str, Line] = {}  # in the order in which they came
        self.gone: set[str] = set()
        self.time = StudyTime(units)
        self.most = (0, 0.0)  # at work at once, lately; and when that was so

    def report(self, news: Progress, now: float) -> None:
        """How far a unit is. News of one that has ended are late, and change nothing."""
        key = news.key or news.unit
        steps = steps_done(news)
        line = self.lines.get(key)
        if line is None:
            if news.key in self.gone:
                return
            self._make_room(news)
            self.lines[key] = Line(news, now, Pace(now, steps))
        elif (news.stage, news.epochs) != (line.news.stage, line.news.epochs) or steps < line.pace.steps:
            line.news, line.pace = news, Pace(now, steps)  # another stage, or this one from the start
        else:
            line.news = news
            line.pace.add(now, steps)

    def ended(self, outcome: Outcome, now: float) -> None:
        """A unit's line goes."""
        key, label = outcome.unit.key, outcome.unit.label
        self.at_once(now)
        line = self.lines.pop(key, None) or self.lines.pop(label, None)
        self.gone.add(key)
        seconds = outcome.seconds
        if line and line.news.resumed:  # it took less than all of it does
            seconds = line.pace.whole(steps_in_all(line.news)) or 0.0
        self.time.ended(outcome, seconds)

    def _make_room(self, news: Progress) -> None:
        """The lines of data sets that are through go when the next one's comes: nobody says that they end."""
        if not news.key:
            for key in [key for key, line in self.lines.items() if line.is_complete and not line.news.key]:
                del self.lines[key]

    def at_once(self, now: float) -> int:
        """Units at work at once, lately."""
        count, (most, then) = sum(not line.waits for line in self.lines.values()), self.most
        if count >= most or now - then > RECENT:
            self.most = (count, now)
        return max(1, self.most[0])

    def left(self, now: float) -> float | None:
        """Seconds until all units have ended; None while there is nothing to go by."""
        at_work = {}
        for key, line in self.lines.items():
            if not line.waits:
                total = steps_in_all(line.news) if line.news.epochs else 0
                pace = (line.pace.left(total, now), line.pace.whole(total)) if total else (None, None)
                at_work[key] = AtWork(now - line.since, *pace)
        return self.time.left(at_work, self.at_once(now))


def waits(news: Progress) -> bool:
    """Whether nothing is counted: the unit waits for something."""
    return not (news.done or news.total or news.in_bytes)


def steps_done(news: Progress) -> int:
    """Steps of the stage that are done."""
    return (news.epoch - 1) * news.total + news.done if news.epochs else news.done


def steps_in_all(news: Progress) -> int:
    """Steps of the stage, over all epochs."""
    return news.epochs * news.total if news.epochs else news.total
