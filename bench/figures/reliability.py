"""Reliability diagrams: whether predicted probabilities are what they say, before and after a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.calibrated import Calibrated, calibrated
from bench.evidence.calibration import BINS, Reliability
from bench.figures.canvas import label_panels, mark, panels, short
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material
from bench.figures.palette import FAINT, LIGHT, Dashes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "reliability"
FEW, MANY = 0.02, 0.1
"""Shares of all images below and above which a bin has a small or a large mark."""

BEFORE, AFTER = "as predicted", "after temperature scaling"


def reliability_diagrams(material: Material) -> list[Drawing]:
    """One panel a method."""
    found = [
        calibrated(tested, validated)
        for tested, validated in zip(material.tested, material.validated, strict=True)
    ]
    names = material.names
    worst = int(np.argmax([one.error_before for one in found]))
    return [
        Drawing(
            name=NAME,
            title="Reliability",
            where=material.table.where,
            caption=f"Test images of all rounds in {BINS} bins of equal width, by the probability of the "
            "predicted class: the share that is right. On the dashed line probabilities are what they say; "
            "below it a method is too sure. Small marks are bins with less than 2 % of the images, large "
            "ones with 10 % and more. Solid: as predicted; dashed with squares: after one temperature a "
            "round, fitted on the validation images. ECE is the "
            "expected calibration error, mean over rounds.",
            alt=f"Expected calibration error of {len(names)} methods; the largest has {names[worst]}, "
            f"{_errors(found[worst])}.",
            draw=lambda width: _draw(names, found, width),
            data=Data(
                ["Method", "ECE", "ECE after scaling", "Temperature, mean over rounds"],
                [_row(name, one) for name, one in zip(names, found, strict=True)],
            ),
        )
    ]


def _errors(one: Calibrated) -> str:
    if not isfinite(one.error_after):
        return f"{one.error_before:.3f}"
    return f"{one.error_before:.3f} before and {one.error_after:.3f} after temperature scaling"


def _row(name: str, one: Calibrated) -> list[str]:
    after = isfinite(one.error_after)
    return [
        name,
        f"{one.error_before:.4f}",
        f"{one.error_after:.4f}" if after else "no validation predictions",
        f"{fmean(one.temperatures.values()):.3f}" if after else "",
    ]


# --- drawing -----------------------------------------------------------------------------------------


def _draw(names: Sequence[str], found: Sequence[Calibrated], width: float) -> Figure:
    figure, axes, columns = panels(width, [2.0] * len(names), least=2.4, square=True)
    for one, name, each in zip(axes, names, found, strict=True):
        _draw_panel(one, name, each)
    label_panels(axes, columns, "Probability", "Share right")
    return figure


def _draw_panel(axes: Axes, name: str, one: Calibrated) -> None:
    axes.set_title(short(name, 24))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xticks([0, 0.5, 1])
    axes.set_yticks([0, 0.5, 1])
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0.5)
    _draw_bins(axes, 0, one.before, LIGHT[0], "-", "o", BEFORE)
    text = f"ECE {one.error_before:.3f}"
    if one.after:
        _draw_bins(axes, 1, one.after, LIGHT[1], (0, (4, 1.5)), "s", AFTER)
        text += f" → {one.error_after:.3f}"
    axes.text(0.98, 0.03, text, ha="right", fontsize=8)


def _draw_bins(
    axes: Axes, place: int, bins: Reliability, colour: str, dashes: Dashes, marker: str, what: str
) -> None:
    known = bins.images > 0
    x, y, images = bins.confidence[known], bins.accuracy[known], bins.images[known]
    [line] = axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.1)
    mark(line, place, what)
    shares = images / bins.images.sum()
    for size, least, most in ((2.5, 0.0, FEW), (4.0, FEW, MANY), (6.0, MANY, 2.0)):
        own = (shares >= least) & (shares < most)
        axes.plot(x[own], y[own], color=colour, marker=marker, markersize=size, linestyle="none")
