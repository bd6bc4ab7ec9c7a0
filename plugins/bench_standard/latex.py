"""Comparison tables for a paper, in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bench import Row, Table, cells

NEEDS = r"% needs \usepackage{booktabs,siunitx,adjustbox}"


def as_latex(tables: Sequence[Table]) -> str:
    """One table environment a table, no wider than a column: numbers aligned at their points (siunitx), rules
    of booktabs, a label, notes below. Compiles with pdflatex, xelatex and lualatex."""
    taken: dict[str, int] = {}
    return "\n\n".join([NEEDS, *(_environment(table, _label(table, taken)) for table in tables)]) + "\n"


def _label(table: Table, taken: dict[str, int]) -> str:
    """tab:busi, tab:busi-2: from the title."""
    name = re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-") or "bench"
    taken[name] = taken.get(name, 0) + 1
    return f"tab:{name}" + (f"-{taken[name]}" if taken[name] > 1 else "")


def _environment(table: Table, label: str) -> str:
    notes = [f"Bold: {cells.legend(table)}."] if cells.best(table) else []
    notes += cells.remarks(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}: {escape(table.protocol)}.}}",
        rf"\label{{{label}}}",
        r"\begin{adjustbox}{max width=\columnwidth}",
        rf"\begin{{tabular}}{{{_alignment(table)}}}",
        r"\toprule",
        _line(_heads(table)),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
    ]
    if notes:
        lines += [r"\par\smallskip", r"\begin{minipage}{\columnwidth}\footnotesize\raggedright"]
        lines += [rf"{escape(note)}\par" for note in notes]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, r"\end{table}"])


def _alignment(table: Table) -> str:
    """A metric has a column for means and, if anything stands beside them, one for that."""
    mean = r"S[table-format=1.4,detect-weight]"
    metric = mean if table.uncertainty == "none" else mean + r"@{\,}l"
    return "ll" + "r" * len(cells.headings(table)) + metric * len(table.columns) + _ranks(table) * "r"


def _ranks(table: Table) -> int:
    """Columns with ranks."""
    return len(table.columns) if table.ranks else 0


def _heads(table: Table) -> list[str]:
    span = "{{{}}}" if table.uncertainty == "none" else r"\multicolumn{{2}}{{c}}{{{}}}"
    heads = ["Model", "Method", *map(escape, cells.headings(table))]
    heads += [span.format(escape(column.title)) for column in table.columns]
    return heads + [escape(cells.rank_heading(column)) for column in table.columns[: _ranks(table)]]


def _body(table: Table) -> list[str]:
    winners = cells.best(table)
    lines = []
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        if before is not None and before.kind != row.kind == "reported":
            lines.append(r"\midrule")
        parts = [escape(text) for text in (row.model, row.method, *cells.costs(table, row))]
        for column in table.columns:
            parts += _value(table, row, column.name, winners)
        ranked = table.columns[: _ranks(table)]
        lines.append(_line([*parts, *(escape(cells.rank(row.values.get(c.name))) for c in ranked)]))
    return lines


def _value(table: Table, row: Row, name: str, winners: dict[str, str]) -> list[str]:
    estimate = row.values.get(name)
    text = cells.mean(estimate)
    if not re.fullmatch(r"-?\d+\.\d+", text):
        text = f"{{{escape(text)}}}"  # braces keep siunitx from parsing what is no number
    elif cells.is_best(row, name, winners):
        text = rf"\bfseries {text}"
    if table.uncertainty == "none":
        return [text]
    beside = escape(cells.uncertainty(table, estimate))
    return [text, rf"{{\scriptsize {beside}}}" if beside else ""]


def _line(parts: Sequence[str]) -> str:
    return f"{' & '.join(parts)} \\\\"


_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": r"{[}",  # after a line's end it would be an option of \\
    "]": r"{]}",
} | {character: f"\\{character}" for character in "&%$#_{}"}


def escape(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return "".join(_ESCAPED.get(character, character) for character in text)
