"""Reading every kind of image file, and the store of decoded images."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from samples import opened

from bench import DataError, Dataset, Environment, Index, Progress, Sample
from bench.data.images import content
from bench.data.images.decode import Decoded, decode, pixel_digest, read_image, resize, resize_all
from bench.data.images.images import Images
from bench.data.images.ranges import Ranges
from bench.data.images.view import Original

COLOUR = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


# --- one file ----------------------------------------------------------------------------------------


def test_grey_and_colour_are_read_as_stored(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_image(save(tmp_path / "g.png", GREY)), GREY)
    np.testing.assert_array_equal(read_image(save(tmp_path / "c.png", COLOUR)), COLOUR)


def test_equal_channels_become_one(tmp_path: Path) -> None:
    same = np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.png", same)), GREY)
    same[0, 0, 2] ^= 1
    assert read_image(save(tmp_path / "b.png", same)).shape == (30, 41, 3)


def test_bilevel_and_palette(tmp_path: Path) -> None:
    black_white = np.where(GREY > 127, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "1.png", black_white, "1")), black_white)
    few = (COLOUR // 128 * 255).astype(np.uint8)  # eight colours, which a palette holds exactly
    palette = Image.fromarray(few).quantize(8)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_use_the_whole_range_of_the_format(tmp_path: Path, suffix: str) -> None:
    wide = np.array([[0, 128, 129, 257, 4095, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / f"w.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"w.{suffix}"), [[0, 0, 1, 1, 16, 128, 255]])


def test_16_bits_whose_zero_is_white_are_inverted(tmp_path: Path) -> None:
    wide = np.array([[0, 257, 65535]], dtype=np.uint16)
    Image.fromarray(wide).save(tmp_path / "w.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(read_image(tmp_path / "w.tif"), [[255, 254, 0]])


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        *(("L", "png", 1), ("1", "png", 1), ("P", "png", 1), ("I;16", "png", 1), ("LA", "png", 2)),
        *(("RGB", "png", 3), ("RGB", "jpg", 3), ("RGBA", "png", 4), ("CMYK", "jpg", 4)),
    ],
)
def test_channels_are_counted_as_the_file_stores_them(
    tmp_path: Path, mode: str, suffix: str, channels: int
) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / f"a.{suffix}")
    decoded = decode(tmp_path / f"a.{suffix}")
    assert decoded.channels == channels
    assert decoded.pixels.shape[:2] == (4, 5)


def test_alpha_is_composited_on_black(tmp_path: Path) -> None:
    rgba = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    rgba[:, :20, 3] = 0
    rgba[0, 30, 3] = 51  # a fifth
    pixels = read_image(save(tmp_path / "a.png", rgba))
    assert not pixels[:, :20].any()
    np.testing.assert_array_equal(pixels[1:, 20:], COLOUR[1:, 20:])
    np.testing.assert_array_equal(pixels[0, 30], (COLOUR[0, 30] / 5 + 0.499).astype(int))
    la = np.dstack([GREY, np.zeros_like(GREY)])
    assert read_image(save(tmp_path / "la.png", la)).shape == GREY.shape


def test_a_transparent_palette_entry_is_black(tmp_path: Path) -> None:
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "t.png", transparency=1)
    assert not read_image(tmp_path / "t.png").any()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    pixels = read_image(tmp_path / "c.jpg")
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels.mean((0, 1)), [250, 10, 10], atol=4)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    save(tmp_path / "e.png", COLOUR, exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "e.png"), np.rot90(COLOUR, -1))


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n broken"])
def test_an_unreadable_file_is_named_with_a_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.png: cannot be read as an image.*replace the file"):
        read_image(tmp_path / "bad.png")


def test_truncated_missing_and_float_files_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", COLOUR).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.png"):
        read_image(tmp_path / "cut.png")
    with pytest.raises(DataError, match="no such image"):
        read_image(tmp_path / "none.png")
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(DataError, match=r"f\.tif: holds floating-point"):
        read_image(tmp_path / "f.tif")
    Image.fromarray(np.full((3, 3), 70_000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match="more than 16 bits"):
        read_image(tmp_path / "i.tif")


@pytest.mark.parametrize("shape", [(30, 41), (41, 30), (33, 33), (30, 41, 3), (97, 31, 3)])
@pytest.mark.parametrize("short", [8, 30, 64])
def test_resize_equals_torchvision(shape: tuple[int, ...], short: int) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    reference = np.asarray(v2.Resize(short)(Image.fromarray(pixels)))
    reference = reference[None] if reference.ndim == 2 else reference.transpose(2, 0, 1)
    np.testing.assert_array_equal(resize(pixels, short), reference)


@pytest.mark.parametrize(
    "shapes",
    [
        [(60, 80)] * 4,
        [(299, 299)] * 3,
        [(60, 80)] * 3 + [(80, 60)],
        [(60, 80), (60, 80, 3), (60, 80), (60, 80)],
        [(60, 80, 3)] * 4,
        [(1, 7)] * 4,
    ],
)
def test_images_resized_together_equal_those_resized_alone(shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    together = resize_all(images, (16, 50, 97))
    for image, copies in zip(images, together, strict=True):
        for short, copy in zip((16, 50, 97), copies, strict=True):
            np.testing.assert_array_equal(copy, resize(image, short))
            assert copy.flags.c_contiguous


# --- the store ---------------------------------------------------------------------------------------


def toy_dataset(index: Callable[[Path, object], Index]) -> Dataset:
    return Dataset(name="toy", about="", index=index)


def list_pngs(root: Path, params: object) -> Index:
    files = sorted(root.glob("*.png"))
    samples = (Sample(id=p.stem, label="ab"[int(p.stem) % 2], path=p) for p in files)
    return Index(classes=("a", "b"), samples=tuple(samples))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    (tmp_path / "data").mkdir()
    for i in range(12):
        array = np.random.default_rng(i).integers(0, 256, (20 + i, 25, 3) if i % 3 else (20 + i, 25))
        save(tmp_path / "data" / f"{i:02d}.png", array.astype(np.uint8))
    return Environment(data=tmp_path / "data", results=tmp_path / "results")


def open_toy(environment: Environment, *shorts: int, dataset: Dataset | None = None) -> Images:
    return opened(dataset or toy_dataset(list_pngs), environment, shorts)


def store_folders(environment: Environment) -> list[Path]:
    return sorted((environment.scratch / "images" / "toy").glob("[!.]*"))


def test_views_hold_every_image_resized(environment: Environment) -> None:
    images = open_toy(environment, 16, 8)
    for short in (8, 16):
        view = images.view(short)
        assert len(view) == len(images) == 12
        for i, path in enumerate(sorted(environment.data.glob("*.png"))):
            pixels = read_image(path)
            np.testing.assert_array_equal(view[i], resize(pixels, short))
            assert images.sha256[i] == pixel_digest(pixels)
        np.testing.assert_array_equal(view[-1], view[11])
        assert len(list(view)) == 12
        assert not view[3].flags.writeable
        assert np.shares_memory(view[3], view.pixels)
    assert images.labels.tolist() == [0, 1] * 6
    assert images.labels.dtype == np.int64


def test_the_digest_covers_shape_and_bytes() -> None:
    assert pixel_digest(GREY) == hashlib.sha256(b"30,41\n" + GREY.tobytes()).hexdigest()
    assert pixel_digest(GREY.reshape(41, 30)) != pixel_digest(GREY)


def test_stored_images_are_not_decoded_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_toy(environment, 8)
    monkeypatch.setattr("bench.data.images.store.decode", lambda *_: pytest.fail("decoded again"))
    open_toy(environment, 8)


def test_a_short_side_is_added_without_touching_the_others(environment: Environment) -> None:
    first = open_toy(environment, 8)
    (store,) = store_folders(environment)
    before = (store / "8" / "pixels.u8").stat()
    both = open_toy(environment, 16, 8)
    assert store_folders(environment) == [store]
    after = (store / "8" / "pixels.u8").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert sorted(both.views) == [8, 16]
    np.testing.assert_array_equal(first.view(8)[5], both.view(8)[5])


def test_a_changed_file_is_noticed(environment: Environment) -> None:
    old = open_toy(environment, 8)
    save(environment.data / "03.png", COLOUR)
    new = open_toy(environment, 8)
    assert [a == b for a, b in zip(old.sha256, new.sha256, strict=True)].count(False) == 1
    assert new.content != old.content
    np.testing.assert_array_equal(new.view(8)[3], resize(COLOUR, 8))


def test_a_change_that_keeps_size_and_date_is_noticed(environment: Environment) -> None:
    path = environment.data / "12.png"  # uncompressed, so that all pixels take the same room
    Image.fromarray(COLOUR).save(path, "bmp")
    before = path.stat()
    old = open_toy(environment, 8)
    Image.fromarray(COLOUR[::-1]).save(path, "bmp")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert pixel_digest(COLOUR) in old.sha256
    assert pixel_digest(COLOUR[::-1]) in open_toy(environment, 8).sha256


def test_originals_keep_size_channels_and_bytes_of_each_file(environment: Environment) -> None:
    save(environment.data / "04.png", np.dstack([COLOUR, GREY]))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(environment.data / "05.png", GREY, exif=exif)
    for _ in range(2):  # decoded, then from the store
        originals = open_toy(environment, 8).originals
        files = sorted(environment.data.glob("*.png"))
        assert [o.bytes for o in originals] == [p.stat().st_size for p in files]
        assert originals[0] == Original(20, 25, 1, files[0].stat().st_size)
        assert originals[1][:3] == (21, 25, 3)
        assert originals[4][:3] == (30, 41, 4)
        assert originals[5][:3] == (41, 30, 1), "after the EXIF orientation is applied"


def test_a_copy_or_a_touched_file_is_not_decoded_again(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_toy(environment, 8)
    shutil.copytree(environment.data, tmp_path / "copy")
    os.utime(environment.data / "03.png", (1, 1))
    monkeypatch.setattr("bench.data.images.store.decode", lambda *_: pytest.fail("decoded again"))
    for data in (environment.data, tmp_path / "copy"):
        new = open_toy(dataclasses.replace(environment, data=data), 8)
        assert (new.sha256, new.originals) == (old.sha256, old.originals)
    assert len(store_folders(environment)) == 1


def test_unchanged_files_are_not_read_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_toy(environment, 8)
    monkeypatch.setattr("bench.data.images.content._read", lambda sample: pytest.fail("read again"))
    open_toy(environment, 8)


def test_content_does_not_depend_on_folder_or_times(environment: Environment, tmp_path: Path) -> None:
    old = open_toy(environment, 8)
    shutil.copytree(environment.data, tmp_path / "copy")
    for path in (tmp_path / "copy").iterdir():
        os.utime(path, (1, 1))
    assert open_toy(dataclasses.replace(environment, data=tmp_path / "copy"), 8).content == old.content

    def relabelled(root: Path, params: object) -> Index:
        first, *rest = list_pngs(root, params).samples
        return Index(classes=("a", "b"), samples=(dataclasses.replace(first, label="b"), *rest))

    assert open_toy(environment, 8, dataset=toy_dataset(relabelled)).content != old.content


def test_a_killed_build_is_ignored_and_removed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = decode, []

    def interrupted(path: Path, ranges: Ranges) -> Decoded:
        calls.append(path)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(path, ranges)

    monkeypatch.setattr("bench.data.images.store.decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_toy(environment, 8)
    (store,) = store_folders(environment)
    assert [p.name for p in store.iterdir() if p.is_dir()] == []
    # what a kill -9 leaves: half a build, which nobody removes
    (store / ".building" / "8").mkdir(parents=True)
    (store / ".building" / "8" / "pixels.u8").write_bytes(b"half")
    monkeypatch.setattr("bench.data.images.store.decode", real)
    assert len(open_toy(environment, 8).view(8)) == 12
    assert sorted(p.name for p in store.iterdir() if p.is_dir()) == ["8"]


def _build_and_die(environment: Environment) -> None:
    """Decode half of the images, then die as by kill -9."""
    from bench.data.images import store

    count = iter(range(100))
    store.decode = lambda *args: os._exit(9) if next(count) == 6 else decode(*args)
    open_toy(environment, 8, 16)


def test_a_process_killed_half_way_leaves_nothing_that_looks_whole(environment: Environment) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_build_and_die, args=(environment,))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    (store,) = store_folders(environment)
    assert (store / ".building" / "16" / "pixels.u8").exists()
    assert not list(store.glob("[!.]*"))
    images = open_toy(environment, 8, 16)
    for i, path in enumerate(sorted(environment.data.glob("*.png"))):
        np.testing.assert_array_equal(images.view(16)[i], resize(read_image(path), 16))
    assert sorted(p.name for p in store.iterdir() if p.is_dir()) == ["16", "8"]


@pytest.mark.parametrize("damage", ["cut", "no index", "of an older bench"])
def test_a_damaged_store_is_built_again(environment: Environment, damage: str) -> None:
    whole = np.array(open_toy(environment, 8).view(8).pixels)
    (store,) = store_folders(environment)
    if damage == "of an older bench":
        index = json.loads((store / "8" / "index.json").read_text())
        del index["originals"]
        (store / "8" / "index.json").write_text(json.dumps(index))
    elif damage == "cut":
        (store / "8" / "pixels.u8").write_bytes(whole[:-1].tobytes())
    else:
        (store / "8" / "index.json").write_text("{")
    again = open_toy(environment, 8)
    np.testing.assert_array_equal(again.view(8).pixels, whole)
    assert len(again.originals) == 12


def test_concurrent_builders_decode_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls, results = decode, [], []
    monkeypatch.setattr("bench.data.images.store.decode", lambda *args: (calls.append(args), real(*args))[1])
    start = threading.Barrier(4)

    def build() -> None:
        start.wait()
        results.append(open_toy(environment, 8, 16))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 12
    for images in results:
        np.testing.assert_array_equal(images.view(8).pixels, results[0].view(8).pixels)
    assert len(results) == 4


def test_waiting_for_another_run_is_reported(environment: Environment) -> None:
    open_toy(environment, 8)
    (store,) = store_folders(environment)
    stages: list[str] = []
    with FileLock(store / ".lock") as lock:

        def record_stage(progress: Progress) -> None:
            stages.append(progress.stage)
            lock.release()  # the other run has ended

        opened(toy_dataset(list_pngs), environment, (16,), record_stage)
    assert list(dict.fromkeys(stages)) == ["wait for another run to decode", "decode"]


def test_a_file_that_changes_while_it_is_hashed_is_refused(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = content.read_content

    def changing(task: content.DecodeTask) -> content.Content:
        read = real(task)
        os.utime(environment.data / "00.png", (5, 5))
        return read

    monkeypatch.setattr("bench.data.images.store.read_content", changing)
    with pytest.raises(DataError, match="changed while they were read"):
        open_toy(environment, 8)
    assert not list(environment.scratch.rglob(".sources/*"))  # what was hashed is not remembered
    monkeypatch.undo()
    open_toy(environment, 8)


def test_a_file_that_changes_while_it_is_read_is_refused(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = decode

    def changing(path: Path, ranges: Ranges) -> Decoded:
        os.utime(environment.data / "00.png", (5, 5))
        return real(path, ranges)

    monkeypatch.setattr("bench.data.images.store.decode", changing)
    with pytest.raises(DataError, match="changed while they were read"):
        open_toy(environment, 8)
    (store,) = store_folders(environment)
    assert [p for p in store.iterdir() if p.is_dir()] == []


def test_an_unreadable_image_leaves_no_store(environment: Environment) -> None:
    (environment.data / "07.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"07\.png"):
        open_toy(environment, 8)
    (store,) = store_folders(environment)
    assert [p for p in store.iterdir() if p.is_dir()] == []


def test_progress_counts_to_the_end(environment: Environment) -> None:
    reports: list[Progress] = []
    opened(toy_dataset(list_pngs), environment, (8,), reports.append)
    assert {(p.unit, p.total) for p in reports} == {("toy", 12)}
    assert list(dict.fromkeys(p.stage for p in reports)) == ["read", "decode"]
    for stage in ("read", "decode"):
        done = [p.done for p in reports if p.stage == stage]
        assert done == sorted(done)
        assert done[-1] == 12


def test_arrays_need_no_file(environment: Environment) -> None:
    arrays = Index(
        classes=("a", "b"),
        samples=(Sample(id="1", label="a", array=GREY), Sample(id="2", label="b", array=COLOUR)),
    )
    images = open_toy(environment, 12, dataset=toy_dataset(lambda root, params: arrays))
    np.testing.assert_array_equal(images.view(12)[1], resize(COLOUR, 12))
    wrong = Index(classes=("a",), samples=(Sample(id="1", label="a", array=GREY.astype(np.float32)),))
    with pytest.raises(DataError, match=r"float32 \(30, 41\)"):
        open_toy(environment, 12, dataset=toy_dataset(lambda root, params: wrong))


def test_lone_images_get_groups_of_their_own(environment: Environment) -> None:
    def sample(name: str, group: str) -> Sample:
        return Sample(id=name, label="a", group=group, array=GREY)

    samples = (sample("x", ""), sample("y", "x"), sample("z", "x"), sample("w", ""))
    images = open_toy(
        environment, 8, dataset=toy_dataset(lambda root, params: Index(classes=("a",), samples=samples))
    )
    assert images.groups[1] == images.groups[2] == "x"
    assert len({images.groups[0], "x", images.groups[3]}) == 3


VALID = Sample(id="1", label="a", array=GREY)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((), "no images were found"),
        ((VALID, dataclasses.replace(VALID, label="b"), VALID), "an id that another image has too: 1;"),
        ((VALID, Sample(id="2", label="c", array=GREY)), r"not among the classes a, b: 2 \(c\)"),
        ((VALID,), "no image of class b"),
        ((VALID, Sample(id="2", label="b")), "not exactly one of path and array: 2"),
        (
            (VALID, Sample(id="2", label="b", array=GREY, part="dev")),
            r"part other than train, val, test: 2 \(dev\)",
        ),
        ((VALID, Sample(id="2", label="b", path=Path("/nowhere/2.png"))), r"2\.png: cannot be read"),
    ],
)
def test_a_contradictory_index_is_refused(
    environment: Environment, samples: tuple[Sample, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_toy(
            environment,
            8,
            dataset=toy_dataset(lambda root, params: Index(classes=("a", "b"), samples=samples)),
        )


def test_a_store_that_cannot_be_written_is_named(environment: Environment) -> None:
    environment.results.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot be stored"):
        open_toy(environment, 8)
