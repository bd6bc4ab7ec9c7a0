"""How well calibrated a method is on test images, before and after a temperature from validation images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.evidence.calibration import Reliability, fit_temperature, reliability, tempered

if TYPE_CHECKING:
    from bench.interfaces.predictions import Predictions


class Calibrated(NamedTuple):
    """Of one method.

    Attributes:
        before: of the test images of all rounds together.
        after: the same with each round's temperature; None where a round has no validation predictions.
        temperatures: by round.
        error_before: expected calibration error, mean over rounds.
        error_after: see `error_before`; nan where there is none.
    """

    before: Reliability
    after: Reliability | None
    temperatures: Mapping[int, float]
    error_before: float
    error_after: float


def temperatures_of(validated: Mapping[int, Predictions]) -> dict[int, float]:
    """Of each round, from validation images alone."""
    return {n: fit_temperature(one.labels, one.probabilities) for n, one in validated.items()}


def calibrated(tested: Mapping[int, Predictions], validated: Mapping[int, Predictions]) -> Calibrated:
    """From one method's predictions by round, at least one."""
    labels = np.concatenate([one.labels for one in tested.values()])
    raw = {n: one.probabilities for n, one in tested.items()}
    temperatures = temperatures_of(validated)
    before = reliability(labels, np.concatenate(list(raw.values())))
    error = float(np.mean([reliability(tested[n].labels, p).error for n, p in raw.items()]))
    if tested.keys() - temperatures.keys():
        return Calibrated(before, None, temperatures, error, float("nan"))
    mended = {n: tempered(p, temperatures[n]) for n, p in raw.items()}
    return Calibrated(
        before=before,
        after=reliability(labels, np.concatenate(list(mended.values()))),
        temperatures=temperatures,
        error_before=error,
        error_after=float(np.mean([reliability(tested[n].labels, p).error for n, p in mended.items()])),
    )
