"""What all renderings of a table share: the text of a cell, the best values of a column, remarks."""

from __future__ import annotations

import math

from bench.interfaces.rows import Column, Content, Estimate, Row

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
    """Billions of multiply-adds, millions of parameters, seconds and the like, to two or three digits;
    "-" without a value."""
    if value is None or math.isnan(value):
        return NOTHING
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def headings(table: Content) -> list[str]:
    """What the columns between names and metrics are called."""
    return ["Rounds", "GMACs", "M params", *(column.title for column in table.costs)]


def costs(table: Content, row: Row) -> list[str]:
    """The cells of a row below `headings`."""
    numbers = [row.gmacs, row.mparams, *(row.costs.get(column.name) for column in table.costs)]
    return [rounds(row), *map(amount, numbers)]


def mean(value: Estimate | None) -> str:
    """The mean to four digits; "n/a" if the metric is not defined, "-" without a value."""
    if value is None:
        return NOTHING
    return "n/a" if math.isnan(value.mean) else f"{value.mean:.{DIGITS}f}"


def spread(value: Estimate | None) -> str:
    """The standard deviation to four digits; empty without one."""
    return "" if value is None or value.spread is None else f"{value.spread:.{DIGITS}f}"


def interval(value: Estimate | None) -> str:
    """The ends of the 95 % interval to three digits, "[0.771, 0.846]"; empty without one."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{value.low:.{DIGITS - 1}f}, {value.high:.{DIGITS - 1}f}]"


def uncertainty(table: Content, value: Estimate | None) -> str:
    """What stands beside a mean in this table: its interval, "± " and its deviation, or nothing."""
    if table.uncertainty == "interval":
        return interval(value)
    deviation = spread(value) if table.uncertainty == "sd" else ""
    return f"± {deviation}" if deviation else ""


def rank_heading(column: Column) -> str:
    """What the ranks of a metric are called."""
    return f"Rank by {column.title}"


def rank(value: Estimate | None) -> str:
    """The 95 % range of ranks, and the share of resamples in which no row is better: "1-3 (62 % first)"."""
    if value is None or value.rank is None:
        return NOTHING
    low, high = value.rank.low, value.rank.high
    return f"{low if low == high else f'{low}-{high}'} ({100 * value.rank.first:.0f} % first)"


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
    """Whether the value of this row is marked: it is the best of its column, or was tested and not shown to
    differ from the best. `winners` is what `best` gives."""
    if not _competes(row, column) or column not in winners:
        return False
    value = row.values[column]
    return mean(value) == winners[column] if value.best is None else value.best


def legend(table: Content) -> str:
    """What the mark of `is_best` means in this table."""
    tested = any(value.best is not None for row in table.rows for value in row.values.values())
    return "best of the column, or not shown to differ from the best" if tested else "best of the column"


def _competes(row: Row, column: str) -> bool:
    value = row.values.get(column)
    return row.kind != "reported" and value is not None and not math.isnan(value.mean)


def remarks(table: Content) -> list[str]:
    """The notes of the rows, then the footer of the table."""
    return [f"{row.model} {row.method}: {row.note}" for row in table.rows if row.note] + list(table.footer)
