"""NIfTI files: which slice is read, which way up, how bright. Needs the extra "nifti"."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench import DataError
from bench.cli import app
from bench.data.images.decode import decode, extent, read_image

nibabel = pytest.importorskip("nibabel", reason='needs the extra "nifti"')

# Right, front, up: x grows to the right, y to the front, z upwards. Values say where a voxel is.
VOLUME = np.add.outer(np.add.outer(np.arange(20) * 1.0, np.arange(24) * 100.0), np.arange(9) * 10_000.0)
ORIENTATIONS = [
    "".join(axes)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for axes in itertools.product(*order)
]


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def to_8_bits(shown: np.ndarray, volume: np.ndarray) -> np.ndarray:
    low, high = np.percentile(volume, (1, 99))
    return np.floor(np.clip((shown - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def test_the_middle_axial_slice_shows_the_front_up_and_the_right_on_the_left(tmp_path: Path) -> None:
    pixels = read_image(save(tmp_path / "v.nii.gz", VOLUME.astype(np.float32)))
    expected = np.empty((24, 20))
    for row, column in itertools.product(range(24), range(20)):
        expected[row, column] = VOLUME[19 - column, 23 - row, 4]
    np.testing.assert_array_equal(pixels, to_8_bits(expected, VOLUME))
    values = np.zeros((10, 12, 5), np.int16)
    values[9, 11, 2] = 100  # right, front
    assert read_image(save(tmp_path / "corner.nii", values))[0, 0] == 255


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientation_in_the_file_does_not_matter(tmp_path: Path, orientation: str) -> None:
    canonical = nibabel.Nifti1Image(VOLUME.astype(np.float32), np.diag([0.7, 1.1, 3, 1]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(orientation)
    )
    turned = canonical.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == orientation
    nibabel.save(turned, tmp_path / "t.nii")
    nibabel.save(canonical, tmp_path / "c.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "t.nii"), read_image(tmp_path / "c.nii"))


@given(seed=st.integers(0, 1000), scale=st.floats(1, 1000), offset=st.floats(-5000, 5000))
def test_brightness_does_not_depend_on_the_unit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, scale: float, offset: float
) -> None:
    values = np.random.default_rng(seed).normal(size=(9, 8, 7))
    folder = tmp_path_factory.mktemp("n")
    one, other = save(folder / "1.nii", values), save(folder / "2.nii", values * scale + offset)
    first, second = read_image(one).astype(int), read_image(other).astype(int)
    assert np.abs(first - second).max() <= 1
    np.testing.assert_allclose(first, to_8_bits(values[:, :, 3].T[::-1, ::-1], values), atol=1)
    assert extent(one) is None


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (1, 20, 30), (20, 1, 30), (20, 30, 1, 1)])
def test_one_slice_is_read_as_it_is_stored(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    pixels = read_image(save(tmp_path / "s.nii.gz", values.reshape(shape), np.diag([-1, -1, 1, 1])))
    np.testing.assert_array_equal(pixels, to_8_bits(values.T.astype(float), values.astype(float)))


def test_a_fourth_dimension_of_one_changes_nothing(tmp_path: Path) -> None:
    values = VOLUME.astype(np.float32)
    one, other = save(tmp_path / "3.nii", values), save(tmp_path / "4.nii", values[..., None])
    np.testing.assert_array_equal(read_image(one), read_image(other))


def test_a_mask_and_values_that_are_not_finite(tmp_path: Path) -> None:
    mask = np.zeros((30, 30, 30), np.uint8)
    mask[15, 15, 15] = 1  # above the 99th percentile: lowest to highest value
    assert read_image(save(tmp_path / "m.nii", mask)).max() == 255
    assert not read_image(save(tmp_path / "z.nii", np.ones((8, 8, 8), np.uint8))).any()
    values = VOLUME.astype(np.float32)
    values[19, 23, 4] = np.nan
    values[18, 23, 4] = np.inf
    pixels = read_image(save(tmp_path / "n.nii", values))
    assert pixels[0, :2].tolist() == [0, 0]
    assert pixels[0, 2] > 0


def test_what_is_no_volume_is_refused_and_named(tmp_path: Path) -> None:
    path = save(tmp_path / "t.nii.gz", np.zeros((8, 8, 8, 5), np.int16))
    with pytest.raises(DataError, match=r"t\.nii\.gz: has the shape 8 x 8 x 8 x 5, no single volume.*of its"):
        decode(path)
    colours = np.zeros((8, 8, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(DataError, match=r"c\.nii: holds values of type .*, no grey values"):
        decode(save(tmp_path / "c.nii", colours))
    with pytest.raises(DataError, match=r"nan\.nii: holds no finite value"):
        decode(save(tmp_path / "nan.nii", np.full((8, 8, 8), np.nan, np.float32)))
    (tmp_path / "bad.nii.gz").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"bad\.nii\.gz: cannot be read as an image .*replace the file"):
        decode(tmp_path / "bad.nii.gz")
    with pytest.raises(DataError, match=r"flat\.nii: has 2 x 60 pixels"):
        decode(save(tmp_path / "flat.nii", np.zeros((60, 2, 3), np.int16)))


def test_a_folder_of_volumes_is_verified(tmp_path: Path) -> None:
    for seed, label in itertools.product(range(2), "ab"):
        values = np.random.default_rng([seed, ord(label)]).normal(size=(12, 10, 6))
        save(tmp_path / "mine" / label / f"{seed}.nii.gz", values)
    arguments = ["data", "verify", "folder", "--data", str(tmp_path / "mine")]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "folder is whole: 4 images, all of them readable" in result.output
