"""Files of more than 8 bits, strips, formats whose extra is not installed: what is read, said and refused."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samples import data_of, opened, predictions, record_of, run_spec
from typer.testing import CliRunner

from bench import BenchError, ConfigError, DataError, Dataset, Environment, Index, Sample
from bench.cli import app
from bench.data.images.content import DecodeTask, listing_key
from bench.data.images.decode import decode, extent, read_image
from bench.data.images.images import Images
from bench.data.images.ranges import WIDE, Extent, Ranges, merged, ranges_of
from bench.results import store
from bench.results.record import record_from_json, record_to_json


def save(path: Path, values: object, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint16)).save(path, **options)
    return path


def noise(seed: int, highest: int, shape: tuple[int, int] = (20, 25)) -> np.ndarray:
    """Values from 0 to `highest`, both among them."""
    values = np.random.default_rng(seed).integers(0, highest + 1, shape, dtype=np.uint16)
    values[0, :2] = 0, highest
    return values


def dataset(bits: int = 0, backwards: bool = False) -> Dataset:
    def index(root: Path, params: object) -> Index:
        files = sorted(root.glob("*.*"), reverse=backwards)
        samples = tuple(Sample(id=p.name, label="ab"[int(p.stem) % 2], path=p) for p in files)
        return Index(classes=("a", "b"), samples=samples, bits=bits)

    return Dataset(name="toy", about="", index=index)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Four images of 12 bits, none of which says so; one is dark, one has 8 bits."""
    for number, highest in enumerate((4095, 900, 2000)):
        save(tmp_path / "data" / f"{number}.png", noise(number, highest))
    Image.fromarray(noise(3, 255).astype(np.uint8)).save(tmp_path / "data" / "3.png")
    return Environment(data=tmp_path / "data", results=tmp_path / "results")


def open_toy(environment: Environment, bits: int = 0) -> Images:
    return opened(dataset(bits), environment, (20,))


def bench(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "BENCH_DATA": None})
    assert result.exit_code == code, (result.output, result.exception)
    said = f"{result.output} {result.exception if isinstance(result.exception, BenchError) else ''}"
    return " ".join(said.split())


# --- one file ----------------------------------------------------------------------------------------


@given(bits=st.integers(1, 16), values=st.lists(st.integers(0, 65535), min_size=1, max_size=50))
def test_a_value_becomes_its_share_of_the_range(
    tmp_path_factory: pytest.TempPathFactory, bits: int, values: list[int]
) -> None:
    within = [value % 2**bits for value in values]
    path = save(tmp_path_factory.mktemp("w") / "w.png", np.repeat([within], 3, axis=0))
    expected = [int(255 * value / (2**bits - 1) + 0.5) for value in within]
    assert read_image(path, Ranges(bits)).tolist() == [expected] * 3


def test_16_bits_give_the_pixels_they_always_gave(tmp_path: Path) -> None:
    """Of manifests frozen before ranges were found."""
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    before = ((every.astype(np.int64) + 128) // 257).astype(np.uint8)
    for ranges in (Ranges(), ranges_of({WIDE: (0, 65535)}), ranges_of({})):
        np.testing.assert_array_equal(read_image(save(tmp_path / "e.png", every), ranges), before)


def test_values_beyond_the_range_are_refused_and_named(tmp_path: Path) -> None:
    path = save(tmp_path / "w.png", noise(0, 5000))
    with pytest.raises(
        DataError, match=r"w\.png: holds the value 5000, more than the 12 bits .*set bits to 13"
    ):
        decode(path, Ranges(12))
    assert decode(path, Ranges(13)).pixels.max() == round(5000 / 8191 * 255)


def test_white_is_zero_turns_the_range_found(tmp_path: Path) -> None:
    path = save(tmp_path / "w.tif", np.full((5, 5), 4095), tiffinfo={262: 0})
    assert not read_image(path, Ranges(12)).any()


def test_only_16_bit_files_have_a_range_to_find(tmp_path: Path) -> None:
    assert extent(save(tmp_path / "w.png", noise(0, 3000))) == Extent(WIDE, 0, 3000)
    assert extent(save(tmp_path / "w.tif", noise(0, 3000) + 7)) == Extent(WIDE, 7, 3007)
    grey = Image.fromarray(noise(0, 255).astype(np.uint8))
    for name in ("g.png", "g.tif", "g.jpg"):
        grey.save(tmp_path / name)
        assert extent(tmp_path / name) is None
    Image.fromarray(np.full((5, 5), 70_000, np.int32)).save(tmp_path / "i.tif")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    for name in ("i.tif", "bad.png", "none.png"):  # what `decode` refuses
        assert extent(tmp_path / name) is None


def test_a_pgm_file_states_its_range_itself(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 4095]], dtype=">u2")
    (tmp_path / "w.pgm").write_bytes(b"P5 3 1 4095\n" + values.tobytes())
    assert extent(tmp_path / "w.pgm") is None
    for bits in (8, 16):
        assert read_image(tmp_path / "w.pgm", Ranges(bits)).tolist() == [[0, 62, 255]]


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), min_size=1, max_size=6), st.randoms()
)
def test_a_range_holds_all_values_and_no_order_changes_it(
    pairs: list[tuple[int, int]], random: object
) -> None:
    extents = [Extent(WIDE, *sorted(pair)) for pair in pairs]
    bits = ranges_of(merged(extents)).bits
    random.shuffle(extents)  # type: ignore[attr-defined]
    assert ranges_of(merged([None, *extents])).bits == bits
    highest = max(map(max, pairs))
    assert highest < 2**bits
    assert bits == 8 or highest >= 2 ** (bits - 2), "a smaller range holds them"


