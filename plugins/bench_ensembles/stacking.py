"""Stacking (Wolpert 1992): a regularised multinomial logistic regression on the members' log-probabilities.

Its strength is the one with the lowest log loss when each fold of the validation groups is predicted by a
regression on the others (cross-fitting); groups stay whole, classes are spread evenly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench import Combine, ConfigError, Fitted, Predictions
from bench_ensembles.params import StackingParams
from bench_ensembles.validation import log_loss

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FEWEST_GROUPS = 10
"""Groups of a class below which nothing is fitted: five folds then hold two of them each."""


LARGEST_HESSIAN = 1000
"""Coefficients up to which Newton's method is used, which finds the optimum to the last digits, whatever the
machine; its steps would take seconds beyond."""


def fit(val: list[Predictions], params: StackingParams) -> Combine:
    """The regression with the strength that cross-fitting chooses. Raises ConfigError for too few groups."""
    from threadpoolctl import threadpool_limits

    require_groups(val[0])
    given = features([member.probabilities for member in val], params.floor)
    classes, strengths = len(val[0].classes), sorted(params.strengths)
    with threadpool_limits(1):  # faster for so small matrices, and rounded alike on all machines
        losses = [cross_fitted_loss(given, val[0], c, params.folds) for c in strengths]
        chosen = strengths[int(np.argmin(losses))]  # of equally good ones the strongest penalty
        model = regression(chosen, given.shape[1] * classes).fit(given, val[0].labels)
    return Fitted(
        combine=partial(_combine, model=model, floor=params.floor, classes=classes),
        about=partial(
            _about,
            strength=chosen,
            loss=min(losses),
            influence=influences(model, len(val)),
            images=len(given),
            groups=len(set(val[0].groups)),
        ),
    )


def require_groups(val: Predictions) -> None:
    """Raise ConfigError, with classes and counts, where a class has too few groups to cross-fit on."""
    groups = [
        len({group for group, label in zip(val.groups, val.labels.tolist(), strict=True) if label == k})
        for k in range(len(val.classes))
    ]
    few = [
        f"{name} {count}" for name, count in zip(val.classes, groups, strict=True) if count < FEWEST_GROUPS
    ]
    if few:
        raise ConfigError(
            f"stacking needs {FEWEST_GROUPS} groups of every class in the validation part, or it would fit "
            f"single patients; here are: {', '.join(few)}; combine by another ensemble (`bench list "
            "ensembles`), or have a larger validation part (protocol.split.val)"
        )


def features(members: Sequence[NDArray[np.float64]], floor: float) -> NDArray[np.float64]:
    """(N, M K) log-probabilities, from M members' probabilities, each (N, K)."""
    logs: NDArray[np.float64] = np.log(np.maximum(np.concatenate(members, axis=1), floor))
    return logs


def regression(strength: float, coefficients: int) -> LogisticRegression:
    """Not fitted yet."""
    from sklearn.linear_model import LogisticRegression

    if coefficients <= LARGEST_HESSIAN:
        return LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8)
    return LogisticRegression(C=strength, tol=1e-6, max_iter=10_000)


def cross_fitted_loss(given: NDArray[np.float64], val: Predictions, strength: float, folds: int) -> float:
    """Log loss of the validation images, each predicted by a regression on the other folds."""
    predicted = np.zeros((len(val.labels), len(val.classes)))
    for train, test in _folds(val, folds):
        model = regression(strength, given.shape[1] * len(val.classes)).fit(given[train], val.labels[train])
        predicted[test] = probabilities(model, given[test], len(val.classes))
    return log_loss(predicted, val.labels)


def _folds(val: Predictions, folds: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    yield from splitter.split(np.zeros(len(val.labels)), val.labels, val.groups)


def probabilities(model: LogisticRegression, given: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """(N, K), with 0 for a class that the regression was not shown."""
    predicted = np.zeros((len(given), classes))
    predicted[:, model.classes_] = model.predict_proba(given)
    return predicted


def influences(model: LogisticRegression, members: int) -> NDArray[np.float64]:
    """(M,) the part of the coefficients, by absolute value, that belongs to each member; they sum to 1."""
    sizes = np.abs(model.coef_).sum(axis=0).reshape(members, -1).sum(axis=1)
    shares: NDArray[np.float64] = sizes / max(sizes.sum(), np.finfo(np.float64).tiny)
    return shares


def _combine(
    members: list[NDArray[np.float64]], model: LogisticRegression, floor: float, classes: int
) -> NDArray[np.float64]:
    return probabilities(model, features(members, floor), classes)


def _about(
    members: Sequence[str],
    strength: float,
    loss: float,
    influence: NDArray[np.float64],
    images: int,
    groups: int,
) -> str:
    order = np.argsort(-influence, kind="stable")
    listed = ", ".join(f"{100 * influence[i]:.0f} % {members[i]}" for i in order)
    return (
        f"C {strength:g}, coefficients {listed} by size (cross-fitted log loss {loss:.4f} on {images} "
        f"validation images in {groups} groups)"
    )
