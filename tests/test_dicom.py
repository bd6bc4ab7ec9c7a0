"""DICOM files, read as pydicom and the standard say. Needs the extra "dicom"; files are those in pydicom's
wheel."""

from __future__ import annotations

import itertools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import opened
from typer.testing import CliRunner

from bench import BenchError, ConfigError, DataError, Dataset, Environment, Index, Sample
from bench.cli import app
from bench.data.audit.shortcut_features import metadata_features
from bench.data.images.decode import decode, extent, read_image
from bench.data.images.ranges import DICOM, Extent

pydicom = pytest.importorskip("pydicom", reason='needs the extra "dicom"')
pytest.importorskip("openjpeg", reason='needs the extra "dicom"')
pixels = pytest.importorskip("pydicom.pixels")

TINY = """
model = "test_convnext"
size = 32
rounds = 1
[finetune]
epochs = 1
resize = 36
"""


def shipped(name: str) -> Path:
    """A file in pydicom's wheel."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def made(path: Path, stored: np.ndarray, photometric: str = "MONOCHROME2", **attributes: Any) -> Path:
    """A file with these stored values, (H, W), (frames, H, W) or (H, W, 3)."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PhotometricInterpretation = photometric
    colour = stored.shape[-1] == 3 and stored.ndim == 3
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    elif stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.Rows, dataset.Columns = stored.shape[:2] if colour else stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


RAMP = np.arange(-1000, 1000, 5, dtype=np.int16).reshape(20, 20)


def to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.floor(np.clip((values - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


# --- grey --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"),
        *("dicomdirtests/77654033/CT2/17106", "dicomdirtests/98892001/CT5N/2062"),
        *("examples_overlay.dcm", "dicomdirtests/77654033/CR3/6278"),
    ],
)
def test_the_first_window_is_applied_as_pydicom_does(name: str) -> None:
    path = shipped(name)
    dataset = pydicom.dcmread(path)
    values = pixels.apply_modality_lut(dataset.pixel_array, dataset)
    shown = pixels.apply_voi_lut(values, dataset, index=0).astype(float)
    signed, bits = dataset.PixelRepresentation, dataset.BitsStored
    limits = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    low, high = limits * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    expected = to_8_bits(shown, low, high)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        expected = 255 - expected
    decoded = decode(path)
    np.testing.assert_allclose(decoded.pixels.astype(int), expected.astype(int), atol=1)
    assert (decoded.pixels == expected).mean() > 0.99  # but for halves, which may be rounded either way
    assert decoded.channels == 1
    assert len(np.unique(decoded.pixels)) > 20
    assert extent(path) is None


@given(
    center=st.floats(-800, 800),
    width=st.floats(2, 1500),
    slope=st.sampled_from([0.5, 1.0, 2.0]),
    intercept=st.sampled_from([-1024.0, 0.0, 10.0]),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", ""]),
)
def test_windows_follow_the_standard(
    tmp_path_factory: pytest.TempPathFactory,
    center: float,
    width: float,
    slope: float,
    intercept: float,
    function: str,
) -> None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    center, width = round(center, 2), round(width, 2)
    window = {"WindowCenter": [center, 5], "WindowWidth": [width, 6], "VOILUTFunction": function}
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    path = made(tmp_path_factory.mktemp("w") / "w.dcm", RAMP, **window, **rescale)
    values = RAMP * slope + intercept
    if function == "SIGMOID":
        expected = 255 / (1 + np.exp(np.minimum(-4 * (values - center) / width, 700)))
    elif function == "LINEAR_EXACT":
        expected = np.clip((values - center) / width + 0.5, 0, 1) * 255
    else:
        expected = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    np.testing.assert_allclose(read_image(path), expected, atol=0.51)


def test_a_voi_lut_comes_before_a_window(tmp_path: Path) -> None:
    for bits, entries in ((12, 100), (8, 1000)):
        table = np.linspace(0, 2**bits - 1, entries).astype(int)
        item = pydicom.Dataset()
        item.LUTDescriptor = [entries, 50, bits]
        item.LUTData = table.astype("<u2").tobytes()
        stored = np.arange(0, 1200, 3, dtype=np.uint16).reshape(20, 20)
        path = made(tmp_path / "l.dcm", stored, VOILUTSequence=[item], WindowCenter=5, WindowWidth=2)
        expected = to_8_bits(table[np.clip(stored.astype(int) - 50, 0, entries - 1)], 0, 2**bits - 1)
        np.testing.assert_array_equal(read_image(path), expected)


def test_a_modality_lut_is_applied(tmp_path: Path) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [256, 0, 16]
    item.LUTData = (np.arange(256) ** 2).astype("<u2").tobytes()
    item.ModalityLUTType = "US"
    stored = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = made(tmp_path / "m.dcm", stored, ModalityLUTSequence=[item])
    assert extent(path) == Extent(DICOM, 0, 255**2)
    np.testing.assert_array_equal(read_image(path), to_8_bits(stored.astype(float) ** 2, 0, 255**2))


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    window = {"WindowCenter": 100, "WindowWidth": 900}
    plain = read_image(made(tmp_path / "2.dcm", RAMP, **window))
    np.testing.assert_array_equal(
        read_image(made(tmp_path / "1.dcm", RAMP, "MONOCHROME1", **window)), 255 - plain
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 0, "WindowWidth": 3000}])
def test_padding_is_black_and_in_no_range(tmp_path: Path, photometric: str, window: dict[str, int]) -> None:
    stored = RAMP.copy()
    stored[:3] = -2000
    path = made(tmp_path / "p.dcm", stored, photometric, PixelPaddingValue=-2000, **window)
    assert not read_image(path)[:3].any()
    assert read_image(path)[3:].any(axis=1).all()
    if not window:
        assert extent(path) == Extent(DICOM, stored[3:].min(), 995)


