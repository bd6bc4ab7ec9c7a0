"""The tables of results that a paper's tables can be compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.comparison.build import Shown
from bench.comparison.tables import tables_of
from bench.interfaces.reporter import Table
from bench.pack.paper.grid import Grid
from bench.pack.paper.names import loose, without_units
from bench.registry import Registry
from bench.results.record import Record

BY_SHARE, PER_CLASS = "by share of labels", "against the rest"
"""What the titles of such tables say."""


def tables_for(
    grids: Sequence[Grid], maps: Sequence[str], records: Sequence[Record], results: Path, registry: Registry
) -> tuple[list[Table], list[str]]:
    """The tables of these records by the metrics that the heads of `grids` name, and warnings: of published
    rows too, and by class and by share of labels where the paper has such."""
    heads = {loose(text) for text in _heads(grids, maps)}
    metrics = [metric for metric in registry.metrics.all() if _named(metric.name, metric.title, heads)]
    names = [metric.name for metric in metrics]
    texts = " ".join(_texts(grids)).casefold()
    shown = Shown(ranks=True, costs=True)
    found = [tables_of(records, results, names, reported=True, registry=registry, shown=shown)]
    if BY_SHARE in texts:
        by_share = Shown(ranks=True, by_share=True)
        found.append(tables_of(records, results, names, registry=registry, shown=by_share))
    if PER_CLASS in texts:
        from bench.comparison.per_class import per_class_tables

        found.append(per_class_tables(records, results, registry=registry, shown=shown))
    tables = [table for each in found for table in each.tables]
    return tables, list(dict.fromkeys(w for each in found for w in each.warnings))


def _named(name: str, title: str, heads: set[str]) -> bool:
    """Whether a head is this metric, or the metric with more: accuracy_sd, Rank by Accuracy."""
    spelled = (loose(name), loose(title))
    return any(head.startswith(spelled) or head.endswith(spelled) for head in heads)


def _heads(grids: Sequence[Grid], maps: Sequence[str]) -> Iterator[str]:
    for grid in grids:
        for row in grid.heads:
            for text in row.texts:
                yield text
                yield without_units(text)
        yield grid.around  # a table by share of labels names its metric there
        yield from grid.around.split(":")
    for text in maps:
        yield text.rpartition("=")[2]


def _texts(grids: Sequence[Grid]) -> Iterator[str]:
    for grid in grids:
        yield grid.around
        for row in (*grid.heads, *grid.rows):
            yield from row.texts
