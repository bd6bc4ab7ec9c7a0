"""What timings say about a network, and what happens when memory runs out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench import Context
from bench.engine.speed import MOST_REPEATS, REPEATS, Timing, forward, training

CPU = torch.device("cpu")


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


class Counting(nn.Module):
    """Counts its passes, and says how it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.modes: list[tuple[bool, bool, tuple[int, ...]]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled(), tuple(images.shape)))
        found: Tensor = self.inner(images)
        return found


def test_forward_is_timed_in_evaluation_mode_without_gradients() -> None:
    net = Counting()
    timing = forward(net, 16, 4, CPU, budget=0.0)
    assert timing.repeats == REPEATS
    assert len(net.modes) > timing.repeats  # the warm-up is not among the repeats
    assert set(net.modes) == {(False, False, (4, 3, 16, 16))}
    assert timing.images_per_s == pytest.approx(4 / timing.seconds)  # type: ignore[operator]
    assert timing.peak_bytes is None


def test_a_budget_buys_more_repeats_up_to_a_limit() -> None:
    assert forward(network(), 8, 1, CPU, budget=60.0).repeats == MOST_REPEATS


def test_training_is_timed_with_the_optimiser() -> None:
    net = Counting()
    before = [p.detach().clone() for p in net.parameters()]
    timing = training(net, Context(classes=("a", "b", "c"), size=16), 5, CPU, budget=0.0)
    assert timing.repeats == REPEATS
    assert set(net.modes) == {(True, True, (5, 3, 16, 16))}
    changed = [not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True)]
    assert all(changed)


def test_memory_that_runs_out_is_a_result() -> None:
    class Huge(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("full")

    timing = forward(Huge(2, 2), 8, 64, CPU)
    assert timing == Timing(64, None, 0, None)
    assert timing.images_per_s is None
