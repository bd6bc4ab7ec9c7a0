"""How probable each rank of each method is, when test groups and rounds are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.evidence.ranking import rank_shares
from bench.figures.canvas import mark, panels, short, text_width
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw
from bench.figures.palette import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

NAME = "ranks"


def ranks(material: Material) -> list[Drawing]:
    """Raises NothingToDraw for one method, methods without a round in common, or a metric that cannot be
    weighted."""
    evidence, metric = material.evidence, material.question.metric
    count = len(material.methods)
    rounds = evidence.shared(range(count))
    if count < 2:
        raise NothingToDraw(f"{material.table.where}: one row alone has no rank; a study of several has")
    if not len(rounds):
        raise NothingToDraw(
            f"{material.table.where}: no round has all {count} rows; finish the study, or choose rows by "
            "--method"
        )
    shares = rank_shares(evidence.replicates[:, rounds], metric.higher_is_better)
    if not shares.size:
        raise NothingToDraw(f"{metric.title} cannot be resampled, so nothing says how firm ranks are")
    order = sorted(range(count), key=lambda i: (float(shares[i] @ np.arange(count)), i))
    first = order[0]
    names = material.names
    return [
        Drawing(
            name=NAME,
            title=f"Ranks by {metric.title}",
            where=material.table.where,
            caption=f"Share of {evidence.replicates.shape[2]} resampled sets of test groups and rounds in "
            "which a row has each rank, 1 being the best, in percent; less than half a percent is blank. "
            "Descriptive, no test: how firm the order is, not which differences are real.",
            alt=f"{names[first]} most often has the best ranks: it is first in {shares[first, 0]:.0%} of the "
            "resampled sets.",
            draw=lambda width: _draw(names, shares, order, width),
            data=Data(
                ["Method", *(f"Rank {k + 1}" for k in range(count))],
                [[names[i], *(f"{share:.0%}" for share in shares[i])] for i in order],
            ),
        )
    ]


def _draw(names: Sequence[str], shares: NDArray[np.float64], order: Sequence[int], width: float) -> Figure:
    from matplotlib.patches import Rectangle

    count = len(names)
    texts = [short(names[i]) for i in order]
    room = text_width(texts)
    figure, [axes], _ = panels(width, [0.24 * count], left=room + 0.1, title=0.0)
    axes.set_xlim(0.5, count + 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks(range(1, count + 1))
    axes.set_yticks(range(count), texts)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("Rank")
    size = 8.0 if count <= 9 else 6.5
    for row, i in enumerate(order):
        mark(axes.yaxis.get_major_ticks()[row].label1, i, names[i])
        for k in np.flatnonzero(shares[i] >= 0.005).tolist():
            share = float(shares[i, k])
            tile = Rectangle(
                (k + 0.52, row - 0.46), 0.96, 0.92, facecolor=look(i).colour, alpha=0.6 * share, linewidth=0
            )
            mark(axes.add_patch(tile), i, f"{names[i]}: rank {k + 1} in {share:.0%}")
            axes.text(k + 1, row, f"{100 * share:.0f}", ha="center", va="center_baseline", fontsize=size)
    return figure
