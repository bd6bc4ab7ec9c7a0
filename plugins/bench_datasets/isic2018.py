"""ISIC 2018 task 3: dermoscopy images of seven diagnoses, in two published layouts or a mixture of them.

    ISIC2018_Task3_{Training,Validation,Test}_Input/ISIC_0024306.jpg
    ISIC2018_Task3_{Training,Validation,Test}_GroundTruth/ISIC2018_Task3_..._GroundTruth.csv
        image,MEL,NV,BCC,AKIEC,BKL,DF,VASC       one of the seven is 1; may also lie beside the folders
    ISIC2018_Task3_Training_LesionGroupings.csv  image,lesion_id,...

    HAM10000_images_part_1/, HAM10000_images_part_2/, or one folder HAM10000_images/ or images/
    HAM10000_metadata.csv (or .tab)              lesion_id,image_id,dx,...

The 10,015 training images are the same in both; several show one lesion, which is the group. Validation
(193 images) and test (1,512) exist in the official layout only, without published lesions.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import Archive, DataError, DataNotFound, Dataset, Index, Sample
from bench_datasets.isic2018_tables import (
    CLASSES,
    HOME,
    LabelTable,
    read_diagnoses,
    read_lesions,
    read_one_hot,
)
from bench_datasets.listing import find_home, first_few, images_below, natural, passed_over, still_packed
from bench_datasets.tables import refuse_lacking

PARTS = {"train": ("Training", 10_015), "val": ("Validation", 193), "test": ("Test", 1_512)}
SERVERS = (
    "https://isic-challenge-data.s3.amazonaws.com/2018/",
    "https://isic-archive.s3.amazonaws.com/challenges/2018/",
)
LESIONS = "ISIC2018_Task3_Training_LesionGroupings.csv"
FETCH = (
    "download ISIC2018_Task3_Training_Input.zip, ISIC2018_Task3_Training_GroundTruth.zip and "
    f"{LESIONS} (for split=official also ISIC2018_Task3_Validation_* and ISIC2018_Task3_Test_*) from {HOME} "
    "and unpack them in one folder, isic2018, of the data root"
)


@dataclass(frozen=True)
class Params:
    """Parameters of the data set `isic2018`.

    Attributes:
        split: "grouped" takes the 10,015 training images, of which bench draws a split that keeps the images
            of one lesion together; "official" takes the challenge's own training, validation and test images
            (11,720), whose validation and test images have no known lesion.
    """

    split: Literal["grouped", "official"] = "grouped"


def index(root: Path, params: Params) -> Index:
    """The images at `root` or in one of the usual places below it.

    Raises DataNotFound if images, labels or lesions are missing; DataError if a csv is at fault or an image
    has no row in one.
    """
    home = find_home(
        "isic2018: no folder ISIC2018_Task3_Training_Input (or HAM10000_images_part_1)",
        [root, *(root / name for name in ("isic2018", "ISIC2018", "HAM10000", "ham10000"))],
        lambda place: bool(_training_folders(place)),
        ("isic2018_task3_*.zip", "ham10000*.zip", "dataverse_files.zip"),
        FETCH,
    )
    folders = _training_folders(home)
    labels, lesions = _training_labels(home), _lesions(home)
    official = params.split == "official"
    searched = [*folders]
    parts = [_samples(folders, labels, lesions, "train" if official else "")]
    tables = [labels]
    for part in ("val", "test") if official else ():
        inputs, table = _held_out(home, part)
        parts.append(_samples([inputs], table, None, part))
        searched.append(inputs)
        tables.append(table)
    images = " and ".join(folder.name for folder in folders)
    sources = f"labels from {labels.path.name}, lesions from {lesions.path.name}"
    if labels.path == lesions.path:
        sources = f"labels and lesions from {labels.path.name}"
    samples = tuple(sample for samples, _ in parts for sample in samples)
    return Index(
        classes=CLASSES,
        samples=samples,
        version=f"{images}, {sources}{', official split' if official else ''}",
        # Counts per class are published for the training images; the ground truth says those of the others.
        expected=Counter(label for table in tables for label in table.values.values()) if official else {},
        notes=(
            *(note for _, notes in parts for note in notes),
            *(_official_notes(tables) if official else ()),
        ),
        passed_over=passed_over(searched, (s.path for s in samples if s.path)),
    )


def _official_notes(tables: list[LabelTable]) -> list[str]:
    notes = [
        "lesions are published of training images only: whether validation or test images show one of "
        "these lesions is not known"
    ]
    for table, (title, total) in zip(tables, PARTS.values(), strict=True):
        if len(table.values) != total:
            notes.append(
                f"{table.path.name}: {len(table.values)} rows, not {total:,}: no official {title} file"
            )
    return notes


# --- images ------------------------------------------------------------------------------------------


def _training_folders(home: Path) -> list[Path]:
    """The folder or folders of the training images; none if this is not the data set's home."""
    if (home / "ISIC2018_Task3_Training_Input").is_dir():
        return [home / "ISIC2018_Task3_Training_Input"]
    parts = [home / f"HAM10000_images_part_{i}" for i in (1, 2)]
    if missing := [part for part in parts if not part.is_dir()]:
        if len(missing) == 1:
            raise DataNotFound(f"isic2018: no folder {missing[0]} beside the other part; {FETCH}")
        named = [home / "HAM10000_images"] + [home / "images"] * (_metadata(home) is not None)
        return [folder for folder in named if folder.is_dir()][:1]
    return parts


