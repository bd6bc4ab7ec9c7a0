"""Means with their intervals, and differences to the baseline: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.difference import Difference, adjusted, difference
from bench.comparison.sentences import p_text
from bench.figures.canvas import guide, mark, panels, short, text_width
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material
from bench.figures.palette import Look, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "forest"


class Line(NamedTuple):
    """One row of a panel: a value with the ends of its interval, nan where there is none."""

    place: int
    name: str
    value: float
    low: float
    high: float


class Panel(NamedTuple):
    """Rows from the top down.

    Attributes:
        title: above it.
        lines: its rows.
        zero: where a line across stands; None for none.
    """

    title: str
    lines: Sequence[Line]
    zero: float | None = None


def forest(material: Material) -> list[Drawing]:
    """Of the metric that is asked for: scores, and differences where a baseline was declared."""
    metric = material.question.metric
    scores = Panel(f"{metric.title}, mean with 95 % interval", _scores(material))
    differences = _differences(material)
    plots = [scores]
    if differences:
        against = material.names[material.baseline or 0]
        plots.append(Panel(f"Better than {short(against)} by", _lines(material, differences), zero=0.0))
    return [
        Drawing(
            name=NAME,
            title=f"{metric.title} with intervals",
            where=material.table.where,
            caption=_caption(material, bool(differences)),
            alt=_alt(material),
            draw=lambda width: _draw(plots, width),
            data=_data(material, differences),
        )
    ]


def _scores(material: Material) -> list[Line]:
    nan = float("nan")
    return [
        Line(
            i,
            name,
            mean,
            nan if judged.low is None else judged.low,
            nan if judged.high is None else judged.high,
        )
        for i, (name, mean, judged) in enumerate(
            zip(material.names, material.means, material.judged, strict=True)
        )
    ]


def _differences(material: Material) -> dict[int, Difference]:
    """Of each other method to the baseline, by its place; adjusted for each other."""
    if material.baseline is None:
        return {}
    margin = material.question.declared.margin
    found = {
        place: one
        for place in range(len(material.methods))
        if place != material.baseline
        and (one := difference(material.evidence, place, material.baseline, margin))
    }
    return dict(zip(found, adjusted(list(found.values())), strict=True))


def _lines(material: Material, differences: dict[int, Difference]) -> list[Line]:
    return [
        Line(place, material.names[place], one.value, one.ends.low, one.ends.high)
        for place, one in differences.items()
    ]


def _caption(material: Material, compared: bool) -> str:
    metric = material.question.metric
    rounds = len(material.evidence.rounds)
    text = (
        f"Means over {rounds} round{'s' * (rounds != 1)}; lines are 95 % intervals from resampled groups of "
        "test images and from what rounds differ by beyond that."
    )
    if not metric.higher_is_better:
        text += " Lower is better."
    if compared:
        declared = "declared" if material.question.is_primary else "not declared, so exploratory"
        return (
            f"{text} Below, paired differences to the baseline ({declared}), right of 0 where a row is "
            "better; these intervals are not adjusted for the number of rows, p values are (Holm)."
        )
    return f"{text} No baseline was declared among these rows, so no differences are shown (--baseline)."


def _alt(material: Material) -> str:
    means, names = material.means, material.names
    known = [mean for mean in means if isfinite(mean)]
    if not known:
        return f"No method has a defined {material.question.metric.title}."
    best = material.best
    ends = material.judged[best]
    within = "" if ends.low is None else f", interval {ends.low:.3f} to {ends.high:.3f}"
    return (
        f"{material.question.metric.title} of {len(names)} methods, {min(known):.3f} to {max(known):.3f}; "
        f"the best mean has {names[best]} ({means[best]:.3f}{within})."
    )


def _data(material: Material, differences: dict[int, Difference]) -> Data:
    heads = ["Method", material.question.metric.title, "95 % interval"]
    if differences:
        heads += [f"Better than {material.names[material.baseline or 0]} by", "95 % interval", "p (Holm)"]
    rows = []
    for line in _scores(material):
        row = [line.name, _number(line.value), _ends(line.low, line.high)]
        if differences:
            one = differences.get(line.place)
            row += (
                [f"{one.value:+.4f}", _ends(one.ends.low, one.ends.high, "+"), p_text(one.adjusted)]
                if one
                else ["", "", ""]
            )
        rows.append(row)
    return Data(heads, rows)


def _number(value: float) -> str:
    return f"{value:.4f}" if isfinite(value) else "not defined"


def _ends(low: float, high: float, sign: str = "") -> str:
    return f"{low:{sign}.4f} to {high:{sign}.4f}" if isfinite(low) else "none"


# --- drawing -----------------------------------------------------------------------------------------


def _draw(plots: Sequence[Panel], width: float) -> Figure:
    heights = [0.21 * len(panel.lines) + 0.1 for panel in plots]
    names = [short(line.name) for panel in plots for line in panel.lines]
    figure, axes, _ = panels(width, heights, left=text_width(names) + 0.1, right=0.15, below=0.28)
    for one, panel in zip(axes, plots, strict=True):
        draw_panel(one, panel)
    return figure


def draw_panel(axes: Axes, panel: Panel, *, named: bool = True) -> None:
    """One panel; without names where the one beside it has them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(panel.title)
    axes.set_ylim(len(panel.lines) - 0.4, -0.6)
    axes.set_yticks(range(len(panel.lines)), [short(line.name) for line in panel.lines] if named else [])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
    axes.grid(axis="x", color="#808080", alpha=0.25, linewidth=0.6)
    if panel.zero is not None:
        guide(axes, x=panel.zero)
    for row, line in enumerate(panel.lines):
        _draw_line(axes, row, line, look(line.place))
        if named:
            mark(axes.yaxis.get_major_ticks()[row].label1, line.place, line.name)


def _draw_line(axes: Axes, row: int, line: Line, how: Look) -> None:
    if isfinite(line.low):
        drawn = axes.plot([line.low, line.high], [row, row], color=how.colour, linewidth=1.6)
        mark(drawn[0], line.place, f"{line.name}: {line.low:.4f} to {line.high:.4f}")
    if isfinite(line.value):
        drawn = axes.plot([line.value], [row], color=how.colour, marker=how.marker, linestyle="none")
        mark(drawn[0], line.place, f"{line.name}: {line.value:.4f}")
