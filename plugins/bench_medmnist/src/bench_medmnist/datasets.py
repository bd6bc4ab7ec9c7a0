"""The data sets of MedMNIST+: parameters, files, and the index made from the arrays of an npz.

<data root>/<name>/<name>.npz (28 pixels), <name>_64.npz, <name>_128.npz, <name>_224.npz
    {train,val,test}_images   (N, S, S) or (N, S, S, 3) uint8
    {train,val,test}_labels   (N, 1), or (N, 14) of 0 and 1 for chestmnist
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench import Archive, DataError, DataNotFound, Dataset, Index, Sample
from bench_medmnist.sources import SOURCES, MedMNISTSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARTS = ("train", "val", "test")
SIZES = (28, 64, 128, 224)
RECORD = "10519652"
HOME = f"https://zenodo.org/records/{RECORD}"


@dataclass(frozen=True)
class Params:
    """Parameters of every set.

    Attributes:
        size: side of the square images, pixels; each size is a file of its own.
        split: "official" is the published division into train, val and test; with "drawn", bench draws one
            per round, image by image: patients are not named, so images of one may be on both sides.
    """

    size: Literal[28, 64, 128, 224] = 224
    split: Literal["official", "drawn"] = "official"


@dataclass(frozen=True)
class ChestParams(Params):
    """Parameters of chestmnist, which has 14 findings per image.

    Attributes:
        finding: what is to be classified: whether the image shows this finding, or with "any", at least one.
    """

    finding: Literal[
        "any",
        "atelectasis",
        "cardiomegaly",
        "effusion",
        "infiltration",
        "mass",
        "nodule",
        "pneumonia",
        "pneumothorax",
        "consolidation",
        "edema",
        "emphysema",
        "fibrosis",
        "pleural",
        "hernia",
    ] = "any"


REFERENCE = """
@article{yang2023medmnist,
  author = {Yang, Jiancheng and Shi, Rui and Wei, Donglai and Liu, Zequan and Zhao, Lin and Ke, Bilian and Pfister, Hanspeter and Ni, Bingbing},
  title = {{MedMNIST} v2 - A large-scale lightweight benchmark for {2D} and {3D} biomedical image classification},
  journal = {Scientific Data},
  volume = {10},
  pages = {41},
  year = {2023},
  doi = {10.1038/s41597-022-01721-8}
}
"""  # noqa: E501


PERMITS = {
    "CC BY 4.0": "CC BY 4.0 permits it, with credit to the authors",
    "CC BY-NC 4.0": "CC BY-NC 4.0 permits it for non-commercial purposes, with credit to the authors",
}
"""Licence -> which right it gives to pass on images."""


def dataset_of(source: MedMNISTSet) -> Dataset[Params]:
    """The component of one set."""
    return Dataset(
        name=source.name,
        about=f"MedMNIST+: {source.about}, {sum(source.parts):,} images",
        caution=source.caution,
        params=ChestParams if source.name == "chestmnist" else Params,
        index=partial(index, source),
        home=HOME,
        fetch=f"download {source.name}_224.npz from {HOME} into the folder {source.name} of the data root",
        archives=partial(archives, source),
        citation=(
            "Yang J, Shi R, Wei D et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D "
            "biomedical image classification. Scientific Data 10:41, 2023. doi:10.1038/s41597-022-01721-8"
        ),
        bibtex=REFERENCE,
        licence=source.licence,
        redistribution=PERMITS[source.licence],
    )


def file_name(source: MedMNISTSet, size: int) -> str:
    return f"{source.name}.npz" if size == 28 else f"{source.name}_{size}.npz"


def archives(source: MedMNISTSet, params: Params) -> tuple[Archive, ...]:
    """The file of that size, with the address and md5 that the package `medmnist` states."""
    from medmnist.info import INFO

    suffix = "" if params.size == 28 else f"_{params.size}"
    about = INFO[source.name]
    urls, checksum = (about[f"url{suffix}"],), f"md5:{about[f'MD5{suffix}']}"
    return (Archive(name=file_name(source, params.size), urls=urls, checksum=checksum, unpack=None),)


def index(source: MedMNISTSet, root: Path, params: Params) -> Index:
    """All images, as rows of memory maps. Unpacks the npz beside itself the first time.

    Raises DataNotFound if the file of this size is not there, DataError if it does not hold what it should.
    """
    npz = _find(source, root, params.size)
    classes = classes_of(source, params)
    samples: list[Sample] = []
    counts: list[int] = []
    for part in PARTS:
        samples += _samples(npz, part, source, params)
        counts.append(len(samples) - sum(counts))
    version = f"MedMNIST+ (Zenodo {RECORD})"
    if tuple(counts) != source.parts:
        listed = " + ".join(f"{count:,}" for count in source.parts)
        version = f"unknown: {' + '.join(f'{c:,}' for c in counts)} images, MedMNIST+ has {listed}"
    drawn = "no patient is named: a drawn split may put images of one on both sides"
    return Index(
        classes=classes,
        samples=tuple(samples),
        version=f"{version}, {params.size} pixels",
        notes=(drawn,) if params.split == "drawn" else (),
    )


def classes_of(source: MedMNISTSet, params: Params) -> tuple[str, ...]:
    if isinstance(params, ChestParams):
        finding = "finding" if params.finding == "any" else params.finding
        return f"no {finding}", finding
    return source.labels


def _find(source: MedMNISTSet, root: Path, size: int) -> Path:
    name = file_name(source, size)
    folders = (root / source.name, root)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    others = [s for s in SIZES for folder in folders if (folder / file_name(source, s)).is_file()]
    hint = f"; size {others[0]} is there: --set dataset.{source.name}.size={others[0]}" if others else ""
    raise DataNotFound(
        f"{source.name}: no {name} in {folders[0]} or {root}{hint}; download it from {HOME}, "
        "or give the data root with --data (~/.medmnist is where the package medmnist keeps its files)"
    )


def _samples(npz: Path, part: str, source: MedMNISTSet, params: Params) -> Iterator[Sample]:
    from bench_medmnist.npz import mapped, read

    images, content = mapped(npz, f"{part}_images")
    size = params.size
    if images.dtype != "uint8" or images.shape[1:] not in ((size, size), (size, size, 3)):
        raise DataError(
            f"{npz}: {part}_images is {images.dtype} {images.shape}, not uint8 (N, {size}, {size}[, 3]); "
            f"fetch the official file of size {size} again"
        )
    codes = _codes(npz, part, read(npz, f"{part}_labels"), source, params)
    if len(codes) != len(images):
        raise DataError(f"{npz}: {len(codes)} {part}_labels of {len(images)} {part}_images; fetch it again")
    classes = classes_of(source, params)
    for row, code in enumerate(codes.tolist()):
        yield Sample(
            id=f"{part}/{row:06d}",
            label=classes[code],
            array=images[row],
            part=part if params.split == "official" else "",
            source=f"{content}:{row}",
        )


def _codes(
    npz: Path, part: str, labels: NDArray[Any], source: MedMNISTSet, params: Params
) -> NDArray[np.integer[Any]]:
    """(N,) indices into the classes. Raises DataError, with the first few rows, for labels out of range."""
    import numpy as np

    multi_label = isinstance(params, ChestParams)
    columns, largest = (len(source.labels), 1) if multi_label else (1, len(source.labels) - 1)
    if labels.ndim != 2 or labels.shape[1] != columns or labels.dtype.kind not in "iu":
        raise DataError(
            f"{npz}: {part}_labels is {labels.dtype} {labels.shape}, not whole numbers (N, {columns}); "
            "fetch the official file again"
        )
    wrong = (labels < 0) | (labels > largest)
    if bad := np.flatnonzero(wrong.any(axis=1))[:5].tolist():
        raise DataError(
            f"{npz}: {part}_labels, rows {', '.join(map(str, bad))}: not 0 to {largest}; fetch it again"
        )
    if isinstance(params, ChestParams):
        positive_columns = slice(None) if params.finding == "any" else [source.labels.index(params.finding)]
        return labels[:, positive_columns].any(axis=1).astype("int64")
    return labels[:, 0]


DATASETS = tuple(dataset_of(source) for source in SOURCES)
