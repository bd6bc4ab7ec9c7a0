"""Class probabilities of images by a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from bench.engine.batches import Batch
from bench.engine.device import autocast, free_memory, out_of_memory
from bench.engine.job import Job


def predict(
    net: nn.Module,
    batches: Iterable[Batch],
    normalize: Callable[[Tensor], Tensor],
    job: Job,
    make_room: Callable[[], None] | None = None,
) -> Tensor:
    """Class probabilities of all images in `batches`, float64 (N, K) on the CPU.

    The precision is that of `job`. Where memory runs out, `make_room` is called (without it, what PyTorch
    holds unused is given back), and the batch is done in halves. The network is left in evaluation mode.
    """
    net.eval()
    make_room = make_room or partial(free_memory, job.device)

    def within_memory(images: Tensor) -> list[Tensor]:
        """Class probabilities of `images` in parts, as few as memory allows."""
        try:
            with autocast(job.precision, job.device):
                logits = net(normalize(images))
            return [logits.double().softmax(dim=1)]
        except RuntimeError as error:
            if len(images) == 1 or not out_of_memory(error):
                raise
        make_room()
        return [part for half in images.tensor_split(2) for part in within_memory(half)]

    probabilities = []
    with torch.inference_mode():
        for (images,) in batches:
            probabilities += within_memory(images.to(job.device, non_blocking=True))
        return torch.cat(probabilities).cpu()
