"""Class probabilities of new images by kept models, a batch of images at a time.

An image goes the way of a test image of a study: decoded with the data set's range of brightness, its short
side resized to the network's input, its centre cut, normalised (`decode`, `resize`, `evaluation_batches`,
`predict`: the very functions). So the test images of a run, in their order, come to the stored
probabilities, to the last bit where device and threads are those of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.images.decode import decode, extent, resize
from bench.data.images.parallel import each, in_order
from bench.data.images.ranges import WIDE, Ranges
from bench.errors import DataError, PluginError, StoreError
from bench.kept.find import Chosen
from bench.kept.load import Network, installed_component, open_network
from bench.results import store
from bench.results.distribution import fault

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bench.interfaces.ensemble import Combine
    from bench.registry import Registry
    from bench.results.kept import TrainedOn

DECODED_AT_ONCE = 4  # images of one call of a decoding thread
FEW = 3  # names of images in a warning


@dataclass(frozen=True)
class Predictor:
    """What predicts: one network, or the networks of an ensemble with its rule.

    Attributes:
        name: of the run.
        classes: in the order of the probabilities.
        networks: one, or those of the members.
        combine: an ensemble's rule; None for one network.
        ranges: what becomes black and white in files of more than 8 bits.
        device: where the networks are.
    """

    name: str
    classes: tuple[str, ...]
    networks: tuple[Network, ...]
    combine: Combine | None
    ranges: Ranges
    device: torch.device

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the networks' inputs, each once, pixels."""
        return tuple(dict.fromkeys(network.context.size for network in self.networks))


class Prepared(NamedTuple):
    """One image, decoded and resized."""

    path: Path
    pixels: dict[int, NDArray[np.uint8]]  # (C, h, w) by short side; empty where it cannot be used
    problem: str = ""  # why not
    side: int = 0  # short side of the file's image, pixels
    grey: bool = False


class Predicted(NamedTuple):
    """What is predicted of one image."""

    image: Prepared
    probabilities: NDArray[np.float64] | None  # (K,); None where the image cannot be used

    @property
    def problem(self) -> str:
        """Why there are no probabilities; "" where there are."""
        return self.image.problem


def load_predictor(chosen: Chosen, registry: Registry, device: torch.device) -> Predictor:
    """The networks of a run or ensemble on `device`; an ensemble's rule is fitted again on the stored
    validation predictions of its members, as it was.

    Raises StoreError for what is damaged or does not fit, ConfigError where a plugin is missing.
    """
    networks = tuple(open_network(folder, registry, device) for folder in chosen.folders)
    first = networks[0].kept
    for network in networks[1:]:
        if network.context.classes != networks[0].context.classes:
            raise StoreError(f"{chosen.name}: its members have other classes than each other")
        if (network.kept.bits, network.kept.dicom) != (first.bits, first.dicom):
            raise StoreError(f"{chosen.name}: its members read values of 16 bits in different ranges")
    return Predictor(
        chosen.name,
        networks[0].context.classes,
        networks,
        _rule(chosen, registry),
        Ranges(first.bits, first.dicom),
        device,
    )


def _rule(chosen: Chosen, registry: Registry) -> Combine | None:
    """How an ensemble combines its members; None for a run."""
    spec = chosen.ensemble
    if spec is None:
        return None
    assert chosen.results is not None
    ensemble = installed_component(registry.ensembles, spec.ensemble, spec.label)
    folders = [store.path_of(chosen.results, member) for member in spec.members]
    records = [store.read(chosen.results, member) for member in spec.members]
    validation = [
        store.read_predictions(folder, "val", record) for folder, record in zip(folders, records, strict=True)
    ]
    return ensemble.fit(validation, registry.ensembles.params(spec.ensemble))


# --- images ------------------------------------------------------------------------------------------


def prepare(path: Path, ranges: Ranges, sizes: Sequence[int]) -> Prepared:
    """Decode a file and resize it for every network; what cannot be read says why.

    Raises ConfigError where what reads its format is not installed.
    """
    try:
        pixels = decode(path, ranges).pixels
        resized = {size: resize(pixels, size) for size in sizes}
    except DataError as error:
        return Prepared(path, {}, _beyond(path, ranges) or str(error))
    return Prepared(path, resized, "", min(pixels.shape[:2]), pixels.ndim == 2)


def _beyond(path: Path, ranges: Ranges) -> str:
    """Whether a file holds values that the images of the training could not, as a sentence."""
    found = extent(path)
    white = 2**ranges.bits - 1
    if found is None or found.kind != WIDE or found.high <= white:
        return ""
    return (
        f"{path}: holds the value {found.high:g}, and the model was trained on images of {ranges.bits} bits "
        f"(0 is black, {white} white); bring it into that range"
    )


