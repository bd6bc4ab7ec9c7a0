"""What a method is worth by its budget: epochs of pretraining and of fine-tuning, over all tables that differ
in these alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from bench.comparison.comparable import group_key
from bench.comparison.compare import Table
from bench.comparison.families import families
from bench.comparison.rows import Label, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.study.protocol import Budget
from bench.study.spec import EnsembleSpec, RunSpec, UnitSpec, budget_of


class Place(NamedTuple):
    """Where a row is: the table's place among those given, and the row's place in it."""

    table: int
    row: int


class Budgeted(NamedTuple):
    """One method, whatever its budget.

    Attributes:
        identity: the same on all data sets.
        label: network and method, with the settings other than epochs that tell it from others of the family.
        is_ensemble: whether it is one.
        rows: its rows by budget.
    """

    identity: str
    label: Label
    is_ensemble: bool
    rows: Mapping[Budget, Place]

    @property
    def pretrains(self) -> bool:
        return any(budget.pretrain for budget in self.rows)

    def at(self, budget: Budget) -> Place | None:
        """Its row at a budget; without a pretraining, that of as many epochs of fine-tuning."""
        return self.rows.get(budget) or self.rows.get(Budget(0, budget.finetune))


class Family(NamedTuple):
    """Tables of one data set that differ in budgets alone.

    Attributes:
        where: the data set; with a number where it has several families.
        budgets: of all rows that pretrain, or of all rows where none does; in order.
        methods: in the tables' order.
    """

    where: str
    budgets: Sequence[Budget]
    methods: Sequence[Budgeted]


def budget_families(tables: Sequence[Table]) -> list[Family]:
    """The tables by data set and whatever else they share, budgets apart: families of several budgets."""
    grouped = families(
        list(enumerate(tables)),
        lambda one: units_of(one[1]),
        lambda unit: group_key(unit, with_epochs=False),
        lambda one: budget_of(units_of(one[1])[0].spec).finetune,
    )
    found = [family for group in grouped if len((family := _family(group)).budgets) > 1]
    times = Counter[str]()
    for place, family in enumerate(found):
        times[family.where] += 1
        if (number := times[family.where]) > 1:
            found[place] = family._replace(where=f"{family.where} ({number})")
    return found


def _family(group: Sequence[tuple[int, Table]]) -> Family:
    found: dict[str, dict[Budget, Place]] = {}
    specs: dict[str, UnitSpec] = {}
    for number, table in group:
        for row, method in enumerate(table.methods):
            spec = method.units[0].spec
            plain = without_epochs(spec)
            identity = row_id(plain)
            specs.setdefault(identity, plain)
            found.setdefault(identity, {})[budget_of(spec)] = Place(number, row)
    called = labels(specs.values())
    budgeted = [
        Budgeted(identity, called[identity], isinstance(specs[identity], EnsembleSpec), rows)
        for identity, rows in found.items()
    ]
    every = {budget for one in budgeted for budget in one.rows}
    pretraining = {budget for budget in every if budget.pretrain}
    first = group[0][1]
    title = units_of(first)[0].title or units_of(first)[0].spec.dataset.name
    return Family(title, sorted(pretraining or every), budgeted)


def units_of(table: Table) -> list[ScoredUnit]:
    """Its finished units, at least one."""
    return [unit for method in table.methods for unit in method.done.values()]


def without_epochs(spec: UnitSpec) -> UnitSpec:
    """What rows of one method have in common whatever their budget."""
    if isinstance(spec, EnsembleSpec):
        return replace(spec, members=tuple(_run_without_epochs(member) for member in spec.members))
    return _run_without_epochs(spec) if isinstance(spec, RunSpec) else spec


def _run_without_epochs(run: RunSpec) -> RunSpec:
    if run.start is None:
        return run
    return replace(run, start=replace(run.start, pretrain=replace(run.start.pretrain, epochs=1)))
