"""What a study could not show: claims that must not be made of it, and why; what is missing from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.comparison.claims import Claims, Refused, claims_of
from bench.comparison.compare import Compared, Table
from bench.comparison.footer import FEW, LEAST, audit_lines
from bench.comparison.judgements import judge_of
from bench.comparison.sentences import UNDECIDED, amount, rounds_text, unit
from bench.interfaces.metric import Metric
from bench.interfaces.reporter import Table as Rendered
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render
from bench.results.score_cache import ScoreCache


class Limits(NamedTuple):
    """Of one table.

    Attributes:
        where: what the table is called.
        power: how small a difference it could show, and with how many rounds.
        refused: sentences about the study as a whole that must not be written.
        of_pairs: such sentences about two methods.
        missing: rounds, values and checks that are not there.
        may: sentences that may be written.
    """

    where: str
    power: Sequence[str]
    refused: Sequence[Refused]
    of_pairs: Sequence[Refused]
    missing: Sequence[str]
    may: Sequence[str]


def limits_sections(gathered: Gathered) -> list[Section]:
    """None without a finished run: the first section says that then."""
    if not gathered.tables:
        return []
    question, results = gathered.question, gathered.results
    judge = judge_of([question.metric], gathered.registry, results, ScoreCache(results))
    claims = claims_of(gathered.tables, results, question, gathered.registry, judge, known=gathered.compared)
    compared = {one.where: one for one in gathered.compared}
    limits = [
        _limits(table, rendered, of, compared.get(table.where), question.metric)
        for table, rendered, of in zip(gathered.tables, gathered.rendered, claims, strict=True)
    ]
    names = [group[0].spec.dataset.name for group in gathered.unfinished]
    html = render(
        "limits.html",
        limits=limits,
        unfinished=names,
        several=_several(gathered),
        warnings=gathered.warnings,
    )
    return [Section("limits", "What this study could not show", html)]


def _limits(
    table: Table, rendered: Rendered, claims: Claims, compared: Compared | None, metric: Metric
) -> Limits:
    units = [unit for method in table.methods for unit in method.done.values()]
    missing = [f"{row.model} {row.method}: {row.note}." for row in rendered.rows if row.note]
    return Limits(
        where=table.where,
        power=list(_power(table, compared, metric)),
        refused=[one for one in claims.may_not if not one.of_pair],
        of_pairs=[one for one in claims.may_not if one.of_pair],
        missing=[*_undefined(rendered), *missing, *audit_lines(units)],
        may=claims.may,
    )


def _power(table: Table, compared: Compared | None, metric: Metric) -> Iterator[str]:
    """How many rounds there are, and which differences would have been found."""
    rounds = max(len(method.done) for method in table.methods)
    if rounds < LEAST:
        yield (
            f"{rounds_text(rounds)}: too few for any verdict. It takes {LEAST} to test a difference, and "
            f"{FEW} before a verdict is not marked as resting on few."
        )
    elif rounds < FEW:
        yield f"{rounds_text(rounds)} are few: verdicts are marked as resting on few below {FEW}."
    found = [
        one.detectable
        for one in (compared.differences if compared else ())
        if one.verdict not in UNDECIDED and math.isfinite(one.detectable)
    ]
    if not found:
        return
    low, high = (f"{amount(metric, value)}{unit(metric)}" for value in (min(found), max(found)))
    text = low if low == high else f"{low} to {high}, depending on the two methods"
    yield (
        f"The smallest true difference in {metric.title} that such a study finds in four of five cases is "
        f"{text}. Smaller ones would more often be missed."
    )


def _undefined(rendered: Rendered) -> Iterator[str]:
    """Cells without a value."""
    for column in rendered.columns:
        rows = [
            f"{row.model} {row.method}"
            for row in rendered.rows
            if column.name in row.values and math.isnan(row.values[column.name].mean)
        ]
        if rows:
            yield f"{column.title} is not defined (n/a) for {', '.join(rows)}."


def _several(gathered: Gathered) -> str:
    """Why nothing is said over data sets."""
    contents = {
        next((u.content for m in t.methods for u in m.units if u.content), "") for t in gathered.tables
    }
    if len(contents) < 2:
        return ""
    if len(contents) < 6:
        return f"{len(contents)} data sets allow no test of ranks over data sets: that takes six at least."
    return ""
