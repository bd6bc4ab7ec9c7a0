"""Our tests and adjustments against those of other packages, and against published worked examples.

statsmodels comes with the extra "diagram"; MLstatkit is installed by `.ci/run` alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import predictions

from bench.evidence.crosschecks import corrected_t, delong, mcnemar
from bench.evidence.multiplicity import holm


def test_holm_on_a_worked_example() -> None:
    """Of Holm 1979 on four tests, by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and the last not below that."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason='needs the extra "diagram"')
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


@pytest.mark.parametrize("seed", range(8))
def test_mcnemar_is_that_of_statsmodels(seed: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason='needs the extra "diagram"')
    a, b = predictions(seed, skill=1.6), predictions(seed + 100, skill=1.0)
    right = [each.probabilities.argmax(1) == each.labels for each in (a, b)]
    table = [[((right[0] == i) & (right[1] == j)).sum() for j in (True, False)] for i in (True, False)]
    assert mcnemar(a, b) == pytest.approx(tables.mcnemar(table, exact=True).pvalue)


@pytest.mark.parametrize("seed", range(8))
def test_delong_is_that_of_mlstatkit(seed: int) -> None:
    mlstatkit = pytest.importorskip("MLstatkit", reason="is installed by .ci/run")
    classes = ("a", "b")
    a, b = predictions(seed, 80, classes, skill=1.2), predictions(seed + 50, 80, classes, skill=0.6)
    p = mlstatkit.Delong_test(a.labels, a.probabilities[:, 1], b.probabilities[:, 1])[1]
    assert delong(a, b) == pytest.approx(p)


def test_the_corrected_t_of_one_hundred_rounds_is_ten_times_less_sure() -> None:
    """Nadeau and Bengio 2003, equation for their test: with one test image per nine training images, the
    variance of J rounds is (1/J + 1/9) times that of one, so 100 rounds tell hardly more than 9."""
    differences = np.resize([0.03, -0.01], 100)
    spread = differences.std(ddof=1)
    t = differences.mean() / (spread * math.sqrt(1 / 100 + 1 / 9))
    from scipy import stats

    assert corrected_t(differences.tolist(), 1 / 9) == pytest.approx(2 * stats.t.sf(t, 99))
