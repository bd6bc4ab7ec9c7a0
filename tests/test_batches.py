"""Crops and flips compared with torchvision, and epochs that can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from bench.engine import batches


class Store:
    """A view on images of several shapes and channel counts."""

    def __init__(self, shapes: list[tuple[int, int, int]]) -> None:
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [image.shape for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.images[i]


MIXED = Store([(1, 40, 52), (3, 40, 40), (3, 61, 40), (1, 40, 90), (3, 43, 44), (1, 40, 41), (1, 50, 40)])
ALL = np.arange(len(MIXED))


def pretraining(seed: int, **changes: object) -> list[torch.Tensor]:
    settings: dict = {"batch": 3, "size": 32, "scale": (0.2, 1.0), "flip": 0.5} | changes
    return [b for (b,) in batches.pretraining_batches(MIXED, ALL, seed=seed, **settings)]


def finetuning(seed: int, **changes: object) -> list[tuple[torch.Tensor, ...]]:
    settings: dict = {"batch": 3, "size": 32, "flip": 0.5} | changes
    return list(batches.finetuning_batches(MIXED, ALL * 10, ALL, seed=seed, **settings))


def test_an_epoch_can_be_repeated_and_differs_from_the_next() -> None:
    for first, again, other in zip(pretraining(1), pretraining(1), pretraining(2), strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


@pytest.mark.parametrize("shape", [(1, 40, 52), (3, 40, 52), (3, 256, 300)])
@pytest.mark.parametrize("size", [32, 96])
def test_resize_is_torchvisions_antialiased_resize(shape: tuple[int, int, int], size: int) -> None:
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert torch.equal(batches.resize(image, size), F.resize(image, [size, size], antialias=True))


def test_pretraining_images_are_resized_crops_of_the_store() -> None:
    """With the whole area of a square image, only one crop is possible."""
    square = Store([(3, 40, 40)] * 3)
    (images,) = next(
        batches.pretraining_batches(
            square, np.arange(3), batch=3, size=24, scale=(1.0, 1.0), flip=0.0, seed=5
        )
    )
    expected = [F.resize(torch.from_numpy(image), [24, 24], antialias=True) for image in square.images]
    matched = [any(torch.equal(image, e) for e in expected) for image in images]
    assert any(matched)  # a drawn ratio other than 1 does not fit, so most tries fall back to the whole image


def test_finetuning_images_are_exact_crops_and_flips_with_their_labels() -> None:
    for images, labels in finetuning(3):
        for image, label in zip(images, labels, strict=True):
            source = torch.from_numpy(MIXED[int(label) // 10]).expand(3, -1, -1)
            windows = source.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
            same = (windows == image).flatten(1).all(1) | (windows == image.flip(-1)).flatten(1).all(1)
            assert same.any()


def test_crops_reach_every_corner_uniformly() -> None:
    view = Store([(1, 34, 35)])
    corners = set()
    numbered = np.arange(34 * 35, dtype=np.int64).reshape(34, 35)
    view.images[0] = (numbered % 251).astype(np.uint8)[None]
    for seed in range(200):
        ((images, _),) = batches.finetuning_batches(
            view, np.zeros(1, np.int64), np.arange(1), batch=16, size=32, flip=0.0, seed=seed
        )
        corners.add(int(images[0, 0, 0, 0]))
    assert len(corners) == 3 * 4


def test_evaluation_is_torchvisions_centre_crop_in_order() -> None:
    crops = torch.cat([images for (images,) in batches.evaluation_batches(MIXED, ALL, batch=3, size=40)])
    for i, image in enumerate(crops):
        expected = v2.CenterCrop(40)(torch.from_numpy(MIXED[i]).expand(3, -1, -1))
        assert torch.equal(image, expected)


def test_crop_boxes_have_torchvisions_distribution() -> None:
    """Mean and spread of area and ratio agree with 4,000 draws of torchvision's own sampler."""
    count, scale = 4000, (0.2, 1.0)
    shapes = torch.tensor([[60, 90]]).expand(count, 2)
    boxes = batches.random_resized_crops(shapes, scale, torch.Generator().manual_seed(0)).double()
    torch.manual_seed(0)
    sampler = v2.RandomResizedCrop(32, scale=scale)
    image = torch.zeros(3, 60, 90)
    drawn = [sampler.make_params([image]) for _ in range(count)]
    reference = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in drawn]).double()
    for statistic in (lambda b: b[:, 2] * b[:, 3], lambda b: (b[:, 3] / b[:, 2]).log(), lambda b: b[:, 0]):
        a, b = statistic(boxes), statistic(reference)
        error = 4 * b.std() / math.sqrt(count) * math.sqrt(2)
        assert abs(a.mean() - b.mean()) < error
        assert a.std() == pytest.approx(float(b.std()), rel=0.08)


def test_crop_boxes_lie_within_the_image_also_for_extreme_shapes() -> None:
    shapes = torch.tensor([[10, 1000], [1000, 10], [7, 7], [30, 31]]).repeat(50, 1)
    top, left, height, width = batches.random_resized_crops(
        shapes, (0.2, 1.0), torch.Generator().manual_seed(1)
    ).unbind(1)
    assert (height >= 1).all()
    assert (width >= 1).all()
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= shapes[:, 0]).all()
    assert (left + width <= shapes[:, 1]).all()


@pytest.mark.parametrize(("images", "steps"), [(16, 1), (17, 1), (18, 2), (32, 2), (1, 1), (33, 2), (40, 3)])
def test_a_last_batch_of_one_is_left_out(images: int, steps: int) -> None:
    assert batches.steps_per_epoch(images, 16) == steps


@pytest.mark.parametrize("count", [1, 4, 5])
def test_evaluation_leaves_no_image_out(count: int) -> None:
    parts = [images for (images,) in batches.evaluation_batches(MIXED, ALL[:count], batch=4, size=40)]
    assert [len(part) for part in parts] == [min(count, 4), *[1] * (count > 4)]


def test_every_image_is_seen_once_per_epoch() -> None:
    labels = torch.cat([labels for _, labels in finetuning(0, batch=4)])
    assert sorted(labels.tolist()) == (ALL * 10).tolist()
