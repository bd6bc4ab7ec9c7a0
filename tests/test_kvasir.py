"""Kvasir in the layouts of both versions, and with faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from native import image_bytes, put, write

from bench import DataNotFound, Index, NoParams
from bench.testing import check_dataset
from bench_datasets import kvasir

CLASSES = kvasir.CLASSES


def write_copy(home: Path, images: int = 2) -> Path:
    """The class folders, with so many images each."""
    content = image_bytes(".jpg")
    for name in CLASSES:
        (home / name).mkdir(parents=True)
        for i in range(images):
            (home / name / f"{i:04d}-ac0d-44ef.jpg").write_bytes(content)
    return home


def read(root: Path) -> Index:
    return kvasir.index(root, NoParams())


@pytest.mark.parametrize(
    "place", [".", "kvasir-dataset-v2", "kvasir/kvasir-dataset-v2", "kvasir", "kvasir-dataset"]
)
def test_it_is_found_in_the_usual_places(tmp_path: Path, place: str) -> None:
    write_copy(tmp_path / place)
    index = read(tmp_path)
    assert [s.id for s in index.samples[:3]] == [
        "dyed-lifted-polyps/0000-ac0d-44ef",
        "dyed-lifted-polyps/0001-ac0d-44ef",
        "dyed-resection-margins/0000-ac0d-44ef",
    ]
    assert index.classes == CLASSES == tuple(kvasir.DATASET.expected)
    assert {(s.group, s.part) for s in index.samples} == {("", "")}
    assert all(s.path and s.path.is_file() for s in index.samples)
    check_dataset(kvasir.DATASET, tmp_path)


@pytest.mark.parametrize(("images", "version"), [(1000, "Kvasir v2"), (500, "Kvasir v1")])
def test_versions_are_recognised_by_their_counts(tmp_path: Path, images: int, version: str) -> None:
    index = read(write_copy(tmp_path, images))
    assert index.version == version
    assert index.expected == dict.fromkeys(CLASSES, images)


def test_a_copy_that_is_neither_says_so(tmp_path: Path) -> None:
    put(write_copy(tmp_path, 500), "polyps/new.jpg")
    index = read(tmp_path)
    assert index.version == "unknown: 4,001 images (1,000 images per class in v2, 500 images per class in v1)"
    assert index.expected == kvasir.DATASET.expected


def test_the_lack_of_patients_is_said_everywhere(tmp_path: Path) -> None:
    assert "no patient or video is named" in kvasir.DATASET.caution
    assert "no patient or video is named" in read(write_copy(tmp_path)).notes[0]


def test_what_is_not_of_the_download_is_noted_and_never_labelled(tmp_path: Path) -> None:
    write_copy(tmp_path)
    put(tmp_path, "polyps/mask.png", "polyps/more/x.jpg", "normal-colon/y.jpg", "__MACOSX/polyps/._0000.jpg")
    put(tmp_path, "polyps/._0000-ac0d-44ef.jpg")
    write(tmp_path / "polyps" / "Thumbs.db", "not an image")
    (tmp_path / "empty").mkdir()
    index = read(tmp_path)
    assert len(index.samples) == 16
    assert index.notes[1:] == (
        "images that are not of the download, passed over: polyps/mask.png, polyps/more/x.jpg",
        "folder normal-colon is not a class of Kvasir and was passed over",
    )


def test_a_missing_or_empty_class_is_not_found(tmp_path: Path) -> None:
    write_copy(tmp_path)
    for path in (tmp_path / "polyps").iterdir():
        path.unlink()
    with pytest.raises(
        DataNotFound, match=r"no images \(\*\.jpg\) in polyps; the copy is not whole: download"
    ):
        read(tmp_path)
    write(tmp_path / "polyps" / "polyps.zip", "")
    with pytest.raises(
        DataNotFound, match=r"in polyps; .*polyps/polyps\.zip is still packed: unpack it where"
    ):
        read(tmp_path)
    (tmp_path / "polyps" / "polyps.zip").unlink()
    (tmp_path / "polyps").rmdir()
    with pytest.raises(DataNotFound, match=r"no folder with dyed-lifted-polyps.*download kvasir.*--data"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["kvasir-dataset-v2.zip", "kvasir/kvasir-dataset-v2/kvasir-dataset-v2.zip"])
def test_an_archive_left_packed_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, "")
    write(tmp_path / "other.zip", "of another data set")
    with pytest.raises(DataNotFound, match=rf"{name} is still packed: unpack it where it lies") as caught:
        read(tmp_path)
    assert "other.zip" not in str(caught.value)
