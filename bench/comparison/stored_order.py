"""Ensembles that are stored already, whatever the order in which their members are named now.

The order of members is part of an ensemble's key, because it always was; to a user it means nothing.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.comparison.rows import row_id
from bench.errors import StoreError
from bench.identity import digest, to_json
from bench.results import store
from bench.study.spec import EnsembleSpec, UnitSpec


def as_stored(results: Path, units: Iterable[UnitSpec]) -> list[UnitSpec]:
    """The units, an ensemble with its members in the order that a stored ensemble of the same methods has, of
    this round or of another one. Those that are stored as they are, in any round, stay so."""
    units = list(units)
    asked: dict[str, list[EnsembleSpec]] = defaultdict(list)
    for unit in units:
        if isinstance(unit, EnsembleSpec):
            asked[_combination(unit)].append(unit)
    sought = {
        combination: alike[0]
        for combination, alike in asked.items()
        if not any(store.path_of(results, unit).exists() for unit in alike)
    }
    orders = _stored_orders(results, sought) if sought else {}
    return [
        _in_order(unit, orders.get(_combination(unit), ())) if isinstance(unit, EnsembleSpec) else unit
        for unit in units
    ]


def _combination(unit: EnsembleSpec) -> str:
    """The same for ensembles of the same methods by the same rule, in any round and order."""
    members = sorted(row_id(member) for member in unit.members)
    return digest([to_json(unit.dataset), to_json(unit.ensemble), members])


def _stored_orders(results: Path, sought: dict[str, EnsembleSpec]) -> dict[str, list[str]]:
    """Combination -> row ids of the members in the order of the first stored ensemble that has it."""
    orders: dict[str, list[str]] = {}
    for folder in dict.fromkeys(store.path_of(results, unit).parent for unit in sought.values()):
        for path in _candidates(folder, {unit.ensemble.name for unit in sought.values()}):
            try:
                spec = store.read_folder(path).spec
            except StoreError:  # of which other commands warn
                continue
            if isinstance(spec, EnsembleSpec) and (combination := _combination(spec)) in sought:
                orders.setdefault(combination, [row_id(member) for member in spec.members])
    return orders


def _candidates(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """The folders of units that can be such an ensemble by their name, which is cut where it is too long."""
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        is_cut = len(name.rpartition(".")[0]) >= store.LABEL_LENGTH
        if not name.startswith(".") and (is_cut or any(f".{each}-" in name for each in names)):
            yield folder / name


def _in_order(unit: EnsembleSpec, order: Sequence[str]) -> EnsembleSpec:
    if not order:
        return unit
    place = {row: i for i, row in enumerate(order)}
    return replace(unit, members=tuple(sorted(unit.members, key=lambda member: place[row_id(member)])))