def _samples(
    folders: list[Path], labels: LabelTable, lesions: LabelTable | None, part: str
) -> tuple[list[Sample], list[str]]:
    """The labelled images of `folders`, and notes about whatever was passed over."""
    paths, extra = _by_id(folders)
    if not paths:
        raise DataNotFound(f"{folders[0]}: no images (ISIC_*.jpg); {FETCH}")
    for what, table in (("label", labels), ("lesion", lesions)):
        if table is not None:
            lacking = [name for name in paths if name not in table.values]
            refuse_lacking(lacking, folders[0], what, table.path, f"fetch that file again from {HOME}")
    group_of = lesions.values if lesions else {}
    samples = [
        Sample(id=n, label=labels.values[n], group=group_of.get(n, ""), path=path, part=part)
        for n, path in paths.items()
    ]
    bare = [name for name in labels.values if name not in paths]
    where = " and ".join(folder.name for folder in folders)
    notes = {
        f"rows of {labels.path.name} without an image in {where}": bare,
        f"other images in {where}, passed over": [path.name for path in extra],
    }
    return samples, [f"{what}: {first_few(names)}" for what, names in notes.items() if names]


def _by_id(folders: list[Path]) -> tuple[dict[str, Path], list[Path]]:
    """Images by their id, in order, and the images that are not of the download."""
    paths: dict[str, Path] = {}
    extra = []
    for path in (p for folder in folders for p in images_below(folder)):
        if not re.fullmatch(r"ISIC_\d{7}", path.stem):
            extra.append(path)
        elif path.stem in paths:
            raise DataError(
                f"isic2018: {path.stem} is there twice: {paths[path.stem]} and {path}; remove one"
            )
        else:
            paths[path.stem] = path
    return {name: paths[name] for name in sorted(paths, key=natural)}, extra


# --- tables ------------------------------------------------------------------------------------------


def _training_labels(home: Path) -> LabelTable:
    if path := _official_table(home, "train"):
        return read_one_hot(path)
    if path := _metadata(home):
        return read_diagnoses(path)
    raise DataNotFound(
        f"{home}: neither ISIC2018_Task3_Training_GroundTruth.csv nor HAM10000_metadata.csv; "
        f"{still_packed([home])}{FETCH}"
    )


def _lesions(home: Path) -> LabelTable:
    if (home / LESIONS).is_file():
        return read_lesions(home / LESIONS, "image")
    if path := _metadata(home):
        return read_lesions(path, "image_id")
    raise DataNotFound(
        f"{home}: neither {LESIONS} nor HAM10000_metadata.csv, without which images of one lesion would "
        f"lie on both sides of a split; download {SERVERS[0]}{LESIONS} into that folder"
    )


