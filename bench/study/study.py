"""A validated study: every component it names exists, and its parameters fit.

Nothing here opens an image or imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.errors import ConfigError, UnknownName
from bench.identity import Ref, digest, to_json
from bench.interfaces.selection import split_external
from bench.parsing import parse, shown
from bench.registry import Components, Datasets, Registry, installed
from bench.study.config import (
    DEFAULT_PROTOCOL,
    NO_ENSEMBLES,
    NO_TRACKERS,
    Assignment,
    Parameters,
    StudyConfig,
    assign,
    assignments_of,
    merge,
    read_protocol,
    read_study,
)
from bench.study.declaration import NOTHING, Declaration, check_declaration
from bench.study.ensembles import StudyEnsemble, parse_ensemble
from bench.study.protocol import LEAST_SHARE, Budget, Protocol

Names = str | Iterable[str]
"""Names of components: comma-separated, or one by one."""

KINDS = ("dataset", "model", "strategy", "ensemble", "tracker")
KEPT: tuple[Literal["model", "decoder"], ...] = ("model", "decoder")
NAME_LENGTH = 150  # of a study: a file name may have 255 bytes, and a study may name many data sets


@dataclass(frozen=True)
class Study:
    """A comparison to run: which methods on which data, under which protocol.

    Make one with `from_names`, `from_file` or `from_keywords`.

    Attributes:
        datasets: what is classified.
        models: the networks.
        strategies: where the weights come from that fine-tuning starts with.
        ensembles: how finished runs are combined, and which; none if empty.
        protocol: what all methods share: image size, budgets, splits, rounds.
        protocol_name: what the protocol is called, for tables.
        evidence: metric, baseline and margin, as declared.
        shares: of the training images whose labels fine-tuning sees, one run each; none for the protocol's.
        keep: what is kept beside the results, "model" or "decoder"; no key knows of it.
        budgets: epochs of pretraining and fine-tuning, one run each; none for the protocol's.
        trackers: what follows it while it runs; no part of what it is.
    """

    datasets: tuple[Ref, ...]
    models: tuple[Ref, ...]
    strategies: tuple[Ref, ...]
    ensembles: tuple[StudyEnsemble, ...]
    protocol: Protocol
    protocol_name: str
    evidence: Declaration = NOTHING
    shares: tuple[float, ...] = ()
    keep: tuple[str, ...] = field(default=(), metadata={"identity": False})
    budgets: tuple[Budget, ...] = ()
    trackers: tuple[Ref, ...] = field(default=(), metadata={"identity": False})

    @classmethod
    def from_names(
        cls,
        datasets: Names,
        strategies: Names,
        *,
        models: Names = (),
        baselines: Names = (),
        ensembles: Names | None = None,
        protocol: str = DEFAULT_PROTOCOL,
        rounds: int | None = None,
        shares: Sequence[float] | None = None,
        keep: Names = (),
        track: Names = (),
        values: Mapping[str, Any] | None = None,
        registry: Registry | None = None,
    ) -> Study:
        """The study that `bench run` makes of the same names.

        `ensembles` are names, or names with the members to combine: "mean(egmae+imagenet)", in a study of
        several models also "mean(resnet18.egmae+resnet50.imagenet)".
        `shares` are those of the training images whose labels fine-tuning sees, say [0.05, 0.1, 1].
        `keep` names what to keep beside the results: "model", "decoder".
        `track` names trackers, which follow the study while it runs.
        `values` changes single values, say `{"protocol.finetune.epochs": 30, "strategy.egmae.patch": 32}`.
        Raises ConfigError or UnknownName, one line each.
        """
        config = StudyConfig(
            datasets=split_names(datasets),
            models=split_names(models),
            baselines=split_names(baselines),
            strategies=split_names(strategies),
            ensembles=None if ensembles is None else split_names(ensembles),
            shares=None if shares is None else parse_shares(shares, "shares"),
            keep=parse_kinds(split_names(keep), "keep"),
            base=protocol,
            track=split_names(track),
        )
        changes = {**(values or {}), **({} if rounds is None else {"protocol.rounds": rounds})}
        return make_study(config, registry or installed(), assignments_of(changes))

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        values: Mapping[str, Any] | None = None,
        registry: Registry | None = None,
        **keywords: Any,
    ) -> Study:
        """The study of a TOML file; `keywords` (fields of StudyConfig) take the place of what it says.

        Raises ConfigError or UnknownName, one line each.
        """
        config = merge(_as_written(read_study(Path(path))), _checked(keywords))
        return make_study(
            parse(StudyConfig, config, Path(path).name), registry or installed(), assignments_of(values or {})
        )

    @classmethod
    def from_keywords(cls, *, registry: Registry | None = None, **keywords: Any) -> Study:
        """The study of these fields of StudyConfig, which are the tables of a study file.

        `Study.from_keywords(datasets=["busi"], strategies=["egmae"], protocol={"rounds": 3})`. Raises
        ConfigError or UnknownName, one line each.
        """
        return make_study(parse(StudyConfig, _checked(keywords), "study"), registry or installed())

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """What each strategy is trained under: the protocol with every budget and every share of labels."""
        budgeted = [_with_epochs(self.protocol, budget) for budget in self.budgets] or [self.protocol]
        if not self.shares:
            return tuple(budgeted)
        return tuple(
            replace(one, finetune=replace(one.finetune, share=share))
            for one in budgeted
            for share in self.shares
        )

    @property
    def short_sides(self) -> tuple[int, ...]:
        """Short sides at which images are kept: pretraining, fine-tuning, evaluation; pixels."""
        protocol = self.protocol
        return protocol.pretrain.resize, protocol.finetune.resize, protocol.size

    @property
    def name(self) -> str:
        """What tells it from other studies, in file names: its data sets, and a digest of all of it."""
        names = "+".join(ref.name for ref in self.datasets)[:NAME_LENGTH]
        return f"{names}.{digest(to_json(self))[:8]}"

    @property
    def asked(self) -> dict[str, str | int | float]:
        """What records say of the study that they were made for."""
        asked: dict[str, str | int | float] = {
            "protocol": self.protocol_name,
            "rounds": self.protocol.rounds,
        }
        return asked if self.evidence == NOTHING else {**asked, **vars(self.evidence)}


def split_names(values: Names | None) -> tuple[str, ...]:
    """Names given comma-separated, one by one, or both."""
    texts = [values] if isinstance(values, str) else values or ()
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def _as_written(config: StudyConfig) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if value is not None}


def _checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords whose names may be given as one text."""
    plural = ("datasets", "models", "baselines", "strategies", "ensembles", "keep", "track")
    return {k: split_names(v) if k in plural and v is not None else v for k, v in keywords.items()}


