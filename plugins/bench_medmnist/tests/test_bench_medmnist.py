"""Every set on small npz files; unpacking; faults. The suite of bench runs these too."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from bench_medmnist.datasets import PARTS, ChestParams, Params, archives, index
from bench_medmnist.sources import SOURCES, MedMNISTSet

import bench_medmnist
from bench import DataError, DataNotFound, Dataset, Index
from bench.testing import check_dataset

BY_NAME = {source.name: source for source in SOURCES}
BREAST, CHEST = BY_NAME["breastmnist"], BY_NAME["chestmnist"]
DATASETS = bench_medmnist.register_datasets()


def arrays(source: MedMNISTSet, size: int = 28, *, colour: bool = False) -> dict[str, Any]:
    """Two random images of every class (or finding) in train, one in val and test."""
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {}
    for part, times in zip(PARTS, (2, 1, 1), strict=True):
        if source is CHEST:  # without any finding, with one, with two
            labels = np.zeros((16, 14), np.uint8)
            labels[np.arange(14), np.arange(14)] = 1
            labels[0, 13] = 1
        else:
            labels = np.repeat(np.arange(len(source.labels), dtype=np.uint8), times)[:, None]
        shape = (len(labels), size, size, 3) if colour else (len(labels), size, size)
        content |= {f"{part}_images": rng.integers(0, 256, shape, np.uint8), f"{part}_labels": labels}
    return content


def saved(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content)
    return path


def read(root: Path, source: MedMNISTSet = BREAST, params: Params = Params(28)) -> Index:  # noqa: B008
    return index(source, root, params)


# --- the data sets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_every_set_conforms(tmp_path: Path, dataset: Dataset) -> None:
    content = arrays(BY_NAME[dataset.name], colour=dataset.name == "pathmnist")
    saved(tmp_path / dataset.name / f"{dataset.name}.npz", content)
    check_dataset(dataset, tmp_path, dataset.params(size=28))
    assert "10519652" in dataset.fetch
    assert dataset.citation
    assert dataset.licence


@pytest.mark.parametrize(("size", "name"), [(28, "breastmnist.npz"), (224, "breastmnist_224.npz")])
@pytest.mark.parametrize("folder", ["breastmnist", "."])
def test_images_labels_and_parts_are_those_of_the_file(
    tmp_path: Path, size: int, name: str, folder: str
) -> None:
    content = arrays(BREAST, size)
    saved(tmp_path / folder / name, content)
    listed = read(tmp_path, params=Params(size))
    assert [s.id for s in listed.samples] == [
        *(f"train/00000{i}" for i in range(4)),
        *(f"val/00000{i}" for i in range(2)),
        *(f"test/00000{i}" for i in range(2)),
    ]
    for sample in listed.samples:
        part, row = sample.id.split("/")
        assert sample.part == part
        assert sample.label == BREAST.labels[content[f"{part}_labels"][int(row), 0]]
        assert sample.array is not None
        np.testing.assert_array_equal(sample.array, content[f"{part}_images"][int(row)])
        assert not sample.array.flags.writeable
    assert listed.version == f"unknown: 4 + 2 + 2 images, MedMNIST+ has 546 + 78 + 156, {size} pixels"


def test_the_published_counts_are_recognised(tmp_path: Path) -> None:
    content = {}
    for part, count in zip(PARTS, BREAST.parts, strict=True):
        content[f"{part}_images"] = np.zeros((count, 28, 28), np.uint8)
        content[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    saved(tmp_path / "breastmnist.npz", content)
    assert read(tmp_path).version == "MedMNIST+ (Zenodo 10519652), 28 pixels"


def test_the_size_that_is_asked_for_by_default_is_the_papers() -> None:
    assert Params() == Params(224, "official")


def test_a_drawn_split_has_no_parts_and_says_what_it_risks(tmp_path: Path) -> None:
    saved(tmp_path / "breastmnist.npz", arrays(BREAST))
    listed = read(tmp_path, params=Params(28, "drawn"))
    assert {s.part for s in listed.samples} == {""}
    assert "no patient is named" in listed.notes[0]


def test_many_findings_are_made_one_question(tmp_path: Path) -> None:
    content = arrays(CHEST)
    saved(tmp_path / "chestmnist.npz", content)
    listed = read(tmp_path, CHEST, ChestParams(28))
    assert listed.classes == ("no finding", "finding")
    assert [s.label for s in listed.samples if s.part == "val"] == ["finding"] * 14 + ["no finding"] * 2
    listed = read(tmp_path, CHEST, ChestParams(28, finding="hernia"))
    assert listed.classes == ("no hernia", "hernia")
    assert [s.id for s in listed.samples if s.label == "hernia" and s.part == "val"] == [
        "val/000000",
        "val/000013",
    ]
    assert get_args(get_type_hints(ChestParams)["finding"]) == ("any", *CHEST.labels)


def test_nothing_heavy_is_imported_at_the_top() -> None:
    script = (
        "import sys, bench_medmnist\n"
        "assert len(bench_medmnist.register_datasets()) == 12\n"
        "print(sorted({'torch', 'medmnist', 'filelock', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`medmnist.INFO`, whose import makes a folder in the user's home."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        info_of_sets: dict[str, Any] = pytest.importorskip("medmnist.info").INFO
    return info_of_sets


def test_the_table_is_that_of_the_package(info: dict[str, Any]) -> None:
    flat = {name: about for name, about in info.items() if "_3d" not in name and "3d" not in name}
    assert set(flat) == set(BY_NAME)
    for name, about in flat.items():
        source = BY_NAME[name]
        assert source.labels == tuple(about["label"].values())
        assert source.parts == tuple(about["n_samples"][part] for part in PARTS)
        assert source.licence == about["license"]
        assert (name == "chestmnist") == ("multi-label" in about["task"])


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_archives_are_those_of_the_package(source: MedMNISTSet, info: dict[str, Any]) -> None:
    for size, suffix in ((28, ""), (64, "_64"), (128, "_128"), (224, "_224")):
        (archive,) = archives(source, Params(size))  # type: ignore[arg-type]
        assert archive.urls == (info[source.name][f"url{suffix}"],)
        assert archive.checksum == "md5:" + info[source.name][f"MD5{suffix}"]
        assert archive.name == f"{source.name}{suffix}.npz"
        assert f"/{archive.name}" in archive.urls[0]
        assert archive.unpack is None


# --- unpacking ---------------------------------------------------------------------------------------


def test_images_are_unpacked_once_and_anew_when_the_file_changes(tmp_path: Path) -> None:
    content = arrays(BREAST)
    saved(tmp_path / "breastmnist.npz", content)
    first = read(tmp_path)
    copies = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert len(copies) == 3
    assert [s.source for s in read(tmp_path).samples] == [s.source for s in first.samples]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")} == copies
    assert len({s.source for s in first.samples}) == len(first.samples)

    content["train_images"] = content["train_images"] ^ 1
    saved(tmp_path / "breastmnist.npz", content)
    again = read(tmp_path)
    changed = {a.id for a, b in zip(again.samples, first.samples, strict=True) if a.source != b.source}
    assert changed == {s.id for s in again.samples if s.part == "train"}
    assert again.samples[0].array is not None
    np.testing.assert_array_equal(again.samples[0].array, content["train_images"][0])


def test_what_a_killed_process_left_does_not_count(tmp_path: Path) -> None:
    content = arrays(BREAST)
    saved(tmp_path / "breastmnist.npz", content)
    read(tmp_path)
    for copy in tmp_path.glob("*.npy"):
        copy.with_name(f".{copy.name}.part").write_bytes(b"half")
        copy.write_bytes(copy.read_bytes()[:-1])  # cut short by something else
    listed = read(tmp_path)
    assert listed.samples[0].array is not None
    np.testing.assert_array_equal(listed.samples[0].array, content["train_images"][0])
    assert not list(tmp_path.glob(".*.part"))


def test_memory_stays_flat(tmp_path: Path) -> None:
    content = arrays(BREAST, 224)
    content["train_images"] = np.zeros((800, 224, 224), np.uint8)  # 40 MB
    content["train_labels"] = (np.arange(800) % 2)[:, None]
    saved(tmp_path / "breastmnist_224.npz", content)
    read(tmp_path, params=Params(224))  # imports what is needed
    for copy in tmp_path.glob("*.npy"):
        copy.unlink()
    tracemalloc.start()
    try:
        listed = read(tmp_path, params=Params(224))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(listed.samples) == 804
    assert peak < 8_000_000


# --- faults ------------------------------------------------------------------------------------------


def test_where_it_was_looked_for_and_which_size_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match=r"no breastmnist\.npz in .*/breastmnist or .*zenodo.*--data"):
        read(tmp_path)
    saved(tmp_path / "breastmnist" / "breastmnist_64.npz", arrays(BREAST, 64))
    with pytest.raises(
        DataNotFound, match=r"size 64 is there: --set dataset\.breastmnist\.size=64; download"
    ):
        read(tmp_path, params=Params(224))


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("val_images"), "holds no array val_images"),
        (lambda a: a.pop("val_labels"), "holds no array val_labels"),
        (
            lambda a: a.update(arrays(BREAST, 64)),
            r"train_images is uint8 \(4, 64, 64\), not uint8 \(N, 28, 28",
        ),
        (lambda a: a.update(val_images=a["val_images"] / 255), "val_images is float64"),
        (lambda a: a.update(test_labels=a["test_labels"] + 1), "test_labels, rows 1: not 0 to 1"),
        (lambda a: a.update(test_labels=a["test_labels"] * 0.5), "test_labels is float64"),
        (lambda a: a.update(test_labels=a["test_labels"][:, 0]), r"test_labels is uint8 \(2,\), not whole"),
        (lambda a: a.update(test_labels=a["test_labels"][:1]), "1 test_labels of 2 test_images"),
        (lambda a: a.update(test_labels=np.array([[None], [1]])), "is not a whole npz"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    content = arrays(BREAST)
    change(content)
    saved(tmp_path / "breastmnist.npz", content)
    with pytest.raises(DataError, match=rf"breastmnist\.npz: .*{message}.*fetch"):
        read(tmp_path)


def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path) -> None:
    path = saved(tmp_path / "breastmnist.npz", arrays(BREAST))
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"is not a whole npz file .*; fetch it again"):
        read(tmp_path)
    middle = len(whole) // 4  # in the pixels of train
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(DataError, match=r"is not a whole npz file .*; fetch it again"):
        read(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".npy", ".part")]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "breastmnist.npz", arrays(BREAST))

    def full(self: Path, *arguments: Any, **options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench_medmnist.npz.os.replace", full)
    with pytest.raises(
        DataError, match=r"cannot be unpacked beside it \(No space left.*it takes 3,264 bytes there"
    ):
        read(tmp_path)
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".npy", ".part")]
