"""Which suspected pairs a person has decided already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.data.audit.search import Suspect
    from bench.data.images.images import Images


def undecided(suspects: Iterable[Suspect], images: Images) -> list[Suspect]:
    """The suspected pairs of which no reviewed file names both images."""
    decided = {image.id for file in images.reviewed for image in file.images}
    return [s for s in suspects if not {s.first, s.second} <= decided]
