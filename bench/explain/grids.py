"""Maps of few cells, compared on a common grid and with masks. Arrays alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grid = NDArray[np.float64]


def shares(grid: Grid) -> Grid:
    """(h, w), none negative, as shares of its sum; all 0 if it is."""
    total = grid.sum()
    return grid / total if total > 0 else np.zeros_like(grid)


def resampled(grid: Grid, height: int, width: int) -> Grid:
    """(h, w) to (height, width): areas are averaged where the new cells are larger, and what lies between
    the centres of cells is interpolated linearly where they are smaller."""
    import cv2

    if grid.shape == (height, width):
        return grid
    coarser = height < grid.shape[0] or width < grid.shape[1]
    how = cv2.INTER_AREA if coarser else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grid.astype(np.float64), (width, height), interpolation=how), np.float64)


def correlation(a: Grid, b: Grid) -> float:
    """Spearman's rank correlation of two grids of one shape, cell by cell; nan where either is constant."""
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def mass_inside(grid: Grid, mask: NDArray[np.bool_]) -> float:
    """The share of a map (h, w) that lies in a mask (S, S); nan for a map that is all 0."""
    pixels = shares(resampled(grid, *mask.shape))
    return float(pixels[mask].sum()) if pixels.any() else math.nan


def points_inside(grid: Grid, mask: NDArray[np.bool_]) -> float:
    """1 if the highest pixel of a map (h, w) lies in a mask (S, S), else 0; nan for a map that is all 0. Of
    several highest pixels, the share that lies in it."""
    pixels = resampled(grid, *mask.shape)
    return float(mask[pixels == pixels.max()].mean()) if pixels.any() else math.nan


def inside_outside(grid: Grid, mask: NDArray[np.bool_]) -> float:
    """How probably a cell in the mask has a higher value than one outside, ties counting half (the area under
    the ROC curve). A cell is in it if at least half of its area is; nan where none or all are."""
    from bench.evidence.areas import roc_area
    from bench.interfaces.image_weights import ImageWeights

    within = resampled(mask.astype(np.float64), *grid.shape) >= 0.5
    return float(roc_area(within.ravel(), grid.ravel(), ImageWeights.equal(grid.size))[0])
