"""Counts of networks whose parameters and operations are known, and that counting has no side effects."""

import copy
import dataclasses

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import set_fused_attn
from torch import Tensor, nn

from bench.cost.count import Cost, count_cost


@pytest.fixture(scope="module")
def resnet18() -> Cost:
    return count_cost(timm.create_model("resnet18"), 224)


def test_resnet18_has_its_published_cost(resnet18: Cost) -> None:
    assert resnet18.params == 11_689_512
    assert resnet18.macs == pytest.approx(1.82e9, rel=0.005)
    assert (resnet18.size, resnet18.classes, resnet18.notes) == (224, 1000, ())


def test_the_two_counts_agree_in_one_unit(resnet18: Cost) -> None:
    ratio = resnet18.torch_flops / 2 / resnet18.macs  # type: ignore[operator]
    assert resnet18.difference == pytest.approx(ratio - 1)
    assert abs(resnet18.difference) < 0.01  # type: ignore[arg-type]


def test_skipped_operators_are_named_with_one_operation_per_output_element(resnet18: Cost) -> None:
    skipped = {s.operator: s for s in resnet18.skipped}
    assert set(skipped) == {"aten::add_", "aten::max_pool2d"}
    assert skipped["aten::max_pool2d"].operations == 64 * 56 * 56
    residuals = 2 * (64 * 56**2 + 128 * 28**2 + 256 * 14**2 + 512 * 7**2)
    assert (skipped["aten::add_"].calls, skipped["aten::add_"].operations) == (8, residuals)
    total = sum(s.operations for s in resnet18.skipped)
    assert resnet18.skipped_share == pytest.approx(total / (total + resnet18.macs))  # type: ignore[operator]


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(8, 20), st.integers(2, 5))
def test_counts_equal_the_formulas_of_convolution_and_linear(
    width: int, kernel: int, size: int, classes: int
) -> None:
    side = size - kernel + 1
    net = nn.Sequential(nn.Conv2d(3, width, kernel), nn.Flatten(), nn.Linear(width * side**2, classes))
    cost = count_cost(net, size)
    macs = 3 * kernel**2 * width * side**2 + width * side**2 * classes
    assert (cost.macs, cost.torch_flops, cost.difference) == (macs, 2 * macs, 0)
    assert cost.params == width * (3 * kernel**2 + 1) + classes * (width * side**2 + 1)
    assert (cost.skipped, cost.skipped_share, cost.classes) == ((), 0, classes)


def test_fused_attention_counts_as_its_plain_form() -> None:
    costs = []
    try:
        for fused in (True, False):
            set_fused_attn(fused)
            costs.append(count_cost(timm.create_model("test_vit", img_size=64, num_classes=3), 64))
    finally:
        set_fused_attn(True)
    assert costs[0].macs == costs[1].macs
    assert costs[0].torch_flops == costs[1].torch_flops
    assert "aten::scaled_dot_product_attention" not in {s.operator for s in costs[0].skipped}
    assert "aten::softmax" in {s.operator for s in costs[1].skipped}


def test_torchs_fused_encoder_layer_is_counted() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            tokens: Tensor = self.layer(images.flatten(2).mean(1).reshape(1, -1, 16))
            return tokens.mean(1)

    cost = count_cost(Net(), 8)
    tokens = 8 * 8 // 16
    products = tokens * (4 * 16**2 + 2 * 16 * 32) + 2 * tokens**2 * 16
    assert cost.torch_flops == 2 * products
    assert cost.macs == pytest.approx(products, rel=0.1)  # and layer normalisation


def test_counting_changes_neither_the_network_nor_the_random_state() -> None:
    net = timm.create_model("test_resnet", num_classes=3).train()
    net.layer1.eval()
    before = copy.deepcopy(net.state_dict())
    modes = [m.training for m in net.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    random = torch.get_rng_state()
    count_cost(net, 64)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in net.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_frozen_parameters_count_and_random_networks_leave_the_random_state_alone() -> None:
    class Noisy(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images + torch.rand(1))

    net = Noisy(3, 2, 1).requires_grad_(False)
    random = torch.get_rng_state()
    assert count_cost(net, 8).params == 8
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_that_cannot_be_run_gives_a_reason_and_its_parameters() -> None:
    class Broken(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("only for rectangles")

    cost = count_cost(Broken(3, 2), 8)
    assert (cost.params, cost.macs, cost.torch_flops, cost.difference) == (8, None, None, None)
    assert len(cost.notes) == 2
    assert all("only for rectangles" in note for note in cost.notes)


def test_a_cost_can_be_converted_to_plain_values(resnet18: Cost) -> None:
    assert dataclasses.asdict(resnet18)["skipped"][0]["operator"] == "aten::add_"
