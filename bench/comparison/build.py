"""From scored units to comparison tables.

Only rows that may be compared share a table: the same images (by content), split settings, image size,
precision, fine-tuning and seed, and in every round the same split.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.comparison.footer import footer, protocol_text
from bench.comparison.reported import ReportedRow
from bench.comparison.rows import Label, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.identity import digest, to_json
from bench.interfaces.reporter import Table, Tables
from bench.interfaces.rows import Column, Estimate, Row
from bench.results.record import Cost
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec

Costs = Mapping[str, Cost | None]
"""Of runs, by their key."""


def build(
    scored: Iterable[ScoredUnit], columns: Sequence[Column], reported: Sequence[ReportedRow] = ()
) -> Tables:
    """One table per comparable set of units, in a fixed order. Own rows come first, runs before ensembles."""
    units = _once_each(scored)
    costs = {unit.spec.key: unit.record.cost for unit in units}
    groups = sorted(_comparable(units), key=lambda group: [_title(group), digest(_group_key(group[0]))])
    return Tables(_table(group, columns, costs, reported) for group in groups)


def _once_each(scored: Iterable[ScoredUnit]) -> list[ScoredUnit]:
    units: dict[str, ScoredUnit] = {}
    for unit in scored:
        known = units.setdefault(unit.spec.key, unit)
        if known.status != "done" and unit.status == "done":
            units[unit.spec.key] = unit
    return list(units.values())


# --- what may be compared ----------------------------------------------------------------------------


def _comparable(units: Sequence[ScoredUnit]) -> list[list[ScoredUnit]]:
    """Groups of units that share a table. A unit that failed before its images were read goes where its
    split and protocol fit; a failed pretraining goes to every table that could have used it."""
    known: dict[str, list[ScoredUnit]] = defaultdict(list)
    unplaced = []
    for unit in units:
        if isinstance(unit.spec, PretrainSpec) or not unit.content:
            unplaced.append(unit)
        else:
            known[digest(_group_key(unit))].append(unit)
    groups = [part for group in known.values() for part in _by_split(group)]
    for unit in sorted(unplaced, key=lambda u: u.spec.kind == "pretrain"):
        if unit.spec.kind == "pretrain" and unit.status == "done":
            continue
        fitting = [group for group in groups if _fits(unit, group)]
        if not fitting:
            groups.append([unit])
        for group in fitting if unit.spec.kind == "pretrain" else fitting[:1]:
            group.append(unit)
    return groups


def _by_split(group: list[ScoredUnit]) -> list[list[ScoredUnit]]:
    """Where two splits were used in one round, nothing says which rounds belong together: each of these
    splits gets a table of its own, and the other rounds share one."""
    splits: dict[int, set[str]] = defaultdict(set)
    for unit in group:
        splits[unit.spec.round].add(unit.spec.split)
    parts: dict[str, list[ScoredUnit]] = defaultdict(list)
    for unit in group:
        parts[unit.spec.split if len(splits[unit.spec.round]) > 1 else ""].append(unit)
    return list(parts.values())


def _fits(unit: ScoredUnit, group: list[ScoredUnit]) -> bool:
    own, shared = _protocol(unit.spec), _protocol(group[0].spec)
    if isinstance(unit.spec, PretrainSpec):
        own, shared = own[:3], shared[:3]  # fine-tuning is not a pretraining's
    same_round = {other.spec.split for other in group if other.spec.round == unit.spec.round}
    same_data = to_json(unit.spec.dataset) == to_json(group[0].spec.dataset)
    return same_data and own == shared and same_round <= {unit.spec.split}


def _group_key(unit: ScoredUnit) -> list[Any]:
    return [to_json(unit.spec.dataset), unit.content, unit.split, _protocol(unit.spec)]


def _protocol(spec: UnitSpec) -> list[Any]:
    """What the rows of a table share: size, precision, seed, fine-tuning."""
    if isinstance(spec, EnsembleSpec):
        members = [_protocol(member) for member in spec.members]
        return members[0] if all(m == members[0] for m in members) else [members]
    finetune = to_json(spec.finetune) if isinstance(spec, RunSpec) else None
    return [spec.size, spec.precision, spec.seed, finetune]


# --- one table ---------------------------------------------------------------------------------------


def _table(
    group: list[ScoredUnit],
    columns: Sequence[Column],
    costs: Costs,
    reported: Sequence[ReportedRow],
) -> Table:
    names = labels(unit.spec for unit in group)
    by_row: dict[str, list[ScoredUnit]] = defaultdict(list)
    for unit in sorted(group, key=lambda u: (u.spec.round, u.spec.kind)):
        by_row[row_id(unit.spec)].append(unit)
    own = [_row(units, names[i], columns, costs) for i, units in by_row.items()]
    own.sort(key=lambda row: (row.kind == "ensemble", row.model, row.method))
    published = [r for r in reported if r.dataset == group[0].spec.dataset.name]
    rows = (*own, *(_reported_row(r, columns) for r in published))
    sources = sorted({r.source for r in published})
    return Table(
        title=_title(group),
        protocol=protocol_text(group),
        columns=tuple(columns),
        rows=rows,
        footer=footer(group, rows, sources),
    )


def _title(group: Sequence[ScoredUnit]) -> str:
    return next((unit.title for unit in group if unit.title), group[0].spec.dataset.name)


def _row(units: list[ScoredUnit], label: Label, columns: Sequence[Column], costs: Costs) -> Row:
    """One method; `units` are its rounds, in order."""
    done = [unit for unit in units if unit.status == "done"]
    values = {c.name: [u.scores[c.name] for u in done if c.name in u.scores] for c in columns}
    notes = _causes(units)
    for column in columns:
        undefined = sum(math.isnan(value) for value in values[column.name])
        if undefined and done:
            notes.append(f"{column.title} is not defined in {undefined} of {len(done)} rounds")
        notes += _unscored(column, done)
    spec = units[0].spec
    rounds = {unit.spec.round for unit in units}
    return Row(
        kind="ensemble" if isinstance(spec, EnsembleSpec) else "run",
        model=label.model,
        method=label.method,
        rounds_done=len(done),
        rounds_asked=max(len(rounds), *(unit.record.asked.rounds for unit in units)),
        gmacs=_cost(done, costs, lambda cost: cost.macs, 1e9),
        mparams=_cost(done, costs, lambda cost: cost.params, 1e6),
        values={name: _estimate(per_round) for name, per_round in values.items() if per_round},
        note="; ".join(notes),
    )


def _unscored(column: Column, done: list[ScoredUnit]) -> list[str]:
    """Why a metric has no score in some rounds, the same cause once."""
    causes = Counter(unit.problems[column.name] for unit in done if column.name in unit.problems)
    return [
        f"{column.title} could not be computed in {times} of {len(done)} rounds: {cause}"
        for cause, times in causes.items()
    ]


def _estimate(values: list[float]) -> Estimate:
    """Mean and sample standard deviation of the rounds in which the metric is defined."""
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return Estimate(mean=math.nan)
    spread = statistics.stdev(defined) if len(defined) > 1 else None
    return Estimate(mean=statistics.fmean(defined), spread=spread)


def _causes(units: list[ScoredUnit]) -> list[str]:
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


def _cost(
    done: list[ScoredUnit], costs: Costs, count: Callable[[Cost], int | None], scale: float
) -> float | None:
    """Of a run, what its record says; of an ensemble, the sum over its members."""
    if not done:
        return None
    spec = done[0].spec
    members = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    counts = [count(cost) if (cost := costs.get(member.key)) else None for member in members]
    known = [value / scale for value in counts if value is not None]
    return sum(known) if len(known) == len(counts) else None


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