@dataclass(frozen=True)
class _Loaded:
    """Images of one batch at one short side, as the store's views are."""

    images: list[NDArray[np.uint8]]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        return [(image.shape[0], image.shape[1], image.shape[2]) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        return self.images[i]


# --- predicting --------------------------------------------------------------------------------------


def predict_files(
    predictor: Predictor, paths: Sequence[Path], threads: int, tell: Callable[[int], None] = lambda done: None
) -> Iterator[Predicted]:
    """What is predicted of each file, in order, holding one batch of images at a time and what is decoded
    ahead. `tell` hears how many are done.

    Raises PluginError for probabilities that are none, naming the ensemble or model.
    """
    from bench.engine.input_pipeline import DEVICE_EVALUATION_BATCH, HOST_EVALUATION_BATCH

    batch = HOST_EVALUATION_BATCH if predictor.device.type == "cpu" else DEVICE_EVALUATION_BATCH
    read = each(partial(prepare, ranges=predictor.ranges, sizes=predictor.sizes))
    waiting: list[Prepared] = []
    usable = done = 0
    for image in in_order(read, paths, DECODED_AT_ONCE, threads):
        waiting.append(image)
        usable += not image.problem
        if usable == batch:
            yield from _predict_batch(predictor, waiting)
            done += len(waiting)
            tell(done)
            waiting, usable = [], 0
    yield from _predict_batch(predictor, waiting)
    tell(done + len(waiting))


def _predict_batch(predictor: Predictor, images: Sequence[Prepared]) -> Iterator[Predicted]:
    usable = [image for image in images if not image.problem]
    rows = iter(_probabilities(predictor, usable)) if usable else iter(())
    for image in images:
        yield Predicted(image._replace(pixels={}), None if image.problem else next(rows))


def _probabilities(predictor: Predictor, images: Sequence[Prepared]) -> NDArray[np.float64]:
    """(N, K) of these images."""
    members = [
        _of_network(network, [image.pixels[network.context.size] for image in images], predictor.device)
        for network in predictor.networks
    ]
    combined = predictor.combine(members) if predictor.combine else members[0]
    if problem := fault(combined, len(images), len(predictor.classes)):
        raise PluginError(f"{predictor.name} gives {problem}; nothing is written of it")
    return combined


def _of_network(
    network: Network, images: list[NDArray[np.uint8]], device: torch.device
) -> NDArray[np.float64]:
    from bench.engine.batches import evaluation_batches
    from bench.engine.job import Job
    from bench.engine.predict import predict
    from bench.interfaces.executor import silent

    view, size = _Loaded(images), network.context.size
    batches = evaluation_batches(view, np.arange(len(images)), batch=len(images), size=size)
    job = Job(
        unit=network.kept.label,
        stage="predict",
        seed=0,
        device=device,
        checkpoint=Path(),  # nothing is trained
        report=silent,
        precision=network.kept.precision,
    )
    probabilities: NDArray[np.float64] = predict(network.net, batches, network.context.normalize, job).numpy()
    return probabilities


# --- images unlike those of the training -------------------------------------------------------------


@dataclass
class Unlike:
    """Counts images that are unlike those that a model was trained on, of what is cheaply known."""

    trained_on: TrainedOn | None
    seen: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def look_at(self, image: Prepared) -> None:
        """Count one image that could be read."""
        known = self.trained_on
        if known is None or image.problem:
            return
        self.seen += 1
        if known.grey == 1 and not image.grey:
            self._add("are in colour, and the model was trained on grey images alone", image)
        if known.grey == 0 and image.grey:
            self._add("are grey, and the model was trained on images in colour alone", image)
        low, high = known.sides
        if not low / 2 <= image.side <= 2 * high:
            what = f"have a short side far from those of the training's images ({low} to {high} pixels)"
            self._add(what, image)

    def _add(self, what: str, image: Prepared) -> None:
        self.counts[what] += 1
        examples = self.examples.setdefault(what, [])
        if len(examples) < FEW:
            examples.append(str(image.path))

    def warnings(self) -> list[str]:
        """A sentence for each way in which images were unlike."""
        return [
            f"{count} of {self.seen} images {what}: {', '.join(self.examples[what])}"
            f"{', ...' if count > FEW else ''}; its probabilities may mean little there"
            for what, count in self.counts.items()
        ]