def make_study(config: StudyConfig, registry: Registry, assignments: Sequence[Assignment] = ()) -> Study:
    """Validate what a configuration and single values ask for.

    Raises ConfigError or UnknownName, one line each.
    """
    changed = assign(config, assignments, KINDS)
    name, values = read_protocol(config.base)
    protocol: Protocol = parse(Protocol, merge(values, changed.protocol), "protocol")
    models = config.models or (protocol.model or _default_model(),)
    added = [name for name in baseline_names(config.baselines, registry) if name not in models]
    datasets, strategies = registry.datasets, registry.strategies
    for names, known, option in (
        (config.datasets, datasets, "--dataset"),
        (config.strategies, strategies, "--strategies"),
    ):
        if not names:
            raise ConfigError(
                f"no {known.kind.singular} named; give {option} (known: {', '.join(known.names())})"
            )
    model_refs = _refs(registry.models, (*models, *added), changed.model)
    strategy_refs = _refs(strategies, config.strategies, changed.strategy)
    declared: Declaration = parse(Declaration, changed.evidence, "evidence")
    check_declaration(declared, registry.metrics.names(), config.strategies, registry.ensembles.names())
    return Study(
        _refs(datasets, config.datasets, _with_external(changed.dataset, config.datasets, datasets)),
        model_refs,
        strategy_refs,
        _study_ensembles(_ensembles(config, registry), changed.ensemble, registry, model_refs, strategy_refs),
        protocol,
        name + ("+" if changed.protocol or config.shares or config.budgets else ""),
        declared,
        _shares(config.shares, changed.protocol),
        config.keep,
        _budgets(config.budgets, changed.protocol),
        () if config.track == NO_TRACKERS else _refs(registry.trackers, config.track, changed.tracker),
    )


