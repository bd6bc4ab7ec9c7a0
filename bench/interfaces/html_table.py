"""A comparison table as HTML, for notebooks.

The styles are inline, because a notebook's own stylesheet aligns all cells to the right and centres captions;
a viewer that drops them still shows every word.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from bench.interfaces import cells
from bench.interfaces.rows import Content, Row

LEFT = ' style="text-align:left"'
ONE_LINE = ' style="white-space:nowrap"'
CAPTION = ' style="caption-side:top;text-align:left"'
SEPARATED = ' style="border-top:1px solid"'


def as_html(table: Content) -> str:
    """Title, protocol, rows (the best of a column bold, a line above reported ones) and footer; everything
    is escaped."""
    heads = ["Model", "Method", *cells.headings(table), *(column.title for column in table.columns)]
    heads += [cells.rank_heading(column) for column in table.columns if table.ranks]
    head = "".join(f"<th{LEFT if i < 2 else ''}>{escape(text)}</th>" for i, text in enumerate(heads))
    remarks = "<br>".join(map(escape, cells.remarks(table)))
    return (
        f"<table><caption{CAPTION}><b>{escape(table.title)}</b><br>{escape(table.protocol)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(_rows(table))}</tbody></table>"
        f"<p><small>{remarks}</small></p>"
    )


def _rows(table: Content) -> Iterator[str]:
    best = cells.best(table)
    for before, row in zip((None, *table.rows), table.rows, strict=False):
        first_reported = before is not None and before.kind != row.kind == "reported"
        yield f"<tr{SEPARATED if first_reported else ''}>{''.join(_cells(row, table, best))}</tr>"


def _cells(row: Row, table: Content, best: dict[str, str]) -> Iterator[str]:
    for text in (row.model, row.method):
        yield f"<td{LEFT}>{escape(text)}</td>"
    for text in cells.costs(table, row):
        yield f"<td>{escape(text)}</td>"
    for column in table.columns:
        yield f"<td{ONE_LINE}>{_value(row, column.name, table, best)}</td>"
    for column in table.columns if table.ranks else ():
        yield f"<td{ONE_LINE}>{escape(cells.rank(row.values.get(column.name)))}</td>"


def _value(row: Row, column: str, table: Content, best: dict[str, str]) -> str:
    value = row.values.get(column)
    mean = escape(cells.mean(value))
    if cells.is_best(row, column, best):
        mean = f"<b>{mean}</b>"
    beside = cells.uncertainty(table, value)
    return f"{mean} {escape(beside)}" if beside else mean
