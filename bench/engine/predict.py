"""Class probabilities of images by a trained network."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from bench.engine.batches import Batch
from bench.engine.device import autocast
from bench.engine.job import Job


def predict(
    net: nn.Module, batches: Iterable[Batch], normalize: Callable[[Tensor], Tensor], job: Job
) -> Tensor:
    """Class probabilities of all images in `batches`, float64 (N, K) on the CPU.

    The precision is that of `job`. Where memory runs out, a batch is done in halves. The
    network is left in evaluation mode.
    """
    net.eval()
    probabilities = []
    with torch.inference_mode():
        for (images,) in batches:
            probabilities += _within_memory(net, normalize, images.to(job.device, non_blocking=True), job)
        return torch.cat(probabilities).cpu()


def _within_memory(
    net: nn.Module, normalize: Callable[[Tensor], Tensor], images: Tensor, job: Job
) -> list[Tensor]:
    """Class probabilities of `images` in parts, as few as memory allows."""
    try:
        with autocast(job.precision, job.device):
            logits = net(normalize(images))
        return [logits.double().softmax(dim=1)]
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    # Outside the handler, so that the traceback no longer holds the tensors of the failed try.
    gc.collect()
    if job.device.type == "cuda":
        torch.cuda.empty_cache()
    halves = images.tensor_split(2)
    return [part for half in halves for part in _within_memory(net, normalize, half, job)]
