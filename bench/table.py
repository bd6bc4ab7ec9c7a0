"""From scored units to comparison tables. No files, no plugins.

Only rows that may be compared share a table: the same images (by content), split settings, image size,
precision, fine-tuning and seed, and in every round the same split.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.footer import footer, protocol_text
from bench.rows import Label, labels, row_id
from bench.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec, digest, key, to_json
from bench.types import Column, Estimate, Row, Table

Counts = Mapping[str, Mapping[str, Sequence[int]]]
"""part -> class -> (images, groups)"""


@dataclass(frozen=True)
class Scored:
    """A unit's record with its scores on the test part; a failed unit has a reason instead."""

    spec: UnitSpec
    status: str  # "done"; anything else is shown as the cause of a missing round
    reason: str = ""
    asked_rounds: int = 0
    title: str = ""  # of the data set
    content: str = ""  # hash of the data set's images; "" where the unit failed before they were read
    cost: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    split: str = ""  # how the split was drawn, as text
    counts: Counts = field(default_factory=dict)
    audit: Mapping[str, Any] = field(default_factory=dict)  # what an audit says of the split
    device: str = ""  # that it was trained on: "cpu", "cuda" or "cuda:N"


@dataclass(frozen=True)
class ReportedRow:
    """One row of a published table."""

    dataset: str
    model: str
    values: Mapping[str, float]  # by metric name
    gmacs: float | None = None
    mparams: float | None = None
    source: str = ""


def build(
    scored: Iterable[Scored], columns: Sequence[Column], reported: Sequence[ReportedRow] = ()
) -> list[Table]:
    """One table a comparable set of units, in a fixed order. Own rows come first, runs before ensembles."""
    units = _once_each(scored)
    costs = {key(unit.spec): unit.cost for unit in units}
    groups = sorted(_comparable(units), key=lambda group: [_title(group), digest(_group_key(group[0]))])
    return [_table(group, columns, costs, reported) for group in groups]


def _once_each(scored: Iterable[Scored]) -> list[Scored]:
    units: dict[str, Scored] = {}
    for unit in scored:
        known = units.setdefault(key(unit.spec), unit)
        if known.status != "done" and unit.status == "done":
            units[key(unit.spec)] = unit
    return list(units.values())


# --- what may be compared ----------------------------------------------------------------------------


def _comparable(units: Sequence[Scored]) -> list[list[Scored]]:
    """Groups of units that share a table. A unit that failed before its images were read goes where its
    split and protocol fit; a failed pretraining goes to every table that could have used it."""
    known: dict[str, list[Scored]] = defaultdict(list)
    homeless = []
    for unit in units:
        if isinstance(unit.spec, PretrainSpec) or not unit.content:
            homeless.append(unit)
        else:
            known[digest(_group_key(unit))].append(unit)
    groups = [part for group in known.values() for part in _by_split(group)]
    for unit in sorted(homeless, key=lambda u: u.spec.kind == "pretrain"):
        if unit.spec.kind == "pretrain" and unit.status == "done":
            continue
        fitting = [group for group in groups if _fits(unit, group)]
        if not fitting:
            groups.append([unit])
        for group in fitting if unit.spec.kind == "pretrain" else fitting[:1]:
            group.append(unit)
    return groups


def _by_split(group: list[Scored]) -> list[list[Scored]]:
    """Where two splits were used in one round, nothing says which rounds belong together: each of these
    splits gets a table of its own, and the other rounds share one."""
    splits: dict[int, set[str]] = defaultdict(set)
    for unit in group:
        splits[unit.spec.round].add(unit.spec.split)
    parts: dict[str, list[Scored]] = defaultdict(list)
    for unit in group:
        parts[unit.spec.split if len(splits[unit.spec.round]) > 1 else ""].append(unit)
    return list(parts.values())


def _fits(unit: Scored, group: list[Scored]) -> bool:
    mine, theirs = _protocol(unit.spec), _protocol(group[0].spec)
    if isinstance(unit.spec, PretrainSpec):
        mine, theirs = mine[:3], theirs[:3]
    same_round = {other.spec.split for other in group if other.spec.round == unit.spec.round}
    same_data = to_json(unit.spec.dataset) == to_json(group[0].spec.dataset)
    return same_data and mine == theirs and same_round <= {unit.spec.split}


def _group_key(unit: Scored) -> list[Any]:
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
    group: list[Scored],
    columns: Sequence[Column],
    costs: Mapping[str, Mapping[str, Any]],
    reported: Sequence[ReportedRow],
) -> Table:
    names = labels(unit.spec for unit in group)
    by_row: dict[str, list[Scored]] = defaultdict(list)
    for unit in sorted(group, key=lambda u: (u.spec.round, u.spec.kind)):
        by_row[row_id(unit.spec)].append(unit)
    own = [_row(units, names[i], columns, costs) for i, units in by_row.items()]
    own.sort(key=lambda row: (row.kind == "ensemble", row.model, row.method))
    published = [r for r in reported if r.dataset == group[0].spec.dataset.name]
    rows = (*own, *(_reported_row(r, columns) for r in published))
    sources = sorted({r.source for r in published})
    return Table(_title(group), protocol_text(group), tuple(columns), rows, footer(group, rows, sources))


def _title(group: Sequence[Scored]) -> str:
    return next((unit.title for unit in group if unit.title), group[0].spec.dataset.name)


def _row(
    units: list[Scored], label: Label, columns: Sequence[Column], costs: Mapping[str, Mapping[str, Any]]
) -> Row:
    """One method; `units` are its rounds, in order."""
    done = [unit for unit in units if unit.status == "done"]
    values = {c.name: [u.scores[c.name] for u in done if c.name in u.scores] for c in columns}
    notes = _causes(units)
    for column in columns:
        undefined = sum(math.isnan(value) for value in values[column.name])
        if undefined and done:
            notes.append(f"{column.title} is not defined in {undefined} of {len(done)} rounds")
    spec = units[0].spec
    rounds = {unit.spec.round for unit in units}
    return Row(
        kind="ensemble" if isinstance(spec, EnsembleSpec) else "run",
        model=label.model,
        method=label.method,
        rounds_done=len(done),
        rounds_asked=max(len(rounds), *(unit.asked_rounds for unit in units)),
        gmacs=_cost(done, costs, "macs", 1e9),
        mparams=_cost(done, costs, "params", 1e6),
        values={name: _estimate(found) for name, found in values.items() if found},
        note="; ".join(notes),
    )


def _estimate(values: list[float]) -> Estimate:
    """Mean and sample standard deviation of the rounds in which the metric is defined."""
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return Estimate(math.nan)
    spread = statistics.stdev(defined) if len(defined) > 1 else None
    return Estimate(statistics.fmean(defined), spread)


def _causes(units: list[Scored]) -> list[str]:
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


def _cost(done: list[Scored], costs: Mapping[str, Mapping[str, Any]], name: str, unit: float) -> float | None:
    """Of a run, what its record says; of an ensemble, the sum over its members."""
    if not done:
        return None
    spec = done[0].spec
    members = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
    found = [costs.get(key(member), {}).get(name) for member in members]
    known = [value / unit for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None


def _reported_row(row: ReportedRow, columns: Sequence[Column]) -> Row:
    values = {c.name: Estimate(row.values[c.name]) for c in columns if c.name in row.values}
    return Row("reported", row.model, "reported", 0, 0, row.gmacs, row.mparams, values)
