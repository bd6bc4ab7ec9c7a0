"""The images of a data set: labels, groups, parts, and views of pixels that were decoded once.

`store` keeps the pixels. Labels, groups and parts are not stored: they come from the data set's index
each time, so a corrected label needs no decoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.data.images.content import DecodeTask
from bench.data.images.store import StoredPixels, open_views
from bench.data.images.unreadable import (
    find_unreadable,
    may_be_left_out,
    remembered_unreadable,
    with_passed_over,
)
from bench.data.images.view import Original, View
from bench.errors import DataError
from bench.identity import digest
from bench.interfaces.dataset import Index, Sample
from bench.interfaces.executor import Environment, Report
from bench.interfaces.reviewed import Reviewed

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Images:
    """A data set whose pixels are stored. All sequences are of length N and in the order of the index."""

    dataset: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) indices into classes
    groups: tuple[str, ...]  # no name is empty: an image without a group is a group of its own
    parts: tuple[str, ...]  # "train", "val", "test", or "" where the data set does not say
    sha256: tuple[str, ...]  # of the decoded pixels at full resolution
    version: str
    views: Mapping[int, View]
    originals: tuple[Original, ...] = ()  # size, channels and bytes of every file
    paths: tuple[Path | None, ...] = ()  # of the files; None for an array
    masks: tuple[tuple[Path, ...], ...] = ()  # of every image: files that outline what its label is about
    grouped: bool = False  # whether the data set names the group of any image
    bits: int | None = None  # of the values in 16-bit files; None if there are no such files
    dicom: tuple[float, float] | None = None  # black and white of DICOM files without a window, if any
    changes: tuple[str, ...] = ()  # what a study changed of the data set, for tables
    reviewed: tuple[Reviewed, ...] = ()  # the files whose decisions of a person were applied
    passed_over: Mapping[str, int] = field(default_factory=dict)  # kind -> files or frames, no images
    unreadable: Mapping[str, str] = field(default_factory=dict)  # id -> why, of images that were left out

    def __len__(self) -> int:
        return len(self.ids)

    def view(self, short: int) -> View:
        """The images resized to a short side of `short` pixels; `open_images` must have opened this one."""
        return self.views[short]

    @cached_property
    def content(self) -> str:
        """sha256 (hex) of id, pixels, label and group of all images, whatever the order of the index."""
        names = (self.classes[label] for label in self.labels)
        return digest(sorted(map(list, zip(self.ids, self.sha256, names, self.groups, strict=True))))


def open_images(
    name: str, index: Index, environment: Environment, short_sides: Sequence[int], report: Report
) -> Images:
    """The images that the index of data set `name` lists, with a view at every short side.

    Decodes what is not stored yet. If `environment.on_bad_image` is "skip", images that cannot be decoded are
    left out, and are in `Images.unreadable`. Raises DataError if a file cannot be used, or too many cannot.
    """
    if environment.on_bad_image == "skip":
        stored, index, unreadable = _open_readable(name, index, environment, short_sides, report)
    else:
        stored, unreadable = open_views(name, index.samples, environment, short_sides, report, index.bits), {}
    class_numbers = {name: i for i, name in enumerate(index.classes)}
    return Images(
        dataset=name,
        classes=index.classes,
        ids=tuple(s.id for s in index.samples),
        labels=np.array([class_numbers[s.label] for s in index.samples], dtype=np.int64),
        groups=_groups(index.samples),
        parts=tuple(s.part for s in index.samples),
        sha256=stored.sha256,
        version=index.version,
        views=stored.views,
        originals=stored.originals,
        paths=tuple(s.path for s in index.samples),
        masks=tuple(s.masks for s in index.samples),
        grouped=_names_groups(index),
        bits=stored.bits,
        dicom=stored.dicom,
        changes=index.changes,
        reviewed=index.reviewed,
        passed_over=with_passed_over(index, (o.frames for o in stored.originals), len(unreadable)),
        unreadable=unreadable,
    )


def _open_readable(
    name: str, index: Index, environment: Environment, short_sides: Sequence[int], report: Report
) -> tuple[StoredPixels, Index, Mapping[str, str]]:
    """The stored pixels of the images that can be decoded, their index, and why the others cannot.

    Where all can, that costs no more than without looking for others. The range of 16-bit files is that of
    the images that are left.
    """
    task = DecodeTask(name, index.samples, environment.data, environment.threads, report)
    unreadable = remembered_unreadable(task, environment.scratch)
    if not unreadable:
        try:
            return open_views(name, index.samples, environment, short_sides, report, index.bits), index, {}
        except DataError:
            unreadable = find_unreadable(task, environment.scratch)
            if not unreadable:  # it was no image that could not be used
                raise
    if fault := may_be_left_out(name, index.samples, unreadable):
        raise DataError(fault)
    kept = tuple(sample for sample in index.samples if sample.id not in unreadable)
    return (
        open_views(name, kept, environment, short_sides, report, index.bits),
        replace(index, samples=kept),
        unreadable,
    )


def _names_groups(index: Index) -> bool:
    """Whether the data set itself names groups: those that a person gave in a reviewed file do not count."""
    given = {image.id for file in index.reviewed for image in file.images}
    return any(sample.group and sample.id not in given for sample in index.samples)


def _groups(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The group of every image. An image without a group gets a new one, named after its id."""
    taken = {s.group for s in samples}

    def new_group(name: str) -> str:
        while name in taken:
            name = f"{name} (alone)"
        return name

    return tuple(s.group or new_group(s.id) for s in samples)
