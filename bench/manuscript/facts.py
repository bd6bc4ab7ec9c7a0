"""What the records of one comparable set of units say, in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.footer import LEAST
from bench.comparison.labels import labels_text
from bench.comparison.rows import Label, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.errors import BenchError, StoreError, UnknownName, describe
from bench.identity import Ref
from bench.interfaces.metric import Metric
from bench.interfaces.selection import external_name
from bench.manuscript.bibliography import (
    ADJUSTMENT,
    OPTIMIZER,
    SCHEDULE,
    VARIANCE,
    Bibliography,
    Used,
    bibliography,
)
from bench.registry import Registry
from bench.results.record import DataSummary, Record
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Units that share a table, of which at least one has finished.

    Attributes:
        title: what tables call the data set.
        runs: finished fine-tunings, also those that are members of its ensembles alone.
        ensembles: finished ensembles.
        pretrainings: finished pretrainings that the runs start from.
        unfinished: units that failed or are damaged.
        results: the folder of the records.
        labels: which share of the labels was learned from; "" for all.
    """

    title: str
    runs: tuple[Record, ...]
    ensembles: tuple[Record, ...]
    pretrainings: tuple[Record, ...]
    unfinished: tuple[ScoredUnit, ...]
    results: Path
    labels: str = ""

    @property
    def heading(self) -> str:
        """What sets its chapter apart from others."""
        return f"{self.title}, {self.labels}" if self.labels else self.title

    @property
    def dataset(self) -> Ref:
        return self.evaluated[0].spec.dataset

    @property
    def evaluated(self) -> tuple[Record, ...]:
        """Finished units that have predictions."""
        return (*self.runs, *self.ensembles)

    @property
    def records(self) -> tuple[Record, ...]:
        """All finished units."""
        return (*self.pretrainings, *self.runs, *self.ensembles)

    @cached_property
    def specs(self) -> tuple[RunSpec, ...]:
        """The fine-tunings: those with a record, and members of ensembles whose record is gone."""
        members = [m for spec in self.ensemble_specs for m in spec.members]
        own = [record.spec for record in self.runs if isinstance(record.spec, RunSpec)]
        return tuple({spec.key: spec for spec in (*own, *members)}.values())

    @cached_property
    def ensemble_specs(self) -> tuple[EnsembleSpec, ...]:
        return tuple(r.spec for r in self.ensembles if isinstance(r.spec, EnsembleSpec))

    @cached_property
    def starts(self) -> tuple[PretrainSpec, ...]:
        """The pretrainings that runs start from, each once."""
        return tuple({s.start.key: s.start for s in self.specs if s.start}.values())

    @cached_property
    def data(self) -> dict[int, DataSummary]:
        """What is known of the images, by round."""
        known = ((record.spec.round, record.data) for record in self.evaluated if record.data)
        return dict(sorted(known, key=lambda pair: pair[0]))

    @property
    def rounds(self) -> list[int]:
        """Rounds in which something has finished."""
        return sorted({record.spec.round for record in self.evaluated})

    @cached_property
    def tested(self) -> bool:
        """Whether tables of it test differences: rounds enough that two methods share."""
        rounds: dict[str, set[int]] = {}
        for record in self.evaluated:
            rounds.setdefault(row_id(record.spec), set()).add(record.spec.round)
        own = list(rounds.values())
        return any(len(a & b) >= LEAST for i, a in enumerate(own) for b in own[:i])

    @cached_property
    def names(self) -> Mapping[str, Label]:
        """What tables call each method, by `row_id`."""
        return labels(record.spec for record in self.evaluated)

    def method(self, spec: RunSpec | EnsembleSpec) -> str:
        """What a method is called, with its network."""
        label = self.names[row_id(spec)]
        return f"{label.model} {label.method}"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a text is written from.

    Attributes:
        comparisons: sets of units that may be compared, each with its own chapter.
        metrics: of the tables that the text goes with.
        registry: the installed components.
        works: what is cited.
        warnings: what was left out.
    """

    comparisons: tuple[Comparison, ...]
    metrics: tuple[Metric, ...]
    registry: Registry
    works: Bibliography
    warnings: tuple[str, ...] = ()


def gather(
    records: Iterable[Record],
    results: Path,
    metrics: Sequence[Metric],
    registry: Registry,
    datasets: Sequence[str] = (),
) -> Material:
    """What these records, stored in the folder `results`, say. `datasets` are names; none means all.

    Raises UnknownName for a data set without results.
    """
    records = list(records)
    known = {record.spec.dataset.name for record in records}
    for name in datasets:
        if known and name not in known:
            raise UnknownName("dataset", name, known, f"(data sets with results in {results})")
    wanted = [record for record in records if not datasets or record.spec.dataset.name in datasets]
    by_key = {record.key: record for record in wanted if record.status == "done"}
    groups = comparable(once_each(ScoredUnit(record=r, damage=r.damage) for r in wanted))
    comparisons = [_comparison(group, by_key, results) for group in groups]
    warnings = [
        f"{title_of(group)}: nothing has finished of {len(group)} units (left out)"
        for group, comparison in zip(groups, comparisons, strict=True)
        if not comparison.evaluated
    ]
    told = tuple(comparison for comparison in comparisons if comparison.evaluated)
    packages = distinct(name for c in told for record in c.records for name in record.provenance.packages)
    ways = [OPTIMIZER, SCHEDULE]
    ways += [VARIANCE] if any(len(comparison.rounds) > 1 for comparison in told) else []
    ways += [ADJUSTMENT] if any(comparison.tested for comparison in told) else []
    works = bibliography(used_in(told), metrics, packages, registry, ways)
    return Material(
        comparisons=told,
        metrics=tuple(metrics),
        registry=registry,
        works=works,
        warnings=(*warnings, *works.warnings),
    )


@contextmanager
def telling(comparison: Comparison) -> Iterator[None]:
    """What no version of bench wrote in a record is an error that names its folder. Raises StoreError."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        raise StoreError(
            f"{comparison.results}: a record of {comparison.title} holds what cannot be told "
            f"({describe(error)}); `bench verify` names records that are damaged"
        ) from error


