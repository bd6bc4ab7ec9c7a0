"""Where classifiers look: the class-activation map of every method for test images of one round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.methods import Method
from bench.errors import ConfigError
from bench.explain.cam import Mapped, activation
from bench.explain.grids import shares
from bench.explain.members import combined_map, member_weights
from bench.identity import derive_seed
from bench.interfaces.executor import Progress, Report
from bench.results import store
from bench.study.spec import EnsembleSpec, RunSpec

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from bench.explain.grids import Grid
    from bench.interfaces.predictions import Predictions
    from bench.kept.load import Network
    from bench.registry import Registry

BATCH = 16
PREDICTED, LABELLED = "predicted", "label"
FAR = 0.02
"""A probability that differs by more from the stored one is said: device and threads explain less."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one method makes of one test image.

    Attributes:
        model: of its row.
        method: of its row.
        title: what it is called where it is shown: its method, after the model where there are several.
        round: of the study.
        id: of the image.
        group: that it belongs to.
        label: its class, an index.
        predicted: the class with the highest probability.
        explained: the class that the map is for.
        probability: of the explained class, as stored.
        map: (h, w) what speaks for that class, as shares of its sum; all 0 where nothing does.
        random_head: the same map with a classifier of random weights; None if not asked, or of an ensemble.
    """

    model: str
    method: str
    title: str
    round: int
    id: str
    group: str
    label: int
    predicted: int
    explained: int
    probability: float
    map: Grid
    random_head: Grid | None = None


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Test images as networks see them.

    Attributes:
        ids: of the images.
        pixels: uint8 (N, 3, S, S).
    """

    ids: tuple[str, ...]
    pixels: Tensor


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where networks are and run.

    Attributes:
        results: the results folder.
        registry: of components.
        device: that networks run on.
        random_head: whether maps with a random classifier are made too.
        report: hears of progress.
    """

    results: Path
    registry: Registry
    device: torch.device
    random_head: bool
    report: Report


def look(
    methods: Sequence[Method], round_: int, pictures: Pictures, of: str, place: Place
) -> tuple[list[Look], list[str]]:
    """The maps of all methods that have this round, method by method in the order of the pictures; and
    warnings.

    `of` says for which class: "predicted" by the method, "label" of the image, or the name of a class. Raises
    StoreError for a network that was not kept or is damaged, ConfigError for a class or a network of which
    there can be no map.
    """
    asked = [_asked(method, round_, pictures.ids, of) for method in methods if round_ in method.done]
    wanted: dict[str, tuple[RunSpec, dict[tuple[int, int], None]]] = {}
    for one in asked:
        for member in _members(one.spec):
            pairs = wanted.setdefault(member.key, (member, {}))[1]
            pairs.update(dict.fromkeys(enumerate(one.explained.tolist())))
    made: dict[str, _Made] = {}
    warnings: list[str] = []
    for run, pairs in wanted.values():
        made[run.key] = _make(run, list(pairs), pictures, place)
        warnings += _far_from_stored(run, made[run.key], pictures, place)
    alone = len({row.label.model for row in methods}) == 1
    titles = [one.method.label.method if alone else one.method.name for one in asked]
    return [
        each for one, title in zip(asked, titles, strict=True) for each in _looks(one, title, made, place)
    ], warnings


class _Asked(NamedTuple):
    """One method's predictions of the pictures, and the classes to explain, (N,)."""

    method: Method
    spec: RunSpec | EnsembleSpec
    predictions: Predictions
    rows: list[int]  # of the pictures in the predictions
    explained: NDArray[np.int64]


class _Made(NamedTuple):
    """What one network gave."""

    maps: dict[tuple[int, int], Grid]  # by place among the pictures, and class
    random: dict[tuple[int, int], Grid]
    probabilities: dict[int, NDArray[np.float64]]


def _members(spec: RunSpec | EnsembleSpec) -> tuple[RunSpec, ...]:
    return spec.members if isinstance(spec, EnsembleSpec) else (spec,)


def _asked(method: Method, round_: int, ids: Sequence[str], of: str) -> _Asked:
    unit = method.done[round_]
    assert unit.record.path is not None  # stored records have one
    one = unit.test or store.read_predictions(unit.record.path, "test", unit.record)
    place = {id_: i for i, id_ in enumerate(one.ids)}
    rows = [place[id_] for id_ in ids]
    spec = unit.spec
    assert isinstance(spec, RunSpec | EnsembleSpec)
    if of == PREDICTED:
        explained = one.probabilities[rows].argmax(axis=1)
    elif of == LABELLED:
        explained = one.labels[rows]
    elif of in one.classes:
        explained = np.full(len(rows), one.classes.index(of))
    else:
        known = ", ".join((PREDICTED, LABELLED, *one.classes))
        raise ConfigError(f"--class {of}: is none of {known}")
    return _Asked(method, spec, one, rows, explained)