# --- a data set --------------------------------------------------------------------------------------


def test_a_dark_image_stays_dark_beside_a_bright_one(environment: Environment) -> None:
    images = open_toy(environment)
    assert images.bits == 12
    brightest = [int(images.view(20)[i].max()) for i in range(4)]
    assert brightest[0] == 255
    assert brightest[1] == round(900 / 4095 * 255)
    np.testing.assert_array_equal(
        images.view(20)[0][0], np.floor(noise(0, 4095) / 4095 * 255 + 0.5).astype(np.uint8)
    )
    assert len(np.unique(images.view(20)[0])) > 150  # of which the top 4 bits would leave 16
    np.testing.assert_array_equal(images.view(20)[3][0], noise(3, 255))


def test_the_order_of_the_index_changes_no_pixel(environment: Environment) -> None:
    forwards = open_toy(environment)
    backwards = opened(dataset(backwards=True), environment, (20,))
    assert dict(zip(forwards.ids, forwards.sha256, strict=True)) == dict(
        zip(backwards.ids, backwards.sha256, strict=True)
    )


def test_pixels_of_another_range_are_not_taken_from_the_store(environment: Environment) -> None:
    seen = {bits: open_toy(environment, bits) for bits in (16, 12, 0, 14)}
    assert seen[0].sha256 == seen[12].sha256
    assert len({images.sha256 for images in seen.values()}) == 3
    assert {bits: images.bits for bits, images in seen.items()} == {16: 16, 12: 12, 0: 12, 14: 14}
    assert int(seen[16].view(20)[0].max()) == 16
    for bits, images in seen.items():  # and the second time
        assert open_toy(environment, bits).sha256 == images.sha256


def test_a_brighter_file_widens_the_range_of_all(environment: Environment) -> None:
    before = open_toy(environment)
    save(environment.data / "4.png", noise(4, 65535))
    after = open_toy(environment)
    assert (before.bits, after.bits) == (12, 16)
    assert not set(before.sha256[:3]) & set(after.sha256)
    assert before.sha256[3] == after.sha256[3]  # has 8 bits
    with pytest.raises(DataError, match=r"4\.png: holds the value 65535, more than the 12 bits"):
        open_toy(environment, 12)


def test_a_store_of_before_ranges_is_read_once_more(environment: Environment) -> None:
    """It remembers the content of these files, and not which values they hold: its pixels have 16 bits."""
    old = open_toy(environment, 16)
    index = dataset().index(environment.data, None)
    task = DecodeTask("toy", index.samples, environment.data, 1, lambda progress: None)
    memory = environment.scratch / "images" / "toy" / ".sources" / f"{listing_key(task)}.json"
    content = json.loads(memory.read_text())["content"]
    assert (memory.parent.parent / content / "20").is_dir()
    memory.write_text(json.dumps({"content": content}))
    assert open_toy(environment).bits == 12
    memory.write_text(json.dumps({"content": content}))
    assert open_toy(environment, 16).sha256 == old.sha256


def test_8_bit_files_have_no_bits(environment: Environment) -> None:
    for number in range(3):
        Image.fromarray(noise(number, 255).astype(np.uint8)).save(environment.data / f"{number}.png")
    images = open_toy(environment, 12)
    assert images.bits is None
    assert images.sha256 == open_toy(environment).sha256


@pytest.mark.parametrize("bits", [-1, 17, "12"])
def test_bits_that_are_none_are_refused(environment: Environment, bits: int) -> None:
    with pytest.raises(DataError, match=r"toy: bits = .*give 1 to 16, or 0"):
        open_toy(environment, bits)