def parse_kinds(values: Iterable[str], said: str) -> tuple[Literal["model", "decoder"], ...]:
    """What to keep from texts, as the option or keyword `said` takes them, each once. Raises ConfigError."""
    given = list(values)
    for value in given:
        if value not in KEPT:
            raise ConfigError(f"{said} {shown(value)}: must be {' or '.join(KEPT)}, or both")
    return tuple(kind for kind in KEPT if kind in given)


def parse_shares(values: Sequence[Any], said: str) -> tuple[float, ...]:
    """Shares from numbers or texts, as the option or keyword `said` takes them. Raises ConfigError."""
    shares = []
    for value in values:
        try:
            shares.append(float(value))
        except (TypeError, ValueError):
            shares.append(math.nan)
        if not LEAST_SHARE <= shares[-1] <= 1:  # also what is not a number
            raise ConfigError(
                f"{said} {shown(value)}: must be shares from {LEAST_SHARE:g} to 1; 0.1 is a tenth of the "
                "training images"
            )
    return tuple(shares)


def _shares(shares: Sequence[float] | None, protocol: Mapping[str, Any]) -> tuple[float, ...]:
    """The shares of a study. Raises ConfigError where there are none, one stands twice, or the protocol was
    given another."""
    if shares is None:
        return ()
    if not shares:
        raise ConfigError("shares: names none; give some, such as 0.1,1, or leave shares out")
    for share in shares:
        if shares.count(share) > 1:
            raise ConfigError(f"shares: {share:g} is named twice")
    if "share" in protocol.get("finetune", {}):
        raise ConfigError("shares and protocol.finetune.share: two values for one setting; give one of them")
    return tuple(shares)


def _budgets(budgets: Sequence[Budget] | None, protocol: Mapping[str, Any]) -> tuple[Budget, ...]:
    """The budgets of a study. Raises ConfigError where there are none, one stands twice, or the protocol was
    given other epochs."""
    if budgets is None:
        return ()
    if not budgets:
        raise ConfigError("budgets: names none; give some as [[budgets]], or leave budgets out")
    for budget in budgets:
        if budgets.count(budget) > 1:
            raise ConfigError(f"budgets: {budget.name} (pretrain/finetune epochs) is named twice")
    for stage in ("pretrain", "finetune"):
        if "epochs" in protocol.get(stage, {}):
            raise ConfigError(
                f"budgets and protocol.{stage}.epochs: two values for one setting; give one of them"
            )
    return tuple(budgets)


def _with_epochs(protocol: Protocol, budget: Budget) -> Protocol:
    return replace(
        protocol,
        pretrain=replace(protocol.pretrain, epochs=budget.pretrain),
        finetune=replace(protocol.finetune, epochs=budget.finetune),
    )


def _refs(
    components: Components, names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]]
) -> tuple[Ref, ...]:
    """References to the components called `names`. Raises ConfigError for a name that stands twice, and for
    parameters of what is not named."""
    kind = components.kind.singular
    for unused in parameters.keys() - set(names):
        raise ConfigError(f"{kind}.{unused}: parameters for a {kind} that this study does not name")
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{kind} {name!r} is named twice")
    return tuple(components.ref(name, parameters.get(name, {})) for name in names)


