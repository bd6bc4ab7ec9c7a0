"""What figures are drawn from: the rows of one table, and what their predictions and records say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.comparison.compare import Question, Table
from bench.comparison.evidence import Evidence, Sample, read_evidence, read_sample
from bench.comparison.judge import judge_rows
from bench.comparison.judged import Judged
from bench.comparison.methods import Method, find_method
from bench.comparison.rows import Label
from bench.errors import ConfigError, PluginError, StoreError, UnknownName
from bench.registry import Registry
from bench.results.record import Record
from bench.results.store import read_predictions

if TYPE_CHECKING:
    from bench.interfaces.predictions import Predictions

T = TypeVar("T")


class NothingToDraw(ConfigError):
    """A kind of figure that these results have nothing for: why, and what study would have it."""


Rounds = Mapping[int, "Predictions"]
"""Of one method, by round."""


def short_labels(labels: Sequence[Label]) -> tuple[str, ...]:
    """What drawings call rows: without the network where all have the same."""
    alike = len({label.model for label in labels}) == 1
    return tuple(("" if alike else f"{label.model} ") + label.method.replace(" + ", "+") for label in labels)


@dataclass(frozen=True, kw_only=True)
class Material:
    """One table, read as far as a figure asks.

    Attributes:
        table: rows that may be compared, with at least one finished round each.
        results: the folder they are stored in.
        registry: what is installed.
        question: by which metric they are compared, and what was declared.
        records: all of the folder, or none where figures of trainings and costs are not asked for.
    """

    table: Table
    results: Path
    registry: Registry
    question: Question
    records: Sequence[Record] = ()

    @property
    def methods(self) -> Sequence[Method]:
        return self.table.methods

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What drawings call the methods: without the network where all have the same."""
        return short_labels([method.label for method in self.methods])

    @cached_property
    def by_key(self) -> Mapping[str, Record]:
        """Finished units, by key."""
        own = {unit.spec.key: unit.record for method in self.methods for unit in method.done.values()}
        return {record.key: record for record in self.records if record.status == "done"} | own

    @cached_property
    def baseline(self) -> int | None:
        """The place of the row that others are compared with; None where there is none."""
        if not self.question.declared.baseline:
            return None
        try:
            return self.methods.index(find_method(self.methods, self.question.declared.baseline))
        except UnknownName:
            return None

    @cached_property
    def sample(self) -> Sample:
        """The test images. Raises StoreError for predictions or audits that cannot be read."""
        return read_sample(self.methods, self.results)

    @property
    def classes(self) -> tuple[str, ...]:
        return next(iter(self.sample.images.values())).classes

    @cached_property
    def evidence(self) -> Evidence:
        """Of all methods by the metric that is asked for. Raises StoreError for predictions that cannot be
        read, PluginError for a metric that cannot be computed."""
        metric = self.question.metric
        found, problems = read_evidence(self.sample, self.methods, [metric], self.registry)
        if problems:
            raise PluginError(problems[metric.name])
        return found[metric.name]

    @cached_property
    def judged(self) -> Sequence[Judged]:
        """What is said of each method by that metric."""
        return judge_rows(self.evidence)

    @cached_property
    def means(self) -> tuple[float, ...]:
        """Of each method by that metric, over the rounds in which it is defined; nan for none."""
        known = [row[row == row] for row in self.evidence.scores]
        return tuple(float(row.mean()) if len(row) else float("nan") for row in known)

    @cached_property
    def best(self) -> int:
        """The place of the method with the best mean."""
        sign = 1 if self.question.metric.higher_is_better else -1
        ordered = [(sign * mean, -place) for place, mean in enumerate(self.means) if mean == mean]
        return -max(ordered)[1] if ordered else 0

    @cached_property
    def prominent(self) -> tuple[int, ...]:
        """The places of the methods that a crowded figure tells most of: the best and the baseline; all where
        there are no more than three."""
        if len(self.methods) <= 3:
            return tuple(range(len(self.methods)))
        chosen = {self.best} | ({self.baseline} if self.baseline is not None else set())
        return tuple(sorted(chosen))

    @cached_property
    def tested(self) -> tuple[Rounds, ...]:
        """Of each method, its predictions of the test images of its rounds, with groups joined. Raises
        StoreError for predictions that cannot be read."""
        return tuple(
            {number: self.sample.predictions_of(unit) for number, unit in sorted(method.done.items())}
            for method in self.methods
        )

    def curves(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` gives, once for all figures that show it."""
        if name not in self._curves:
            self._curves[name] = compute()
        found: T = self._curves[name]
        return found

    @cached_property
    def _curves(self) -> dict[str, Any]:
        """Those that were asked for."""
        return {}

    @cached_property
    def validated(self) -> tuple[Rounds, ...]:
        """The same of validation images; rounds without any are left out."""
        found = []
        for method in self.methods:
            rounds: dict[int, Predictions] = {}
            for number, unit in sorted(method.done.items()):
                assert unit.record.path is not None  # stored records have one
                try:
                    rounds[number] = read_predictions(unit.record.path, "val", unit.record)
                except StoreError:  # the test part of the same file was read
                    continue
            found.append(rounds)
        return tuple(found)
