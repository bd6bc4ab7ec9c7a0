"""Points by which a picture is recognised at another crop, scale, aspect or rotation. Works on arrays only.

SIFT (Lowe 2004, by OpenCV) finds points and describes what is around each by 128 numbers; descriptors are
compared by their square roots (RootSIFT, Arandjelovic and Zisserman 2012). Images that share many described
points are proposed by random hyperplanes: TABLES times, a point gets a word of as many bits as hyperplanes,
and points that look alike tend to get the same word. Words that many images have say little and are left out.
Nothing is trained, so the same images lead to the same candidates on every machine, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.data.images.parallel import each, in_order, one_thread_each

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

MOST_POINTS = 200  # of one image, the most prominent
MOST_DESCRIPTORS = 4_000_000  # of all images (512 MB, twice that for a moment), or each gets fewer
CONTRAST = 0.02  # least contrast of a point, OpenCV's contrastThreshold: half its default, for flat pictures
TABLES = 8  # words of a point
NEIGHBOURS = 10  # images proposed to each image
MOST_IMAGES = 200  # that may have a word
_BLOCK = 256  # images looked up at once, which bounds memory
_DIMENSIONS = 128


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The points of N images, M in all."""

    points: NDArray[np.float32]  # (M, 2) x and y, in pixels of the copy
    descriptors: NDArray[np.uint8]  # (M, 128) SIFT's
    starts: NDArray[np.int64]  # (N + 1,) where each image's points begin

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, image: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (K, 2) and unit-length descriptors (K, 128) of one image."""
        rows = slice(self.starts[image], self.starts[image + 1])
        return self.points[rows], _unit(self.descriptors[rows])


def find_keypoints(copies: Sequence[NDArray[np.uint8]], threads: int) -> Keypoints:
    """The most prominent points of grey copies, each (h, w)."""
    import cv2

    most = max(1, min(MOST_POINTS, MOST_DESCRIPTORS // max(1, len(copies))))

    def found(copy: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        sift = cv2.SIFT.create(nfeatures=most, contrastThreshold=CONTRAST)  # not to be shared by threads
        keypoints, descriptors = sift.detectAndCompute(copy, None)
        if not keypoints:
            return np.empty((0, 2), np.float32), np.empty((0, _DIMENSIONS), np.uint8)
        # OpenCV keeps all that are as prominent as the last: this order decides, whatever its threads did.
        points = np.asarray(cv2.KeyPoint.convert(keypoints), dtype=np.float32)
        responses = np.array([keypoint.response for keypoint in keypoints])
        order = np.lexsort((points[:, 1], points[:, 0], -responses))[:most]
        return points[order], descriptors[order].astype(np.uint8)

    with one_thread_each():
        parts = list(in_order(each(found), copies, 16, threads))
    counts = [len(points) for points, _ in parts]
    return Keypoints(
        points=np.concatenate([points for points, _ in parts]),
        descriptors=np.concatenate([descriptors for _, descriptors in parts]),
        starts=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
    )


def _unit(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Square roots of descriptors (K, 128) of sum 1, which have length 1."""
    shares = descriptors.astype(np.float32)
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    return np.sqrt(shares)


def propose_pairs(keypoints: Keypoints) -> NDArray[np.int64]:
    """(P, 2) first < second: each image with those NEIGHBOURS with which it shares the rarest words."""
    tables = [(table, table.T.tocsr()) for table in _word_tables(keypoints)]
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(keypoints), _BLOCK):
        shared = sum(table[start : start + _BLOCK] @ images_of for table, images_of in tables)
        pairs.append(_nearest(shared.tocsr(), start))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _word_tables(keypoints: Keypoints) -> list[csr_array]:
    """For each table, (N, words): the word's weight, which is its inverse document frequency, where an image
    has it. The root of the weight is stored, because two of them are multiplied."""
    from scipy.sparse import csr_array

    images = np.repeat(np.arange(len(keypoints)), np.diff(keypoints.starts))
    # As many bits as keep a word to a few images, however many there are.
    bits = int(np.clip(20 + round(math.log2(max(1, len(keypoints)) / 1000)), 12, 30))
    hyperplanes = np.random.default_rng(0).standard_normal((_DIMENSIONS, TABLES * bits)).astype(np.float32)
    words = _words(keypoints.descriptors, hyperplanes, bits)
    tables = []
    for column in words.T:
        own = np.sort(column * len(keypoints) + images)
        own = own[np.diff(own, prepend=-1) > 0]  # a word counts once an image
        fresh = np.diff(own // len(keypoints), prepend=-1) > 0  # where another word begins
        numbers, counts = np.cumsum(fresh) - 1, np.diff(np.flatnonzero(np.append(fresh, True)))
        telling = (counts > 1) & (counts <= MOST_IMAGES)
        kept = telling[numbers]
        weights = np.sqrt(np.log(1 + len(keypoints) / counts)).astype(np.float32)
        shape = (len(keypoints), len(counts))
        tables.append(
            csr_array((weights[numbers[kept]], (own[kept] % len(keypoints), numbers[kept])), shape=shape)
        )
    return tables


def _words(descriptors: NDArray[np.uint8], hyperplanes: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    """(M, TABLES) on which side of its hyperplanes each descriptor lies, as a number. They pass through the
    mean of all descriptors, which halves them."""
    size = 1 << 16
    blocks = [descriptors[i : i + size] for i in range(0, len(descriptors), size)]
    count = max(1, len(descriptors))
    mean = (
        sum((_unit(block).sum(axis=0, dtype=np.float64) for block in blocks), np.zeros(_DIMENSIONS)) / count
    )
    powers = 1 << np.arange(bits, dtype=np.int64)
    words = [np.empty((0, TABLES), dtype=np.int64)]
    for block in blocks:
        sides = (_unit(block) - mean.astype(np.float32)) @ hyperplanes > 0
        words.append(sides.reshape(len(block), TABLES, bits) @ powers)
    return np.concatenate(words)


def _nearest(shared: csr_array, start: int) -> NDArray[np.int64]:
    """(P, 2) each image of a block with the NEIGHBOURS to which its row gives most."""
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for row in range(shared.shape[0]):
        own = slice(shared.indptr[row], shared.indptr[row + 1])
        others, weights = shared.indices[own], shared.data[own]
        others, weights = others[others != start + row], weights[others != start + row]
        if len(weights) > NEIGHBOURS:  # most are far below: only those that may be among the best are sorted
            may_be = weights >= np.partition(weights, -NEIGHBOURS)[-NEIGHBOURS]
            others, weights = others[may_be], weights[may_be]
        best = others[np.lexsort((others, -weights))[:NEIGHBOURS]]
        pairs.append(np.stack([np.full(len(best), start + row), best], axis=1))
    return np.concatenate(pairs)
