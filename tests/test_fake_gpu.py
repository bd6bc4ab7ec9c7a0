"""What a captured step does on a GPU, checked without one: fake tensors have a shape and a device, but no
values.

They refuse what a CUDA graph refuses: mixed devices, tensors from the host, and reading a value. Only
rendering and the forward pass can be checked: PyTorch's autograd engine and fused AdamW need a driver.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench import Context, Encoder
from bench.data.images.view import View
from bench.engine import input_pipeline, loop
from bench.engine.gpu import resident
from bench.engine.gpu.graph import GraphReplay
from bench.engine.gpu.memory_format import arranged
from bench.engine.gpu.resident import DeviceStore
from bench.engine.gpu.stability import Memory, obstacle, trace
from bench.engine.input_pipeline import InputPipeline
from bench.registry import installed

# With a GPU, test_step and test_resident use real tensors; fake ones would stay in caches of the process.
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
NO_GPU = FakeTensorMode()  # one for all tests, because tensors that the code caches belong to one mode
CLASSES = ("a", "b", "c")


def images(size: int) -> View:
    """Two grey images and two in colour, no two of one shape."""
    rng = np.random.default_rng(0)
    shapes = tuple((1 if i % 2 else 3, size + 8, size + 8 + i) for i in range(4))
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


def finetuning(size: int) -> InputPipeline:
    labels = np.arange(4) % 3
    return input_pipeline.finetuning(
        images(size), labels, np.arange(4), batch=4, size=size, flip=0.5, device_store=DeviceStore(CPU, 0)
    )


def pretraining(size: int) -> InputPipeline:
    return input_pipeline.pretraining(
        images(size),
        np.arange(4),
        batch=4,
        size=size,
        scale=(0.2, 1.0),
        flip=0.5,
        device_store=DeviceStore(CPU, 0),
    )


def fake(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)


def moved(module: nn.Module) -> nn.Module:
    """`module.to(GPU)`, which does not work with fake tensors."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(fake(parameter), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = fake(buffer)
    return module


def loss_of(module: nn.Module, inputs: InputPipeline) -> Tensor:
    """The loss of one batch, cut and computed as `step.Step` does it, on a GPU that is not there."""
    table_and_bytes = next(iter(inputs.epoch(0)))
    with NO_GPU:
        rendered: Sequence[Tensor] = inputs.render(*map(fake, table_and_bytes))
        assert {t.device.type for t in rendered} == {"cuda"}
        rendered = [arranged(t, torch.channels_last) for t in rendered]
        loss: Tensor = moved(module.train())(*rendered)
    return loss


def classifier(name: str, size: int) -> loop.Classifier:
    model, context = installed().models.get(name), Context(classes=CLASSES, size=size)
    return loop.Classifier(model.build(model.params(), context), context.normalize)


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "convnext_tiny", "cmt", "smt", "pervit", "sgformer", "spa", "cpvt"]
)
def test_fine_tuning_stays_on_the_device_and_waits_for_nothing(name: str) -> None:
    loss = loss_of(classifier(name, 224), finetuning(224))
    assert (loss.device.type, loss.shape, loss.requires_grad) == ("cuda", (), True)


