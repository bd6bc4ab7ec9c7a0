"""How differently the methods err, and what combining them could gain at most."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bench.comparison.diversity import Diversity, Estimated, Pair, diversity_of
from bench.comparison.diversity_words import (
    READING,
    basis,
    bound,
    coverage,
    interval_text,
    number_text,
)
from bench.evidence.agreement import MEASURES, Measure
from bench.page import paragraphs, shown
from bench.report.gathered import Gathered
from bench.report.section import Section

SHADED = ("disagreement", "q")
"""The measures that have a table of all pairs in the report; `bench diversity` has all of them."""
DARKEST = 45  # per cent of colour behind a number, which stays readable on it


def diversity_sections(gathered: Gathered) -> list[Section]:
    """None where no table has two runs, and a round that all of its runs have."""
    found = [diversity_of(table.where, table.methods, gathered.results) for table in gathered.tables]
    measured = [one for one in found if one is not None]
    if not measured:
        return []
    html = "".join(map(_of_table, measured)) + paragraphs(READING, "aside")
    return [Section("diversity", "How differently methods err", html)]


def _of_table(one: Diversity) -> str:
    parts = [f'<div class="card"><h3>{shown(one.where)}</h3>\n', paragraphs([bound(one), f"{basis(one)}."])]
    parts += [_matrix(one, name, MEASURES[name]) for name in SHADED]
    parts += [_accuracies(one), paragraphs(coverage(one), "aside"), "</div>\n"]
    return "".join(parts)


def _matrix(one: Diversity, name: str, measure: Measure) -> str:
    """All pairs by one measure, a darker cell for a larger number."""
    heads = "".join(f'<th scope="col">{shown(method)}</th>' for method in one.methods)
    pairs = {frozenset((pair.first, pair.second)): pair for pair in one.pairs}
    rows = "".join(
        f'<tr><th scope="row">{shown(row)}</th>{"".join(_cells(one, row, pairs, name, measure))}</tr>\n'
        for row in one.methods
    )
    title = f"{measure.title[:1].upper()}{measure.title[1:]}"
    return f"<h4>{shown(title)}</h4>\n" + _table(f"{title}: {measure.about}.", f"<td></td>{heads}", rows)


def _cells(
    one: Diversity, row: str, pairs: dict[frozenset[str], Pair], name: str, measure: Measure
) -> Iterator[str]:
    for column in one.methods:
        if column == row:
            yield "<td>\N{EN DASH}</td>"
            continue
        estimated = pairs[frozenset((row, column))].measures[name]
        yield f"<td{_shade(estimated, measure)}>{shown(number_text(estimated))}</td>"


def _shade(estimated: Estimated, measure: Measure) -> str:
    """The background of a cell: none at the lowest value that is possible, or at 0 if that is negative."""
    if math.isnan(estimated.value) or estimated.value <= 0:
        return ""
    percent = DARKEST * estimated.value / measure.bounds[1]
    return f' style="background: color-mix(in srgb, var(--strong, #3b82c4) {percent:.0f}%, transparent)"'


def _accuracies(one: Diversity) -> str:
    rows = [_row(f"oracle of all {len(one.methods)}", one.oracle)]
    rows += [_row(method, estimated) for method, estimated in one.accuracy.items()]
    rows += [_row(each.name, each.accuracy, each.oracle) for each in one.ensembles]
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("accuracy", "oracle of its members"))
    caption = "The oracle counts an image as right if any of its methods gets it right."
    return "<h4>Accuracy, and the oracle's</h4>\n" + _table(caption, f"<td></td>{heads}", "".join(rows))


def _row(name: str, *estimates: Estimated) -> str:
    cells = "".join(
        f'<td class="whole">{shown(number_text(each))} <span class="interval">'
        f"{shown(interval_text(each))}</span></td>"
        for each in estimates
    )
    return f'<tr><th scope="row">{shown(name)}</th>{cells}{"<td></td>" * (2 - len(estimates))}</tr>\n'


def _table(caption: str, heads: str, rows: str) -> str:
    return (
        f'<div class="scroll"><table><caption>{shown(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )
