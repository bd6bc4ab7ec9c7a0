"""What was asked: protocols, units of work and their keys, and how they are read from TOML.

A unit's key is the sha256 of its spec as sorted JSON without the fields that are at their default. So a
new field with a default keeps every old key, and a default must never change (tests pin golden keys).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval, Len

from bench.errors import ConfigError

Count = Annotated[int, Ge(1)]
Fraction = Annotated[float, Interval(gt=0, lt=1)]
Rate = Annotated[float, Interval(gt=0)]
Decay = Annotated[float, Ge(0)]
Betas = tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]]
Scale = tuple[Annotated[float, Interval(gt=0, le=1)], Annotated[float, Interval(gt=0, le=1)]]


@dataclass(frozen=True)
class Ref:
    """An offer by name, with the parameters that differ from its defaults, at its revision.

    `local` holds parameters that cannot alter predictions (paths); they are not part of the key.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    local: Mapping[str, Any] = field(default_factory=dict, metadata={"identity": False})

    def __hash__(self) -> int:  # the mappings have none of their own
        return hash((self.name, repr(self.params), self.revision, repr(self.local)))


@dataclass(frozen=True)
class AuditSettings:
    """When two images are taken for the same picture (`bench.data.duplicates`).

    Candidates are pairs whose 64-bit perceptual hashes differ in at most `distance` bits; they are
    duplicates if their aligned detail correlates by at least `similarity`. `embed` names a model whose
    ImageNet features propose further candidates: each image's nearest neighbours.
    """

    distance: Annotated[int, Interval(ge=0, le=16)] = 10
    similarity: Annotated[float, Interval(gt=0, le=1)] = 0.55
    embed: str = ""


@dataclass(frozen=True)
class SplitSettings:
    """How images are divided. Groups stay whole; classes keep their proportions.

    "holdout" draws each round's parts anew from the round's seed. "kfold" makes round r's test part the
    r-th of `folds` disjoint folds; validation is drawn from the rest.

    `groups`: "audited" are the data set's own (patient, lesion) joined where the audit finds duplicates;
    "given" the data set's own alone; "none" lets every image stand alone, to measure what that leaks.
    `conflicts`, with audited groups, is where images go whose duplicates carry another label: "train" keeps
    them out of validation and test, "out" out of all parts, "anywhere" treats them like the rest.
    """

    method: Literal["holdout", "kfold"] = "holdout"
    val: Fraction = 0.1
    test: Fraction = 0.2
    folds: Annotated[int, Interval(ge=2, le=20)] = 5
    groups: Literal["audited", "given", "none"] = "audited"
    conflicts: Literal["train", "out", "anywhere"] = "train"

    def __post_init__(self) -> None:
        if self.method == "holdout" and self.val + self.test >= 1:
            raise ValueError(f"val + test is {self.val + self.test:g}; it must leave images to train on")


@dataclass(frozen=True)
class Pretraining:
    """Budget of self-supervised pretraining, the same for every strategy (paper, section 4.2).

    `learning_rate` is for 256 images a step and scales linearly with `batch`. `resize` is the short side
    at which images are kept before the random resized crop.
    """

    epochs: Count = 1000
    batch: Count = 16
    resize: Count = 256
    scale: Scale = (0.2, 1.0)
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5
    learning_rate: Rate = 1.5e-4
    betas: Betas = (0.9, 0.95)
    weight_decay: Decay = 0.05
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.05  # share of all steps
    data: Literal["train", "train+val", "all"] = "train"

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {self.scale} must be [smallest, largest]")


@dataclass(frozen=True)
class Finetuning:
    """Supervised fine-tuning (paper, section 4.3): resize, random crop, horizontal flip.

    Every network starts it with the same small random classifier (`workbench.fresh_classifier`).
    """

    epochs: Count = 15
    batch: Count = 16
    resize: Count = 236
    flip: Annotated[float, Interval(ge=0, le=1)] = 0.5
    learning_rate: Rate = 1e-4
    betas: Betas = (0.9, 0.999)
    weight_decay: Decay = 0.05
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    selection: Literal["last", "best"] = "last"  # "best": highest validation accuracy


