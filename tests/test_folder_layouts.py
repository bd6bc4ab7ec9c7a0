"""How people lay out their own images: parts spelt in other ways, labels spelt twice, masks and other files
among the images, names that are no UTF-8, absolute paths. None may make another study without a word."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from typer.testing import CliRunner, Result

from bench import DataError, DataNotFound, Index
from bench.cli import app
from bench.data.images import image_files
from bench_datasets import busi, covid, folder, isic2018, kvasir


def put(root: Path, *names: str, seed: int = 0) -> Path:
    """Images of noise, each another one."""
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8)).save(root / name)
    return root


def read(root: Path, **params: str) -> Index:
    return folder.index(root, folder.Params(**params))


def ask(*arguments: object, code: int = 0) -> Result:
    """A command in this process; its exit code must be `code`. An error of the user's is its exception."""
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output + str(done.exception)
    return done


def refused(*arguments: object) -> str:
    """The error of a command that a user would see as one line."""
    error = ask(*arguments, code=1).exception
    assert isinstance(error, DataError), error
    return str(error)


# --- parts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "test"),
        ("train", "validation", "test"),
        ("Training", "", "Testing"),
        ("TRAIN", "Dev", "TEST"),
        ("train ", "VAL", "Test"),
    ],
)
def test_parts_are_recognised_in_every_usual_spelling(
    tmp_path: Path, train: str, val: str, test: str
) -> None:
    put(tmp_path, *(f"{part}/{name}/{part}.png" for part in (train, val, test) if part for name in "ab"))
    index = read(tmp_path)
    assert index.classes == ("a", "b")
    assert Counter(s.part for s in index.samples) == {
        "train": 2,
        **({"val": 2} if val else {}),
        "test": 2,
    }
    spelt = {"train": train, "val": val, "test": test}
    assert all(s.id.startswith(f"{spelt[s.part]}/") for s in index.samples)


def test_a_split_by_folders_is_the_study_s_split(tmp_path: Path) -> None:
    """Not a study of the class "Training" against the class "Testing"."""
    names = [f"{part}/{name}/{i}.png" for part in ("Training", "Testing") for name in "ab" for i in range(8)]
    put(tmp_path / "d", *names)
    done = ask("data", "split", "folder", "--data", tmp_path / "d", "--results", tmp_path / "r", "-r", 1)
    assert "Testing" not in done.stdout
    (manifest,) = (tmp_path / "r/splits/folder").glob("*.json")
    for id_, _, label, _, part in json.loads(manifest.read_text())["images"]:
        assert part == "test" if id_.startswith("Testing") else part in ("train", "val")
        assert label in "ab"


@pytest.mark.parametrize(
    "names",
    [
        ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "extra/1.png"),
        ("Training/a/1.png", "Training/b/1.png", "extra/1.png"),
        ("train/1.png", "test/1.png", "extra/1.png"),
    ],
)
def test_a_folder_of_images_beside_parts_is_refused_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    error = refused("data", "verify", "folder", "--data", put(tmp_path, *names))
    assert "named like parts of a split" in error
    assert "beside them, extra, with images of no part; move that away" in error
    assert "rename" in error


def test_a_folder_without_images_beside_parts_is_passed_over_and_named(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png")
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "1.xml").write_text("<box/>")
    index = read(tmp_path)
    assert index.classes == ("a", "b")
    assert index.notes == ("folders beside the parts, passed over because they hold no images: boxes",)
    assert index.passed_over == {".xml files": 1}


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    put(tmp_path, "control/1.png", "test/1.png")
    assert read(tmp_path).classes == ("control", "test")


@pytest.mark.parametrize("second", ["valid", "Val", "validation", "dev"])
def test_two_folders_of_one_part_are_refused(tmp_path: Path, second: str) -> None:
    put(tmp_path, *(f"{part}/{name}/1.png" for part in ("train", "val", second, "test") for name in "ab"))
    with pytest.raises(DataError, match=rf"val and .*{second}|{second} and .*val.* are both the part val"):
        read(tmp_path)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    put(tmp_path, "Training/a/1.png", "Validation/a/1.png")
    with pytest.raises(DataNotFound, match="no folder test beside its other parts"):
        read(tmp_path)


