"""The methods of one table: their rounds, and how a user names them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.comparison.rows import Label, labels, row_id
from bench.comparison.scored import ScoredUnit
from bench.errors import ConfigError, UnknownName
from bench.study.spec import EnsembleSpec


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes:
        label: model and method as the table calls them.
        units: its rounds in order, unfinished ones too.
    """

    label: Label
    units: tuple[ScoredUnit, ...]

    @cached_property
    def done(self) -> Mapping[int, ScoredUnit]:
        """Finished units by round."""
        return {unit.spec.round: unit for unit in self.units if unit.status == "done"}

    @property
    def is_ensemble(self) -> bool:
        return isinstance(self.units[0].spec, EnsembleSpec)

    @property
    def name(self) -> str:
        """ "convnext_tiny.egmae": what no other row of the table is called."""
        return f"{self.label.model}.{self.label.method}"


def methods_of(group: Sequence[ScoredUnit]) -> list[Method]:
    """The rows of a table in its order: runs before ensembles."""
    names = labels(unit.spec for unit in group)
    by_row: dict[str, list[ScoredUnit]] = defaultdict(list)
    for unit in sorted(group, key=lambda u: (u.spec.round, u.spec.kind)):
        by_row[row_id(unit.spec)].append(unit)
    methods = [Method(names[row], tuple(units)) for row, units in by_row.items()]
    return sorted(methods, key=lambda method: (method.is_ensemble, *method.label))


def find_method(methods: Sequence[Method], name: str) -> Method:
    """The method that a user calls `name`: as its row does ("egmae"), or with its model before it
    ("convnext_tiny.egmae"); spaces do not matter.

    Raises UnknownName if there is none, ConfigError if several models have it.
    """
    wanted = _plain(name)
    exact = [method for method in methods if _plain(method.name) == wanted]
    found = exact or [method for method in methods if _plain(method.label.method) == wanted]
    if not found:
        short = [method.label.method for method in methods]
        known = short if len(set(short)) == len(short) else [method.name for method in methods]
        raise UnknownName("method", name, known)
    if len(found) > 1:
        several = ", ".join(method.name for method in found)
        raise ConfigError(f"{name!r} is a row of several models: {several}; name one of these")
    return found[0]


def _plain(name: str) -> str:
    return "".join(name.split())
