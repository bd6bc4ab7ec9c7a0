"""ISIC 2018 task 3 in the official layout, in HAM10000's, in a mixture of both, and with faults."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from native import put, write

from bench import ConfigError, DataError, DataNotFound, Index
from bench.parsing import parse
from bench.testing import check_dataset
from bench_datasets import isic2018

CLASSES = isic2018.CLASSES
HEADER = "image," + ",".join(CLASSES) + "\n"
TRAINING = {f"ISIC_{24306 + i:07d}": CLASSES[i % 7] for i in range(14)}  # two images of every class
LESIONS = {name: f"HAM_{i // 2:07d}" if i < 4 else f"HAM_{i:07d}" for i, name in enumerate(TRAINING)}
HELD_OUT = {
    "Validation": {"ISIC_0034321": "NV", "ISIC_0034322": "MEL"},
    "Test": {"ISIC_0034524": "NV", "ISIC_0034525": "BKL", "ISIC_0034526": "NV"},
}


def row(name: str, label: str) -> str:
    return name + "".join(f",{float(label == c)}" for c in CLASSES) + "\n"


def one_hot(labels: dict[str, str]) -> str:
    return HEADER + "".join(row(name, label) for name, label in labels.items())


def official(root: Path, *, nested: bool = True, held_out: bool = False) -> Path:
    """The challenge's files, the ground truth in a folder of its own or beside the others."""
    for title, labels in {"Training": TRAINING, **(HELD_OUT if held_out else {})}.items():
        put(root, *(f"ISIC2018_Task3_{title}_Input/{name}.jpg" for name in labels))
        write(root / f"ISIC2018_Task3_{title}_Input/ATTRIBUTION.txt", "not an image")
        name = f"ISIC2018_Task3_{title}_GroundTruth"
        write((root / name if nested else root) / f"{name}.csv", one_hot(labels))
    rows = "".join(f"{name},{lesion},histopathology\n" for name, lesion in LESIONS.items())
    write(root / isic2018.LESIONS, "image,lesion_id,diagnosis_confirm_type\n" + rows)
    return root


def metadata(root: Path, suffix: str = ".csv") -> Path:
    rows = [
        ("lesion_id", "image_id", "dx", "age"),
        *((LESIONS[n], n, c.lower(), "50") for n, c in TRAINING.items()),
    ]
    sep = "\t" if suffix == ".tab" else ","
    return write(root / f"HAM10000_metadata{suffix}", "".join(sep.join(r) + "\n" for r in rows))


def ham(root: Path) -> Path:
    for i, name in enumerate(TRAINING):
        put(root, f"HAM10000_images_part_{1 + i % 2}/{name}.jpg")
    metadata(root)
    return root


def read(root: Path, split: str = "grouped") -> Index:
    return isic2018.index(root, parse(isic2018.Params, {"split": split}, "dataset.isic2018"))


def by_id(index: Index) -> dict[str, tuple[str, str, str]]:
    assert all(s.path and s.path.is_file() for s in index.samples)
    return {s.id: (s.label, s.group, s.part) for s in index.samples}


TRUTH = {name: (TRAINING[name], LESIONS[name], "") for name in TRAINING}


@pytest.mark.parametrize("place", [".", "isic2018", "ISIC2018", "HAM10000"])
@pytest.mark.parametrize("nested", [True, False])
def test_the_official_layout(tmp_path: Path, place: str, nested: bool) -> None:
    official(tmp_path / place, nested=nested)
    index = read(tmp_path)
    assert by_id(index) == TRUTH
    assert [s.id for s in index.samples] == sorted(TRAINING)
    assert index.classes == CLASSES == tuple(isic2018.DATASET.expected)
    assert index.notes == ()
    assert (
        "ISIC2018_Task3_Training_Input, labels from ISIC2018_Task3_Training_GroundTruth.csv" in index.version
    )
    check_dataset(isic2018.DATASET, tmp_path)


def test_the_layout_of_ham10000(tmp_path: Path) -> None:
    index = read(ham(tmp_path))
    assert by_id(index) == TRUTH
    assert index.version == (
        "HAM10000_images_part_1 and HAM10000_images_part_2, labels and lesions from HAM10000_metadata.csv"
    )
    check_dataset(isic2018.DATASET, tmp_path)


@pytest.mark.parametrize("folder", ["HAM10000_images", "images", "ISIC2018_Task3_Training_Input"])
@pytest.mark.parametrize("suffix", [".csv", ".tab"])
def test_one_folder_of_images_beside_the_metadata(tmp_path: Path, folder: str, suffix: str) -> None:
    put(tmp_path, *(f"{folder}/{name}.jpg" for name in TRAINING))
    metadata(tmp_path, suffix)
    index = read(tmp_path)
    assert by_id(index) == TRUTH
    assert index.version == f"{folder}, labels and lesions from HAM10000_metadata{suffix}"


