"""How many images of which class are in which part, round by round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from bench.comparison.hard_images_text import name_of
from bench.figures.palette import LIGHT
from bench.report.grids import Grid
from bench.results.record import Counts, DataSummary

PARTS = {"train": "training", "val": "validation", "test": "test"}
BARS = 12  # classes that a bar tells apart; the smallest of more are one of its pieces
OTHERS = "all other classes"


class Piece(NamedTuple):
    """The images of one class in the bar of a part; lengths are in percent of the largest part.

    Attributes:
        name: of the class.
        text: "benign: 305 images".
        start: where it begins.
        length: its own.
        colour: number of its colour, from 1.
    """

    name: str
    text: str
    start: float
    length: float
    colour: int


class Bar(NamedTuple):
    """A part: its name, its images, and its classes."""

    name: str
    images: str
    pieces: Sequence[Piece]


class Composition(NamedTuple):
    """What is shown of one data set.

    Attributes:
        about: whether the numbers are means.
        bars: one a part.
        legend: the pieces of bars, in their order.
        grid: classes by part.
        rounds: each round by part and class, where they differ; else None.
    """

    about: str
    bars: Sequence[Bar]
    legend: Sequence[Piece]
    grid: Grid
    rounds: Grid | None


def composition(by_round: Mapping[int, DataSummary]) -> Composition | None:
    """Of the rounds whose records have counts; None if none has."""
    counts = {number: data.counts for number, data in by_round.items() if data.counts}
    if not counts:
        return None
    classes = list(dict.fromkeys(name for each in counts.values() for by in each.values() for name in by))
    grouped = any(
        n.groups < n.images for each in counts.values() for by in each.values() for n in by.values()
    )
    several = len({repr(each) for each in counts.values()}) > 1
    bars = list(_bars(list(counts.values()), classes))
    labelled = {number: data.labelled for number, data in by_round.items() if data.labelled is not None}
    about = f"Means over {len(counts)} rounds." if several else ""
    if not several and len(counts) > 1:
        about = f"The same in all {len(counts)} rounds."
    if labelled:
        sums = [sum(n.images for n in by.values()) for by in labelled.values() if by]
        about += f" Fine-tuning saw the labels of {fmean(sums):.4g} training images."
    return Composition(
        about=about.strip(),
        bars=bars,
        legend=max((bar.pieces for bar in bars), key=len),
        grid=_grid(list(counts.values()), classes, grouped),
        rounds=_rounds(counts, classes, grouped) if several else None,
    )


def _bars(counts: Sequence[Counts], classes: Sequence[str]) -> Iterator[Bar]:
    means = {
        part: {name: fmean(_images(each, part, name) for each in counts) for name in classes}
        for part in PARTS
        if any(part in each for each in counts)
    }
    most = max((sum(by.values()) for by in means.values()), default=0) or 1
    sizes = {name: sum(by[name] for by in means.values()) for name in classes}
    kept = set(sorted(classes, key=lambda name: -sizes[name])[: BARS - 1] if len(classes) > BARS else classes)
    for part, by in means.items():
        known = {name_of(name): by[name] for name in classes if name in kept}
        if rest := sum(count for name, count in by.items() if name not in kept):
            known[OTHERS] = rest
        pieces, start = [], 0.0
        for place, (name, count) in enumerate(known.items()):
            length = 100 * count / most
            text = f"{name}: {_rounded(count)} images"
            pieces.append(Piece(name, text, start, length, place % len(LIGHT) + 1))
            start += length
        yield Bar(PARTS[part], _rounded(sum(by.values())), pieces)


def _grid(counts: Sequence[Counts], classes: Sequence[str], grouped: bool) -> Grid:
    parts = [part for part in PARTS if any(part in each for each in counts)]
    heads = ["Class", *(f"{PARTS[part].capitalize()}" for part in parts), "All", "Share"]
    total = fmean(sum(_images(each, part, name) for part in parts for name in classes) for each in counts)

    def row(title: str, names: Sequence[str]) -> list[str]:
        cells = []
        for of in (*([part] for part in parts), parts):
            images = [sum(_images(each, part, name) for part in of for name in names) for each in counts]
            groups = [sum(_groups(each, part, name) for part in of for name in names) for each in counts]
            cells.append(_mean(images) + (f" ({_mean(groups)})" if grouped else ""))
        share = fmean(sum(_images(each, part, name) for part in parts for name in names) for each in counts)
        return [title, *cells, f"{100 * share / (total or 1):.1f} %"]

    rows = [row(name_of(name), [name]) for name in classes]
    caption = "Images (groups) by class and part; a group of two classes counts in both"
    return Grid(caption if grouped else "Images by class and part", heads, [*rows, row("all", classes)])


def _rounds(counts: Mapping[int, Counts], classes: Sequence[str], grouped: bool) -> Grid:
    rows = []
    for number, each in sorted(counts.items()):
        for part in (part for part in PARTS if part in each):
            cells = [_one(_images(each, part, c), _groups(each, part, c), grouped) for c in classes]
            images = sum(_images(each, part, name) for name in classes)
            rows.append([str(number), PARTS[part], *cells, f"{images:,}"])
    what = "Images (groups)" if grouped else "Images"
    heads = ["Round", "Part", *map(name_of, classes), "All"]
    return Grid(f"{what} of every round, part and class", heads, rows)


def _one(images: int, groups: int, grouped: bool) -> str:
    return f"{images:,} ({groups:,})" if grouped else f"{images:,}"


def _images(counts: Counts, part: str, name: str) -> int:
    return counts[part][name].images if name in counts.get(part, {}) else 0


def _groups(counts: Counts, part: str, name: str) -> int:
    return counts[part][name].groups if name in counts.get(part, {}) else 0


def _rounded(mean: float) -> str:
    return f"{mean:,.1f}".removesuffix(".0")


def _mean(numbers: Sequence[int]) -> str:
    return _rounded(fmean(numbers))
