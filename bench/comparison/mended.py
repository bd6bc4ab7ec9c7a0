"""A mended split and the split as its data set publishes it, side by side: what the leak was worth.

The mended table gets a column more for each metric: what the same methods reach on the split as published,
from the table of those units. The two have other training or other test images, so nothing is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.comparison.comparable import group_key
from bench.comparison.curve import WithUnits
from bench.comparison.scored import ScoredUnit
from bench.identity import digest
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Column, Row


def beside_published(tables: Sequence[WithUnits]) -> list[Table]:
    """The tables; those of a mended split with the figures of the split as published, if they are known."""
    published = {_key(one.group): one for one in tables if not _rule(one.group)}
    return [_beside(one, published.get(_key(one.group))) if _rule(one.group) else one.table for one in tables]


def _rule(group: Sequence[ScoredUnit]) -> str:
    """How the split was mended; empty if it was not, or if the data set has none of its own."""
    for unit in group:
        data = unit.record.data
        if data and data.fixed and data.settings and data.settings.get("mend", "none") != "none":
            return str(data.settings["mend"])
    return ""


def _key(group: Sequence[ScoredUnit]) -> str:
    """The same for tables that differ in how their split was mended alone."""
    unit = next(
        (unit for unit in group if unit.record.data and unit.record.data.settings is not None), group[0]
    )
    return digest(group_key(unit, with_mending=False))


def _beside(mended: WithUnits, published: WithUnits | None) -> Table:
    table, rule = mended.table, _rule(mended.group)
    if published is None:
        line = (
            f"The split was mended ({rule}). `bench table` shows the split as published beside this, if the "
            "same study without split.mend is in the same results."
        )
        return replace(table, footer=(line, *table.footer))
    columns = tuple(
        Column(
            name=f"{column.name}@published",
            title=f"{column.title}, split as published",
            higher_is_better=column.higher_is_better,
        )
        for column in table.columns
    )
    others = published.rows
    ids = list(mended.rows)
    rows = [
        _with_published(row, others.get(id_), table.columns)
        for id_, row in zip([*ids, *[""] * (len(table.rows) - len(ids))], table.rows, strict=True)
    ]
    line = (
        f"The split was mended ({rule}). Columns of the split as published are of the same methods on the "
        "parts that the data set fixes, whatever these leak; marks are within the columns of one split."
    )
    return replace(table, columns=(*table.columns, *columns), rows=tuple(rows), footer=(line, *table.footer))


def _with_published(row: Row, other: Row | None, columns: Sequence[Column]) -> Row:
    if other is None:
        return row
    values = {
        f"{column.name}@published": other.values[column.name]  # with the marks of its own table
        for column in columns
        if column.name in other.values
    }
    note = row.note
    if other.rounds_done != row.rounds_done:
        note = "; ".join(filter(None, (note, f"split as published: {other.rounds_done} rounds")))
    return replace(row, values={**row.values, **values}, note=note)
