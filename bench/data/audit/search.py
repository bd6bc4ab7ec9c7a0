"""The search for pairs of images that show the same picture: duplicates, and what a person should look at.

Two searches propose pairs. Perceptual hashes find the same picture at the same crop (`duplicates`), keypoints
find it at another crop, scale, aspect or rotation (`keypoints`). What they propose is confirmed by the detail
of the picture after a shift, or after the affine map on which the keypoints agree (`alignment`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from bench.data.audit.alignment import NONE, Alignment, align_pairs
from bench.data.audit.duplicates import (
    MAX_CANDIDATES,
    SIDE,
    differing_bits,
    find_duplicates,
    perceptual_hashes,
)
from bench.data.audit.keypoints import find_keypoints, propose_pairs
from bench.data.audit.shortcut_features import mark_features
from bench.data.audit.shortcuts import border_features
from bench.data.images.parallel import each, in_order
from bench.data.images.view import View
from bench.study.protocol import AuditSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHORT = 128  # short side of the copies in which points are looked for, pixels
CONFIRMING_POINTS = 8  # that agree on how two pictures lie on each other, for a duplicate
SUSPECT_POINTS = 6
COARSE = 96  # short side, pixels, below which a picture has too little detail for a shift to confirm a pair:
COARSE_SIMILARITY = 0.9  # unless it is this alike. 1,400 chest X-rays at 28, 48 and 64 pixels would otherwise
# give 254, 8 and 2 false pairs (at 96 none), while keypoints give no false one at 28 and 48
SUSPECT_SIMILARITY = 0.3  # correlation of detail from which a pair is shown for a person to decide


@dataclass(frozen=True)
class Duplicate:
    """Two images that show the same picture."""

    first: str  # id
    second: str
    bits: int  # of 64 in which the perceptual hashes differ
    similarity: float  # correlation of aligned detail
    exact: bool  # all pixels are equal
    points: int = 0  # that agree on how the pictures lie on each other; 0 if a shift alone confirmed the pair


@dataclass(frozen=True)
class Suspect:
    """Two images that may show the same patient or lesion: for a person to decide."""

    first: str  # id
    second: str
    similarity: float  # correlation of aligned detail
    points: int  # that agree on how the pictures lie on each other


class Copies(NamedTuple):
    """All images, reduced.

    Attributes:
        grey: (h, w) of each, the short side SHORT.
        squares: (N, SIDE, SIDE), grey.
        borders: (N, F) features of their borders.
        marks: (N, F) features of what looks like marks burnt into them.
    """

    grey: list[NDArray[np.uint8]]
    squares: NDArray[np.uint8]
    borders: NDArray[np.float32]
    marks: NDArray[np.float32]


class Found(NamedTuple):
    """What the search found.

    Attributes:
        duplicates: in the order of the images.
        aligned: how pictures lie on each other, by the positions of their images, first < second.
        candidates: number of pairs that were compared.
        notes: what the search passed over, in words.
    """

    duplicates: tuple[Duplicate, ...]
    aligned: Mapping[tuple[int, int], Alignment]
    candidates: int
    notes: tuple[str, ...]


def reduced_copies(view: View, threads: int = 1) -> Copies:
    """Copies of all images, of a view at the short side SHORT."""
    rows = list(in_order(each(lambda i: _reduced(view[i])), range(len(view)), 64, threads))
    grey, squares, borders, marks = zip(*rows, strict=True)
    return Copies(list(grey), np.stack(squares), np.stack(borders), np.stack(marks))


def _reduced(
    pixels: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
    """What `Copies` has of one image (C, h, w)."""
    image = _image(pixels)
    grey = np.asarray(image.convert("L"))
    square = _square(image)
    borders = border_features(np.asarray(square.convert("RGB")))
    return grey, np.asarray(square.convert("L")), borders, mark_features(pixels, grey)


def hashes_of(view: View, images: Sequence[int]) -> dict[int, str]:
    """The 64-bit pHash of these images, in ImageHash's hex digits, by their position in a view at SHORT."""
    if not images:
        return {}
    squares = np.stack([np.asarray(_square(_image(view[i])).convert("L")) for i in images])
    return {i: value.tobytes().hex() for i, value in zip(images, perceptual_hashes(squares), strict=True)}


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))


def _square(image: Image.Image) -> Image.Image:
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def find_pairs(
    copies: Copies,
    ids: Sequence[str],
    sha256: Sequence[str],
    short_sides: Sequence[int],
    settings: AuditSettings,
    further: NDArray[np.int64],
    threads: int,
) -> Found:
    """Duplicates among `copies` of images with these ids, sha256 of pixels, and short sides in pixels.

    `further` are pairs (P, 2), first < second, that are compared although neither search proposes them.
    """
    hashed = find_duplicates(copies.squares, sha256, settings.distance, settings.similarity, further)
    proposed, aligned = _align(copies.grey, further, threads) if settings.keypoints else (further, {})
    shifted = {
        (a, b): similarity
        for a, b, similarity in zip(
            hashed.first.tolist(), hashed.second.tolist(), hashed.similarity.tolist(), strict=True
        )
        if similarity >= COARSE_SIMILARITY or min(short_sides[a], short_sides[b]) >= COARSE
    }
    mapped = {
        pair: alignment
        for pair, alignment in aligned.items()
        if alignment.points >= CONFIRMING_POINTS and alignment.similarity >= settings.similarity
    }
    pairs = sorted({*shifted, *mapped})
    bits = differing_bits(hashed.hashes, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    duplicates = tuple(
        Duplicate(
            first=ids[a],
            second=ids[b],
            bits=int(count),
            similarity=round(max(shifted.get((a, b), 0.0), mapped.get((a, b), NONE).similarity), 3),
            exact=sha256[a] == sha256[b],
            points=mapped.get((a, b), NONE).points,
        )
        for (a, b), count in zip(pairs, bits, strict=True)
    )
    notes = []
    if hashed.distance < settings.distance:
        notes.append(
            f"more than {MAX_CANDIDATES} pairs have hashes within {settings.distance} bits; "
            f"only those within {hashed.distance} were compared by pixels"
        )
    candidates = len(np.unique(np.concatenate([hashed.candidates, proposed]), axis=0))
    return Found(duplicates, aligned, candidates, tuple(notes))


def _align(
    grey: Sequence[NDArray[np.uint8]], further: NDArray[np.int64], threads: int
) -> tuple[NDArray[np.int64], dict[tuple[int, int], Alignment]]:
    """Pairs (P, 2) that keypoints propose, with `further` ones, and how those lie on each other that do."""
    keypoints = find_keypoints(grey, threads)
    proposed = np.unique(np.concatenate([propose_pairs(keypoints), further]), axis=0)
    alignments = align_pairs(grey, keypoints, proposed, SUSPECT_POINTS, threads)
    return proposed, {
        (a, b): alignment
        for (a, b), alignment in zip(proposed.tolist(), alignments, strict=True)
        if alignment is not NONE
    }


def suspects(
    aligned: Mapping[tuple[int, int], Alignment], ids: Sequence[str], groups: Sequence[str]
) -> Iterator[Suspect]:
    """Pairs that are alike and not known to belong together, the most similar first."""
    alike = [
        (alignment, pair)
        for pair, alignment in aligned.items()
        if alignment.similarity >= SUSPECT_SIMILARITY and groups[pair[0]] != groups[pair[1]]
    ]
    for alignment, (a, b) in sorted(alike, key=lambda item: (-item[0].similarity, item[1])):
        yield Suspect(ids[a], ids[b], round(alignment.similarity, 3), alignment.points)
