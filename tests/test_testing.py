"""The conformance checks pass our own components and a third party's, and catch what they promise to."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import Metric, testing
from bench.registry import installed


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parent / "third_party")
    sys.modules.pop("bench_example", None)
    import bench_example

    return bench_example


@pytest.mark.parametrize("offer", installed().metrics.all(), ids=lambda offer: offer.name)
def test_our_metrics_conform(offer: Metric) -> None:
    testing.check_metric(offer)


@pytest.mark.parametrize("offer", installed().strategies.all(), ids=lambda offer: offer.name)
def test_our_strategies_conform(offer: Any) -> None:
    testing.check_strategy(offer)


@pytest.mark.parametrize("offer", installed().ensembles.all(), ids=lambda offer: offer.name)
def test_our_ensembles_conform(offer: Any) -> None:
    testing.check_ensemble(offer)


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "resnet10t", "tf_efficientnet_lite0"])
def test_timm_models_conform(name: str) -> None:
    testing.check_model(installed().models.get(name))


def test_phantom_conforms(tmp_path: Path) -> None:
    testing.check_dataset(installed().datasets.get("phantom"), tmp_path)


def test_a_third_partys_components_conform(example: Any, tmp_path: Path) -> None:
    testing.check_dataset(*example.register_datasets(), tmp_path)
    testing.check_strategy(*example.register_strategies())
    testing.check_metric(*example.register_metrics())


def test_what_does_not_conform_is_caught(example: Any) -> None:
    (metric,) = example.register_metrics()
    with pytest.raises(AssertionError, match="contradicts higher_is_better"):
        testing.check_metric(dataclasses.replace(metric, score=lambda p: -top1(p)))
    (strategy,) = example.register_strategies()

    def detached(encoder: Any, params: Any, context: Any) -> Any:
        module = strategy.objective(encoder, params, context)
        for parameter in encoder.net.parameters():
            parameter.requires_grad_(False)
        return module

    with pytest.raises(AssertionError, match="no gradient reaches the encoder"):
        testing.check_strategy(dataclasses.replace(strategy, objective=detached))
    model = installed().models.get("resnet10t")
    with pytest.raises(AssertionError, match="classifier\\(\\) does not name"):
        testing.check_model(dataclasses.replace(model, classifier=lambda net: ("layer1.",)))


def top1(predictions: Any) -> float:
    return float((predictions.probabilities.argmax(1) == predictions.labels).mean())
