"""A step as one CUDA graph: a thousand kernel launches become one, which is what a batch of 16 is bound by.

`Replayed` owns what a graph needs around it: inputs in fixed buffers, one graph a shape of batch, a few
ordinary steps before the capture, and a way on where capturing fails. How work is captured is its one seam,
`Capture`; on a GPU it is `cuda_capture`, and tests put a function there that simply runs the work again.

Every step is a real step: the first ones run as they are, and capturing runs nothing. The same kernels run
either way, and the generators are registered with the graph, so results are those of ordinary steps.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Work = Callable[..., None]  # of a batch's tensors; changes state in place, returns nothing
Capture = Callable[[Callable[[], None]], Callable[[], None]]

WARMUP = 3  # ordinary steps before a capture: libraries set themselves up, kernels are chosen

log = logging.getLogger("bench")


class Replayed:
    """`work(*batch)` for batches whose tensors lie on `device`, or are to be moved there.

    `mode` says how steps are done now: "graph", or "eager" with the reason. Work that copies its inputs
    elsewhere than through them, or decides by their values, cannot be captured.
    """

    def __init__(self, work: Work, device: torch.device, capture: Capture, warmup: int = WARMUP) -> None:
        self.work = work
        self.device = device
        self.capture = capture
        self.warmup = warmup
        self.mode = "eager: too few steps to capture one"
        self.graphs: dict[tuple[object, ...], tuple[tuple[Tensor, ...], Callable[[], None]]] = {}
        self.seen: dict[tuple[object, ...], int] = {}
        self.failed = ""

    def __call__(self, *batch: Tensor) -> None:
        shapes = tuple((t.shape, t.dtype) for t in batch)
        if shapes not in self.graphs:
            done = self.seen[shapes] = self.seen.get(shapes, 0) + 1
            # A shape other than the first needs one ordinary step: the libraries are set up by then.
            if (
                self.failed
                or done <= (1 if self.graphs else self.warmup)
                or not self._captured(shapes, batch)
            ):
                self.work(*(t.to(self.device, non_blocking=True) for t in batch))
                return
        buffers, replay = self.graphs[shapes]
        for buffer, t in zip(buffers, batch, strict=True):
            buffer.copy_(t, non_blocking=True)
        replay()

    def _captured(self, shapes: tuple[object, ...], batch: tuple[Tensor, ...]) -> bool:
        """Whether a graph for these shapes now stands; if not, all further steps are ordinary ones."""
        buffers = tuple(torch.empty_like(t, device=self.device) for t in batch)
        for buffer, t in zip(buffers, batch, strict=True):
            buffer.copy_(t)
        try:
            self.graphs[shapes] = (buffers, self.capture(lambda: self.work(*buffers)))
        except torch.OutOfMemoryError:
            raise  # answered by smaller steps, not by slower ones
        except Exception as error:  # whatever a module does that a graph cannot hold
            self.failed = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            self.mode = f"eager: {self.failed}"
            self.graphs.clear()
            log.warning("the step cannot be captured as a CUDA graph, so it runs slower (%s)", self.failed)
            return False
        self.mode = "graph"
        return True


class CudaCapture:
    """Captures work on `device` as CUDA graphs that share one memory pool.

    Sharing is safe because replays never overlap and nothing but the state that steps change in place
    outlives one. The generator of the device is registered with every graph by PyTorch, so seeding it
    between replays works as between ordinary steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # The writer of checkpoints is another thread: what it does must not spoil the capture.
        with (
            _unharmed(self.device),
            torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"),
        ):
            work()
        replay: Callable[[], None] = graph.replay
        return replay


@contextmanager
def _unharmed(device: torch.device) -> Iterator[None]:
    """After a failed capture PyTorch leaves its stream current and its generator in capture; undo both."""
    stream, state = torch.cuda.current_stream(device), torch.cuda.get_rng_state(device)
    try:
        with warnings.catch_warnings():
            # That an operation has no deterministic kernel was said in the ordinary steps.
            warnings.simplefilter("ignore")
            yield
    except Exception:  # of any kind, since the work is a plugin's; raised again when all is undone
        torch.cuda.set_stream(stream)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        fresh = torch.Generator(device)
        generator.graphsafe_set_state(fresh.graphsafe_get_state())
        torch.cuda.set_rng_state(state, device)
        raise