def test_official_labels_with_lesions_from_the_metadata(tmp_path: Path) -> None:
    (official(tmp_path) / isic2018.LESIONS).unlink()
    metadata(tmp_path)
    index = read(tmp_path)
    assert by_id(index) == TRUTH
    assert (
        "labels from ISIC2018_Task3_Training_GroundTruth.csv, lesions from HAM10000_metadata" in index.version
    )


def test_the_official_split_has_parts_and_says_whose_lesions_are_known(tmp_path: Path) -> None:
    index = read(official(tmp_path, held_out=True), "official")
    known = by_id(index)
    assert {n: v for n, v in known.items() if v[2] == "train"} == {
        n: (*v[:2], "train") for n, v in TRUTH.items()
    }
    assert {n: v for n, v in known.items() if v[2] == "val"} == {
        n: (c, "", "val") for n, c in HELD_OUT["Validation"].items()
    }
    assert {n: v for n, v in known.items() if v[2] == "test"} == {
        n: (c, "", "test") for n, c in HELD_OUT["Test"].items()
    }
    assert index.version.endswith("official split")
    assert index.expected == Counter(label for label, _, _ in known.values())
    assert "lesions are published of training images only" in index.notes[0]
    assert "2 rows, not 193" in index.notes[2]  # of the small files made here
    check_dataset(isic2018.DATASET, tmp_path, isic2018.Params("official"))
    assert by_id(read(tmp_path)) == TRUTH  # the other split of the same files


@pytest.mark.parametrize("title", ["Validation", "Test"])
@pytest.mark.parametrize("what", ["Input", "GroundTruth"])
def test_the_official_split_needs_all_its_files(tmp_path: Path, title: str, what: str) -> None:
    official(tmp_path, held_out=True)
    (tmp_path / f"ISIC2018_Task3_{title}_{what}").rename(tmp_path / "elsewhere")
    with pytest.raises(
        DataNotFound, match=rf"no ISIC2018_Task3_{title}_{what}.*{title}_Input\.zip.*split=grouped"
    ):
        read(tmp_path, "official")


def test_an_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'grouped' or 'official'"):
        read(tmp_path, "random")


# --- faults ------------------------------------------------------------------------------------------


def test_what_was_looked_for_and_where(tmp_path: Path) -> None:
    with pytest.raises(
        DataNotFound, match=r"no folder ISIC2018_Task3_Training_Input .*isic2018.*download.*--data"
    ):
        read(tmp_path)
    write(tmp_path / "isic2018" / "ISIC2018_Task3_Training_Input.zip", "")
    with pytest.raises(
        DataNotFound, match=r"isic2018/ISIC2018_Task3_Training_Input\.zip is still packed: unpack"
    ):
        read(tmp_path)


def test_half_of_ham10000_is_not_whole(tmp_path: Path) -> None:
    put(tmp_path, "HAM10000_images_part_1/ISIC_0024306.jpg")
    with pytest.raises(DataNotFound, match=r"no folder .*HAM10000_images_part_2 beside the other part"):
        read(tmp_path)


def test_an_image_without_a_row_is_refused(tmp_path: Path) -> None:
    put(official(tmp_path), "ISIC2018_Task3_Training_Input/ISIC_0099999.jpg")
    with pytest.raises(DataError, match=r"no label in .*GroundTruth\.csv for ISIC_0099999; fetch"):
        read(tmp_path)


def test_an_image_without_a_lesion_is_refused(tmp_path: Path) -> None:
    path = official(tmp_path) / isic2018.LESIONS
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(DataError, match=r"no lesion in .*Groupings\.csv for ISIC_0024318, ISIC_0024319"):
        read(tmp_path)


@pytest.mark.parametrize("split", ["grouped", "official"])
def test_without_lesions_nothing_is_indexed(tmp_path: Path, split: str) -> None:
    (official(tmp_path, held_out=True) / isic2018.LESIONS).unlink()
    with pytest.raises(
        DataNotFound, match=r"neither ISIC2018_Task3_Training_LesionGroupings\.csv nor .*amazonaws"
    ):
        read(tmp_path, split)


def test_without_labels_nothing_is_indexed(tmp_path: Path) -> None:
    official(tmp_path, nested=False)
    (tmp_path / "ISIC2018_Task3_Training_GroundTruth.csv").unlink()
    with pytest.raises(DataNotFound, match=r"neither ISIC2018_Task3_Training_GroundTruth\.csv nor HAM10000"):
        read(tmp_path)
    write(tmp_path / "ISIC2018_Task3_Training_GroundTruth.zip", "")
    with pytest.raises(
        DataNotFound, match=r"Training_GroundTruth\.zip is still packed: unpack it where it lies"
    ):
        read(tmp_path)