def _with_external(
    parameters: Mapping[str, Mapping[str, Any]], names: Sequence[str], datasets: Datasets
) -> dict[str, Mapping[str, Any]]:
    """Parameters of data sets, those of one that another is tested on put into that one's `test_on` too.

    What is not the study's own data set then has no parameters left. Raises ConfigError for a parameter that
    says what such a one is itself tested on.
    """
    changed = dict(parameters)
    tested: set[str] = set()
    for name in names:
        given = parameters.get(name, {}).get("test_on")
        if not isinstance(given, str) or not given or "test_on" not in datasets.shared(name):
            continue
        other, root, _ = split_external(given, f"dataset.{name}.test_on")
        tested.add(other)
        own = parameters.get(other, {}) if other != name else {}
        of_a_test_set = {
            key: value
            for key, value in own.items()
            if key not in ("test_on", "test_source") or key not in datasets.shared(other)
        }
        if of_a_test_set:
            where = {"root": str(root)} if root else {}
            table = {"name": other, **of_a_test_set, **where}
            changed[name] = {**changed[name], "test_on": table}
        if other not in names and (left := own.keys() - of_a_test_set.keys()):
            raise ConfigError(
                f"dataset.{other}.{min(left)}: {other} is what {name} is tested on, and nothing else in this "
                "study; leave it out"
            )
    return {name: values for name, values in changed.items() if name in names or name not in tested}


def _study_ensembles(
    texts: Sequence[str],
    parameters: Parameters,
    registry: Registry,
    models: Sequence[Ref],
    strategies: Sequence[Ref],
) -> tuple[StudyEnsemble, ...]:
    """The ensembles that `texts` ask for, among the runs of these models and strategies. Raises what
    `parse_ensemble` and `_refs` raise, and ConfigError for an ensemble of the same members twice."""
    model_names, strategy_names = [ref.name for ref in models], [ref.name for ref in strategies]
    known = registry.strategies.entries
    asked = [parse_ensemble(text, model_names, strategy_names, known) for text in texts]
    names = list(dict.fromkeys(name for name, _ in asked))
    refs = {ref.name: ref for ref in _refs(registry.ensembles, names, parameters)}
    for i, one in enumerate(asked):
        if one in asked[:i]:
            first, again = texts[asked.index(one)], texts[i]
            other = f" (the other is {shown(first)})" if first != again else ""
            raise ConfigError(f"ensemble {shown(again)} is named twice{other}")
    return tuple(StudyEnsemble(refs[name], members) for name, members in asked)


def _ensembles(config: StudyConfig, registry: Registry) -> tuple[str, ...]:
    if config.ensembles is None:
        default = registry.ensembles.first(lambda ensemble: ensemble.default)
        return (default.name,) if default else ()
    return () if config.ensembles == NO_ENSEMBLES else config.ensembles


def _default_model() -> str:
    """The default protocol's model, for a protocol that names none."""
    return str(read_protocol(DEFAULT_PROTOCOL)[1]["model"])


def dataset_ref(name: str, registry: Registry, assignments: Sequence[Assignment]) -> Ref:
    """One data set with its parameters, for `bench data`. Raises UnknownName or ConfigError."""
    changed = assign(StudyConfig(), assignments, KINDS)
    parameters = _with_external(changed.dataset, [name], registry.datasets)
    if (
        parameters.keys() - {name}
        or changed.protocol
        or changed.evidence
        or changed.model
        or changed.strategy
        or changed.ensemble
        or changed.tracker
    ):
        raise ConfigError(f"--set: here only dataset.{name}.PARAMETER=value can be set")
    return registry.datasets.ref(name, parameters.get(name, {}))


def ensemble_refs(
    names: Sequence[str], registry: Registry, assignments: Sequence[Assignment]
) -> dict[str, Ref]:
    """Ensembles with their parameters, by name, for `bench ensemble`. Raises UnknownName or ConfigError."""
    changed = assign(StudyConfig(), assignments, KINDS)
    if replace(changed, ensemble={}) != StudyConfig():
        raise ConfigError("--set: here only ensemble.NAME.PARAMETER=value can be set")
    return {ref.name: ref for ref in _refs(registry.ensembles, names, changed.ensemble)}


def baseline_names(names: Sequence[str], registry: Registry) -> list[str]:
    """The models that `--baselines` means: those named, or with "all" every one that has the trait
    "baseline", once each. Raises UnknownName."""
    known = [model.name for model in registry.models.all() if "baseline" in model.traits]
    for name in names:
        if name not in (*known, "all"):
            raise UnknownName("baseline", name, [*known, "all"])
    return known if "all" in names else list(dict.fromkeys(names))
