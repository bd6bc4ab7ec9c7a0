"""The same picture at another crop, scale, aspect or rotation: keypoints propose it, detail confirms it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from samples import opened
from scipy.ndimage import gaussian_filter
from test_duplicates import duplicate_pairs, texture, with_shape

from bench import Dataset, Environment, Index, Sample
from bench.data.audit.alignment import NONE, align_pairs
from bench.data.audit.audit import Audit, make_audit
from bench.data.audit.keypoints import find_keypoints, propose_pairs
from bench.data.audit.search import SHORT
from bench.data.images.images import Images
from bench.study.protocol import AuditSettings

WIDE = 256  # side of the pictures that views are taken of


def seen(picture: np.ndarray, matrix: np.ndarray, width: int = SHORT, height: int = SHORT) -> np.ndarray:
    """`picture` through a map from the pixels of the view to its own."""
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=flags))


def view(zoom: float = 1.0, aspect: float = 1.0, degrees: float = 0.0, right: float = 0.0) -> np.ndarray:
    """The map of a view about the picture's middle: 1.0 shows half of its width in SHORT pixels."""
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag([1 / zoom, 1 / (zoom * aspect)])
    middle = np.array([WIDE / 2 + right, WIDE / 2])
    return np.column_stack([linear, middle - linear @ [SHORT / 2, SHORT / 2]])


VIEWS = {
    "another crop": view(right=45),
    "smaller": view(zoom=0.6),
    "larger": view(zoom=1.7),
    "another aspect": view(aspect=1.35),
    "turned": view(degrees=30),
    "upside down": view(degrees=180),
    "all at once": view(zoom=0.8, aspect=1.2, degrees=-15, right=20),
}


def index_of(images: list[np.ndarray], groups: dict[int, str], classes: str) -> Index:
    samples = tuple(
        Sample(id=f"i{i:02d}", label=classes[i % len(classes)], group=groups.get(i, ""), array=image)
        for i, image in enumerate(images)
    )
    return Index(classes=tuple(classes), samples=samples)


def open_images(tmp_path: Path, images: list[np.ndarray], groups: dict[int, str] | None = None) -> Images:
    index = index_of(images, groups or {}, "ab")
    toy = Dataset(name="toy", about="", index=lambda root, params: index)
    return opened(toy, Environment(data=tmp_path, results=tmp_path / "r"), (SHORT,))


def pairs_of(audit: Audit) -> list[tuple[str, str]]:
    return [(d.first, d.second) for d in audit.duplicates]


PICTURES = [texture(seed, WIDE) for seed in range(16)]
PLAIN = [seen(picture, view()) for picture in PICTURES]


@pytest.mark.parametrize("matrix", VIEWS.values(), ids=VIEWS)
def test_another_view_of_a_picture_is_a_duplicate(tmp_path: Path, matrix: np.ndarray) -> None:
    images = [*PLAIN, seen(PICTURES[3], matrix), seen(PICTURES[8], matrix)]
    audit = make_audit(open_images(tmp_path, images), AuditSettings())
    assert pairs_of(audit) == [("i03", "i16"), ("i08", "i17")]
    assert all(d.points >= 8 and d.similarity >= 0.55 for d in audit.duplicates)
    assert not any(d.exact for d in audit.duplicates)


def test_hashes_alone_miss_what_keypoints_find() -> None:
    """Why there are two searches; if this fails, one is enough."""
    missed = [
        name
        for name, matrix in VIEWS.items()
        if duplicate_pairs([*PLAIN, seen(PICTURES[3], matrix)]) != {(3, 16)}
    ]
    assert len(missed) >= 6


def test_a_map_is_found_to_the_pixel() -> None:
    matrix = VIEWS["all at once"]
    copies = [PLAIN[0], seen(PICTURES[0], matrix)]
    (alignment,) = align_pairs(copies, find_keypoints(copies, 1), np.array([[0, 1]]), 6, 1)
    assert alignment.points > 20
    assert alignment.similarity > 0.8  # of views of one picture; a pixel aside, its detail agrees no more


def test_other_pictures_do_not_align() -> None:
    keypoints = find_keypoints(PLAIN, 1)
    pairs = np.array([[i, j] for i in range(16) for j in range(i + 1, 16)])
    alignments = align_pairs(PLAIN, keypoints, pairs, 6, 1)
    assert all(a is NONE or a.similarity < 0.3 for a in alignments)


