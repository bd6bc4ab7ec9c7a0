"""Any labelled images: one folder per class, such folders under train/val/test, or a csv file.

    root/<class>/.../image.png
    root/{train,val,test}/<class>/.../image.png        the split is taken from the folders; val may be absent
    labels.csv, or a folder with one csv and no class folders:  path,label[,group][,split][,source]

Paths in a csv are relative to it. A source says where an image comes from (`bench subgroups --by source`);
other columns are ignored.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import DataError, DataNotFound, Dataset, Index, Sample
from bench_datasets.dicom import with_patients
from bench_datasets.listing import folders_in, images_below, is_image, natural
from bench_datasets.tables import read_rows, refuse

PARTS = ("train", "val", "test")
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
    if {f.name for f in folders} <= set(PARTS) and folders:
        return _from_parts(root, group_of)
    return _from_classes(root, folders, tables, group_of)


def sources(root: Path, params: Params) -> dict[str, str]:
    """The column "source" of a csv file, by id; empty for folders and a csv file without it."""
    if not (table := _table(root)):
        return {}
    rows = read_rows(table, ("path", "label"), CSV_REMEDY)
    return {row["path"]: row["source"] for _, row in rows if row.get("source")}


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


def _from_classes(root: Path, folders: list[Path], tables: list[Path], group_of: GroupOf) -> Index:
    _refuse_loose(root)
    if len(folders) < 2:
        hint = f"; to use {tables[0].name}, give it as the data root" if tables else ""
        raise DataNotFound(
            f"folder: {root} has {len(folders)} class folders, fewer than two; {LAYOUTS}{hint}"
        )
    samples = tuple(_samples(root, folders, group_of))
    return Index(classes=tuple(f.name for f in folders), samples=samples)


def _from_parts(root: Path, group_of: GroupOf) -> Index:
    _refuse_loose(root)
    missing = [part for part in ("train", "test") if not (root / part).is_dir()]
    if missing:
        raise DataNotFound(
            f"folder: {root} has no folder {' and no folder '.join(missing)} beside its other parts; "
            f"add it, or {LAYOUTS}"
        )
    samples: list[Sample] = []
    classes: set[str] = set()
    for part in PARTS:
        if (root / part).is_dir():
            _refuse_loose(root / part)
            folders = folders_in(root / part)
            classes |= {f.name for f in folders}
            samples += _samples(root, folders, group_of, part)
    return Index(classes=tuple(sorted(classes, key=natural)), samples=tuple(samples))


def _samples(root: Path, folders: list[Path], group_of: GroupOf, part: str = "") -> Iterator[Sample]:
    for folder in folders:
        for path in images_below(folder):
            inside = path.relative_to(root).as_posix()
            yield Sample(id=inside, label=folder.name, group=group_of(inside), path=path, part=part)


def _refuse_loose(root: Path) -> None:
    if loose := sorted((p.name for p in root.iterdir() if is_image(p)), key=natural):
        raise DataError(
            f"folder: {len(loose)} images lie directly in {root}, where they have no class "
            f"({loose[0]}, ...); move them into a class folder, or take them away"
        )


# --- csv ---------------------------------------------------------------------------------------------


def _from_csv(path: Path, group_of: GroupOf) -> Index:
    samples: list[Sample] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for line, values in read_rows(path, ("path", "label"), CSV_REMEDY):
        if fault := _fault(path.parent, values, lines):
            faults.append(f"line {line}: {fault}")
            continue
        lines[values["path"]] = line
        samples.append(_sample(path.parent, values, group_of))
    refuse(path, faults)
    return Index(classes=tuple(sorted({s.label for s in samples}, key=natural)), samples=tuple(samples))


def _fault(home: Path, row: dict[str, str], lines: dict[str, int]) -> str:
    """What is wrong with a row, if anything; `lines` are the paths seen so far and their lines."""
    name, part = row["path"], row.get("split", "")
    if not name or not row["label"]:
        return "path and label must not be empty"
    if part not in ("", *PARTS):
        return f"split {part!r} is none of {', '.join(PARTS)}"
    if name in lines:
        return f"{name} was listed on line {lines[name]} already"
    return "" if (home / name).is_file() else f"no such file {name}"


def _sample(home: Path, row: dict[str, str], group_of: GroupOf) -> Sample:
    name = row["path"]
    return Sample(
        id=name,
        label=row["label"],
        group=row.get("group", "") or group_of(name),
        path=home / name,
        part=row.get("split", ""),
    )


DATASET = Dataset(
    name="folder",
    about="Your own images: one folder per class, or a csv with path,label[,group][,split]",
    params=Params,
    index=index,
    sources=sources,
    fetch=f"with --data, {LAYOUTS}",
)
