"""Images that cannot be decoded: an error that names them, or left out by --on-bad-image skip, and said."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import data_of, predictions, record_of, run_spec
from test_cli import PROTOCOL, bench, records
from typer.testing import CliRunner, Result

import bench as api
from bench import ConfigError, DataError, Environment, Index, Sample
from bench.cli import app
from bench.data.images import unreadable
from bench.data.images.decode import decode
from bench.data.images.images import open_images
from bench.data.images.ranges import Ranges
from bench.results import store

IMAGES = 60  # of two classes, so that three may be left out


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of images, three of which cannot be decoded: cut off, empty, and no image at all."""
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + i, 50), dtype=np.uint8)).save(path)
    home = tmp_path / "images"
    (home / "a/00.png").write_bytes((home / "a/00.png").read_bytes()[:500])
    (home / "b/01.png").write_bytes(b"")
    (home / "b/03.png").write_text("not an image")
    return home


BAD = ("a/00.png", "b/01.png", "b/03.png")


def ask(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output + str(done.exception)
    return done


def split_of(images: Path, *more: object) -> list[list[str]]:
    """The images of the split that a command freezes."""
    results = images.parent / "r"
    ask("data", "split", "folder", "--data", images, "--results", results, "-r", 1, *more)
    (manifest,) = (results / "splits/folder").glob("*.json")
    rows: list[list[str]] = json.loads(manifest.read_text())["images"]
    return rows


@pytest.mark.parametrize("command", ["audit", "split"])
def test_without_the_option_the_first_is_an_error_that_names_it(images: Path, command: str) -> None:
    error = ask(
        "data", command, "folder", "--data", images, "--results", images.parent / "r", code=1
    ).exception
    assert isinstance(error, DataError)
    assert "a/00.png: cannot be read as an image" in str(error)
    assert "--on-bad-image skip" in str(error)


def test_verify_names_each_and_fails_or_passes(images: Path) -> None:
    done = ask("data", "verify", "folder", "--data", images, code=1)
    for name in BAD:
        assert f"unreadable: {images}/{name}: cannot be read as an image" in done.stdout
    done = ask("data", "verify", "folder", "--data", images, "--on-bad-image", "skip")
    for name in BAD:
        assert f"left out: {images}/{name}: cannot be read as an image" in done.stdout
    assert "passed over: images that could not be read (3)" in done.stdout
    assert "folder is whole: 57 images, 3 left out" in done.stdout


def test_skip_leaves_them_out_of_the_split_and_says_so(images: Path) -> None:
    rows = split_of(images, "--on-bad-image", "skip")
    assert len(rows) == IMAGES - 3
    assert not {row[0] for row in rows} & set(BAD)
    done = ask(
        *("data", "audit", "folder", "--data", images, "--results", images.parent / "r"),
        *("--on-bad-image", "skip"),
    )
    assert f"warning: folder: 3 of {IMAGES} images cannot be decoded and are left out" in done.stderr
    assert ", ".join(BAD) in done.stderr
    assert done.stderr.count("warning") == 1
    assert "passed over: images that could not be read (3)" in done.stdout


def test_skip_changes_nothing_where_all_can_be_read(images: Path) -> None:
    """Nor does it decode anything twice."""
    for name in BAD:
        (images / name).unlink()
    plain = split_of(images)
    shutil.rmtree(images.parent / "r")
    assert split_of(images, "--on-bad-image", "skip") == plain
    done = ask(
        *("data", "split", "folder", "--data", images, "--results", images.parent / "r2", "-r", 1),
        *("--on-bad-image", "skip"),
    )
    assert "look for unreadable" not in done.stderr
    assert "warning" not in done.stderr


def test_more_than_one_in_twenty_is_an_error(images: Path) -> None:
    (images / "b/05.png").write_bytes(b"")
    for command in (("audit", "--results", images.parent / "r"), ("split", "--results", images.parent / "r")):
        error = ask(
            *("data", command[0], "folder", "--data", images, *command[1:], "--on-bad-image", "skip"), code=1
        ).exception
        assert isinstance(error, DataError)
        assert "4 of 60 images (6.7%) cannot be decoded" in str(error)
        assert "--on-bad-image skip leaves out at most 5%: a/00.png, b/01.png, " in str(error)
    done = ask("data", "verify", "folder", "--data", images, "--on-bad-image", "skip", code=1)
    assert "fault: folder: 4 of 60 images (6.7%)" in done.stdout
    assert "4 images cannot be read" in done.stdout


def test_a_class_that_would_be_left_empty_is_an_error(images: Path) -> None:
    (images / "c").mkdir()
    shutil.move(images / "b/01.png", images / "c/01.png")
    error = ask(
        *("data", "audit", "folder", "--data", images, "--results", images.parent / "r"),
        *("--on-bad-image", "skip"),
        code=1,
    ).exception
    assert isinstance(error, DataError)
    assert "no image of class c can be decoded" in str(error)


def listed(images: Path) -> Index:
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    samples = tuple(Sample(id=name, label=name[0], path=images / name) for name in names)
    return Index(classes=("a", "b"), samples=samples)


def place(images: Path) -> Environment:
    return Environment(data=images, results=images.parent / "r", on_bad_image="skip")


def test_another_process_leaves_out_the_same_without_decoding_all_again(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_images("toy", listed(images), place(images), (16,), lambda news: None)
    decoded: Counter[Path] = Counter()

    def counting(path: Path, *ranges: Ranges) -> object:
        decoded[path] += 1
        return decode(path, *ranges)

    monkeypatch.setattr(unreadable, "decode", counting)
    monkeypatch.setattr("bench.data.images.store.decode", counting)
    again = open_images("toy", listed(images), place(images), (16,), lambda news: None)
    assert again.ids == first.ids
    assert tuple(again.unreadable) == tuple(first.unreadable) == BAD
    assert decoded == Counter(images / name for name in BAD)  # to see that they still cannot be


def test_a_file_that_was_replaced_is_in_again(images: Path) -> None:
    open_images("toy", listed(images), place(images), (16,), lambda news: None)
    shutil.copy(images / "a/02.png", images / "a/00.png")
    again = open_images("toy", listed(images), place(images), (16,), lambda news: None)
    assert tuple(again.unreadable) == BAD[1:]
    assert "a/00.png" in again.ids


def test_a_decoder_that_has_learnt_a_format_makes_all_be_looked_at_anew(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = decode
    with monkeypatch.context() as patch:
        fails = images / "a/02.png"

        def cannot(path: Path, *ranges: Ranges) -> object:
            if path == fails:
                raise DataError(f"{path}: a format of the future")
            return real(path, *ranges)

        shutil.copy(images / "b/05.png", images / "b/03.png")
        patch.setattr(unreadable, "decode", cannot)
        patch.setattr("bench.data.images.store.decode", cannot)
        before = open_images("toy", listed(images), place(images), (16,), lambda news: None)
        assert tuple(before.unreadable) == ("a/00.png", "a/02.png", "b/01.png")
    after = open_images("toy", listed(images), place(images), (16,), lambda news: None)
    assert tuple(after.unreadable) == ("a/00.png", "b/01.png")


def test_what_is_no_fault_of_an_image_stays_an_error(images: Path) -> None:
    for name in BAD:
        (images / name).unlink()
    (images.parent / "r").mkdir()
    (images.parent / "r" / ".scratch").write_text("in the way of the store")
    with pytest.raises(DataError, match="images cannot be stored"):
        open_images("toy", listed(images), place(images), (16,), lambda news: None)


def test_the_python_api_takes_the_same(
    images: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(images.parent)
    env = api.local_environment(images, "r", device="cpu", threads=1, on_bad_image="skip")
    session = api.Session(env)
    from bench.identity import Ref

    with caplog.at_level(logging.WARNING, "bench"):
        opened = session.images(Ref("folder"), (16,))
        session.images(Ref("folder"), (20,))
    assert len(opened) == IMAGES - 3
    assert opened.passed_over == {unreadable.KIND: 3}
    assert len(caplog.records) == 1
    with pytest.raises(ConfigError, match="must be 'fail' or 'skip'"):
        api.local_environment(images, on_bad_image="ignore")  # type: ignore[arg-type]


# --- pages and frames --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_pages_are_counted_and_the_first_is_what_it_was(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    frames = [
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).quantize(16) for _ in range(3)
    ]
    if suffix == "webp":
        frames = [frame.convert("RGB") for frame in frames]
    path = tmp_path / f"film.{suffix}"
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    decoded = decode(path)
    assert decoded.frames == 3
    np.testing.assert_array_equal(decoded.pixels, np.asarray(frames[0].convert("RGB")))
    frames[0].save(path)
    assert decode(path).frames == 1


def test_a_damaged_later_page_does_not_concern_the_first(tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 30), i) for i in range(3)]
    path = tmp_path / "stack.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    path.write_bytes(path.read_bytes()[: path.stat().st_size - 60])
    assert not decode(path).pixels.any()


