"""What is asked of stored results: by options, by a study file, or by what records say was declared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.comparison.compare import Question
    from bench.registry import Registry
    from bench.results.record import Record


def declared_question(
    records: Iterable[Record],
    registry: Registry,
    datasets: Sequence[str] = (),
    metric: str = "",
    baseline: str = "",
    margin: float | None = None,
    study_file: Path | None = None,
    round_: int | None = None,
) -> tuple[Question, list[str]]:
    """What is compared, and warnings. What an option says goes before what was declared, and is then not
    declared any more. Raises UnknownName for a metric that is not installed, ConfigError for a bad study
    file."""
    from bench.comparison.compare import Question
    from bench.comparison.declared import declaration_of
    from bench.comparison.tables import choose_metrics
    from bench.parsing import parse
    from bench.study.config import read_study
    from bench.study.declaration import Declaration

    problems: list[str] = []
    declared: Declaration
    if study_file is not None:
        declared = parse(Declaration, read_study(study_file).evidence, "evidence")
    else:
        chosen = [record for record in records if not datasets or record.spec.dataset.name in datasets]
        declared, problems = declaration_of(chosen)
    asked = choose_metrics(registry, [name] if (name := metric or declared.metric) else [])[0]
    if baseline and baseline != declared.baseline:
        declared = Declaration(baseline=baseline, margin=declared.margin)  # another comparison
    if margin is not None and margin != declared.margin:
        declared = Declaration(baseline=declared.baseline, margin=margin)
    return Question(metric=asked, declared=declared, datasets=datasets, round=round_), problems
