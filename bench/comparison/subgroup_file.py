"""Subgroups that a user's csv file names, image by image."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bench.comparison.partition import NOT_GIVEN, Partition, partition, thirds
from bench.errors import ConfigError
from bench.parsing import PATH_SHOWN, brief
from bench.text import one_line

KEYS = ("id", "path")
_SUFFIX = re.compile(r"(?<=[^/])\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{2,5}$")  # ".png", not the end of "scan 1.25"
MOST_VALUES = 10  # different numbers of a column, above which they are cut into thirds
EXAMPLES = 3


class Value(NamedTuple):
    """A field of a file, and its line."""

    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class SubgroupFile:
    """One column of a csv file.

    Attributes:
        name: of the file, as messages have it.
        column: with the subgroups.
        key: what names the images: "id" or "path".
        values: by that, in the order of the file.
    """

    name: str
    column: str
    key: str
    values: Mapping[str, Value]


def split_column(text: str) -> tuple[Path, str]:
    """What `--by FILE.csv` or `--by FILE.csv:COLUMN` names; a file of the whole name goes first."""
    file, colon, column = text.rpartition(":")
    if colon and column and file.lower().endswith(".csv") and not Path(text).is_file():
        return Path(file), column
    return Path(text), ""


def read_subgroup_file(path: Path, column: str = "") -> SubgroupFile:
    """Read a csv file with a header, a column id or path, and the subgroups in `column`, which need not be
    named if there is one alone. Blanks around fields are cut off.

    Raises ConfigError, with the line, for a file that cannot be read, lacks a column, or says two things of
    one image.
    """
    name = brief(str(path), PATH_SHOWN)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(name, csv.reader(file, strict=True), column)
    except OSError as error:
        raise ConfigError(f"--by {name}: cannot be read ({error.strerror}); give a csv file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 (byte {error.start}); save it as csv in UTF-8") from None
    except csv.Error as error:
        raise ConfigError(f"{name}: is no csv file ({error}); save the table as csv, with commas") from None


def _read(name: str, lines: Iterator[list[str]], column: str) -> SubgroupFile:
    header = [field.strip() for field in next(lines, [])]
    found = brief(", ".join(header)) or "nothing"
    key = next((key for key in KEYS if key in header), "")
    if not key:
        raise ConfigError(
            f"{name}: its first line must name the columns, one of them id (as in predictions) or path; "
            f"found: {found}"
        )
    others = [field for field in header if field and field not in KEYS]
    if column and column not in others:
        raise ConfigError(f"{name}: has no column {column!r} with subgroups; found: {found}")
    if not column and len(others) != 1:
        example = f", say --by {name}:{others[0]}" if others else ""
        raise ConfigError(
            f"{name}: {len(others)} columns could be the subgroups ({', '.join(others) or 'none'}); name one"
            f"{example or ' in the file'}"
        )
    column = column or others[0]
    if double := [field for field in (key, column) if header.count(field) > 1]:
        raise ConfigError(f"{name}: has the column {double[0]} twice; keep one")
    values: dict[str, Value] = {}
    for line in lines:
        number = lines.line_num  # type: ignore[attr-defined]  # of csv's reader
        if not any(field.strip() for field in line):
            continue
        if len(line) != len(header):
            raise ConfigError(
                f"{name}, line {number}: has {len(line)} fields, the first line {len(header)}; repair it"
            )
        fields = dict(zip(header, (field.strip() for field in line), strict=True))
        new = Value(one_line(fields[column]), number)
        old = values.setdefault(fields[key], new)
        if old.text != new.text:
            raise _twice(name, fields[key], old, new)
    if not values:
        raise ConfigError(f"{name}: has no rows; give one for each image")
    return SubgroupFile(name=name, column=column, key=key, values=values)


def _twice(name: str, image: str, old: Value, new: Value) -> ConfigError:
    return ConfigError(
        f"{name}: {image} is {old.text!r} on line {old.line} and {new.text!r} on line {new.line}; keep one"
    )


class Matched(NamedTuple):
    """Subgroups, and what a user should know of how images were found in the file."""

    partition: Partition
    warnings: list[str]


def match(file: SubgroupFile, ids: Sequence[str]) -> Matched:
    """The subgroups of the images `ids`. Those that the file says nothing of are one, named "not given".

    An id in the file is an image's id. A path is of the image whose id ends it, with or without the suffix:
    "/data/busi/benign/benign (1).png" of "benign/benign (1)". Numbers, if there are more than ten different
    ones, are cut into thirds. Raises ConfigError if no image is in the file.
    """
    texts = _texts(file, ids)
    missing = [id_ for id_ in ids if id_ not in texts]
    if len(missing) == len(ids):
        raise ConfigError(
            f"{file.name}: none of its {len(file.values)} {file.key}s is a test image: it has "
            f"{_examples(list(file.values))}; test images are {_examples(ids)}"
        )
    warnings = []
    if 2 * len(missing) > len(ids):
        warnings.append(
            f"{file.name}: {len(missing)} of {len(ids)} test images are not in it, say {_examples(missing)}; "
            f'they are the subgroup "{NOT_GIVEN}"'
        )
    given = {id_: texts.get(id_, "") for id_ in ids}
    return Matched(_partition(f"{file.name}, column {file.column}", given), warnings)


def _partition(by: str, given: Mapping[str, str]) -> Partition:
    """By texts, "" where none is given."""
    values = {text for text in given.values() if text}
    numbers = {text: _number(text) for text in values}
    if any(math.isnan(number) for number in numbers.values()):
        names = sorted(values)
    elif len(set(numbers.values())) > MOST_VALUES:
        return thirds(by, {id_: numbers.get(text, math.nan) for id_, text in given.items()})
    else:
        names = sorted(values, key=numbers.__getitem__)
    return partition(by, [*names, NOT_GIVEN], {id_: text or NOT_GIVEN for id_, text in given.items()})


def _number(text: str) -> float:
    """nan for what is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _texts(file: SubgroupFile, ids: Sequence[str]) -> dict[str, str]:
    if file.key == "id":
        return {id_: file.values[id_].text for id_ in ids if id_ in file.values}
    known = _by_ending(ids)
    found: dict[str, Value] = {}
    for path, value in file.values.items():
        if id_ := _image_of(path, known):
            old = found.setdefault(id_, value)
            if old.text != value.text:
                raise _twice(file.name, id_, old, value)
    return {id_: value.text for id_, value in found.items()}


def _image_of(path: str, known: Mapping[str, str]) -> str:
    """The id that ends a path, the longest if several do; "" if none does."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        if id_ := known.get(end) or known.get(_without_suffix(end)):
            return id_
    return ""


def _by_ending(ids: Sequence[str]) -> dict[str, str]:
    """Ids by themselves, and by what they are without suffix where no other id is the same without it."""
    stems = Counter(map(_without_suffix, ids))
    return {stem: id_ for id_ in ids if stems[stem := _without_suffix(id_)] == 1} | {i: i for i in ids}


def _without_suffix(text: str) -> str:
    return _SUFFIX.sub("", text)


def _examples(items: Sequence[str]) -> str:
    return brief(", ".join(map(one_line, items[:EXAMPLES])))
