"""From scored units to comparison tables."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.costs import COLUMNS, Records, cost_lines, costs_of, counted
from bench.comparison.curve import WithUnits, curve_tables
from bench.comparison.footer import evidence_lines, footer, protocol_text
from bench.comparison.judged import NOTHING, Judged
from bench.comparison.judgements import Judge, Judgements
from bench.comparison.labels import labelled_images
from bench.comparison.mended import beside_published
from bench.comparison.methods import Method, methods_of
from bench.comparison.reported import ReportedRow
from bench.comparison.scored import ScoredUnit
from bench.errors import UnknownName
from bench.interfaces.reporter import Table, Tables
from bench.interfaces.rows import UNCERTAINTIES, Column, Estimate, Row, Uncertainty
from bench.interfaces.selection import tested_on
from bench.study.spec import PretrainSpec, share_of


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a table shows beside the means of its metrics.

    Attributes:
        uncertainty: what stands beside a mean.
        ranks: whether ranks are shown.
        costs: whether what training and predicting took is shown.
        primary: name of the metric that the study was declared to be about; "" if none was.
        by_share: whether tables have a column for each share of labels, one table a metric.

    Raises UnknownName for an uncertainty that there is not.
    """

    uncertainty: Uncertainty = "interval"
    ranks: bool = False
    costs: bool = False
    primary: str = ""
    by_share: bool = False

    def __post_init__(self) -> None:
        if self.uncertainty not in UNCERTAINTIES:
            raise UnknownName("uncertainty", str(self.uncertainty), UNCERTAINTIES)


def build(
    scored: Iterable[ScoredUnit],
    columns: Sequence[Column],
    reported: Sequence[ReportedRow] = (),
    judge: Judge | None = None,
    shown: Shown | None = None,
    side_by_side: bool = True,
) -> Tables:
    """One table per comparable set of units, in a fixed order. Own rows come first, runs before ensembles.

    Without `judge`, rows have no intervals. With `side_by_side`, a table of a mended split has the figures of
    the split as published, if `scored` has those.
    """
    units = once_each(scored)
    records = {unit.spec.key: unit.record for unit in units}
    shown = shown or Shown()
    tables: list[WithUnits] = []
    for group in comparable(units):
        methods = methods_of(group)
        table = _table(group, methods, columns, records, reported, judge, shown)
        tables.append(WithUnits(group, methods, table))
    if shown.by_share:
        return Tables(curve_tables(tables))
    return Tables(beside_published(tables) if side_by_side else [one.table for one in tables])


# --- one table ---------------------------------------------------------------------------------------


def _table(
    group: list[ScoredUnit],
    methods: Sequence[Method],
    columns: Sequence[Column],
    records: Records,
    reported: Sequence[ReportedRow],
    judge: Judge | None,
    shown: Shown,
) -> Table:
    judged, remarks = judge(methods) if judge else Judgements({}, [])
    own = [
        _row(method, columns, records, {name: rows[i] for name, rows in judged.items()})
        for i, method in enumerate(methods)
    ]
    if shown.costs:
        own = [replace(row, costs=costs_of(m, records)) for row, m in zip(own, methods, strict=True)]
    dataset = group[0].spec.dataset
    published = [r for r in reported if r.dataset == dataset.name and not tested_on(dataset.params)]
    rows = (*own, *(_reported_row(r, columns) for r in published))
    sources = sorted({r.source for r in published})
    said = evidence_lines(own, columns, shown.uncertainty, shown.primary, group)
    said += cost_lines(methods, records) if shown.costs else []
    return Table(
        title=title_of(group),
        protocol=protocol_text(group),
        columns=tuple(columns),
        rows=rows,
        footer=(*said, *remarks, *footer(group, rows, sources)),
        costs=COLUMNS if shown.costs else (),
        uncertainty=shown.uncertainty,
        ranks=shown.ranks,
        share=share_of(group[0].spec),
        labelled=labelled_images(group),
    )


def _row(method: Method, columns: Sequence[Column], records: Records, judged: Mapping[str, Judged]) -> Row:
    units, done = method.units, list(method.done.values())
    values = {
        c.name: {number: u.scores[c.name] for number, u in method.done.items() if c.name in u.scores}
        for c in columns
    }
    notes = _causes(units)
    for column in columns:
        undefined = sum(map(math.isnan, values[column.name].values()))
        if undefined and done:
            notes.append(f"{column.title} is not defined in {undefined} of {len(done)} rounds")
        notes += _unscored(column, done)
    rounds = {unit.spec.round for unit in units}
    return Row(
        kind="ensemble" if method.is_ensemble else "run",
        model=method.label.model,
        method=method.label.method,
        rounds_done=len(done),
        rounds_asked=max(len(rounds), *(unit.record.asked.rounds for unit in units)),
        gmacs=counted(done, records, lambda cost: cost.macs, 1e9),
        mparams=counted(done, records, lambda cost: cost.params, 1e6),
        values={
            name: judged.get(name, NOTHING).of(_estimate(per_round))
            for name, per_round in values.items()
            if per_round
        },
        note="; ".join(notes),
    )


def _unscored(column: Column, done: list[ScoredUnit]) -> list[str]:
    """Why a metric has no score in some rounds, the same cause once."""
    causes = Counter(unit.problems[column.name] for unit in done if column.name in unit.problems)
    return [
        f"{column.title} could not be computed in {times} of {len(done)} rounds: {cause}"
        for cause, times in causes.items()
    ]


def _estimate(rounds: Mapping[int, float]) -> Estimate:
    """Mean and sample standard deviation of the rounds in which the metric is defined."""
    defined = [value for value in rounds.values() if not math.isnan(value)]
    if not defined:
        return Estimate(mean=math.nan, rounds=rounds)
    spread = statistics.stdev(defined) if len(defined) > 1 else None
    return Estimate(mean=statistics.fmean(defined), spread=spread, rounds=rounds)


def _causes(units: Sequence[ScoredUnit]) -> list[str]:
    """Why rounds are missing, the same cause once."""
    rounds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for unit in units:
        if unit.status != "done":
            state = "pretraining failed" if isinstance(unit.spec, PretrainSpec) else unit.status
            rounds[state, " ".join(unit.reason.split())].append(str(unit.spec.round))
    return [
        f"round{'s' * (len(numbers) > 1)} {', '.join(numbers)} {state}" + (f": {reason}" if reason else "")
        for (state, reason), numbers in rounds.items()
    ]


def _reported_row(row: ReportedRow, columns: Sequence[Column]) -> Row:
    values = {c.name: Estimate(mean=row.values[c.name]) for c in columns if c.name in row.values}
    return Row(
        kind="reported",
        model=row.model,
        method="reported",
        gmacs=row.gmacs,
        mparams=row.mparams,
        values=values,
    )
