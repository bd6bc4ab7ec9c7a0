"""What a graph takes for granted of a step, seen without a GPU by tracing steps (engine/gpu/stability.py)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import Context, Encoder, silent
from bench.data.images.view import View
from bench.engine import input_pipeline
from bench.engine.gpu.resident import DeviceStore
from bench.engine.gpu.stability import Recorder, Unstable, obstacle, tensors_of, trace
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.loop import Classifier
from bench.engine.step import Step, make_optimizer
from bench.registry import installed

CPU = torch.device("cpu")
BUDGET = Budget(9, 3, 1e-3, (0.9, 0.99), 0.05)
CLASSES = ("a", "b", "c")
IMAGES = 11  # in batches of 3, the last one of 2
BASELINES = ("cmt", "convnext_small", "cpvt", "focalnet", "pervit", "sgformer", "smt", "spa", "swin")


def view(size: int, count: int) -> View:
    """Images in colour and in grey, of several shapes."""
    rng = np.random.default_rng(0)
    shapes = tuple((1 if i % 2 else 3, size + 8, size + 8 + i % 5) for i in range(count))
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


def finetuning(size: int, limit: int | None = None, count: int = IMAGES) -> InputPipeline:
    labels, store = np.arange(count) % 3, DeviceStore(CPU, limit)
    return input_pipeline.finetuning(
        view(size, count), labels, np.arange(count), batch=3, size=size, flip=0.5, device_store=store
    )


def pretraining(size: int, limit: int | None = None) -> InputPipeline:
    return input_pipeline.pretraining(
        view(size, IMAGES),
        np.arange(IMAGES),
        batch=3,
        size=size,
        scale=(0.2, 1.0),
        flip=0.5,
        device_store=DeviceStore(CPU, limit),
    )


def classifier(name: str, size: int) -> Classifier:
    torch.manual_seed(0)
    model, context = installed().models.get(name), Context(classes=CLASSES, size=size)
    return Classifier(model.build(model.params(), context), context.normalize)


def objective(strategy_name: str, **params: Any) -> nn.Module:
    torch.manual_seed(0)
    model, strategy = installed().models.get("test_convnext"), installed().strategies.get(strategy_name)
    context = Context(classes=CLASSES, size=96)
    net = model.build(model.params(), context)
    with torch.no_grad():
        _, width, height, _ = model.features(net.eval(), torch.zeros(1, 3, 96, 96)).shape
    encoder = Encoder(net=net, features=model.features, stride=96 // height, width=width)
    return strategy.objective(encoder, strategy.params(**params), context)


def watched(
    module: nn.Module,
    inputs: InputPipeline,
    *,
    epochs: int = 3,
    between: Callable[[int, nn.Module, Step], object] = lambda epoch, module, step: None,
    **options: Any,
) -> tuple[Step, Recorder]:
    """Train as on a GPU, with a recorder in the place of graphs."""
    job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, **{"precision": "bf16", **options})
    module.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = make_optimizer(module, BUDGET, capturable=True)
    rate = torch.zeros(())
    recorder = Recorder(lambda: tensors_of(module, optimizer, [step.total, rate]))
    step = Step(module, optimizer, job, inputs.render, torch.channels_last, recorder)
    step.rate = rate  # a number on a CPU, a tensor on a GPU
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        for number, batch in enumerate(inputs.epoch(epoch)):
            step(batch, 1e-3 / (1 + epoch + number))
        between(epoch, module, step)
    return step, recorder


def assert_graphs_hold(module: nn.Module, inputs: InputPipeline, shapes: int = 2, **options: Any) -> None:
    step, recorder = watched(module, inputs, **options)
    assert step.choices["step"] == "graph"
    precision = options.get("precision", "bf16")
    assert step.choices["graph"] == ("with bf16 weights" if precision == "bf16" else "plain")
    assert recorder.captures == shapes
    assert recorder.replays > 3


# --- ours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "params", "limit"),
    [
        ("egmae", {}, None),
        ("egmae", {"colour": "joint"}, 0),  # streamed
        ("egmae", {"colour": "channels", "target": "patch", "loss": "weighted"}, None),
        ("mae", {}, 0),
        ("noise", {}, None),
    ],
)
def test_steps_of_pretrainings_can_be_captured(
    strategy: str, params: dict[str, Any], limit: int | None
) -> None:
    assert_graphs_hold(objective(strategy, **params), pretraining(96, limit))


@pytest.mark.parametrize("options", [{}, {"precision": "fp32"}, {"accumulate": 2}], ids=str)
def test_steps_of_a_fine_tuning_can_be_captured(options: dict[str, Any]) -> None:
    assert_graphs_hold(classifier("test_convnext", 64), finetuning(64), **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BASELINES, "convnext_tiny"])
def test_steps_of_the_networks_of_tables_can_be_captured(name: str) -> None:
    assert_graphs_hold(classifier(name, 224), finetuning(224))


def test_no_network_of_tables_is_left_out() -> None:
    assert {m.name for m in installed().models.all() if "baseline" in m.traits} == set(BASELINES)


def test_steps_of_a_network_of_tables_can_be_captured() -> None:
    """A small one, at half its size."""
    assert_graphs_hold(classifier("tf_efficientnet_lite0", 112), finetuning(112, count=9), shapes=1)


def test_evaluation_and_loaded_weights_leave_graphs_valid() -> None:
    def evaluate(epoch: int, module: nn.Module, step: Step) -> None:
        module.eval()
        with torch.inference_mode():
            module.net(torch.zeros(2, 3, 64, 64))
        module.train()
        module.load_state_dict({k: v.clone() for k, v in module.state_dict().items()})

    step, recorder = watched(classifier("test_convnext", 64), finetuning(64), between=evaluate)
    assert step.choices["step"] == "graph"
    assert recorder.replays > 3


def test_a_recorded_capture_does_not_count_as_a_step() -> None:
    """Two trainings give the same bits: one with recorded captures, one with ordinary steps."""
    recorded = classifier("test_convnext", 64)
    watched(recorded, finetuning(64))
    plain = classifier("test_convnext", 64)
    inputs = finetuning(64)
    job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, precision="bf16")
    plain.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    step = Step(
        plain, make_optimizer(plain, BUDGET, capturable=True), job, inputs.render, torch.channels_last
    )
    step.rate = torch.zeros(())
    for epoch in range(3):
        torch.manual_seed(epoch)
        for number, batch in enumerate(inputs.epoch(epoch)):
            step(batch, 1e-3 / (1 + epoch + number))
    for a, b in zip(recorded.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)


# --- planted faults ----------------------------------------------------------------------------------


class Counter(Classifier):
    """A bias correction by a counter in Python."""

    n = 0

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.n += 1
        return super().forward(images, labels) * (1 - 0.99**self.n)


class Drawn(Classifier):
    """A mixing weight drawn by numpy."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images, labels) * float(np.random.beta(1, 1))


