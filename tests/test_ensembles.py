"""Ensembles: the mean of probabilities (equation 11)."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import predictions

from bench import NoParams
from bench_ensembles import register_ensembles

[MEAN] = register_ensembles()


def combined(members: list[np.ndarray]) -> np.ndarray:
    return MEAN.fit([predictions(i) for i in range(len(members))], NoParams())(members)


def test_the_mean_of_two() -> None:
    a, b = np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([[0.6, 0.4], [0.5, 0.5]])
    np.testing.assert_allclose(combined([a, b]), [[0.4, 0.6], [0.75, 0.25]])


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_rows_stay_probabilities_in_any_order_of_members(seeds: list[int], random) -> None:
    members = [predictions(seed, n=9).probabilities for seed in seeds]
    mean = combined(members)
    np.testing.assert_allclose(mean.sum(axis=1), 1)
    assert (mean >= np.min(members, axis=0) - 1e-15).all()
    assert (mean <= np.max(members, axis=0) + 1e-15).all()
    random.shuffle(members)
    assert combined(members).tobytes() == mean.tobytes()


def test_members_are_left_as_they_are() -> None:
    members = [predictions(i).probabilities for i in range(3)]
    before = [member.copy() for member in members]
    combined(members)
    assert all((a == b).all() for a, b in zip(members, before, strict=True))
