"""Any labelled images: one folder per class, such folders under train/val/test, or a csv file.

    root/<class>/.../image.png
    root/{train,val,test}/<class>/.../image.png        the split is taken from the folders; val may be absent
    labels.csv, or a folder with one csv and no class folders:  path,label[,group][,split][,source]

Parts may be spelt as in PART_OF, in capitals too. Paths in a csv are relative to it, or absolute. A source
says where an image comes from (`bench subgroups --by source`); other columns are ignored. Masks that lie
beside their images are passed over, and so is whatever is not an image; all of it is counted.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import DataError, DataNotFound, Dataset, Index, Sample, is_image_file, masks_of, without_masks
from bench_datasets.dicom import with_patients
from bench_datasets.listing import (
    counted,
    files_in,
    first_few,
    folders_in,
    images_below,
    natural,
    passed_over,
)
from bench_datasets.tables import read_rows, refuse

PARTS = ("train", "val", "test")
PART_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
LAYOUTS = (
    "give a folder with one folder of images per class, such folders under train, val and test, "
    "or a csv file with the columns path,label[,group][,split]"
)
CSV_REMEDY = "the first line must be path,label[,group][,split]"


@dataclass(frozen=True)
class Params:
    """Parameters of the data set `folder`.

    Attributes:
        title: what tables call the data set; empty means "folder".
        group: how to see from an image's path which patient (or lesion, or video) it is of, so that all
            images of one patient are on one side of the split. It is a regular expression whose one part in
            parentheses is the patient. For files such as benign/patient012_left.png, set
            "dataset.folder.group=(patient[0-9]+)": all images of patient012 then form one group. Where each
            patient has a folder, as in benign/p7/1.png, set "dataset.folder.group=([^/]+)/[^/]+$". Paths
            start below the data root, and every path must match. Empty: every image stands alone, so that
            images of one patient may be in training and in test. In a csv file, a value in the column
            "group" comes first, and the expression serves the rows without one. DICOM files need none:
            where neither gives a group, the file's PatientID does.
        bits: of the values in 16-bit files: 12 if 4095 is white. 0: the smallest of 8, 10, 12, 14 and 16 bits
            that holds the highest value of all of them; `bench data verify folder` says which.
    """

    title: str = field(default="", metadata={"identity": False})
    group: str = ""
    bits: int = 0

    def __post_init__(self) -> None:
        if self.bits not in range(17):
            raise ValueError(f"bits = {self.bits} is none of 1 to 16, or 0 to have them found from the data")
        if not self.group:
            return
        try:
            pattern = re.compile(self.group)
        except re.error as error:
            raise ValueError(f"{self.group!r} is not a regular expression: {error}") from None
        if pattern.groups != 1:
            raise ValueError(f"{self.group!r} must have exactly one group in parentheses")


def index(root: Path, params: Params) -> Index:
    """List the images at `root`. Raises DataNotFound, DataError for files that fit no layout or cannot be
    read, and ConfigError if there are DICOM files and pydicom is not installed."""
    listed = _listed(root, params)
    samples, notes = with_patients(listed.samples)
    return replace(listed, samples=samples, notes=(*listed.notes, *notes), bits=params.bits)


def _listed(root: Path, params: Params) -> Index:
    group_of = _grouping(params.group)
    if table := _table(root):
        return _from_csv(table, group_of)
    if not root.is_dir():
        raise DataNotFound(f"folder: {root} is neither a folder nor a csv file; {LAYOUTS}")
    folders, tables = folders_in(root), _tables_in(root)
    if parts := _part_folders(root, folders):
        return _from_parts(root, parts, group_of)
    return _from_classes(root, folders, tables, group_of)


def sources(root: Path, params: Params) -> dict[str, str]:
    """The column "source" of a csv file, by id; empty for folders and a csv file without it."""
    if not (table := _table(root)):
        return {}
    rows = read_rows(table, ("path", "label"), CSV_REMEDY)
    return {_id_of(row["path"], table.parent): row["source"] for _, row in rows if row.get("source")}


def _table(root: Path) -> Path | None:
    """The csv file that lists the images: `root` itself, or the one in it if no folder has images."""
    if root.is_file() and root.suffix.lower() == ".csv":
        return root
    if not root.is_dir():
        return None
    tables = _tables_in(root)
    return tables[0] if len(tables) == 1 and not any(map(images_below, folders_in(root))) else None


def _tables_in(root: Path) -> list[Path]:
    return sorted(p for p in root.glob("*.csv") if not p.name.startswith("."))


GroupOf = Callable[[str], str]


def _grouping(pattern: str) -> GroupOf:
    def group_of(path: str) -> str:
        match = re.search(pattern, path)
        if not match or not match[1]:
            raise DataError(
                f"folder: {path} does not match the group pattern {pattern!r}; every image needs a group: "
                "change the pattern, or leave it empty to let every image stand alone"
            )
        return match[1]

    return group_of if pattern else lambda path: ""


# --- folders -----------------------------------------------------------------------------------------


def _part_of(name: str) -> str:
    """The part that a name stands for, in capitals or not; "" if it stands for none."""
    return PART_OF.get(name.strip().casefold(), "")


def _part_folders(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of the parts; none where folders are classes.

    A class may be called "test": a single such name beside others is a class, if images lie directly in it.
    Raises DataError where it cannot be told, or where two folders are of one part; DataNotFound where a part
    is missing.
    """
    named = [folder for folder in folders if _part_of(folder.name)]
    others = [folder for folder in folders if folder not in named]
    single = len({_part_of(folder.name) for folder in named}) == 1
    if not named or (others and single and not any(map(_has_image_folders, named))):
        return {}
    names = ", ".join(folder.name for folder in named)
    if extra := [folder for folder in others if images_below(folder)]:
        raise DataError(
            f"folder: {root} has folders named like parts of a split ({names}) and, beside them, "
            f"{first_few(folder.name for folder in extra)}, with images of no part; move that away from "
            f"{root} or into a part, or, if all of these are classes, rename {names}"
        )
    parts: dict[str, Path] = {}
    for folder in named:
        part = _part_of(folder.name)
        if part in parts:
            raise DataError(
                f"folder: {parts[part]} and {folder} are both the part {part}; put their images into one of "
                "them, or move one away"
            )
        parts[part] = folder
    if missing := [part for part in ("train", "test") if part not in parts]:
        raise DataNotFound(
            f"folder: {root} has no folder {' and no folder '.join(missing)} beside its other parts; "
            f"add it, or {LAYOUTS}"
        )
    return {part: parts[part] for part in PARTS if part in parts}


