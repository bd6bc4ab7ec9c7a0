"""The csv files of ISIC 2018 task 3 and HAM10000, checked row by row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import DataError
from bench_datasets.tables import read_rows, refuse

CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
HOME = "https://challenge.isic-archive.com/data/#2018"


@dataclass(frozen=True)
class LabelTable:
    """One value per image, read from a csv file.

    Attributes:
        path: the csv file.
        values: by the image's id.
    """

    path: Path
    values: Mapping[str, str]


def read_one_hot(path: Path) -> LabelTable:
    """Classes from an official ground truth, one column per class. Raises DataError."""
    remedy = f"the first line of the official file is image,{','.join(CLASSES)}"
    _, columns = next(read_rows(path, ("image", *CLASSES), remedy), (0, {}))
    if unknown := [name for name in columns if name not in ("", "image", *CLASSES)]:
        raise DataError(f"{path} line 1: {', '.join(unknown)}: not a class of ISIC 2018 task 3; {remedy}")
    return _read(path, "image", CLASSES, _marked)


def read_diagnoses(path: Path) -> LabelTable:
    """Classes from the column dx of HAM10000's metadata. Raises DataError."""
    return _read(path, "image_id", ("dx",), _diagnosis)


def read_lesions(path: Path, key: str) -> LabelTable:
    """The column lesion_id of a table whose column `key` has the image. Raises DataError."""
    return _read(path, key, ("lesion_id",), _lesion)


def _marked(row: Mapping[str, str]) -> str:
    """The class whose column is 1. Raises ValueError unless it is exactly one and all others are 0."""
    others = [name for name in CLASSES if row[name] not in ("0", "0.0", "1", "1.0")]
    if others:
        raise ValueError(f"{', '.join(f'{name} is {row[name]!r}' for name in others)}, neither 0 nor 1")
    marked = [name for name in CLASSES if row[name] in ("1", "1.0")]
    if len(marked) != 1:
        raise ValueError(f"{' and '.join(marked) or 'no class'} marked with 1, where one class must be")
    return marked[0]


def _diagnosis(row: Mapping[str, str]) -> str:
    if row["dx"].upper() not in CLASSES:
        raise ValueError(f"dx {row['dx']!r} is none of {', '.join(CLASSES).lower()}")
    return row["dx"].upper()


def _lesion(row: Mapping[str, str]) -> str:
    if not row["lesion_id"]:
        raise ValueError("lesion_id is empty")
    return row["lesion_id"]


def _read(
    path: Path, key: str, columns: tuple[str, ...], value_of: Callable[[Mapping[str, str]], str]
) -> LabelTable:
    """Values by image id, which column `key` has; what is wrong with a row is named by its line."""
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    faults = []
    remedy = f"the first line must name {key} and {' and '.join(columns)}; fetch the file again from {HOME}"
    for line, row in read_rows(path, (key, *columns), remedy):
        name = row[key]
        try:
            if not name:
                raise ValueError(f"{key} is empty")
            if name in lines:
                raise ValueError(f"{name} was listed on line {lines[name]} already")
            lines[name] = line
            values[name] = value_of(row)
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    refuse(path, faults)
    return LabelTable(path, values)