def _held_out(home: Path, part: str) -> tuple[Path, LabelTable]:
    """Images and labels of the validation or test part."""
    title = PARTS[part][0]
    inputs, table = home / f"ISIC2018_Task3_{title}_Input", _official_table(home, part)
    if not inputs.is_dir() or table is None:
        lacking = inputs.name if table else f"ISIC2018_Task3_{title}_GroundTruth.csv"
        raise DataNotFound(
            f"{home}: no {lacking}, which split=official needs; {still_packed([home])}"
            f"unpack ISIC2018_Task3_{title}_Input.zip and ISIC2018_Task3_{title}_GroundTruth.zip from {HOME} "
            "there, or take split=grouped, which needs the training images only"
        )
    return inputs, read_one_hot(table)


def _official_table(home: Path, part: str) -> Path | None:
    name = f"ISIC2018_Task3_{PARTS[part][0]}_GroundTruth"
    places = (home / name / f"{name}.csv", home / f"{name}.csv")
    return next((path for path in places if path.is_file()), None)


def _metadata(home: Path) -> Path | None:
    places = (home / f"HAM10000_metadata{suffix}" for suffix in (".csv", ".tab"))
    return next((path for path in places if path.is_file()), None)


# --- the component -----------------------------------------------------------------------------------


def archives(params: Params) -> tuple[Archive, ...]:
    """The files of the challenge's server that `params` needs."""

    def archive(name: str, checksum: str = "", size: int = 0) -> Archive:
        urls = tuple(server + name for server in SERVERS)
        return Archive(
            name=name, urls=urls, checksum=checksum, size=size, unpack="" if name.endswith(".zip") else None
        )

    training = (
        # Size and both md5 are what a public download script checks; PyHealth's loader has the first md5 too.
        archive("ISIC2018_Task3_Training_Input.zip", size=2_771_732_744),
        archive("ISIC2018_Task3_Training_GroundTruth.zip", "md5:8302427e4ce0c107559531b9f444abe9"),
        archive(LESIONS, "md5:9517b6aa6902d6c27e234bac8279a64a"),
    )
    held_out = (
        archive(f"ISIC2018_Task3_{title}_{what}.zip")
        for title in ("Validation", "Test")
        for what in ("Input", "GroundTruth")
    )
    return (*training, *held_out) if params.split == "official" else training


REFERENCES = """
@article{tschandl2018ham10000,
  author = {Tschandl, Philipp and Rosendahl, Cliff and Kittler, Harald},
  title = {The {HAM10000} dataset, a large collection of multi-source dermatoscopic images of common pigmented skin lesions},
  journal = {Scientific Data},
  volume = {5},
  pages = {180161},
  year = {2018},
  doi = {10.1038/sdata.2018.161}
}

@misc{codella2019isic,
  author = {Codella, Noel and Rotemberg, Veronica and Tschandl, Philipp and Celebi, M. Emre and Dusza, Stephen and Gutman, David and Helba, Brian and Kalloo, Aadi and Liopyris, Konstantinos and Marchetti, Michael and Kittler, Harald and Halpern, Allan},
  title = {Skin Lesion Analysis Toward Melanoma Detection 2018: A Challenge Hosted by the International Skin Imaging Collaboration ({ISIC})},
  year = {2019},
  eprint = {1902.03368},
  archiveprefix = {arXiv}
}
"""  # noqa: E501

DATASET = Dataset(
    name="isic2018",
    about="Dermoscopy: seven diagnoses of pigmented skin lesions, 10,015 images of 7,470 lesions",
    params=Params,
    index=index,
    expected={"MEL": 1113, "NV": 6705, "BCC": 514, "AKIEC": 327, "BKL": 1099, "DF": 115, "VASC": 142},
    home=HOME,
    fetch=FETCH,
    archives=archives,
    citation=(
        "Tschandl P, Rosendahl C, Kittler H. The HAM10000 dataset, a large collection of multi-source "
        "dermatoscopic images of common pigmented skin lesions. Scientific Data 5:180161, 2018. "
        "doi:10.1038/sdata.2018.161; Codella N et al. Skin Lesion Analysis Toward Melanoma Detection 2018: "
        "A Challenge Hosted by the International Skin Imaging Collaboration (ISIC). arXiv:1902.03368, 2019"
    ),
    bibtex=REFERENCES,
    licence="CC BY-NC 4.0",
    redistribution="CC BY-NC 4.0 permits it for non-commercial purposes, with credit to the authors",
)
