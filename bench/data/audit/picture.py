"""A picture of image pairs, for a person who judges them by eye."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = 160  # side of each image, pixels
LINE = 15  # height of a line of text, pixels
GAP = 12  # between pairs, pixels
COLUMNS = 4  # pairs per row


@dataclass(frozen=True)
class PicturedImage:
    """One image of a pair, and the words above it."""

    pixels: NDArray[np.uint8]  # (C, h, w)
    title: str
    label: str


@dataclass(frozen=True)
class PicturedPair:
    """Two images and the line above them. If their labels differ, the labels are drawn in red."""

    first: PicturedImage
    second: PicturedImage
    text: str


def draw_pairs(pairs: Sequence[PicturedPair]) -> Image.Image:
    """All pairs on one sheet, COLUMNS per row."""
    width, height = 2 * IMAGE + GAP, IMAGE + 3 * LINE + GAP
    columns = min(COLUMNS, len(pairs))
    rows = math.ceil(len(pairs) / COLUMNS)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, pair in enumerate(pairs):
        left, top = GAP + number % COLUMNS * width, GAP + number // COLUMNS * height
        pen.text((left, top), pair.text, fill="black", font=font)
        colour = "#b00020" if pair.first.label != pair.second.label else "#505050"
        for position, image in enumerate((pair.first, pair.second)):
            x = left + position * IMAGE
            pen.text((x, top + LINE), _shortened(image.title, font), fill="#505050", font=font)
            pen.text((x, top + 2 * LINE), _shortened(image.label, font), fill=colour, font=font)
            sheet.paste(_square(image.pixels), (x, top + 3 * LINE))
    return sheet


def _square(pixels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(
        pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    )
    return image.convert("RGB").resize((IMAGE - 2, IMAGE - 2), Image.Resampling.BILINEAR)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text`, cut at its beginning until it fits above an image: ids differ at their end."""
    while font.getlength(text) > IMAGE - 6:
        text = f"…{text[2:]}"
    return text