def _has_image_folders(folder: Path) -> bool:
    return any(map(images_below, folders_in(folder)))


def _from_classes(root: Path, folders: list[Path], tables: list[Path], group_of: GroupOf) -> Index:
    _refuse_loose(root)
    if len(folders) < 2:
        hint = f"; to use {tables[0].name}, give it as the data root" if tables else ""
        raise DataNotFound(
            f"folder: {root} has {len(folders)} class folders, fewer than two; {LAYOUTS}{hint}"
        )
    return _from_class_folders(root, {"": folders}, group_of)


def _from_parts(root: Path, parts: Mapping[str, Path], group_of: GroupOf) -> Index:
    for place in (root, *parts.values()):
        _refuse_loose(place)
    notes = []
    if bare := [f.name for f in folders_in(root) if f not in parts.values()]:
        notes.append(f"folders beside the parts, passed over because they hold no images: {first_few(bare)}")
    return _from_class_folders(
        root, {part: folders_in(folder) for part, folder in parts.items()}, group_of, notes
    )


def _from_class_folders(
    root: Path, folders: Mapping[str, Sequence[Path]], group_of: GroupOf, notes: Iterable[str] = ()
) -> Index:
    """The images of the class folders of each part."""
    samples: list[Sample] = []
    masks: list[str] = []
    lone: list[str] = []
    spelt: dict[str, _Spelling] = {}
    for part, classes in folders.items():
        for folder in classes:
            found = without_masks(images_below(folder))
            inside = [path.relative_to(root).as_posix() for path in found.images]
            masks += [path.relative_to(root).as_posix() for path in found.masks]
            lone += [path.relative_to(root).as_posix() for path in found.lone]
            own = masks_of(found.images, found.masks)
            samples += [
                Sample(
                    id=id_,
                    label=folder.name,
                    group=group_of(id_),
                    path=path,
                    part=part,
                    masks=own.get(path, ()),
                )
                for id_, path in zip(inside, found.images, strict=True)
            ]
            spelling = spelt.setdefault(folder.name, _Spelling())
            spelling.images += len(inside)
            spelling.places.append(folder.relative_to(root).as_posix())
    _refuse_spellings(root, spelt)
    tops = {
        place for classes in folders.values() for f in classes for place in (f, f.parent) if place != root
    }
    links = [
        place for place in tops if place.is_symlink()
    ]  # of classes and parts: looked into, unlike others
    said = list(notes)
    if masks:
        said.append(f"masks beside their images, passed over: {len(masks)} ({first_few(masks)})")
    if lone:
        said.append(
            f"named like masks, but beside no image of that name, so listed as images: {len(lone)} "
            f"({first_few(lone)})"
        )
    return Index(
        classes=tuple(sorted(spelt, key=natural)),
        samples=tuple(samples),
        notes=tuple(said),
        passed_over=passed_over([root, *links], (*links, *(s.path for s in samples if s.path))),
    )


def _refuse_loose(root: Path) -> None:
    if loose := sorted((p.name for p in root.iterdir() if is_image_file(p)), key=natural):
        raise DataError(
            f"folder: {len(loose)} images lie directly in {root}, where they have no class "
            f"({loose[0]}, ...); move them into a class folder, or take them away"
        )


