"""What a metric promises."""

from __future__ import annotations

import dataclasses
import math

from bench.interfaces.metric import Metric
from bench.interfaces.predictions import Predictions
from bench.testing.component import check_component, works
from bench.testing.predictions import predictions, reordered


def check_metric(metric: Metric) -> None:
    """Predictions of any data set give a number, and right predictions a better one than wrong ones.

    In particular: the score is a float; it is nan, never an error, where the metric is not defined (tried: a
    class without images, images of one class alone, two classes, a single image); right beats wrong in the
    direction of `higher_is_better`; the order of the images does not matter; the predictions, which other
    metrics see too, are not changed; where it can be weighted, whole weights give the score of predictions in
    which images stand so often; and all scores lie within its bounds.
    """
    check_component(metric)
    name = metric.name
    assert metric.title, f"{name}: `title` is empty, which heads the column"
    given = {
        "right predictions": predictions(1.0),
        "wrong predictions": predictions(-1.0),
        "a class without images": predictions(1.0, classes=4),
        "images of one class": predictions(1.0, labelled=1),
        "two classes": predictions(1.0, classes=2, labelled=2),
        "a single image": predictions(1.0, images=1),
    }
    scores = {}
    for case, each in given.items():
        labels, probabilities = each.labels.copy(), each.probabilities.copy()
        with works(f"{name}: fails for {case}, where it must give nan if it is not defined"):
            scores[case] = metric.score(each)
        kind = type(scores[case]).__name__
        assert isinstance(scores[case], float), f"{name}: gives a {kind} for {case}, not a float"
        same = (each.labels == labels).all() and (each.probabilities == probabilities).all()
        assert same, f"{name}: changes the predictions it is given"
    right, wrong = scores["right predictions"], scores["wrong predictions"]
    better = right >= wrong if metric.higher_is_better else right <= wrong
    assert better, f"{name}: {right} for right and {wrong} for wrong predictions contradict higher_is_better"
    if metric.bounds is not None:
        low, high = metric.bounds
        for case, value in scores.items():
            inside = math.isnan(value) or low <= value <= high
            assert inside, f"{name}: {value} for {case} is not within its bounds {low} and {high}"
    if metric.of_counts is not None or metric.of_weights is not None:
        _check_weights(metric, predictions(0.2))  # some right, some wrong
    turned = metric.score(reordered(given["right predictions"], range(60)[::-1]))
    assert math.isclose(turned, right, rel_tol=1e-9, abs_tol=1e-12), (
        f"{name}: the order of the images matters ({right} and {turned})"
    )


def _check_weights(metric: Metric, given: Predictions) -> None:
    """`of_counts` and `of_weights` against predictions in which images are repeated."""
    import numpy as np

    from bench.evidence.replicates import replicate
    from bench.interfaces.image_weights import ImageWeights

    count = len(given.ids)
    times = np.random.default_rng(0).integers(0, 4, size=(3, count))
    weights = ImageWeights(times.astype(np.float64), np.arange(count))
    for function in ("of_counts", "of_weights"):
        if getattr(metric, function) is None:
            continue
        alone = dataclasses.replace(metric, of_counts=None, of_weights=None)
        alone = dataclasses.replace(alone, **{function: getattr(metric, function)})
        values, problems = replicate([alone], given, weights)
        assert not problems, f"{metric.name}: {problems[metric.name]}"
        for row, value in zip(times, values[metric.name], strict=True):
            expected = metric.score(reordered(given, np.repeat(np.arange(count), row)))
            same = math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)
            assert same or (math.isnan(value) and math.isnan(expected)), (
                f"{metric.name}: `{function}` gives {value} where images count as often as they stand in "
                f"predictions for which `score` gives {expected}"
            )
