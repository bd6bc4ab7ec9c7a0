"""From a study to a plan: images decoded and audited, splits frozen, units in dependency order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.comparison.stored_order import as_stored
from bench.errors import ConfigError, DataError, PluginError
from bench.execution.checks import check_study
from bench.execution.pools import freeze_pools
from bench.execution.session import Session
from bench.execution.threads import share_machine
from bench.identity import Ref
from bench.interfaces.executor import Environment, Executor, Report, silent
from bench.results import kept, store
from bench.study.expand import NotPossible, Pool, expand
from bench.study.spec import UnitSpec, budget_of
from bench.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from bench.data.splits.split import Split
    from bench.registry import Registry

Splits = Mapping[tuple[Ref, int], "Split"]
"""(data set, round) -> its frozen split"""


@dataclass(frozen=True, repr=False)
class Plan:
    """What a study comes to on this machine. What is done, and what failed, is looked up when it is asked.

    Attributes:
        study: the study.
        splits: the frozen split of every data set and round.
        units: the work, in dependency order.
        not_possible: cells that cannot exist, shown as n/a.
        session: of this process, in which the images are open.
        unlisted: data sets whose plugin failed to list their images, with the reason; they have no units.
        notes: what a user may wonder about, say why two ensembles that were asked for are one unit.
    """

    study: Study
    splits: Splits
    units: tuple[UnitSpec, ...]
    not_possible: tuple[NotPossible, ...]
    session: Session
    unlisted: tuple[NotPossible, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def to_do(self) -> tuple[UnitSpec, ...]:
        """The units that are not done."""
        done = self._done()
        return tuple(unit for unit in self.units if unit.key not in done)

    def _done(self) -> set[str]:
        """The keys of the units that are done, and have kept what they are to keep."""
        environment = self.session.environment
        return kept.finished_keys(environment.results, self.units, environment.keep)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per unit, in the order of work, then one per data set that could not be listed and one per
        cell that cannot exist.

        Columns: kind ("pretrain", "run", "ensemble"); dataset; unit (its label); round (from 0); state
        ("done", "to do", "failed", "n/a"); reason of "failed" and "n/a", and of a unit that is done again to
        keep its weights; key. A failed unit is tried again.
        """
        import pandas as pd

        types: dict[str, Any] = {"kind": str, "dataset": str, "unit": str, "round": "Int64"}
        types |= {"state": str, "reason": str, "key": str}
        rows: list[tuple[str | int | None, ...]] = []
        done = self._done()
        for unit in self.units:
            state, reason = ("done", "") if unit.key in done else self._state(unit)
            rows.append(
                (unit.kind, unit.dataset.name, self.called(unit), unit.round, state, reason, unit.key)
            )
        rows += [("run", ref.label, "", None, "failed", ref.reason, "") for ref in self.unlisted]
        rows += [(cell.kind, "", cell.label, None, "n/a", cell.reason, "") for cell in self.not_possible]
        return pd.DataFrame(rows, columns=list(types)).astype(types)

    @cached_property
    def names(self) -> Mapping[str, str]:
        """By key, what each unit is called beside the others: its label, after the name of its data set where
        there are several, and with its epochs in a study of several budgets. A pretraining is called as the
        fine-tuning that needs it."""
        several = len({unit.dataset.name for unit in self.units}) > 1
        return {u.key: (f"{u.dataset.name}/" if several else "") + self.called(u) for u in self.units}

    def called(self, unit: UnitSpec) -> str:
        """What tells a unit from the others of its data set: its label, with its epochs in a study of several
        budgets."""
        return f"{unit.label} {_epochs(unit)}" if self.study.budgets else unit.label

    def _state(self, unit: UnitSpec) -> tuple[str, str]:
        """State and reason of one unit that is not done."""
        results = self.session.environment.results
        if failure := store.read_failure(results, unit):
            return "failed", failure.reason
        return "to do", keeping(self.session.environment, unit)

    def __repr__(self) -> str:
        return f"<Plan of {len(self.units)} units, {len(self.to_do)} to do>"

    def _repr_html_(self) -> str:
        lines = [repr(self).strip("<>"), *self.notes]
        for (dataset, round_), split in self.splits.items():
            leak = [f"LEAK: {split.verdict.text}"] if split.verdict and split.verdict.leaks else []
            lines += [f"{dataset.name} round {round_}: {text}" for text in (*split.notes, *leak)]
        return "<br>".join(map(escape, lines)) + self.frame.drop(columns="key").to_html(
            max_rows=60, max_cols=None, na_rep=""
        )


def keeping(environment: Environment, unit: UnitSpec) -> str:
    """What a unit that is done is done again for, as a phrase; "" if it is not, or has kept all it should."""
    lacking = kept.lacks(environment.results, unit, environment.keep)
    return f"keep {lacking}" if lacking and store.exists(environment.results, unit) else ""


def _epochs(unit: UnitSpec) -> str:
    """ "1000" of a pretraining, "15" or "1000/15" of a fine-tuning."""
    budget = budget_of(unit)
    return "/".join(str(epochs) for epochs in (budget.pretrain, budget.finetune) if epochs)


