"""Metrics of stored predictions: N images, K classes, the predicted class is the most probable one.

Each is written once, for images that count more or less, with which tables tell how uncertain it is, and
with numpy alone: a table of thousands of runs takes a tenth of the time that scikit-learn's checks of their
input need. scikit-learn's own are references. numpy is imported inside the functions, because `bench list`
imports this module.

When the test part lacks a class of the data set (or a class is never predicted), this is what counts:

- precision, recall, f1, f1_pr: the plain mean over the classes that have a test image or a prediction,
  0/0 counting as 0. So a class without test images costs nothing unless it is predicted, and then counts
  0. It is scikit-learn's macro average with zero_division=0.
- balanced_accuracy, auc, auprc: the plain mean over the classes that have test images.
- accuracy, mcc, brier, ece, log_loss: defined per image; nothing changes.

`bench table` says under the table which classes were missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import ImageWeights, Metric, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.float64]
    Values = NDArray[np.float64]
    Area = Callable[[NDArray[np.bool_], NDArray[np.float64], ImageWeights], Values]

BINS = 15


def _predicted(predictions: Predictions) -> NDArray[np.int64]:
    """(N,) most probable class; the first of equals."""
    predicted: NDArray[np.int64] = predictions.probabilities.argmax(axis=1)
    return predicted


def _confusion(predictions: Predictions) -> Counts:
    """(K, K) how many images of each class, by row, are predicted as which, by column."""
    import numpy as np

    classes = len(predictions.classes)
    cells = predictions.labels * classes + _predicted(predictions)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.float64)


# --- of counts: (..., K, K) weighted images of each class, by row, predicted as which, by column ------


def _ratio(part: Values, whole: Values) -> Values:
    """nan where there is no whole: where resampling leaves a round without images."""
    import numpy as np

    ratio: Values = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def _macro(right: Counts, of: Counts, counted: NDArray[np.bool_]) -> Values:
    """Plain mean of right / of over the classes that are counted, the last axis; 0/0 is 0."""
    import numpy as np

    shares = np.divide(right, of, out=np.zeros_like(of), where=of > 0)
    return _ratio(np.where(counted, shares, 0).sum(-1), counted.sum(-1))


def _sums(counts: Counts) -> tuple[Counts, Counts, Counts]:
    """(..., K) of each class: images predicted right, images, and predictions."""
    return counts.diagonal(axis1=-2, axis2=-1), counts.sum(-1), counts.sum(-2)


def _accuracy(counts: Counts) -> Values:
    right, images, _ = _sums(counts)
    return _ratio(right.sum(-1), images.sum(-1))


def _balanced_accuracy(counts: Counts) -> Values:
    right, images, _ = _sums(counts)
    return _macro(right, images, images > 0)


def _precision(counts: Counts) -> Values:
    right, images, predicted = _sums(counts)
    return _macro(right, predicted, images + predicted > 0)


def _recall(counts: Counts) -> Values:
    right, images, predicted = _sums(counts)
    return _macro(right, images, images + predicted > 0)


def _f1(counts: Counts) -> Values:
    right, images, predicted = _sums(counts)
    return _macro(2 * right, images + predicted, images + predicted > 0)


def _f1_pr(counts: Counts) -> Values:
    import numpy as np

    p, r = _precision(counts), _recall(counts)
    values: Values = np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0)
    return values


def _mcc(counts: Counts) -> Values:
    """Gorodkin 2004, as scikit-learn has it."""
    import numpy as np

    right, images, predicted = _sums(counts)
    total = images.sum(-1)
    both = right.sum(-1) * total - (images * predicted).sum(-1)
    scale = np.sqrt((total**2 - (images**2).sum(-1)) * (total**2 - (predicted**2).sum(-1)))
    values: Values = np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)
    return values


# --- of weights of the images -------------------------------------------------------------------------


def _mean_of(values: NDArray[np.float64], weights: ImageWeights) -> Values:
    return _ratio(weights.sums(values), weights.totals)


def _macro_area(area: Area, predictions: Predictions, weights: ImageWeights) -> Values:
    """Mean over the classes whose area is defined in a row: it weighs something there, and so does what it
    is told from; nan in rows without such a class."""
    import numpy as np

    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    for c in np.unique(predictions.labels):
        value = area(predictions.labels == c, predictions.probabilities[:, c], weights)
        defined = np.isfinite(value)
        total += np.where(defined, value, 0)
        classes += defined
    return np.divide(total, classes, out=np.full_like(total, np.nan), where=classes > 0)


def _auc(predictions: Predictions, weights: ImageWeights) -> Values:
    from bench import roc_area

    return _macro_area(roc_area, predictions, weights)


def _auprc(predictions: Predictions, weights: ImageWeights) -> Values:
    from bench import average_precision

    return _macro_area(average_precision, predictions, weights)


def _brier(predictions: Predictions, weights: ImageWeights) -> Values:
    import numpy as np

    p = predictions.probabilities
    truth = np.eye(p.shape[1])[predictions.labels]
    return _mean_of(((p - truth) ** 2).sum(axis=1), weights)


def _ece(predictions: Predictions, weights: ImageWeights) -> Values:
    import numpy as np

    top = predictions.probabilities.max(axis=1)
    right = _predicted(predictions) == predictions.labels
    bins = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = weights.sums((right - top)[:, None] * np.eye(BINS)[bins])
    return _ratio(np.abs(gaps).sum(-1), weights.totals)


def _log_loss(predictions: Predictions, weights: ImageWeights) -> Values:
    import numpy as np

    p = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    true = p[np.arange(len(p)), predictions.labels]
    least = np.finfo(np.float64).eps
    return _mean_of(-np.log(np.clip(true, least, 1 - least)), weights)


# --- of predictions ----------------------------------------------------------------------------------


def accuracy(predictions: Predictions) -> float:
    """Share of images whose predicted class is right."""
    return float(_accuracy(_confusion(predictions)))


def balanced_accuracy(predictions: Predictions) -> float:
    """Mean recall of the classes with test images."""
    return float(_balanced_accuracy(_confusion(predictions)))


def precision(predictions: Predictions) -> float:
    """Macro precision."""
    return float(_precision(_confusion(predictions)))


def recall(predictions: Predictions) -> float:
    """Macro recall."""
    return float(_recall(_confusion(predictions)))


def f1(predictions: Predictions) -> float:
    """Macro F1: the mean of the classes' F1."""
    return float(_f1(_confusion(predictions)))


