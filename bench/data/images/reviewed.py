"""Reading a reviewed file: a person's decisions about images, each line of which may have been typed by hand.

    id,group,exclude,phash,reason
    benign/benign (12),patient 7,,ff00a1b2c3d4e5f6,same mass and same caliper marks
    normal/normal (3),,yes,,a screenshot

`exclude`, `phash` and `reason` may be absent, as columns or in a line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import DataError
from bench.interfaces.reviewed import Reviewed, ReviewedImage
from bench.parsing import PATH_SHOWN, brief, shown
from bench.text import is_printable

COLUMNS = ("id", "group", "exclude", "phash", "reason")
NEEDED = ("id", "group")
FORMAT = "the first line must be id,group[,exclude][,phash][,reason]"
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0", "")
_PHASH = re.compile("[0-9a-f]{16}")
MOST = 5  # faults in a message


def read_reviewed(path: Path) -> Reviewed:
    """Read a reviewed file. Blanks around fields are cut off, and empty lines passed over.

    An image may be named by several lines if they decide the same; it is kept once. Raises DataError, naming
    the file and the lines, for a file that cannot be read, lacks a column or has one that is not known, and
    for lines that decide nothing or contradict one another.
    """
    name = brief(str(path), PATH_SHOWN)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); name a reviewed csv file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not UTF-8 (byte {error.start}); save it as csv in UTF-8") from None
    images: dict[str, tuple[int, ReviewedImage]] = {}
    faults: list[str] = []
    for line, row in _rows(name, text):
        image, fault = _image(row)
        known, other = images.setdefault(image.id, (line, image))
        if not fault and _decision(other) != _decision(image):
            fault = f"{image.id} is {_said(image)}, and on line {known} {_said(other)}; keep one"
        if fault:
            faults.append(f"line {line}: {fault}")
    if faults:
        more = f"; and {len(faults) - MOST} more" if len(faults) > MOST else ""
        raise DataError(f"{name}, {'; '.join(faults[:MOST])}{more}; correct the file")
    if not images:
        raise DataError(
            f"{name}: decides nothing, for it has no lines below the first; give some, or no file"
        )
    return Reviewed(
        name=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        images=tuple(image for _, image in images.values()),
    )


def _rows(name: str, text: str) -> list[tuple[int, Mapping[str, str]]]:
    """(line number, values by column) of every line below the first. Raises DataError."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [field.strip() for field in next(reader, [])]
        _check_header(name, header)
        rows: list[tuple[int, Mapping[str, str]]] = []
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{name}, line {reader.line_num}: has {len(fields)} fields, the first line "
                    f"{len(header)}; correct it (a comma within a field needs quotes around the field)"
                )
            values = (field.strip() for field in fields)
            rows.append((reader.line_num, dict(zip(header, values, strict=True))))
    except csv.Error as error:  # a quote that is never closed, say
        raise DataError(f"{name}, line {reader.line_num}: {error}; correct this line") from None
    return rows


def _check_header(name: str, header: Sequence[str]) -> None:
    found = brief(", ".join(header)) or "nothing"
    if missing := [column for column in NEEDED if column not in header]:
        raise DataError(
            f"{name}, line 1: no column {' and no column '.join(missing)} (found: {found}); {FORMAT}"
        )
    if unknown := [column for column in header if column not in COLUMNS]:
        raise DataError(f"{name}, line 1: no such column: {brief(', '.join(map(shown, unknown)))}; {FORMAT}")
    if double := [column for column in COLUMNS if header.count(column) > 1]:
        raise DataError(f"{name}, line 1: has the column {double[0]} twice; keep one")


def _image(row: Mapping[str, str]) -> tuple[ReviewedImage, str]:
    """What a line decides, and what is wrong with it, if anything."""
    exclude, phash = row.get("exclude", "").lower(), row.get("phash", "").lower()
    image = ReviewedImage(
        id=row["id"],
        group=row["group"],
        exclude=exclude in TRUE,
        phash=phash,
        reason=row.get("reason", ""),
    )
    if not image.id:
        return image, "has no id; give the image's, as `bench data split` writes it"
    if not is_printable(image.id) or not is_printable(image.group):
        return image, "id and group must be printable text, without control characters"
    if exclude not in (*TRUE, *FALSE):
        return image, f"exclude {shown(row['exclude'])} is none of yes, true, 1, no, false, 0"
    if phash and not _PHASH.fullmatch(phash):
        return image, f"phash {shown(row['phash'])} is not 16 hexadecimal digits"
    if not image.group and not image.exclude:
        return image, f"{image.id} has no group and is not excluded; give a group, or exclude it with yes"
    return image, ""


def _decision(image: ReviewedImage) -> tuple[str, bool, str]:
    return image.group, image.exclude, image.phash


def _said(image: ReviewedImage) -> str:
    said = [f"of group {image.group!r}"] if image.group else []
    said += ["excluded"] if image.exclude else []
    said += [f"of phash {image.phash}"] if image.phash else []
    return " and ".join(said)