@pytest.mark.parametrize("strategy_name", ["egmae", "mae", "noise"])
@pytest.mark.parametrize("model_name", ["test_convnext", "tf_efficientnet_lite0"])
def test_pretraining_stays_on_the_device_and_waits_for_nothing(strategy_name: str, model_name: str) -> None:
    model, strategy = installed().models.get(model_name), installed().strategies.get(strategy_name)
    context = Context(classes=CLASSES, size=96)
    net = model.build(model.params(), context)
    with torch.no_grad():
        _, width, height, _ = model.features(net, torch.zeros(1, 3, 96, 96)).shape
    encoder = Encoder(net=net, features=model.features, stride=96 // height, width=width)
    loss = loss_of(strategy.objective(encoder, strategy.params(), context), pretraining(96))
    assert (loss.device.type, loss.shape, loss.requires_grad) == ("cuda", (), True)


@pytest.mark.parametrize(("stored", "dtype"), [(2**31 - 1, torch.int32), (2**31, torch.int64)])
def test_positions_of_pixels_are_as_small_as_the_store_allows(stored: int, dtype: torch.dtype) -> None:
    with NO_GPU:
        batch = torch.empty(stored, dtype=torch.uint8, device=GPU), torch.empty(4, 10, dtype=torch.int64)
        done = trace(lambda pixels, rows: resident.crops(pixels, rows.to(GPU), 8, 3), batch)
    (gathered,) = (op for op in done.operations if op.name == "aten.index_select.default")
    assert [a.dtype for a in gathered.arguments if isinstance(a, Memory)] == [torch.uint8, dtype]


class Bad(nn.Module):
    """A module that cannot be captured: its forward calls `fault`."""

    def __init__(self, fault: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.fault = fault

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        loss = pictures.float().mean() * self.weight
        self.fault(loss)
        return loss


@pytest.mark.parametrize(
    "fault",
    [
        lambda loss: loss.item(),
        lambda loss: loss + torch.ones(3),  # made on the CPU
        lambda loss: loss + ON_THE_HOST,
        lambda loss: (loss > 0).nonzero(),  # its shape depends on values
    ],
)
def test_what_cannot_be_captured_is_noticed(fault: Callable[[Tensor], object]) -> None:
    loss_of(Bad(lambda loss: loss + 1), finetuning(32))
    with pytest.raises(Exception, match=r"device|FakeTensor|convert all Tensors|aten\."):
        loss_of(Bad(fault), finetuning(32))


ON_THE_HOST = torch.ones(3)


# --- what is seen before a capture -------------------------------------------------------------------


def test_a_step_is_watched_before_it_is_captured(caplog: pytest.LogCaptureFixture) -> None:
    """What would be frozen without an error keeps the steps ordinary: operator and place are named."""
    captured: list[object] = []

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        captured.append(work)
        return work

    total, count = torch.zeros(()), 0

    def sound(x: Tensor) -> None:
        total.add_(x.sum())

    def counting(x: Tensor) -> None:
        nonlocal count
        count += 1
        total.add_(x.sum() * 0.9**count)

    def reading(x: Tensor) -> None:
        total.add_(x.sum() / x.sum().item())

    for work, reason in (
        (sound, ""),
        (counting, r"aten\.mul\.Tensor at .*test_fake_gpu\.py:\d+ is given 0\.81, and 0\.729"),
        (reading, r"aten\._local_scalar_dense\.default at .*test_fake_gpu\.py:\d+ waits for the device"),
    ):
        captured.clear()
        caplog.clear()
        total.zero_()
        replay = GraphReplay(work, CPU, capture)
        rows = torch.arange(24.0).view(8, 3)
        for row in rows:  # one table in memory, of which each step sees another part
            replay(row)
        assert bool(captured) == (not reason)
        assert re.search(f"eager: {reason}" if reason else "graph", replay.mode), replay.mode
        assert len(caplog.records) == bool(reason)
        if work is sound:
            assert total == rows.sum()  # each step was done once, the watched ones too


def test_the_watched_steps_of_a_forward_pass_on_a_gpu_name_what_copies_from_the_host() -> None:
    with NO_GPU:
        weight = torch.zeros(3, device=GPU)
        batch = (torch.zeros(4, 3, device=GPU),)
    for work, found in (
        (lambda x: x * weight + 2.0, ""),
        (lambda x: x * torch.tensor(2.0), "copies a value from the host"),
        (lambda x: weight.copy_(torch.ones(3)), "copies between the host and the device"),
    ):
        with NO_GPU:
            said = obstacle([trace(work, batch), trace(work, batch)])
        assert found in said if found else not said, said
