"""From what was asked to units of work: reading a study, and expanding it in dependency order.

Nothing here opens an image or imports torch; the splits, which need the pixels, are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import ConfigError, SizeError, UnknownName
from bench.plugins import SINGULAR, Catalog, make_ref
from bench.spec import EnsembleSpec, PretrainSpec, Protocol, Ref, RunSpec, UnitSpec, parse, read_toml
from bench.types import LocalWeights, Model, Strategy

OFFER_KINDS = {SINGULAR[kind]: kind for kind in ("datasets", "models", "strategies", "ensembles")}


@dataclass(frozen=True)
class StudyFile:
    """The TOML form of a study; `bench run --study FILE`. Command-line options override it."""

    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()  # further models; "all" is every one with the trait
    strategies: tuple[str, ...] = ()
    ensembles: tuple[str, ...] = ("mean",)
    base: str = "paper"  # a shipped protocol or the path of a protocol file
    protocol: Mapping[str, Any] = field(default_factory=dict)  # values that differ from the base
    dataset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # parameters by name
    model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    strategy: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ensemble: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A validated study: every named offer exists and its parameters fit."""

    datasets: tuple[Ref, ...]
    models: tuple[Ref, ...]
    strategies: tuple[Ref, ...]
    ensembles: tuple[Ref, ...]
    protocol: Protocol
    protocol_name: str

    @property
    def shorts(self) -> tuple[int, ...]:
        """Short sides at which images are kept: pretraining, fine-tuning, evaluation."""
        protocol = self.protocol
        return protocol.pretrain.resize, protocol.finetune.resize, protocol.size


class NotPossible(NamedTuple):
    """A model and strategy that do not go together, shown as n/a."""

    label: str
    reason: str


class Plan(NamedTuple):
    """Units in dependency order, and the cells that cannot exist."""

    units: list[UnitSpec]
    not_possible: list[NotPossible]


def make_study(file: StudyFile, catalog: Catalog, assignments: Sequence[str] = ()) -> Study:
    """Validate what a file and the command line ask for; `assignments` are `a.b=value` overrides.

    Raises ConfigError or UnknownName, one line each.
    """
    parameters = {kind: {n: dict(p) for n, p in getattr(file, kind).items()} for kind in OFFER_KINDS}
    overrides = dict(file.protocol)
    for assignment in assignments:
        _assign(assignment, overrides, parameters)
    name, values = read_protocol(file.base)
    protocol: Protocol = parse(Protocol, merge(values, overrides), "protocol")
    models = file.models or (protocol.model,)
    added = [name for name in baseline_names(file.baselines, catalog) if name not in models]
    wanted = {
        "dataset": file.datasets,
        "model": (*models, *added),
        "strategy": file.strategies,
        "ensemble": file.ensembles,
    }
    for kind in ("dataset", "strategy"):
        if not wanted[kind]:
            known = ", ".join(catalog.names(OFFER_KINDS[kind]))
            plural = OFFER_KINDS[kind]
            raise ConfigError(
                f"no {kind} named; give --{plural if kind != 'dataset' else kind} (known: {known})"
            )
    for kind, by_name in parameters.items():
        for unused in set(by_name) - set(wanted[kind]):
            raise ConfigError(f"{kind}.{unused}: parameters for a {kind} that this study does not name")
    refs = {
        kind: tuple(
            catalog.ref(OFFER_KINDS[kind], n, parameters[kind].get(n, {})) for n in _unique(names, kind)
        )
        for kind, names in wanted.items()
    }
    changed = "+" if overrides else ""
    return Study(refs["dataset"], refs["model"], refs["strategy"], refs["ensemble"], protocol, name + changed)


def dataset_ref(name: str, catalog: Catalog, assignments: Sequence[str]) -> Ref:
    """One data set with its parameters, for `bench data`. Raises UnknownName or ConfigError."""
    overrides: dict[str, Any] = {}
    parameters: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in OFFER_KINDS}
    for assignment in assignments:
        _assign(assignment, overrides, parameters)
    given = parameters["dataset"].pop(name, {})
    if overrides or any(parameters.values()):
        raise ConfigError(f"--set: here only dataset.{name}.PARAMETER=value can be set")
    return catalog.ref("datasets", name, given)


def baseline_names(asked: Sequence[str], catalog: Catalog) -> list[str]:
    """The models that `--baselines` means: those named, or with "all" every one that has the trait
    "baseline", once each. Raises UnknownName."""
    offers = catalog.offers("models")
    known = [o.name for o in offers if isinstance(o, Model) and "baseline" in o.traits]
    for name in asked:
        if name not in (*known, "all"):
            raise UnknownName("baseline", name, [*known, "all"])
    return known if "all" in asked else list(dict.fromkeys(asked))


def read_study(path: Path) -> StudyFile:
    """Read a study file. Raises ConfigError."""
    study: StudyFile = parse(StudyFile, read_toml(path), path.name)
    return study


