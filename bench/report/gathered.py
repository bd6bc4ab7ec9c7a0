"""What the sections of a report are made from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.build import Shown, build
from bench.comparison.comparable import comparable, once_each
from bench.comparison.compare import Compared, Question, Table, compare_all, tables_of_groups
from bench.comparison.judgements import judge_of
from bench.comparison.methods import find_method
from bench.comparison.scored import ScoredUnit, score_records
from bench.comparison.tables import apart, choose_metrics, of_datasets
from bench.errors import ConfigError, UnknownName
from bench.interfaces.reporter import Table as Rendered
from bench.interfaces.rows import Column
from bench.registry import Registry
from bench.results.record import Record
from bench.results.score_cache import ScoreCache
from bench.study.declaration import Declaration

if TYPE_CHECKING:
    from bench.execution.pictures import Locate
    from bench.execution.session import Session
    from bench.interfaces.metric import Metric

log = logging.getLogger("bench")


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Stored results, read once for all sections.

    Attributes:
        results: the folder they lie in.
        registry: what is installed.
        question: by which metric methods are compared, and what was declared.
        tables: rows that may be compared, one table each.
        records: all of the chosen data sets, failures and pretrainings too.
        session: opens images of data sets; None where no picture of an image is wanted.
        pictures: whether the user asked for pictures of images (True) or none (False); None leaves it to the
            licence of each data set.
        locate: gives a data set the places of its files that results do not keep; None where none are given.
        metrics: of the main tables, the one of the question first.
        rendered: of each of `tables`, what `bench table` shows of it.
        unfinished: of what nothing has finished, data set and units.
        warnings: what was left out, and what could not be computed.
    """

    results: Path
    registry: Registry
    question: Question
    tables: Sequence[Table]
    records: Sequence[Record]
    session: Session | None = None
    pictures: bool | None = None
    locate: Locate | None = None
    metrics: Sequence[Metric] = ()
    rendered: Sequence[Rendered] = ()
    unfinished: Sequence[Sequence[ScoredUnit]] = ()
    warnings: Sequence[str] = ()

    @cached_property
    def compared(self) -> Sequence[Compared]:
        """All pairs of rows of each table, or every row with the baseline; none of a table without that.
        Raises PluginError for a metric that cannot be computed."""
        return compare_all(self.tables, self.results, self.question, self.registry)


def gather(
    records: Sequence[Record],
    results: Path,
    question: Question,
    registry: Registry,
    session: Session | None = None,
    pictures: bool | None = None,
    baseline_asked: bool = False,
) -> Gathered:
    """The records of the folder `results`, scored, judged and put into tables.

    A record that cannot be told of is left out, with a warning. Where no table has the baseline that a study
    declared, or has several of its name, all pairs are compared, with a warning; it is an error if the user
    named it (`baseline_asked`). Raises UnknownName or ConfigError for that, and for a data set without
    results.
    """
    chosen = of_datasets(records, question.datasets, results)
    metrics = list(dict.fromkeys([question.metric.name, *(m.name for m in choose_metrics(registry, []))]))
    shown = [registry.metrics.get(name) for name in metrics]
    columns = [Column(name=m.name, title=m.title, higher_is_better=m.higher_is_better) for m in shown]
    cache = ScoreCache(results)
    units, warnings = score_records(chosen, shown, registry, results, cache)
    units, left_out = _tellable(units, columns)
    groups = comparable(once_each(units))
    judge = judge_of(shown, registry, results, cache)
    rendered = build(units, columns, judge=judge, shown=Shown(primary=question.declared.metric))
    cache.save()
    tables = tables_of_groups(groups)
    if problem := _baseline_problem(tables, question.declared.baseline):
        if baseline_asked:
            raise problem
        question = replace(question, declared=Declaration(margin=question.declared.margin))
        warnings.append(f"the declared baseline cannot be compared with, so all pairs are: {problem}")
    told = [(table, of) for table, of in zip(tables, rendered, strict=True) if table.methods]
    kept = {unit.record.key for unit in units}
    return Gathered(
        results=results,
        registry=registry,
        question=question,
        tables=[table for table, _ in told],
        records=[record for record in chosen if record.key in kept],
        session=session,
        pictures=pictures,
        metrics=shown,
        rendered=[of for _, of in told],
        unfinished=[group for group in groups if all(unit.status != "done" for unit in group)],
        warnings=[*warnings, *left_out],
    )


def _baseline_problem(tables: Sequence[Table], baseline: str) -> ConfigError | None:
    """Why nothing can be compared with the baseline; None where something can, or there is none."""
    methods = [method for table in tables for method in table.methods]
    if not baseline or not methods:
        return None
    for table in tables:
        try:
            find_method(table.methods, baseline)
            return None
        except UnknownName:
            continue
        except ConfigError as error:
            return error
    try:
        find_method(methods, baseline)
    except ConfigError as error:
        return error
    return None


def _tellable(units: list[ScoredUnit], columns: Sequence[Column]) -> tuple[list[ScoredUnit], list[str]]:
    """The units that tables can be made of, and why not of the others."""
    try:
        build(units, columns)
    except Exception as error:  # a record that holds what no version of bench wrote
        sane, causes = apart(units, columns)
        if not causes:
            raise
        log.debug("a record cannot be shown", exc_info=error)
        return sane, causes
    return units, []
