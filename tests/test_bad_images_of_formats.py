"""DICOM, NIfTI, 16-bit files, strips, reviewed files and pools beside images that cannot be read: what is an
image, what is passed over, and what --on-bad-image skip leaves out. Needs the extras "dicom" and "nifti"."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import bench, records
from test_dicom import RAMP, made
from test_folder_layouts import ask, put, read, refused

import bench as api
from bench import ConfigError, DataError
from bench.data.images.decode import decode, extent
from bench.data.images.unreadable import FRAMES, KIND
from bench.identity import Ref
from bench.study.protocol import AuditSettings

nibabel = pytest.importorskip("nibabel", reason='needs the extra "nifti"')

SKIP = ("--on-bad-image", "skip")
SIXTY = tuple(f"{'ab'[i % 2]}/{i:02d}.png" for i in range(60))  # of which three may be left out


def volume(path: Path, slices: int) -> None:
    values = np.random.default_rng(slices).integers(0, 1000, (20, 30, slices)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def images_of(results: Path) -> dict[str, list[str]]:
    """Id -> what the only manifest says of it."""
    (manifest,) = (results / "splits/folder").glob("*.json")
    return {row[0]: row for row in json.loads(manifest.read_text())["images"]}


# --- what is an image --------------------------------------------------------------------------------


def test_dicom_and_nifti_are_images_whose_other_frames_and_masks_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    made(tmp_path / "a/IM0001", RAMP, PatientID="p")
    made(tmp_path / "a/1.2.840.5", np.stack([RAMP] * 3), PatientID="q")
    made(tmp_path / "a/x.DCM", RAMP + 1, PatientID="r")
    volume(tmp_path / "b/v.nii.gz", 5)
    volume(tmp_path / "b/v_mask.nii.gz", 4)
    volume(tmp_path / "b/w_mask.nii", 2)
    (tmp_path / "a/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    index = read(tmp_path)
    assert {s.id for s in index.samples} == {
        *("a/1.2.840.5", "a/1.png", "a/IM0001", "a/x.DCM"),
        *("b/1.png", "b/v.nii.gz", "b/w_mask.nii"),
    }
    assert index.passed_over == {"DICOMDIR files": 1, "masks": 1}
    said = ask("data", "verify", "folder", "--data", tmp_path).stdout
    assert f"passed over: {FRAMES} (7), DICOMDIR files (1), masks (1)" in said
    assert "folder is whole: 7 images, all of them readable" in said


def test_dicom_and_nifti_that_a_csv_does_not_list_are_counted_by_kind(tmp_path: Path) -> None:
    put(tmp_path / "img", "1.png", "2.png", "3.png")
    made(tmp_path / "img/IM0001", RAMP)
    volume(tmp_path / "img/v.nii.gz", 2)
    table = tmp_path / "list.csv"
    table.write_text("path,label\nimg/1.png,a\nimg/2.png,b\n")
    assert read(table).passed_over == {"DICOM files": 1, "NIfTI files": 1, "other images": 1}


def test_a_pool_takes_what_a_folder_takes(tmp_path: Path) -> None:
    from bench.data.images.pool import images_below

    put(tmp_path, "1.png", "deep/2.JFIF.png")
    Image.new("L", (40, 40)).save(tmp_path / "3.jfif", "jpeg")
    Image.new("L", (40, 40)).save(tmp_path / "4.jp2")
    made(tmp_path / "IM0001", RAMP)
    volume(tmp_path / "v.nii.gz", 2)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "README").write_text("about")
    found = [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)]
    assert found == ["1.png", "3.jfif", "4.jp2", "IM0001", "deep/2.JFIF.png", "v.nii.gz"]
    for path in images_below(tmp_path):
        assert api.is_image_file(path)
        assert api.is_dicom_file(path) == (path.name == "IM0001")


# --- what is left out --------------------------------------------------------------------------------


def test_strips_and_damaged_dicom_files_are_left_out(tmp_path: Path) -> None:
    home = put(tmp_path / "d", *SIXTY)
    Image.new("L", (900, 8)).save(home / "a/strip.png")
    made(home / "a/cut.dcm", RAMP)
    (home / "a/cut.dcm").write_bytes((home / "a/cut.dcm").read_bytes()[:-300])
    (home / "b/text.dcm").write_text("no DICOM at all")
    arguments = ("folder", "--data", home, "--results", tmp_path / "r")
    assert "--on-bad-image skip" in refused("data", "split", *arguments, "-r", 1)
    done = ask("data", "split", *arguments, "-r", 1, *SKIP)
    assert "warning: folder: 3 of 63 images cannot be decoded and are left out" in done.stderr
    assert set(images_of(tmp_path / "r")) == set(SIXTY)
    said = ask("data", "verify", "folder", "--data", home, *SKIP).stdout
    assert f"left out: {home}/a/strip.png: has 8 x 900 pixels" in said
    assert f"left out: {home}/a/cut.dcm: cannot be read as an image" in said
    assert f"left out: {home}/b/text.dcm: cannot be read as an image" in said
    assert "60 images, 3 left out" in said
    assert f"passed over: {KIND} (3)" in ask("data", "audit", *arguments, *SKIP).stdout


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("1.dcm", "pydicom", "dicom"), ("1.nii.gz", "nibabel", "nifti")]
)
def test_a_missing_extra_is_no_fault_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    home = put(tmp_path / "d", *SIXTY)
    (home / "a/00.png").write_bytes(b"")  # which is, and makes all be looked at
    if extra == "dicom":
        made(home / "b" / name, RAMP)
    else:
        volume(home / "b" / name, 3)
    monkeypatch.setitem(sys.modules, package, None)
    for command in (("verify",), ("audit", "--results", tmp_path / "r")):
        error = ask("data", command[0], "folder", "--data", home, *command[1:], *SKIP, code=1).exception
        assert isinstance(error, ConfigError)
        assert f"b/{name}: " in str(error)
        assert f'pip install "medbench[{extra}]"' in str(error)


def test_the_core_does_not_take_a_missing_extra_for_a_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the plugin has looked at before."""
    from bench import Sample
    from bench.data.images.unreadable import look_at

    sample = Sample(id="x", label="a", path=made(tmp_path / "x.dcm", RAMP))
    assert look_at(sample).fault == ""
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ConfigError, match="pydicom, which is not installed"):
        look_at(sample)


