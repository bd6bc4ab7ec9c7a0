"""What a score costs: the metric against operations, and against training time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.costs import cost_lines, costs_of, counted
from bench.figures.canvas import Legend, mark, panels
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw
from bench.figures.palette import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GMACS, SECONDS = "gmacs", "seconds"


class Point(NamedTuple):
    """One method: its place in the table, what it costs, its mean and the ends of its interval."""

    place: int
    cost: float
    mean: float
    low: float | None
    high: float | None


def by_operations(material: Material) -> list[Drawing]:
    """Raises NothingToDraw where all methods cost the same, or no record says."""
    costs = [
        counted(list(m.done.values()), material.by_key, lambda cost: cost.macs, 1e9) for m in material.methods
    ]
    caption = (
        "Operations are billions of multiply-adds (one each) of a forward pass of one image, counted by "
        "fvcore; an ensemble costs the sum of its members."
    )
    return [_drawing(material, GMACS, "operations", "GMACs", costs, caption)]


def by_training_time(material: Material) -> list[Drawing]:
    """Raises NothingToDraw where all methods cost the same, or no record says."""
    costs = [costs_of(m, material.by_key)["train_seconds"] for m in material.methods]
    caption = " ".join(cost_lines(material.methods, material.by_key)[:1])
    return [_drawing(material, SECONDS, "training time", "Training seconds", costs, caption)]


def _drawing(
    material: Material, name: str, what: str, axis: str, costs: Sequence[float | None], caption: str
) -> Drawing:
    metric = material.question.metric
    judged = material.judged
    points = [
        Point(i, cost, material.means[i], judged[i].low, judged[i].high)
        for i, cost in enumerate(costs)
        if cost is not None and cost > 0 and material.means[i] == material.means[i]
    ]
    if len({round(point.cost, 6) for point in points}) < 2:
        raise NothingToDraw(
            f"{material.table.where}: fewer than two rows differ in {what}; a study of several models "
            "(--baselines all) or with ensembles has this figure"
        )
    missing = [material.names[i] for i in range(len(costs)) if i not in {point.place for point in points}]
    text = (
        f"{metric.title} with 95 % intervals against {what}, which rises to the right on a logarithmic "
        f"scale; rows of the same cost stand side by side. {caption}"
    )
    text += f" Not recorded, so not shown: {', '.join(missing)}." if missing else ""
    cheapest, dearest = min(points, key=lambda p: p.cost), max(points, key=lambda p: p.cost)
    names = material.names
    return Drawing(
        name=name,
        title=f"{metric.title} against {what}",
        where=material.table.where,
        caption=text,
        alt=f"{axis} range from {cheapest.cost:.3g} ({names[cheapest.place]}, {cheapest.mean:.3f}) to "
        f"{dearest.cost:.3g} ({names[dearest.place]}, {dearest.mean:.3f}); the best mean has "
        f"{names[material.best]}.",
        draw=lambda width: _draw(names, points, metric.title, axis, width),
        data=Data(
            ["Method", axis, metric.title],
            [[names[p.place], f"{p.cost:.4g}", f"{p.mean:.4f}"] for p in points],
        ),
    )


# --- drawing -----------------------------------------------------------------------------------------


def _draw(names: Sequence[str], points: Sequence[Point], metric: str, axis: str, width: float) -> Figure:
    shown = [point.place for point in points]
    below = Legend(names=[names[i] for i in shown], places=shown, markers=True, lines=False)
    figure, [axes], _ = panels(width, [2.5], title=0.0, legend=below)
    axes.set_xscale("log")
    _plain_ticks(axes)
    spread = _side_by_side(points)
    for point in points:
        how, x = look(point.place), spread[point.place]
        if point.low is not None and point.high is not None:
            [bar] = axes.plot([x, x], [point.low, point.high], color=how.colour, linewidth=1.1)
            mark(bar, point.place, names[point.place])
        [dot] = axes.plot([x], [point.mean], color=how.colour, marker=how.marker, linestyle="none")
        mark(dot, point.place, f"{names[point.place]}: {point.cost:.4g}, {point.mean:.4f}")
    axes.set_xlabel(axis)
    axes.set_ylabel(metric)
    axes.margins(x=0.08)
    axes.grid(color="#808080", alpha=0.2, linewidth=0.6)
    return figure


def _side_by_side(points: Sequence[Point]) -> dict[int, float]:
    """Where each stands: those of costs that differ by less than two percent, a little apart."""
    alike: dict[int, list[Point]] = defaultdict(list)
    group, last = 0, 0.0
    for point in sorted(points, key=lambda p: p.cost):
        group += point.cost > 1.02 * last
        last = point.cost
        alike[group].append(point)
    ratio = max(p.cost for p in points) / min(p.cost for p in points)
    step = ratio ** (1 / 40)
    return {
        point.place: point.cost * step ** (i - (len(own) - 1) / 2)
        for own in alike.values()
        for i, point in enumerate(sorted(own, key=lambda p: p.place))
    }


def _plain_ticks(axes: Axes) -> None:
    """1, 2, 5, 10 as such, no powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
