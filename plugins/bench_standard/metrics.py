"""Metrics of stored predictions: N images, K classes, the predicted class is the most probable one.

Those that are in every table are computed with numpy alone: a table of thousands of runs takes a tenth of the
time that scikit-learn's checks of their input need. scikit-learn is imported inside the functions, because
`bench list` imports this module.

When the test part lacks a class of the data set (or a class is never predicted), this is what counts:

- precision, recall, f1, f1_pr: the plain mean over the classes that have a test image or a prediction,
  0/0 counting as 0. So a class without test images costs nothing unless it is predicted, and then counts
  0. It is scikit-learn's macro average with zero_division=0.
- balanced_accuracy, auc: the plain mean over the classes that have test images.
- accuracy, mcc, brier, ece, log_loss: defined per image; nothing changes.

`bench table` says under the table which classes were missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import Metric, Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BINS = 15


def _predicted(predictions: Predictions) -> NDArray[np.int64]:
    """(N,) most probable class; the first of equals."""
    predicted: NDArray[np.int64] = predictions.probabilities.argmax(axis=1)
    return predicted


def _confusion(predictions: Predictions) -> NDArray[np.int64]:
    """(K, K) how many images of each class, by row, are predicted as which, by column."""
    import numpy as np

    classes = len(predictions.classes)
    cells = predictions.labels * classes + _predicted(predictions)
    counts: NDArray[np.int64] = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    return counts


def _macro(right: NDArray[np.int64], of: NDArray[np.int64], counted: NDArray[np.bool_]) -> float:
    """Plain mean of right / of over the classes that are counted; 0/0 is 0."""
    import numpy as np

    return float((right / np.maximum(of, 1))[counted].mean())


def accuracy(predictions: Predictions) -> float:
    """Share of images whose predicted class is right."""
    return float((_predicted(predictions) == predictions.labels).mean())


def balanced_accuracy(predictions: Predictions) -> float:
    """Mean recall of the classes with test images."""
    table = _confusion(predictions)
    return _macro(table.diagonal(), table.sum(1), table.sum(1) > 0)


def precision(predictions: Predictions) -> float:
    """Macro precision."""
    table = _confusion(predictions)
    return _macro(table.diagonal(), table.sum(0), table.sum(0) + table.sum(1) > 0)


def recall(predictions: Predictions) -> float:
    """Macro recall."""
    table = _confusion(predictions)
    return _macro(table.diagonal(), table.sum(1), table.sum(0) + table.sum(1) > 0)


def f1(predictions: Predictions) -> float:
    """Macro F1: the mean of the classes' F1."""
    table = _confusion(predictions)
    either = table.sum(0) + table.sum(1)
    return _macro(2 * table.diagonal(), either, either > 0)


def f1_pr(predictions: Predictions) -> float:
    """Harmonic mean of macro precision and macro recall; never below the macro F1 (Opitz and Burst 2019)."""
    p, r = precision(predictions), recall(predictions)
    return 2 * p * r / (p + r) if p + r else 0.0


def auc(predictions: Predictions) -> float:
    """Mean one-vs-rest area under the ROC curve of the classes that have both positive and negative images.

    nan if no class has both, that is if all test images are of one class. The area is the share of pairs of
    a positive and a negative image in which the positive one has the higher probability, ties counting half
    (Mann and Whitney 1947).
    """
    import numpy as np

    present = np.unique(predictions.labels)
    if len(present) < 2:
        return float("nan")
    areas = [_area(predictions.labels == c, predictions.probabilities[:, c]) for c in present]
    return float(np.mean(areas))


