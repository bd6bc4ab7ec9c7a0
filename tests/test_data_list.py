"""`bench data list` and `bench data verify` on folders that only look like a data set, and on real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from bench import DataError
from bench.cli import app

BUSI = {"benign": 437, "malignant": 210, "normal": 133}
COLUMNS = {"COLUMNS": "400"}


def make(home: Path, counts: dict[str, int]) -> Path:
    """A folder per class, with so many files that are called images."""
    for name, count in counts.items():
        (home / name).mkdir(parents=True)
        for i in range(count):
            (home / name / f"{name} ({i + 1}).png").touch()
    return home


def rows(root: Path | str) -> dict[str, str]:
    """What the list says of each data set, and under "" what comes first."""
    done = CliRunner().invoke(app, ["data", "list", "--data", str(root)], env=COLUMNS)
    assert done.exit_code == 0, done.output
    first, _, *lines = done.output.splitlines()
    return {"": first} | {line.split()[0]: " ".join(line.split()) for line in lines}


def test_a_folder_of_ones_own_is_not_called_by_the_name_of_a_data_set(tmp_path: Path) -> None:
    mine = make(tmp_path / "mine", {"benign": 3, "malignant": 4, "normal": 5})
    said = rows(mine)
    differences = "benign 3 of 437, malignant 4 of 210, normal 5 of 133"
    assert said["busi"] == f"busi 12 of 780 a folder in its layout, with {differences} {mine}"
    assert said["folder"] == f"folder 12 3 classes: benign 3, malignant 4, normal 5 {mine}"
    assert said["kvasir"] == "kvasir not here bench data fetch kvasir"


@pytest.mark.parametrize("below", ["", "busi", "Dataset_BUSI_with_GT", "busi/Dataset_BUSI_with_GT"])
def test_a_whole_data_set_is_found_at_the_root_or_below_it(tmp_path: Path, below: str) -> None:
    home = make(tmp_path / below, BUSI)
    said = rows(tmp_path)
    assert said["busi"] == f"busi 780 complete {home}"
    # Its masks would be among the images of classes, and data sets among the classes.
    assert said["folder"].startswith("folder - with --data, give a folder")


def test_a_part_of_a_data_set_below_its_own_name_is_that_data_set(tmp_path: Path) -> None:
    home = make(tmp_path / "busi", BUSI | {"normal": 132})
    said = rows(tmp_path)
    assert said["busi"] == f"busi 779 of 780 differs: normal 132 of 133 {home}"
    assert said["folder"].startswith("folder - ")


def test_only_what_is_below_the_data_root_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "home" / "busi", BUSI)
    make(tmp_path / "named" / "deeper" / "busi", BUSI)
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "home"))
    assert rows(tmp_path / "named")["busi"] == "busi not here bench data fetch busi"
    assert " 780 complete " in rows("../home")["busi"]
    missing = rows(tmp_path / "no such folder")
    assert missing[""] == f"data root: {tmp_path / 'no such folder'}   (nothing is there)"
    assert missing["busi"] == "busi not here bench data fetch busi"


def test_images_of_ones_own_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    make(tmp_path / "images", {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1})
    assert "5 classes: a 2, b 2, c 1, d 1 and 1 more" in rows(tmp_path / "images")["folder"]
    table = tmp_path / "labels.csv"
    table.write_text("path,label\nimages/a/a (1).png,x\nimages/b/b (1).png,y\n")
    assert rows(table)["folder"] == f"folder 2 2 classes: x 1, y 1 {table}"
    table.write_text("path,label\nimages/a/none.png,x\n")
    assert "failed" in rows(table)["folder"]
    assert "no such file images/a/none.png" in rows(table)["folder"]
    (tmp_path / "images" / "loose.png").touch()
    assert "1 images lie directly in" in rows(tmp_path / "images")["folder"]


def test_nothing_is_fetched_to_where_other_images_would_be_found_first(tmp_path: Path) -> None:
    mine = make(tmp_path / "mine", {"benign": 1, "malignant": 1, "normal": 1})
    with pytest.raises(
        DataError, match=r"mine: holds 3 images in the layout of busi, .* choose another --data"
    ):
        CliRunner().invoke(
            app, ["data", "fetch", "busi", "--yes", "--data", str(mine)], catch_exceptions=False
        )
    assert sorted(path.name for path in mine.iterdir()) == ["benign", "malignant", "normal"]


def test_verify_names_what_it_looked_at(tmp_path: Path) -> None:
    mine = make(tmp_path / "mine", {"benign": 1, "malignant": 1, "normal": 1})
    for path in mine.rglob("*.png"):
        Image.new("L", (8, 8)).save(path)
    done = CliRunner().invoke(app, ["data", "verify", "busi", "--data", str(mine)], env=COLUMNS)
    assert done.exit_code == 1
    assert f"busi: 3 images of 3 classes, in {mine}\n" in done.output
    assert (
        "images of your own only have its layout; if this is a copy of busi, move the faulty" in done.output
    )
    done = CliRunner().invoke(app, ["data", "verify", "phantom", "--data", str(mine)], env=COLUMNS)
    assert done.exit_code == 0
    assert f"phantom: 330 images of 3 classes, data root {mine}\n" in done.output