def test_pictures_that_share_a_frame_alone_do_not_align() -> None:
    """Its corners are points that agree, and its edge is detail that is alike."""
    framed = []
    for picture in PLAIN[:6]:
        smooth = cv2.GaussianBlur(picture, (0, 0), 6) // 2 + 90  # with few points of its own, as skin has
        frame = np.pad(smooth, 24)
        for place in range(30, 150, 13):  # ticks of a ruler, longer and longer
            frame[20 : 26 + place // 10, place : place + 3] = 0
            frame[place : place + 3, 20 : 26 + place // 8] = 0
        framed.append(frame)
    pairs = np.array([[i, j] for i in range(6) for j in range(i + 1, 6)])
    alignments = align_pairs(framed, find_keypoints(framed, 1), pairs, 6, 1)
    assert any(a is not NONE for a in alignments)  # points alone would pair them
    assert all(a.similarity < 0.3 for a in alignments)


def test_a_flat_picture_has_no_points_and_no_neighbour() -> None:
    flat = [np.full((SHORT, SHORT), 90, np.uint8)] * 2
    keypoints = find_keypoints(flat, 1)
    assert keypoints.starts.tolist() == [0, 0, 0]
    assert len(propose_pairs(keypoints)) == 0
    assert align_pairs(flat, keypoints, np.array([[0, 1]]), 6, 1) == [NONE]


def test_threads_change_nothing() -> None:
    images = [*PLAIN, *(seen(PICTURES[i], VIEWS["turned"]) for i in range(16))]
    one, two = find_keypoints(images, 1), find_keypoints(images, 2)
    assert np.array_equal(one.descriptors, two.descriptors)
    assert np.array_equal(one.points, two.points)
    pairs = propose_pairs(one)
    assert {(i, i + 16) for i in range(16)} <= set(map(tuple, pairs.tolist()))
    assert align_pairs(images, one, pairs, 6, 1) == align_pairs(images, two, pairs, 6, 2)


def test_a_mirrored_picture_is_none_of_ours() -> None:
    """Left and right are anatomy: docs/data.md says that mirrored copies are not looked for."""
    copies = [PLAIN[0], np.ascontiguousarray(PLAIN[0][:, ::-1])]
    assert align_pairs(copies, find_keypoints(copies, 1), np.array([[0, 1]]), 6, 1) == [NONE]


# --- small pictures ----------------------------------------------------------------------------------


def test_a_shift_alone_confirms_no_pair_of_small_pictures(tmp_path: Path) -> None:
    """Enlarged to 64 pixels, two smooth pictures of one shape are alike in what little detail they have."""
    sizes = {side: shifted_pairs(tmp_path / str(side), side) for side in (28, 128)}
    assert sizes[28][0] > 0  # the shift test would confirm them
    assert sizes[28][1] == 0
    assert sizes[128] == (0, 0)


def shifted_pairs(tmp_path: Path, side: int) -> tuple[int, int]:
    """Pairs that a shift confirms among pictures of one shape, and pairs that the audit gives."""
    shape = gaussian_filter(np.random.default_rng(1).normal(size=(WIDE, WIDE)), 8)
    pictures = [with_shape(seed, 128 + 18 * shape / shape.std(), WIDE) for seed in range(12)]
    images = [np.asarray(Image.fromarray(p).resize((side, side))) for p in pictures]
    audit = make_audit(open_images(tmp_path, images), AuditSettings())
    return len(duplicate_pairs(images)), len([d for d in audit.duplicates if not d.points])


# --- suspects ----------------------------------------------------------------------------------------


def neighbouring_frame(picture: np.ndarray, seed: int) -> np.ndarray:
    """What a next frame shows: the same structures, half of the speckle anew."""
    other = texture(seed, WIDE).astype(float)
    return np.clip(0.62 * picture + 0.38 * other, 0, 255).astype(np.uint8)


def test_neighbouring_frames_are_suspects_and_not_joined(tmp_path: Path) -> None:
    images = [*PICTURES, neighbouring_frame(PICTURES[5], 99)]
    audit = make_audit(open_images(tmp_path, images), AuditSettings(similarity=0.9))
    assert audit.duplicates == ()
    (suspect,) = audit.suspects
    assert (suspect.first, suspect.second) == ("i05", "i16")
    assert suspect.similarity >= 0.3
    assert suspect.points >= 6
    joined = make_audit(open_images(tmp_path, images, {5: "p", 16: "p"}), AuditSettings(similarity=0.9))
    assert joined.suspects == ()