def f1_pr(predictions: Predictions) -> float:
    """Harmonic mean of macro precision and macro recall; never below the macro F1 (Opitz and Burst 2019)."""
    return float(_f1_pr(_confusion(predictions)))


def auc(predictions: Predictions) -> float:
    """Mean one-vs-rest area under the ROC curve of the classes that have both positive and negative images.

    nan if no class has both, that is if all test images are of one class. The area is the share of pairs of
    a positive and a negative image in which the positive one has the higher probability, ties counting half
    (Mann and Whitney 1947).
    """
    return float(_auc(predictions, ImageWeights.equal(len(predictions.ids)))[0])


def auprc(predictions: Predictions) -> float:
    """Mean one-vs-rest average precision of the classes with test images.

    Average precision is the area under the precision-recall curve as steps, without interpolation, as in
    scikit-learn. Guessing reaches a class's share of the images, so that the mean depends on how common the
    classes are.
    """
    return float(_auprc(predictions, ImageWeights.equal(len(predictions.ids)))[0])


def mcc(predictions: Predictions) -> float:
    """Multi-class Matthews correlation coefficient; 0 if all labels or all predictions are of one class."""
    return float(_mcc(_confusion(predictions)))


def brier(predictions: Predictions) -> float:
    """Brier's score of 1950: the mean over images of sum_k (p_k - y_k)^2, from 0 to 2.

    With two classes it is twice the score that looks at the positive class alone.
    """
    return float(_brier(predictions, ImageWeights.equal(len(predictions.ids)))[0])


def ece(predictions: Predictions) -> float:
    """Expected calibration error (Guo et al. 2017): images are put into 15 equal bins of their top
    probability, (0, 1/15], (1/15, 2/15] ...; the result is the mean over images of the distance between
    accuracy and mean top probability in the image's bin."""
    return float(_ece(predictions, ImageWeights.equal(len(predictions.ids)))[0])


def log_loss(predictions: Predictions) -> float:
    """Mean negative natural logarithm of the true class's probability.

    Rows are scaled to sum to 1 exactly; a probability of 0 counts as the smallest double step, 2.2e-16.
    """
    return float(_log_loss(predictions, ImageWeights.equal(len(predictions.ids)))[0])


# --- scikit-learn's, with which `bench verify --recompute` compares ----------------------------------


def _sk_accuracy(predictions: Predictions) -> float:
    from sklearn import metrics as sk

    return float(sk.accuracy_score(predictions.labels, _predicted(predictions)))


def _sk_balanced_accuracy(predictions: Predictions) -> float:
    import numpy as np
    from sklearn import metrics as sk

    present, predicted = np.unique(predictions.labels), _predicted(predictions)
    recalls = sk.recall_score(predictions.labels, predicted, labels=present, average=None, zero_division=0)
    return float(recalls.mean())


def _sk_precision(predictions: Predictions) -> float:
    from sklearn import metrics as sk

    predicted = _predicted(predictions)
    return float(sk.precision_score(predictions.labels, predicted, average="macro", zero_division=0))