class Average(Classifier):
    """An average of the weights that is a new tensor in each step."""

    average: Tensor | None = None

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        weight = next(self.net.parameters())
        old = weight.detach().clone() if self.average is None else self.average
        self.average = 0.9 * old + 0.1 * weight.detach()
        return super().forward(images, labels) + (self.average - weight).square().sum()


class HostTensor(Classifier):
    """A number made a tensor in each step."""

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images, labels) * torch.tensor(2.0)


class Item(Classifier):
    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = super().forward(images, labels)
        return loss / max(1.0, loss.item())


class Masked(Classifier):
    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return super().forward(images, labels) + self.net(self.normalize(images))[labels > 0].sum()


class Alternating(Classifier):
    """Does more in every other step."""

    n = 0

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.n += 1
        loss = super().forward(images, labels)
        return loss + 0 * loss.square() if self.n % 2 else loss


FAULTS = [
    (
        Counter,
        r"aten\.mul\.Tensor at .*test_stability\.py:\d+ is given 0\.0\d+, and 0\.0\d+ in the next step",
    ),
    (Drawn, r"aten\.mul\.Tensor at .*test_stability\.py:\d+ is given 0\.\d+, and 0\.\d+ in the next step"),
    (Average, r"aten\.mul\.Tensor at .*test_stability\.py:\d+ uses a tensor .* lies elsewhere .*in place"),
    (HostTensor, r"aten\.lift_fresh\.default at .*test_stability\.py:\d+ copies a value from the host"),
    (Item, r"aten\._local_scalar_dense\.default at .*test_stability\.py:\d+ waits for the device"),
    (Masked, r"aten\.index\.Tensor at .*test_stability\.py:\d+ waits for the device, to count"),
    (Alternating, r"aten\.\w+\.\w+ at .* is aten\.\w+\.\w+ at .* in the next step|operators become"),
]


def planted(kind: type[Classifier]) -> Classifier:
    sound = classifier("test_convnext", 64)
    return kind(sound.net, sound.normalize)


