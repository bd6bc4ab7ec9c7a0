"""The COVID-19 Radiography Database in the layouts of its releases, with faults, and its download."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from native import image_bytes, put, write

from bench import DataError, DataNotFound, Index, NoParams
from bench.testing import check_dataset
from bench_datasets import covid

LATEST = "COVID-19_Radiography_Dataset"
OLDER = "COVID-19 Radiography Database"
CLASSES = ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia")


def write_copy(home: Path, counts: Mapping[str, int], *inside: str) -> Path:
    """Class folders with so many images, flat or in folders `inside`."""
    content = image_bytes(".png")
    for name, count in counts.items():
        for folder in [home / name / part for part in inside] or [home / name]:
            folder.mkdir(parents=True)
            for i in range(1, count + 1):
                (folder / f"{name}-{i}.png").write_bytes(content)
    return home


def read(root: Path) -> Index:
    return covid.index(root, NoParams())


@pytest.mark.parametrize(
    "place", [".", LATEST, f"covid/{LATEST}", f"covid/covid19-radiography-database/{LATEST}", "covid"]
)
def test_masks_are_no_images_and_folders_give_labels(tmp_path: Path, place: str) -> None:
    home = write_copy(tmp_path / place, dict.fromkeys(CLASSES, 2), "images", "masks")
    for name in CLASSES:
        write(home / f"{name}.metadata.xlsx", "not read")
    write(home / "README.md.txt", "not read")
    index = read(tmp_path)
    assert [s.id for s in index.samples] == [f"{c}/{c}-{i}" for c in CLASSES for i in (1, 2)]
    assert [s.label for s in index.samples] == [c for c in CLASSES for _ in range(2)]
    assert all(s.path and s.path.is_file() and s.path.parent.name == "images" for s in index.samples)
    assert {(s.group, s.part) for s in index.samples} == {("", "")}
    assert index.classes == CLASSES == tuple(covid.DATASET.expected)
    assert index.notes == (
        "no patient is named, so the index has no groups",
        "spreadsheets, which name sources but neither patients nor labels: COVID.metadata.xlsx, "
        "Lung_Opacity.metadata.xlsx, Normal.metadata.xlsx, Viral Pneumonia.metadata.xlsx",
    )
    check_dataset(covid.DATASET, tmp_path)


OLD = {"NORMAL": 1341, "Viral Pneumonia": 1345}


@pytest.mark.parametrize(
    ("home", "counts", "inside", "version"),
    [
        (LATEST, covid.LATEST, ("images",), "second update (21,165 images), subfolders images/"),
        (OLDER, {"COVID": 1200, **OLD}, (), "first update (3,886 images), no subfolders"),
        (OLDER, {"COVID-19": 219, **OLD}, (), "first release (2,905 images), no subfolders"),
    ],
)
def test_releases_are_recognised(
    tmp_path: Path, home: str, counts: dict[str, int], inside: tuple[str, ...], version: str
) -> None:
    write_copy(tmp_path / home, counts, *inside)
    index = read(tmp_path)
    assert index.version == version
    assert list(index.expected.values()) == [sum(s.label == c for s in index.samples) for c in index.classes]
    assert index.classes == (CLASSES if len(counts) == 4 else ("COVID", "Normal", "Viral Pneumonia"))


@pytest.mark.parametrize(
    ("moved", "layout"), [((), "no subfolders"), (("COVID",), "some subfolders images/")]
)
def test_copies_without_subfolders(tmp_path: Path, moved: tuple[str, ...], layout: str) -> None:
    write_copy(tmp_path / LATEST, {c: 2 for c in CLASSES if c not in moved})
    write_copy(tmp_path / LATEST, dict.fromkeys(moved, 2), "images")
    index = read(tmp_path)
    assert len(index.samples) == 8
    assert index.version.endswith(layout)
    check_dataset(covid.DATASET, tmp_path)


def test_another_copy_is_called_unknown_and_compared_with_the_latest(tmp_path: Path) -> None:
    write_copy(tmp_path, {"COVID": 3, "Normal": 2, "Viral Pneumonia": 1}, "images")
    index = read(tmp_path)
    assert index.version == "unknown: 3 COVID, 2 Normal, 1 Viral Pneumonia, subfolders images/"
    assert index.expected == {"COVID": 3616, "Normal": 10192, "Viral Pneumonia": 1345}
    assert "no class Lung_Opacity, of which the second update has 6,012 images" in index.notes
    check_dataset(covid.DATASET, tmp_path)


def test_what_is_not_of_the_download_is_noted_and_never_labelled(tmp_path: Path) -> None:
    write_copy(tmp_path, dict.fromkeys(CLASSES, 1), "images", "masks")
    put(
        tmp_path,
        "COVID/loose.png",
        "COVID/images/x.jpg",
        "COVID/images/deep/y.png",
        "COVID/images/._COVID-1.png",
    )
    put(tmp_path, "__MACOSX/COVID/images/COVID-1.png", "train/z.png")
    index = read(tmp_path)
    assert len(index.samples) == 4
    assert index.notes[1] == (
        "images that are not of the download, passed over: "
        "COVID/images/deep/y.png, COVID/images/x.jpg, COVID/loose.png"
    )
    assert index.notes[2] == "folder train is not a class of the database and was passed over"


def test_folders_of_one_class_are_refused(tmp_path: Path) -> None:
    write_copy(tmp_path, dict.fromkeys(("COVID", "COVID-19", "Normal", "Viral Pneumonia"), 1))
    with pytest.raises(DataError, match=r"COVID and .*COVID-19 are both of class COVID; remove one"):
        read(tmp_path)


def test_a_folder_called_covid_beside_other_data_is_no_class(tmp_path: Path) -> None:
    (tmp_path / "COVID-19").mkdir()
    write_copy(tmp_path / "covid" / LATEST, dict.fromkeys(CLASSES, 1), "images")
    assert len(read(tmp_path).samples) == 4


def test_missing_and_empty_classes_are_not_found(tmp_path: Path) -> None:
    write_copy(tmp_path, dict.fromkeys(CLASSES, 1), "images")
    (tmp_path / "Lung_Opacity/images/Lung_Opacity-1.png").unlink()
    with pytest.raises(
        DataNotFound, match=r"no images \(\*\.png\) in Lung_Opacity/images; the copy is not whole"
    ):
        read(tmp_path)
    write(tmp_path / "Lung_Opacity/images/images.zip", "")
    with pytest.raises(DataNotFound, match=r"Lung_Opacity/images/images\.zip is still packed"):
        read(tmp_path)
    (tmp_path / "Normal").rename(tmp_path / "Norm")
    with pytest.raises(DataNotFound, match=r"no folder with COVID, Normal.*kaggle\.com.*--data"):
        read(tmp_path)


def test_an_archive_left_packed_is_named(tmp_path: Path) -> None:
    write(tmp_path / "covid" / "archive.zip", "")
    with pytest.raises(DataNotFound, match=r"covid/archive\.zip is still packed: unpack it where it lies"):
        read(tmp_path)


# --- download ----------------------------------------------------------------------------------------


Kagglehub = Callable[[Callable[..., str]], None]


@pytest.fixture
def kagglehub(monkeypatch: pytest.MonkeyPatch) -> Kagglehub:
    """Put a kagglehub in place whose dataset_download is the given function."""

    def place(dataset_download: Callable[..., str]) -> None:
        package = ModuleType("kagglehub")
        vars(package)["dataset_download"] = dataset_download
        monkeypatch.setitem(sys.modules, "kagglehub", package)

    return place


def test_a_download_lies_where_the_index_looks(tmp_path: Path, kagglehub: Kagglehub) -> None:
    calls: list[dict[str, Any]] = []

    def fetch(handle: str, output_dir: str, **options: Any) -> str:
        calls.append({"handle": handle, **options})
        if Path(output_dir).exists() and not options:
            raise FileExistsError("output_dir is not empty")
        write_copy(Path(output_dir) / LATEST, dict.fromkeys(CLASSES, 1), "images", "masks")
        return output_dir

    kagglehub(fetch)
    put(tmp_path / "covid" / "covid19-radiography-database" / "COVID", "half.png")  # an interrupted download
    covid.download(tmp_path / "covid", NoParams())
    assert calls == [{"handle": covid.HANDLE}, {"handle": covid.HANDLE, "force_download": True}]
    assert len(read(tmp_path).samples) == 4


def failing(error: Exception) -> Callable[..., str]:
    def fetch(handle: str, **options: Any) -> str:
        raise error

    return fetch


class UnauthenticatedError(Exception):
    pass


@pytest.mark.parametrize(
    ("fetch", "message"),
    [
        (failing(ConnectionError("no route\nto host")), r"\(ConnectionError: no route to host\)"),
        (failing(UnauthenticatedError("who?")), r"\(UnauthenticatedError: who\?\).*kagglehub\.login\(\)"),
        (failing(FileExistsError("a file")), r"\(FileExistsError: a file\)"),
    ],
)
def test_a_download_that_fails_gives_the_steps_by_hand(
    tmp_path: Path, kagglehub: Kagglehub, fetch: Callable[..., str], message: str
) -> None:
    kagglehub(fetch)
    with pytest.raises(
        DataNotFound, match=rf"covid: .*{message}.*download it from https://www\.kaggle.*unpack"
    ):
        covid.download(tmp_path, NoParams())


def test_a_download_kept_elsewhere_is_named(tmp_path: Path, kagglehub: Kagglehub) -> None:
    kagglehub(lambda handle, **options: "/kaggle/input/covid")
    with pytest.raises(
        DataNotFound, match="keeps the images at /kaggle/input/covid; give that as the data root"
    ):
        covid.download(tmp_path / "covid", NoParams())


def test_without_kagglehub_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataNotFound, match=r"pip install 'medbench\[kaggle\]', or download it from"):
        covid.download(tmp_path, NoParams())


def test_sources_are_the_addresses_of_the_spreadsheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_copy(tmp_path / LATEST, dict.fromkeys(CLASSES, 2), "images")
    assert covid.sources(tmp_path, NoParams()) == {}
    for name in CLASSES:
        write(home / f"{name}.metadata.xlsx", "read by the function below")
    asked = []

    def sheet(path: Path, **options: object) -> pd.DataFrame:
        asked.append((path.name, options["usecols"]))
        name = path.name.partition(".")[0]
        rows = [(f"{name.upper()}-1 ", f"https://clinic.org/{name}#x"), (f"{name}-2", "")]
        return pd.DataFrame(rows, columns=["FILE NAME", "URL"])

    monkeypatch.setattr(pd, "read_excel", sheet)
    assert covid.sources(tmp_path, NoParams()) == {f"{c}/{c}-1": f"clinic.org/{c}" for c in CLASSES}
    assert {name for name, _ in asked} == {f"{name}.metadata.xlsx" for name in CLASSES}
    assert asked[0][1] == ["FILE NAME", "URL"]


def test_spreadsheets_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = write_copy(tmp_path / LATEST, dict.fromkeys(CLASSES, 1))
    write(home / "COVID.metadata.xlsx", "no spreadsheet")
    with pytest.raises(DataError, match=r"COVID\.metadata\.xlsx: cannot be read .*FILE NAME and URL"):
        covid.sources(tmp_path, NoParams())
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with zipfile.ZipFile(home / "COVID.metadata.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "")  # by which pandas knows what it is
    with pytest.raises(DataNotFound, match=r"pip install 'medbench\[kaggle\]'"):
        covid.sources(tmp_path, NoParams())
