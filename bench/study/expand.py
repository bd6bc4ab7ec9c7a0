"""From a study to units of work in dependency order. Opens no image; the splits are handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bench.errors import ConfigError, SizeError
from bench.identity import Ref
from bench.interfaces.component import LocalWeights
from bench.interfaces.strategy import Strategy
from bench.registry import Registry, make_ref
from bench.study.protocol import Protocol
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec
from bench.study.study import Study


class NotPossible(NamedTuple):
    """A model and strategy that do not go together, shown as n/a."""

    label: str
    reason: str


class Expansion(NamedTuple):
    """Units in dependency order, and the cells that cannot exist."""

    units: list[UnitSpec]
    not_possible: list[NotPossible]


def expand(study: Study, registry: Registry, split_of: Callable[[Ref, int], str]) -> Expansion:
    """All units of a study in dependency order, round by round so that whole rounds come early.

    `split_of(dataset, round)` is the hash of the frozen split manifest. Raises ConfigError where no cell
    can exist.
    """
    units: list[UnitSpec] = []
    cells = {model.name: _cells(study, registry, model) for model in study.models}
    for dataset in study.datasets:
        for round_ in range(study.protocol.rounds):
            split = split_of(dataset, round_)
            for model in study.models:
                possible, _ = cells[model.name]
                runs = [_run(study.protocol, dataset, model, cell, split, round_) for cell in possible]
                for run in runs:
                    units.extend([*run.needs, run])
                if len(runs) > 1:
                    units.extend(EnsembleSpec(ensemble, tuple(runs)) for ensemble in study.ensembles)
    not_possible = [cell for _, impossible in cells.values() for cell in impossible]
    if not_possible and not units:
        reasons = "; ".join(dict.fromkeys(cell.reason for cell in not_possible))
        raise ConfigError(f"no model of this study can be run: {reasons}")
    return Expansion(units, not_possible)


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


def _run(protocol: Protocol, dataset: Ref, model: Ref, cell: _Cell, split: str, round_: int) -> RunSpec:
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
    start = PretrainSpec(**shared, pretrain=protocol.pretrain) if cell.pretrains else None
    return RunSpec(**shared, finetune=protocol.finetune, start=start)
