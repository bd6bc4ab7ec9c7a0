"""What all renderings of a table share: the text of a cell, the best of a column, remarks on rows."""

from __future__ import annotations

import math

from bench.interfaces.rows import Content, Estimate, Row

DIGITS = 4  # as in the paper's tables
NOTHING = "-"


def rounds(row: Row) -> str:
    """ "5", or "3/5" where rounds are missing; nothing for a reported row."""
    if row.kind == "reported":
        return NOTHING
    return (
        str(row.rounds_done)
        if row.rounds_done == row.rounds_asked
        else f"{row.rounds_done}/{row.rounds_asked}"
    )


def amount(value: float | None) -> str:
    """Billions of multiply-adds or millions of parameters."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def mean(value: Estimate | None) -> str:
    """The mean to four digits; "n/a" where the metric is not defined."""
    if value is None:
        return NOTHING
    return "n/a" if math.isnan(value.mean) else f"{value.mean:.{DIGITS}f}"


def spread(value: Estimate | None) -> str:
    """The standard deviation to four digits, or nothing."""
    return "" if value is None or value.spread is None else f"{value.spread:.{DIGITS}f}"


def best(table: Content) -> dict[str, str]:
    """The best printed mean of each column, among own rows, if there are at least two to choose from.

    Rows that print alike are equally good: the table shows no difference between them.
    """
    found = {}
    for column in table.columns:
        own = [row.values[column.name].mean for row in table.rows if _competes(row, column.name)]
        if len(own) > 1:
            found[column.name] = mean(Estimate(mean=max(own) if column.higher_is_better else min(own)))
    return found


def is_best(row: Row, column: str, winners: dict[str, str]) -> bool:
    """Whether this row's value is its column's best."""
    return _competes(row, column) and mean(row.values[column]) == winners.get(column)


def _competes(row: Row, column: str) -> bool:
    value = row.values.get(column)
    return row.kind != "reported" and value is not None and not math.isnan(value.mean)


def remarks(table: Content) -> list[str]:
    """What the rows have to say, then the table's footer."""
    return [f"{row.model} {row.method}: {row.note}" for row in table.rows if row.note] + list(table.footer)