@dataclass(frozen=True)
class Protocol:
    """What all rows of a comparison share. Defaults are the paper's (shipped as protocols/paper.toml).

    `model` is the network used when a command names none. `precision` "auto" is bf16 autocast on a GPU
    and fp32 elsewhere, also on a CPU that is faster in bf16: rows must not depend on a trial of speed.
    """

    size: Annotated[int, Ge(8)] = 224
    rounds: Count = 5
    seed: Annotated[int, Ge(0)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    model: str = "convnext_tiny.fb_in1k"
    audit: AuditSettings = AuditSettings()
    split: SplitSettings = SplitSettings()
    pretrain: Pretraining = Pretraining()
    finetune: Finetuning = Finetuning()

    def __post_init__(self) -> None:
        if self.finetune.resize < self.size:
            raise ValueError(f"finetune.resize {self.finetune.resize} is less than size {self.size}")
        if self.split.method == "kfold" and self.rounds > self.split.folds:
            raise ValueError(f"rounds {self.rounds} is more than split.folds {self.split.folds}")


# --- units of work -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PretrainSpec:
    """One self-supervised pretraining. It serves every fine-tuning that asks for it."""

    kind: ClassVar[str] = "pretrain"
    dataset: Ref
    model: Ref
    strategy: Ref
    split: str  # hash of the split manifest
    round: int
    size: int = 224
    seed: int = 0
    precision: str = "auto"
    pretrain: Pretraining = Pretraining()

    @property
    def needs(self) -> tuple[UnitSpec, ...]:
        return ()

    @property
    def label(self) -> str:
        return f"{self.model.name}.{self.strategy.name}.r{self.round}"


@dataclass(frozen=True)
class RunSpec:
    """One fine-tuning and its predictions. `start` is the pretraining whose encoder it starts from."""

    kind: ClassVar[str] = "run"
    dataset: Ref
    model: Ref
    strategy: Ref
    split: str
    round: int
    size: int = 224
    seed: int = 0
    precision: str = "auto"
    finetune: Finetuning = Finetuning()
    start: PretrainSpec | None = None

    @property
    def needs(self) -> tuple[UnitSpec, ...]:
        return (self.start,) if self.start else ()

    @property
    def label(self) -> str:
        return f"{self.model.name}.{self.strategy.name}.r{self.round}"


@dataclass(frozen=True)
class EnsembleSpec:
    """The combined probabilities of finished runs of one data set, split and round."""

    kind: ClassVar[str] = "ensemble"
    ensemble: Ref
    members: Annotated[tuple[RunSpec, ...], Len(2)]

    @property
    def needs(self) -> tuple[UnitSpec, ...]:
        return self.members

    @property
    def dataset(self) -> Ref:
        return self.members[0].dataset

    @property
    def split(self) -> str:
        return self.members[0].split

    @property
    def round(self) -> int:
        return self.members[0].round

    @property
    def member_names(self) -> tuple[str, ...]:
        """What tells the members apart: strategies of one model, models of one strategy, or both."""
        if len({m.model.name for m in self.members}) == 1:
            return tuple(m.strategy.name for m in self.members)
        if len({m.strategy.name for m in self.members}) == 1:
            return tuple(m.model.name for m in self.members)
        return tuple(f"{m.model.name}.{m.strategy.name}" for m in self.members)

    @property
    def label(self) -> str:
        models = sorted({m.model.name for m in self.members})
        return f"{'+'.join(models)}.{self.ensemble.name}({'+'.join(self.member_names)}).r{self.round}"


UnitSpec = PretrainSpec | RunSpec | EnsembleSpec
UNIT_KINDS: Mapping[str, type[UnitSpec]] = {c.kind: c for c in (PretrainSpec, RunSpec, EnsembleSpec)}


def to_json(value: Any) -> Any:
    """A spec as plain JSON values, without the fields that are at their default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata.get("identity", True) and getattr(value, f.name) != _default_of(f)
        }
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    return value


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default


def digest(value: Any) -> str:
    """sha256 (hex) of a JSON value in its one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def key(spec: UnitSpec) -> str:
    """Identity of a unit: the first 16 hex digits of the sha256 of its spec."""
    return digest([spec.kind, to_json(spec)])[:16]


def derive_seed(seed: int, *axes: str | int) -> int:
    """An independent 63-bit seed for one axis (data set, round, stage) of a study's one number."""
    return int(digest([seed, *axes])[:16], 16) >> 1


# --- reading what a user wrote -----------------------------------------------------------------------


def parse(cls: type[Any], data: Mapping[str, Any], where: str) -> Any:
    """Build `cls` from plain values. Raises ConfigError: one line naming key, value and what is allowed."""
    from pydantic import TypeAdapter, ValidationError

    check_known(cls, data, where)
    try:
        return TypeAdapter(cls).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *(str(p) for p in first["loc"])])
        allowed = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise ConfigError(f"{place}: {allowed}") from None
        raise ConfigError(f"{place} = {first['input']!r}: must be {allowed}") from None


def check_known(cls: type[Any], data: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a key that `cls`, or a dataclass within it, does not have."""
    import difflib

    fields = {f.name for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for name, value in data.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = (
                f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(fields)) or 'none'}"
            )
            raise ConfigError(f"{where}.{name}: no such key; {hint}")
        for inner in _dataclasses_in(hints[name]):
            if isinstance(value, Mapping):
                check_known(inner, value, f"{where}.{name}")


def _dataclasses_in(hint: Any) -> list[type[Any]]:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return [c for arg in typing.get_args(hint) for c in _dataclasses_in(arg)]
    return [hint] if dataclasses.is_dataclass(hint) and isinstance(hint, type) else []


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError says which file and line cannot be read."""
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None


def unit_from_json(kind: str, data: Mapping[str, Any]) -> UnitSpec:
    """Read a spec back from a record."""
    from pydantic import TypeAdapter

    return TypeAdapter(UNIT_KINDS[kind]).validate_python(data)