def wide(path: Path, highest: int, **options: object) -> None:
    values = np.random.default_rng(highest).integers(0, highest + 1, (40, 50), dtype=np.uint16)
    values[0, 0] = highest
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def test_the_range_is_that_of_the_images_that_are_read(tmp_path: Path) -> None:
    home = tmp_path / "d"
    for i, name in enumerate(SIXTY):
        wide(home / name, 1000 - i)
    wide(home / "a/00.png", 60_000, exif=b"damaged")
    assert extent(home / "a/00.png") is not None, "its values can be read"
    with pytest.raises(DataError):
        decode(home / "a/00.png")
    env = api.local_environment(home, tmp_path / "r", device="cpu", threads=1, on_bad_image="skip")
    opened = api.Session(env).images(Ref("folder"), (16,))
    assert tuple(opened.unreadable) == ("a/00.png",)
    assert opened.bits == 10
    said = ask("data", "verify", "folder", "--data", home, *SKIP).stdout
    assert "16-bit files hold values up to 999 and are read as 10 bits" in said


def test_a_value_beyond_the_bits_that_were_set_is_never_left_out(tmp_path: Path) -> None:
    """It can be read: the setting is wrong, and leaving out the brightest images would be another study."""
    home = tmp_path / "d"
    for name in SIXTY:
        wide(home / name, 1000)
    wide(home / "b/01.png", 5000)
    (home / "a/00.png").write_bytes(b"")
    more = ("--set", "dataset.folder.bits=12", *SKIP)
    error = refused("data", "split", "folder", "--data", home, "--results", tmp_path / "r", *more)
    assert "b/01.png: " in error
    assert "5000" in error
    done = ask("data", "verify", "folder", "--data", home, *more, code=1)
    assert f"unreadable: {home}/b/01.png: " in done.stdout
    assert f"left out: {home}/a/00.png: " in done.stdout
    assert done.stdout.count("unreadable: ") == 1


