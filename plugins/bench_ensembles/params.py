"""Parameters of the ensembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt, MinLen


@dataclass(frozen=True)
class GeometricParams:
    """Of the geometric mean.

    Attributes:
        floor: probabilities below this count as this, so that a member's 0 does not rule out a class whatever
            the others say.
    """

    floor: Annotated[float, Gt(0), Lt(0.5)] = 1e-6


@dataclass(frozen=True)
class WeightedParams:
    """Of the weighted mean.

    Attributes:
        prior: how many images' worth of evidence says that all members count the same; 0 lets the validation
            images alone decide.
    """

    prior: Annotated[float, Ge(0), Le(1e6)] = 10.0


@dataclass(frozen=True)
class StackingParams:
    """Of the regression on the members' log-probabilities.

    Attributes:
        strengths: inverse strengths of the L2 penalty (scikit-learn's C) to choose from by cross-fitting;
            smaller ones shrink coefficients more.
        folds: parts that the groups of the validation images are divided into for that choice.
        floor: probabilities below this count as this, so that their logarithm is finite.
    """

    strengths: Annotated[tuple[Annotated[float, Gt(0), Le(1e6)], ...], MinLen(1)] = (
        0.0001,
        0.001,
        0.01,
        0.1,
        1.0,
        10.0,
    )
    folds: Annotated[int, Ge(2), Le(10)] = 5
    floor: Annotated[float, Gt(0), Lt(0.5)] = 1e-6


@dataclass(frozen=True)
class GreedyParams:
    """Of ensemble selection.

    Attributes:
        rounds: selections after the first members; each adds one member, which may have been added before.
        bags: random subsets of the members that selection is repeated on, and averaged over; 0 for one
            selection among all of them.
        share: of the members in each bag, at least two of them.
    """

    rounds: Annotated[int, Ge(0), Le(10_000)] = 50
    bags: Annotated[int, Ge(0), Le(1000)] = 0
    share: Annotated[float, Gt(0), Le(1)] = 0.5
