"""The metric by an amount that a study varies: labels, or epochs; and the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

from bench.comparison.budgets import Budgeted, Family, Place, budget_families, units_of
from bench.comparison.comparable import group_key
from bench.comparison.families import families
from bench.comparison.labels import labelled_images, percent
from bench.comparison.rows import labels, row_id
from bench.figures.canvas import Legend, mark, panels
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw, short_labels
from bench.figures.palette import look
from bench.study.protocol import Budget
from bench.study.spec import share_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES, EPOCHS, ABLATION = "shares", "epochs", "ablation"


class Point(NamedTuple):
    """A mean with the ends of its interval, None where there is none, at a place along the axis."""

    x: int
    mean: float
    low: float | None
    high: float | None


class Lines(NamedTuple):
    """What is drawn: names along the axis, and the points of each series."""

    ticks: Sequence[str]
    axis: str
    series: Mapping[str, Sequence[Point]]
    metric: str


# --- label shares ------------------------------------------------------------------------------------


def by_share(materials: Sequence[Material]) -> list[Drawing]:
    """One drawing for tables that differ in the share of labels alone. Raises NothingToDraw where none do."""
    curves = families(
        materials,
        lambda one: units_of(one.table),
        lambda unit: group_key(unit, with_share=False),
        _share,
    )
    made = [_share_drawing(curve) for curve in curves if len(curve) > 1]
    if not made:
        raise NothingToDraw(
            "no tables differ in the share of labels alone; `bench run --shares 0.1,0.3,1` makes such a study"
        )
    return made


def _share(material: Material) -> float:
    return share_of(units_of(material.table)[0].spec)


def _share_drawing(curve: Sequence[Material]) -> Drawing:
    first = curve[0]
    metric = first.question.metric
    called = labels(method.units[0].spec for material in curve for method in material.methods)
    names = dict(zip(called, short_labels(list(called.values())), strict=True))
    series: dict[str, list[Point]] = {}
    for x, material in enumerate(curve):
        for place, method in enumerate(material.methods):
            name = names[row_id(method.units[0].spec)]
            series.setdefault(name, []).append(_point(x, material, place))
    ticks = [_share_text(material) for material in curve]
    lines = Lines(ticks, "Labels seen by fine-tuning", series, metric.title)
    where = units_of(first.table)[0].title or first.table.where
    return Drawing(
        name=SHARES,
        title=f"{metric.title} by share of labels",
        where=where,
        caption="Means with 95 % intervals, by the share of the training images whose labels fine-tuning saw "
        "(in parentheses their number); pretraining saw all images. Shares stand at equal distances.",
        alt=_alt(lines),
        draw=lambda width: _draw(lines, width),
        data=_data(lines, "Method"),
    )


def _share_text(material: Material) -> str:
    count = labelled_images(units_of(material.table))
    return percent(_share(material)) + (f"\n({count:.4g})" if count is not None else "")


# --- epochs ------------------------------------------------------------------------------------------


def by_epochs(materials: Sequence[Material]) -> list[Drawing]:
    """One drawing a data set with several budgets. Raises NothingToDraw where none has."""
    found = budget_families([material.table for material in materials])
    made = [_epochs_drawing(materials, family) for family in found]
    if not made:
        raise NothingToDraw(_NO_BUDGETS)
    return made


_NO_BUDGETS = (
    "no rows differ in their epochs alone; a study file with several [[budgets]] makes such a study "
    "(studies/ablation.toml)"
)


def _epochs_drawing(materials: Sequence[Material], family: Family) -> Drawing:
    metric = materials[0].question.metric
    names = short_labels([one.label for one in family.methods])
    series = {name: _points(materials, family, one) for name, one in zip(names, family.methods, strict=True)}
    lines = Lines([b.name for b in family.budgets], _axis(family.budgets), series, metric.title)
    return Drawing(
        name=EPOCHS,
        title=f"{metric.title} by epochs",
        where=family.where,
        caption="Means with 95 % intervals, by epochs of pretraining / fine-tuning. A row without a "
        "pretraining stands at every budget with its epochs of fine-tuning.",
        alt=_alt(lines),
        draw=lambda width: _draw(lines, width),
        data=_data(lines, "Method"),
    )


def ablation(materials: Sequence[Material]) -> list[Drawing]:
    """The paper's Figure 2: one method over budgets, a line for each data set. The method is the ensemble
    with the most budgets, else the row with the most; others are chosen by leaving rows away. Raises
    NothingToDraw where no method has several budgets."""
    found = budget_families([m.table for m in materials])
    budgets: dict[str, int] = {}
    methods: dict[str, Budgeted] = {}
    for family in found:
        for one in family.methods:
            methods.setdefault(one.identity, one)
            budgets[one.identity] = budgets.get(one.identity, 0) + len(one.rows)
    candidates = [i for i, one in methods.items() if one.pretrains and budgets[i] > 1]
    if not candidates:
        raise NothingToDraw(_NO_BUDGETS)
    chosen = max(candidates, key=lambda i: (methods[i].is_ensemble, budgets[i]))
    [name] = short_labels([methods[chosen].label])
    every = sorted({budget for family in found for budget in family.budgets})
    series = {
        family.where: points
        for family in found
        for one in family.methods
        if one.identity == chosen and (points := _points(materials, family._replace(budgets=every), one))
    }
    metric = materials[0].question.metric
    lines = Lines([b.name for b in every], _axis(every), series, metric.title)
    return [
        Drawing(
            name=ABLATION,
            title=f"{metric.title} of {name} by epochs",
            where=", ".join(series),
            caption=f"Means of {name} with 95 % intervals, by epochs of pretraining / fine-tuning, one line "
            "a data set: the ablation of Florindo and Moura (2026), Figure 2.",
            alt=_alt(lines),
            draw=lambda width: _draw(lines, width),
            data=_data(lines, "Data set"),
        )
    ]


def _axis(budgets: Sequence[Budget]) -> str:
    if any(budget.pretrain for budget in budgets):
        return "Epochs of pretraining / fine-tuning"
    return "Epochs of pretraining (none) / fine-tuning"


def _points(materials: Sequence[Material], family: Family, one: Budgeted) -> list[Point]:
    at: list[tuple[int, Place | None]] = [(x, one.at(budget)) for x, budget in enumerate(family.budgets)]
    return [_point(x, materials[place.table], place.row) for x, place in at if place]


def _point(x: int, material: Material, place: int) -> Point:
    judged = material.judged[place]
    return Point(x, material.means[place], judged.low, judged.high)


# --- what both have ----------------------------------------------------------------------------------


def _alt(lines: Lines) -> str:
    told = []
    for name, points in lines.series.items():
        known = [p for p in points if isfinite(p.mean)]
        if known:
            first, last = known[0], known[-1]
            told.append(
                f"{name} {first.mean:.3f} at {_flat(lines.ticks[first.x])}, {last.mean:.3f} at "
                f"{_flat(lines.ticks[last.x])}"
            )
    return f"{lines.metric}: {'; '.join(told)}."


def _flat(tick: str) -> str:
    return tick.replace("\n", " ")


def _data(lines: Lines, head: str) -> Data:
    rows = []
    for name, points in lines.series.items():
        by_place = {point.x: point for point in points}
        rows.append([name, *(_text(by_place.get(x)) for x in range(len(lines.ticks)))])
    return Data([head, *map(_flat, lines.ticks)], rows)


def _text(point: Point | None) -> str:
    if point is None or not isfinite(point.mean):
        return ""
    ends = "" if point.low is None else f" [{point.low:.4f}, {point.high:.4f}]"
    return f"{point.mean:.4f}{ends}"


def _draw(lines: Lines, width: float) -> Figure:
    count = len(lines.series)
    lined = max(tick.count("\n") for tick in lines.ticks)
    figure, [axes], _ = panels(
        width,
        [2.5],
        title=0.0,
        below=0.45 + 0.16 * lined,
        legend=Legend(names=list(lines.series), markers=True),
    )
    for place, (name, points) in enumerate(lines.series.items()):
        how = look(place)
        shift = 0.36 * ((place + 0.5) / count - 0.5) if count > 1 else 0.0
        known = [point for point in points if isfinite(point.mean)]
        for point in known:
            if point.low is not None and point.high is not None:
                ends = [point.low, point.high]
                [bar] = axes.plot([point.x + shift] * 2, ends, color=how.colour, linewidth=0.9, alpha=0.7)
                mark(bar, place, f"{name}: {_text(point)}")
        [line] = axes.plot(
            [point.x + shift for point in known],
            [point.mean for point in known],
            color=how.colour,
            linestyle=how.dashes,
            marker=how.marker,
        )
        mark(line, place, name)
    axes.set_xticks(range(len(lines.ticks)), lines.ticks)
    axes.set_xlim(-0.4, len(lines.ticks) - 0.6)
    axes.set_xlabel(lines.axis)
    axes.set_ylabel(lines.metric)
    axes.grid(axis="y", color="#808080", alpha=0.2, linewidth=0.6)
    return figure
