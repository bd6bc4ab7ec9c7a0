"""ROC and precision-recall curves: the mean over classes, and each class against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.comparison.bands import Curves, defined_mean
from bench.evidence.areas import average_precision, roc_area
from bench.evidence.curves import precision_recall_curves, roc_curves
from bench.figures.canvas import guide, short
from bench.figures.class_curves import (
    Drawn,
    Plane,
    bands_text,
    compute,
    draw_classes,
    draw_one,
    left_out,
    shown_classes,
    untested,
)
from bench.figures.drawing import Data, Drawing
from bench.figures.material import Material, NothingToDraw
from bench.figures.palette import FAINT
from bench.interfaces.image_weights import ImageWeights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROC, ROC_CLASSES = "roc", "roc-classes"
PR, PR_CLASSES = "precision-recall", "precision-recall-classes"
AT = np.linspace(0, 1, 201)


def roc(material: Material) -> list[Drawing]:
    """The mean over classes; of two classes, the second one."""
    return [_overall(material, ROC, roc_curves, _roc_plane(), "ROC curves", "area", roc_area)]


def roc_classes(material: Material) -> list[Drawing]:
    """One panel a class. Raises NothingToDraw for two classes."""
    if len(material.classes) == 2:
        raise NothingToDraw(
            f"{material.table.where} has two classes, whose ROC curves are mirror images; draw `{ROC}`"
        )
    return [
        _by_class(material, ROC_CLASSES, roc_curves, _roc_plane(), "ROC curves by class", "area", roc_area)
    ]


def precision_recall(material: Material) -> list[Drawing]:
    """The mean over classes; of two classes, the second one."""
    title, area = "Precision-recall curves", "average precision"
    return [
        _overall(material, PR, precision_recall_curves, _pr_plane(material), title, area, average_precision)
    ]


def precision_recall_classes(material: Material) -> list[Drawing]:
    """One panel a class."""
    title, area = "Precision-recall curves by class", "average precision"
    return [
        _by_class(
            material, PR_CLASSES, precision_recall_curves, _pr_plane(material), title, area, average_precision
        )
    ]


def _overall(
    material: Material, name: str, curves: Curves, plane: Plane, title: str, area: str, area_of: Any
) -> Drawing:
    drawn = material.curves(name.removesuffix("-classes"), lambda: compute(curves, material, plane.at))
    two = len(material.classes) == 2
    bands = [each[1] for each in drawn.by_class] if two else drawn.macro
    areas = _areas(material, area_of)
    values = areas[:, 1] if two else defined_mean(areas.T)
    what = (
        f"{short(material.classes[1])} against {short(material.classes[0])}"
        if two
        else f"the unweighted mean of {np.isfinite(areas).any(axis=0).sum()} curves, each of one class "
        "against the rest"
    )
    return Drawing(
        name=name,
        title=title,
        where=material.table.where,
        caption=f"Test images, {what}, then the mean over {_rounds(material)}. {bands_text(material)}"
        f"{untested(material)}",
        alt=_alt(material, values, area),
        draw=lambda width: draw_one(material.names, bands, plane, 1 if two else None, width),
        data=Data(
            ["Method", area.capitalize()],
            [[n, f"{v:.4f}"] for n, v in zip(material.names, values, strict=True)],
        ),
    )


def _by_class(
    material: Material, name: str, curves: Curves, plane: Plane, title: str, area: str, area_of: Any
) -> Drawing:
    drawn: Drawn = material.curves(name.removesuffix("-classes"), lambda: compute(curves, material, plane.at))
    classes = {k: material.classes[k] for k in shown_classes(material)}
    areas = _areas(material, area_of)
    return Drawing(
        name=name,
        title=title,
        where=material.table.where,
        caption=f"Test images, each class against the rest, mean over {_rounds(material)}. "
        f"{bands_text(material)}{left_out(material)}",
        alt=_alt(material, defined_mean(areas.T), f"mean {area}"),
        draw=lambda width: draw_classes(material.names, classes, drawn, plane, width),
        data=Data(
            [f"{area.capitalize()} by method", *classes.values()],
            [
                [name, *(f"{row[k]:.4f}" for k in classes)]
                for name, row in zip(material.names, areas, strict=True)
            ],
        ),
    )


def _areas(material: Material, area_of: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(k, K) means over rounds; nan of a class without test images. Raises NothingToDraw where no class has a
    curve."""
    classes = range(len(material.classes))
    scored = [
        [[_area(one, k, area_of) for k in classes] for one in rounds.values()] for rounds in material.tested
    ]
    areas = np.array([defined_mean(np.array(rounds)) for rounds in scored])
    if not np.isfinite(areas).any():
        raise NothingToDraw(f"{material.table.where}: all test images are of one class, so there is no curve")
    return areas


def _area(one: Any, k: int, area_of: Any) -> float:
    return float(area_of(one.labels == k, one.probabilities[:, k], ImageWeights.equal(len(one.ids)))[0])


def _rounds(material: Material) -> str:
    count = len(material.sample.images)
    return f"{count} round{'s' * (count != 1)}"


def _alt(material: Material, values: Any, area: str) -> str:
    best = int(np.nanargmax(values))
    return (
        f"Curves of {len(material.names)} methods; the largest {area} has {material.names[best]} "
        f"({values[best]:.3f}), the smallest is {np.nanmin(values):.3f}."
    )


def _roc_plane() -> Plane:
    def diagonal(axes: Axes, k: int | None) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0.5)

    return Plane(at=AT, x="False positive rate", y="True positive rate", start=(0.0, 0.0), prepare=diagonal)


def _pr_plane(material: Material) -> Plane:
    labels = np.concatenate([one.labels for one in material.sample.images.values()])
    shares = np.bincount(labels, minlength=len(material.classes)) / len(labels)

    def prevalence(axes: Axes, k: int | None) -> None:
        guide(axes, y=float(shares.mean() if k is None else shares[k]))

    return Plane(at=AT, x="Recall", y="Precision", prepare=prevalence)
