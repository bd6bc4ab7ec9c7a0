"""Charts as SVG inside a page, drawn in the colour of its text, so that they fit light and dark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.page import shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

WIDTH, HEIGHT, MARGIN = 600, 160, 40  # pixels of the drawing, which is scaled to its place
BINS = 50
CELLS = 40  # a side of the grid on which sizes are drawn


def histogram(
    what: str, values: NDArray[np.float64], span: tuple[float, float], limits: Iterable[float]
) -> str:
    """How many images have which value, over `span`, with dashed lines at the limits inside it."""
    low, high = span
    counts, _ = np.histogram(values, bins=BINS, range=span)
    most, step = max(int(counts.max()), 1), (WIDTH - 2 * MARGIN) / BINS
    bars = "".join(
        f'<rect x="{MARGIN + i * step:.1f}" y="{HEIGHT - 25 - height:.1f}" width="{step - 1:.1f}" '
        f'height="{height:.1f}"/>'
        for i, height in enumerate((110 * counts / most).tolist())
        if height
    )
    places = [MARGIN + (x - low) / (high - low) * (WIDTH - 2 * MARGIN) for x in limits if low < x < high]
    lines = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="15" y2="{HEIGHT - 25}" stroke="currentColor" '
        'stroke-dasharray="4 3"/>'
        for x in places
    )
    ends = _text(MARGIN, HEIGHT - 8, f"{low:g}", "start") + _text(
        WIDTH - MARGIN, HEIGHT - 8, f"{high:g}", "end"
    )
    middle = _text(WIDTH / 2, HEIGHT - 8, what, "middle")
    top = _text(MARGIN, 12, f"{most:,} images", "start")
    label = (
        f"Histogram of {what}: from {values.min():.0f} to {values.max():.0f}, median {np.median(values):.0f}"
    )
    axis = f'<path d="M{MARGIN} {HEIGHT - 25}H{WIDTH - MARGIN}" stroke="currentColor"/>'
    return _svg(label, HEIGHT, f'<g fill-opacity="0.55">{bars}</g>{axis}{lines}{ends}{middle}{top}')


def sizes(heights: Sequence[int], widths: Sequence[int]) -> str:
    """Widths and heights of images: a disc where there are some, its area by how many."""
    largest = max(*heights, *widths)
    side, cell = 300, largest / CELLS
    cells = Counter((int(w / cell), int(h / cell)) for h, w in zip(heights, widths, strict=True))
    most, room = max(cells.values()), side - 2 * MARGIN
    unit = room / (CELLS + 1)
    discs = "".join(
        f'<circle cx="{MARGIN + (x + 0.5) * unit:.1f}" cy="{side - MARGIN - (y + 0.5) * unit:.1f}" '
        f'r="{1.5 + 7 * (count / most) ** 0.5:.1f}"/>'
        for (x, y), count in sorted(cells.items())
    )
    axes = (
        f'<path d="M{MARGIN} {MARGIN}V{side - MARGIN}H{side - MARGIN}" fill="none" stroke="currentColor"/>'
        f'<path d="M{MARGIN} {side - MARGIN}L{side - MARGIN} {MARGIN}" stroke="currentColor" '
        'stroke-opacity="0.4" stroke-dasharray="3 4"/>'
    )
    words = _text(side / 2, side - 12, f"width, 0 to {largest:,} pixels", "middle")
    words += _text(MARGIN, MARGIN - 12, "height, the same scale", "start")
    label = f"Widths and heights of {len(heights):,} images, none above {largest:,} pixels; a line is where "
    label += "they are equal"
    drawing = _svg(label, side, f'{axes}{words}<g fill-opacity="0.55">{discs}</g>', side)
    return f'<div style="max-width:22em">{drawing}</div>\n'


def _svg(label: str, height: int, inside: str, width: int = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{shown(label)}" fill="currentColor" '
        f'font-size="12">{inside}</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{shown(text)}</text>'
