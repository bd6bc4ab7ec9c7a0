"""Which stored values become black and white, where a file does not say: one range for a whole data set.

A 16-bit file may hold values of 10, 12 or 16 bits, and says nothing of it. A range of each image's own would
make a dark image as bright as a light one; so the range is found from all files of a data set, in whatever
order they are listed, and holds for each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

WIDE = "16-bit"  # grey files of more than 8 bits, whatever the format
DICOM = "DICOM"  # DICOM files that name no window
DEPTHS = (8, 10, 12, 14, 16)  # bits of the values that devices store in 16


class Extent(NamedTuple):
    """The values of one file whose range the data set decides."""

    kind: str  # WIDE or DICOM
    low: float
    high: float


Extents = Mapping[str, tuple[float, float]]  # kind -> lowest and highest value of all files of that kind


@dataclass(frozen=True)
class Ranges:
    """What becomes black and white in the files of one data set.

    Attributes:
        bits: 0 becomes black and 2**bits - 1 white in 16-bit files, unless they say that zero is white.
        dicom: what becomes black and white in DICOM files without a window, after their rescaling; None: the
            lowest and highest value of each file.
    """

    bits: int = 16
    dicom: tuple[float, float] | None = None


WHOLE = Ranges()  # for a file that belongs to no data set


def merged(extents: Iterable[Extent | None]) -> Extents:
    """The lowest and highest value over all files of each kind."""
    found: dict[str, tuple[float, float]] = {}
    for extent in extents:
        if extent is not None:
            low, high = found.get(extent.kind, (extent.low, extent.high))
            found[extent.kind] = min(low, extent.low), max(high, extent.high)
    return dict(sorted(found.items()))


def ranges_of(extents: Extents, bits: int = 0) -> Ranges:
    """The ranges of a data set whose files have these values; `bits` of 16-bit files, 0: as few of DEPTHS as
    hold their highest value."""
    if not bits:
        highest = extents.get(WIDE, (0, 2 ** DEPTHS[-1] - 1))[1]
        bits = next((depth for depth in DEPTHS if highest < 2**depth), DEPTHS[-1])
    return Ranges(bits, extents.get(DICOM))


def notes_of(extents: Extents, bits: int = 0) -> tuple[str, ...]:
    """What a user should know of the ranges: a sentence for every kind of file that there is."""
    ranges, notes = ranges_of(extents, bits), []
    if WIDE in extents:
        how = "as was set" if bits else "the smallest range that holds them; another one can be set (bits)"
        notes.append(
            f"16-bit files hold values up to {extents[WIDE][1]:g} and are read as {ranges.bits} bits: "
            f"0 is black, {2**ranges.bits - 1} white ({how})"
        )
    if ranges.dicom:
        notes.append(
            f"DICOM files without a window are read from {ranges.dicom[0]:g} (black) to {ranges.dicom[1]:g} "
            "(white), their lowest and highest value"
        )
    return tuple(notes)