def _sk_recall(predictions: Predictions) -> float:
    from sklearn import metrics as sk

    predicted = _predicted(predictions)
    return float(sk.recall_score(predictions.labels, predicted, average="macro", zero_division=0))


def _sk_f1(predictions: Predictions) -> float:
    from sklearn import metrics as sk

    predicted = _predicted(predictions)
    return float(sk.f1_score(predictions.labels, predicted, average="macro", zero_division=0))


def _sk_auc(predictions: Predictions) -> float:
    import numpy as np
    from sklearn import metrics as sk

    present = np.unique(predictions.labels)
    if len(present) < 2:
        return float("nan")
    areas = [sk.roc_auc_score(predictions.labels == c, predictions.probabilities[:, c]) for c in present]
    return float(np.mean(areas))


def _sk_auprc(predictions: Predictions) -> float:
    import numpy as np
    from sklearn import metrics as sk

    areas = [
        sk.average_precision_score(predictions.labels == c, predictions.probabilities[:, c])
        for c in np.unique(predictions.labels)
    ]
    return float(np.mean(areas))


def _sk_mcc(predictions: Predictions) -> float:
    import numpy as np
    from sklearn import metrics as sk

    predicted = _predicted(predictions)
    if len(np.union1d(predictions.labels, predicted)) < 2:
        return 0.0  # scikit-learn's value, without its warning
    return float(sk.matthews_corrcoef(predictions.labels, predicted))


def _sk_log_loss(predictions: Predictions) -> float:
    import numpy as np
    from sklearn import metrics as sk

    p = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    return float(sk.log_loss(predictions.labels, p, labels=np.arange(p.shape[1])))


_PER_CLASS = "of the classes with test images or predictions"

METRICS = (
    Metric(
        name="accuracy",
        title="Accuracy",
        about="share of images whose most probable class is right",
        score=accuracy,
        of_counts=_accuracy,
        bounds=(0, 1),
        reference=_sk_accuracy,
    ),
    Metric(
        name="precision",
        title="Precision",
        about=f"macro precision: plain mean {_PER_CLASS}; 0/0 is 0",
        score=precision,
        of_counts=_precision,
        bounds=(0, 1),
        reference=_sk_precision,
    ),
    Metric(
        name="recall",
        title="Recall",
        about=f"macro recall: plain mean {_PER_CLASS}; 0/0 is 0",
        score=recall,
        of_counts=_recall,
        bounds=(0, 1),
        reference=_sk_recall,
    ),
    Metric(
        name="f1",
        title="F1",
        about=f"macro F1: mean of the F1 {_PER_CLASS}",
        score=f1,
        of_counts=_f1,
        bounds=(0, 1),
        reference=_sk_f1,
    ),
    Metric(
        name="f1_pr",
        title="F1 (PR)",
        about="harmonic mean of macro precision and macro recall; not the macro F1",
        score=f1_pr,
        of_counts=_f1_pr,
        bounds=(0, 1),
    ),
    Metric(
        name="auc",
        title="AUC",
        about="one-vs-rest area under the ROC curve, mean of classes with test images",
        score=auc,
        of_weights=_auc,
        bounds=(0, 1),
        reference=_sk_auc,
    ),
    Metric(
        name="auprc",
        title="AUPRC",
        about="one-vs-rest average precision, mean of classes with test images",
        score=auprc,
        of_weights=_auprc,
        bounds=(0, 1),
        reference=_sk_auprc,
        default=False,
    ),
    Metric(
        name="balanced_accuracy",
        title="Bal. acc.",
        about="mean recall of the classes with test images",
        score=balanced_accuracy,
        of_counts=_balanced_accuracy,
        bounds=(0, 1),
        reference=_sk_balanced_accuracy,
        default=False,
    ),
    Metric(
        name="mcc",
        title="MCC",
        about="multi-class Matthews correlation; 0 where undefined",
        score=mcc,
        reference=_sk_mcc,
        of_counts=_mcc,
        bounds=(-1, 1),
        default=False,
    ),
    Metric(
        name="brier",
        title="Brier",
        about="mean squared distance to the one-hot label, summed over classes",
        score=brier,
        of_weights=_brier,
        bounds=(0, 2),
        higher_is_better=False,
        default=False,
    ),
    Metric(
        name="ece",
        title="ECE",
        about="expected calibration error, 15 equal bins of the top probability",
        score=ece,
        of_weights=_ece,
        bounds=(0, 1),
        higher_is_better=False,
        default=False,
    ),
    Metric(
        name="log_loss",
        title="Log loss",
        about="mean negative log probability of the true class, nats",
        score=log_loss,
        reference=_sk_log_loss,
        of_weights=_log_loss,
        higher_is_better=False,
        default=False,
    ),
)
