"""Tables of each class against the rest, at thresholds that validation images choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.build import Shown, build
from bench.comparison.comparable import comparable, once_each, title_of
from bench.comparison.declared import declaration_of
from bench.comparison.evidence import Evidence, Sample, See, read_evidence, read_sample
from bench.comparison.judge import judge_rows
from bench.comparison.judged import Judged
from bench.comparison.judgements import Judgements
from bench.comparison.methods import Method, methods_of
from bench.comparison.one_class import AT_THRESHOLD, against_rest, choose_measures, decided, thresholds_of
from bench.comparison.scored import KEPT, ScoredUnit, score_records
from bench.comparison.tables import Compared, of_datasets
from bench.errors import BenchError, StoreError
from bench.interfaces.reporter import Table, Tables
from bench.interfaces.rows import Column
from bench.registry import Registry, installed
from bench.results.record import Record
from bench.results.score_cache import ScoreCache
from bench.results.store import read_predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.metric import Metric

NEEDS_THRESHOLD = frozenset(measure.name for measure in AT_THRESHOLD)


@dataclass(frozen=True)
class _Group:
    """Units that may be compared.

    Attributes:
        methods: the rows.
        sample: their test images.
        thresholds: of each class, by the key of a finished unit; nan where its validation images choose none.
        pretrained: finished pretrainings of any group, which cost tables know of.
    """

    methods: Sequence[Method]
    sample: Sample
    thresholds: Mapping[str, NDArray[np.float64]]
    pretrained: Sequence[ScoredUnit]

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.sample.images.values())).classes


def per_class_tables(
    records: Iterable[Record],
    results: Path,
    measures: Sequence[str] = (),
    *,
    datasets: Sequence[str] = (),
    registry: Registry | None = None,
    shown: Shown | None = None,
) -> Compared:
    """For each set of records of the folder `results` that may be compared, a table of each class.

    Rows are those of `tables_of`, columns the `measures` of `one_class.MEASURES` by name, all of them without
    names. A class that no round tests has no table. Raises UnknownName for a measure that there is not or a
    data set without results. What cannot be read is said in its row and among the warnings.
    """
    columns = choose_measures(measures)
    registry = registry or installed()
    cache = ScoreCache(results)
    wanted = of_datasets(records, datasets, results)
    declared = declaration_of(wanted)[0].metric
    units, warnings = score_records(wanted, [], registry, results, cache)
    cache.save()
    tables: list[Table] = []
    units = once_each(units)
    pretrained = [unit for unit in units if unit.spec.kind == "pretrain" and unit.status == "done"]
    for group in comparable(units):
        readable, thresholds, problems = _with_thresholds(group)
        warnings += problems
        if not thresholds:
            warnings.append(f"{title_of(group)}: no finished unit, so no table of its classes")
            continue
        methods = methods_of(readable)
        try:
            whole = _Group(methods, read_sample(methods, results), thresholds, pretrained)
            for class_ in range(len(whole.classes)):
                tables += _tables_of(whole, class_, columns, registry, shown, declared)
        except BenchError as error:
            warnings.append(f"{title_of(group)}: no table of its classes: {error}")
    return Compared(Tables(tables), warnings)


def _with_thresholds(
    group: Sequence[ScoredUnit],
) -> tuple[list[ScoredUnit], dict[str, NDArray[np.float64]], list[str]]:
    """The units with their predictions as far as memory should hold them, those that cannot be read as
    damaged; their thresholds; and warnings."""
    units: list[ScoredUnit] = []
    thresholds: dict[str, NDArray[np.float64]] = {}
    warnings: list[str] = []
    kept = 0  # images
    for unit in group:
        path = unit.record.path
        if unit.status != "done" or path is None:
            units.append(unit)
            continue
        try:
            chosen = thresholds_of(read_predictions(path, "val", unit.record))
            test = read_predictions(path, "test", unit.record)
        except StoreError as error:
            warnings.append(str(error))
            cause = getattr(error, "cause", "its predictions cannot be read")
            units.append(replace(unit, damage=cause))
            continue
        thresholds[unit.spec.key] = chosen
        kept += len(test.ids)
        units.append(replace(unit, test=test if kept < KEPT else None))
    return units, thresholds, warnings


def _tables_of(
    group: _Group,
    class_: int,
    measures: Sequence[Metric],
    registry: Registry,
    shown: Shown | None,
    declared: str,
) -> list[Table]:
    """The table of one class; none if no round tests an image of it. `declared` is the study's metric."""
    methods, sample, name = group.methods, group.sample, group.classes[class_]
    tested = _rounds_of(sample, [n for n, one in sample.images.items() if (one.labels == class_).any()])
    if not tested.images:
        return []

    def chosen(unit: ScoredUnit) -> float:
        return float(group.thresholds[unit.spec.key][class_])

    deciding = [Method(m.label, tuple(u for u in m.units if _can_decide(u, chosen))) for m in methods]
    decidable = _rounds_of(tested, {number for method in deciding for number in method.done})
    views: list[tuple[Sequence[Method], Sample, bool, See]] = [
        (deciding, decidable, True, lambda unit, one: decided(one, class_, chosen(unit))),
        (methods, tested, False, lambda _, one: against_rest(one, class_)),
    ]
    evidence: dict[str, Evidence] = {}
    problems: dict[str, str] = {}
    for rows, images, at_threshold, see in views:
        seen = [m for m in measures if (m.name in NEEDS_THRESHOLD) == at_threshold]
        if seen and images.images:
            found = read_evidence(images, rows, seen, registry, see)
            evidence |= found.evidence
            problems |= found.problems
    units = [unit for i, method in enumerate(methods) for unit in _scored(method, i, evidence)]
    judged = {measure: judge_rows(one) for measure, one in evidence.items()}
    columns = [Column(name=m.name, title=m.title, higher_is_better=m.higher_is_better) for m in measures]
    judge = partial(_judge, judged, list(dict.fromkeys(problems.values())))
    undecided = {
        unit.spec.round
        for method in methods
        for unit in method.done.values()
        if unit.spec.round in tested.images and not _can_decide(unit, chosen)
    }
    footer = _footer(name, sorted(sample.images.keys() - tested.images.keys()), sorted(undecided), measures)
    if declared:
        footer.append(
            f"Exploratory: declared was {declared} over all classes, not what is said of one class."
        )
    return [
        replace(table, title=f"{table.title}: {name} against the rest", footer=(*footer, *table.footer))
        for table in build([*units, *group.pretrained], columns, judge=judge, shown=shown, side_by_side=False)
    ]


