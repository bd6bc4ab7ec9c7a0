"""What a unit works with."""

from __future__ import annotations

import pytest
import torch

from bench import Context
from bench.execution.prepare import reset_classifier, within
from bench.registry import installed

NETWORKS = ["tf_efficientnet_lite0", "convnext_atto", "resnet10t", "test_vit", "cmt", "spa"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_starts_with_the_same_small_classifier(name: str) -> None:
    model = installed().models.get(name)
    context = Context(classes=("a", "b", "c"), size=64)
    net = model.build(model.params(), context)
    prefixes = model.classifier(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    reset_classifier(net, prefixes)
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(within(k, prefixes) for k in changed)
    for key, value in net.state_dict().items():
        if within(key, prefixes):
            if key.endswith("weight"):
                assert value.std().item() == pytest.approx(0.0088, rel=0.15)  # 0.01, cut at two deviations
            else:
                assert (value == 0).all()


def test_prefixes_are_whole_names() -> None:
    assert within("fc.weight", ("fc",))
    assert within("fc.weight", ("fc.",))
    assert not within("fc_norm.weight", ("fc",))
