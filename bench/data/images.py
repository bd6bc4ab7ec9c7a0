"""Images of a data set at hand: labels, groups, parts, and views of pixels that were decoded once.

The pixels are kept by `pixelstore`. Labels, groups and parts are not stored: they come from the data set's
index each time, so a corrected label needs no decoding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.data.pixels import read_image
from bench.data.pixelstore import Original, View, open_views
from bench.errors import DataError
from bench.spec import digest
from bench.types import Dataset, Index, Report, Sample, Workplace

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Images", "Original", "View", "check_index", "first_few", "prepare", "read_image"]

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Images:
    """A data set whose pixels are at hand. All sequences are of length N and in the index's order."""

    dataset: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) indices into classes
    groups: tuple[str, ...]  # never empty: an image without a group is a group of its own
    parts: tuple[str, ...]  # "train", "val", "test", or "" where the data set does not say
    sha256: tuple[str, ...]  # of the decoded pixels at full resolution
    version: str
    views: Mapping[int, View]
    originals: tuple[Original, ...] = ()  # size, channels and bytes of every file

    def __len__(self) -> int:
        return len(self.ids)

    def view(self, short: int) -> View:
        """The images with their short side at `short` pixels, one of those `prepare` was asked for."""
        return self.views[short]

    @cached_property
    def content(self) -> str:
        """sha256 (hex) of what the data set is: its (id, pixels, label, group), in any order."""
        names = (self.classes[label] for label in self.labels)
        return digest(sorted(map(list, zip(self.ids, self.sha256, names, self.groups, strict=True))))


def prepare(
    dataset: Dataset, params: Any, workplace: Workplace, shorts: Sequence[int], report: Report
) -> Images:
    """The images of `dataset`, with a view for every short side; decodes what is not stored yet.

    Raises DataNotFound if the data set is not there, DataError if its index or a file cannot be used.
    """
    index = dataset.index(workplace.data, params)
    check_index(index, dataset.name)
    stored = open_views(dataset.name, index.samples, workplace, shorts, report)
    number = {name: i for i, name in enumerate(index.classes)}
    return Images(
        dataset=dataset.name,
        classes=index.classes,
        ids=tuple(s.id for s in index.samples),
        labels=np.array([number[s.label] for s in index.samples], dtype=np.int64),
        groups=_groups(index.samples),
        parts=tuple(s.part for s in index.samples),
        sha256=stored.sha256,
        version=index.version,
        views=stored.views,
        originals=stored.originals,
    )


def _groups(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Group names, a lone image's made of its id and unlike any other group's."""
    taken = {s.group for s in samples}

    def alone(name: str) -> str:
        while name in taken:
            name = f"{name} (alone)"
        return name

    return tuple(s.group or alone(s.id) for s in samples)


# --- the index ---------------------------------------------------------------------------------------


def check_index(index: Index, name: str) -> None:
    """Raise DataError, with the first few offenders, if a data set's index contradicts itself."""
    if not index.samples:
        raise DataError(f"{name}: no images were found; check the data root and the layout of its folders")
    times = Counter(s.id for s in index.samples)
    faults = {
        "have an id that another image has too": [i for i, count in times.items() if count > 1],
        f"have a label that is not among the classes {', '.join(index.classes)}": [
            f"{s.id} ({s.label})" for s in index.samples if s.label not in index.classes
        ],
        "have not exactly one of path and array": [
            s.id for s in index.samples if (s.path is None) == (s.array is None)
        ],
        f"have a part other than {', '.join(PARTS)}": [
            f"{s.id} ({s.part})" for s in index.samples if s.part and s.part not in PARTS
        ],
    }
    for fault, offenders in faults.items():
        if offenders:
            raise DataError(
                f"{name}: {len(offenders)} images {fault}: {first_few(offenders)}; mend the index"
            )
    if empty := set(index.classes) - {s.label for s in index.samples}:
        raise DataError(
            f"{name}: no image of class {', '.join(sorted(empty))}; complete the data set, "
            "or remove the class (an empty folder?)"
        )


def first_few(items: Sequence[str], limit: int = 5) -> str:
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
