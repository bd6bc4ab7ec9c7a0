"""What is asked of stored results: by options, by a study file, or by what records say was declared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import (
    BaselineOption,
    DatasetsOption,
    DeclaredOption,
    MarginOption,
    MetricOption,
    ResultsOption,
    check_results,
    given_names,
)
from bench.cli.screen import warn

if TYPE_CHECKING:
    from bench.comparison.compare import Question, Table
    from bench.registry import Registry
    from bench.results.record import Record
    from bench.study.declaration import Declaration


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """Which results are compared by which metric, for every command that compares."""

    results: ResultsOption = Path("results")
    dataset: DatasetsOption = None
    metric: MetricOption = ""
    baseline: BaselineOption = ""
    margin: MarginOption = None
    study_file: DeclaredOption = None

    def tables(self, registry: Registry, round_: int | None = None) -> tuple[Question, list[Table]]:
        """What is asked, and the tables to answer it from, of one round alone if it is given. What is wrong
        with stored results is said on stderr.

        Raises UnknownName for a metric that is not installed or a data set without results, ConfigError for
        a folder that is missing, or a bad study file.
        """
        from bench.comparison.compare import comparable_tables

        question, records = self.question(registry, round_)
        tables, damage = comparable_tables(records, self.results, question, registry)
        warn(damage)
        return question, tables

    def question(self, registry: Registry, round_: int | None = None) -> tuple[Question, list[Record]]:
        """What is asked, and all stored records. What is wrong with these is said on stderr.

        Raises UnknownName for a metric that is not installed, ConfigError for a folder that is missing, or a
        bad study file.
        """
        from bench.comparison.asked import question_of
        from bench.results.store import scan

        check_results(self.results, needed=True)
        records, warnings = scan(self.results)
        question, problems = question_of(
            records,
            registry,
            metric=self.metric,
            baseline=self.baseline,
            margin=self.margin,
            datasets=given_names("--dataset", self.dataset),
            round=round_,
            declared=self._declared(),
        )
        warn([*warnings, *problems])
        return question, records

    def _declared(self) -> Declaration | None:
        """What the study file declares; None without one. Raises ConfigError."""
        from bench.parsing import parse
        from bench.study.config import read_study
        from bench.study.declaration import Declaration

        if self.study_file is None:
            return None
        declared: Declaration = parse(Declaration, read_study(self.study_file).evidence, "evidence")
        return declared
