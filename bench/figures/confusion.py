"""Confusion matrices: which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.bands import mean_counts
from bench.figures.canvas import label_panels, mark, panels, short, text_width
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material
from bench.figures.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NAME = "confusion"
FEW = 4
"""Classes up to which matrices stand side by side in one drawing; with more, each method has its own."""

_STRONGEST = 0.55  # opacity of a full cell, on which text in the colour of the page can be read
_LEAST = 0.005  # of a row: below, a cell has no text


def confusion(material: Material) -> list[Drawing]:
    """All methods in one drawing where there are few classes, else one drawing for each prominent method."""
    matrices = [mean_counts(list(rounds.values())) for rounds in material.tested]
    if len(material.classes) <= FEW:
        return [_drawing(material, matrices, range(len(matrices)))]
    return [_drawing(material, matrices, [i], alone=True) for i in material.prominent]


def _drawing(
    material: Material, matrices: Sequence[NDArray[np.float64]], places: Sequence[int], alone: bool = False
) -> Drawing:
    names = [material.names[i] for i in places]
    chosen = [matrices[i] for i in places]
    return Drawing(
        name=NAME,
        title=f"Confusion matrix of {names[0]}" if alone else "Confusion matrices",
        where=f"{material.table.where}, {names[0]}" if alone else material.table.where,
        caption="Rows are true classes, columns the predicted ones. Large: percent of the row; small: test "
        f"images, mean over {len(material.sample.images)} rounds. Cells below half a percent are blank."
        + (" Others than the best row and the baseline: --method." if alone and _some(material) else ""),
        alt=" ".join(_told(name, m, material.classes) for name, m in zip(names, chosen, strict=True)),
        draw=lambda width: _draw(names, chosen, material.classes, width),
        data=_data(names[0], chosen[0], material.classes) if alone else None,
    )


def _some(material: Material) -> bool:
    """Whether not all methods have a matrix."""
    return len(material.prominent) < len(material.methods)


def _told(name: str, matrix: NDArray[np.float64], classes: Sequence[str]) -> str:
    """The most frequent error of a method, as a sentence."""
    wrong = matrix - np.diag(np.diag(matrix))
    if not wrong.any():
        return f"{name} has no errors."
    true, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return (
        f"{name} most often takes {classes[int(true)]} for {classes[int(predicted)]} "
        f"({wrong[true, predicted]:.1f} of {matrix[true].sum():.1f} images)."
    )


def _data(name: str, matrix: NDArray[np.float64], classes: Sequence[str]) -> Data:
    return Data(
        [f"True class ({name})", *classes],
        [[label, *(f"{n:.4g}" for n in row)] for label, row in zip(classes, matrix, strict=True)],
    )


# --- drawing -----------------------------------------------------------------------------------------


def _draw(
    names: Sequence[str], matrices: Sequence[NDArray[np.float64]], classes: Sequence[str], width: float
) -> Figure:
    many = len(classes) > FEW
    labels = [short(name, 16) for name in classes]
    room = text_width(labels)
    figure, axes, columns = panels(
        width,
        [1.0] * len(names),
        least=width if many else 2.0,
        left=room + 0.3,
        right=max(0.08, width - room - 4.6) if many else 0.08,
        below=room * (1.0 if many else 0.72) + 0.4,
        square=True,
    )
    for place, (one, name, matrix) in enumerate(zip(axes, names, matrices, strict=True)):
        one.set_title(short(name, 34 if many else 22))
        _draw_matrix(one, matrix, small=len(classes) > 6)
        one.set_xticks(range(len(classes)), labels, rotation=90 if many else 45)
        if not many:
            for label in one.get_xticklabels():
                label.set_horizontalalignment("right")
                label.set_rotation_mode("anchor")
        one.set_yticks(range(len(classes)), labels)
        one.tick_params(length=0)
        for k, name in enumerate(classes):
            if place + columns >= len(names):
                mark(one.xaxis.get_major_ticks()[k].label1, k, name)
    label_panels(axes, columns, "Predicted", "True")
    return figure


def _draw_matrix(axes: Axes, matrix: NDArray[np.float64], *, small: bool) -> None:
    from matplotlib.patches import Rectangle

    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, sums, out=np.zeros_like(matrix), where=sums > 0)
    count = len(matrix)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    for i, j in zip(*np.nonzero(shares >= _LEAST), strict=True):
        share = float(shares[i, j])
        colour = LIGHT[0] if i == j else LIGHT[1]
        axes.add_patch(
            Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, alpha=_STRONGEST * share, linewidth=0)
        )
        size = 7.5 if small else 9.0
        axes.text(j, i - 0.13, f"{100 * share:.0f}", ha="center", va="center", fontsize=size)
        axes.text(j, i + 0.27, _images(float(matrix[i, j])), ha="center", va="center", fontsize=size - 2)


def _images(count: float) -> str:
    """A mean number of images, as short as it can be read."""
    return f"{count:.0f}" if count >= 100 else f"{count:.1f}".removesuffix(".0")