# --- labels ------------------------------------------------------------------------------------------


@dataclass
class _Spelling:
    """How often one spelling of a label occurs, and where."""

    images: int = 0
    places: list[str] = field(default_factory=list)


def _refuse_spellings(home: Path, spelt: Mapping[str, _Spelling]) -> None:
    """Raise DataError where two labels differ by capitals, blanks or Unicode form alone: nobody means two
    classes by that, and a network would learn to tell them apart."""
    alike: dict[str, list[str]] = {}
    for label in spelt:
        plain = "".join(unicodedata.normalize("NFKC", label).split()).casefold()
        alike.setdefault(plain, []).append(label)
    for labels in alike.values():
        if len(labels) > 1:
            listed = " and ".join(
                f"{label!r} ({spelt[label].images} images: {first_few(spelt[label].places, 3)})"
                for label in labels
            )
            raise DataError(
                f"folder: {home}: the labels {listed} differ in capitals, blanks or Unicode form alone; if "
                "they are one class, rename all to one name, else give them names that differ otherwise"
            )


# --- csv ---------------------------------------------------------------------------------------------


def _from_csv(path: Path, group_of: GroupOf) -> Index:
    samples: list[Sample] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    spellings: dict[str, dict[str, int]] = {}  # part -> its spellings -> the first line of each
    spelt: dict[str, _Spelling] = {}
    for line, values in read_rows(path, ("path", "label"), CSV_REMEDY):
        if fault := _fault(path.parent, values, lines):
            faults.append(f"line {line}: {fault}")
            continue
        lines[_file_of(values["path"], path.parent)] = line
        samples.append(_sample(path.parent, values, group_of))
        if part := samples[-1].part:
            spellings.setdefault(part, {}).setdefault(values["split"].casefold(), line)
        spelling = spelt.setdefault(values["label"], _Spelling())
        spelling.images += 1
        spelling.places.append(f"line {line}")
    refuse(path, [*faults, *_two_spellings(spellings)])
    _refuse_spellings(path, spelt)
    return Index(
        classes=tuple(sorted(spelt, key=natural)),
        samples=tuple(samples),
        passed_over=_beside(path, [s.path for s in samples if s.path]),
    )


def _two_spellings(spellings: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"the part {part} is spelt {' and '.join(f'{name} (line {n})' for name, n in lines.items())}, which "
        "may mean two sets of images; spell it in one way, or leave out the rows of one"
        for part, lines in spellings.items()
        if len(lines) > 1
    ]


def _fault(home: Path, row: dict[str, str], lines: dict[str, int]) -> str:
    """What is wrong with a row, if anything; `lines` are the files seen so far and their lines."""
    name, part = row["path"], row.get("split", "")
    if not name or not row["label"]:
        return "path and label must not be empty"
    if part and not _part_of(part):
        others = ", ".join(name for name in PART_OF if name not in PARTS)
        return f"split {part!r} is none of {', '.join(PARTS)} (nor of {others})"
    if line := lines.get(_file_of(name, home)):
        return f"{name} was listed on line {line} already"
    return "" if (home / name).is_file() else f"no such file {name}"


def _file_of(name: str, home: Path) -> str:
    return os.path.abspath(home / name)


def _id_of(name: str, home: Path) -> str:
    """The path as it is written. An absolute one below the csv file's folder counts from there, so that
    the same images have the same ids on another machine."""
    if not os.path.isabs(name):
        return name
    for base in (os.path.abspath(home), os.path.realpath(home)):
        try:
            inside = os.path.relpath(name, base)
        except ValueError:  # on another drive of Windows
            continue
        if Path(inside).parts[0] != os.pardir:
            return Path(inside).as_posix()
    return name


def _sample(home: Path, row: dict[str, str], group_of: GroupOf) -> Sample:
    id_ = _id_of(row["path"], home)
    return Sample(
        id=id_,
        label=row["label"],
        group=row.get("group", "") or group_of(id_),
        path=home / row["path"],
        part=_part_of(row.get("split", "")),
    )


def _beside(table: Path, images: Sequence[Path]) -> dict[str, int]:
    """Kind -> number of the files in the images' own folders that no row lists. A csv file may lie anywhere,
    so other folders are not looked into."""
    listed = {os.path.abspath(path) for path in images}
    folders = {os.path.dirname(path) for path in listed}
    listed.add(os.path.abspath(table))
    beside = (path for folder in folders for path in files_in(Path(folder)))
    return counted(path for path in beside if str(path) not in listed)


DATASET = Dataset(
    name="folder",
    about="Your own images: one folder per class, or a csv with path,label[,group][,split]",
    params=Params,
    index=index,
    sources=sources,
    fetch=f"with --data, {LAYOUTS}",
)
