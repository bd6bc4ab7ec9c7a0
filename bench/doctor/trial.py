"""Short trainings by the engine itself, on made-up images: what the checks of equality compare."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.interfaces.executor import Environment, Progress, Report, silent
from bench.interfaces.model import Context, Encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from bench.data.images.view import View
    from bench.engine.gpu.resident import DeviceStore
    from bench.engine.input_pipeline import InputPipeline
    from bench.engine.job import Budget, History

PROTOCOL = "quick"  # its model and size: small, and a real network
CLASSES = ("a", "b", "c")
BATCH = 4
IMAGES = 11  # batches of 4, 4 and 3: the short last one has a graph of its own


@dataclass(frozen=True)
class Trial:
    """A training that the checks do: its name, module, and images for the device store it is given."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[DeviceStore | None], InputPipeline]


@dataclass(frozen=True)
class Trained:
    """How a training ended."""

    weights: dict[str, Tensor]  # on the CPU, the optimiser's state not included
    history: History


def trials(images: int = IMAGES, batch: int = BATCH) -> list[Trial]:
    """A fine-tuning, and every installed pretraining that the model can do."""
    from bench.registry import installed

    strategies = installed().strategies.all()
    name, size = _model_and_size()
    traits = installed().models.get(name).traits
    found = [fine_tuning(images=images, batch=batch)]
    for strategy in strategies:
        if strategy.objective is not None and strategy.needs <= traits:
            build = functools.partial(_objective, strategy.name)
            found.append(Trial(strategy.name, build, functools.partial(_crops, size, images, batch)))
    return found


def fine_tuning(
    build: Callable[[], nn.Module] | None = None, *, images: int = IMAGES, batch: int = BATCH
) -> Trial:
    """A fine-tuning of the protocol's model, or of what `build` gives."""
    size = _model_and_size()[1]
    return Trial("fine-tuning", build or _classifier, functools.partial(_labelled, size, images, batch))


def train(
    trial: Trial,
    environment: Environment,
    folder: Path,
    *,
    epochs: int = 2,
    precision: str = "auto",
    graph: bool = True,
    report: Report = silent,
    images: int = IMAGES,
    batch: int = BATCH,
) -> Trained:
    """Train by `bench.engine.loop.optimize`, with checkpoints in `folder`."""
    import torch

    from bench.engine.device import configure
    from bench.engine.gpu.resident import DeviceStore
    from bench.engine.job import Job
    from bench.engine.loop import optimize

    device = configure(environment.device, environment.threads)
    torch.manual_seed(0)
    module = trial.build().to(device)
    inputs = trial.inputs(None if device.type == "cpu" else DeviceStore(device))
    job = Job(
        unit=trial.name,
        stage="fine-tune",
        seed=7,
        device=device,
        checkpoint=folder / "trial.pt",
        report=report,
        precision=precision,
        graph=graph,
    )
    history = optimize(module, inputs, budget(epochs, images, batch), job)
    weights = {name: t.detach().to("cpu", copy=True) for name, t in module.state_dict().items()}
    return Trained(weights, history)


def budget(epochs: int, images: int = IMAGES, batch: int = BATCH) -> Budget:
    from bench.engine.job import Budget

    return Budget(epochs, -(-images // batch), 1e-3, (0.9, 0.99), 0.05)


def difference(a: Trained, b: Trained) -> str:
    """Where the weights of two trainings differ in any bit; empty if nowhere."""
    import torch

    for name, x in a.weights.items():
        y = b.weights[name]
        if not torch.equal(x, y):
            most = float((x.double() - y.double()).abs().max())
            return f"{name} differs by up to {most:.1e}"
    if a.history.losses != b.history.losses:
        return f"losses differ: {a.history.losses} and {b.history.losses}"
    return ""


def interrupting(epoch: int, step: int) -> Report:
    """A report that interrupts the training after this step, as a signal does."""
    from bench import interruption

    def report(progress: Progress) -> None:
        if (progress.epoch, progress.done) == (epoch, step):
            interruption.interrupt()

    return report


# --- what is trained ---------------------------------------------------------------------------------


def attention_network() -> nn.Module:
    """Patches, two layers of self-attention and a classifier, in PyTorch's own modules."""
    from torch import nn

    from bench.engine.loop import Classifier

    class Patches(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.cut = nn.Conv2d(3, width, 8, stride=8)

        def forward(self, images: Tensor) -> Tensor:
            tokens: Tensor = self.cut(images).flatten(2).transpose(1, 2)
            return tokens.contiguous()

    class Mean(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return tokens.mean(1)

    width = 64
    layers = [
        nn.TransformerEncoderLayer(width, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        for _ in range(2)
    ]
    net = nn.Sequential(Patches(width), *layers, Mean(), nn.Linear(width, len(CLASSES)))
    return Classifier(net, _context().normalize)


def _classifier() -> nn.Module:
    from bench.engine.loop import Classifier
    from bench.registry import installed

    model = installed().models.get(_model_and_size()[0])
    return Classifier(model.build(model.params(), _context()), _context().normalize)


def _objective(strategy_name: str) -> nn.Module:
    import torch

    from bench.registry import installed

    name, size = _model_and_size()
    model, strategy = installed().models.get(name), installed().strategies.get(strategy_name)
    assert model.features is not None
    assert strategy.objective is not None
    net = model.build(model.params(), _context())
    with torch.no_grad():
        _, width, height, _ = model.features(net.eval(), torch.zeros(1, 3, size, size)).shape
    encoder = Encoder(net=net, features=model.features, stride=size // height, width=width)
    return strategy.objective(encoder, strategy.params(), _context())


@functools.cache
def _model_and_size() -> tuple[str, int]:
    from bench.study.config import read_protocol

    values: dict[str, Any] = read_protocol(PROTOCOL)[1]
    return values["model"], values["size"]


def _context() -> Context:
    return Context(classes=CLASSES, size=_model_and_size()[1])


@functools.cache
def sample_view(size: int, images: int) -> View:
    """Noise in a few shapes, every other image grey."""
    import numpy as np

    from bench.data.images.view import View

    rng = np.random.default_rng(0)
    shapes = tuple((1 if i % 2 else 3, size + 8, size + 8 + 3 * (i % 5)) for i in range(images))
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


def _labelled(size: int, images: int, batch: int, store: DeviceStore | None) -> InputPipeline:
    import numpy as np

    from bench.engine import input_pipeline

    labels, indices = np.arange(images) % len(CLASSES), np.arange(images)
    view = sample_view(size, images)
    return input_pipeline.finetuning(
        view, labels, indices, batch=batch, size=size, flip=0.5, device_store=store
    )


def _crops(size: int, images: int, batch: int, store: DeviceStore | None) -> InputPipeline:
    import numpy as np

    from bench.engine import input_pipeline

    view, indices = sample_view(size, images), np.arange(images)
    return input_pipeline.pretraining(
        view, indices, batch=batch, size=size, scale=(0.2, 1.0), flip=0.5, device_store=store
    )


def images_for(size: int, images: int, store: DeviceStore | None) -> tuple[InputPipeline, InputPipeline]:
    """The same crops for fine-tuning and for pretraining, cut on the host or by `store`."""
    return _labelled(size, images, BATCH, store), _crops(size, images, BATCH, store)


def device_of(environment: Environment) -> torch.device:
    from bench.engine.device import configure

    return configure(environment.device, environment.threads)
