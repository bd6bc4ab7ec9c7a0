"""How others feed a training: the same images as PNG files, the same model, augmentation and step.

The pretraining `mae` is what all do, because it needs nothing but a randomly resized crop. Peers get what is
in their favour: workers that stay, pinned memory, our fused AdamW, autocast and memory format, and no reading
of the loss within an epoch. Each loader is its package's own, on files of the size in which such images come.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import registry
from bench.engine import loop
from bench.engine.device import autocast
from bench.engine.gpu import memory_format
from benchmarks.work import Setting, Task, phantom, timed

SCALE = (0.2, 1.0)
UNIT = {
    "mean": (0.0, 0.0, 0.0),
    "std": (1 / 255, 1 / 255, 1 / 255),
}  # leaves grey levels: the module normalises


class Missing(Exception):
    """A peer that is not installed, or cannot do this work; says why."""


def write_png(task: Task, setting: Setting, folder: Path, short: int | None = None) -> Path:
    """The images that `task` trains on as files in a folder a class: as they come, or as small as the image
    store has them, with their short side at `short`."""
    from PIL import Image

    offer = registry.installed().datasets.get("phantom")
    samples = offer.index(Path(), offer.params(**phantom(setting))).samples
    for i in task.indices:
        pixels = samples[i].array if short is None else task.setup.images.view(short)[i].transpose(1, 2, 0)
        target = folder / samples[i].label / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(target)
    return folder


def torchvision(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """ImageFolder, transforms v2 on uint8, DataLoader: the loop of PyTorch's ImageNet example."""
    if find_spec("torchvision") is None:
        raise Missing("torchvision is not installed; pip install 'bench[peers]'")
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(task.setup.context.size, scale=SCALE, antialias=True)
    transform = v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip()])
    data = ImageFolder(str(folder), transform)
    loader: Any = DataLoader(
        data,
        batch_size=_batch(task),
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        drop_last=len(data) % _batch(task) == 1,
    )
    return _epochs(task, loader)


def timm(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """timm's dataset, loader (fast collate, prefetcher) and the loop of its train.py."""
    from timm.data import create_dataset, create_loader

    loader: Any = create_loader(
        create_dataset("", root=str(folder), is_training=True),
        task.setup.context.size,
        _batch(task),
        is_training=True,
        scale=SCALE,
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bilinear",
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        device=task.job.device,
        **UNIT,
    )
    return _epochs(task, loader)


def lightly(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """lightly's dataset and MAETransform (bicubic) in its usual DataLoader. Its MAE and SimMIM take a vision
    transformer and no convolutional network, so the module is ours."""
    if find_spec("lightly") is None:
        raise Missing("lightly is not installed; pip install 'bench[peers]'")
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # it asks its server otherwise
    from lightly.data import LightlyDataset
    from lightly.transforms.mae_transform import MAETransform
    from torch.utils.data import DataLoader

    normalize = {name: list(values) for name, values in UNIT.items()}
    transform = MAETransform(task.setup.context.size, min_scale=SCALE[0], normalize=normalize)
    data = LightlyDataset(str(folder), transform=transform)
    loader: Any = DataLoader(
        data,
        batch_size=_batch(task),
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        drop_last=len(data) % _batch(task) == 1,
    )
    return _epochs(task, loader, lambda images: images[0])


PEERS: dict[str, Callable[[Task, Path, int], Callable[[], float]]] = {
    "torchvision": torchvision,
    "timm": timm,
    "lightly": lightly,
}


def _batch(task: Task) -> int:
    return max(len(batch[0]) for batch in task.inputs.epoch(0))


def _epochs(
    task: Task, loader: Iterable[Any], images_of: Callable[[Any], Tensor] = lambda images: images
) -> Callable[[], float]:
    """Seconds of a whole epoch of the textbook loop over `loader`, workers already running."""
    module, device = copy.deepcopy(task.module).train(), task.job.device
    optimizer = loop.make_optimizer(module, task.budget)

    def once() -> None:
        total = torch.zeros((), device=device)
        for given, *_ in loader:
            images = memory_format.arranged(
                images_of(given).to(device, non_blocking=True), task.memory_format
            )
            optimizer.zero_grad(set_to_none=True)
            with autocast(task.job.precision, device):
                loss = module(images)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(images)
        total.item()

    once()  # workers start, kernels are chosen
    return lambda: timed(once, device)
