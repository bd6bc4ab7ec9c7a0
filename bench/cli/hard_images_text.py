"""Images that methods find hard, as a terminal or another program reads them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.cli.screen import say
from bench.comparison.hard_images import HardImages, ImageVotes
from bench.comparison.hard_images_text import (
    RULE,
    Headline,
    coverage,
    headlines,
    name_of,
    predicted,
    short_name,
)
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

LISTS = ("never right", "confident error", "disagreed")
"""What the csv calls membership in the lists of a table, in their order."""
COLUMNS = (
    *("where", "id", "group", "label", "rounds", "predictions", "right", "likeliest_wrong", "confidence"),
    *("self_confidence", "disagreement", "votes", "lists", "wrong_methods", "right_ensembles"),
)


def show(console: Console, found: Sequence[HardImages], most: int) -> None:
    """Print everything, of each list at most `most` images."""
    for one in found:
        say(console, one_line(one.where))
        for line in coverage(one):
            say(console, one_line(line))
        for heading, listed in zip(headlines(one), _lists(one), strict=True):
            say(console, "")
            say(console, one_line(f"{heading.title}. {heading.about}"))
            if listed:
                console.print(_images(listed[:most], heading))
            if len(listed) > most:
                say(console, f"and {len(listed) - most} more (--most, or --format csv)")
        say(console, "")
        say(console, "What each method gets wrong, in the mean over its rounds.")
        console.print(_methods(one))
    for line in RULE:
        say(console, line)


def _lists(one: HardImages) -> tuple[Sequence[ImageVotes], ...]:
    return one.never_right, one.confident_errors, one.disagreed


def _images(listed: Sequence[ImageVotes], heading: Headline) -> Grid:
    grid = _grid("image", "label", "predicted", heading.sorted_by)
    for one in listed:
        texts = short_name(one.id), name_of(one.given), predicted(one), heading.measure(one)
        grid.add_row(*map(Text, texts))
    return grid


def _methods(found: HardImages) -> Grid:
    grid = _grid("method")
    grid.add_column("wrong", justify="right")
    grid.add_column("most confident error", overflow="fold")
    for of in found.by_method:
        first = [
            f"{short_name(one.id)}: {name_of(one.given)}, predicted {name_of(one.predicted)} "
            f"{one.confidence:.3f}"
            for one in of.errors[:1]
        ]
        wrong = f"{len(of.errors)} of {of.tested}"
        grid.add_row(*map(Text, (one_line(of.method), wrong, *(first or ["none"]))))
    return grid


def _grid(*heads: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        grid.add_column(head, overflow="fold")
    return grid


def as_csv(found: Sequence[HardImages]) -> str:
    """One line for each tested image, with a header; the fewest right predictions first."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        writer.writerows(_rows(one))
    return stream.getvalue()


def _rows(found: HardImages) -> Iterator[list[object]]:
    members: dict[str, list[str]] = defaultdict(list)
    for name, listed in zip(LISTS, _lists(found), strict=True):
        for one in listed:
            members[one.id].append(name)
    wrong: dict[str, list[str]] = defaultdict(list)
    for of in found.by_method:
        for error in of.errors if of.method in found.methods else ():
            wrong[error.id].append(of.method)
    for one in sorted(found.tested, key=lambda one: (one.right / one.predictions, -one.confidence, one.id)):
        numbers = one.rounds, one.predictions, one.right
        votes = "; ".join(f"{name} {count}" for name, count in one.votes)
        measures = one.wrong, one.confidence, one.self_confidence, one.disagreement, votes
        names = (members[one.id], wrong[one.id], one.right_ensembles)
        yield [found.where, one.id, one.group, one.given, *numbers, *measures, *map("; ".join, names)]


def as_json(found: Sequence[HardImages]) -> str:
    """A list, one object a table; its lists name images by id, in their order."""
    return json.dumps([_plain(one) for one in found], indent=2) + "\n"


def _plain(found: HardImages) -> dict[str, object]:
    plain = dataclasses.asdict(found)
    never_right, confident, disagreed = ([one.id for one in listed] for listed in _lists(found))
    lists = {"never_right": never_right, "confident_errors": confident, "disagreed": disagreed}
    return {**{name: plain.pop(name) for name in ("where", "methods", "ensembles")}, **lists, **plain}
