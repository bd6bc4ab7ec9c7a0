"""What an ensemble promises."""

from __future__ import annotations

from bench.interfaces.component import P
from bench.interfaces.ensemble import Ensemble, Fitted
from bench.study.config import NO_ENSEMBLES
from bench.testing.component import check_component
from bench.testing.predictions import predictions, reordered


def check_ensemble(ensemble: Ensemble[P], params: P | None = None) -> None:
    """The rule that `fit` gives turns probabilities of members into probabilities.

    In particular: it works for two members and for three, and for another number of images than it was fitted
    on; rows of its result are at least 0 and sum to 1; equal members give the class that one of them gives;
    fitted again it gives the same; the members' probabilities are not changed; and a `Fitted` rule says in
    one line what was fitted.
    """
    import numpy as np

    check_component(ensemble)
    name = ensemble.name
    assert name not in NO_ENSEMBLES, f"an ensemble cannot be called {name!r}, which means that there is none"
    params = ensemble.params() if params is None else params
    for count in (2, 3):
        val = [predictions(0.5, seed=i) for i in range(count)]
        test = [reordered(predictions(0.5, seed=9 + i), range(20)).probabilities for i in range(count)]
        kept = [member.copy() for member in test]
        rule = ensemble.fit(val, params)
        if isinstance(rule, Fitted):
            _check_about(rule, count, name)
        combined = rule(test)
        shape = np.shape(combined)
        assert shape == test[0].shape, f"{name}: {count} members of {test[0].shape} give {shape}"
        assert np.min(combined) >= 0, f"{name}: probabilities must be at least 0"
        assert np.allclose(np.sum(combined, axis=1), 1), f"{name}: rows must sum to 1"
        unchanged = all(np.array_equal(a, b) for a, b in zip(test, kept, strict=True))
        assert unchanged, f"{name}: changes the members' probabilities"
        again = ensemble.fit(val, params)(test)
        assert np.array_equal(combined, again), f"{name}: fitted again on the same it gives something else"
    one = predictions(1.0)
    combined = ensemble.fit([one] * 3, params)([one.probabilities] * 3)
    agree = (np.argmax(combined, axis=1) == one.probabilities.argmax(1)).all()
    assert agree, f"{name}: three equal members must give the class that one of them gives"


def _check_about(rule: Fitted, members: int, name: str) -> None:
    said = rule.about([f"member {i}" for i in range(members)])
    assert isinstance(said, str), f"{name}: `about` must be a text"
    assert said.strip(), f"{name}: `about` is empty; give a plain function where nothing was fitted"
    assert "\n" not in said, f"{name}: `about` must be one line"