def test_a_record_keeps_the_bits_and_an_older_one_has_none(tmp_path: Path) -> None:
    for bits in (12, None):
        content = json.loads(json.dumps(record_to_json(record_of(run_spec(), data=data_of(bits=bits)))))
        assert content["data"].get("bits") == bits
        assert ("bits" in content["data"]) == (bits is not None)
        read = record_from_json({**content, "artefacts": {}}, tmp_path)
        assert read.data is not None
        assert read.data.bits == bits


def test_a_methods_text_says_what_was_lost(tmp_path: Path) -> None:
    of_12_bits = record_of(run_spec(), data=data_of(bits=12))
    each = predictions()
    store.write(tmp_path, of_12_bits, predictions={"val": each, "test": each})
    text = bench("methods-text", "--dataset", "busi", "--results", str(tmp_path))
    assert "Images stored with 16 bits were reduced from 12 bits to 8." in text


# --- the command line --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, number in itertools.product(("a", "b"), range(2)):
        save(tmp_path / "mine" / name / f"{number}.png", noise(number, 3000 + number))
    return tmp_path / "mine"


def test_verify_says_which_range_was_found_or_set(folder: Path) -> None:
    output = bench("data", "verify", "folder", "--data", str(folder))
    assert (
        "16-bit files hold values up to 3001 and are read as 12 bits: 0 is black, 4095 white (the sma"
        in output
    )
    output = bench("data", "verify", "folder", "--data", str(folder), "--set", "dataset.folder.bits=16")
    assert "are read as 16 bits: 0 is black, 65535 white (as was set)" in output


def test_verify_names_a_file_beyond_the_range_that_was_set(folder: Path) -> None:
    output = bench(
        "data", "verify", "folder", "--data", str(folder), "--set", "dataset.folder.bits=10", code=1
    )
    assert "b/1.png: holds the value 3001, more than the 10 bits that were set" in output
    assert "4 images cannot be read" in output


def test_bits_of_a_folder_are_checked(folder: Path) -> None:
    output = bench(
        "data", "verify", "folder", "--data", str(folder), "--set", "dataset.folder.bits=24", code=1
    )
    assert "dataset.folder: " in output
    assert "bits = 24 is none of 1 to 16" in output


# --- limits and extras -------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 20_000), (20_000, 2), (10, 201)])
def test_a_strip_is_refused_before_it_is_decoded(
    tmp_path: Path, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "strip.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(
        DataError,
        match=rf"strip\.png: has {shape[0]} x {shape[1]} pixels .*crop it, or leave it out with --on-bad-im",
    ):
        decode(tmp_path / "strip.png")


def test_an_image_20_times_as_long_as_wide_is_read(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((10, 200), np.uint8)).save(tmp_path / "long.png")
    assert decode(tmp_path / "long.png").pixels.shape == (10, 200)


def test_a_strip_given_as_an_array_is_refused(tmp_path: Path) -> None:
    samples = tuple(Sample(id=f"i{n}", label="a", array=np.zeros((2, 41), np.uint8)) for n in range(2))
    toy = Dataset(name="toy", about="", index=lambda root, params: Index(classes=("a",), samples=samples))
    with pytest.raises(DataError, match="i0: has 2 x 41 pixels"):
        opened(toy, Environment(data=tmp_path, results=tmp_path / "results"), (8,))


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("a.dcm", "pydicom", "dicom"), ("a.nii.gz", "nibabel", "nifti"), ("a.nii", "nibabel", "nifti")],
)
def test_without_the_extra_one_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for number, label in enumerate("ab"):
        (tmp_path / "mine" / label).mkdir(parents=True)
        content = bytes(128) + (b"DICM" if extra == "dicom" else b"") + bytes([number])
        (tmp_path / "mine" / label / name).write_bytes(content)
    for function in (decode, extent) if extra == "dicom" else (decode,):
        with pytest.raises(ConfigError, match=rf"{package}.*medbench\[{extra}\]"):
            function(tmp_path / "mine" / "a" / name)
    arguments = ("--dataset", "folder", "--data", str(tmp_path / "mine"), "--results", str(tmp_path / "r"))
    output = bench("run", *arguments, "--strategies", "scratch", "--protocol", "quick", code=1)
    assert f'pip install "medbench[{extra}]"' in output
    assert output.count("medbench[") == 1


def test_dicom_without_a_suffix_is_an_image_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench_datasets import listing

    content = bytes(128) + b"DICM"
    for name in ("IM0001", "1.2.840.10008.5", "DICOMDIR", "notes.txt", ".hidden"):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "README").write_text("x" * 200)
    assert [path.name for path in listing.images_below(tmp_path)] == ["1.2.840.10008.5", "IM0001"]