def table(root: Path, text: str, *images: str) -> Path:
    put(root, *images)
    (root / "labels.csv").write_text(text)
    return root / "labels.csv"


def test_the_column_split_takes_the_same_spellings(tmp_path: Path) -> None:
    spellings = ["Train", "TRAINING", "validation", "Test"]
    rows = "".join(f"{i}.png,{'ab'[i % 2]},{part}\n" for i, part in enumerate(spellings))
    path = table(tmp_path, f"path,label,split\n{rows}", *(f"{i}.png" for i in range(4)))
    with pytest.raises(DataError, match=r"part train is spelt train \(line 2\) and training \(line 3\)"):
        read(path)
    path.write_text(path.read_text().replace("TRAINING", "train"))
    assert [s.part for s in read(path).samples] == ["train", "train", "val", "test"]


# --- labels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("Benign", "benign"), ("benign", "benign "), ("no lesion", "no  lesion"), ("é", "e\u0301")],
)
def test_labels_that_differ_in_capitals_or_blanks_alone_are_questioned(
    tmp_path: Path, one: str, other: str
) -> None:
    put(tmp_path, f"{one}/1.png", f"{one}/2.png", f"{other}/3.png", "else/1.png")
    error = refused("data", "audit", "folder", "--data", tmp_path, "--results", tmp_path / "r")
    assert f"{one!r} (2 images: {one})" in error
    assert f"{other!r} (1 images: {other})" in error
    assert "if they are one class, rename all to one name" in error


def test_labels_are_compared_across_parts(tmp_path: Path) -> None:
    put(tmp_path, "train/Benign/1.png", "train/b/1.png", "test/benign/1.png", "test/b/2.png")
    with pytest.raises(
        DataError, match=r"'Benign' \(1 images: train/Benign\) and 'benign' \(1 images: test/ben"
    ):
        read(tmp_path)


