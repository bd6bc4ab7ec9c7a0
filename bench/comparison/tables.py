"""Comparison tables of stored records."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.build import Shown, build
from bench.comparison.declared import declaration_of
from bench.comparison.judgements import judge_of
from bench.comparison.reported import load_reported
from bench.comparison.scored import ScoredUnit, score_records
from bench.errors import UnknownName, describe
from bench.interfaces.reporter import Tables
from bench.interfaces.rows import Column
from bench.registry import Registry, installed
from bench.results.record import Record
from bench.results.score_cache import ScoreCache

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric


log = logging.getLogger("bench")


class Compared(NamedTuple):
    """Tables, and what a user should know of damaged results."""

    tables: Tables
    warnings: list[str]


def tables_of(
    records: Iterable[Record],
    results: Path,
    metrics: Sequence[str] = (),
    *,
    datasets: Sequence[str] = (),
    reported: bool = False,
    registry: Registry | None = None,
    shown: Shown | None = None,
) -> Compared:
    """Tables of these records, stored in the folder `results`.

    `metrics` and `datasets` are names; none means the default metrics and all data sets. Raises UnknownName
    for a metric that is not installed or a data set without results. What is wrong with one record, metric or
    cell is said in its row and among the warnings, and leaves the rest as it is.
    """
    wanted = of_datasets(records, datasets, results)
    registry = registry or installed()
    chosen = choose_metrics(registry, metrics)
    shown = replace(shown or Shown(), primary=declaration_of(wanted)[0].metric)
    cache = ScoreCache(results)
    units, warnings = score_records(wanted, chosen, registry, results, cache)
    columns = [Column(name=m.name, title=m.title, higher_is_better=m.higher_is_better) for m in chosen]
    judge = judge_of(chosen, registry, results, cache)
    published = load_reported() if reported else ()
    try:
        tables = build(units, columns, published, judge, shown)
    except Exception as error:  # a record that holds what no version of bench wrote
        sane, causes = apart(units, columns)
        if not causes:
            raise
        log.debug("a record cannot be shown", exc_info=error)
        warnings = [*warnings, *causes]
        tables = build(sane, columns, published, judge, shown)
    cache.save()
    return Compared(tables, warnings)


def of_datasets(records: Iterable[Record], datasets: Sequence[str], results: Path) -> list[Record]:
    """The records of these data sets, of all without names. Raises UnknownName for a data set without
    records in the folder `results`."""
    records = list(records)
    known = {record.spec.dataset.name for record in records}
    for name in datasets:
        if known and name not in known:
            raise UnknownName("dataset", name, known, f"(data sets with results in {results})")
    return [record for record in records if not datasets or record.spec.dataset.name in datasets]


def apart(units: Sequence[ScoredUnit], columns: Sequence[Column]) -> tuple[list[ScoredUnit], list[str]]:
    """The units that a table can be made of, and why not of the others."""
    sane, causes = [], []
    for unit in units:
        try:
            build([unit], columns)
            sane.append(unit)
        except Exception as error:
            causes.append(
                f"{unit.record.path}: its record holds what cannot be shown ({describe(error)}); "
                "delete this folder and repeat the command that made it (left out)"
            )
    return sane, causes


def choose_metrics(registry: Registry, names: Sequence[str]) -> list[Metric]:
    """The metrics called `names`, once each; without names, the default ones. Raises UnknownName."""
    if names:
        return [registry.metrics.get(name) for name in dict.fromkeys(names)]
    return [metric for metric in registry.metrics.all() if metric.default]
