"""Diversity as a terminal or another program reads it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.cli.screen import say
from bench.comparison.diversity import Diversity, Estimated
from bench.comparison.diversity_words import READING, basis, bound, coverage, value_text
from bench.evidence.agreement import MEASURES
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

HEADS = ("where", "kind", "first", "second", "measure", "value", "low", "high", "rounds")


def show(console: Console, found: Sequence[Diversity]) -> None:
    """Print everything."""
    for one in found:
        say(console, one_line(basis(one)))
        console.print(_pairs(one))
        console.print(_accuracies(one))
        for line in (bound(one), *coverage(one)):
            say(console, one_line(line))
    for line in READING:
        say(console, line)


def _pairs(one: Diversity) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("pair", overflow="fold")
    for measure in MEASURES.values():
        grid.add_column(measure.title, justify="right")
    for pair in one.pairs:
        values = (value_text(pair.measures[name]) for name in MEASURES)
        grid.add_row(*map(Text, (one_line(f"{pair.first}, {pair.second}"), *values)))
    if len(one.pairs) > 1:
        grid.add_section()
        grid.add_row(f"mean of {len(one.pairs)} pairs", *(value_text(one.mean[name]) for name in MEASURES))
    return grid


def _accuracies(one: Diversity) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column("", overflow="fold")
    for head in ("accuracy", "oracle of its members"):
        grid.add_column(head, justify="right")
    grid.add_row(f"oracle of all {len(one.methods)}", value_text(one.oracle), "")
    best = f"best of them: {one.best}"
    grid.add_row(Text(one_line(best)), value_text(one.accuracy[one.best]), "")
    for ensemble in one.ensembles:
        grid.add_row(
            Text(one_line(ensemble.name)), value_text(ensemble.accuracy), value_text(ensemble.oracle)
        )
    return grid


def _rows(one: Diversity) -> Iterator[tuple[str, str, str, str, Estimated]]:
    """Kind, names, measure and value of everything that was estimated."""
    for pair in one.pairs:
        for name, estimated in pair.measures.items():
            yield "pair", pair.first, pair.second, name, estimated
    for name, estimated in one.mean.items():
        yield "mean of pairs", "", "", name, estimated
    yield "oracle", "", "", "accuracy", one.oracle
    for method, estimated in one.accuracy.items():
        yield "method", method, "", "accuracy", estimated
    for ensemble in one.ensembles:
        yield "ensemble", ensemble.name, "", "accuracy", ensemble.accuracy
        yield "ensemble", ensemble.name, "", "oracle", ensemble.oracle


def as_csv(found: Sequence[Diversity]) -> str:
    """One line a value, with a header; what is not defined is empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADS)
    for one in found:
        for kind, first, second, measure, estimated in _rows(one):
            numbers = (estimated.value, *estimated.interval)
            cells = ["" if math.isnan(number) else repr(number) for number in numbers]
            writer.writerow([one.where, kind, first, second, measure, *cells, estimated.rounds])
    return stream.getvalue()


def as_json(found: Sequence[Diversity]) -> str:
    """A list, one object a table; what is not defined is null."""
    return json.dumps([_plain(one) for one in found], indent=2) + "\n"


def _plain(one: Diversity) -> dict[str, Any]:
    return {
        "where": one.where,
        "methods": list(one.methods),
        "rounds": list(one.rounds),
        "left_out": {str(number): list(names) for number, names in one.left_out.items()},
        "images": one.images,
        "groups": one.groups,
        "pairs": [
            {"first": pair.first, "second": pair.second, **_numbers_of(pair.measures)} for pair in one.pairs
        ],
        "mean": _numbers_of(one.mean),
        "oracle": _numbers(one.oracle),
        "best": one.best,
        "accuracy": _numbers_of(one.accuracy),
        "ensembles": [
            {
                "name": ensemble.name,
                "members": list(ensemble.members),
                "accuracy": _numbers(ensemble.accuracy),
                "oracle": _numbers(ensemble.oracle),
            }
            for ensemble in one.ensembles
        ],
    }


def _numbers_of(values: Any) -> dict[str, Any]:
    return {name: _numbers(estimated) for name, estimated in values.items()}


def _numbers(estimated: Estimated) -> dict[str, float | int | None]:
    named = {"value": estimated.value, "low": estimated.interval.low, "high": estimated.interval.high}
    return {
        **{name: None if math.isnan(number) else number for name, number in named.items()},
        "rounds": estimated.rounds,
    }
