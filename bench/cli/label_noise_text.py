"""Images at odds with their label, as a terminal or another program reads them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.cli.screen import say
from bench.comparison.label_noise import FEW, Doubt, LabelNoise
from bench.data.images.index import first_few
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

MANY = 0.2
"""Share of the judged images above which a list is one of mistakes of the models: so many labels are hardly
ever wrong."""
TEMPLATE = ("id", "group", "exclude", "reason")


def show(console: Console, found: Sequence[LabelNoise], most: int) -> None:
    """Print everything, of each table at most `most` images."""
    for one in found:
        say(console, one_line(headline(one)))
        if one.doubts:
            console.print(_grid(one.doubts[:most]))
        if len(one.doubts) > most:
            say(console, f"and {len(one.doubts) - most} more (--most, or --format csv)")
        for line in coverage(one):
            say(console, one_line(line))
        say(console, "")
    for line in RULE:
        say(console, line)


def headline(one: LabelNoise) -> str:
    """What was found, in a sentence."""
    rounds = f"{one.rounds} round{'s' * (one.rounds != 1)}"
    return (
        f"{one.where}: {len(one.doubts)} of {one.judged} judged images are at odds with their label "
        f"({first_few(one.methods, 4)}; {rounds})"
    )


def coverage(one: LabelNoise) -> Iterator[str]:
    """What was not judged, or may not be trusted, a sentence each."""
    agreeing = f"The pooled predictions agree with {100 * one.agreeing:.0f} % of the labels"
    if len(one.doubts) > MANY * one.judged:
        agreeing += "; from models that are so often wrong, the list says more of them than of the labels"
    yield f"{agreeing}."
    if (never := one.images - one.judged) > 0:
        kept = (
            f", {one.kept_out} of them because their duplicates carry another label (`bench data audit`)"
            if one.kept_out
            else ""
        )
        remedy = (
            "the data set itself fixes which are tested on"
            if one.fixed
            else "a study with protocol.split.method=kfold and as many rounds as folds tests on all others"
        )
        yield f"{never} of {one.images} images are in no test part and are not judged{kept}; {remedy}."
    if one.leaking:
        yield (
            f"The split of round{'s' * (len(one.leaking) > 1)} {', '.join(map(str, one.leaking))} leaks: "
            "networks trained on duplicates or "
            "group mates of judged images, and repeat their labels."
        )
    if one.few:
        names = ", ".join(one.few)
        yield f"Fewer than {FEW} images of {names} were judged: too few to say how many are wrong."


RULE = (
    "Probabilities are means over all predictions of an image, each by a model that did not train on it; "
    "every prediction counts the same. Self-confidence is the mean probability of the given label. Which "
    "images are listed is decided by confident learning (cleanlab, prune by noise rate).",
    "Models are wrong too: a person must look. No label is changed.",
)


def _grid(doubts: Sequence[Doubt]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("image", "given", "suggested"):
        grid.add_column(head, overflow="fold")
    for head in ("self-confidence", "of suggested", "predictions"):
        grid.add_column(head, justify="right")
    for doubt in doubts:
        texts = map(one_line, (doubt.id, doubt.given, doubt.suggested))
        numbers = f"{doubt.self_confidence:.3f}", f"{doubt.confidence:.3f}", str(doubt.predictions)
        grid.add_row(*map(Text, (*texts, *numbers)))
    return grid


def as_csv(found: Sequence[LabelNoise]) -> str:
    """One line an image, with a header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["where", *(field.name for field in dataclasses.fields(Doubt))])
    for one in found:
        writer.writerows([one.where, *dataclasses.astuple(doubt)] for doubt in one.doubts)
    return stream.getvalue()


def as_json(found: Sequence[LabelNoise]) -> str:
    """A list, one object a table."""
    return json.dumps([_plain(one) for one in found], indent=2) + "\n"


def _plain(one: LabelNoise) -> dict[str, object]:
    plain = dataclasses.asdict(one)
    del plain["typical"]
    return plain


def as_template(doubts: Sequence[Doubt]) -> str:
    """A csv file with a line for each image, in which a person decides: `exclude` and `group` are empty, the
    reason is why the image is listed."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(TEMPLATE)
    writer.writerows(
        [doubt.id, "", "", f"label noise: given {doubt.given}, predicted {doubt.suggested}"]
        for doubt in doubts
    )
    return stream.getvalue()
