"""The mean of probabilities with weights that fit the validation labels.

    w* = argmax over the simplex of   sum_i log(sum_m w_m p_m(y_i)) + prior/M sum_m log w_m

The first sum is the log likelihood of a mixture, the second that of a symmetric Dirichlet prior, worth
`prior` images, all of which say that the M members count the same. Both are concave in w, so there is one
maximum, which EM climbs to (Dempster, Laird and Rubin 1977). How far it still is from there is known: for a
concave f with gradient g, f(w*) - f(w) <= max_m g_m - sum_m w_m g_m; EM ends when that is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench import Combine, Fitted, Predictions
from bench_ensembles.params import WeightedParams
from bench_ensembles.validation import of_true_class, weighted_mean

GAP = 1e-9  # nats an image that the best weights may be better
STEPS = 100_000


def fit(val: list[Predictions], params: WeightedParams) -> Combine:
    """The weighted mean that suits the validation labels."""
    own = np.stack([of_true_class(member.probabilities, member.labels) for member in val])
    weights = fit_weights(own, params.prior)
    return Fitted(
        combine=partial(weighted_mean, weights=weights),
        about=partial(_about, weights=weights, images=own.shape[1]),
    )


def fit_weights(own: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    """(M,) weights that sum to 1, from what M members give the true class of N images, (M, N)."""
    members, images = own.shape
    weights = np.full(members, 1 / members)
    for _ in range(STEPS):
        support = own @ (1 / (weights @ own))  # the gradient of the log likelihood
        new = (weights * support + prior / members) / (images + prior)
        gradient = support + prior / members / np.maximum(weights, np.finfo(np.float64).tiny)
        if gradient.max() - weights @ gradient <= GAP * images:
            break
        weights = new
    result: NDArray[np.float64] = weights / weights.sum()
    return result


def _about(members: Sequence[str], weights: NDArray[np.float64], images: int) -> str:
    order = np.argsort(-weights, kind="stable")
    listed = ", ".join(f"{weights[i]:.2f} {members[i]}" for i in order)
    return f"weights {listed} (fitted on {images} validation images)"