def test_without_a_window_the_data_set_decides_whatever_the_order(tmp_path: Path) -> None:
    made(tmp_path / "d" / "0.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-24)
    made(tmp_path / "d" / "1.dcm", RAMP // 4)
    made(tmp_path / "d" / "2.dcm", RAMP, WindowCenter=0, WindowWidth=100)
    made(tmp_path / "d" / "3.dcm", RAMP // 2, WindowCenter="", WindowWidth="")

    def listing(backwards: bool) -> Dataset:
        files = sorted((tmp_path / "d").iterdir(), reverse=backwards)
        samples = tuple(Sample(id=p.name, label="ab"[int(p.stem) % 2], path=p) for p in files)
        return Dataset(
            name="toy", about="", index=lambda root, params: Index(classes=("a", "b"), samples=samples)
        )

    environment = Environment(data=tmp_path, results=tmp_path / "results")
    images, again = (opened(listing(way), environment, (20,)) for way in (False, True))
    pairs = zip(images.ids, images.sha256, strict=True)
    assert dict(pairs) == dict(zip(again.ids, again.sha256, strict=True))
    for number, values in ((0, RAMP - 24.0), (1, RAMP // 4), (3, RAMP // 2)):
        np.testing.assert_array_equal(images.view(20)[number][0], to_8_bits(values, -1024, 971))
    assert images.bits is None
    (tmp_path / "d" / "0.dcm").unlink()
    assert opened(listing(False), environment, (20,)).sha256[0] != images.sha256[1]


def test_a_constant_image_without_a_window_is_black(tmp_path: Path) -> None:
    assert not read_image(made(tmp_path / "c.dcm", np.full((8, 8), 7, np.uint16))).any()


# --- frames and colour -------------------------------------------------------------------------------


def test_of_several_frames_the_middle_one_is_read(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP[::-1], RAMP.T, RAMP[:, ::-1]])
    for count, middle in ((4, 2), (3, 1), (2, 1)):
        path = made(tmp_path / "f.dcm", frames[:count], WindowCenter=0, WindowWidth=2001)
        alone = made(tmp_path / "a.dcm", frames[middle], WindowCenter=0, WindowWidth=2001)
        np.testing.assert_array_equal(read_image(path), read_image(alone))


def test_a_frame_has_its_own_window_and_rescaling(tmp_path: Path) -> None:
    def group(**attributes: Any) -> pydicom.Dataset:
        outer = pydicom.Dataset()
        for name, values in attributes.items():
            inner = pydicom.Dataset()
            for key, value in values.items():
                setattr(inner, key, value)
            setattr(outer, name, [inner])
        return outer

    windows = [group(FrameVOILUTSequence={"WindowCenter": c, "WindowWidth": 500}) for c in (0, 300, 600)]
    shared = group(PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 10})
    path = made(
        tmp_path / "e.dcm",
        np.stack([RAMP, RAMP, RAMP]),
        WindowCenter=-500,
        WindowWidth=10,
        PerFrameFunctionalGroupsSequence=windows,
        SharedFunctionalGroupsSequence=[shared],
    )
    expected = np.clip((RAMP * 2 + 10 - 299.5) / 499 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(read_image(path), expected, atol=0.51)


@pytest.mark.parametrize(
    ("name", "like", "tolerance"),
    [
        ("SC_rgb_rle.dcm", "SC_rgb_jpeg_gdcm.dcm", 0),  # lossless, both
        ("SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_rle.dcm", 30),  # YBR_FULL
        ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_rle.dcm", 30),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_rle.dcm", 30),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_rle.dcm", 40),  # YBR_FULL_422
        ("SC_ybr_full_422_uncompressed.dcm", "SC_rgb_rle.dcm", 40),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm", 30),  # JPEG 2000
        ("SC_rgb_rle_2frame.dcm", "SC_rgb_rle.dcm", None),  # the second frame is the inverted first
    ],
)
def test_colour_becomes_rgb(name: str, like: str, tolerance: int | None) -> None:
    decoded, other = decode(shipped(name)), decode(shipped(like))
    assert decoded.pixels.shape == other.pixels.shape == (100, 100, 3)
    assert decoded.channels == 3
    expected = other.pixels.astype(int)
    if tolerance is None:
        expected, tolerance = 255 - expected, 0
    assert np.abs(decoded.pixels.astype(int) - expected)[5:95:10, 5:95].max() <= tolerance
    assert extent(shipped(name)) is None


def test_16_bits_of_colour_are_scaled(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 4096, (9, 9, 3), dtype=np.uint16)
    path = made(tmp_path / "c.dcm", colours, "RGB", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(read_image(path), to_8_bits(colours.astype(float), 0, 4095))


def test_a_palette_becomes_rgb() -> None:
    path = shipped("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    expected = pixels.apply_color_lut(dataset.pixel_array, dataset)
    decoded = decode(path)
    assert (decoded.pixels.shape, decoded.channels) == ((350, 800, 3), 1)
    most = np.iinfo(expected.dtype).max
    np.testing.assert_allclose(decoded.pixels, expected / most * 255, atol=0.51)


@pytest.mark.parametrize(
    "name",
    [f"MR_small_{kind}.dcm" for kind in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless")],
)
def test_a_transfer_syntax_without_loss_changes_no_pixel(name: str) -> None:
    np.testing.assert_array_equal(read_image(shipped(name)), read_image(shipped("MR_small.dcm")))


@pytest.mark.parametrize(
    "name", ["JPGExtended.dcm", "JPEG2000.dcm", "JPEGLSNearLossless_16.dcm", "image_dfl.dcm"]
)
def test_other_transfer_syntaxes_are_read(name: str) -> None:
    assert len(np.unique(read_image(shipped(name)))) > 6


# --- what is refused ---------------------------------------------------------------------------------


def test_what_is_no_image_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"reportsi\.dcm: holds no image \(its Modality is SR\); take it out"):
        decode(shipped("reportsi.dcm"))
    (tmp_path / "bad.dcm").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.dcm: cannot be read as an image \(InvalidDicomError.*replace"):
        decode(tmp_path / "bad.dcm")
    with pytest.raises(DataError, match=r"odd\.dcm: has the photometric interpretation HSV"):
        decode(made(tmp_path / "odd.dcm", RAMP, "HSV"))
    with pytest.raises(DataError, match=r"strip\.dcm: has 2 x 50 pixels"):
        decode(made(tmp_path / "strip.dcm", np.zeros((2, 50), np.uint16)))
    for path in (shipped("reportsi.dcm"), tmp_path / "bad.dcm", tmp_path / "strip.dcm"):
        assert extent(path) is None


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = shipped("MR_small.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(content[: len(content) // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"cut\.dcm: cannot be read as an image"):
            decode(tmp_path / "cut.dcm")


def test_without_a_decoder_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = pixels.get_decoder(pydicom.uid.JPEG2000Lossless)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(ConfigError, match=r"jp2klossless\.dcm: .*JPEG 2000.* not inst.*medbench\[dicom\]"):
        decode(shipped("MR_small_jp2klossless.dcm"))


# --- the data set `folder` ---------------------------------------------------------------------------


def bench(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "BENCH_DATA": None})
    assert result.exit_code == code, (result.output, result.exception)
    said = f"{result.output} {result.exception if isinstance(result.exception, BenchError) else ''}"
    return " ".join(said.split())


PATIENTS = ("1CT1", "CQ500-CT-310", "JXD191021006", "77654033", "4MR1", "021234567", "98890234")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CT and MR of pydicom's own files, under names that say nothing of the patient."""
    root = tmp_path_factory.mktemp("dicom") / "scans"
    tests = shipped("dicomdirtests")
    ct, mr = tests / "77654033" / "CT2", tests / "98892003"
    files = {
        "ct": ["CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", *ct.iterdir()],
        "mr": ["MR_small.dcm", "MR_small_RLE.dcm", "examples_overlay.dcm", *mr.glob("MR*/*")],
    }
    for label, names in files.items():
        (root / label).mkdir(parents=True)
        for number, name in enumerate(sorted(map(str, names))):
            suffix = ".dcm" if number % 2 else ""
            shutil.copy(shipped(name), root / label / f"image{number}{suffix}")
    return root


def groups(folder: Path, *options: str) -> dict[str, str]:
    from bench_datasets.folder import Params, index

    named = dict(option.split("=", 1) for option in options)
    return {sample.id: sample.group for sample in index(folder, Params(**named)).samples}


def test_images_of_one_patient_are_one_group_that_does_not_name_them(folder: Path) -> None:
    found = groups(folder)
    ids = {id_: str(pydicom.dcmread(folder / id_, stop_before_pixels=True).PatientID) for id_ in found}
    assert set(ids.values()) == set(PATIENTS)
    for (one, first), (other, second) in itertools.product(ids.items(), repeat=2):
        assert (found[one] == found[other]) == (first == second)
    assert all(group.startswith("patient-") and len(group) == 20 for group in found.values())
    assert not any(patient in group for patient in PATIENTS for group in found.values())


def test_a_pattern_or_a_csv_group_comes_before_the_patient(folder: Path) -> None:
    assert groups(folder, "group=(image[0-9]+)")["ct/image0"] == "image0"
    table = folder.parent / "list.csv"
    table.write_text("path,label,group\nscans/ct/image0,ct,mine\nscans/mr/image0,mr,\n")
    found = groups(table)
    assert found["scans/ct/image0"] == "mine"
    assert found["scans/mr/image0"].startswith("patient-")


def test_verify_says_what_is_known_of_patients_frames_and_windows(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    shutil.copytree(folder, root)
    made(root / "ct" / "clip.dcm", np.stack([RAMP] * 3), PatientID="")
    output = bench("data", "verify", "folder", "--data", str(root))
    count = len(list(root.glob("*/*")))
    assert f"folder is whole: {count} images, all of them readable" in output
    assert f"note: {count - 1} DICOM files are grouped by their patients: 7 PatientIDs" in output
    assert "note: 1 DICOM files name no PatientID and stand alone: ct/clip.dcm" in output
    assert "note: 1 DICOM files hold several frames, of which the middle one is read: ct/clip.dcm" in output
    assert "note: DICOM files without a window are read from -1000 (black) to 1167 (white)" in output


def test_one_patient_id_for_all_is_said(tmp_path: Path) -> None:
    for label, number in itertools.product("ab", range(2)):
        made(tmp_path / "mine" / label / f"{number}.dcm", RAMP + number, PatientID="ANONYMOUS")
    output = bench("data", "verify", "folder", "--data", str(tmp_path / "mine"))
    assert "note: 4 DICOM files are grouped by their patients: one PatientID" in output
    assert "have the same PatientID, as anonymised files may" in output


def test_a_damaged_file_is_named_by_verify(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    shutil.copytree(folder, root)
    (root / "mr" / "bad.dcm").write_bytes(b"junk")
    output = bench("data", "verify", "folder", "--data", str(root), code=1)
    assert "mr/bad.dcm: cannot be read as an image (InvalidDicomError" in output
    assert "1 image cannot be read" in output


@pytest.mark.filterwarnings("ignore::UserWarning")  # of what so few images allow
def test_a_folder_of_dicom_goes_end_to_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    results = tmp_path / "results"
    where = ("--dataset", "folder", "--data", str(folder), "--results", str(results))
    bench(
        "run", *where, "-s", "scratch", "-p", str(tmp_path / "tiny.toml"), "--device", "cpu", "--in-process"
    )
    (record,) = results.glob("runs/folder/*/record.json")
    content = json.loads(record.read_text())
    assert content["status"] == "done"
    counts = content["data"]["counts"].values()
    assert sum(images for part in counts for images, _ in part.values()) == len(groups(folder))
    assert "scratch" in bench("table", "--results", str(results))
    kept = [path for path in results.rglob("*") if path.is_file()]
    assert len(kept) > 5
    for path, patient in itertools.product(kept, PATIENTS):
        if len(patient) > 4:  # four characters are in a hash by chance
            assert patient.encode() not in path.read_bytes(), f"{path} names {patient}"


def test_the_device_in_the_header_is_a_feature_of_the_probe(tmp_path: Path) -> None:
    """Its name is a feature of the audit's probe; the patient's is none."""
    paths = []
    for i in range(24):
        header = pydicom.dcmread(shipped("CT_small.dcm"))
        header.Manufacturer = f"maker {i % 2}"
        header.PatientName = f"somebody {i % 3}"
        paths.append(tmp_path / f"{i}.dcm")
        header.save_as(paths[-1])
    features = metadata_features(paths, 1)
    assert features is not None
    assert features.tolist() == [[1 - i % 2, i % 2] for i in range(24)]
