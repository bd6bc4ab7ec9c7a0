"""What is asked of stored results, where it is not all said: the rest is what studies declared."""

from __future__ import annotations

from collections.abc import Sequence

from bench.comparison.compare import Question
from bench.comparison.declared import declaration_of
from bench.comparison.tables import choose_metrics
from bench.registry import Registry
from bench.results.record import Record
from bench.study.declaration import Declaration


def question_of(
    records: Sequence[Record],
    registry: Registry,
    *,
    metric: str = "",
    baseline: str = "",
    margin: float | None = None,
    datasets: Sequence[str] = (),
    round: int | None = None,
    declared: Declaration | None = None,
) -> tuple[Question, list[str]]:
    """With warnings. What the user says (`metric`, `baseline`, `margin`) goes before what was declared, and
    is then not declared any more; `declared` goes before what records say was declared.

    Raises UnknownName for a metric that is not installed.
    """
    problems: list[str] = []
    if declared is None:
        chosen = [record for record in records if not datasets or record.spec.dataset.name in datasets]
        declared, problems = declaration_of(chosen)
    name = metric or declared.metric
    asked = choose_metrics(registry, [name] if name else [])[0]
    if baseline and baseline != declared.baseline:
        declared = Declaration(baseline=baseline, margin=declared.margin)  # another comparison
    if margin is not None and margin != declared.margin:
        declared = Declaration(baseline=declared.baseline, margin=margin)
    return Question(metric=asked, declared=declared, datasets=datasets, round=round), problems
