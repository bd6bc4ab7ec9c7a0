"""Test images of a round explained: what pretrainings show and make of them, and where classifiers look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.evidence import Sample
from bench.comparison.methods import Method
from bench.explain.chosen import has_decoder, keeping_command, pretrainings
from bench.explain.guides import Guide, guide_maps, revealed
from bench.explain.looks import Pictures, Place, look
from bench.explain.masks import mask_of
from bench.explain.measures import Given, Measured, measure
from bench.interfaces.executor import Progress
from bench.interfaces.strategy import Revealing
from bench.results import store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.data.images.images import Images

CHUNK = 256  # images whose pixels are in memory at once


class Revealed(NamedTuple):
    """One picture that a pretraining shows.

    Attributes:
        method: how its row is called.
        name: what the picture is: "noisy input".
        pixels: uint8 (3, S, S).
    """

    method: str
    name: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ExplainedImage:
    """One test image.

    Attributes:
        id: of it.
        label: its class.
        pixels: uint8 (3, S, S), as networks see it.
        given: its guides and its mask.
        revealed: pictures of the pretrainings.
        measured: what each method makes of it, with numbers.
    """

    id: str
    label: str
    pixels: NDArray[np.uint8]
    given: Given
    revealed: tuple[Revealed, ...]
    measured: tuple[Measured, ...]


@dataclass(frozen=True, kw_only=True)
class Explained:
    """Test images of one round.

    Attributes:
        where: data set, and protocol where several tables have it.
        round: of the study.
        classes: names.
        images: in the order of the test part.
        guides: what pretrainings go by.
        has_ensemble: whether a row is an ensemble.
        notes: what is missing, and how to have it.
        warnings: what a user should look into.
    """

    where: str
    round: int
    classes: tuple[str, ...]
    images: tuple[ExplainedImage, ...]
    guides: tuple[Guide, ...]
    has_ensemble: bool
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


class Task(NamedTuple):
    """What is explained with.

    Attributes:
        where: data set, and protocol where several tables have it.
        images: of the data set, with a view at `size`.
        size: side of the square input of networks, pixels.
        guides: what pretrainings go by.
        sample: the test images of all rounds, with their groups.
        of: for which class maps are made (`looks.look`).
        place: where networks are and run.
    """

    where: str
    images: Images
    size: int
    guides: Sequence[Guide]
    sample: Sample
    of: str
    place: Place


def explain_images(
    task: Task, rows: Sequence[Method], round_: int, ids: Sequence[str], seed: int
) -> Explained:
    """The rows that have this round, at the test images `ids` of it. Raises as `looks.look` does, and
    PluginError where a strategy shows what it should not."""
    pictures = pictures_of(task, ids)
    given = given_of(task, pictures)
    looks, warnings = look(rows, round_, pictures, task.of, task.place)
    shown, notes = _revealed(task, rows, round_, pictures, seed)
    measured = measure(looks, given)
    place = {id_: i for i, id_ in enumerate(task.images.ids)}
    explained = tuple(
        ExplainedImage(
            id=id_,
            label=task.images.classes[task.images.labels[place[id_]]],
            pixels=pictures.pixels[i].numpy(),
            given=given[id_],
            revealed=tuple(shown[id_]),
            measured=tuple(each for each in measured if each.look.id == id_),
        )
        for i, id_ in enumerate(ids)
    )
    return Explained(
        where=task.where,
        round=round_,
        classes=task.images.classes,
        images=explained,
        guides=tuple(task.guides),
        has_ensemble=any(row.is_ensemble for row in rows),
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(warnings),
    )


def measure_round(
    task: Task, rows: Sequence[Method], round_: int, ids: Sequence[str]
) -> tuple[list[Measured], list[str]]:
    """The numbers of every row at all these test images of a round, and warnings. Raises as `look` does."""
    measured: list[Measured] = []
    warnings: dict[str, None] = {}
    for start in range(0, len(ids), CHUNK):
        pictures = pictures_of(task, ids[start : start + CHUNK])
        looks, problems = look(rows, round_, pictures, task.of, task.place)
        measured += measure(looks, given_of(task, pictures))
        warnings |= dict.fromkeys(problems)
    return measured, list(warnings)


def pictures_of(task: Task, ids: Sequence[str]) -> Pictures:
    """The images as networks are evaluated on them: resized, the centre cut out."""
    import torch

    from bench.engine.batches import evaluation_batches

    place = {id_: i for i, id_ in enumerate(task.images.ids)}
    rows = np.array([place[id_] for id_ in ids])
    batches = evaluation_batches(task.images.view(task.size), rows, batch=64, size=task.size)
    return Pictures(ids=tuple(ids), pixels=torch.cat([images for (images,) in batches]))


def given_of(task: Task, pictures: Pictures) -> dict[str, Given]:
    """Guides and mask of each image. Raises PluginError for a guide that fails, DataError for a mask."""
    guides = {guide.method: guide_maps(guide, pictures.pixels, task.place.registry) for guide in task.guides}
    place = {id_: i for i, id_ in enumerate(task.images.ids)}
    return {
        id_: Given(
            guides={name: maps[n] for name, maps in guides.items()},
            mask=mask_of(task.images, place[id_], task.size),
        )
        for n, id_ in enumerate(pictures.ids)
    }


def _revealed(
    task: Task, rows: Sequence[Method], round_: int, pictures: Pictures, seed: int
) -> tuple[Mapping[str, list[Revealed]], list[str]]:
    """What the pretrainings of these rows reveal of each image, by id; and what is missing."""
    from bench.kept.load import load_objective

    place = task.place
    shown: dict[str, list[Revealed]] = {id_: [] for id_ in pictures.ids}
    notes = []
    for row, run in pretrainings(rows, round_):
        assert run.start is not None
        if not has_decoder(run.start, place.results):
            notes.append(
                f"{row.label.method}: its pretraining was not kept with its decoder, so what it makes of "
                f"images cannot be shown; keep it by {keeping_command(row, place.results, place.registry)}"
            )
            continue
        record = store.read(place.results, run.start)
        objective = load_objective(place.results, record, place.registry, place.device)
        if not isinstance(objective.module, Revealing):
            notes.append(f"{row.label.method}: its strategy offers no pictures (`reveal`)")
            continue
        report = partial(Progress, unit=run.start.label, stage="reveal", total=1, key=run.start.key)
        given = revealed(objective, pictures.pixels.to(place.device), pictures.ids, seed, place.registry)
        place.report(report(done=1))
        for id_, named in zip(pictures.ids, given, strict=True):
            shown[id_] += [Revealed(row.label.method, name, pixels) for name, pixels in named.items()]
    return shown, notes
