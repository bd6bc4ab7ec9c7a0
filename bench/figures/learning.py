"""Learning curves of every unit: losses of pretraining and fine-tuning, and validation accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.comparison.rows import row_id
from bench.figures.canvas import label_panels, mark, panels, short
from bench.figures.drawing import Drawing
from bench.figures.material import Material, NothingToDraw
from bench.figures.palette import look
from bench.study.spec import EnsembleSpec, RunSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from bench.results.record import Record

PRETRAINING, FINETUNING, VALIDATION = "learning-pretraining", "learning-finetuning", "learning-validation"
MOST = 120
"""Points of a curve; of more epochs, equal stretches are averaged."""


class Curve(NamedTuple):
    """One unit: its round, and a value after each of these epochs."""

    round: int
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


Curves = Mapping[str, Sequence[Curve]]
"""By method, its units."""


def pretraining_losses(material: Material) -> list[Drawing]:
    """Raises NothingToDraw where nothing was pretrained, or no record is there."""
    return [
        _drawing(material, PRETRAINING, "Pretraining loss", _pretrainings(material), lambda r: _losses(r))
    ]


def finetuning_losses(material: Material) -> list[Drawing]:
    """Raises NothingToDraw where no record has losses."""
    return [_drawing(material, FINETUNING, "Fine-tuning loss", _finetunings(material), lambda r: _losses(r))]


def validation_accuracy(material: Material) -> list[Drawing]:
    """Raises NothingToDraw where weights were not chosen by it."""
    return [
        _drawing(material, VALIDATION, "Validation accuracy", _finetunings(material), lambda r: _validated(r))
    ]


_NEEDED = {
    PRETRAINING: "a study with a strategy that pretrains has this figure",
    FINETUNING: "the records of its runs are gone or of ensembles alone",
    VALIDATION: "a study with --set protocol.finetune.selection=best validates after every epoch",
}


def _drawing(
    material: Material,
    name: str,
    title: str,
    units: Mapping[str, Sequence[Record]],
    values: Callable[[Record], Sequence[float | None]],
) -> Drawing:
    found = {method: [_curve(r.spec.round, values(r)) for r in own] for method, own in units.items()}
    curves = {method: [c for c in own if len(c.values)] for method, own in found.items()}
    curves = {method: own for method, own in curves.items() if own}
    if not curves:
        raise NothingToDraw(f"{material.table.where}: no {title.lower()} is stored; {_NEEDED[name]}")
    longest = max(float(c.epochs[-1]) for own in curves.values() for c in own)
    text = f"One line a round, one panel a method, with the same scales.{_scale(curves)}"
    if longest > MOST:
        text += f" Each point is a mean of about {longest / MOST:.0f} epochs."
    if name == PRETRAINING:
        text += " Losses of different strategies are of different tasks: only their course can be compared."
    count = sum(map(len, curves.values()))
    return Drawing(
        name=name,
        title=title,
        where=material.table.where,
        caption=text,
        alt=f"{title} of {count} units over up to {longest:.0f} epochs. {_ends(curves)}",
        draw=lambda width: _draw(curves, title, width),
    )


def _scale(curves: Curves) -> str:
    return " The scale is logarithmic." if _is_logarithmic(curves) else ""


def _is_logarithmic(curves: Curves) -> bool:
    """Where losses of several orders of magnitude would hide each other."""
    values = np.concatenate([c.values for own in curves.values() for c in own])
    values = values[np.isfinite(values)]
    return bool(len(values)) and bool(values.min() > 0) and bool(values.max() / values.min() > 20)


def _ends(curves: Curves) -> str:
    means = {m: float(np.mean([c.values[-1] for c in own])) for m, own in curves.items()}
    return "At the end, as a mean over rounds: " + ", ".join(f"{m} {v:.3g}" for m, v in means.items()) + "."


def _finetunings(material: Material) -> dict[str, list[Record]]:
    """By what drawings call the methods; ensembles are not trained."""
    return {
        name: [unit.record for unit in method.done.values()]
        for name, method in zip(material.names, material.methods, strict=True)
        if not method.is_ensemble
    }


def _pretrainings(material: Material) -> dict[str, list[Record]]:
    """Those that rows, or members of ensembles, start from."""
    names = {
        row_id(method.units[0].spec): name
        for name, method in zip(material.names, material.methods, strict=True)
    }
    found: dict[str, dict[str, Record]] = {}
    for method in material.methods:
        for unit in method.done.values():
            spec = unit.spec
            runs = spec.members if isinstance(spec, EnsembleSpec) else (spec,)
            for run in runs:
                if isinstance(run, RunSpec) and run.start and (record := material.by_key.get(run.start.key)):
                    name = names.get(row_id(run), f"{run.model.name} {run.strategy.name}")
                    found.setdefault(name, {})[record.key] = record
    return {name: sorted(records.values(), key=lambda r: r.spec.round) for name, records in found.items()}


def _losses(record: Record) -> Sequence[float | None]:
    return record.history.loss if record.history else ()


def _validated(record: Record) -> Sequence[float | None]:
    return record.history.validation_accuracy if record.history else ()


def _curve(round_: int, values: Sequence[float | None]) -> Curve:
    known = [(i + 1, v) for i, v in enumerate(values) if v is not None and isfinite(v)]
    pairs = np.array(known, dtype=np.float64).reshape(-1, 2)
    if len(pairs) > MOST:
        pairs = np.stack([part.mean(axis=0) for part in np.array_split(pairs, MOST)])
    return Curve(round_, pairs[:, 0], pairs[:, 1])


def _draw(curves: Curves, title: str, width: float) -> Figure:
    figure, axes, columns = panels(width, [1.15] * len(curves), least=2.4)
    logarithmic = _is_logarithmic(curves)
    ends = _limits(curves, logarithmic)
    for one, (method, own) in zip(axes, curves.items(), strict=True):
        one.set_title(short(method, 24))
        if logarithmic:
            one.set_yscale("log")
            _plain(one.yaxis)
        for curve in own:
            how = look(curve.round)
            marker = "." if len(curve.values) == 1 else None
            [line] = one.plot(
                curve.epochs, curve.values, color=how.colour, linestyle=how.dashes, linewidth=1, marker=marker
            )
            mark(line, curve.round, f"{method}, round {curve.round}")
        one.set_xlim(*ends[0])
        one.set_ylim(*ends[1])
    label_panels(axes, columns, "Epoch", title.split()[-1].capitalize())
    return figure


def _limits(curves: Curves, logarithmic: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of both axes, the same for all panels."""
    every = [curve for own in curves.values() for curve in own]
    last = max(float(curve.epochs[-1]) for curve in every)
    low, high = (float(f([f(curve.values) for curve in every])) for f in (np.min, np.max))
    if logarithmic:
        return (0.0, last * 1.03), (low / 1.15, high * 1.15)
    space = 0.06 * (high - low) or 0.05
    return (0.0, last * 1.03), (low - space, high + space)


def _plain(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
