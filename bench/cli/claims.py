"""`bench claims`: what a paper may write about stored results, and what it may not."""

from __future__ import annotations

from bench.cli.options import with_options
from bench.cli.question import QuestionOptions
from bench.cli.screen import contain, echo, installed_components
from bench.text import one_line


@with_options
def claims(asked: QuestionOptions) -> None:
    """Say which sentences stored results support, with their numbers, and which they do not, with the reason.

    Example: bench claims --dataset busi --metric auc --baseline imagenet
    """
    from bench.comparison.claims import as_text, claims_of
    from bench.comparison.judgements import judge_of
    from bench.results.score_cache import ScoreCache

    registry = contain(installed_components())
    question, tables = asked.tables(registry)
    results = asked.results
    judge = judge_of([question.metric], registry, results, ScoreCache(results))
    found = claims_of(tables, results, question, registry, judge)
    echo(as_text(found) or f"no finished runs in {one_line(str(results))}")
