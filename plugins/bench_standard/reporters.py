"""Renderings of comparison tables: markdown, HTML, CSV, JSON; `latex` and `terminal` have theirs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Callable, Sequence

from bench import Estimate, Reporter, Row, Table, Tables, cells, html_page
from bench_standard.latex import as_latex


def as_markdown(tables: Sequence[Table]) -> str:
    """Pipe tables, as GitHub and pandoc read them."""
    return "\n\n".join(_markdown(table) for table in tables) + "\n"


def _markdown(table: Table) -> str:
    heads = _headings(table)
    bars = ["---"] * 2 + ["---:"] * (len(heads) - 2)
    rows = [heads, bars, *_rows(table, _markdown_escape, "**{}**")]
    lines = [f"### {_markdown_escape(table.title)}", "", _markdown_escape(table.protocol), ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    remarks = [*_legend(table, "Bold"), *cells.remarks(table)]
    lines += ["", *(f"- {_markdown_escape(remark)}" for remark in remarks)]
    return "\n".join(lines).rstrip()


def _markdown_escape(text: str) -> str:
    return re.sub(r"([\\`|*_<>\[\]])", r"\\\1", " ".join(text.split()))


def _headings(table: Table) -> list[str]:
    ranks = [cells.rank_heading(column) for column in table.columns if table.ranks]
    return ["Model", "Method", *cells.headings(table), *(column.title for column in table.columns), *ranks]


def _legend(table: Table, mark: str) -> list[str]:
    return [f"{mark}: {cells.legend(table)}."] if cells.best(table) else []


def _rows(table: Table, escape: Callable[[str], str], bold: str) -> list[list[str]]:
    """Cells of every row; `bold` marks the best of a column."""
    winners = cells.best(table)

    def value(row: Row, name: str) -> str:
        estimate = row.values.get(name)
        text = escape(cells.mean(estimate))
        text = bold.format(text) if cells.is_best(row, name, winners) else text
        beside = escape(cells.uncertainty(table, estimate))
        return f"{text} {beside}" if beside else text

    def ranks(row: Row) -> list[str]:
        return [escape(cells.rank(row.values.get(column.name))) for column in table.columns if table.ranks]

    return [
        [
            *map(escape, (row.model, row.method, *cells.costs(table, row))),
            *(value(row, column.name) for column in table.columns),
            *ranks(row),
        ]
        for row in table.rows
    ]


def as_csv(tables: Sequence[Table]) -> str:
    """One line per row of any table, in full precision, empty where there is no number; below them the
    footers as comments, each line beginning with "#", which `pandas.read_csv(FILE, comment="#")` and R's
    `read.csv(FILE, comment.char="#")` pass over. Texts are quoted, so that a "#" inside one is none."""
    names = list(dict.fromkeys(column.name for table in tables for column in table.columns))
    costs = list(dict.fromkeys(column.name for table in tables for column in table.costs))
    estimates = [e for table in tables for row in table.rows for e in row.values.values()]
    rounds = sorted({number for estimate in estimates for number in estimate.rounds})
    text = io.StringIO()
    heads = ["dataset", "protocol", "kind", "model", "method", "rounds_done", "rounds_asked"]
    parts = ["mean", "sd", "low", "high", "best", "rank_low", "rank_high", "rank_first"]
    measures = [f"{name}_{part}" for name in names for part in (*parts, *(f"round{r}" for r in rounds))]
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    labels = ["share", "labelled"] if any(table.share not in (None, 1) for table in tables) else []
    text.write(",".join([*heads, *labels, "gmacs", "mparams", *costs, *measures, "note"]) + "\n")
    for table in tables:
        for row in table.rows:
            first = map(_csv_text, (table.title, table.protocol, row.kind, row.model, row.method))
            numbers = [table.share, table.labelled] if labels else []
            numbers += [row.gmacs, row.mparams, *(row.costs.get(name) for name in costs)]
            numbers += [n for name in names for n in _numbers(row.values.get(name), rounds)]
            shown = [_Empty() if n is None or math.isnan(n) else n for n in numbers]
            writer.writerow([*first, row.rounds_done, row.rounds_asked, *shown, _csv_text(row.note)])
    for table in tables:
        text.writelines(f"# {table.title}: {line}\n" for line in table.footer)
    return text.getvalue()


class _Empty(float):
    """A number that is not there: an empty cell, unquoted."""

    def __repr__(self) -> str:
        return ""


def _numbers(value: Estimate | None, rounds: Sequence[int]) -> list[float | None]:
    """The cells of one value, in the order of `as_csv`."""
    if value is None:
        return [None] * (8 + len(rounds))
    rank = (value.rank.low, value.rank.high, value.rank.first) if value.rank else (None,) * 3
    best = None if value.best is None else int(value.best)
    return [
        *(value.mean, value.spread, value.low, value.high, best),
        *rank,
        *(value.rounds.get(number) for number in rounds),
    ]


def _csv_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula (OWASP, "CSV Injection")."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_json(tables: Sequence[Table]) -> str:
    """All that the tables hold; null where a metric is not defined."""
    return json.dumps(_plain([dataclasses.asdict(table) for table in tables]), indent=2) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def as_page(tables: Sequence[Table]) -> str:
    """A page of its own: the tables as notebooks show them, one below the other."""
    title = ", ".join(dict.fromkeys(table.title for table in tables)) or "bench table"
    return html_page(title, Tables(tables)._repr_html_())


def as_screen(tables: Sequence[Table]) -> str:
    """For the terminal, as wide as it is."""
    from bench_standard.terminal import render  # rich's tables take a tenth of a second to import

    return render(tables)


REPORTERS = (
    Reporter(
        name="rich",
        about="for the terminal, as wide as it is; the best value of a column stands out",
        render=as_screen,
        default=True,
    ),
    Reporter(
        name="markdown",
        about="pipe tables, the best value of a column bold",
        render=as_markdown,
        suffixes=(".md", ".markdown"),
    ),
    Reporter(
        name="latex",
        about="tables no wider than a column or page, the best bold; needs booktabs, graphicx, siunitx",
        render=as_latex,
        suffixes=(".tex",),
    ),
    Reporter(
        name="html",
        about="a page of its own, for a browser or an appendix; the best bold",
        render=as_page,
        suffixes=(".html", ".htm"),
    ),
    Reporter(
        name="csv",
        about="one flat table of all rows, every round too, in full precision; footers as comments",
        render=as_csv,
        suffixes=(".csv",),
    ),
    Reporter(
        name="json", about="all that a table holds, in full precision", render=as_json, suffixes=(".json",)
    ),
)
