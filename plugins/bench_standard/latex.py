"""Comparison tables for a paper, in LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench import Estimate, Row, Table, cells
from bench_standard.latex_text import escape, fallbacks

NEEDS = r"% Needs \usepackage{booktabs,graphicx,siunitx}. A table* spans both columns of a two-column page."
UNKNOWN = r"""% pdflatex prints the number of a character that it does not know, in a box;
% xelatex and lualatex print what their font has."""
COLUMN, PAGE = 230.0, 470.0  # points, of an article in two columns
LEAST = 0.85  # to which a table is shrunk rather than laid out otherwise
CHARACTER, SMALL, GAP = 4.7, 3.8, 8.0  # points: in \small, in \scriptsize, between columns


def as_latex(tables: Sequence[Table]) -> str:
    r"""One environment a table: numbers aligned at their points (siunitx), rules of booktabs, a label, notes
    below. Compiles with pdflatex, xelatex and lualatex.

    A table is never wider than the line. One that would have to shrink much has what is beside its means
    below them, and spans both columns (table*) if it must.
    """
    taken: set[str] = set()
    texts = [_environment(table, _label(table, taken)) for table in tables]
    unknown = fallbacks("".join(texts))
    head = [NEEDS, *([UNKNOWN] if unknown else []), *unknown]
    return "\n\n".join(["\n".join(head), *texts]) + "\n"


def _label(table: Table, taken: set[str]) -> str:
    """tab:busi, tab:busi-2: from the title."""
    plain = unicodedata.normalize("NFKD", table.title).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or "bench"
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}-{number}"
    taken.add(label)
    return f"tab:{label}"


def _environment(table: Table, label: str) -> str:
    layout = _layout(table)
    lines = [
        rf"\begin{{{layout.environment}}}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(_caption(table, layout))}}}",
        rf"\label{{{label}}}",
        r"\par\smallskip",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{_alignment(table, layout)}}}",
        r"\toprule",
        _line(_heads(table, layout)),
        r"\midrule",
        *_body(table, layout),
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth \sbox0{\resizebox{\linewidth}{!}{\usebox0}}\fi",
        r"\usebox0",
        r"\par\smallskip",
        r"\ifdim\wd0<.7\linewidth \wd0=.7\linewidth\fi",
        r"\begin{minipage}{\wd0}\footnotesize\raggedright",
        *(rf"{escape(note)}\par" for note in _notes(table, layout)),
        r"\end{minipage}",
        rf"\end{{{layout.environment}}}",
    ]
    return "\n".join(lines)


# --- layout ------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """How a table is set.

    Attributes:
        environment: "table", or "table*" over both columns of a page.
        below: whether intervals stand below their means instead of beside them.
        headings: of the columns between the methods and the metrics, Model too, that differ among rows.
        shared: of the others, heading and cell.
    """

    environment: str
    below: bool
    headings: tuple[str, ...]
    shared: dict[str, str]


def _layout(table: Table) -> _Layout:
    """The first that needs little shrinking: beside and below in one column, then in both."""
    named = [_named(table, row) for row in table.rows]
    shared = {
        heading: named[0][heading]
        for heading in (named[0] if named else ())
        if len({cells_[heading] for cells_ in named}) == 1 < len(named)
    }
    headings = tuple(h for h in ("Model", *cells.headings(table)) if h not in shared)
    beside = _width(table, headings, below=False)
    below = _width(table, headings, below=True)
    for room, environment in ((COLUMN, "table"), (PAGE, "table*")):
        for width in (beside, below):
            if width * LEAST <= room:
                return _Layout(environment, width != beside, headings, shared)
    return _Layout("table*", below != beside, headings, shared)


def _named(table: Table, row: Row) -> dict[str, str]:
    """Cells that can be alike in all rows, by heading."""
    return dict(zip(("Model", *cells.headings(table)), (row.model, *cells.costs(table, row)), strict=True))


def _width(table: Table, headings: Sequence[str], *, below: bool) -> float:
    """About how wide a table is, in points."""
    texts = [[heading, *(_named(table, row)[heading] for row in table.rows)] for heading in headings]
    texts.append(["Method", *(row.method for row in table.rows)])
    for column in table.columns if table.ranks else ():
        texts.append(
            [cells.rank_heading(column), *(cells.rank(row.values.get(column.name)) for row in table.rows)]
        )
    width = sum(max(map(len, column)) * CHARACTER + GAP for column in texts)
    for column in table.columns:
        values = [row.values.get(column.name) for row in table.rows]
        mean = max((len(cells.mean(value)) for value in values), default=0) * CHARACTER
        more = max((len(cells.uncertainty(table, value)) for value in values), default=0) * SMALL
        both = max(mean, more) if below else mean + more
        width += max(both, len(column.title) * CHARACTER) + GAP
    return width


# --- what stands around ------------------------------------------------------------------------------


def _caption(table: Table, layout: _Layout) -> str:
    """What is shown: short, because the protocol is among the notes."""
    rounds = {cells.rounds(row) for row in table.rows if row.kind != "reported"}
    model = layout.shared.get("Model", "")
    of = " of one round" if rounds == {"1"} else " over rounds"
    if len(rounds) == 1 and (number := next(iter(rounds))).isdigit() and int(number) > 1:
        of = f" of {number} rounds"
    beside = {"interval": " with its 95 % interval", "sd": " ± standard deviation", "none": ""}
    shown = any(cells.uncertainty(table, value) for row in table.rows for value in row.values.values())
    text = f"{table.title}{', ' * bool(model)}{model}: mean{of}{beside[table.uncertainty] * shown}."
    return text + (f" Bold: {cells.legend(table)}." if cells.best(table) else "")


def _notes(table: Table, layout: _Layout) -> list[str]:
    alike = [
        f"{heading} {text}"
        for heading, text in layout.shared.items()
        if heading not in ("Model", "Rounds") and text != cells.NOTHING
    ]
    protocol = [f"Protocol: {table.protocol}."] if table.protocol else []
    return [*protocol, *([f"All rows: {', '.join(alike)}."] if alike else []), *cells.remarks(table)]


# --- rows and columns --------------------------------------------------------------------------------


def _alignment(table: Table, layout: _Layout) -> str:
    """A metric has a column for means and, if anything stands beside them, one for that."""
    text = "l" * ("Model" in layout.headings) + "l" + "r" * len([h for h in layout.headings if h != "Model"])
    for column in table.columns:
        text += f"S[table-format={_format(table, column.name)},detect-weight,mode=text]"
        text += r"@{\ }l" * _has_column_beside(table, layout)
    return "@{}" + text + "c" * (len(table.columns) * table.ranks) + "@{}"


def _format(table: Table, name: str) -> str:
    """siunitx's name for the widest mean of a column: a sign, digits before and after the point."""
    means = [cells.mean(row.values.get(name)) for row in table.rows]
    numbers = [re.fullmatch(r"(-?)(\d+)\.\d+", mean) for mean in means]
    sign = "-" if any(number and number[1] for number in numbers) else ""
    return f"{sign}{max((len(number[2]) for number in numbers if number), default=1)}.{cells.DIGITS}"