def _comparison(group: Sequence[ScoredUnit], by_key: Mapping[str, Record], results: Path) -> Comparison:
    done = [unit.record for unit in group if unit.status == "done"]
    ensembles = [record for record in done if isinstance(record.spec, EnsembleSpec)]
    members = [m.key for r in ensembles if isinstance(r.spec, EnsembleSpec) for m in r.spec.members]
    own = {record.key: record for record in done if isinstance(record.spec, RunSpec)}
    runs = own | {key: by_key[key] for key in members if key in by_key}
    starts = [r.spec.start.key for r in runs.values() if isinstance(r.spec, RunSpec) and r.spec.start]
    return Comparison(
        title=title_of(group),
        labels=labels_text(group),
        runs=tuple(runs.values()),
        ensembles=tuple(ensembles),
        pretrainings=tuple(by_key[key] for key in dict.fromkeys(starts) if key in by_key),
        unfinished=tuple(unit for unit in group if unit.status != "done"),
        results=results,
    )


def used_in(comparisons: Iterable[Comparison]) -> list[Used]:
    """The components that the records of these comparisons name, each once by name."""
    used: dict[tuple[str, str], Used] = {}
    for comparison in comparisons:
        named = [("dataset", comparison.dataset)]
        if external := external_name(comparison.dataset.params):
            named.append(("dataset", Ref(external)))
        for spec in comparison.specs:
            named += [("model", spec.model), ("strategy", spec.strategy)]
        named += [("ensemble", spec.ensemble) for spec in comparison.ensemble_specs]
        for kind, ref in named:
            used.setdefault((kind, ref.name), Used(kind, ref))
    return list(used.values())


def distinct(values: Iterable[T]) -> list[T]:
    """Each value once, in the order of their first occurrence; values need not be hashable."""
    seen: list[T] = []
    for value in values:
        if value not in seen:
            seen.append(value)
    return seen


def shared_by(items: Iterable[T], value: Callable[[T], V]) -> list[tuple[V, list[T]]]:
    """The distinct values of items, each with the items that have it, in the order of their first one."""
    groups: list[tuple[V, list[T]]] = []
    for item in items:
        own = value(item)
        for known, members in groups:
            if known == own:
                members.append(item)
                break
        else:
            groups.append((own, [item]))
    return groups
