"""Which suspected pairs a person has decided already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.data.audit.search import Suspect
    from bench.data.images.images import Images


def undecided(suspects: Iterable[Suspect], images: Images) -> list[Suspect]:
    """The suspected pairs of which no reviewed file says whether they belong together: it does where it gives
    both images one group, or where its reason for one names the other, as the page of pairs writes it."""
    said = {image.id: image for file in images.reviewed for image in file.images}

    def is_decided(pair: Suspect) -> bool:
        first, second = said.get(pair.first), said.get(pair.second)
        if first is None or second is None:
            return False
        same = bool(first.group) and first.group == second.group
        return same or second.id in first.reason or first.id in second.reason

    return [pair for pair in suspects if not is_decided(pair)]
