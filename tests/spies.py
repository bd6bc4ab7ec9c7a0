"""Components that write down what the core does with them, to test the wiring from protocol to engine.

The images of `tagged` are of one grey level each, different for every image, so that a batch tells which
images it shows whatever was cropped, flipped or resized. The network `spy` writes down every batch and its
own mode.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import (
    Context,
    Dataset,
    Encoder,
    Ensemble,
    Environment,
    Index,
    Model,
    NoParams,
    Outcome,
    Predictions,
    Sample,
    Session,
    Strategy,
    Study,
    silent,
)
from bench.execution.plan import Plan, make_plan
from bench.execution.run import execute
from bench.registry import Components, Registry, installed
from bench.results import store
from bench.study.spec import UnitSpec

IMAGES = 40
SIDE = 48  # of the original images, pixels
SIZE = 32
PROTOCOL: dict[str, Any] = {
    "size": SIZE,
    "rounds": 1,
    "pretrain": {"epochs": 2, "resize": 40, "batch": 8},
    "finetune": {"epochs": 2, "resize": 36, "batch": 8},
}


@dataclass(frozen=True)
class Seen:
    """One batch that the network was given."""

    ids: tuple[str, ...]
    training: bool
    shape: tuple[int, ...]
    border: float  # share of the batch's images whose outermost pixels are the frame's


@dataclass
class Notes:
    """What the spies have written down, in order."""

    seen: list[Seen] = field(default_factory=list)
    fitted: list[list[Predictions]] = field(default_factory=list)
    combined: list[int] = field(default_factory=list)  # images of each call of the ensemble's rule


@dataclass
class Decoded:
    """What the image store has decoded.

    Attributes:
        images: files that were decoded, or arrays that were taken.
        views: by short side, how many images were resized to it.
    """

    images: int = 0
    views: Counter[int] = field(default_factory=Counter)


def watch_decoding(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """Count from now on what the image store decodes in this process."""
    from bench.data.images import store

    decoded, lock = Decoded(), Lock()
    decode, resize_all = store._decode, store.resize_all

    def counted_decode(sample: Sample, *args: Any) -> Any:
        with lock:
            decoded.images += 1
        return decode(sample, *args)

    def counted_resize(pixels: Any, shorts: Sequence[int]) -> Any:
        with lock:
            decoded.views.update({short: len(pixels) for short in shorts})
        return resize_all(pixels, shorts)

    monkeypatch.setattr(store, "_decode", counted_decode)
    monkeypatch.setattr(store, "resize_all", counted_resize)
    return decoded


def name_of(level: float) -> str:
    """The image of this grey level."""
    return f"i{round(level / 5):02d}"


def tagged(framed: bool = False) -> Dataset:
    """IMAGES images of two classes, image i of level 5 * i; `framed` ones have a border of white pixels."""

    def index(root: Path, params: NoParams) -> Index:
        return Index(classes=("a", "b"), samples=tuple(samples()))

    def samples() -> Iterator[Sample]:
        for i in range(IMAGES):
            array = np.full((SIDE, SIDE), 5 * i, dtype=np.uint8)
            if framed:
                array[[0, 1, -2, -1]] = 255
                array[:, [0, 1, -2, -1]] = 255
            yield Sample(id=f"i{i:02d}", label="ab"[i % 2], array=array)

    return Dataset(name="tagged", about="test", index=index)


class SpyNet(nn.Module):
    """A small network with batch norm and dropout that notes what it is given."""

    def __init__(self, context: Context, notes: Notes) -> None:
        super().__init__()
        self.context = context
        self.notes = notes
        self.body = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.2))
        self.head = nn.Linear(4, len(context.classes))

    def features(self, images: Tensor) -> Tensor:
        self._note(images.detach())
        maps: Tensor = self.body(images)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images).mean((2, 3)))
        return logits

    def _note(self, images: Tensor) -> None:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in vars(self.context.normalization).values())
        levels = (images * std + mean) * 255
        middle = levels[:, :, SIZE // 2, SIZE // 2].mean(1).tolist()
        framed = (levels[:, :, 0, 0].mean(1) > 220) & (levels[:, :, -1, -1].mean(1) > 220)
        self.notes.seen.append(
            Seen(
                ids=tuple(map(name_of, middle)),
                training=self.training,
                shape=tuple(images.shape),
                border=float(framed.float().mean()),
            )
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> SpyNet:
        """The copy that is counted for its cost is not the one that is watched."""
        copied = SpyNet(self.context, Notes())
        copied.load_state_dict(self.state_dict())
        return copied


class SpyObjective(nn.Module):
    """forward(images): a loss that needs the encoder."""

    def __init__(self, encoder: Encoder, context: Context) -> None:
        super().__init__()
        self.net, self.features, self.context = encoder.net, encoder.features, context

    def forward(self, images: Tensor) -> Tensor:
        return (self.features(self.net, self.context.normalize(images)) - 1).square().mean()


@dataclass(frozen=True)
class Watched:
    """A study under way: what is planned, what was done, and what the spies noted."""

    plan: Plan
    session: Session
    notes: Notes
    outcomes: tuple[Outcome, ...]

    @property
    def results(self) -> Path:
        return self.session.environment.results

    def unit(self, kind: str, strategy: str = "", round_: int = 0) -> UnitSpec:
        """The unit of this kind, strategy and round."""
        (found,) = (
            unit
            for unit in self.plan.units
            if unit.kind == kind and unit.round == round_ and (not strategy or f".{strategy}." in unit.label)
        )
        return found

    def predictions(self, unit: UnitSpec, part: str = "test") -> Predictions:
        return store.read_predictions(store.path_of(self.results, unit), part)


def watch(
    folder: Path,
    *strategies: str,
    dataset: Dataset | None = None,
    run: bool = True,
    **protocol: Any,
) -> Watched:
    """Plan a study of the spies, and run it unless told not to. `protocol` differs from PROTOCOL."""
    notes = Notes()
    data = dataset or tagged()
    session = Session(
        Environment(data=folder, results=folder / "results", asked={"protocol": "test", "rounds": 1}),
        registry_with(notes, data),
    )
    merged = {
        name: {**PROTOCOL.get(name, {}), **value} if isinstance(value, dict) else value
        for name, value in {**PROTOCOL, **protocol}.items()
    }
    study = Study.from_keywords(
        registry=session.registry,
        datasets=(data.name,),
        models=("spy",),
        strategies=strategies,
        ensembles=("spy_ensemble",),
        protocol=merged,
    )
    plan = make_plan(study, session)
    outcomes = tuple(execute(unit, session, silent) for unit in plan.units) if run else ()
    for outcome in outcomes:
        assert outcome.status == "done", outcome.reason
    return Watched(plan, session, notes, outcomes)


def registry_with(notes: Notes, data: Dataset) -> Registry:
    """The installed components and the spies."""
    real = installed()
    model: Model = Model(
        name="spy",
        about="test",
        build=lambda params, context: SpyNet(context, notes),
        features=lambda net, images: net.features(images),
        classifier=lambda net: ("head",),
        traits=frozenset({"dense"}),
    )
    strategy: Strategy = Strategy(
        name="spied",
        about="test",
        needs=frozenset({"dense"}),
        objective=lambda encoder, params, context: SpyObjective(encoder, context),
    )

    def fit(val: list[Predictions], params: NoParams) -> Any:
        notes.fitted.append(val)

        def combine(members: list[Any]) -> Any:
            notes.combined.append(len(members[0]))
            return np.mean(members, axis=0)

        return combine

    ensemble: Ensemble = Ensemble(name="spy_ensemble", about="test", fit=fit)
    return dataclasses.replace(
        real,
        datasets=with_one(real.datasets, data),
        models=with_one(real.models, model),
        strategies=with_one(real.strategies, strategy),
        ensembles=with_one(real.ensembles, ensemble),
    )


def with_one(components: Components, component: Any) -> Any:
    """These components and one more, from the plugin of the first."""
    entries = dict(components.entries)
    first = next(iter(entries.values()))
    entries[component.name] = dataclasses.replace(first, component=component)
    return dataclasses.replace(components, entries=entries)