def make_plan(
    study: Study,
    session: Session,
    report: Report = silent,
    *,
    manifests: Sequence[Path] = (),
    strict: bool = False,
) -> Plan:
    """Decode and audit the images, freeze the splits, and expand the study into units.

    `manifests` are split manifests made elsewhere, or folders of them. With `strict`, a split that leaks is
    refused. Where a plugin fails to list a data set, the others go on. Raises BenchError.
    """
    check_study(study, session)
    unlisted: dict[Ref, PluginError] = {}
    splits = freeze_splits(
        study, session, report, study.short_sides, manifests=manifests, strict=strict, unlisted=unlisted
    )
    listed = tuple(ref for ref in study.datasets if ref not in unlisted)
    if not listed:
        raise next(iter(unlisted.values()))
    pools = freeze_pools(study, session, splits, report)

    def pool_of(dataset: Ref, round_: int) -> Pool:
        frozen = pools.get((dataset, round_))
        return Pool(frozen.content, frozen.hash) if frozen else Pool()

    units, not_possible, notes = expand(
        replace(study, datasets=listed),
        session.registry,
        lambda ref, round_: splits[ref, round_].hash,
        pool_of,
    )
    notes += [f"{ref.name} round {round_}: {frozen.text}" for (ref, round_), frozen in pools.items()]
    units = as_stored(session.environment.results, units)
    share_machine(units, session)
    failed = tuple(NotPossible(ref.name, str(error)) for ref, error in unlisted.items())
    return Plan(study, splits, tuple(units), tuple(not_possible), session, failed, tuple(notes))


def freeze_splits(
    study: Study,
    session: Session,
    report: Report = silent,
    short_sides: Sequence[int] = (),
    *,
    manifests: Sequence[Path] = (),
    strict: bool = False,
    unlisted: dict[Ref, PluginError] | None = None,
) -> Splits:
    """Decode and audit every data set of a study, once, and freeze the split of each round.

    The audit judges every split, whatever its settings; so its view of the images is decoded, and none else
    but those at `short_sides`, for who goes on to train. Where there are `manifests` for a data set, they are
    its splits. With `strict`, a split that leaks is refused. Data sets whose plugin fails to list them are
    put into `unlisted` where it is given. Raises BenchError.
    """
    from bench.data.splits.manifest import adopt_manifest, freeze_split
    from bench.data.splits.split import require_sound

    protocol, results = study.protocol, session.environment.results
    by_dataset = _by_dataset(_files(manifests), study)
    splits: dict[tuple[Ref, int], Split] = {}
    for ref in study.datasets:
        try:
            images, audit = session.audited(ref, protocol.audit, short_sides, report)
        except PluginError as error:
            if unlisted is None:
                raise
            unlisted[ref] = error
            continue
        for round_ in range(protocol.rounds):
            if ref.name in by_dataset:
                split = adopt_manifest(results, by_dataset[ref.name][round_], images, audit)
            else:
                split = freeze_split(results, images, protocol.split, round_, protocol.seed, audit)
            if strict:
                require_sound(split)
            splits[ref, round_] = split
    return splits


def _files(manifests: Sequence[Path]) -> list[Path]:
    """Manifests, those of a folder one by one. Raises ConfigError for a folder without any."""
    files = []
    for path in manifests:
        # Of os.path, which is False for a name that no file can have.
        inside = sorted(path.glob("*.json")) if os.path.isdir(path) else [path]
        if not inside:
            raise ConfigError(
                f"--split {path}: no manifest (*.json) in this folder; `bench data split` makes them"
            )
        files += inside
    return files


def _by_dataset(files: Sequence[Path], study: Study) -> dict[str, dict[int, Path]]:
    """Manifests by data set and round. Raises ConfigError for a file that is none, where a round has none or
    two, or where one is for a data set that the study does not name."""
    from bench.data.splits.manifest import read_manifest

    manifests: dict[str, dict[int, Path]] = {}
    for path in files:
        try:
            split = read_manifest(path)
        except DataError as error:
            raise ConfigError(f"--split {error}") from None
        if split.dataset not in [ref.name for ref in study.datasets]:
            raise ConfigError(f"--split {path}: is for {split.dataset}, which this study does not name")
        other = manifests.setdefault(split.dataset, {}).setdefault(split.round, path)
        if other != path:
            raise ConfigError(
                f"--split {path}: {other} is for round {split.round} too; give one for each round"
            )
    for name, by_round in manifests.items():
        if lacking := sorted(set(range(study.protocol.rounds)) - set(by_round)):
            raise ConfigError(
                f"--split: no manifest of {name} for round {', '.join(map(str, lacking))}; "
                f"give one for each round, or lower --rounds (now {study.protocol.rounds})"
            )
    return manifests


def choose_executor(
    registry: Registry, named: str | Executor, environment: Environment, in_process: bool = False
) -> Executor:
    """The executor that is `named`; without a name, the default one that works on as many units at once, or
    the first that works in this process.

    Raises UnknownName, or ConfigError if no plugin has such a one, or it does not use the devices named.
    """
    chosen = _find_executor(registry, named, environment, in_process)
    if environment.devices and not chosen.parallel:
        raise ConfigError(
            f"--device {','.join(environment.devices)}: the executor {chosen.name} works on one device; name "
            "one, or leave out --executor and --in-process"
        )
    return chosen


def _find_executor(
    registry: Registry, named: str | Executor, environment: Environment, in_process: bool
) -> Executor:
    if isinstance(named, Executor):
        return named
    if named:
        return registry.executors.get(named)
    if in_process:
        chosen, kind = registry.executors.first(lambda e: e.in_process), "executor for --in-process"
    else:
        several = environment.jobs > 1
        chosen = registry.executors.first(lambda e: e.default and (e.parallel or not several))
        kind = "default executor for --jobs" if several else "default executor"
    if chosen is None:
        known = ", ".join(registry.executors.names()) or "none"
        raise ConfigError(f"no plugin has a {kind}; name one with --executor (known: {known})")
    return chosen
