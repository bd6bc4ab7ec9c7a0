"""Demsar's critical difference diagram: mean ranks over data sets, and what is not told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.comparison.compare import Question
from bench.comparison.diagram import Ranked, TooFew, rank_rows
from bench.comparison.sentences import p_text
from bench.figures.canvas import mark, new_figure, short, text_width
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw, short_labels
from bench.figures.palette import INK, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "critical"


def critical(materials: Sequence[Material]) -> list[Drawing]:
    """Raises NothingToDraw where there are too few data sets or rows, ConfigError where the extra "diagram"
    is not installed: a report says so."""
    try:
        ranked = rank_rows([m.table for m in materials], materials[0].question)
    except TooFew as error:
        raise NothingToDraw(str(error)) from None
    return [critical_drawing(ranked, materials[0].question)]


def critical_drawing(ranked: Ranked, question: Question) -> Drawing:
    """Of rows that were ranked."""
    names = short_labels([ranked.labels[row] for row in ranked.ranks])
    ranks = list(ranked.ranks.values())
    best, worst = (f(range(len(ranks)), key=ranks.__getitem__) for f in (min, max))
    return Drawing(
        name=NAME,
        title=f"{question.metric.title}, mean ranks",
        where=f"{ranked.sets} data sets",
        caption=f"Mean ranks over {ranked.sets} data sets, 1 being the best; a bar joins rows that Nemenyi's "
        "test does not tell apart at 5 % (Demsar 2006). Friedman's test that all rows are alike: p "
        f"{p_text(ranked.p)}.",
        alt=f"The best mean rank has {names[best]} ({ranks[best]:.2f}), the worst {names[worst]} "
        f"({ranks[worst]:.2f}).",
        draw=lambda width: _draw(names, ranked, width),
        data=Data(
            ["Method", "Mean rank"],
            [[names[i], f"{ranks[i]:.2f}"] for i in sorted(range(len(ranks)), key=ranks.__getitem__)],
        ),
    )


def _draw(names: Sequence[str], ranked: Ranked, width: float) -> Figure:
    """Names stand on both sides, as Demsar has them, if they leave room for the axis, else on the left."""
    import pandas as pd
    import scikit_posthocs as posthocs
    from matplotlib.ticker import MaxNLocator
    from matplotlib.transforms import ScaledTranslation

    ranks = list(ranked.ranks.values())
    places = list(range(len(ranks)))  # names that are alike once shortened stay apart by them
    texts = [f"{short(name)} ({rank:.2f})" for name, rank in zip(names, ranks, strict=True)]
    room = text_width(texts) + 0.12
    left_only = 2 * room > 0.6 * width
    figure = new_figure(width, 1.0)
    axes = figure.add_axes((0, 0, 1, 1))
    drawn = posthocs.critical_difference_diagram(
        pd.Series(ranks, index=places),
        pd.DataFrame(ranked.apart.loc[list(ranked.ranks), list(ranked.ranks)].to_numpy(), places, places),
        ax=axes,
        label_fmt_left="{label}",
        label_fmt_right="{label}",
        label_props={"fontsize": 9},
        color_palette={place: look(place).colour for place in places},
        left_only=left_only,
    )
    for label, elbow, marker in zip(drawn["labels"], drawn["elbows"], drawn["markers"], strict=True):
        place = int(label.get_text())
        aside = -0.05 if label.get_horizontalalignment() == "right" else 0.05
        apart = ScaledTranslation(aside, 0, figure.dpi_scale_trans)  # from the end of its line
        label.set(text=texts[place], color=INK, transform=label.get_transform() + apart)
        for artist in (label, elbow, marker):
            mark(artist, place, f"{names[place]}: {ranks[place]:.2f}").set_clip_on(False)
    lowest = min(label.get_position()[1] for label in drawn["labels"])
    axes.set_xlim(1, len(ranks))
    axes.set_ylim(lowest - 0.5, 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines["top"].set_visible(True)
    height = 0.22 * (0.9 - lowest)
    figure.set_figheight(height + 0.2)
    side = 0.15 if left_only else room
    axes.set_position((room / width, 0.0, (width - room - side) / width, height / (height + 0.2)))
    return figure
