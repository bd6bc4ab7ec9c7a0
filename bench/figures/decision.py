"""Decision curves: what it is worth to act on the predictions, by how sure one wants to be."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.evidence.curves import net_benefits, treat_all
from bench.figures.canvas import Legend, guide, label_panels, panels, short
from bench.figures.class_curves import (
    Plane,
    compute,
    draw_axes,
    left_out,
    shown_classes,
)
from bench.figures.drawing import Drawing
from bench.figures.material import Material
from bench.figures.palette import FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAME = "decision"
AT = np.linspace(0.01, 0.99, 99)


def decision(material: Material) -> list[Drawing]:
    """One panel a class."""
    drawn = compute(net_benefits, material, AT, banded=False)
    labels = np.concatenate([one.labels for one in material.sample.images.values()])
    shares = np.bincount(labels, minlength=len(material.classes)) / len(labels)
    classes = {k: material.classes[k] for k in shown_classes(material)}

    def strategies(axes: Axes, k: int | None) -> None:
        guide(axes, y=0.0)
        axes.plot(AT, treat_all(float(shares[k or 0]), AT), color=FAINT, linewidth=1.1)

    plane = Plane(at=AT, x="Threshold probability", y="Net benefit", square=False, prepare=strategies)

    def draw(width: float) -> Figure:
        figure, axes, columns = panels(
            width, [1.45] * len(classes), least=2.4, between=0.3, legend=Legend(names=material.names)
        )
        for one, (k, name) in zip(axes, classes.items(), strict=True):
            one.set_title(short(name, 24))
            top = max(0.02, float(shares[k]))
            own = replace(plane, xlim=(0.0, 1.0), ylim=(-0.15 * top, 1.08 * top))
            one.set_xticks([0, 0.5, 1])
            draw_axes(one, material.names, [bands[k] for bands in drawn.by_class], own, k)
        label_panels(axes, columns, plane.x, plane.y)
        return figure

    half = int(np.argmin(np.abs(AT - 0.5)))
    best = max(classes, key=lambda k: shares[k])
    at_half = [bands[best].mean[half] for bands in drawn.by_class]
    return [
        Drawing(
            name=NAME,
            title="Decision curves",
            where=material.table.where,
            caption="Net benefit on test images of acting on everyone whose probability of the class is at "
            "least the threshold, mean over rounds (Vickers and Elkin 2006): true positives per image, less "
            "false positives times the odds of the threshold. The grey line acts on everyone, the dashed one "
            f"on nobody; a curve below either is of no use there.{left_out(material)}",
            alt=f"One panel for each of {len(classes)} classes. At a threshold of one half, the net benefit "
            f"for {classes[best]} is {min(at_half):.3f} to {max(at_half):.3f} over {len(material.names)} "
            f"methods, where acting on everyone has {float(treat_all(float(shares[best]), AT)[half]):.3f}.",
            draw=draw,
        )
    ]
