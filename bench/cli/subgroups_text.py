"""Scores on subgroups as a reader sees them: a table for each method, and what its numbers are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table as Grid
from rich.text import Text

from bench.cli.screen import say
from bench.comparison.difference import Difference, Verdict
from bench.comparison.footer import FEW, LEAST
from bench.comparison.numbers import difference_numbers, plain
from bench.comparison.partition import Partition
from bench.comparison.sentences import UNDECIDED, amount, p_text, rounds_text, unit
from bench.comparison.subgroups import LEAST_GROUPS, Subgroup, SubgroupScores
from bench.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from bench.comparison.compare import Question
    from bench.interfaces.metric import Metric


@dataclass(frozen=True, kw_only=True)
class SubgroupTable:
    """The rows of one comparable table on the same subgroups.

    Attributes:
        where: data set, and protocol where several tables have it.
        partition: of the test images.
        rows: one a method.
    """

    where: str
    partition: Partition
    rows: tuple[SubgroupScores, ...]


def show(console: Console, tables: Sequence[SubgroupTable], question: Question) -> None:
    """Print everything."""
    for table in tables:
        for row in table.rows:
            say(console, one_line(_title(table, row, question.metric)))
            console.print(_grid(row, question.metric))
            console.print()
    for line in _footer(tables, question):
        say(console, one_line(line))


def _title(table: SubgroupTable, row: SubgroupScores, metric: Metric) -> str:
    score = "not defined" if math.isnan(row.score) else f"{row.score:.4f}"
    return (
        f"{table.where}, {row.method}, by {table.partition.by}: {metric.title} {score} on {row.images} test "
        f"images in {row.groups} groups, {rounds_text(len(row.rounds))}"
    )


def _grid(row: SubgroupScores, metric: Metric) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    interval = "\n[95 % interval]"
    points = f",{unit(metric)}" if unit(metric) else ""
    grid.add_column("subgroup", overflow="fold")
    for head in ("images", "groups"):
        grid.add_column(head, justify="right")
    grid.add_column(Text(metric.title + interval))
    grid.add_column(Text(f"less the rest{points}{interval}"))
    grid.add_column("p\n(Holm)", justify="right")
    grid.add_column("verdict", overflow="fold")
    for each in row.subgroups:
        cells = (
            each.name,
            str(each.images),
            str(each.groups),
            _score(each),
            _difference(each.difference, metric),
            _p(each.difference),
            _verdict(each, len(row.rounds)),
        )
        grid.add_row(*(Text(one_line(cell)) for cell in cells))
    return grid


def _score(each: Subgroup) -> str:
    if math.isnan(each.score):
        return "-"
    ends = "" if math.isnan(each.ends.low) else f" [{each.ends.low:.4f}, {each.ends.high:.4f}]"
    return f"{each.score:.4f}{ends}"


def _difference(one: Difference | None, metric: Metric) -> str:
    if one is None:
        return "-"
    low, high = (amount(metric, end, signed=True) for end in one.ends)
    value = amount(metric, one.value, signed=True)
    return value if math.isnan(one.ends.low) else f"{value} [{low}, {high}]"


def _p(one: Difference | None) -> str:
    if one is None or one.verdict in UNDECIDED:
        return "-"
    return p_text(one.adjusted).removeprefix("= ")


def _verdict(each: Subgroup, rounds: int) -> str:
    if each.difference is None:
        return each.untested
    verdict = each.difference.verdict
    text = "none" if verdict in (Verdict.ONE_ROUND, Verdict.TWO_ROUNDS) else verdict.value
    return text if len(each.rounds) == rounds else f"{text} ({len(each.rounds)} of {rounds} rounds)"


# --- what the numbers are ----------------------------------------------------------------------------


def _footer(tables: Sequence[SubgroupTable], question: Question) -> Iterator[str]:
    rows = [row for table in tables for row in table.rows]
    yield (
        f"{question.metric.title} of a subgroup is the mean over rounds of its value on the round's test "
        "images in it; images and groups are all that any round tests on."
    )
    yield from dict.fromkeys(table.partition.how for table in tables if table.partition.how)
    yield (
        "Less the rest: less the same method's on all other test images; positive where the subgroup is "
        "better. Intervals are of means, from test images (groups resampled, for subgroup, rest and all "
        "rounds at once; a difference varies at least as that of a random subgroup of as many groups) and "
        "from what rounds differ by beyond that (docs/subgroups.md)."
    )
    yield from _verdicts(rows, question)
    if any(each.groups < LEAST_GROUPS for row in rows for each in row.subgroups):
        yield f"Fewer than {LEAST_GROUPS} groups have no interval and no test."
    if any(table.partition.by != "class" for table in tables):
        yield "Subgroups can hold other shares of the classes, which alone moves a score."
    yield "Exploratory: no study named these subgroups before it was run."


def _verdicts(rows: Sequence[SubgroupScores], question: Question) -> Iterator[str]:
    rounds = max(len(row.rounds) for row in rows)
    if rounds < LEAST:
        yield f"{rounds_text(rounds)}: too few for any verdict."
        return
    tested = [one.comparisons for row in rows for each in row.subgroups if (one := each.difference)]
    if not tested:
        return
    margin = amount(question.metric, question.declared.margin) + unit(question.metric)
    counts = " or ".join(map(str, sorted(set(tested))))
    text = (
        f"Verdicts are at 5 %, by Holm's method over {counts} comparison{'s' * (max(tested) > 1)} of a row; "
        f"practically equal: within {margin}."
    )
    yield text + (f" {rounds} rounds are few for that." if rounds < FEW else "")


def as_json(tables: Sequence[SubgroupTable], question: Question) -> str:
    """A JSON list, one object a method and table; null where something is not defined."""
    return json.dumps([_row(t, row, question) for t in tables for row in t.rows], indent=2)


def _row(table: SubgroupTable, row: SubgroupScores, question: Question) -> dict[str, Any]:
    return {
        "where": table.where,
        "method": row.method,
        "by": table.partition.by,
        "metric": question.metric.name,
        "margin": question.declared.margin,
        "rounds": list(row.rounds),
        "images": row.images,
        "groups": row.groups,
        "score": plain(row.score),
        "subgroups": [
            {
                "name": each.name,
                "images": each.images,
                "groups": each.groups,
                "rounds": list(each.rounds),
                "score": plain(each.score),
                "low": plain(each.ends.low),
                "high": plain(each.ends.high),
                "difference_to_rest": difference_numbers(each.difference) if each.difference else None,
                "untested": each.untested or None,
            }
            for each in row.subgroups
        ],
    }
