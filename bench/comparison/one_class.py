"""One class against the rest: a threshold that validation images choose, and what is measured there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UnknownName
from bench.evidence.areas import average_precision, roc_area
from bench.interfaces.image_weights import ImageWeights
from bench.interfaces.metric import Metric
from bench.interfaces.predictions import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Area = Callable[[NDArray[np.bool_], Floats, ImageWeights], Floats]

REST = "rest"


def youden_threshold(positive: NDArray[np.bool_], scores: Floats) -> float:
    """The score from which on an image counts as positive with the largest sensitivity + specificity - 1
    (Youden 1950) on these N images, `positive` or not, with scores (N,); the smallest of equally good ones.

    Only scores that occur are tried. nan where all images are positive, or none is.
    """
    images, positives = len(positive), int(positive.sum())
    if not 0 < positives < images:
        return math.nan
    thresholds, place = np.unique(scores, return_inverse=True)
    chosen = np.bincount(place)[::-1].cumsum()[::-1]
    found = np.bincount(place[positive], minlength=len(thresholds))[::-1].cumsum()[::-1]
    # (sensitivity + specificity - 1) * positives * negatives, in whole numbers, so that ties are ties
    gain = found * (images - positives) - (chosen - found) * positives
    return float(thresholds[gain.argmax()])


def thresholds_of(validation: Predictions) -> Floats:
    """(K,) of each of K classes against the rest."""
    columns = validation.probabilities.T
    return np.array([youden_threshold(validation.labels == c, p) for c, p in enumerate(columns)])


def against_rest(predictions: Predictions, class_: int) -> Predictions:
    """The same images with two classes: the rest, and one class, with its probability."""
    p = predictions.probabilities[:, class_]
    return Predictions(
        classes=(REST, predictions.classes[class_]),
        ids=predictions.ids,
        groups=predictions.groups,
        labels=(predictions.labels == class_).astype(np.int64),
        probabilities=np.stack([1 - p, p], axis=1),
    )


def decided(predictions: Predictions, class_: int, threshold: float) -> Predictions:
    """The same with probabilities 0 and 1: an image counts as the class if its probability is not below the
    threshold."""
    two = against_rest(predictions, class_)
    chosen = (two.probabilities[:, 1] >= threshold).astype(np.int64)
    return replace(two, probabilities=np.eye(2)[chosen])


# --- what is measured, of predictions as `decided` and `against_rest` give them ---------------------------


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _sensitivity(counts: Floats) -> Floats:
    return _share(counts[..., 1, 1], counts[..., 1, :].sum(-1))


def _specificity(counts: Floats) -> Floats:
    return _share(counts[..., 0, 0], counts[..., 0, :].sum(-1))


def _ppv(counts: Floats) -> Floats:
    return _share(counts[..., 1, 1], counts[..., :, 1].sum(-1))


def _npv(counts: Floats) -> Floats:
    return _share(counts[..., 0, 0], counts[..., :, 0].sum(-1))


def _at_threshold(name: str, title: str, about: str, of_counts: Callable[[Floats], Floats]) -> Metric:
    def score(predictions: Predictions) -> float:
        counts = np.zeros((2, 2))
        np.add.at(counts, (predictions.labels, predictions.probabilities.argmax(axis=1)), 1)
        return float(of_counts(counts))

    return Metric(name=name, title=title, about=about, score=score, of_counts=of_counts, bounds=(0, 1))


def _under_curve(name: str, title: str, about: str, area: Area) -> Metric:
    def of_weights(predictions: Predictions, weights: ImageWeights) -> Floats:
        return area(predictions.labels == 1, predictions.probabilities[:, 1], weights)

    def score(predictions: Predictions) -> float:
        return float(of_weights(predictions, ImageWeights.equal(len(predictions.ids)))[0])

    return Metric(name=name, title=title, about=about, score=score, of_weights=of_weights, bounds=(0, 1))


AT_THRESHOLD = (
    _at_threshold("sensitivity", "Sensitivity", "share of the class's images that are found", _sensitivity),
    _at_threshold("specificity", "Specificity", "share of the others that are left alone", _specificity),
    _at_threshold("ppv", "PPV", "share of the images found that are of the class", _ppv),
    _at_threshold("npv", "NPV", "share of the images left alone that are of no such class", _npv),
)
UNDER_CURVES = (
    _under_curve("auc", "AUC", "area under the ROC curve of the class against the rest", roc_area),
    _under_curve("auprc", "AUPRC", "average precision of the class against the rest", average_precision),
)
MEASURES = (*AT_THRESHOLD, *UNDER_CURVES)


def choose_measures(names: Sequence[str]) -> list[Metric]:
    """The measures called `names`, once each; without names, all. Raises UnknownName."""
    known = {measure.name: measure for measure in MEASURES}
    for name in names:
        if name not in known:
            hint = f"(tables per class have {', '.join(known)})"
            raise UnknownName("column", name, known, hint)
    return [known[name] for name in dict.fromkeys(names)] if names else list(MEASURES)
