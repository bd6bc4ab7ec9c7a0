"""What an index must be before its images are opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.interfaces.dataset import Dataset, Index

PARTS = ("train", "val", "test")


def read_index(dataset: Dataset[Any], params: Any, root: Path) -> Index:
    """The data set's index, checked. Raises DataNotFound if there is none, DataError for one of no use."""
    index = dataset.index(root, params)
    check_index(index, dataset.name)
    return index


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
    """A list for a message, cut short."""
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
