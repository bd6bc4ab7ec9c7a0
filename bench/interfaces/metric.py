"""Metrics: numbers computed from stored predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.interfaces.component import Component, P
from bench.interfaces.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Metric(Component[P]):
    """A number computed from stored predictions.

    Attributes:
        score: `score(predictions)` is the number, or nan where the metric is not defined.
        title: column heading.
        higher_is_better: the direction.
        default: whether `bench table` shows it unless --metrics names others.
        reference: another implementation, with which `bench verify --recompute` compares.

    Scores are kept, and found again by the predictions' checksum and the metric's name, `revision`, package
    version and source file. So raise `revision` where the same predictions would now give another score
    because of code elsewhere.
    """

    score: Callable[[Predictions], float]
    title: str
    higher_is_better: bool = True
    default: bool = True
    reference: Callable[[Predictions], float] | None = None
