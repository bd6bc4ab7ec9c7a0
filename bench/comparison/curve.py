"""How good methods are by the share of the training images whose labels they saw: a column for each share.

What is shown are values of the tables of each share, with what those say of them: intervals, and what is not
shown to differ from the best, among the rows of one share. Only tables stand together that differ in nothing
else, and have the same split in every round that they share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bench.comparison.comparable import group_key
from bench.comparison.families import families
from bench.comparison.footer import evidence_lines, footer, protocol_text
from bench.comparison.labels import labelled_images, percent
from bench.comparison.methods import Method
from bench.comparison.rows import Label, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.interfaces.reporter import Table
from bench.interfaces.rows import Column, Row
from bench.study.spec import UnitSpec, share_of


class WithUnits(NamedTuple):
    """A table with its units and its methods, whose rows come first and in the same order."""

    group: Sequence[ScoredUnit]
    methods: Sequence[Method]
    table: Table

    @property
    def share(self) -> float:
        return next((share_of(u.spec) for u in self.group if u.spec.kind != "pretrain"), 1.0)

    @property
    def rows(self) -> dict[str, Row]:
        """By `row_id`."""
        specs = [method.units[0].spec for method in self.methods]
        return {row_id(spec): row for spec, row in zip(specs, self.table.rows, strict=False)}


def curve_tables(tables: Sequence[WithUnits]) -> list[Table]:
    """For tables that differ in nothing but the share of labels, one of each metric: rows are methods,
    columns shares. None where there is one share alone."""
    made: list[Table] = []
    for curve in _curves(tables):
        if len(curve) > 1:
            made += [_curve_table(curve, column) for column in curve[0].table.columns]
    return made


def _curves(tables: Sequence[WithUnits]) -> list[list[WithUnits]]:
    """The tables that stand together, each from the smallest share to the largest."""
    return families(
        tables, lambda one: one.group, lambda unit: group_key(unit, with_share=False), lambda one: one.share
    )


def _curve_table(curve: Sequence[WithUnits], metric: Column) -> Table:
    units = [unit for one in curve for unit in one.group]
    first = curve[0].table
    columns = tuple(_column(one, metric) for one in curve)
    methods = [method for one in curve for method in one.methods]
    specs = {row_id(method.units[0].spec): method.units[0].spec for method in methods}
    names = labels(unit.spec for unit in units)
    order = sorted(specs, key=lambda row: (specs[row].kind == "ensemble", *names[row]))
    by_share = [one.rows for one in curve]
    rows = tuple(_row(row, names[row], curve, by_share, metric) for row in order)
    said = (
        f"{metric.title} by the share of the training images whose labels fine-tuning used; in parentheses "
        "their number, as a mean over rounds. All rows of a share have the same images, and those of a "
        "smaller share are among those of a larger one. Tests and marks are among the rows of one share."
    )
    return Table(
        title=f"{first.title}: {metric.title} by share of labels",
        protocol=protocol_text(units),
        columns=columns,
        rows=rows,
        footer=(
            said,
            *_evidence(curve, rows, columns),
            *(f"{percent(one.share)}: {line}" for one in curve for line in _not_judged(one)),
            *footer(units, rows, ()),
        ),
        uncertainty=first.uncertainty,
        ranks=first.ranks,
        share=None,
    )


def _evidence(curve: Sequence[WithUnits], rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[str]:
    """What stands beside the means and was tested; of each share by itself while they have other rounds."""
    shown = curve[0].table.uncertainty
    of_shares = {max((row.rounds_done for row in one.rows.values()), default=0) for one in curve}
    if len(of_shares) == 1:
        yield from evidence_lines(rows, columns, shown, "", [unit for one in curve for unit in one.group])
        return
    for one in curve:
        lines = evidence_lines(list(one.rows.values()), one.table.columns, shown, "", one.group)
        yield from (f"{percent(one.share)}: {line}" for line in lines)


def _column(one: WithUnits, metric: Column) -> Column:
    count = labelled_images(one.group)
    number = f" ({count:.4g})" if count is not None else ""
    return Column(
        name=f"{metric.name}@{one.share:g}",
        title=f"{percent(one.share)}{number}",
        higher_is_better=metric.higher_is_better,
    )


def _row(
    row: str,
    label: Label,
    curve: Sequence[WithUnits],
    by_share: Sequence[Mapping[str, Row]],
    metric: Column,
) -> Row:
    """One method over all shares that it has."""
    own = [(one, rows[row]) for one, rows in zip(curve, by_share, strict=True) if row in rows]
    known = [each for _, each in own]
    done = {each.rounds_done for each in known}
    notes = _notes([(one.share, each.note) for one, each in own])
    if len(done) > 1:
        listed = ", ".join(f"{each.rounds_done} at {percent(one.share)}" for one, each in own)
        notes.insert(0, f"rounds: {listed}")
    return Row(
        kind=known[0].kind,
        model=label.model,
        method=label.method,
        rounds_done=min(done),
        rounds_asked=max(each.rounds_asked for each in known),
        gmacs=next((each.gmacs for each in known if each.gmacs is not None), None),
        mparams=next((each.mparams for each in known if each.mparams is not None), None),
        values={
            _column(one, metric).name: each.values[metric.name]
            for one, each in own
            if metric.name in each.values
        },
        note="; ".join(notes),
    )


def _notes(by_share: Sequence[tuple[float, str]]) -> list[str]:
    """What is noted at some shares, the same once."""
    shares: dict[str, list[str]] = defaultdict(list)
    for share, note in by_share:
        if note:
            shares[note].append(percent(share))
    return [
        note if len(own) == len(by_share) else f"at {', '.join(own)}: {note}" for note, own in shares.items()
    ]


def _not_judged(one: WithUnits) -> list[str]:
    return [line for line in one.table.footer if line.startswith("Not judged")]


def has_shares(specs: Sequence[UnitSpec]) -> bool:
    """Whether these units saw labels of different shares of the training images."""
    return len({share_of(spec) for spec in specs if spec.kind != "pretrain"}) > 1
