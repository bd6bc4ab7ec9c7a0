"""From a study to units of work in dependency order. Opens no image; the splits are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from bench.errors import ConfigError, SizeError
from bench.identity import Ref
from bench.interfaces.component import LocalWeights
from bench.interfaces.strategy import Strategy
from bench.registry import Registry, make_ref
from bench.study.ensembles import ALL_RUNS, Member, StudyEnsemble
from bench.study.protocol import Protocol
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec
from bench.study.study import Study


class NotPossible(NamedTuple):
    """A model and strategy that do not go together, or an ensemble of such runs; shown as n/a."""

    label: str
    reason: str
    kind: str = "run"


class Expansion(NamedTuple):
    """Units in dependency order, the cells that cannot exist, and what a user may wonder about."""

    units: list[UnitSpec]
    not_possible: list[NotPossible]
    notes: list[str]


class Pool(NamedTuple):
    """What the pretrainings of one round see beside the images of their data set: `Pretraining.pool` and
    `PretrainSpec.left_out`."""

    content: str = ""
    left_out: str = ""


def expand(
    study: Study,
    registry: Registry,
    split_of: Callable[[Ref, int], str],
    pool_of: Callable[[Ref, int], Pool] = lambda dataset, round_: Pool(),
) -> Expansion:
    """All units of a study in dependency order, round by round so that whole rounds come early.

    `split_of(dataset, round)` is the hash of the frozen split manifest, `pool_of(dataset, round)` what is
    seen of a pool. Raises ConfigError where no cell can exist.
    """
    units: list[UnitSpec] = []
    cells = {model.name: _cells(study, registry, model) for model in study.models}
    combined = _combined(study, cells)
    for dataset in study.datasets:
        for round_ in range(study.protocol.rounds):
            split, pool = split_of(dataset, round_), pool_of(dataset, round_)
            for protocol in study.protocols:
                runs: dict[Member, RunSpec] = {}
                for model in study.models:
                    possible, _ = cells[model.name]
                    for cell in possible:
                        run = _run(protocol, dataset, model, cell, split, round_, pool)
                        runs[Member(cell.strategy.name, model.name)] = run
                        units.extend([*run.needs, run])
                    units.extend(
                        EnsembleSpec(ensemble, tuple(runs[member] for member in members))
                        for ensemble, members in combined.ensembles
                        if members[-1].model == model.name  # so all of its runs are there
                    )
    units = list(
        {unit.key: unit for unit in units}.values()
    )  # shares, and budgets of as many epochs, have one pretraining a round
    not_possible = [cell for _, impossible in cells.values() for cell in impossible]
    if not_possible and not units:
        reasons = "; ".join(dict.fromkeys(cell.reason for cell in not_possible))
        raise ConfigError(f"no model of this study can be run: {reasons}")
    return Expansion(units, [*not_possible, *combined.not_possible], combined.notes)


class _Combined(NamedTuple):
    """What each round combines: an ensemble and its members, each of one model, in the order of the study."""

    ensembles: list[tuple[Ref, tuple[Member, ...]]]
    not_possible: list[NotPossible]
    notes: list[str]


def _combined(study: Study, cells: Mapping[str, tuple[list[_Cell], list[NotPossible]]]) -> _Combined:
    """The ensembles of every round, each once however often it is asked for, and those that lack a run."""
    possible = {Member(c.strategy.name, model) for model, (own, _) in cells.items() for c in own}
    reasons = {cell.label: cell.reason for _, impossible in cells.values() for cell in impossible}
    ensembles: dict[tuple[Ref, tuple[Member, ...]], str] = {}  # what is combined -> as it was asked for
    not_possible, notes = [], []
    for ensemble in study.ensembles:
        for label, members in _member_lists(study, ensemble):
            if ensemble.members in ((), ALL_RUNS):  # all that there are
                members = tuple(member for member in members if member in possible)
                if len(members) < 2:
                    continue
            if lacking := [member for member in members if member not in possible]:
                why = "; ".join(dict.fromkeys(reasons[member.name] for member in lacking))
                not_possible.append(NotPossible(label, why, "ensemble"))
                continue
            first = ensembles.setdefault((ensemble.ensemble, members), ensemble.name)
            if first != ensemble.name:
                models = ", ".join(dict.fromkeys(member.model for member in members))
                notes.append(f"{first} and {ensemble.name} combine the same runs of {models}, as one unit")
    return _Combined(list(ensembles), not_possible, notes)


def _member_lists(study: Study, ensemble: StudyEnsemble) -> list[tuple[str, tuple[Member, ...]]]:
    """What an ensemble of a study would combine, and what to call each: the runs it names, or for each model
    its strategies."""
    if any(member.model for member in ensemble.members):
        return [(ensemble.name, ensemble.members)]
    if ensemble.members == ALL_RUNS:
        every = [Member(s.name, m.name) for m in study.models for s in study.strategies]
        return [(ensemble.name, tuple(every))]
    strategies = [m.strategy for m in ensemble.members] or [ref.name for ref in study.strategies]
    models = [ref.name for ref in study.models]
    return [(f"{m}.{ensemble.name}", tuple(Member(s, m) for s in strategies)) for m in models]


def check_cells(study: Study, registry: Registry) -> None:
    """Raise ConfigError as `expand` would, before there are splits."""
    for model in study.models:
        _cells(study, registry, model)


class _Cell(NamedTuple):
    strategy: Ref
    pretrains: bool


def _cells(study: Study, registry: Registry, model: Ref) -> tuple[list[_Cell], list[NotPossible]]:
    """The strategies that this model can be trained with, frozen, and those it cannot, with the reason."""
    network = registry.models.get(model.name)
    model_params = registry.models.params(model)
    try:
        network.check_size(model_params, study.protocol.size)
    except SizeError as error:
        return [], [NotPossible(f"{model.name}.{ref.name}", str(error)) for ref in study.strategies]
    _check_weights(study, registry, model.name, model_params)
    possible: list[_Cell] = []
    impossible: list[NotPossible] = []
    for ref in study.strategies:
        strategy = registry.strategies.get(ref.name)
        if lacking := strategy.needs - network.traits:
            reason = f"{model.name} lacks {', '.join(sorted(lacking))}, which {ref.name} needs"
            impossible.append(NotPossible(f"{model.name}.{ref.name}", reason))
            continue
        params = registry.strategies.params(ref)
        if strategy.check:
            _check_strategy(strategy, params, study.protocol.size)
        if strategy.freeze:
            params = strategy.freeze(params, network, model_params)
        possible.append(_Cell(make_ref(strategy, params), strategy.objective is not None))
    return possible, impossible


def _check_strategy(strategy: Strategy, params: Any, size: int) -> None:
    """Raise ConfigError, naming the strategy, if its parameters do not go with this image size."""
    assert strategy.check
    try:
        strategy.check(params, size)
    except ConfigError as error:
        raise ConfigError(f"strategy.{strategy.name}: {error}") from None


def _check_weights(study: Study, registry: Registry, model: str, model_params: Any) -> None:
    """Raise ConfigError if no strategy of the study would load a model's weights file."""
    if not (isinstance(model_params, LocalWeights) and model_params.weights):
        return
    loading = [s.name for s in registry.strategies.all() if s.freeze]
    if not {ref.name for ref in study.strategies} & set(loading):
        raise ConfigError(
            f"model.{model}.weights: no strategy of this study starts from weights; "
            f"add {' or '.join(loading)} to --strategies, or leave the file out"
        )


def _run(
    protocol: Protocol, dataset: Ref, model: Ref, cell: _Cell, split: str, round_: int, pool: Pool
) -> RunSpec:
    shared: dict[str, Any] = {
        "dataset": dataset,
        "model": model,
        "strategy": cell.strategy,
        "split": split,
        "round": round_,
        "size": protocol.size,
        "seed": protocol.seed,
        "precision": protocol.precision,
    }
    pretraining = replace(protocol.pretrain, pool=pool.content)
    start = PretrainSpec(**shared, pretrain=pretraining, left_out=pool.left_out) if cell.pretrains else None
    return RunSpec(**shared, finetune=protocol.finetune, start=start)
