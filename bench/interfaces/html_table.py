"""A comparison table as HTML, for notebooks."""

from __future__ import annotations

from html import escape

from bench.interfaces import cells
from bench.interfaces.reporter import Row, Table


def as_html(table: Table) -> str:
    """Title, protocol, rows (the best of a column bold) and footer; everything is escaped."""
    best = cells.best(table)
    heads = ["Model", "Method", "Rounds", "GMACs", "M params", *(c.title for c in table.columns)]
    rows = "".join(
        f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(row, table, best))}</tr>" for row in table.rows
    )
    remarks = "".join(f"<br>{escape(remark)}" for remark in cells.remarks(table))
    return (
        f"<table><caption><b>{escape(table.title)}</b><br>{escape(table.protocol)}</caption>"
        f"<thead><tr>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{rows}</tbody></table><small>{remarks.removeprefix('<br>')}</small>"
    )


def _cells(row: Row, table: Table, best: dict[str, str]) -> list[str]:
    head = (row.model, row.method, cells.rounds(row), cells.amount(row.gmacs), cells.amount(row.mparams))
    return [*map(escape, head), *(_value(row, column.name, best) for column in table.columns)]


def _value(row: Row, column: str, best: dict[str, str]) -> str:
    value = row.values.get(column)
    mean = escape(cells.mean(value))
    if cells.is_best(row, column, best):
        mean = f"<b>{mean}</b>"
    spread = cells.spread(value)
    return f"{mean} ± {spread}" if spread else mean
