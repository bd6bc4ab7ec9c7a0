"""Renderings of comparison tables: markdown, LaTeX, CSV, JSON; `terminal` has the one for the screen."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Callable, Sequence

from bench import Reporter, Row, Table, cells


def as_markdown(tables: Sequence[Table]) -> str:
    """Pipe tables, as GitHub and pandoc read them."""
    return "\n\n".join(_markdown(table) for table in tables) + "\n"


def _markdown(table: Table) -> str:
    heads = [*_HEADINGS, *(column.title for column in table.columns)]
    bars = ["---"] * 2 + ["---:"] * (len(heads) - 2)
    rows = [heads, bars, *_rows(table, _markdown_escape, "**{}**", "{} ± {}")]
    lines = [f"### {_markdown_escape(table.title)}", "", _markdown_escape(table.protocol), ""]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *(f"- {_markdown_escape(remark)}" for remark in cells.remarks(table))]
    return "\n".join(lines).rstrip()


def _markdown_escape(text: str) -> str:
    return re.sub(r"([\\`|*_<>\[\]])", r"\\\1", " ".join(text.split()))


def as_latex(tables: Sequence[Table]) -> str:
    """One table environment per table; needs the package booktabs."""
    return "\n\n".join(["% needs \\usepackage{booktabs}", *map(_latex, tables)]) + "\n"


def _latex(table: Table) -> str:
    heads = [*_HEADINGS, *(column.title for column in table.columns)]
    rows = _rows(table, _latex_escape, r"\textbf{{{}}}", r"{} $\pm$ {}")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_escape(table.title)}: {_latex_escape(table.protocol)}.}}",
        rf"\begin{{tabular}}{{ll{'r' * (len(heads) - 2)}}}",
        r"\toprule",
        _latex_line([_latex_escape(head) for head in heads]),
        r"\midrule",
        *map(_latex_line, rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\footnotesize {_latex_escape(remark)}" for remark in cells.remarks(table)),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _latex_line(parts: list[str]) -> str:
    return f"{' & '.join(parts)} \\\\"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def _latex_escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


_HEADINGS = ["Model", "Method", "Rounds", "GMACs", "M params"]


def _rows(table: Table, escape: Callable[[str], str], bold: str, both: str) -> list[list[str]]:
    """Cells of every row; `bold` marks the best of a column, `both` joins mean and deviation."""
    winners = cells.best(table)

    def value(row: Row, name: str) -> str:
        estimate = row.values.get(name)
        text = escape(cells.mean(estimate))
        text = bold.format(text) if cells.is_best(row, name, winners) else text
        spread = cells.spread(estimate)
        return both.format(text, spread) if spread else text

    return [
        [
            escape(row.model),
            escape(row.method),
            *map(escape, (cells.rounds(row), cells.amount(row.gmacs), cells.amount(row.mparams))),
            *(value(row, column.name) for column in table.columns),
        ]
        for row in table.rows
    ]


def as_csv(tables: Sequence[Table]) -> str:
    """One line per row of any table; fractions in full precision, empty where there is no number. The footer,
    which says what the numbers are not, is on every line: lines are read without the table around them."""
    names = list(dict.fromkeys(column.name for table in tables for column in table.columns))
    text = io.StringIO()
    heads = ["dataset", "protocol", "kind", "model", "method", "rounds_done", "rounds_asked"]
    measures = [f"{name}_{part}" for name in names for part in ("mean", "sd")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*heads, "gmacs", "mparams", *measures, "note", "footer"])
    for table in tables:
        for row in table.rows:
            numbers = [row.gmacs, row.mparams]
            for name in names:
                value = row.values.get(name)
                numbers += [value.mean, value.spread] if value else [None, None]
            first = map(_csv_text, (table.title, table.protocol, row.kind, row.model, row.method))
            shown = ["" if n is None or math.isnan(n) else repr(n) for n in numbers]
            last = map(_csv_text, (row.note, " | ".join(table.footer)))
            writer.writerow([*first, row.rounds_done, row.rounds_asked, *shown, *last])
    return text.getvalue()


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
        about="booktabs tables, the best value of a column bold",
        render=as_latex,
        suffixes=(".tex",),
    ),
    Reporter(
        name="csv",
        about="one flat table of all rows, means and deviations in full precision",
        render=as_csv,
        suffixes=(".csv",),
    ),
    Reporter(
        name="json", about="all that a table holds, in full precision", render=as_json, suffixes=(".json",)
    ),
)
