"""A picture of pairs of images side by side, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 160  # of each image, pixels
LINE = 15  # height of a line of text
GAP = 12
COLUMNS = 4


@dataclass(frozen=True)
class Side:
    """One image of a pair: uint8 (C, h, w), and the words above it."""

    pixels: NDArray[np.uint8]
    title: str
    label: str


@dataclass(frozen=True)
class Couple:
    """A pair and the line above it; one of two labels is drawn in red."""

    first: Side
    second: Side
    text: str


def draw(couples: Sequence[Couple]) -> Image.Image:
    """All pairs, COLUMNS in a row."""
    width, height = 2 * SIDE + GAP, SIDE + 3 * LINE + GAP
    columns = min(COLUMNS, len(couples))
    rows = -(-len(couples) // COLUMNS)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, couple in enumerate(couples):
        left, top = GAP + number % COLUMNS * width, GAP + number // COLUMNS * height
        pen.text((left, top), couple.text, fill="black", font=font)
        colour = "#b00020" if couple.first.label != couple.second.label else "#505050"
        for place, side in enumerate((couple.first, couple.second)):
            x = left + place * SIDE
            pen.text((x, top + LINE), _short(side.title, font), fill="#505050", font=font)
            pen.text((x, top + 2 * LINE), _short(side.label, font), fill=colour, font=font)
            sheet.paste(_square(side.pixels), (x, top + 3 * LINE))
    return sheet


def _square(pixels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(
        pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    return image.convert("RGB").resize((SIDE - 2, SIDE - 2), Image.Resampling.BILINEAR)


def _short(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of `text` that fits above an image: ids differ at their end."""
    while font.getlength(text) > SIDE - 6:
        text = f"…{text[2:]}"
    return text
