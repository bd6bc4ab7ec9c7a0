"""What a data set promises."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.errors import BenchError
from bench.interfaces.component import P
from bench.interfaces.dataset import Dataset, Index, Sample
from bench.testing.component import check_component, works


def check_dataset(dataset: Dataset[P], root: Path, params: P | None = None) -> None:
    """The index of the data under `root` is consistent, the same each time, and its images can be decoded.

    In particular: ids are unique; every label is a class and every class has images; each sample has either a
    path or an array; all samples have a part or none has; `expected` counts the classes; of every class the
    first image is decoded; a reviewed file that comes with it names its images; archives can be fetched as
    described; and where nothing lies under the root, `index` raises a BenchError (DataNotFound) if it needs
    files at all.
    """
    from bench.data.fetch.fetch import check_archive
    from bench.data.images.index import check_index
    from bench.data.images.reviewed import read_reviewed
    from bench.data.images.selection import apply_reviewed

    check_component(dataset)
    name = dataset.name
    params = dataset.params() if params is None else params
    with works(name):
        index, again = dataset.index(root, params), dataset.index(root, params)
        check_index(index, name)
        if dataset.reviewed is not None:
            apply_reviewed(index, read_reviewed(dataset.reviewed), name)
        for archive in dataset.archives(params):
            check_archive(archive, name)
    assert _described(index) == _described(again), f"{name}: the index must not change from call to call"
    with_part = [sample.part != "" for sample in index.samples]
    assert all(with_part) or not any(with_part), f"{name}: either all samples have a part or none has"
    if expected := index.expected or dataset.expected:
        assert set(expected) == set(index.classes), f"{name}: `expected` must count the classes of the index"
    for label in index.classes:
        _check_pixels(name, index.bits, *(_first(each, label) for each in (index, again)))
    _check_nothing_there(dataset, params)


def _described(index: Index) -> list[tuple[str, ...]]:
    fields = [f.name for f in dataclasses.fields(Sample) if f.name != "array"]
    return [tuple(str(getattr(sample, name)) for name in fields) for sample in index.samples]


def _first(index: Index, label: str) -> Sample:
    return next(sample for sample in index.samples if sample.label == label)


def _check_pixels(name: str, bits: int, sample: Sample, again: Sample) -> None:
    import numpy as np

    from bench.data.images.decode import check_array, decode
    from bench.data.images.ranges import WHOLE, Ranges

    with works(name):
        if sample.path is not None:
            decode(sample.path, Ranges(bits or WHOLE.bits))
        elif sample.array is not None and again.array is not None:
            pixels = check_array(sample.array, sample.id)
            same = np.array_equal(pixels, check_array(again.array, again.id))
            assert same, f"{name}: the pixels of {sample.id} change from call to call"


def _check_nothing_there(dataset: Dataset[P], params: P) -> None:
    """Where the data set is not installed, the core expects an index or a BenchError."""
    with TemporaryDirectory() as folder:
        try:
            dataset.index(Path(folder), params)
        except BenchError:
            pass
        except Exception as error:
            raise AssertionError(
                f"{dataset.name}: in an empty folder `index` raises {type(error).__name__}: {error}; it must "
                "raise DataNotFound, which says what was looked for, where, and how to get it"
            ) from error