def _rounds_of(sample: Sample, rounds: Collection[int]) -> Sample:
    """The sample with these of its rounds alone."""
    return replace(sample, images={n: one for n, one in sample.images.items() if n in rounds})


def _can_decide(unit: ScoredUnit, chosen: Callable[[ScoredUnit], float]) -> bool:
    return unit.status == "done" and not math.isnan(chosen(unit))


def _judge(
    judged: Mapping[str, Sequence[Judged]], problems: Sequence[str], _: Sequence[Method]
) -> Judgements:
    return Judgements(judged, [f"Not judged: {problem}" for problem in problems])


def _scored(method: Method, place: int, evidence: Mapping[str, Evidence]) -> Iterator[ScoredUnit]:
    """The units of a method, whose place in the evidence is `place`, with what is measured of the class: a
    round that does not test it, or without a threshold, has none of that."""
    for unit in method.units:
        scores = {
            name: float(one.scores[place, one.rounds.index(unit.spec.round)])
            for name, one in evidence.items()
            if unit.spec.round in one.rounds and unit.status == "done"
        }
        yield replace(unit, scores=scores)


def _footer(
    name: str, untested: Sequence[int], undecided: Sequence[int], measures: Sequence[Metric]
) -> list[str]:
    lines = []
    at_threshold = [measure.title for measure in measures if measure.name in NEEDS_THRESHOLD]
    if at_threshold:
        lines.append(
            f"{_joined(at_threshold)}: an image counts as {name} if its probability of {name} is not below a "
            "threshold, which each unit's own validation images choose by Youden's J (sensitivity + "
            "specificity - 1); of equally good thresholds, the smallest."
        )
    if untested:
        lines.append(f"No test image of {name} in {_listed(untested)}: nothing here is of that.")
    if undecided and at_threshold:
        lines.append(
            f"No threshold in {_listed(undecided)}, where no validation image is of {name}, or all are: "
            f"{_joined(at_threshold)} are of the other rounds."
        )
    return lines


def _joined(titles: Sequence[str]) -> str:
    return " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]


def _listed(numbers: Sequence[int]) -> str:
    return f"round{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