def test_a_store_from_before_pages_were_counted_is_made_again(tmp_path: Path) -> None:
    home = tmp_path / "images"
    for name in ("a/1.tif", "b/1.tif"):
        (home / name).parent.mkdir(parents=True)
        Image.new("L", (40, 30)).save(home / name, save_all=True, append_images=[Image.new("L", (40, 30))])
    samples = tuple(Sample(id=n, label=n[0], path=home / n) for n in ("a/1.tif", "b/1.tif"))
    index = Index(classes=("a", "b"), samples=samples, passed_over={"masks": 4})
    environment = Environment(data=home, results=tmp_path / "r")
    expected = {"masks": 4, unreadable.FRAMES: 2}
    assert open_images("toy", index, environment, (16,), lambda news: None).passed_over == expected
    (stored,) = environment.scratch.glob("images/toy/*/16/index.json")
    content = json.loads(stored.read_text())
    content["originals"] = [sizes[:4] for sizes in content["originals"]]
    stored.write_text(json.dumps(content))
    assert open_images("toy", index, environment, (16,), lambda news: None).passed_over == expected


# --- records and tables ------------------------------------------------------------------------------


def test_a_record_keeps_what_was_passed_over_and_older_ones_are_read(tmp_path: Path) -> None:
    each = predictions()
    for name, summary in (("new", data_of(passed_over={"masks": 798})), ("old", data_of())):
        record = record_of(run_spec(), data=summary)
        path = store.write(tmp_path / name, record, predictions={"val": each, "test": each})
        content = json.loads((path / "record.json").read_text())
        assert content["data"].get("passed_over") == (dict(summary.passed_over) or None)
        read = store.read(tmp_path / name, run_spec())
        assert read.data is not None
        assert read.data.passed_over == summary.passed_over


