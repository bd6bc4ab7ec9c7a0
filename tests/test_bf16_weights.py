"""Weights copied into bf16 at once: the bits of ordinary autocast, on a CPU, where autocast works alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from bench import Context, Encoder, silent
from bench.engine.batches import Batch
from bench.engine.device import autocast
from bench.engine.gpu.bf16_weights import CAST, Bf16Weights, Uses
from bench.engine.gpu.stability import Recorder, tensors_of
from bench.engine.job import Budget, Job
from bench.engine.loop import Classifier
from bench.engine.step import Step, make_optimizer, train_step
from bench.registry import installed

CPU = torch.device("cpu")
BUDGET = Budget(1, 9, 1e-3, (0.9, 0.99), 0.05)
CLASSES = ("a", "b", "c")


def job(**options: Any) -> Job:
    return Job("toy", "x", 7, CPU, Path("unused.pt"), silent, **{"precision": "bf16", **options})


def classifier(name: str, size: int) -> Classifier:
    torch.manual_seed(0)
    model, context = installed().models.get(name), Context(classes=CLASSES, size=size)
    return Classifier(model.build(model.params(), context), context.normalize)


def pretraining(name: str, strategy_name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    model, strategy = installed().models.get(name), installed().strategies.get(strategy_name)
    context = Context(classes=CLASSES, size=size)
    net = model.build(model.params(), context)
    with torch.no_grad():
        _, width, height, _ = model.features(net.eval(), torch.zeros(1, 3, size, size)).shape
    encoder = Encoder(net=net, features=model.features, stride=size // height, width=width)
    return strategy.objective(encoder, strategy.params(), context)


def images(size: int, labelled: bool, steps: int, count: int = 4) -> list[Batch]:
    """Batches of noise, of which the next to last is a smaller one."""
    generator = torch.Generator().manual_seed(1)
    found: list[Batch] = []
    for number in range(steps):
        n = count - 1 if number == steps - 2 else count
        pictures = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
        found.append((pictures, torch.arange(n) % 3) if labelled else (pictures,))
    return found


def trained(module: nn.Module, batches: list[Batch], captured: bool, **options: Any) -> tuple[Step, list]:
    """Steps as on a GPU, with a recorder in the place of graphs or none; with the gradients of each."""
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(module, BUDGET, capturable=True)
    rate = torch.zeros(())
    capture = Recorder(lambda: tensors_of(module, optimizer, [step.total, rate])) if captured else None
    step = Step(module, optimizer, job(**options), memory_format=torch.channels_last, capture=capture)
    step.rate = rate
    torch.manual_seed(3)
    gradients = []
    for number, batch in enumerate(batches):
        step(batch, 1e-3 / (1 + number))
        gradients.append({n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
    return step, gradients


def assert_the_bits_of_the_plain_step(
    make: Callable[[], nn.Module], batches: list[Batch], count: int | None = None, **options: Any
) -> Step:
    plain, expected = trained(make(), batches, captured=False, **options)
    random = torch.get_rng_state()
    step, gradients = trained(make(), batches, captured=True, **options)
    assert step.choices["step"] == "graph"
    assert step.choices["graph"] == "with bf16 weights"
    assert step.choices["self_check"] == "held, bitwise"
    for number, (a, b) in enumerate(zip(gradients, expected, strict=True)):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), f"gradient of {name} in step {number}"
    for (name, x), y in zip(step.state().tensors.items(), plain.state().tensors.values(), strict=True):
        assert torch.equal(x, y), name
    assert torch.equal(torch.get_rng_state(), random)
    assert list(step.trained.state_dict()) == list(plain.trained.state_dict())
    if count is not None:
        assert (
            step.choices["bf16_weights"]
            == f"{count} of {sum(p.requires_grad for p in plain.trained.parameters())}"
        )
    return step


# --- networks ----------------------------------------------------------------------------------------


def test_a_fine_tuning_has_the_bits_of_autocast() -> None:
    batches = images(64, labelled=True, steps=6, count=2)[:3] * 2
    # All but 18 layer scales, and weight and bias of 23 norms.
    assert_the_bits_of_the_plain_step(lambda: classifier("convnext_tiny", 64), batches, 118)


def test_a_pretraining_has_the_bits_of_autocast() -> None:
    batches = images(64, labelled=False, steps=6, count=2)[:3] * 2
    assert_the_bits_of_the_plain_step(lambda: pretraining("convnext_tiny", "egmae", 64), batches)


@pytest.mark.parametrize(
    ("name", "size"), [("test_vit", 160), pytest.param("sgformer", 112, marks=pytest.mark.slow)]
)
def test_a_network_with_attention_has_the_bits_of_autocast(name: str, size: int) -> None:
    batches = images(size, labelled=True, steps=7)
    assert_the_bits_of_the_plain_step(lambda: classifier(name, size), batches)


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_step_in_parts_has_the_bits_of_autocast(accumulate: int) -> None:
    """Of whole batches and of smaller ones, which share the copies."""
    batches = images(64, labelled=True, steps=7)[3:] * 2
    assert_the_bits_of_the_plain_step(lambda: classifier("test_convnext", 64), batches, accumulate=accumulate)


class Casts(TorchDispatchMode):
    """Counts operators that change the type of a tensor, and how many there are in all."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.name()
        self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def test_casts_of_a_pretraining_step_become_fewer() -> None:
    """By two for each weight that is copied; two operators take their place."""
    module = pretraining("convnext_tiny", "egmae", 64).train()
    optimizer = make_optimizer(module, BUDGET)
    (batch,) = images(64, labelled=False, steps=1)
    uses = Uses(module.parameters())
    train_step(uses.watched(module), optimizer, batch, job())
    plain, copied = Casts(), Casts()
    with plain:
        train_step(module, optimizer, batch, job())
    weights = Bf16Weights(uses.replaceable)
    with copied:
        train_step(module, optimizer, batch, job(), weights)
    casts, fewer = (c.counts["aten::_to_copy"] for c in (plain, copied))
    assert casts - fewer == 2 * len(weights.weights)
    assert fewer < casts / 4
    assert copied.counts["aten::_foreach_copy_"] == 2
    assert plain.counts["aten::_foreach_copy_"] == 0


