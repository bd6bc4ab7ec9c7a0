"""Where one number of a table comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.comparison.again import command_of
from bench.comparison.build import build
from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.judgements import judge_of
from bench.comparison.methods import Method, find_method, methods_of
from bench.comparison.scored import ScoredUnit, score_records
from bench.comparison.tables import of_datasets
from bench.errors import ConfigError, UnknownName
from bench.interfaces import cells
from bench.interfaces.rows import Column, Estimate
from bench.interfaces.selection import external_name
from bench.registry import Registry
from bench.results.record import Provenance, Record
from bench.results.score_cache import ScoreCache
from bench.study.spec import EnsembleSpec, RunSpec

if TYPE_CHECKING:
    from bench.interfaces.metric import Metric


def explain(records: Iterable[Record], results: Path, cell: str, registry: Registry) -> tuple[str, list[str]]:
    """The value, its units with their hashes, the environment, and the command that makes it again, of the
    cell DATASET/ROW/METRIC, in every table that has it; and warnings.

    Raises ConfigError for a cell that is not written so, UnknownName for one that is not there.
    """
    dataset, row, name = _parts(cell)
    records = list(records)
    metric = registry.metrics.get(name)
    cache = ScoreCache(results)
    units, warnings = score_records(
        of_datasets(records, [dataset], results), [metric], registry, results, cache
    )
    groups = comparable(once_each(units))
    methods = [method for group in groups for method in methods_of(group)]
    found = []
    for group in groups:
        try:
            method = find_method(methods_of(group), row)
        except UnknownName:
            continue
        found.append(_explain(group, method, metric, registry, results, cache))
    if not found:
        find_method(methods, row)  # which says what is known
        raise ConfigError(f"{cell}: several rows are called so; name model and method, as in MODEL.METHOD")
    return "\n\n".join(found), warnings


def _parts(cell: str) -> tuple[str, str, str]:
    dataset, slash, rest = cell.partition("/")
    row, other, metric = rest.rpartition("/")
    if not (slash and other and dataset and row and metric):
        raise ConfigError(f"--why {cell!r}: must be DATASET/ROW/METRIC, say busi/egmae/auc")
    return dataset, row, metric


def _explain(
    group: Sequence[ScoredUnit],
    method: Method,
    metric: Metric,
    registry: Registry,
    results: Path,
    cache: ScoreCache,
) -> str:
    column = Column(name=metric.name, title=metric.title, higher_is_better=metric.higher_is_better)
    [table] = build(group, [column], judge=judge_of([metric], registry, results, cache))
    [row] = [r for r in table.rows if (r.model, r.method) == method.label]
    value = row.values.get(metric.name)
    cell = f"{title_of(group)} / {method.name} / {metric.title}"
    lines = [
        f"{cell}: {value_text(value)}, {cells.rounds(row)} rounds",
        f"  protocol     {table.protocol}",
        f"  metric       {metric.about}",
    ]
    for number, unit in method.done.items():
        lines += _unit(number, unit, metric.name, results)
    lines += [f"  remark       {note}" for note in ([row.note] if row.note else [])]
    lines += [f"  images       {line}" for line in images_of(method)]
    lines += [f"  environment  {line}" for line in environments_of(method)]
    if method.done:
        command, notes = again(method, row.rounds_asked, registry)
        lines.append(f"  again        {command}")
        lines += [f"               ({note})" for note in notes]
    return "\n".join(lines)


def again(method: Method, rounds_asked: int, registry: Registry) -> tuple[str, list[str]]:
    """The command that makes a row with a finished round again, and what must be said of it."""
    unit = next(iter(method.done.values()))
    rounds = max(rounds_asked, *(number + 1 for number in method.done))
    command, same = command_of(unit.record, rounds, registry)
    notes = []
    if not same:
        notes.append(
            "not to the same key: a plugin, a file of weights or a parameter is needed that this "
            "installation lacks"
        )
    data = unit.record.data
    notes += [
        f"with --set dataset.{unit.spec.dataset.name}.groups=FILE, your copy of {file}, unless it comes with "
        "the data set"
        for file in (data.reviewed if data else ())
    ]
    if other := external_name(unit.spec.dataset.params):
        notes.append(f'with test_on="{other}:PATH" where its images lie elsewhere')
    notes.append("with --data where the images lie, unless they are where `bench` looks")
    return command, notes


def value_text(value: Estimate | None) -> str:
    """The mean, its deviation over rounds and its interval."""
    text = cells.mean(value)
    if spread := cells.spread(value):
        text += f", SD over rounds {spread}"
    if interval := cells.interval(value):
        text += f", 95 % interval {interval}"
    return text


def _unit(number: int, unit: ScoredUnit, metric: str, results: Path) -> list[str]:
    spec, path = unit.spec, unit.record.path
    score = unit.scores.get(metric)
    scored = "-" if score is None else f"{score:.4f}"
    lines = [
        f"  round {number:<6} {scored}  key {spec.key}  split {spec.split[:16]}  "
        f"predictions sha256 {unit.sha256[:16]}"
    ]
    if path:
        lines.append(f"               {os.path.relpath(path, results)}")
    if isinstance(spec, EnsembleSpec):
        lines.append(f"               of {', '.join(member.key for member in spec.members)}")
        lines += [f"               {unit.record.rule}"] * bool(unit.record.rule)
    elif isinstance(spec, RunSpec) and spec.start:
        lines.append(f"               from pretraining {spec.start.key}")
    elif unit.record.weights:
        lines.append(f"               from weights {unit.record.weights}")
    return lines


def images_of(method: Method) -> list[str]:
    """Hashes of the images that a row saw, and how they were split."""
    texts: dict[str, None] = {}
    for unit in method.done.values():
        audit = f", audit {unit.audit.audit[:16]}" if unit.audit else ""
        texts[f"content sha256 {unit.content[:16]}{audit}, split {unit.split}"] = None
    return list(texts)


def environments_of(method: Method) -> list[str]:
    """The versions and machines that a row was computed with, each once."""
    return list(dict.fromkeys(environment_text(unit.record.provenance) for unit in method.done.values()))


def environment_text(made: Provenance) -> str:
    """Versions, source and machine."""
    parts = [f"{name} {version}" for name, version in made.packages.items()]
    if made.git:
        changed = " (changed)" if made.git.get("changed") else ""
        parts.append(f"git {str(made.git.get('commit', ''))[:12]}{changed}")
    parts += [f"Python {made.python}"] * bool(made.python)
    parts += [made.platform] * bool(made.platform)
    hardware = ", ".join(
        f"{name} {value}" for name, value in made.hardware.items() if value not in (None, "")
    )
    return "; ".join(filter(None, [", ".join(parts), hardware]))
