"""News of units at work: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from bench.cli.bars import Bars
from bench.interfaces.executor import Outcome, Progress
from bench.interfaces.progress_text import describe
from bench.study.spec import UnitSpec

PLAIN_INTERVAL = 10.0  # seconds between plain lines of one stage, of few units at once
FEW = 4  # units; of more, each has its line less often, so that all together print no more


class Display:
    """Shows progress of a list of units. `report` takes a unit's news, `ended` its outcome.

    `names` are what units are called, by key; their labels unless given.
    """

    def __init__(self, console: Console, total: int, names: Mapping[str, str]) -> None:
        self.console = console
        self.total = total
        self.names = names
        self.ended_units = 0
        self.last_line: dict[str, tuple[str, float]] = {}  # unit at work -> stage and time

    def report(self, news: Progress) -> None:
        """A line when a stage starts or ends, and in between every PLAIN_INTERVAL seconds, less often where
        many are at work: at the end of an epoch, or anywhere in a stage without epochs."""
        key = news.key or news.unit
        stage, said = self.last_line.get(key, ("", 0.0))
        now = time.monotonic()
        started = stage != news.stage
        finished = news.done == news.total and news.epoch == news.epochs
        whole = news.done == news.total or not news.epochs
        interval = PLAIN_INTERVAL * max(1.0, len(self.last_line) / FEW)
        if started or finished or (whole and now - said >= interval):
            self.console.print(f"  {describe(news)}", markup=False)
            self.last_line[key] = (news.stage, now)

    def ended(self, outcome: Outcome) -> None:
        """One line for a finished unit."""
        self.ended_units += 1
        unit = outcome.unit
        for key in (unit.key, unit.label):  # news of a foreign executor have no key
            self.last_line.pop(key, None)
        mark = {"done": "done", "failed": "FAILED", "blocked": "blocked"}[outcome.status]
        name = self.names.get(unit.key, unit.label)
        text = f"[{self.ended_units}/{self.total}] {mark:7} {unit.kind:8} {name}"
        text += f"  {outcome.seconds:.1f} s" if outcome.seconds else ""
        text += f"  {outcome.reason}" if outcome.reason else ""
        style = "red" if outcome.status != "done" else None
        self.console.print(text, markup=False, style=style, soft_wrap=True)


class LiveDisplay(Display):
    """Bars of all units and of each at work, below a line for each that has ended."""

    def __init__(self, console: Console, units: Sequence[UnitSpec], names: Mapping[str, str]) -> None:
        super().__init__(console, len(units), names)
        self.bars = Bars(units)

    def report(self, news: Progress) -> None:
        """Kept until the screen is next drawn, which is not done here: a training reports every step."""
        self.bars.report(news, time.monotonic())

    def ended(self, outcome: Outcome) -> None:
        """One line for a finished unit, whose bar goes."""
        self.bars.ended(outcome, time.monotonic())
        super().ended(outcome)


@contextmanager
def display(
    console: Console, units: Sequence[UnitSpec] = (), names: Mapping[str, str] | None = None
) -> Iterator[Display]:
    """The display that suits where the output goes, of units to do or, without any, of other work."""
    if not console.is_terminal:
        yield Display(console, len(units), names or {})
        return
    shown = LiveDisplay(console, units, names or {})
    with Live(
        shown.bars,
        console=console,
        transient=True,
        refresh_per_second=5,
        redirect_stdout=sys.stdout.isatty(),  # `>file` and `2>file` get what is meant for them
        redirect_stderr=sys.stderr.isatty(),
    ):
        yield shown
