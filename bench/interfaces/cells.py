"""What all renderings of a table share: the text of a cell, the best value of a column, remarks."""

from __future__ import annotations

import math

from bench.interfaces.rows import Content, Estimate, Row

DIGITS = 4  # as in the paper's tables
NOTHING = "-"


def rounds(row: Row) -> str:
    """The rounds of a row: "5", or "3/5" if rounds are missing, or "-" for a reported row."""
    if row.kind == "reported":
        return NOTHING
    return (
        str(row.rounds_done)
        if row.rounds_done == row.rounds_asked
        else f"{row.rounds_done}/{row.rounds_asked}"
    )


def amount(value: float | None) -> str:
    """Billions of multiply-adds, or millions of parameters, to two or three digits; "-" without a value."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def mean(value: Estimate | None) -> str:
    """The mean to four digits; "n/a" if the metric is not defined, "-" without a value."""
    if value is None:
        return NOTHING
    return "n/a" if math.isnan(value.mean) else f"{value.mean:.{DIGITS}f}"


def spread(value: Estimate | None) -> str:
    """The standard deviation to four digits; empty without one."""
    return "" if value is None or value.spread is None else f"{value.spread:.{DIGITS}f}"


def best(table: Content) -> dict[str, str]:
    """The best mean of each column, as it is printed, among the rows that are not reported.

    A column with fewer than two such means has none. Rows whose means are printed alike are equally good.
    """
    winners = {}
    for column in table.columns:
        means = [row.values[column.name].mean for row in table.rows if _competes(row, column.name)]
        if len(means) > 1:
            winners[column.name] = mean(Estimate(mean=max(means) if column.higher_is_better else min(means)))
    return winners


def is_best(row: Row, column: str, winners: dict[str, str]) -> bool:
    """Whether the value of this row is the best of its column; `winners` is what `best` gives."""
    return _competes(row, column) and mean(row.values[column]) == winners.get(column)


def _competes(row: Row, column: str) -> bool:
    value = row.values.get(column)
    return row.kind != "reported" and value is not None and not math.isnan(value.mean)


def remarks(table: Content) -> list[str]:
    """The notes of the rows, then the footer of the table."""
    return [f"{row.model} {row.method}: {row.note}" for row in table.rows if row.note] + list(table.footer)