# --- which weights are copied ------------------------------------------------------------------------


class Uncommon(nn.Module):
    """Uses weights in every way that a network may."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.plain = nn.Linear(8, 8)
        self.shared = nn.Linear(8, 8)  # called twice
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.plain.weight
        self.embedding = nn.Embedding(8, 8)
        self.unembedding = nn.Linear(8, 8)
        self.unembedding.weight = self.embedding.weight
        self.standardised = nn.Linear(8, 8)
        self.parametrised = parametrizations.weight_norm(nn.Linear(8, 8))
        self.scale = nn.Parameter(torch.full((8,), 0.5))
        self.precise = nn.Linear(8, 8)  # called without autocast
        self.multiplied = nn.Linear(8, 8)  # its weight is read by a matrix product too
        self.hooked = nn.Linear(8, 8)
        self.hooked.weight.register_hook(lambda gradient: 2 * gradient)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.unread = nn.Linear(8, 8)
        self.target = nn.Linear(8, 8)  # read without gradients first
        self.convolution = nn.Conv1d(1, 4, 3, padding=1, padding_mode="circular")
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        with torch.no_grad():
            goal = self.target(rows).float()
        x = self.shared(self.shared(self.tied(self.plain(rows))))
        x = x + self.unembedding(self.embedding(torch.arange(len(rows))))
        weight = self.standardised.weight
        x = F.linear(x, (weight - weight.mean()) / weight.std(), bias=self.standardised.bias)
        x = self.scale * self.parametrised(x)
        with torch.autocast("cpu", enabled=False):
            x = x + self.precise(x.float())
        x = self.multiplied(x) @ self.multiplied.weight
        x = self.frozen(self.hooked(x))
        x = self.convolution(x[:, None]).mean(1)
        x = self.attention(x[None], x[None], x[None])[0][0]
        return (self.target(x).float() - goal).square().mean() + self.plain.weight.shape[0]


COPIED = {
    "plain.weight",
    "plain.bias",
    "shared.weight",
    "shared.bias",
    "unembedding.bias",
    "standardised.bias",
    "parametrised.bias",
    "multiplied.bias",
    "hooked.bias",
    "convolution.weight",
    "convolution.bias",
}


def test_weights_with_other_uses_are_left_to_autocast() -> None:
    """And what is copied gives the bits that it would have had."""
    module = Uncommon().train()
    uses = Uses(module.parameters())
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    with autocast("bf16", CPU):
        uses.watched(module)(rows)
    names = {id(p): name for name, p in module.named_parameters()}
    assert {names[id(p)] for p in uses.replaceable} == COPIED
    step = assert_the_bits_of_the_plain_step(Uncommon, [(rows,)] * 6, len(COPIED))
    assert step.trained.hooked.weight.grad is not None


def test_a_weight_that_is_read_otherwise_for_once_keeps_both_gradients() -> None:
    """What is not seen in the step that is watched: the gradients are added all the same."""
    module = nn.Linear(8, 8)
    rows = torch.randn(5, 8)
    weights = Bf16Weights(list(module.parameters()))
    expected, found = [], []
    for gradients, copied in ((expected, None), (found, weights)):
        optimizer = make_optimizer(module, BUDGET)
        optimizer.step = lambda: None  # type: ignore[method-assign]
        train_step(
            lambda x: module(x).float().square().mean() + module.weight.square().sum(),
            optimizer,
            (rows,),
            job(),
            copied,
        )
        gradients += [p.grad for p in module.parameters()]
    for a, b in zip(expected, found, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("operator", sorted(CAST, key=lambda f: f.__name__), ids=lambda f: f.__name__)
def test_the_operators_are_those_that_autocast_casts_for(operator: Callable[..., Tensor]) -> None:
    dimensions = 0 if operator is F.linear else int(operator.__name__[-2])
    weight = torch.ones(2, 2, *[1] * dimensions)
    with autocast("bf16", CPU):
        assert operator(torch.ones(2, 2, *[3] * dimensions), weight).dtype == torch.bfloat16


# --- where it does not apply -------------------------------------------------------------------------


def test_in_float32_nothing_is_copied() -> None:
    step, _ = trained(classifier("test_convnext", 64), images(64, True, 7), captured=True, precision="fp32")
    assert step.choices["graph"] == "plain"
    assert "bf16_weights" not in step.choices


def test_ordinary_steps_copy_nothing() -> None:
    step, _ = trained(classifier("test_convnext", 64), images(64, True, 3), captured=False)
    assert not {"graph", "bf16_weights"} & step.choices.keys()


@pytest.mark.parametrize("fault", ["a difference", "an error"])
def test_where_copies_change_the_step_it_is_captured_without_them(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The step that the captured one is compared with has none."""
    batches = images(64, labelled=True, steps=7)
    plain, _ = trained(classifier("test_convnext", 64), batches, captured=False)
    refresh = Bf16Weights.refresh

    def faulty(weights: Bf16Weights) -> None:
        if fault == "an error":
            raise RuntimeError("no such kernel")
        refresh(weights)
        with torch.no_grad():
            weights.copies[0].add_(0.01)

    monkeypatch.setattr(Bf16Weights, "refresh", faulty)
    step, _ = trained(classifier("test_convnext", 64), batches, captured=True)
    reason = (
        "a replayed step is not the ordinary one: " if fault == "a difference" else "RuntimeError: no such"
    )
    assert step.choices["step"] == "graph"
    assert step.choices["graph"].startswith(f"plain; not with bf16 weights: {reason}")
    assert step.choices["self_check"] == "held, bitwise"
    assert "bf16_weights" not in step.choices
    assert [record.getMessage() for record in caplog.records] == [
        f"the step is captured as a slower CUDA graph ({step.choices['graph']})"
    ]
    for (name, x), y in zip(step.state().tensors.items(), plain.state().tensors.values(), strict=True):
        assert torch.equal(x, y), name
