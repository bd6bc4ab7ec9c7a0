"""The input pipelines of others: the same images as PNG files, the same model, augmentation and step.

All do the pretraining `mae`, because it needs nothing but a randomly resized crop. Peers get what makes them
fast: workers that persist, pinned memory, our fused AdamW, autocast and memory format, and no reading of the
loss within an epoch. Each loader is its package's own, on files of the size in which such images come.
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

from bench.engine.device import autocast
from bench.engine.gpu import memory_format
from bench.engine.step import make_optimizer
from benchmarks.work import Setting, Task, phantom, timed

SCALE = (0.2, 1.0)
MEAN, STD = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
"""With these a loader leaves grey levels as they are; the module normalises them."""


class Missing(Exception):
    """A peer that is not installed, or cannot do this work; says why."""


def write_png(task: Task, setting: Setting, folder: Path, short: int | None = None) -> Path:
    """Write the images that `task` trains on as files, one folder per class, and return `folder`: at their
    own size, or with their short side at `short`, as the image store has them."""
    from PIL import Image

    dataset = task.session.registry.datasets.get("phantom")
    samples = dataset.index(Path(), dataset.params(**phantom(setting))).samples
    for i in task.setup.split.indices("train"):
        pixels = samples[i].array if short is None else task.setup.images.view(short)[i].transpose(1, 2, 0)
        target = folder / samples[i].label / f"{i}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.squeeze()).save(target)
    return folder


def torchvision(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """ImageFolder, transforms v2 on uint8, DataLoader: the loop of PyTorch's ImageNet example."""
    if find_spec("torchvision") is None:
        raise Missing("torchvision is not installed; pip install 'medbench[peers]'")
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(task.setup.context.size, scale=SCALE, antialias=True)
    transform = v2.Compose([v2.PILToTensor(), crop, v2.RandomHorizontalFlip()])
    data = ImageFolder(str(folder), transform)
    loader: Any = DataLoader(
        data,
        batch_size=task.batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        drop_last=True,
    )
    return _epochs(task, loader)


def timm(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """timm's dataset, loader (fast collate, prefetcher) and the loop of its train.py."""
    from timm.data import create_dataset, create_loader

    loader: Any = create_loader(
        create_dataset("", root=str(folder), is_training=True),
        task.setup.context.size,
        task.batch,
        is_training=True,
        scale=SCALE,
        hflip=0.5,
        color_jitter=0.0,
        interpolation="bilinear",
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        device=task.job.device,
        mean=MEAN,
        std=STD,
    )
    return _epochs(task, loader)


def lightly(task: Task, folder: Path, workers: int) -> Callable[[], float]:
    """lightly's dataset and MAETransform (bicubic) in its usual DataLoader. Its MAE and SimMIM take a vision
    transformer and no convolutional network, so the module is ours."""
    if find_spec("lightly") is None:
        raise Missing("lightly is not installed; pip install 'medbench[peers]'")
    os.environ.setdefault("LIGHTLY_DID_VERSION_CHECK", "True")  # it asks its server otherwise
    from lightly.data import LightlyDataset
    from lightly.transforms.mae_transform import MAETransform
    from torch.utils.data import DataLoader

    normalize = {"mean": list(MEAN), "std": list(STD)}
    transform = MAETransform(task.setup.context.size, min_scale=SCALE[0], normalize=normalize)
    data = LightlyDataset(str(folder), transform=transform)
    loader: Any = DataLoader(
        data,
        batch_size=task.batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=task.on_gpu,
        drop_last=True,
    )
    return _epochs(task, loader, lambda images: images[0])


PEERS: dict[str, Callable[[Task, Path, int], Callable[[], float]]] = {
    "torchvision": torchvision,
    "timm": timm,
    "lightly": lightly,
}


def _epochs(
    task: Task, loader: Iterable[Any], images_of: Callable[[Any], Tensor] = lambda images: images
) -> Callable[[], float]:
    """Seconds of a whole epoch of the textbook loop over `loader`, workers already running."""
    module, device = copy.deepcopy(task.module).train(), task.job.device
    optimizer = make_optimizer(module, task.budget)

    def once() -> None:
        total = torch.zeros((), device=device)
        for loaded, *_ in loader:
            moved = images_of(loaded).to(device, non_blocking=True)
            images = memory_format.arranged(moved, task.memory_format)
            optimizer.zero_grad(set_to_none=True)
            with autocast(task.job.precision, device):
                loss = module(images)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(images)
        total.item()

    once()  # workers start, kernels are chosen
    return lambda: timed(once, device)
