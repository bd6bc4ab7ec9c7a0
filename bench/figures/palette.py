"""Colours, markers and dashes of series, so that a colour is never the only thing that tells two apart.

The colours are those of Okabe and Ito (2008), made darker until each has a contrast of 3.5 to white paper,
and lighter for a dark page; others were chosen beside them. A page may set them itself: where a drawing is
part of a page, its colours are the variables --c1 to --c12.
"""

from __future__ import annotations

from typing import Any, NamedTuple

INK = "#000000"
"""Of axes and text; in a page the colour of its text."""

FAINT = "#808080"
"""Of lines that help reading and are no data."""

LIGHT = (
    "#0072b2",
    "#d55e00",
    "#00855f",
    "#b4578f",
    "#a87400",
    "#2b8cc4",
    "#332288",
    "#7f7f2a",
    "#882255",
    "#2f8f82",
    "#6e6e6e",
    "#a03b1f",
)
DARK = (
    "#5db0ea",
    "#ff8a3d",
    "#2fc79a",
    "#e59ac5",
    "#e9b44c",
    "#8fd0f5",
    "#a79cf0",
    "#c8c860",
    "#e07aa9",
    "#6fd6c6",
    "#b0b0b0",
    "#e58a6e",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))

Dashes = Any
"""As matplotlib takes them: "-", or an offset and lengths of dashes and gaps."""


class Look(NamedTuple):
    """How one series is drawn.

    Attributes:
        colour: hex; one of LIGHT.
        marker: matplotlib's name of it.
        dashes: of its line, as matplotlib takes them.
    """

    colour: str
    marker: str
    dashes: Dashes


def look(place: int) -> Look:
    """Of the series at this place, from 0. Colours and markers come again after twelve, with other dashes."""
    number = place % len(LIGHT)
    dashes = _DASHES[(number + place // len(LIGHT)) % len(_DASHES)]
    return Look(LIGHT[number], _MARKERS[number], dashes)


def declarations() -> str:
    """The colours of series on light and dark pages as declarations of CSS, to stand in a rule of a page."""
    pairs = enumerate(zip(LIGHT, DARK, strict=True), 1)
    return "".join(f" --c{i}: light-dark({light}, {dark});\n" for i, (light, dark) in pairs)