@pytest.mark.parametrize(("kind", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_faults_are_seen_and_named(kind: type[Classifier], reason: str) -> None:
    """In a training: before the capture, or in it. All steps are ordinary ones then."""
    step, recorder = watched(planted(kind), finetuning(64))
    said = step.choices["step"]
    assert said.startswith("eager: ")
    assert not recorder.captures
    assert re.search(reason, said), said


@pytest.mark.parametrize(("kind", "reason"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_faults_are_seen_in_two_ordinary_steps(kind: type[Classifier], reason: str) -> None:
    """As before a capture on a GPU: the second and the third step."""
    said = obstacle(ordinary_traces(planted(kind)))
    assert re.search(reason, said), said


def ordinary_traces(module: nn.Module) -> list[Any]:
    inputs, traces = finetuning(64), []
    job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, precision="bf16")
    step = Step(module.train(), make_optimizer(module, BUDGET, capturable=True), job, inputs.render)
    step.rate = torch.zeros(())
    for number, batch in enumerate(list(inputs.epoch(0))[:3]):
        step.rate.fill_(1e-3 / (1 + number))
        for group in step.optimizer.param_groups:
            group["lr"] = step.rate
        if number:
            traces.append(trace(step._run, batch))
        else:
            step._run(*batch)
    return traces


def test_two_ordinary_steps_of_a_sound_module_have_no_obstacle() -> None:
    assert obstacle(ordinary_traces(classifier("test_convnext", 64))) == ""


def test_an_optimiser_reloaded_under_a_graph_is_seen() -> None:
    def reload(epoch: int, module: nn.Module, step: Step) -> None:
        if epoch == 1:
            state = step.optimizer.state_dict()
            moved = {k: {n: v.clone() for n, v in each.items()} for k, each in state["state"].items()}
            step.optimizer.load_state_dict(state | {"state": moved})

    with pytest.raises(Unstable, match=r"at .*step\.py:\d+ uses a tensor .* lies elsewhere"):
        watched(classifier("test_convnext", 64), finetuning(64), between=reload)


def test_a_replay_that_differs_is_seen() -> None:
    """What begins to change only after the capture."""
    weight = [1.0, 1.0, 2.0]
    replay = Recorder(dict)(lambda: torch.ones(3).mul(weight.pop(0)))
    replay()
    with pytest.raises(Unstable, match=r"aten\.mul\.Tensor at .* is given 1\.0, and 2\.0 in the next step"):
        replay()


def test_state_that_a_step_makes_or_replaces_is_seen() -> None:
    state = {"a": torch.zeros(3)}

    def replace() -> None:
        state["a"] = state["a"] + 1

    with pytest.raises(Unstable, match="the step replaces a; change it in place"):
        Recorder(lambda: state)(replace)

    def make() -> None:
        state["b"] = torch.zeros(3)

    with pytest.raises(Unstable, match="the step makes new state: b"):
        Recorder(lambda: state)(make)


@pytest.mark.parametrize(
    ("work", "found"),
    [
        (lambda x: x.masked_fill_(x > 0, 1.0), ""),
        (lambda x: x.__setitem__(x > 0, torch.zeros(1)), ""),
        (lambda x: x[torch.arange(2)], ""),
        (lambda x: x.repeat_interleave(torch.ones(4).long(), output_size=4), ""),
        (lambda x: x.repeat_interleave(torch.ones(4).long()), "shape depends on values"),
        (lambda x: x.nonzero(), "shape depends on values"),
        (lambda x: torch.unique(x), "shape depends on values"),
        (lambda x: x[x > 0], "to count what a mask selects"),
        (lambda x: x.__setitem__(x >= 0, torch.zeros(4)), "to count what a mask selects"),
        (lambda x: bool(x.sum() > 0), "to read a value"),
        (lambda x: torch.equal(x, x), "to read a value"),
        (lambda x: x.new_tensor([1.0]), "copies a value from the host"),
        (lambda x: x + torch.from_numpy(np.ones(4)), "copies a value from the host"),
        (lambda x: torch.zeros(3, device="meta").copy_(x[:3]), "between the host and the device"),
    ],
)
def test_operators_that_no_graph_holds(work: Callable[[Tensor], object], found: str) -> None:
    def once(x: Tensor) -> None:
        work(x)

    said = obstacle([trace(once, [torch.zeros(4)])])
    assert found in said if found else not said, said


def test_memory_that_was_freed_and_is_used_again_is_not_taken_for_the_same() -> None:
    """An allocator gives a new tensor the address of one that is gone; a graph would read the old one."""
    kept: list[Tensor] = []

    def work() -> None:
        kept.append(torch.zeros(1000) + 1)
        kept.pop(0).sum()

    kept.append(torch.zeros(1000))
    assert "lies elsewhere" in obstacle([trace(work), trace(work)])
