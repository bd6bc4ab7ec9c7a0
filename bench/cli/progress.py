"""News of units at work: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from bench.interfaces.executor import Outcome, Progress
from bench.interfaces.progress_text import bytes_of, describe, figures

PLAIN_INTERVAL = 10.0  # seconds between plain lines of one stage


class Display:
    """Shows progress of a list of units. `report` takes a unit's news, `ended` its outcome."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.ended_units = 0
        self.last_line: dict[str, tuple[str, float]] = {}  # unit -> stage and time

    def report(self, news: Progress) -> None:
        """A line when a stage starts or ends, and in between every PLAIN_INTERVAL seconds: at the end of an
        epoch, or anywhere in a stage without epochs."""
        stage, said = self.last_line.get(news.unit, ("", 0.0))
        now = time.monotonic()
        started = stage != news.stage
        finished = news.done == news.total and news.epoch == news.epochs
        whole = news.done == news.total or not news.epochs
        if started or finished or (whole and now - said >= PLAIN_INTERVAL):
            self.console.print(f"  {describe(news)}", markup=False)
            self.last_line[news.unit] = (news.stage, now)

    def ended(self, outcome: Outcome) -> None:
        """One line for a finished unit."""
        self.ended_units += 1
        self.last_line.pop(outcome.unit.label, None)
        mark = {"done": "done", "failed": "FAILED", "blocked": "blocked"}[outcome.status]
        text = f"[{self.ended_units}/{self.total}] {mark:7} {outcome.unit.kind:8} {outcome.unit.label}"
        text += f"  {outcome.seconds:.1f} s" if outcome.seconds else ""
        text += f"  {outcome.reason}" if outcome.reason else ""
        style = "red" if outcome.status != "done" else None
        self.console.print(text, markup=False, style=style, soft_wrap=True)


class LiveDisplay(Display):
    """Three bars: all units, epochs of the unit, steps of the epoch."""

    def __init__(self, console: Console, total: int, bars: Bars) -> None:
        super().__init__(console, total)
        self.bars = bars
        self.overall = bars.add_task("all units", total=total, news="", visible=total > 0)
        self.unit = bars.add_task("", total=None, news="", visible=False)
        self.epoch = bars.add_task("", total=None, news="", visible=False)
        self.shown = ("", "")

    def report(self, news: Progress) -> None:
        if self.shown[0] not in ("", news.unit):  # of several at once, the first is followed to its end
            return
        bars = self.bars
        if self.shown != (news.unit, news.stage):
            self.shown = (news.unit, news.stage)
            bars.reset(self.unit, description=f"{news.unit}  {news.stage}", visible=news.epochs > 0)
            bars.reset(self.epoch, description="", visible=True, news="", in_bytes=news.in_bytes)
        steps = (news.epoch - 1) * news.total + news.done
        bars.update(self.unit, completed=steps, total=news.epochs * news.total or None)
        total = news.total or None if news.in_bytes else news.total
        bars.update(self.epoch, completed=news.done, total=total, news=figures(news))
        bars.update(
            self.epoch, description=f"epoch {news.epoch}/{news.epochs}" if news.epochs else news.stage
        )

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        self.bars.update(self.overall, advance=1)
        if self.shown[0] not in ("", outcome.unit.label):
            return
        self.bars.update(self.unit, visible=False)
        self.bars.update(self.epoch, visible=False)
        self.shown = ("", "")


@contextmanager
def display(console: Console, total: int) -> Iterator[Display]:
    """The display that suits where the output goes."""
    if not console.is_terminal:
        yield Display(console, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[news]}", markup=False),
    )
    with Bars(
        *columns,
        console=console,
        transient=True,
        refresh_per_second=5,
        redirect_stdout=sys.stdout.isatty(),  # `>file` and `2>file` get what is meant for them
        redirect_stderr=sys.stderr.isatty(),
    ) as bars:
        yield LiveDisplay(console, total, bars)


class _Count(ProgressColumn):
    """How much of how much: steps, or bytes and their speed."""

    def render(self, task: Task) -> Text:
        if not task.fields.get("in_bytes"):
            return Text(f"{int(task.completed)}/{'?' if task.total is None else int(task.total)}")
        total = None if task.total is None else int(task.total)
        speed = f"  {decimal(int(task.speed))}/s" if task.speed else ""
        return Text(bytes_of(int(task.completed), total or 0) + speed)