def protocol_names() -> list[str]:
    """Names of the protocols shipped with the package."""
    folder = resources.files("bench") / "protocols"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read_protocol(name: str) -> tuple[str, dict[str, Any]]:
    """The name and values of a shipped protocol, or of a protocol file. Raises UnknownName or ConfigError."""
    if name.endswith(".toml"):
        return Path(name).stem, read_toml(Path(name))
    if name not in protocol_names():
        raise UnknownName("protocol", name, protocol_names(), "(a file is given as --protocol FILE.toml)")
    with resources.as_file(resources.files("bench") / "protocols" / f"{name}.toml") as path:
        return name, read_toml(path)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, table by table."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return merged


def _assign(
    assignment: str, overrides: dict[str, Any], parameters: dict[str, dict[str, dict[str, Any]]]
) -> None:
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigError(
            f"--set {assignment}: must be like protocol.finetune.epochs=30 or strategy.egmae.patch=32"
        )
    target: dict[str, Any]
    if keys[0] == "protocol":
        target, rest = overrides, keys[1:]
    elif keys[0] in parameters and len(keys) >= 3:
        # A name may hold dots (timm's tags); the last key is the parameter.
        target, rest = parameters[keys[0]].setdefault(".".join(keys[1:-1]), {}), keys[-1:]
    else:
        starts = ", ".join(["protocol.KEY", *(f"{kind}.NAME.KEY" for kind in parameters)])
        raise ConfigError(f"--set {assignment}: {path.strip()!r} must start with one of {starts}")
    for key in rest[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {assignment}: {key!r} is not a table")
        target = inner
    target[rest[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    """A TOML value; anything that is none is a string."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _unique(names: Sequence[str], kind: str) -> Sequence[str]:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{kind} {name!r} is named twice")
    return names


def expand(study: Study, catalog: Catalog, split_of: Callable[[Ref, int], str]) -> Plan:
    """All units of a study in dependency order, round by round so that whole rounds come early.

    `split_of(dataset, round)` is the hash of the frozen split manifest. Raises ConfigError where no cell
    can exist.
    """
    units: list[UnitSpec] = []
    cells = {model.name: _cells(study, catalog, model) for model in study.models}
    for dataset in study.datasets:
        for round_ in range(study.protocol.rounds):
            split = split_of(dataset, round_)
            for model in study.models:
                possible, _ = cells[model.name]
                runs = [_run(study.protocol, dataset, model, cell, split, round_) for cell in possible]
                for run in runs:
                    units.extend([*run.needs, run])
                if len(runs) > 1:
                    units.extend(EnsembleSpec(e, tuple(runs)) for e in study.ensembles)
    not_possible = [NotPossible(*n) for _, impossible in cells.values() for n in impossible]
    if not_possible and not units:
        reasons = "; ".join(dict.fromkeys(cell.reason for cell in not_possible))
        raise ConfigError(f"no model of this study can be run: {reasons}")
    return Plan(units, not_possible)


class _Cell(NamedTuple):
    strategy: Ref
    pretrains: bool


def _cells(study: Study, catalog: Catalog, model: Ref) -> tuple[list[_Cell], list[tuple[str, str]]]:
    """The strategies that this model can be trained with, frozen, and those it cannot, with the reason."""
    network: Model = catalog.get("models", model.name)
    model_params = catalog.params("models", model)
    try:
        network.check_size(model_params, study.protocol.size)
    except SizeError as error:
        return [], [(f"{model.name}.{ref.name}", str(error)) for ref in study.strategies]
    _check_weights(study, catalog, model.name, model_params)
    possible: list[_Cell] = []
    impossible: list[tuple[str, str]] = []
    for ref in study.strategies:
        offer: Strategy = catalog.get("strategies", ref.name)
        if lacking := offer.needs - network.traits:
            reason = f"{model.name} lacks {', '.join(sorted(lacking))}, which {ref.name} needs"
            impossible.append((f"{model.name}.{ref.name}", reason))
            continue
        params = offer.freeze(catalog.params("strategies", ref), network, model_params)
        possible.append(_Cell(make_ref(offer, params), offer.objective is not None))
    return possible, impossible


def _check_weights(study: Study, catalog: Catalog, model: str, model_params: Any) -> None:
    """Raise ConfigError if a model's weights file would be used by nothing."""
    if not (isinstance(model_params, LocalWeights) and model_params.weights):
        return
    # Who starts from material outside the study freezes its identity.
    offers = catalog.offers("strategies")
    using = [o.name for o in offers if isinstance(o, Strategy) and o.freeze is not Strategy.freeze]
    if not {ref.name for ref in study.strategies} & set(using):
        raise ConfigError(
            f"model.{model}.weights: no strategy of this study starts from weights; "
            f"add {' or '.join(using)} to --strategies, or leave the file out"
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