def test_a_reviewed_file_may_name_an_image_that_is_left_out(tmp_path: Path) -> None:
    home = put(tmp_path / "d", *SIXTY)
    (home / "a/00.png").write_bytes(b"")
    reviewed = tmp_path / "seen.csv"
    reviewed.write_text(
        "id,group,exclude,phash\na/00.png,one,,ffffffffffffffff\na/02.png,one,,\nb/01.png,,yes,\n"
    )
    chosen = ("--set", f"dataset.folder.groups={reviewed}")
    arguments = ("folder", "--data", home, "--results", tmp_path / "r", *chosen, *SKIP)
    ask("data", "split", *arguments, "-r", 1)
    rows = images_of(tmp_path / "r")
    assert set(rows) == {*SIXTY} - {"a/00.png", "b/01.png"}
    assert "one" in rows["a/02.png"]
    assert f"passed over: {KIND} (1)" in ask("data", "audit", *arguments).stdout
    verified = ask("data", "verify", "folder", "--data", home, *chosen, *SKIP).stdout
    assert "folder is whole: 58 images, 1 left out" in verified


def test_a_data_sheet_says_what_was_passed_over_and_left_out(tmp_path: Path) -> None:
    home = put(tmp_path / "d", *SIXTY)
    (home / "a/00.png").write_bytes(b"")
    (home / "a/notes.txt").write_text("x")
    page = tmp_path / "page.html"
    arguments = ("folder", "--data", home, "--results", tmp_path / "r", "--threads", 1, "-o", page)
    assert "a/00.png: cannot be read as an image" in refused("data", "preview", *arguments)
    ask("data", "preview", *arguments, *SKIP)
    text = page.read_text()
    assert ".txt files: 1" in text
    assert f"{KIND}: 1" in text


# --- pools -------------------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Six images without labels, one of which cannot be read."""
    folder = put(tmp_path / "pool", *(f"p{i}.png" for i in range(6)), seed=1)
    (folder / "p3.png").write_bytes(b"")
    return folder


def test_a_pool_leaves_out_what_cannot_be_read_and_warns_once_of_each(
    tmp_path: Path, pool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = put(tmp_path / "d", *SIXTY)
    (home / "a/00.png").write_bytes(b"")
    env = api.local_environment(home, tmp_path / "r", device="cpu", threads=1, on_bad_image="skip")
    session = api.Session(env)
    alone = session.images(Ref("folder"), (16,))
    united, _ = session.audited_with_pool(Ref("folder"), str(pool), AuditSettings(), (16,))
    assert united.ids[: len(alone)] == alone.ids
    assert united.ids[len(alone) :] == tuple(f"pool/p{i}.png" for i in (0, 1, 2, 4, 5))
    assert set(united.unreadable) == {"a/00.png", "pool/p3.png"}
    first, second = (record.getMessage() for record in caplog.records)
    assert (
        "folder: 1 of 60 images cannot be decoded and are left out (--on-bad-image skip): a/00.png" in first
    )
    assert "folder+pool: 1 of 66 images" in second
    assert "skip): pool/p3.png; " in second
    env = api.local_environment(home, tmp_path / "r2", device="cpu", threads=1)
    (home / "a/00.png").unlink()
    with pytest.raises(DataError, match=r"pool/p3\.png: cannot be read as an image"):
        api.Session(env).with_pool(Ref("folder"), str(pool), (16,))


def test_a_pretraining_sees_the_rest_of_the_pool_in_its_own_process(tmp_path: Path, pool: Path) -> None:
    put(tmp_path / "images", *SIXTY)
    (tmp_path / "images/a/00.png").write_bytes(b"")
    shutil.copy(tmp_path / "images/a/02.png", pool / "copies.png")
    (tmp_path / "tiny.toml").write_text(
        'model = "test_convnext"\nsize = 32\nrounds = 1\n[pretrain]\nepochs = 1\nresize = 40\n'
        "[finetune]\nepochs = 1\nresize = 36\n"
    )
    arguments = ["run", "-d", "folder", "--data", "images", "-s", "egmae", "-p", "tiny.toml"]
    machine = ["--set", "protocol.pretrain.extra=pool", "--device", "cpu", "--threads", "1"]
    assert "cannot be read as an image" in bench(tmp_path, *arguments, *machine, code=1).stderr
    done = bench(tmp_path, *arguments, *machine, *SKIP)
    assert done.stderr.count("images cannot be decoded and are left out") == 2
    (record,) = records(tmp_path, "pretrain").values()
    assert "6 images without labels: " in record["notes"][-1]
