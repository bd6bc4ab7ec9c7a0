"""The data sets of bench_datasets: their layouts, and the generated one."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench_datasets
from bench import ConfigError, DataError, DataNotFound, Index
from bench.parsing import parse
from bench_datasets import busi, folder, phantom


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(root / name)
    return root


def test_every_data_set_describes_itself() -> None:
    datasets = bench_datasets.register_datasets()
    assert [d.name for d in datasets] == ["busi", "covid", "folder", "isic2018", "kvasir", "phantom"]
    assert all(d.about and d.fetch for d in datasets)


# --- busi --------------------------------------------------------------------------------------------

BUSI = (
    "benign/benign (1).png",
    "benign/benign (1)_mask.png",
    "benign/benign (10).png",
    "benign/benign (10)_mask.png",
    "benign/benign (10)_mask_1.png",
    "benign/benign (2).png",
    "malignant/malignant (1).png",
    "malignant/malignant (1)_mask.png",
    "normal/normal (1).png",
    "normal/normal (1)_mask.png",
    "normal/._normal (1).png",
)


@pytest.mark.parametrize(
    "place", [".", "Dataset_BUSI_with_GT", "busi/Dataset_BUSI_with_GT", "BUSI/Dataset_BUSI_with_GT"]
)
def test_busi_is_found_and_masks_are_no_images(tmp_path: Path, place: str) -> None:
    put(tmp_path / place, *BUSI)
    index = busi.index(tmp_path, busi.DATASET.params())
    assert [s.id for s in index.samples] == [
        "benign/benign (1)",
        "benign/benign (2)",
        "benign/benign (10)",
        "malignant/malignant (1)",
        "normal/normal (1)",
    ]
    assert index.classes == ("benign", "malignant", "normal") == tuple(busi.DATASET.expected)
    assert [s.label for s in index.samples] == ["benign"] * 3 + ["malignant", "normal"]
    assert all(s.path and s.path.is_file() for s in index.samples)


def test_busi_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    put(tmp_path, "benign/benign (1).png", "malignant/malignant (1).png")
    with pytest.raises(DataNotFound, match=r"Dataset_BUSI_with_GT.*download.*--data"):
        busi.index(tmp_path, busi.DATASET.params())
    put(tmp_path, "normal/normal (1)_mask.png")
    with pytest.raises(DataNotFound, match=r"no images .* in normal"):
        busi.index(tmp_path, busi.DATASET.params())


def test_busi_left_packed_is_named(tmp_path: Path) -> None:
    (tmp_path / "busi").mkdir()
    (archive,) = busi.DATASET.archives(busi.DATASET.params())
    (tmp_path / "busi" / archive.name).touch()
    with pytest.raises(
        DataNotFound, match=r"busi/Dataset_BUSI\.zip is still packed: unpack it where it lies"
    ):
        busi.index(tmp_path, busi.DATASET.params())


# --- folder ------------------------------------------------------------------------------------------


def read(root: Path, **params: str) -> Index:
    return folder.index(root, parse(folder.Params, params, "dataset.folder"))


def test_one_folder_per_class(tmp_path: Path) -> None:
    put(tmp_path, "b/x10.png", "b/x2.JPG", "b/deep/er/y.tif", "a/z.png", ".git/w.png", "__MACOSX/a/z.png")
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "labels.csv").write_text("not needed")
    (tmp_path / "b" / "Thumbs.db").write_text("not an image")
    (tmp_path / "b" / "._x2.png").write_text("not an image")
    index = read(tmp_path)
    assert index.classes == ("a", "b")
    assert [s.id for s in index.samples] == ["a/z.png", "b/deep/er/y.tif", "b/x2.JPG", "b/x10.png"]
    assert {(s.group, s.part) for s in index.samples} == {("", "")}


def test_an_empty_class_folder_stays_a_class(tmp_path: Path) -> None:
    put(tmp_path, "a/z.png", "b/z.png")
    (tmp_path / "c").mkdir()
    assert read(tmp_path).classes == ("a", "b", "c")  # the core refuses it, by name


def test_part_folders_are_the_split(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png", "test/b/3.png")
    index = read(tmp_path)
    assert index.classes == ("a", "b")
    assert [(s.id, s.label, s.part) for s in index.samples] == [
        ("train/a/1.png", "a", "train"),
        ("train/b/1.png", "b", "train"),
        ("val/a/2.png", "a", "val"),
        ("test/b/3.png", "b", "test"),
    ]


def test_part_names_beside_other_folders_are_classes(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "car/1.png")
    assert read(tmp_path).classes == ("car", "train")


def test_the_group_is_picked_out_of_the_path(tmp_path: Path) -> None:
    put(tmp_path, "a/p1_1.png", "a/p1_2.png", "b/p1_3.png", "b/p22_1.png")
    assert [s.group for s in read(tmp_path, group=r"(p\d+)_").samples] == ["p1", "p1", "p1", "p22"]
    with pytest.raises(DataError, match=r"b/p22_1\.png does not match the group pattern"):
        read(tmp_path, group=r"(p\d)_")
    with pytest.raises(DataError, match=r"does not match the group pattern"):
        read(tmp_path, group=r"(z?)")  # matches, with nothing in it


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "not a regular expression"), ("p1", "exactly one group")]
)
def test_a_bad_group_pattern_is_a_config_error(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"dataset.folder: .*{message}"):
        read(tmp_path, group=pattern)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "0 class folders"),
        (("a/1.png",), "1 class folders, fewer than two"),
        (("a/1.png", "b/1.png", "loose.png"), r"1 images lie directly in .*loose\.png"),
        (("train/a/1.png", "val/a/1.png"), "no folder test"),
        (("train/1.png", "test/a/1.png"), "lie directly in .*train"),
    ],
)
def test_a_tree_that_fits_no_layout(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(put(tmp_path, *names))


def test_no_such_root(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="neither a folder nor a csv file"):
        read(tmp_path / "nowhere")


def table(root: Path, text: str, encoding: str = "utf-8") -> Path:
    put(root, "img/1.png", "img/2.png", "img/3 ü.png")
    (root / "labels.csv").write_bytes(text.encode(encoding))
    return root / "labels.csv"


def test_a_csv_gives_labels_groups_and_parts(tmp_path: Path) -> None:
    text = 'path,label,group,split,age\r\nimg/1.png,no,p1,train,3\r\nimg/2.png,"yes",,test,\r\n'
    index = read(table(tmp_path, text, "utf-8-sig"))
    assert index.classes == ("no", "yes")
    assert [(s.id, s.label, s.group, s.part) for s in index.samples] == [
        ("img/1.png", "no", "p1", "train"),
        ("img/2.png", "yes", "", "test"),
    ]
    assert index.samples[0].path == tmp_path / "img/1.png"


def test_a_folder_with_one_csv_and_no_images_in_folders_is_that_csv(tmp_path: Path) -> None:
    put(tmp_path, "images/1.png")
    home = tmp_path / "tables"
    home.mkdir()
    (home / "x.csv").write_text("label, path\nb, ../images/1.png\n")
    assert [(s.id, s.label) for s in read(home).samples] == [("../images/1.png", "b")]


def test_sources_are_a_column_of_the_csv(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label,source\nimg/1.png,a,Lyon\nimg/2.png,b,\n")
    assert folder.sources(path, folder.Params()) == {"img/1.png": "Lyon"}
    assert folder.sources(table(tmp_path, "path,label\nimg/1.png,a\n"), folder.Params()) == {}
    put(tmp_path / "tree", "a/1.png", "b/2.png")
    assert folder.sources(tmp_path / "tree", folder.Params()) == {}


def test_a_csv_beside_one_image_folder_must_be_named(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label\nimg/1.png,a\n")
    with pytest.raises(DataNotFound, match=r"to use labels\.csv, give it as the data root"):
        read(tmp_path)
    assert len(read(path).samples) == 1


def test_the_group_pattern_serves_rows_without_a_group(tmp_path: Path) -> None:
    path = table(tmp_path, "path,label,group\nimg/1.png,a,p1\nimg/2.png,a,\n")
    assert [s.group for s in read(path, group=r"(\d)\.png").samples] == ["p1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column path and no column label"),
        ("path,klass\nimg/1.png,a\n", "line 1: no column label .found: path, klass"),
        ("path,label\nimg/1.png,a\nimg/9.png,a\n", r"line 3: no such file img/9\.png"),
        ("path,label\nimg/1.png\n", "line 2: path and label must not be empty"),
        ("path,label\nimg/1.png,a\nimg/2.png,b\nimg/1.png,b\n", "line 4: img/1.png was listed on line 2"),
        ("path,label,split\nimg/1.png,a,held\n", "line 2: split 'held' is none of train, val, test"),
        ("path,label\n" + "x.png,a\n" * 9, r"line 6: no such file x\.png; and 4 more; correct"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, text))


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="UTF-8"):
        read(table(tmp_path, "path,label\nimg/3 ü.png,a\n", "latin-1"))


# --- phantom -----------------------------------------------------------------------------------------

PINNED = "95a2d76f96687cb9a867f040a7b8c45ab28c75606d7e5b1e48f1a44a337e6dab"
SMALL = phantom.Params(patients=24, size=64)


def digest(index: Index) -> str:
    sha = hashlib.sha256()
    for sample in index.samples:
        sha.update(f"{sample.id} {sample.label} {sample.group}\n".encode())
        sha.update(np.ascontiguousarray(sample.array).tobytes())
    return sha.hexdigest()


def test_the_default_phantom_is_imbalanced_and_grouped(tmp_path: Path) -> None:
    index = phantom.index(tmp_path, phantom.Params())
    assert Counter(s.label for s in index.samples) == phantom.DATASET.expected
    assert index.classes == ("no_lesion", "smooth", "irregular") == tuple(phantom.DATASET.expected)
    views = Counter(s.group for s in index.samples)
    assert len(views) == 132
    assert set(views.values()) == {1, 2, 3, 4}
    assert len({(s.group, s.label) for s in index.samples}) == 132
    assert {(s.array.shape, s.array.dtype.name) for s in index.samples if s.array is not None} == {
        ((128, 128), "uint8")
    }
    assert len({s.array.tobytes() for s in index.samples if s.array is not None}) == len(index.samples)


def test_the_phantom_is_the_same_everywhere(tmp_path: Path) -> None:
    """Raise the data set's revision when this digest changes: stored results would not be comparable."""
    assert phantom.DATASET.revision == 1
    assert digest(phantom.index(tmp_path, SMALL)) == PINNED


