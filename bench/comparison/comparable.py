"""Which units may be compared.

Only rows that may be compared share a table: the same images (by content), split settings, image size,
precision, fine-tuning and seed, and in every round the same split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from bench.comparison.scored import ScoredUnit
from bench.identity import digest, to_json
from bench.interfaces.selection import tested_on
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec, share_of


def once_each(scored: Iterable[ScoredUnit]) -> list[ScoredUnit]:
    """One unit of every key, a finished one if there is one."""
    units: dict[str, ScoredUnit] = {}
    for unit in scored:
        known = units.setdefault(unit.spec.key, unit)
        if known.status != "done" and unit.status == "done":
            units[unit.spec.key] = unit
    return list(units.values())


def comparable(units: Sequence[ScoredUnit]) -> list[list[ScoredUnit]]:
    """Groups of units that share a table, in a fixed order.

    A unit that failed before its images were read goes where its split and protocol fit; a failed pretraining
    goes to every table that could have used it.
    """
    known: dict[str, list[ScoredUnit]] = defaultdict(list)
    unplaced = []
    for unit in units:
        if isinstance(unit.spec, PretrainSpec) or not unit.content:
            unplaced.append(unit)
        else:
            known[digest(group_key(unit))].append(unit)
    groups = [part for group in known.values() for part in _by_split(group)]
    for unit in sorted(unplaced, key=lambda u: u.spec.kind == "pretrain"):
        if unit.spec.kind == "pretrain" and unit.status == "done":
            continue
        fitting = [group for group in groups if _fits(unit, group)]
        if not fitting:
            groups.append([unit])
        for group in fitting if unit.spec.kind == "pretrain" else fitting[:1]:
            group.append(unit)
    return sorted(groups, key=_place)


def _place(group: Sequence[ScoredUnit]) -> list[Any]:
    """Tables that differ in the share of labels alone follow each other, the smallest share first."""
    first = group[0]
    return [title_of(group), digest(group_key(first, with_share=False)), share_of(first.spec)]


def _by_split(group: list[ScoredUnit]) -> list[list[ScoredUnit]]:
    """Where two splits were used in one round, nothing says which rounds belong together: each of these
    splits gets a table of its own, and the other rounds share one."""
    splits = splits_of(group)
    parts: dict[str, list[ScoredUnit]] = defaultdict(list)
    for unit in group:
        parts[unit.spec.split if len(splits[unit.spec.round]) > 1 else ""].append(unit)
    return list(parts.values())


def _fits(unit: ScoredUnit, group: list[ScoredUnit]) -> bool:
    own, shared = _protocol(unit.spec), _protocol(group[0].spec)
    if isinstance(unit.spec, PretrainSpec):
        own, shared = own[:3], shared[:3]  # fine-tuning is not a pretraining's
    same_round = {other.spec.split for other in group if other.spec.round == unit.spec.round}
    same_data = to_json(unit.spec.dataset) == to_json(group[0].spec.dataset)
    return same_data and own == shared and same_round <= {unit.spec.split}


def group_key(
    unit: ScoredUnit, with_share: bool = True, with_mending: bool = True, with_epochs: bool = True
) -> list[Any]:
    """What units that share a table have in common; without the share of labels, or the epochs of
    fine-tuning, what those have that share a curve over such shares or epochs; without mending, what those
    have that stand beside a mended split."""
    split = unit.split if with_mending else unit.unmended_split
    return [to_json(unit.spec.dataset), unit.content, split, _protocol(unit.spec, with_share, with_epochs)]


def splits_of(group: Sequence[ScoredUnit]) -> dict[int, set[str]]:
    """The splits of every round."""
    splits: dict[int, set[str]] = defaultdict(set)
    for unit in group:
        splits[unit.spec.round].add(unit.spec.split)
    return dict(splits)


def _protocol(spec: UnitSpec, with_share: bool = True, with_epochs: bool = True) -> list[Any]:
    """What the rows of a table share: size, precision, seed, fine-tuning."""
    if isinstance(spec, EnsembleSpec):
        members = [_protocol(member, with_share, with_epochs) for member in spec.members]
        return members[0] if all(m == members[0] for m in members) else [members]
    finetune = None
    if isinstance(spec, RunSpec):
        kept = spec.finetune if with_share else replace(spec.finetune, share=1.0)
        finetune = to_json(kept if with_epochs else replace(kept, epochs=1))
    return [spec.size, spec.precision, spec.seed, finetune]


def title_of(group: Sequence[ScoredUnit]) -> str:
    """What a table calls its data set."""
    dataset = group[0].spec.dataset
    unknown = ", ".join(filter(None, (dataset.name, tested_on(dataset.params))))
    return next((unit.title for unit in group if unit.title), unknown)
