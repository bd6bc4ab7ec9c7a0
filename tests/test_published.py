"""Operations of the baselines as published tables count them, and that counting has no side effects."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bench import BenchError, Context
from bench.comparison.reported import ReportedRow, load_reported
from bench.cost.published import PublishedCost, count_by_ptflops, published_cost
from bench.registry import installed

# Billions of operations at 224 pixels, as printed in the paper's tables.
FIGURES = {
    "swin": 15.19,
    "convnext_small": 8.73,
    "cmt": 3.95,
    "smt": 4.72,
    "focalnet": 8.65,
    "pervit": 11.50,
    "sgformer": 4.59,
    "spa": 4.57,
}
FAST = ("cmt", "spa")


def built(name: str, classes: int = 1000) -> nn.Module:
    model = installed().models.get(name)
    net: nn.Module = model.build(model.params(), Context(classes=("x",) * classes, size=224))
    return net


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in FIGURES]
)
def test_the_published_figures_are_met_to_the_last_digit(name: str) -> None:
    assert round(count_by_ptflops(built(name), 224) / 1e9, 2) == FIGURES[name]


def test_the_published_figures_are_those_of_the_reported_rows() -> None:
    rows = load_reported()
    for name, gmacs in FIGURES.items():
        cost = published_cost(rows, installed().models.get(name).published_as)
        assert cost is not None
        assert cost.gmacs == gmacs
    assert published_cost(rows, installed().models.get("cpvt").published_as) == PublishedCost(
        15.64, 22.76, "florindo-moura-2026"
    )


def test_a_model_without_a_published_row_has_no_figures() -> None:
    rows = [
        ReportedRow(dataset="busi", model="", values={}, gmacs=1.0, mparams=2.0, source="x"),
        ReportedRow(dataset="busi", model="Net", values={}, gmacs=None, mparams=None, source="x"),
    ]
    assert published_cost(rows, "") is None
    assert published_cost(rows, "Net") is None
    assert published_cost(rows, "Other") is None


def test_matrix_products_written_as_operators_are_not_in_the_convention() -> None:
    class Products(nn.Module):
        def __init__(self, operator: bool) -> None:
            super().__init__()
            self.head = nn.Linear(8, 8, bias=False)
            self.operator = operator

        def forward(self, images: Tensor) -> Tensor:
            x: Tensor = self.head(images)
            return x @ x.mT if self.operator else torch.matmul(x, x.mT)

    linear = 3 * 8 * 8 * 8
    assert count_by_ptflops(Products(operator=True), 8) == linear
    assert count_by_ptflops(Products(operator=False), 8) == 2 * linear


def test_a_subclass_of_a_layer_counts_as_that_layer() -> None:
    class Norm(nn.LayerNorm):
        pass

    counts = [
        count_by_ptflops(nn.Sequential(nn.Conv2d(3, 4, 1), norm(8)), 8) for norm in (nn.LayerNorm, Norm)
    ]
    assert counts[0] == counts[1] == 4 * 64 * (3 + 1) + 4 * 64


class Attention(nn.Linear):
    """With timm's switch: fused, it does what ptflops does not count."""

    fused_attn = True

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x @ x.mT if self.fused_attn else torch.matmul(x, x.mT)


def test_fused_attention_is_counted_in_its_plain_form() -> None:
    net = nn.Sequential(Attention(8, 8, bias=False))
    assert count_by_ptflops(net, 8) == 2 * 3 * 8 * 8 * 8


def test_counting_changes_neither_the_network_nor_torch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), Attention(8, 8)).train()
    before, patched = copy.deepcopy(net.state_dict()), (torch.matmul, nn.functional.softmax, torch.Tensor.mul)
    random = torch.get_rng_state()
    count_by_ptflops(net, 8)
    assert net.training
    assert net[1].fused_attn
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())
    assert (torch.matmul, nn.functional.softmax, torch.Tensor.mul) == patched
    assert torch.equal(torch.get_rng_state(), random)


def test_a_network_that_cannot_be_counted_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("only for rectangles")

    softmax = nn.functional.softmax
    with pytest.raises(BenchError, match=r"cannot count the network.*only for rectangles"):
        count_by_ptflops(Broken(3, 2), 8)
    assert nn.functional.softmax is softmax
    assert capsys.readouterr() == ("", "")
