"""Patch entropy against scipy, for every kind of patch and colour option."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy

from bench_strategies.entropy import luma, patch_entropy

COLOURS = ["luma", "channels", "joint"]


def reference(image: np.ndarray, colour: str, base: float) -> float:
    """Entropy of one patch (3, p, p) by scipy from a plain histogram."""
    if colour == "luma":
        grey = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))
        return float(entropy(np.bincount(grey.ravel(), minlength=256), base=base))
    if colour == "channels":
        return float(np.mean([entropy(np.bincount(c.ravel(), minlength=256), base=base) for c in image]))
    _, counts = np.unique(image.reshape(3, -1), axis=1, return_counts=True)
    return float(entropy(counts, base=base))


def two_valued(rng: np.random.Generator, size: int) -> np.ndarray:
    values = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    return values[rng.integers(0, 2, (size, size))].transpose(2, 0, 1)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("base", [math.e, 2.0])
@pytest.mark.parametrize("patch", [4, 8, 16])
def test_equals_scipy_on_random_two_valued_and_constant_patches(colour: str, base: float, patch: int) -> None:
    rng = np.random.default_rng(patch)
    size = 3 * patch
    images = np.stack(
        [
            rng.integers(0, 256, (3, size, size), dtype=np.uint8),
            two_valued(rng, size),
            np.full((3, size, size), 77, np.uint8),
            rng.integers(100, 104, (3, size, size), dtype=np.uint8),
        ]
    )
    entropies = patch_entropy(torch.from_numpy(images), patch, colour, base)
    assert entropies.shape == (4, 3, 3)
    for b in range(4):
        for row in range(3):
            for column in range(3):
                tile = images[b, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
                assert entropies[b, row, column].item() == pytest.approx(
                    reference(tile, colour, base), abs=1e-5
                )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    levels=st.integers(1, 256),
    patch=st.sampled_from([2, 7, 14, 32]),
    colour=st.sampled_from(COLOURS),
)
def test_equals_scipy_whatever_the_number_of_levels(seed: int, levels: int, patch: int, colour: str) -> None:
    image = np.random.default_rng(seed).integers(0, levels, (3, patch, patch)).astype(np.uint8)
    entropies = patch_entropy(torch.from_numpy(image)[None], patch, colour)
    assert entropies.item() == pytest.approx(reference(image, colour, math.e), abs=1e-5)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("patch", [14, 15, 28])
def test_a_flat_patch_is_exactly_zero_and_never_negative(colour: str, patch: int) -> None:
    """Also where the logarithms round to something above (15) or below (28) zero."""
    flat = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, patch, patch)
    assert (patch_entropy(flat, patch, colour) == 0).all()


@pytest.mark.parametrize("colour", COLOURS)
def test_does_not_depend_on_the_memory_format(colour: str) -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    plain = patch_entropy(images, 16, colour)
    assert torch.equal(patch_entropy(images.to(memory_format=torch.channels_last), 16, colour), plain)


def test_luma_is_pillows() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).convert("L"))
    entropies = luma(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()
    assert np.array_equal(entropies, expected)
