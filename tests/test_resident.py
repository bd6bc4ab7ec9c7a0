"""Batches cut on the device, compared with torchvision and with those of a CPU, on every available device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.transforms.v2 import functional as F

from bench.data.images.view import View
from bench.engine import input_pipeline
from bench.engine.batches import largest_crop, most_pixels, plan_pretraining, random_resized_crops
from bench.engine.device import full_precision
from bench.engine.gpu.resample import Extent, resize_crops, weights
from bench.engine.gpu.resident import (
    CropTable,
    DeviceStore,
    crop_table,
    extent_of_crops,
    resized_crops,
    share,
)
from bench.engine.input_pipeline import InputPipeline

GREY_AND_COLOUR = ((1, 40, 52), (3, 40, 40), (3, 61, 40), (1, 40, 90), (3, 43, 44), (1, 40, 41), (1, 50, 40))
GREY = ((1, 40, 52), (1, 40, 40), (1, 44, 40), (1, 40, 40), (1, 90, 40))
NOTHING_FITS = 0  # bytes that may be resident

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]


def view(shapes: tuple[tuple[int, int, int], ...]) -> View:
    rng = np.random.default_rng(0)
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


def rendered(inputs: InputPipeline, seed: int = 5) -> list[list[Tensor]]:
    """The arguments of the module, batch by batch."""
    return [[t.cpu().clone() for t in inputs.render(*batch)] for batch in inputs.epoch(seed)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


# --- resampling --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.sampled_from([1, 3]), st.integers(5, 300), st.integers(5, 300)),
    size=st.sampled_from([8, 32, 96, 224]),
    cut=st.tuples(*[st.floats(0, 1)] * 4),
    flip=st.booleans(),
    at_once=st.integers(20, 300),
)
def test_resampling_is_torchvisions_antialiased_resize(
    shape: tuple[int, int, int], size: int, cut: tuple[float, ...], flip: bool, at_once: int
) -> None:
    """To 1e-3 grey levels, for crops anywhere and of any size, growing or shrinking."""
    _, height, width = shape
    image = torch.from_numpy(np.random.default_rng(height * width).integers(0, 256, shape)).float()
    h, w = max(1, round(cut[0] * height)), max(1, round(cut[1] * width))
    top, left = int(cut[2] * (height - h)), int(cut[3] * (width - w))
    expected = F.resize(image[:, top : top + h, left : left + w], [size, size], antialias=True)
    crop = image[:, top : top + h, left : left + w]

    def read(channel: int, first: int, end: int) -> Tensor:
        return crop[None, channel, :, first:end]

    extent = Extent(len(image), h, w, at_once)
    resized = resize_crops(read, extent, torch.tensor([[h, w]]), torch.tensor([flip]), size)[0]
    torch.testing.assert_close(resized, expected.flip(-1) if flip else expected, atol=1e-3, rtol=0.0)


def test_weights_sum_to_one_and_stay_within_the_crop() -> None:
    matrices = weights(torch.tensor([0, 3, 9]), torch.tensor([20, 1, 11]), 8, 20)
    torch.testing.assert_close(matrices.sum(2), torch.ones(3, 8))
    assert (matrices >= 0).all()
    assert (matrices[1, :, 3] == 1).all()
    assert (matrices[2, :, :9] == 0).all()


def test_full_precision_ends_with_its_block() -> None:
    torch.set_float32_matmul_precision("high")
    with full_precision():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")


# --- input pipelines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, NOTHING_FITS])
@pytest.mark.parametrize("shapes", [GREY_AND_COLOUR, GREY])
def test_finetuning_batches_are_those_of_a_cpu_to_the_last_bit(
    device: torch.device, shapes: tuple[tuple[int, int, int], ...], limit: int | None
) -> None:
    images, count = view(shapes), len(shapes)
    labels = np.arange(count) * 10
    common = {"batch": 3, "size": 32, "flip": 0.5}
    host = input_pipeline.finetuning(images, labels, np.arange(count), **common)
    on_device = input_pipeline.finetuning(
        images, labels, np.arange(count), **common, device_store=DeviceStore(device, limit)
    )
    assert on_device.kind == ("resident" if limit is None else "streamed")
    for (expected, expected_labels), (crops, crop_labels) in zip(
        rendered(host), rendered(on_device), strict=True
    ):
        assert torch.equal(crops, expected)
        assert torch.equal(crop_labels, expected_labels)


@pytest.mark.parametrize("limit", [None, NOTHING_FITS])
@pytest.mark.parametrize("shapes", [GREY_AND_COLOUR, GREY])
def test_pretraining_batches_are_those_of_a_cpu_to_one_grey_level(
    device: torch.device, shapes: tuple[tuple[int, int, int], ...], limit: int | None
) -> None:
    images, every = view(shapes), np.arange(len(shapes))
    common = {"batch": 3, "size": 32, "scale": (0.2, 1.0), "flip": 0.5}
    host = input_pipeline.pretraining(images, every, **common)
    on_device = input_pipeline.pretraining(images, every, **common, device_store=DeviceStore(device, limit))
    for (expected,), (crops,) in zip(rendered(host), rendered(on_device), strict=True):
        difference = (crops.int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.3  # ties and PyTorch's two roundings, not a shift


@pytest.mark.parametrize("limit", [None, NOTHING_FITS])
def test_evaluation_batches_are_those_of_a_cpu_to_the_last_bit(
    device: torch.device, limit: int | None
) -> None:
    images, order = view(GREY_AND_COLOUR), np.array([6, 0, 3, 3, 2, 1, 5])
    common = {"size": 40, "batch": 3}
    host = input_pipeline.evaluation(images, order, **common)
    on_device = input_pipeline.evaluation(images, order, **common, device_store=DeviceStore(device, limit))
    for (expected,), (crops,) in zip(host, on_device, strict=True):
        assert torch.equal(crops.cpu(), expected)


def test_grey_images_are_one_channel_until_they_are_used(device: torch.device) -> None:
    images = view(GREY)
    settings = {"batch": 2, "size": 32, "scale": (0.2, 1.0), "flip": 0.5, "device_store": DeviceStore(device)}
    inputs = input_pipeline.pretraining(images, np.arange(5), **settings)
    (crops,) = inputs.render(*next(iter(inputs.epoch(0))))
    assert crops.shape == (2, 3, 32, 32)
    assert crops.untyped_storage().nbytes() == 2 * 32 * 32


def test_a_limit_decides_between_resident_and_streamed(device: torch.device) -> None:
    images = view(GREY)
    size = images.pixels.nbytes
    assert DeviceStore(device, size).open(images).pixels is not None
    assert DeviceStore(device, size - 1).open(images).pixels is None
    assert DeviceStore(device).open(images).pixels is not None


def test_images_are_moved_once_for_all_units(device: torch.device) -> None:
    images, store = view(GREY), DeviceStore(device)
    for _ in range(3):
        assert list(input_pipeline.evaluation(images, np.arange(2), size=32, device_store=store))
    assert store.open(images) is store.open(images)
    assert store.held == images.pixels.nbytes


def test_all_views_together_stay_within_the_limit_and_the_least_recently_used_is_dropped(
    device: torch.device,
) -> None:
    views = [view(GREY) for _ in range(3)]
    size = views[0].pixels.nbytes
    store = DeviceStore(device, 2 * size)
    first, second = store.open(views[0]), store.open(views[1])
    assert store.open(views[0]) is first  # used again, so the second is now the least recently used
    store.open(views[2])
    assert store.held == 2 * size
    assert store.open(views[0]) is first
    assert store.open(views[1]) is not second
    large = view(GREY + GREY)
    assert store.open(large).pixels is not None  # takes the place of both
    assert store.held == large.pixels.nbytes == 2 * size
    store.clear()
    assert store.held == 0
    assert store.open(views[0]).pixels is None  # memory ran out; it would again


def test_the_share_of_a_gpu_is_modest_and_that_of_all_processes_together() -> None:
    free, total = 80 * 2**30, 80 * 2**30
    for processes in (1, 4, 7):
        kept = 0
        for _ in range(processes):  # one after another, each of which sees less that is free
            kept += share(free - kept, total, processes)
        assert kept <= total / 8
        assert kept > 0.12 * total
    assert share(4 * 2**30, total, 1) == 2**30  # another program holds the rest


@settings(max_examples=200, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(8, 400), st.integers(8, 400)), min_size=1), seed=st.integers(0, 9)
)
def test_no_crop_is_larger_than_the_largest(shapes: list[tuple[int, int]], seed: int) -> None:
    sides = torch.tensor(shapes)
    boxes = random_resized_crops(sides, (0.2, 1.0), torch.Generator().manual_seed(seed))
    rows, columns = largest_crop(sides)
    assert (boxes[:, 2:] <= torch.tensor([rows, columns])).all()
    assert (boxes[:, 2:].prod(1) <= most_pixels(sides)).all()
    assert (rows, columns) <= (int(sides[:, 0].max()), int(sides[:, 1].max()))


def test_long_images_do_not_make_the_largest_crop_long() -> None:
    """Padded to the tallest and the widest, a batch of these would be 2560 pixels square."""
    assert largest_crop(torch.tensor([[2560, 256], [256, 2560]])) == (935, 935)
    assert largest_crop(torch.tensor([[256, 256], [256, 300]])) == (256, 300)
    assert most_pixels(torch.tensor([[2560, 256], [256, 2560]])) == 935 * 256


TALL_AND_WIDE = ((3, 2560, 256), (3, 256, 2560), (1, 2560, 256), (3, 256, 256))


def table_of(images: View, device: torch.device, repeats: int = 1) -> tuple[Tensor, Tensor]:
    """The bytes of `images`, and the rows of one random resized crop of each, so many times."""
    plan = plan_pretraining(
        images, np.repeat(np.arange(len(images)), repeats), scale=(0.2, 1.0), flip=0.5, seed=0
    )
    pixels = torch.from_numpy(np.array(images.pixels)).to(device)
    return pixels, crop_table(images, plan).to(device)


@pytest.mark.parametrize("shapes", [GREY_AND_COLOUR, GREY, TALL_AND_WIDE])
def test_crops_that_are_read_in_parts_are_those_of_one_padded_product(
    device: torch.device, shapes: tuple[tuple[int, int, int], ...]
) -> None:
    """To the last bit: each image padded to the rows and columns of the largest crop, resized at once."""
    images = view(shapes)
    pixels, rows = table_of(images, device)
    extent, size = extent_of_crops(images), 32
    t = CropTable.of(rows)
    padded = torch.zeros(len(rows), extent.rows, extent.channels, extent.columns, device=device)
    for k, (offset, c, h, w, top, left, height, width) in enumerate(rows[:, :8].tolist()):
        image = pixels[offset : offset + c * h * w].view(c, h, w)
        crop = image[:, top : top + height, left : left + width].transpose(0, 1).float()
        padded[k, :height, :, :width] = crop  # a grey image in each channel
    start = torch.zeros_like(t.flip)
    down = weights(start, t.box[:, 2], size, extent.rows)
    across = weights(start, t.box[:, 3], size, extent.columns)
    across = torch.where(t.flip.bool()[:, None, None], across.flip(1), across)
    with full_precision():
        whole = torch.bmm(down, padded.flatten(2)).view(len(rows), size * extent.channels, extent.columns)
        whole = torch.bmm(whole, across.transpose(1, 2)).view(len(rows), size, extent.channels, size)
    expected = whole.transpose(1, 2).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(resized_crops(pixels, rows, size, extent), expected.expand(-1, 3, -1, -1))


class Sizes(TorchDispatchMode):
    """Notes the bytes of the largest tensor that an operator makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = func(*args, **(kwargs or {}))
        memory = [t.untyped_storage() for t in tree_leaves(made) if isinstance(t, Tensor)]
        self.largest = max([self.largest, *(s.nbytes() for s in memory if s.data_ptr() != self.pixels)])
        return made

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels.untyped_storage().data_ptr()


def test_nothing_that_resizing_makes_is_larger_than_the_largest_crops(device: torch.device) -> None:
    """Positions of 4 bytes, or float32, of one channel: also where one image is tall and another one wide."""
    images = view(TALL_AND_WIDE)
    pixels, rows = table_of(images, device, repeats=4)
    with Sizes(pixels) as sizes:
        resized_crops(pixels, rows, 32, extent_of_crops(images))
    assert sizes.largest == len(rows) * 4 * 935 * 256
