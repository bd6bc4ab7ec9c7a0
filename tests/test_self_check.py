"""A captured step is compared with an ordinary one before it is used: with captures that do what a faulty
graph would do, on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench import silent
from bench.engine.determinism import Determinism, operator_of
from bench.engine.device import strict
from bench.engine.gpu.graph import Capture
from bench.engine.gpu.state import Saved
from bench.engine.job import Budget, Job
from bench.engine.step import Step, make_optimizer

CPU = torch.device("cpu")
BUDGET = Budget(1, 9, 1e-3, (0.9, 0.99), 0.05)
STEPS = 9


@pytest.fixture(autouse=True)
def _usual_mode() -> Iterator[None]:
    """Setting up a device, as other tests do, is for the whole process."""
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(False)


class Toy(nn.Module):
    """Has a norm with buffers, one of them not saved, dropout, and noise that no seed reaches."""

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.2))
        self.head = nn.Linear(8, 1)
        self.register_buffer("count", torch.zeros(()), persistent=False)
        self.noise = noise
        self.unseeded = torch.Generator().manual_seed(1)

    def forward(self, rows: Tensor) -> Tensor:
        self.count.add_(1)
        loss: Tensor = (self.head(self.body(rows)) - rows.sum(1, keepdim=True)).square().mean()
        return loss * (1 + self.noise * torch.randn((), generator=self.unseeded))


def step_of(module: Toy, capture: Capture | None, noisy: bool = False) -> Step:
    job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, precision="fp32")
    optimizer = make_optimizer(module.train(), BUDGET, capturable=True)
    step = Step(module, optimizer, job, capture=capture, strict=noisy)
    step.rate = torch.zeros(())  # as on a GPU
    if step.determinism is not None:
        step.determinism.operator = "an operator"
    return step


def train(step: Step, steps: int = STEPS) -> Step:
    torch.manual_seed(3)
    batches = torch.randn(steps, 16, 6, generator=torch.Generator().manual_seed(5))
    for number, rows in enumerate(batches):
        step((rows,), 1e-3 / (1 + number))
    return step


def assert_same_state(a: Step, b: Step, random: Tensor) -> None:
    for (name, x), y in zip(a.state().tensors.items(), b.state().tensors.values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(torch.get_rng_state(), random)


# --- captures ----------------------------------------------------------------------------------------


class Faulty:
    """A capture whose replay does the work again, and something wrong: `begin` and `end` around it."""

    step: Step

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.work = work
        self.at_capture()
        return self.replay

    def at_capture(self) -> None: ...

    def replay(self) -> None:
        self.work()


class StaleInput(Faulty):
    def at_capture(self) -> None:
        saved, self.kept = Saved.of(self.step.state()), []
        self.step.render = lambda *batch: self.kept.append(batch[0].clone()) or batch
        self.work()
        saved.put_back(self.step.state())
        self.step.render = lambda *batch: batch

    def replay(self) -> None:
        self.step.render = lambda *batch: tuple(self.kept)
        self.work()
        self.step.render = lambda *batch: batch


class StaleRate(Faulty):
    def at_capture(self) -> None:
        self.rate = self.step.rate.clone()

    def replay(self) -> None:
        now = self.step.rate.clone()
        self.step.rate.copy_(self.rate)
        self.work()
        self.step.rate.copy_(now)


class FrozenRandom(Faulty):
    """The same numbers in each replay, though the generator goes on."""

    def at_capture(self) -> None:
        self.frozen = torch.get_rng_state()

    def replay(self) -> None:
        saved = Saved.of(self.step.state())
        self.work()
        after = torch.get_rng_state()
        saved.put_back(self.step.state())
        torch.set_rng_state(self.frozen)
        self.work()
        torch.set_rng_state(after)


class ForgottenRandom(Faulty):
    """The right numbers, but the generator stands still."""

    def replay(self) -> None:
        before = torch.get_rng_state()
        self.work()
        torch.set_rng_state(before)


class KeptBuffer(Faulty):
    def replay(self) -> None:
        mean = self.step.trained.body[1].running_mean
        before = mean.clone()
        self.work()
        mean.copy_(before)


class KeptCount(Faulty):
    """A buffer that is in no checkpoint."""

    def replay(self) -> None:
        self.work()
        self.step.trained.count.sub_(1)


class NotANumber(Faulty):
    def replay(self) -> None:
        self.work()
        self.step.total.fill_(torch.nan)


class NoUpdate(Faulty):
    def replay(self) -> None:
        weights = [p.detach().clone() for p in self.step.trained.parameters()]
        self.work()
        with torch.no_grad():
            for p, before in zip(self.step.trained.parameters(), weights, strict=True):
                p.copy_(before)


class LessExact(Faulty):
    """More noise than an ordinary step has."""

    def replay(self) -> None:
        before, self.step.trained.noise = self.step.trained.noise, 0.05
        self.work()
        self.step.trained.noise = before


FAULTS = [
    (StaleInput, "differs"),
    (StaleRate, "differs"),
    (FrozenRandom, "differs"),
    (ForgottenRandom, "random numbers are drawn otherwise"),
    (KeptBuffer, "body.1.running_mean differs"),
    (KeptCount, "count differs"),
    (NotANumber, "the loss differs"),
    (NoUpdate, "differs"),
    (LessExact, "differs"),
]


@pytest.mark.parametrize("noisy", [False, True], ids=["deterministic", "noisy"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda value: getattr(value[0], "__name__", ""))
def test_a_replay_that_is_not_the_step_is_not_used(
    fault: tuple[type[Faulty], str], noisy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """And the training is the one that has ordinary steps from the beginning, to the last bit."""
    kind, reason = fault
    plain = train(step_of(Toy(), None))
    random = torch.get_rng_state()
    capture = kind()
    step = capture.step = step_of(Toy(), capture, noisy)
    train(step)
    said = step.choices["step"]
    assert said.startswith("eager: a replayed step is not the ordinary one: ")
    assert reason in said
    assert step.choices["self_check"].startswith("failed: ")
    assert [said.removeprefix("eager: ") in record.getMessage() for record in caplog.records] == [True]
    assert_same_state(step, plain, random)


@pytest.mark.parametrize("noisy", [False, True], ids=["deterministic", "noisy"])
def test_a_replay_that_is_the_step_is_used_and_leaves_no_trace(noisy: bool) -> None:
    plain = train(step_of(Toy(), None))
    random = torch.get_rng_state()
    step = train(step_of(Toy(), Faulty(), noisy))
    assert step.choices["step"] == "graph"
    assert step.choices["self_check"] == (
        "held, within 4 x the noise of a step" if noisy else "held, bitwise"
    )
    assert_same_state(step, plain, random)


def test_noise_is_allowed_where_ordinary_steps_have_it() -> None:
    for noisy in (True, False):
        step = train(step_of(Toy(noise=1e-3), Faulty(), noisy))
        assert (step.choices["step"] == "graph") is noisy


# --- deterministic kernels ---------------------------------------------------------------------------


class Putting(Toy):
    """Uses an operator for which PyTorch has no deterministic kernel, on any device."""

    def forward(self, rows: Tensor) -> Tensor:
        loss = super().forward(rows)  # changes buffers, and draws
        return loss + 0 * torch.zeros(3).put_(torch.tensor([1]), torch.ones(1)).sum()


def strict_step(module: Toy) -> Step:
    step = step_of(module, None)
    step.determinism = Determinism(step.state)
    return step


def test_an_operator_without_a_deterministic_kernel_is_named_and_the_step_is_done_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = train(step_of(Putting(), None))
    random = torch.get_rng_state()
    torch.use_deterministic_algorithms(True, warn_only=True)
    with pytest.warns(UserWarning, match="put_ does not have a deterministic implementation"):
        step = train(strict_step(Putting()))
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert step.choices["deterministic"] == "no: put_ has no deterministic kernel"
    assert not step.repeats()
    assert len(caplog.records) == 1
    assert_same_state(step, plain, random)


def test_steps_are_strict_where_they_can_be(caplog: pytest.LogCaptureFixture) -> None:
    modes = []

    class Asking(Toy):
        def forward(self, rows: Tensor) -> Tensor:
            modes.append(torch.is_deterministic_algorithms_warn_only_enabled())
            return super().forward(rows)

    torch.use_deterministic_algorithms(True, warn_only=True)
    step = train(strict_step(Asking()))
    assert modes == [False] * STEPS
    assert step.choices["deterministic"] == "yes"
    assert step.repeats()
    assert not caplog.records


def test_another_error_of_a_step_is_raised() -> None:
    class Failing(Toy):
        def forward(self, rows: Tensor) -> Tensor:
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(strict_step(Failing()))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism ...",
            "grid_sampler_2d_backward_cuda",
        ),
        (
            "Deterministic behavior was enabled with `torch.use_deterministic_algorithms(True)` or "
            "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic "
            "because it uses CuBLAS and you have CUDA >= 10.2.",
            "cuBLAS",
        ),
        ("CUDA error: an illegal memory access was encountered", ""),
    ],
)
def test_operators_are_read_from_what_pytorch_says(text: str, name: str) -> None:
    assert operator_of(RuntimeError(text)) == name


def test_strictness_ends_with_its_block() -> None:
    with strict():
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