@pytest.mark.long
def test_a_run_leaves_them_out_in_its_workers_too_and_the_table_says_so(images: Path) -> None:
    """In processes of their own, which list and open the images themselves."""
    folder = images.parent
    (images / "a" / "notes.txt").write_text("x")
    (folder / "tiny.toml").write_text(PROTOCOL)
    arguments = ["run", "-d", "folder", "--data", "images", "-s", "scratch", "-p", "tiny.toml"]
    machine = ["--device", "cpu", "--threads", "1"]
    assert "cannot be read as an image" in bench(folder, *arguments, *machine, code=1).stderr
    done = bench(folder, *arguments, *machine, "--on-bad-image", "skip")
    assert done.stderr.count("images cannot be decoded and are left out") == 1
    line = "Passed over among the files of the images: images that could not be read (3), .txt files (1)."
    assert line in done.stdout
    assert line in bench(folder, "table").stdout
    (record,) = records(folder, "runs").values()
    assert record["data"]["passed_over"] == {".txt files": 1, "images that could not be read": 3}
    counts = record["data"]["counts"]
    assert sum(n for by in counts.values() for n, _ in by.values()) == IMAGES - 3
    assert "1 done, 0 to do" in bench(folder, *arguments, *machine, "--on-bad-image", "skip").stderr
    done = bench(folder, "subgroups", "scratch", "--by", "size", "--data", "images")
    assert "small" in done.stdout
