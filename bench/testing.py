"""Conformance checks for plugin authors: call them from your own tests. Each raises AssertionError.

from bench.testing import check_strategy
from my_package import MY_STRATEGY

def test_it_conforms():
    check_strategy(MY_STRATEGY)
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.interfaces.component import Component
from bench.interfaces.dataset import Dataset
from bench.interfaces.ensemble import Ensemble
from bench.interfaces.metric import Metric
from bench.interfaces.model import Context, Encoder, Model
from bench.interfaces.predictions import Predictions
from bench.interfaces.strategy import Strategy

if TYPE_CHECKING:
    from torch import Tensor, nn

CONTEXT = Context(classes=("a", "b", "c"), size=64)


def check_offer(offer: Component) -> None:
    """Name, text and parameters are what the core relies on."""
    assert offer.name, "an offer needs a name"
    assert "," not in offer.name, "names are separated by commas on the command line"
    assert offer.about, f"{offer.name}: `about` is empty"
    params = offer.params()  # every parameter has a default
    assert dataclasses.is_dataclass(params), f"{offer.name}: params must be a dataclass"
    frozen = vars(offer.params)["__dataclass_params__"].frozen
    assert frozen, f"{offer.name}: params must be frozen"


def check_dataset(offer: Dataset, root: Path, params: Any = None) -> None:
    """The index is consistent and the same each time it is made; archives can be fetched as described."""
    from bench.data.fetch.fetch import check_archive
    from bench.data.images.index import check_index

    check_offer(offer)
    params = offer.params() if params is None else params
    first, again = offer.index(root, params), offer.index(root, params)
    check_index(first, offer.name)
    for archive in offer.archives(params):
        check_archive(archive, offer.name)
    told = [(s.id, s.label, s.group, s.part) for s in first.samples]
    assert told == [(s.id, s.label, s.group, s.part) for s in again.samples], "the index must not change"
    if expected := first.expected or offer.expected:
        assert set(expected) == set(first.classes), "`expected` must count the classes of the index"


def check_model(offer: Model, params: Any = None, context: Context = CONTEXT) -> None:
    """Logits, dense features and the names of the classifier are as promised; gradients flow."""
    import torch

    check_offer(offer)
    params = offer.params() if params is None else params
    offer.check_size(params, context.size)  # must not refuse what `build` takes
    net, other = (offer.build(params, dataclasses.replace(context, classes=("x",) * k)) for k in (3, 5))
    images = torch.randn(2, 3, context.size, context.size)
    logits = net(images)
    assert logits.shape == (2, 3), f"{offer.name}: logits are {tuple(logits.shape)}, not (2, classes)"
    logits.sum().backward()
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    changed = {name for name, value in net.state_dict().items() if value.shape != shapes[name]}
    prefixes = tuple(prefix.removesuffix(".") + "." for prefix in offer.classifier(net))
    assert changed, f"{offer.name}: no tensor depends on the number of classes"
    assert all(n.startswith(prefixes) for n in changed), f"{offer.name}: classifier() does not name {changed}"
    if "dense" in offer.traits:
        assert offer.features, f"{offer.name}: the trait 'dense' promises `features`"
        found = offer.features(net, images)
        assert found.ndim == 4, f"{offer.name}: features are {tuple(found.shape)}, not (B, C, h, w)"
        assert found.requires_grad, f"{offer.name}: features carry no gradient"


def check_strategy(offer: Strategy, params: Any = None, context: Context = CONTEXT) -> None:
    """A pretraining objective gives a finite loss whose gradient reaches the encoder, repeatably.

    A strategy that only gives weights is called by `bench run` itself; here its description is checked.
    """
    import torch

    check_offer(offer)
    if offer.objective is None:
        return
    params = offer.params() if params is None else params
    images = torch.randint(0, 256, (4, 3, context.size, context.size), dtype=torch.uint8)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        net = _tiny_net()
        module = offer.objective(
            Encoder(net=net, features=_tiny_features, stride=16, width=8), params, context
        )
        assert any(part is net for part in module.modules()), "the objective must own encoder.net"
        torch.manual_seed(1)
        loss = module(images)
        assert loss.ndim == 0, f"{offer.name}: the loss has shape {tuple(loss.shape)}; it must be a scalar"
        assert math.isfinite(float(loss.detach())), f"{offer.name}: the loss is {float(loss)}"
        loss.backward()
        reached = [p for p in net.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert reached, f"{offer.name}: no gradient reaches the encoder"
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1], f"{offer.name}: the loss must depend on torch's random state alone"


def check_metric(offer: Metric) -> None:
    """Right beats wrong, the order of images does not matter, a missing class gives a number or nan."""
    check_offer(offer)
    right, wrong, missing = _predictions(1.0), _predictions(-1.0), _predictions(1.0, classes=4)
    scores = {name: offer.score(p) for name, p in (("right", right), ("wrong", wrong), ("missing", missing))}
    for name, score in scores.items():
        assert isinstance(score, float), f"{offer.name}: {type(score).__name__} for {name}, not a float"
    better = scores["right"] >= scores["wrong"]
    worse = scores["right"] <= scores["wrong"]
    assert better if offer.higher_is_better else worse, f"{offer.name}: {scores} contradicts higher_is_better"
    turned = dataclasses.replace(
        right,
        ids=right.ids[::-1],
        groups=right.groups[::-1],
        labels=right.labels[::-1],
        probabilities=right.probabilities[::-1],
    )
    assert math.isclose(offer.score(turned), scores["right"], rel_tol=1e-9, abs_tol=1e-12)


def check_ensemble(offer: Ensemble, params: Any = None) -> None:
    """The rule gives probabilities, and three equal members give what one says about each image's class."""
    import numpy as np

    check_offer(offer)
    member = _predictions(1.0)
    rule = offer.fit([member] * 3, offer.params() if params is None else params)
    combined = rule([member.probabilities] * 3)
    assert combined.shape == member.probabilities.shape
    assert np.allclose(combined.sum(1), 1), f"{offer.name}: rows must sum to 1"
    assert (combined.argmax(1) == member.probabilities.argmax(1)).all()


def _predictions(sign: float, classes: int = 3) -> Predictions:
    """60 images of three classes; probabilities lean to the right class (sign 1) or away from it (-1)."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    logits = rng.normal(size=(60, classes)) + 3 * sign * np.eye(classes)[labels]
    odds = np.exp(logits)
    names = tuple("abcdefgh"[:classes])
    ids = tuple(f"image-{i}" for i in range(60))
    return Predictions(
        classes=names, ids=ids, groups=ids, labels=labels, probabilities=odds / odds.sum(1, keepdims=True)
    )


def _tiny_net() -> nn.Module:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.GELU())


def _tiny_features(net: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = net(images)
    return found
