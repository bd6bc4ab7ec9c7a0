"""Timings of a network, and what they are when memory runs out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench import Context
from bench.engine import speed
from bench.engine.gpu.graph import WARMUP as STEPS_BEFORE_CAPTURE
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.speed import MAX_REPEATS, MIN_REPEATS, Timing, time_forward, time_training
from bench.engine.step import Step, make_optimizer

CPU = torch.device("cpu")


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


class Counting(nn.Module):
    """Records how each of its passes was called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.passes: list[tuple[bool, bool, tuple[int, ...]]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append((self.training, torch.is_grad_enabled(), tuple(images.shape)))
        logits: Tensor = self.inner(images)
        return logits


def test_forward_is_timed_in_evaluation_mode_without_gradients() -> None:
    net = Counting()
    timing = time_forward(net, 16, 4, CPU, seconds=0.0)
    assert timing.repeats == MIN_REPEATS
    assert len(net.passes) > timing.repeats  # the warm-up is not among the repeats
    assert set(net.passes) == {(False, False, (4, 3, 16, 16))}
    assert timing.images_per_s == pytest.approx(4 / timing.seconds)  # type: ignore[operator]
    assert timing.peak_bytes is None


def test_a_pass_is_repeated_as_often_as_asked_on_the_same_noise_whatever_the_random_state() -> None:
    seen: list[Tensor] = []

    class Noting(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.clone())
            return images

    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        assert time_forward(Noting(), 8, 1, CPU, seconds=0.0, repeats=7).repeats == 7
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(each, seen[0]) for each in seen)


@pytest.mark.parametrize(("precision", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_pass_has_the_precision_asked_for(precision: str, expected: torch.dtype) -> None:
    seen: list[torch.dtype] = []

    class Noting(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(super().forward(images).dtype)
            return images

    time_forward(Noting(8, 2), 8, 1, CPU, seconds=0.0, precision=precision)
    assert set(seen) == {expected}


def test_more_seconds_give_more_repeats_up_to_a_limit() -> None:
    assert time_forward(network(), 8, 1, CPU, seconds=60.0).repeats == MAX_REPEATS


def test_training_is_timed_with_the_optimiser() -> None:
    net = Counting()
    before = [p.detach().clone() for p in net.parameters()]
    timing = time_training(net, Context(classes=("a", "b", "c"), size=16), 5, CPU, seconds=0.0)
    assert timing.repeats == MIN_REPEATS
    assert set(net.passes) == {(True, True, (5, 3, 16, 16))}
    changed = [not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True)]
    assert all(changed)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]
)
def test_memory_that_runs_out_is_a_result(error: Exception) -> None:
    class Huge(nn.Linear):
        def forward(self, images: Tensor) -> Tensor:
            raise error

    timing = time_forward(Huge(2, 2), 8, 64, CPU)
    assert timing == Timing(64, None, 0, None)
    assert timing.images_per_s is None
    assert time_training(Huge(2, 2), Context(classes=("a", "b"), size=8), 64, CPU) == timing


def test_another_error_is_none_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        time_forward(nn.Linear(2, 2), 8, 64, CPU)


def test_the_step_that_is_timed_is_that_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU it is captured, before the first step that is timed, and let go of afterwards."""
    steps: list[Step] = []
    replays: list[int] = []

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            replays.append(1)
            work()

        return replay

    def captured(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        optimizer = make_optimizer(module, budget, capturable=True)
        steps.append(Step(module, optimizer, job, inputs.render, capture=capture))
        return steps[-1]

    monkeypatch.setattr(speed, "make_step", captured)
    context = Context(classes=("a", "b", "c"), size=8)
    step = speed.training_step(network(), context, 5, CPU)
    step.to_do = STEPS_BEFORE_CAPTURE + 1  # as on a GPU
    step()
    assert len(replays) == 2  # the self-check, and the last of these steps
    step()
    assert len(replays) == 3
    step.close()
    assert time_training(network(), context, 5, CPU, seconds=0.0).repeats == MIN_REPEATS
    assert [hasattr(each, "module") for each in steps] == [False, False]
