"""Demsar's critical difference diagram: mean ranks over data sets, and what is not told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.comparison.compare import Question
from bench.comparison.diagram import Ranked, rank_rows
from bench.comparison.sentences import p_text
from bench.errors import ConfigError
from bench.figures.canvas import new_figure, short
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "critical"


def critical(materials: Sequence[Material]) -> list[Drawing]:
    """Raises NothingToDraw where there are too few data sets or rows."""
    try:
        ranked = rank_rows([m.table for m in materials], materials[0].question)
    except ConfigError as error:
        raise NothingToDraw(str(error)) from None
    return [critical_drawing(ranked, materials[0].question)]


def critical_drawing(ranked: Ranked, question: Question) -> Drawing:
    """Of rows that were ranked."""
    order = sorted(ranked.ranks, key=ranked.ranks.__getitem__)
    return Drawing(
        name=NAME,
        title=f"{question.metric.title}, mean ranks over {ranked.sets} data sets",
        where=f"{ranked.sets} data sets",
        caption="Mean ranks, 1 being the best; a bar joins rows that Nemenyi's test does not tell apart at "
        f"5 % (Demsar 2006). Friedman's test that all rows are alike: p {p_text(ranked.p)}.",
        alt=f"The best mean rank has {order[0]} ({ranked.ranks[order[0]]:.2f}), the worst {order[-1]} "
        f"({ranked.ranks[order[-1]]:.2f}).",
        draw=lambda width: _draw(ranked, width),
        data=Data(["Method", "Mean rank"], [[name, f"{ranked.ranks[name]:.2f}"] for name in order]),
    )


def _draw(ranked: Ranked, width: float) -> Figure:
    import pandas as pd
    import scikit_posthocs as posthocs

    names = {name: short(name) for name in ranked.ranks}
    figure = new_figure(width, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    apart = ranked.apart.rename(index=names, columns=names)
    ranks = pd.Series({names[name]: rank for name, rank in ranked.ranks.items()})
    posthocs.critical_difference_diagram(ranks, apart, ax=axes, label_props={"fontsize": 9})
    return figure
