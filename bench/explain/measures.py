"""What a map says of an image, in numbers: against what guides a pretraining, and against masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.explain.grids import correlation, inside_outside, mass_inside, points_inside, resampled
from bench.explain.looks import Look

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.explain.grids import Grid

CORRELATION, INSIDE, POINTING, RANDOM_HEAD = "correlation", "inside", "pointing", "random_head"
"""Of a method's map: Spearman's correlation with a guide, patch by patch; its share inside the mask; whether
its highest point is; its correlation with the map of a random classifier."""
AREA, GUIDE_INSIDE = "mask_area", "guide_inside"
"""Of the image itself: share of its pixels in the mask; how probably a patch in the mask has more of what
guides than one outside."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is known of one image whoever looks at it.

    Attributes:
        guides: by the name of the method that goes by it, (h, w) one value a patch.
        mask: (S, S), True inside; None where it has none.
    """

    guides: Mapping[str, Grid]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One look at one image, in numbers.

    Attributes:
        look: of one method.
        values: by name; nan where one is not defined. Guides add their method's name: "correlation.egmae".
    """

    look: Look
    values: Mapping[str, float]


def measure(looks: Sequence[Look], given: Mapping[str, Given]) -> list[Measured]:
    """The numbers of each look; `given` is by id of the image."""
    own = {id_: _of_image(each) for id_, each in given.items()}
    return [Measured(look=look, values={**_of_look(look, given[look.id]), **own[look.id]}) for look in looks]


def _of_look(look: Look, given: Given) -> dict[str, float]:
    values = {
        f"{CORRELATION}.{name}": correlation(guide, resampled(look.map, *guide.shape))
        for name, guide in given.guides.items()
    }
    if given.mask is not None:
        values[INSIDE] = mass_inside(look.map, given.mask)
        values[POINTING] = points_inside(look.map, given.mask)
    if look.random_head is not None:
        values[RANDOM_HEAD] = correlation(look.map, look.random_head)
    return values


def _of_image(given: Given) -> dict[str, float]:
    if given.mask is None:
        return {}
    guides = {
        f"{GUIDE_INSIDE}.{name}": inside_outside(guide, given.mask) for name, guide in given.guides.items()
    }
    return {AREA: float(given.mask.mean()), **guides}