def test_labels_of_a_csv_are_compared(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\n1.png,Benign\n2.png,benign\n3.png,x\n", "1.png", "2.png", "3.png")
    with pytest.raises(DataError, match=r"'Benign' \(1 images: line 2\) and 'benign' \(1 images: line 3\)"):
        read(path)


# --- masks and other files ---------------------------------------------------------------------------


def test_masks_beside_their_images_are_passed_over_and_others_are_images(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/1_mask.png", "a/1_Mask_2.bmp", "a/2.jpg", "a/2_segmentation.png")
    put(tmp_path, "b/3.png", "b/4_mask.png", "b/unmasked.png", "b/5_segmentation_no.png")
    index = read(tmp_path)
    images = ["a/1.png", "a/2.jpg", "b/3.png", "b/4_mask.png", "b/5_segmentation_no.png", "b/unmasked.png"]
    assert [s.id for s in index.samples] == images
    assert index.passed_over == {"masks": 3}
    masks, lone = index.notes
    assert masks.startswith("masks beside their images, passed over: 3 (a/1_")
    assert lone == "named like masks, but beside no image of that name, so listed as images: 1 (b/4_mask.png)"


def strange_files(root: Path) -> dict[str, int]:
    """Files among the images that are none, and what they are counted as."""
    (root / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (root / "README").write_text("about")
    (root / "nothing.txt").write_text("")
    (root / "about.TXT").write_text("about")
    (root / "odd.a b").write_text("about")
    os.symlink("nowhere.png", root / "gone.png")
    os.symlink("..", root / "up")
    os.mkfifo(root / "pipe")  # which nobody may wait for
    (root / ".DS_Store").write_text("")
    (root / "Thumbs.db").write_text("x")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.dcm").write_text("x")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.txt").write_text("x")
    return {
        ".txt files": 1,
        "DICOMDIR files": 1,
        "dangling links": 1,
        "empty files": 1,
        "files without suffix": 2,
        "links to folders": 1,
        "other files": 1,
    }


def test_every_file_passed_over_is_counted_by_kind_and_shown(tmp_path: Path) -> None:
    put(tmp_path / "d", *(f"{name}/{i}.png" for name in "ab" for i in range(12)))
    expected = strange_files(tmp_path / "d" / "a")
    assert read(tmp_path / "d").passed_over == expected
    pages = [Image.new("L", (50, 40), i) for i in range(3)]
    pages[0].save(tmp_path / "d/b/stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "d/b/film.gif", save_all=True, append_images=pages[1:])
    for command in (("verify",), ("audit", "--results", tmp_path / "r")):
        (line,) = (
            line
            for line in ask(
                "data", command[0], "folder", "--data", tmp_path / "d", *command[1:]
            ).stdout.split("\n")
            if line.startswith("passed over: ")
        )
        for kind, count in {**expected, "further pages, frames or slices": 4}.items():
            assert f"{kind} ({count})" in line


def test_classes_and_parts_that_are_links_are_looked_into(tmp_path: Path) -> None:
    put(tmp_path / "far", "a/1.png", "a/1_mask.png", "training/a/2.png", "training/b/3.png")
    (tmp_path / "far/training/notes.txt").write_text("x")
    put(tmp_path / "classes", "b/1.png")
    os.symlink(tmp_path / "far/a", tmp_path / "classes/a")
    assert [s.id for s in read(tmp_path / "classes").samples] == ["a/1.png", "b/1.png"]
    assert read(tmp_path / "classes").passed_over == {"masks": 1}
    put(tmp_path / "parts", "test/b/1.png")
    os.symlink(tmp_path / "far/a", tmp_path / "parts/test/a")
    os.symlink(tmp_path / "far/training", tmp_path / "parts/Train")
    index = read(tmp_path / "parts")
    assert [s.id for s in index.samples] == ["Train/a/2.png", "Train/b/3.png", "test/a/1.png", "test/b/1.png"]
    assert index.passed_over == {".txt files": 1, "masks": 1}


def test_a_class_of_files_that_are_no_images_says_what_they_are(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    error = refused("data", "audit", "folder", "--data", tmp_path, "--results", tmp_path / "r")
    assert "no image of class b (passed over: DICOMDIR files (1))" in error


def test_files_beside_the_images_of_a_csv_are_counted(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\nimg/1.png,a\nimg/2.png,b\n", "img/1.png", "img/2.png", "img/3.png")
    put(tmp_path, "elsewhere/4.png", "img/1_mask.png")
    (tmp_path / "img" / "1.dcm").write_bytes(b"x")
    assert read(path).passed_over == {"DICOM files": 1, "masks": 1, "other images": 1}


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "jp2", "j2k"])
def test_jpeg_under_other_names_and_jpeg_2000_are_images(tmp_path: Path, suffix: str) -> None:
    if suffix.startswith("j2") or suffix == "jp2":
        assert features.check("jpg_2000"), "every wheel of Pillow has it"
    put(tmp_path, "a/1.png", "b/1.png")
    Image.new("L", (50, 40), 7).save(tmp_path / "b" / f"2.{suffix}")
    assert [s.id for s in read(tmp_path).samples] == ["a/1.png", "b/1.png", f"b/2.{suffix}"]
    assert "3 images, all of them readable" in ask("data", "verify", "folder", "--data", tmp_path).stdout


def test_jpeg_2000_is_counted_where_pillow_cannot_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "b" / "2.jp2").write_bytes(b"x")
    monkeypatch.setattr(image_files, "reads_jpeg_2000", lambda: False)
    index = read(tmp_path)
    assert len(index.samples) == 2
    assert index.passed_over == {".jp2 files": 1}


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a/1.png", "b/deep/1.png")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"b/deep: this folder cannot be read \(Permission denied\)"):
        read(tmp_path)


def test_data_sets_of_official_layouts_count_too(tmp_path: Path) -> None:
    put(tmp_path / "busi", *(f"{name}/{name} (1).png" for name in busi.CLASSES), "benign/benign (1)_mask.png")
    assert busi.index(tmp_path / "busi", busi.DATASET.params()).passed_over == {"masks": 1}
    classes = ("COVID", "Normal", "Viral Pneumonia")
    put(tmp_path / "covid", *(f"{name}/{kind}/x-1.png" for name in classes for kind in ("images", "masks")))
    (tmp_path / "covid/COVID/images/x.dcm").write_bytes(b"x")
    (tmp_path / "covid/COVID.metadata.xlsx").write_bytes(b"x")  # which is no file among the images
    index = covid.index(tmp_path / "covid", covid.DATASET.params())
    assert index.passed_over == {"masks": 3, "DICOM files": 1}
    put(tmp_path / "kvasir", *(f"{name}/1.jpg" for name in kvasir.CLASSES), "polyps/2.png")
    assert kvasir.index(tmp_path / "kvasir", kvasir.DATASET.params()).passed_over == {"other images": 1}
    home = tmp_path / "isic"
    put(home, "HAM10000_images/ISIC_0000001.jpg", "HAM10000_images/ISIC_0000001_segmentation.png")
    (home / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\nHAM_1,ISIC_0000001,nv\n")
    assert isic2018.index(home, isic2018.DATASET.params()).passed_over == {"masks": 1}


def test_what_an_index_says_it_passed_over_is_checked(tmp_path: Path) -> None:
    from dataclasses import replace

    from bench.data.images.index import check_index

    good = read(put(tmp_path, "a/1.png", "b/1.png"))
    check_index(good, "toy")
    for bad in ({"masks": -1}, {"masks": 1.5}, {1: 1}, {"two\nlines": 1}):
        with pytest.raises(TypeError, match="passed_over must map"):
            check_index(replace(good, passed_over=bad), "toy")  # type: ignore[arg-type]


# --- names and paths ---------------------------------------------------------------------------------


def test_a_name_that_is_no_utf_8_is_an_error_that_names_it(tmp_path: Path) -> None:
    put(tmp_path / "d", "a/1.png", "b/1.png")
    os.rename(os.fsencode(tmp_path / "d/b/1.png"), os.fsencode(tmp_path / "d/b") + b"/caf\xe9.png")
    error = refused("data", "audit", "folder", "--data", tmp_path / "d", "--results", tmp_path / "r")
    assert "1 images have names that are not UTF-8" in error
    assert r"b/caf\udce9.png; rename these files" in error
    assert not (tmp_path / "r").exists()
    done = ask("data", "verify", "folder", "--data", tmp_path / "d", code=1)
    assert r"b/caf\udce9.png" in done.stdout


def test_images_below_a_folder_whose_name_is_no_utf_8_can_be_used(tmp_path: Path) -> None:
    home = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    path = table(home, "path,label\n1.png,a\n2.png,b\n", "1.png", "2.png")
    ask("data", "verify", "folder", "--data", path)
    ask("data", "audit", "folder", "--data", path, "--results", tmp_path / "r")


def test_absolute_paths_work_with_a_relative_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside relative ones; below the csv file's folder they are named as relative ones are."""
    put(tmp_path, "elsewhere/5.png", seed=1)
    inside = [f"img/{i}.png" for i in range(40)]
    names = [
        *(str(tmp_path / "d" / name) for name in inside[:20]),
        *inside[20:],
        f"{tmp_path}/elsewhere/5.png",
    ]
    rows = "".join(f"{name},{'ab'[i % 2]},here\n" for i, name in enumerate(names))
    table(tmp_path / "d", f"path,label,source\n{rows}", *inside)
    monkeypatch.chdir(tmp_path)
    index = read(Path("d/labels.csv"))
    assert [s.id for s in index.samples] == [*inside, f"{tmp_path}/elsewhere/5.png"]
    assert set(folder.sources(Path("d/labels.csv"), folder.Params())) == {s.id for s in index.samples}
    for command in (("verify",), ("audit", "--results", "r"), ("split", "--results", "r", "-r", 1)):
        ask("data", command[0], "folder", "--data", "d/labels.csv", *command[1:])
    (manifest,) = (tmp_path / "r/splits/folder").glob("*.json")
    assert {row[0] for row in json.loads(manifest.read_text())["images"]} == {s.id for s in index.samples}
    said = ask("data", "verify", "folder", "--data", "d/labels.csv").stdout
    assert f"folder: 41 images of 2 classes, in {tmp_path}\n" in said


def test_one_file_listed_in_two_ways_is_listed_twice(tmp_path: Path) -> None:
    path = table(tmp_path, f"path,label\nimg/1.png,a\n{tmp_path}/img/1.png,b\n", "img/1.png")
    with pytest.raises(DataError, match=r"line 3: .*img/1\.png was listed on line 2 already"):
        read(path)
