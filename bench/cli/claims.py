"""`bench claims`: what a paper may write about stored results, and what it may not."""

from __future__ import annotations

from pathlib import Path

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
from bench.cli.screen import contain, echo, installed_components, warn
from bench.text import one_line


def claims(
    results: ResultsOption = Path("results"),
    dataset: DatasetsOption = None,
    metric: MetricOption = "",
    baseline: BaselineOption = "",
    margin: MarginOption = None,
    study_file: DeclaredOption = None,
) -> None:
    """Say which sentences stored results support, with their numbers, and which they do not, with the reason.

    Example: bench claims --dataset busi --metric auc --baseline imagenet
    """
    from bench.cli.declared import declared_question
    from bench.comparison.claims import as_text, claims_of
    from bench.comparison.compare import comparable_tables
    from bench.comparison.judgements import judge_of
    from bench.results.score_cache import ScoreCache
    from bench.results.store import scan

    registry = contain(installed_components())
    check_results(results, needed=True)
    records, warnings = scan(results)
    names = given_names("--dataset", dataset)
    question, problems = declared_question(records, registry, names, metric, baseline, margin, study_file)
    tables, damage = comparable_tables(records, results, question, registry)
    warn([*warnings, *problems, *damage])
    judge = judge_of([question.metric], registry, results, ScoreCache(results))
    found = claims_of(tables, results, question, registry, judge)
    echo(as_text(found) or f"no finished runs in {one_line(str(results))}")