def _has_column_beside(table: Table, layout: _Layout) -> bool:
    return table.uncertainty != "none" and not layout.below


def _heads(table: Table, layout: _Layout) -> list[str]:
    span = r"\multicolumn{{2}}{{c}}{{{}}}" if _has_column_beside(table, layout) else "{{{}}}"
    heads = [*_first(layout, dict(zip(layout.headings, layout.headings, strict=True)), "Method")]
    heads += [span.format(escape(column.title)) for column in table.columns]
    return heads + [escape(cells.rank_heading(column)) for column in table.columns if table.ranks]


def _first(layout: _Layout, named: dict[str, str], method: str) -> list[str]:
    """The cells before the metrics: model, method, what it costs."""
    names = [named["Model"]] if "Model" in layout.headings else []
    amounts = [named[heading] for heading in layout.headings if heading != "Model"]
    return [*map(escape, (*names, method)), *map(_dashed, amounts)]


def _body(table: Table, layout: _Layout) -> Iterator[str]:
    winners = cells.best(table)
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        if before is not None and before.kind != row.kind == "reported":
            yield r"\midrule"
        elif before is not None and layout.below:
            yield r"\addlinespace[2pt]"
        first = _first(layout, _named(table, row), row.method)
        values = [row.values.get(column.name) for column in table.columns]
        means = [
            _mean(value, cells.is_best(row, column.name, winners))
            for column, value in zip(table.columns, values, strict=True)
        ]
        more = [_small(cells.uncertainty(table, value)) for value in values]
        if _has_column_beside(table, layout):
            means = [text for pair in zip(means, more, strict=True) for text in pair]
        ranks = [_dashed(cells.rank(value)) for value in values if table.ranks]
        yield _line([*first, *means, *ranks])
        if layout.below and any(more):
            yield _line([*[""] * len(first), *more, *[""] * len(ranks)])


def _mean(value: Estimate | None, is_best: bool) -> str:
    text = cells.mean(value)
    if not re.fullmatch(r"-?\d+\.\d+", text):
        return f"{{{_dashed(text)}}}"  # braces keep siunitx from parsing what is no number
    return rf"\bfseries {text}" if is_best else text


def _small(text: str) -> str:
    return rf"{{\scriptsize {escape(text)}}}" if text else ""


def _dashed(text: str) -> str:
    """Ranges of ranks, and what is missing, with the dash that printers use."""
    return escape(text).replace("-", "--")


def _line(parts: Sequence[str]) -> str:
    return f"{' & '.join(parts)} \\\\"
