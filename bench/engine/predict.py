"""Class probabilities of images by a trained network."""

from __future__ import annotations

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

    The precision is that of `job`. The network is left in evaluation mode.
    """
    net.eval()
    probabilities = []
    with torch.inference_mode():
        for (images,) in batches:
            with autocast(job.precision, job.device):
                logits = net(normalize(images.to(job.device, non_blocking=True)))
            probabilities.append(logits.double().softmax(dim=1))
        return torch.cat(probabilities).cpu()