def test_parameters_change_the_phantom(tmp_path: Path) -> None:
    other = phantom.Params(patients=24, size=64, seed=1)
    assert digest(phantom.index(tmp_path, other)) != PINNED
    few, more = phantom.index(tmp_path, SMALL), phantom.index(tmp_path, phantom.Params(patients=25, size=64))
    assert few.samples[0].array is not None
    assert more.samples[0].array is not None
    np.testing.assert_array_equal(few.samples[0].array, more.samples[0].array)


@pytest.mark.parametrize("bad", [{"patients": 3}, {"size": 8}, {"seed": -1}, {"images": 3}])
def test_impossible_phantoms_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.phantom"):
        parse(phantom.Params, bad, "dataset.phantom")


def test_the_phantom_can_be_learnt_but_not_perfectly(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    index = phantom.index(tmp_path, phantom.Params())
    features = [_darkness(s.array) for s in index.samples if s.array is not None]
    labels = [index.classes.index(s.label) for s in index.samples]
    predicted = cross_val_predict(
        RandomForestClassifier(100, random_state=0),
        features,
        labels,
        groups=[s.group for s in index.samples],
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
    )
    majority = max(Counter(labels).values()) / len(labels)
    assert majority + 0.08 < np.mean(predicted == labels) < 0.9


def _darkness(array: np.ndarray) -> list[float]:
    """How dark, large and tall the dark part of the middle is, and how bright it is behind it."""
    small = np.asarray(Image.fromarray(array).resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
    middle = small[6:22, 4:28] - np.median(small[6:22, 4:28], axis=1, keepdims=True)
    rows, columns = np.nonzero(middle <= min(-20, middle.min() * 0.7))
    if not len(rows):
        return [middle.min(), 0, 1, 0, middle.std()]
    behind = small[min(rows.max() + 9, 31), columns + 4].mean() - small[min(rows.max() + 9, 31)].mean()
    return [middle.min(), len(rows), (rows.std() + 0.1) / (columns.std() + 0.1), behind, middle.std()]


def test_listing_the_data_sets_imports_nothing_heavy() -> None:
    code = "import sys, bench_datasets as b; b.register_datasets(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "PIL", "torch", "sklearn", "pandas"} & set(loaded.stdout.split())
