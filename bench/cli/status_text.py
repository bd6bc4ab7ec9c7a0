"""What `bench status` prints: a screen of a terminal, plain lines elsewhere, a line a study, or JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

from bench.cli.rows import Row, draw
from bench.cli.screen import echo, units
from bench.execution.status import Command, FolderStatus, StudyStatus, UnitAtWork
from bench.files import host_name
from bench.text import duration, one_line

ENDED = 5  # studies that have ended are shown, the latest
STALE = 10  # claims that are shown
REASONS = 3  # failures of a study of which the reason is shown
LINES = 12  # units of a command that are shown
AHEAD = 5.0  # seconds by which another clock may be ahead unsaid
VERSION = 1


def as_json(found: FolderStatus, results: Path, indent: int | None = None) -> str:
    """All that is known, as one object."""
    content = dataclasses.asdict(found)
    for study, known in zip(content["studies"], found.studies, strict=True):
        study["runs"] = known.runs
    head = {"version": VERSION, "time": time.time(), "results": str(results), "runs": found.runs}
    return json.dumps({**head, **content}, indent=indent)


def show(found: FolderStatus, results: Path, console: Console) -> None:
    """Everything: for a person on a terminal, in lines that nothing wraps elsewhere."""
    if console.is_terminal:
        console.print(Screen(found, results))
        return
    for part in parts(found, results):
        if isinstance(part.what, Text):
            echo(f"{' ' * part.indent}{part.what.plain}")
        else:
            for line in plain(part.what):
                echo(f"{' ' * part.indent}{line}")


@dataclasses.dataclass(frozen=True)
class Screen:
    """All of it, drawn by rich."""

    found: FolderStatus
    results: Path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in parts(self.found, self.results):
            if isinstance(part.what, Text):
                # An empty text would be drawn as nothing.
                shown = Padding(part.what, (0, 0, 0, part.indent), expand=False)
                yield shown if part.what else Segment.line()
                continue
            inside = options.update_width(options.max_width - part.indent)
            for line in Segment.split_lines(draw(part.what, console, inside)):
                yield Segment(" " * part.indent)
                yield from line
                yield Segment.line()


@dataclasses.dataclass(frozen=True)
class Part:
    """A line of text, or lines of units at work."""

    what: Text | Sequence[Row]
    indent: int = 0


def parts(found: FolderStatus, results: Path) -> Iterator[Part]:
    """What runs, what has ended, and what was left by who was killed."""
    running = [study for study in found.studies if study.runs]
    ended = [study for study in found.studies if not study.runs]
    for number, study in enumerate(running):
        yield from [Part(Text())] if number else []
        yield from _study(study)
    if not running:
        yield Part(Text(f"nothing runs on {one_line(str(results))}"))
    if ended:
        yield Part(Text())
    for study in ended[:ENDED]:
        yield from _study(study)
    if len(ended) > ENDED:
        yield Part(Text(f"and {len(ended) - ENDED} more studies that have ended", style="dim"))
    yield from _stale(found)
    yield from _others(found)


# --- a study -----------------------------------------------------------------------------------------


def summary(study: StudyStatus) -> str:
    """A study in a line."""
    return one_line(f"{study.title}: {counts(study)}{_left(study)}")


def counts(study: StudyStatus) -> str:
    """ "12 of 30 units done, 2 failed, 3 at work, 13 to do"."""
    if not study.units:
        return "is being planned"
    rest = ((study.failed, "failed"), (study.at_work, "at work"), (study.to_do, "to do"))
    more = "".join(f", {number} {what}" for number, what in rest if number)
    return f"{study.done} of {units(study.units)} done{more}"


def _left(study: StudyStatus) -> str:
    return f", about {duration(study.left)} left" if study.left is not None and study.runs else ""


def _study(study: StudyStatus) -> Iterator[Part]:
    yield Part(Text.assemble((one_line(study.title), "bold"), f": {counts(study)}{_left(study)}"))
    for command in study.commands:
        yield Part(_command(command), 2)
        if command.runs and command.at_work:
            yield Part([_row(unit) for unit in command.at_work[:LINES]], 4)
            if (more := len(command.at_work) - LINES) > 0:
                yield Part(Text(f"and {more} more"), 4)
    for failure in study.failures[:REASONS]:
        yield Part(Text(one_line(f"FAILED  {failure.unit}: {failure.reason}"), style="red"), 2)
    if study.failed > REASONS:
        yield Part(Text(f"and {study.failed - REASONS} more failed: `bench plan` says why"), 2)


def _command(command: Command) -> Text:
    where = "" if command.host == host_name() else f" on {command.host}"
    process = one_line(f"process {command.pid}{where}")
    if not command.runs:
        return Text(f"{process} {_end(command)}", style="yellow")
    at_once = f", {command.jobs} at once" if command.jobs > 1 else ""
    doing = "plans" if command.plans else f"{command.device}{at_once}"
    text = Text(one_line(f"{process}: {doing}, for {duration(command.seconds)}"))
    if command.state == "silent":
        text.append(f", silent for {duration(command.ago)}", style="yellow")
    if command.ago < -AHEAD:
        text.append(f" (its clock is {duration(-command.ago)} ahead of ours)")
    return text


def _end(command: Command) -> str:
    """What became of a command that is gone."""
    cut = sum(bool(unit.key) and not unit.waits for unit in command.at_work)
    lost = f" with {units(cut)} at work" if cut else ""
    how = "was killed" if command.host == host_name() else "has not been heard of for"
    when = f"{duration(command.ago)} ago" if command.host == host_name() else duration(command.ago)
    return f"{how} {when}{lost}; the same command goes on from there"


def _row(unit: UnitAtWork) -> Row:
    name = one_line(unit.unit)
    if unit.waits:
        return Row(name, one_line(unit.stage), bar=False)
    where = f"epoch {unit.epoch}/{unit.epochs}" if unit.epochs else f"{unit.done}/{unit.total or '?'}"
    done = (unit.epoch - 1) * unit.total + unit.done if unit.epochs else unit.done
    total = unit.epochs * unit.total if unit.epochs else unit.total
    return Row(
        name,
        one_line(f"{unit.stage} {where}"),
        done,
        total or None,
        left=f"for {duration(unit.seconds)}",
        note=f"loss {unit.loss:.4f}" if unit.loss is not None else "",
        speed=f"{unit.images_per_s:.0f} images/s" if unit.images_per_s else "",
    )


def plain(rows: Sequence[Row]) -> Iterator[str]:
    """Rows in columns, without bars."""
    cells = [(row.name, row.where, row.left, row.note, row.speed) for row in rows]
    widths = [max(len(text) for text in column) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True) if width)
        yield "  ".join(padded).rstrip()


# --- what is left over -------------------------------------------------------------------------------


def _stale(found: FolderStatus) -> Iterator[Part]:
    if not found.stale:
        return
    yield Part(Text())
    yield Part(Text("claimed by processes that are gone; the next `bench run` of the study takes them up:"))
    for claim in found.stale[:STALE]:
        then = "goes on from its checkpoint" if claim.checkpoint else "begins again"
        text = f"{claim.unit}: {claim.holder}, last seen {duration(claim.seconds)} ago; {then}"
        yield Part(Text(one_line(text), style="yellow"), 2)
    if len(found.stale) > STALE:
        yield Part(Text(f"and {len(found.stale) - STALE} more"), 2)


def _others(found: FolderStatus) -> Iterator[Part]:
    if found.others:
        named = ", ".join(f"{one_line(name)} {count:,}" for name, count in sorted(found.others.items()))
        yield Part(Text())
        yield Part(Text(f"units stored of studies whose plan is not known here: {named}"))


def ending(found: FolderStatus) -> str:
    """The last line of --watch."""
    failed = sum(study.failed for study in found.studies)
    return f"nothing runs any more{f'; {units(failed)} failed' if failed else ''}"
