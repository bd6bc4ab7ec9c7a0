"""Near-duplicates: which pairs are proposed, which are confirmed, how pairs become clusters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal.windows import tukey

from bench.data.audit import duplicates
from bench.data.audit.clusters import clusters
from bench.data.audit.duplicates import (
    SIDE,
    _tukey,
    correlate,
    find_duplicates,
    near_pairs,
    perceptual_hashes,
)


def texture(seed: int, side: int = 256) -> np.ndarray:
    """Speckle over a coarse shape, both different for every seed: uint8 (side, side)."""
    rng = np.random.default_rng(seed)
    fine = gaussian_filter(rng.normal(size=(side, side)), side / 100)
    coarse = gaussian_filter(rng.normal(size=(side, side)), side / 10)
    field = fine / fine.std() + 2 * coarse / coarse.std()
    return np.clip(128 + 35 * field, 0, 255).astype(np.uint8)


def with_shape(seed: int, shape: np.ndarray, side: int = 256) -> np.ndarray:
    """Speckle, different for every seed, over a given shape, as chest X-rays have."""
    fine = gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), side / 100)
    return np.clip(shape + 8 * fine / fine.std(), 0, 255).astype(np.uint8)


def small(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def duplicate_pairs(
    images: list[np.ndarray], distance: int = 10, similarity: float = 0.55
) -> set[tuple[int, int]]:
    pairs = find_duplicates(
        np.stack([small(i) for i in images]), [str(i) for i in range(len(images))], distance, similarity
    )
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def compressed(image: np.ndarray) -> np.ndarray:
    import io

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "another compression": compressed,
    "brighter, with more contrast": lambda i: np.clip(i * 1.25 + 10, 0, 255).astype(np.uint8),
    "gamma": lambda i: (255 * (i / 255) ** 0.7).astype(np.uint8),
    "moved": lambda i: np.roll(i, (5, -4), (0, 1)),
    "another size": lambda i: np.asarray(Image.fromarray(i).resize((200, 230))),
    "noise": lambda i: np.clip(i + np.random.default_rng(9).normal(0, 8, i.shape), 0, 255).astype(np.uint8),
    "a mark": lambda i: np.where(np.add.outer(np.arange(256), np.arange(256)) < 40, 255, i).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_same_picture_is_found_whatever_was_done_to_it(change: object) -> None:
    images = [texture(seed) for seed in range(12)]
    assert duplicate_pairs([*images, change(images[3]), change(images[7])]) == {(3, 12), (7, 13)}  # type: ignore[operator]


def test_images_that_share_a_shape_alone_are_not_duplicates() -> None:
    """Hashes propose them all, and pixels confirm none."""
    coarse = gaussian_filter(np.random.default_rng(1).normal(size=(256, 256)), 16)
    images = [with_shape(seed, 128 + 35 * coarse / coarse.std()) for seed in range(20)]
    pairs = find_duplicates(np.stack([small(i) for i in images]), [str(i) for i in range(20)], 16, 0.55)
    assert len(pairs.candidates) > 100
    assert len(pairs) == 0


def test_equal_pixels_are_duplicates_even_if_flat() -> None:
    flat = np.full((3, SIDE, SIDE), 90, dtype=np.uint8)
    pairs = find_duplicates(flat, ["a", "b", "a"], 10, 0.55)
    assert list(zip(pairs.first, pairs.second, pairs.similarity, strict=True)) == [(0, 2, 1.0)]


def test_different_images_give_no_pair() -> None:
    pairs = find_duplicates(np.stack([small(texture(s)) for s in range(3)]), ["a", "b", "c"], 0, 0.55)
    assert (len(pairs), len(pairs.candidates)) == (0, 0)


def test_further_candidates_are_confirmed_like_others() -> None:
    image = texture(0)
    shifted = np.roll(image, (18, 20), (0, 1))
    copies = np.stack([small(image), small(shifted), small(texture(1))])
    assert not len(find_duplicates(copies, "abc", 2, 0.55))
    pairs = find_duplicates(copies, "abc", 2, 0.55, np.array([[0, 1], [0, 2]]))
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(0, 1)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 64))
def test_near_pairs_are_all_within_the_distance(hashes: list[int], distance: int) -> None:
    pairs, used = near_pairs(np.array(hashes, dtype=np.uint64), distance)
    expected = {
        (a, b)
        for a in range(len(hashes))
        for b in range(a + 1, len(hashes))
        if (hashes[a] ^ hashes[b]).bit_count() <= distance
    }
    assert {(a, b) for a, b in pairs.tolist()} == expected
    assert used == distance


def test_too_many_candidates_lower_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_CANDIDATES", 3)
    hashes = np.array([0, 1, 3, 7, 15], dtype=np.uint64)  # neighbours differ in one bit
    pairs, used = near_pairs(hashes, 2)
    assert used == 0
    assert len(pairs) == 0
    pairs, used = near_pairs(hashes[:4], 2)
    assert used == 1
    assert pairs.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_hashes_are_imagehashs() -> None:
    import imagehash

    copies = np.stack([small(texture(s)) for s in range(4)])
    expected = [int(str(imagehash.phash(Image.fromarray(c))), 16) for c in copies]
    hashes = perceptual_hashes(copies)
    for a in range(4):
        for b in range(4):
            assert int(np.bitwise_count(hashes[a] ^ hashes[b])) == (expected[a] ^ expected[b]).bit_count()


def test_correlation_is_one_with_itself_and_symmetric() -> None:
    copies = np.stack([small(texture(s)) for s in range(3)])
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 2]])
    similarity = correlate(copies, pairs)
    assert similarity[0] == pytest.approx(1, abs=1e-5)
    assert similarity[1] == pytest.approx(similarity[2], abs=1e-5)
    assert np.abs(similarity[1:]).max() < 0.4


def test_clusters_are_connected_sets() -> None:
    assert clusters(7, [(0, 1), (1, 2), (4, 5)]) == [[0, 1, 2], [4, 5]]
    assert clusters(3, []) == []


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("length", [8, 63, 64])
def test_details_fade_by_tukeys_window(length: int, share: float) -> None:
    assert np.array_equal(_tukey(length, share), tukey(length, share))
