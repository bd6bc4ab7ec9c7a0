"""Images on which an export is compared with its original."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError, DataError
from bench.kept.find import Chosen
from bench.kept.load import Network

if TYPE_CHECKING:
    import torch

    from bench.execution.session import Session
    from bench.identity import Ref
    from bench.interfaces.executor import Report

MOST = 32  # images


class Trial(NamedTuple):
    """Images, and what they are.

    Attributes:
        images: uint8 (N, 3, S, S).
        what: in words.
        problem: why they are not the run's test images; "" where they are.
    """

    images: torch.Tensor
    what: str
    problem: str = ""


def trial_images(
    network: Network, chosen: Chosen, located: Ref | None, session: Session, report: Report
) -> Trial:
    """Up to MOST test images of the run, if they are there; else random ones of the same size. `located` is
    its data set with the paths that were given."""
    try:
        return _test_images(network, chosen, located, session, report)
    except BenchError as error:
        return _random(network, str(error))


def _test_images(
    network: Network, chosen: Chosen, located: Ref | None, session: Session, report: Report
) -> Trial:
    """Raises BenchError where they are not there, or are others than those of the run."""
    import torch

    from bench.data.splits.manifest import load_split
    from bench.engine.batches import evaluation_batches

    record = chosen.record
    if record is None or chosen.results is None or located is None:
        raise DataError("the model was taken out of its results, which say what its test images are")
    size = network.context.size
    images = session.images(located, (size,), report)
    split = load_split(chosen.results, images, record.spec.split)
    indices = split.indices("test")[:MOST]
    batches = evaluation_batches(images.view(size), indices, batch=MOST, size=size)
    return Trial(torch.cat([batch for (batch,) in batches]), f"{len(indices)} test images of the run")


def _random(network: Network, problem: str) -> Trial:
    import torch

    size = network.context.size
    generator = torch.Generator().manual_seed(0)
    shape = (MOST, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return Trial(images, f"{MOST} images of random pixels", problem)
