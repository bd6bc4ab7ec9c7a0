"""Units of work and their keys.

A unit's key is the sha256 of its spec as sorted JSON without the fields that are at their default. So a
new field with a default keeps every old key, and a default must never change (tests pin golden keys).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Len

from bench.identity import Ref, digest, to_json
from bench.study.protocol import Budget, Finetuning, Pretraining

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class PretrainSpec:
    """One self-supervised pretraining. It serves every fine-tuning that asks for it.

    Attributes:
        dataset: with its parameters.
        model: with its parameters.
        strategy: with its parameters.
        split: hash of the split manifest.
        round: which repetition of the study, from 0.
        size: side of the square input, pixels.
        seed: what all random numbers of the unit derive from.
        precision: "fp32", "bf16", or "auto" for the device's own.
        pretrain: budget and images of the pretraining.
        left_out: hash of what this round leaves out of the pool (`bench.data.splits.pool`); "" without one.
    """

    kind: ClassVar[str] = "pretrain"
    dataset: Ref
    model: Ref
    strategy: Ref
    split: str
    round: int
    size: int = 224
    seed: int = 0
    precision: str = "auto"
    pretrain: Pretraining = field(default_factory=Pretraining)
    left_out: str = ""

    @cached_property
    def key(self) -> str:
        """Identity of the unit."""
        return _key(self)

    @property
    def needs(self) -> tuple[UnitSpec, ...]:
        return ()

    @property
    def label(self) -> str:
        return f"{self.model.name}.{self.strategy.name}.r{self.round}"


@dataclass(frozen=True)
class RunSpec:
    """One fine-tuning and its predictions.

    Attributes:
        dataset: with its parameters.
        model: with its parameters.
        strategy: with its parameters.
        split: hash of the split manifest.
        round: which repetition of the study, from 0.
        size: side of the square input, pixels.
        seed: what all random numbers of the unit derive from.
        precision: "fp32", "bf16", or "auto" for the device's own.
        finetune: budget and choices of the fine-tuning.
        start: the pretraining whose encoder it starts from; None if the strategy initialises the network.
    """

    kind: ClassVar[str] = "run"
    dataset: Ref
    model: Ref
    strategy: Ref
    split: str
    round: int
    size: int = 224
    seed: int = 0
    precision: str = "auto"
    finetune: Finetuning = field(default_factory=Finetuning)
    start: PretrainSpec | None = None

    @cached_property
    def key(self) -> str:
        """Identity of the unit."""
        return _key(self)

    @property
    def needs(self) -> tuple[UnitSpec, ...]:
        return (self.start,) if self.start else ()

    @property
    def label(self) -> str:
        return f"{self.model.name}.{self.strategy.name}{_share(self)}.r{self.round}"


@dataclass(frozen=True)
class EnsembleSpec:
    """The combined probabilities of finished runs of one data set, split and round.

    Attributes:
        ensemble: how they are combined, with its parameters.
        members: the runs, at least two.
    """

    kind: ClassVar[str] = "ensemble"
    ensemble: Ref
    members: Annotated[tuple[RunSpec, ...], Len(2)]

    @cached_property
    def key(self) -> str:
        """Identity of the unit."""
        return _key(self)

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
        members = f"{self.ensemble.name}({'+'.join(self.member_names)})"
        return f"{'+'.join(models)}.{members}{_share(self)}.r{self.round}"


UnitSpec = PretrainSpec | RunSpec | EnsembleSpec
UNIT_KINDS: Mapping[str, type[UnitSpec]] = {c.kind: c for c in (PretrainSpec, RunSpec, EnsembleSpec)}


def share_of(unit: UnitSpec) -> float:
    """Share of the training images whose labels a unit saw; of an ensemble, what its first member saw; of a
    pretraining, which sees none, 1."""
    run = unit.members[0] if isinstance(unit, EnsembleSpec) else unit
    return run.finetune.share if isinstance(run, RunSpec) else 1.0


def budget_of(unit: UnitSpec) -> Budget:
    """Epochs of pretraining, 0 for none, and of fine-tuning, 0 for a pretraining itself; of an ensemble the
    most of its members."""
    runs = unit.members if isinstance(unit, EnsembleSpec) else (unit,)
    starts = [run if isinstance(run, PretrainSpec) else run.start for run in runs]
    tuned = [run.finetune.epochs for run in runs if isinstance(run, RunSpec)]
    return Budget(max((s.pretrain.epochs for s in starts if s), default=0), max(tuned, default=0))


def _share(unit: UnitSpec) -> str:
    """ ".share0.1": what tells a unit from those of other shares in its label; "" for all labels."""
    share = share_of(unit)
    return "" if share == 1 else f".share{share:g}"


def _key(unit: UnitSpec) -> str:
    """The first 16 hex digits of the sha256 of a unit's spec."""
    return digest([unit.kind, to_json(unit)])[:16]


def unit_from_json(kind: str, data: Mapping[str, Any]) -> UnitSpec:
    """Read a spec back from a record."""
    return _adapter(kind).validate_python(data)


@cache
def _adapter(kind: str) -> TypeAdapter[UnitSpec]:
    """Made once, because making it takes milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(UNIT_KINDS[kind])
