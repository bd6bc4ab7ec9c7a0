"""Whether two pictures are one after an affine map: crop, scale, aspect, rotation. Works on arrays only.

Points that look alike (`keypoints`) are paired, an affine map is fitted to as many of them as agree (RANSAC,
by OpenCV), and the one picture is drawn into the frame of the other. What then overlaps is compared by its
detail: minus its blurred version, at equal local contrast. Points alone are not enough: the ribs of two
patients can be mapped on each other, and so can the arms of two ultrasound scanners' rulers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.data.audit.duplicates import FINE, FLOOR, NEIGHBOURHOOD
from bench.data.audit.keypoints import Keypoints
from bench.data.images.parallel import each, in_order, one_thread_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATIO = 0.8  # a point's nearest must be nearer than this share of the second nearest (Lowe 2004)
LARGEST_SCALE = 4.0  # along the map's longer axis, either way
TOLERANCE = 3.0  # by which a point may miss its counterpart, pixels
ITERATIONS = 500  # of RANSAC
MARGIN = 4  # of the overlap that is not compared, pixels: blurs reach over its edge
BLACK = 8  # grey level up to which a pixel is taken for a frame or for nothing
LEAST_PIXELS = 400  # that are compared
REACH = 2  # largest shift tried in each direction after the map, pixels


class Alignment(NamedTuple):
    """How two pictures lie on each other."""

    points: int  # that agree on the map
    similarity: float  # correlation of detail where they overlap


NONE = Alignment(0, 0.0)


def align_pairs(
    copies: Sequence[NDArray[np.uint8]],
    keypoints: Keypoints,
    pairs: NDArray[np.int64],
    least_points: int,
    threads: int,
) -> list[Alignment]:
    """How the pictures of each pair (P, 2) lie on each other; NONE where fewer than `least_points` agree.

    `copies` are grey, each (h, w), and their `keypoints` are those of `find_keypoints`.
    """
    points_of = lru_cache(maxsize=256)(keypoints.of)  # pairs in order have the same first one after the other

    def aligned(pair: NDArray[np.int64]) -> Alignment:
        first, second = map(int, pair)
        fit = _affine_map(points_of(first), points_of(second), least_points)
        if fit is None:
            return NONE
        return Alignment(fit.points, _compare(copies[first], copies[second], fit.matrix))

    with one_thread_each():
        return list(in_order(each(aligned), list(pairs), 64, threads))


class _Fit(NamedTuple):
    matrix: NDArray[np.float64]  # (2, 3), from the first picture to the second
    points: int


Described = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
"""Points (K, 2) and their descriptors (K, 128), of length 1."""


def _affine_map(first: Described, second: Described, least: int) -> _Fit | None:
    """The map on which most points of two images agree, unless they are too few or it is no view of the same
    picture: mirrored, or very much larger or smaller."""
    import cv2

    (points, own), (others, their) = first, second
    if min(len(own), len(their)) < max(least, 2):
        return None
    rows, columns = _matches(own @ their.T)
    if len(rows) < least:
        return None
    fitted, agree = cv2.estimateAffine2D(
        points[rows], others[columns], ransacReprojThreshold=TOLERANCE, maxIters=ITERATIONS
    )
    if fitted is None or int(agree.sum()) < least:
        return None
    matrix = np.asarray(fitted, dtype=np.float64)
    if np.linalg.det(matrix[:, :2]) <= 0:
        return None
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if scales[0] > LARGEST_SCALE or scales[1] < 1 / LARGEST_SCALE:
        return None
    return _Fit(matrix, int(agree.sum()))


def _matches(cosines: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of points that are each other's nearest, by far, given (K, L) cosines."""
    nearest = cosines.argmax(axis=1)
    rows = np.arange(len(cosines))
    best = cosines[rows, nearest]
    mutual = cosines.argmax(axis=0)[nearest] == rows
    rows, best = rows[mutual], best[mutual]
    second = np.partition(cosines[rows], -2, axis=1)[:, -2]
    # Of unit vectors the squared distance is 2 - 2 cosine.
    chosen = rows[(1 - best) < RATIO**2 * (1 - second)]
    return chosen, nearest[chosen]


def _compare(first: NDArray[np.uint8], second: NDArray[np.uint8], matrix: NDArray[np.float64]) -> float:
    """Correlation of detail where the pictures overlap."""
    import cv2

    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    if scale < 1:  # drawn into the frame of the coarser one, because detail can be lost and not be made
        inverse = np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)
        first, second, matrix, scale = second, first, inverse, 1 / scale
    if scale > 1.3:  # what the frame cannot show would alias
        second = np.asarray(cv2.GaussianBlur(second, (0, 0), scale / 2), dtype=np.uint8)
    size = first.shape[1], first.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = np.asarray(cv2.warpAffine(second, matrix, size, flags=flags), dtype=np.uint8)
    inside = cv2.warpAffine(np.full(second.shape, 255, np.uint8), matrix, size, flags=flags) == 255
    side = 2 * MARGIN + 1
    kernel = np.ones((side, side), np.uint8)
    inner = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    for shown in (first, drawn):  # the edge of a frame is alike in all pictures that have it
        inner = cv2.bitwise_and(inner, cv2.erode((shown > BLACK).astype(np.uint8), kernel))
    compared = np.asarray(inner, dtype=bool)
    if int(compared.sum()) < LEAST_PIXELS:
        return 0.0
    return _correlation(_detail(first), _detail(drawn), compared)


def _detail(copy: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    wide = copy.astype(np.float32)
    high = wide - cv2.GaussianBlur(wide, (0, 0), FINE)
    contrast = np.sqrt(cv2.GaussianBlur(high * high, (0, 0), NEIGHBOURHOOD)) + FLOOR
    return np.asarray(high / contrast, dtype=np.float32)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """The largest over small shifts, because points place a map to a pixel or two only."""
    largest = 0.0
    own = first[where] - first[where].mean()
    length = float(own @ own)
    for down in range(-REACH, REACH + 1):
        for right in range(-REACH, REACH + 1):
            moved = np.roll(second, (down, right), (0, 1))[where]
            other = moved - moved.mean()
            product = length * float(other @ other)
            if product > 0:
                largest = max(largest, float(own @ other) / float(np.sqrt(product)))
    return largest