def test_rows_without_an_image_and_other_images_are_noted(tmp_path: Path) -> None:
    inputs = official(tmp_path) / "ISIC2018_Task3_Training_Input"
    (inputs / "ISIC_0024306.jpg").unlink()
    put(inputs, "ISIC_0024307_superpixels.png", "._ISIC_0024308.jpg", "thumbnail.jpg")
    put(inputs, ".cache/ISIC_0024309.jpg", "__MACOSX/ISIC_0024310.jpg")
    index = read(tmp_path)
    assert "ISIC_0024306" not in by_id(index)
    assert len(index.samples) == 13
    assert index.notes == (
        "rows of ISIC2018_Task3_Training_GroundTruth.csv without an image in "
        "ISIC2018_Task3_Training_Input: ISIC_0024306",
        "other images in ISIC2018_Task3_Training_Input, passed over: "
        "ISIC_0024307_superpixels.png, thumbnail.jpg",
    )


def test_an_image_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    put(ham(tmp_path), "HAM10000_images_part_2/ISIC_0024306.jpg")
    with pytest.raises(
        DataError, match=r"ISIC_0024306 is there twice: .*part_1.* and .*part_2.*; remove one"
    ):
        read(tmp_path)


def test_a_class_without_images_is_refused_by_name(tmp_path: Path) -> None:
    official(tmp_path)
    for name, label in TRAINING.items():
        if label == "DF":
            (tmp_path / "ISIC2018_Task3_Training_Input" / f"{name}.jpg").unlink()
    with pytest.raises(AssertionError, match="no image of class DF"):
        check_dataset(isic2018.DATASET, tmp_path)


def test_an_empty_folder_is_not_found(tmp_path: Path) -> None:
    for path in (official(tmp_path) / "ISIC2018_Task3_Training_Input").glob("*.jpg"):
        path.unlink()
    with pytest.raises(DataNotFound, match=r"no images \(ISIC_\*\.jpg\)"):
        read(tmp_path)


FIRST = row("ISIC_0024306", "MEL")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + FIRST + "ISIC_0024307,0,1,1,0,0,0,0\n", "line 3: NV and BCC marked with 1"),
        (HEADER + "ISIC_0024307,0,0,0,0,0,0,0\n", "line 2: no class marked with 1"),
        (HEADER + "ISIC_0024307,0,0.7,0.3,0,0,0,0\n", "line 2: NV is '0.7', BCC is '0.3', neither 0 nor 1"),
        (HEADER + "ISIC_0024307,0,1\n", "line 2: BCC is ''"),
        (HEADER + FIRST + FIRST, "line 3: ISIC_0024306 was listed on line 2 already"),
        (HEADER + row("", "NV"), "line 2: image is empty"),
        (
            HEADER.strip() + ",SCC,UNK\nISIC_0024307,0,1,0,0,0,0,0,0,0\n",
            "line 1: SCC, UNK: not a class of ISIC 2018",
        ),
        (HEADER + '"' + FIRST * 5000, r"line \d+: field larger than field limit"),
        ("image,MEL,NV\n", "line 1: no column BCC and no column AKIEC"),
        ("", "line 1: no column image"),
        (HEADER + "x,0,0,0,0,0,0,0\n" * 9, r"line 6: .*; and 4 more; correct"),
    ],
)
def test_a_ground_truth_at_fault_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    write(official(tmp_path, nested=False) / "ISIC2018_Task3_Training_GroundTruth.csv", text)
    with pytest.raises(DataError, match=rf"Training_GroundTruth\.csv.*{message}"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lesion_id,image_id,dx\nHAM_1,ISIC_0024306,scc\n", "line 2: dx 'scc' is none of mel, nv"),
        ("lesion_id,image_id,dx\nHAM_1,ISIC_0024306,\n", "line 2: dx '' is none of"),
        ("lesion_id,image_id,dx\n,ISIC_0024306,nv\n", "line 2: lesion_id is empty"),
        ("lesion_id,image_id,dx\nHAM_1,a,nv\nHAM_1,a,nv\n", "line 3: a was listed on line 2"),
        ("lesion_id,image_id\nHAM_1,ISIC_0024306\n", "line 1: no column dx"),
        ("image_id,dx\nISIC_0024306,nv\n", "line 1: no column lesion_id"),
    ],
)
def test_metadata_at_fault_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    write(ham(tmp_path) / "HAM10000_metadata.csv", text)
    with pytest.raises(DataError, match=rf"HAM10000_metadata\.csv.*{message}"):
        read(tmp_path)


def test_archives_are_what_the_split_needs() -> None:
    grouped, official_ = (isic2018.archives(isic2018.Params(split)) for split in ("grouped", "official"))
    assert [a.name for a in grouped] == [
        "ISIC2018_Task3_Training_Input.zip",
        "ISIC2018_Task3_Training_GroundTruth.zip",
        isic2018.LESIONS,
    ]
    assert official_[:3] == grouped
    assert {a.name for a in official_[3:]} == {
        f"ISIC2018_Task3_{title}_{what}.zip" for title in HELD_OUT for what in ("Input", "GroundTruth")
    }
    assert all(url.startswith("https://") and url.endswith(a.name) for a in official_ for url in a.urls)
    assert [a.unpack for a in grouped] == ["", "", None]