def _area(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Area under one ROC curve, from the sum of the positive images' ranks; equal scores share their rank."""
    import numpy as np

    _, place, times = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(times) - (times - 1) / 2
    some = int(positive.sum())
    above = ranks[place[positive]].sum() - some * (some + 1) / 2
    return float(above / (some * (len(scores) - some)))


def mcc(predictions: Predictions) -> float:
    """Multi-class Matthews correlation coefficient; 0 if all labels or all predictions are of one class."""
    import numpy as np
    from sklearn import metrics as sk

    predicted = _predicted(predictions)
    if len(np.union1d(predictions.labels, predicted)) < 2:
        return 0.0  # scikit-learn's value, without its warning
    return float(sk.matthews_corrcoef(predictions.labels, predicted))


def brier(predictions: Predictions) -> float:
    """Brier's score of 1950: the mean over images of sum_k (p_k - y_k)^2, from 0 to 2.

    With two classes it is twice the score that looks at the positive class alone.
    """
    import numpy as np

    p = predictions.probabilities
    truth = np.eye(p.shape[1])[predictions.labels]
    return float(((p - truth) ** 2).sum(axis=1).mean())


def ece(predictions: Predictions) -> float:
    """Expected calibration error (Guo et al. 2017): images are put into 15 equal bins of their top
    probability, (0, 1/15], (1/15, 2/15] ...; the result is the mean over images of the distance between
    accuracy and mean top probability in the image's bin."""
    import numpy as np

    top = predictions.probabilities.max(axis=1)
    right = _predicted(predictions) == predictions.labels
    bins = np.clip(np.ceil(top * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - top, minlength=BINS)
    return float(np.abs(gaps).sum() / len(top))


def log_loss(predictions: Predictions) -> float:
    """Mean negative natural logarithm of the true class's probability.

    Rows are scaled to sum to 1 exactly; a probability of 0 counts as the smallest double step, 2.2e-16.
    """
    import numpy as np
    from sklearn import metrics as sk

    p = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    return float(sk.log_loss(predictions.labels, p, labels=np.arange(p.shape[1])))


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


_PER_CLASS = "of the classes with test images or predictions"

METRICS = (
    Metric(
        name="accuracy",
        title="Accuracy",
        about="share of images whose most probable class is right",
        score=accuracy,
        reference=_sk_accuracy,
    ),
    Metric(
        name="precision",
        title="Precision",
        about=f"macro precision: plain mean {_PER_CLASS}; 0/0 is 0",
        score=precision,
        reference=_sk_precision,
    ),
    Metric(
        name="recall",
        title="Recall",
        about=f"macro recall: plain mean {_PER_CLASS}; 0/0 is 0",
        score=recall,
        reference=_sk_recall,
    ),
    Metric(name="f1", title="F1", about=f"macro F1: mean of the F1 {_PER_CLASS}", score=f1, reference=_sk_f1),
    Metric(
        name="f1_pr",
        title="F1 (PR)",
        about="harmonic mean of macro precision and macro recall; not the macro F1",
        score=f1_pr,
    ),
    Metric(
        name="auc",
        title="AUC",
        about="one-vs-rest area under the ROC curve, mean of classes with test images",
        score=auc,
        reference=_sk_auc,
    ),
    Metric(
        name="balanced_accuracy",
        title="Bal. acc.",
        about="mean recall of the classes with test images",
        score=balanced_accuracy,
        reference=_sk_balanced_accuracy,
        default=False,
    ),
    Metric(
        name="mcc",
        title="MCC",
        about="multi-class Matthews correlation; 0 where undefined",
        score=mcc,
        default=False,
    ),
    Metric(
        name="brier",
        title="Brier",
        about="mean squared distance to the one-hot label, summed over classes",
        score=brier,
        higher_is_better=False,
        default=False,
    ),
    Metric(
        name="ece",
        title="ECE",
        about="expected calibration error, 15 equal bins of the top probability",
        score=ece,
        higher_is_better=False,
        default=False,
    ),
    Metric(
        name="log_loss",
        title="Log loss",
        about="mean negative log probability of the true class, nats",
        score=log_loss,
        higher_is_better=False,
        default=False,
    ),
)
