"""The index of a data set, checked before its images are opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import DataError, encodable
from bench.interfaces.dataset import Dataset, Index, Sample
from bench.text import by_kind, is_printable

PARTS = ("train", "val", "test")


def read_index(dataset: Dataset, params: Any, root: Path) -> Index:
    """List the images of a data set below `root`, and check the list.

    Raises DataNotFound if the data set is not there, DataError if its index contradicts itself, TypeError if
    it is none.
    """
    index = dataset.index(root, params)
    if not isinstance(index, Index):
        raise TypeError(f"index gave {type(index).__name__} instead of bench.Index")
    check_index(index, dataset.name)
    return index


def check_index(index: Index, name: str) -> None:
    """Raise DataError, naming the first few faulty images, if an index contradicts itself."""
    _check_passed_over(index)
    others = f" (passed over: {by_kind(index.passed_over)})" if index.passed_over else ""
    if not index.samples:
        raise DataError(
            f"{name}: no images were found{others}; check the data root and the layout of its folders"
        )
    if index.bits not in range(17):
        raise DataError(f"{name}: bits = {index.bits!r}; give 1 to 16, or 0 to have them found from the data")
    odd = [str(s) for s in index.samples if not isinstance(s, Sample)]
    odd += [repr(s.id) for s in index.samples if isinstance(s, Sample) and not _is_text(s)]
    if odd:
        raise TypeError(f"{len(odd)} images are no bench.Sample of texts: {first_few(odd)}")
    if strange := [encodable(s.id) for s in index.samples if any(t != encodable(t) for t in _texts(s))]:
        raise DataError(
            f"{name}: {len(strange)} images have names that are not UTF-8, in which results name them: "
            f"{first_few(strange)}; rename these files or their folders (convmv does so for many at once)"
        )
    id_counts = Counter(s.id for s in index.samples)
    faults = {
        "have an id that another image has too": [id_ for id_, count in id_counts.items() if count > 1],
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
    for fault, faulty in faults.items():
        if faulty:
            raise DataError(f"{name}: {len(faulty)} images {fault}: {first_few(faulty)}; mend the index")
    if empty := set(index.classes) - {s.label for s in index.samples}:
        raise DataError(
            f"{name}: no image of class {', '.join(sorted(empty))}{others}; complete the data set, "
            "or remove the class (an empty folder?)"
        )


def _check_passed_over(index: Index) -> None:
    """Raise TypeError for counts of files passed over that cannot be shown and stored."""
    for kind, count in dict(index.passed_over).items():
        if not isinstance(kind, str) or not is_printable(kind) or type(count) is not int or count < 0:
            raise TypeError(
                f"passed_over must map one line of text to a number from 0, not {kind!r} to {count!r}"
            )


def _texts(sample: Sample) -> tuple[str, ...]:
    return sample.id, sample.label, sample.group, sample.part


def _is_text(sample: Sample) -> bool:
    return all(isinstance(value, str) for value in _texts(sample))


def first_few(items: Sequence[str], limit: int = 5) -> str:
    """The first `limit` items, and how many more there are, as text for a message."""
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