def _make(run: RunSpec, pairs: Sequence[tuple[int, int]], pictures: Pictures, place: Place) -> _Made:
    """The maps of one network for pairs of picture and class."""
    import torch

    from bench.execution.prepare import reset_classifier
    from bench.kept.load import load_network

    network = load_network(place.results, store.read(place.results, run), place.registry, place.device)
    made = _Made({}, {}, {})
    for done, (part, mapped) in enumerate(_mapped(network, pairs, pictures, place.device), 1):
        made.maps.update(zip(part, map(shares, mapped.maps), strict=True))
        made.probabilities.update(zip((i for i, _ in part), mapped.probabilities, strict=True))
        total = -(-len(pairs) // BATCH)
        place.report(Progress(unit=run.label, stage="explain", done=done, total=total, key=run.key))
    if place.random_head:
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(run.seed, "random head", run.round))
            reset_classifier(network.net, network.model.classifier(network.net))
        for part, mapped in _mapped(network, pairs, pictures, place.device):
            made.random.update(zip(part, map(shares, mapped.maps), strict=True))
    return made


def _mapped(
    network: Network, pairs: Sequence[tuple[int, int]], pictures: Pictures, device: torch.device
) -> Iterator[tuple[Sequence[tuple[int, int]], Mapped]]:
    features = network.model.features
    if features is None:
        raise ConfigError(
            f"{network.kept.label}: {network.model.name} has no dense features, so there is no "
            "class-activation map of it; leave this row out of --methods"
        )
    maker = None
    for start in range(0, len(pairs), BATCH):
        part = pairs[start : start + BATCH]
        images = network.context.normalize(pictures.pixels[[i for i, _ in part]].to(device))
        maker = maker or activation(network.net, features, images)
        yield part, maker.maps(images, [k for _, k in part])


def _far_from_stored(run: RunSpec, made: _Made, pictures: Pictures, place: Place) -> Iterator[str]:
    """A warning where a network does not predict what is stored of it."""
    record = store.read(place.results, run)
    assert record.path is not None
    stored = store.read_predictions(record.path, "test", record)
    rows = {id_: i for i, id_ in enumerate(stored.ids)}
    differences = [
        np.abs(given - stored.probabilities[rows[pictures.ids[i]]]).max()
        for i, given in made.probabilities.items()
    ]
    if max(differences, default=0.0) > FAR:
        yield (
            f"{run.label}, round {run.round}: the kept network gives probabilities that differ from the "
            f"stored ones by up to {max(differences):.2g}; its maps are not those of the stored predictions"
        )


def _looks(one: _Asked, title: str, made: dict[str, _Made], place: Place) -> Iterator[Look]:
    members = _members(one.spec)
    weights = _weights(one, place)
    for n, row in enumerate(one.rows):
        pair = n, int(one.explained[n])
        maps = [made[member.key].maps[pair] for member in members]
        random = made[members[0].key].random.get(pair) if len(members) == 1 else None
        yield Look(
            model=one.method.label.model,
            method=one.method.label.method,
            title=title,
            round=one.spec.round,
            id=one.predictions.ids[row],
            group=one.predictions.groups[row],
            label=int(one.predictions.labels[row]),
            predicted=int(one.predictions.probabilities[row].argmax()),
            explained=pair[1],
            probability=float(one.predictions.probabilities[row, pair[1]]),
            map=maps[0] if len(maps) == 1 else combined_map(maps, weights[:, n].tolist()),
            random_head=random,
        )


def _weights(one: _Asked, place: Place) -> NDArray[np.float64]:
    """(M, N) how much each member counts for each picture."""
    if not isinstance(one.spec, EnsembleSpec):
        return np.ones((1, len(one.rows)))
    ensembles = place.registry.ensembles
    records = [(store.path_of(place.results, m), store.read(place.results, m)) for m in one.spec.members]
    val = [store.read_predictions(folder, "val", record) for folder, record in records]
    test = [store.read_predictions(folder, "test", record) for folder, record in records]
    combine = ensembles.get(one.spec.ensemble.name).fit(val, ensembles.params(one.spec.ensemble))
    chosen = [
        each.probabilities[[each.ids.index(one.predictions.ids[row]) for row in one.rows]] for each in test
    ]
    return member_weights(combine, chosen, one.explained)
