"""Reviewed files: what a person decided about images, as read from a csv file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench.data.images.reviewed import read_reviewed
from bench.errors import DataError
from bench.interfaces.reviewed import ReviewedImage


def test_every_column_is_read(tmp_path: Path) -> None:
    path = tmp_path / "seen.csv"
    content = (
        "\ufeffid, group,exclude,phash,reason\r\n"
        'benign/1,patient 7,,FF00a1b2c3d4e5f6,"same mass, same marks"\r\n'
        "\r\n"
        "normal/3,,Yes,,a screenshot\r\n"
        "normal/4,x,0,,\r\n"
        "normal/4,x,no,,said again\r\n"
    ).encode()
    path.write_bytes(content)
    reviewed = read_reviewed(path)
    assert reviewed.name == "seen.csv"
    assert reviewed.sha256 == hashlib.sha256(content).hexdigest()
    assert reviewed.images == (
        ReviewedImage(
            id="benign/1", group="patient 7", phash="ff00a1b2c3d4e5f6", reason="same mass, same marks"
        ),
        ReviewedImage(id="normal/3", exclude=True, reason="a screenshot"),
        ReviewedImage(id="normal/4", group="x"),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,patient\n1,x\n",
            ", line 1: no column group (found: id, patient); the first line must be "
            "id,group[,exclude][,phash][,reason]",
        ),
        ("", ", line 1: no column id and no column group (found: nothing)"),
        ("id,group,exlude\n1,x,yes\n", ", line 1: no such column: 'exlude'; the first line must be"),
        ("id,group,group\n1,x,x\n", ", line 1: has the column group twice; keep one"),
        ("id,group\n1\n", ", line 2: has 1 fields, the first line 2; correct it"),
        ('id,group\n1,"x\n', ", line 2: unexpected end of data; correct this line"),
        ("id,group\n", ": decides nothing, for it has no lines below the first; give some, or no file"),
        (
            "id,group,exclude\n1,x,\n2,,\n3,,no\n",
            ", line 3: 2 has no group and is not excluded; give a group, or exclude it with yes; line 4: 3",
        ),
        ("id,group\n,x\n", ", line 2: has no id; give the image's"),
        ("id,group\n1,x\x1b[2J\n", ", line 2: id and group must be printable text"),
        ("id,group,exclude\n1,x,maybe\n", ", line 2: exclude 'maybe' is none of yes, true, 1, no, false, 0"),
        (
            "id,group,phash\n1,x,12g4567812345678\n",
            ", line 2: phash '12g4567812345678' is not 16 hexadecimal",
        ),
        (
            "id,group\n1,x\n2,x\n1,y\n",
            ", line 4: 1 is of group 'y', and on line 2 of group 'x'; keep one; correct the file",
        ),
        (
            "id,group,exclude\n1,x,\n1,x,yes\n",
            ", line 3: 1 is of group 'x' and excluded, and on line 2 of group 'x'; keep one",
        ),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "seen.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read_reviewed(path)
    assert str(error.value).startswith(f"{path}{message}")


def test_a_few_faults_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "seen.csv"
    path.write_text("id,group\n" + "".join(f"{i},\n" for i in range(9)))
    with pytest.raises(DataError) as error:
        read_reviewed(path)
    assert "line 6: 4 has no group" in str(error.value)
    assert "line 7" not in str(error.value)
    assert str(error.value).endswith("; and 4 more; correct the file")


def test_what_is_no_text_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "seen.csv"
    path.write_bytes(b"id,group\n\xff,x\n")
    with pytest.raises(DataError, match=r"seen.csv: is not UTF-8 \(byte 9\); save it as csv in UTF-8"):
        read_reviewed(path)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); name a reviewed csv file"):
        read_reviewed(tmp_path)
