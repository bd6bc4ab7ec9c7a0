"""Render a batch while the device computes the step before it.

A device has lanes: what is handed to one lane is done in order, and two lanes work at the same time. Batches
are drawn and rendered on the input lane, steps are computed on the main one:

    input lane   wait for READ, render batch k+1 into `rendered`, mark RENDERED
    main lane    wait for RENDERED, copy `rendered` into the inputs of the graph, mark READ, replay step k+1

The host hands out work and waits for neither lane, so when it hands out the rendering of batch k+1 the device
still computes step k; the copy for step k was the first thing in it. Nothing else is needed to know the next
batch early: epochs, their short last batches, interruptions and resuming are as they are without lanes.

Two orders make it safe: rendering waits until what was rendered before has been read (READ), and reading
waits until rendering has ended (RENDERED). All else is done by one lane alone, or within `joined`, where the
lanes wait for each other.

Rendering is no graph of its own: replaying one writes the state of random numbers that all graphs of a
process read, also the one that is at work on the other lane.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bench.engine.batches import Batch
from bench.engine.gpu.graph import Capture, Replay, fill


class Lane(Protocol):
    """A queue of work of a device."""

    def current(self) -> AbstractContextManager[object]:
        """What is started within is done on this lane, and memory made within belongs to it."""
        ...

    def mark(self) -> Any:
        """A mark that is reached when all that the lane was handed so far is done."""
        ...

    def wait(self, mark: Any) -> None:
        """Do what the lane is handed from now on when `mark` is reached. The host goes on at once."""
        ...


class Lanes(NamedTuple):
    """The lanes of a device: `main` is the current one."""

    main: Lane
    input: Lane


class CudaLane:
    """A CUDA stream; without one, whichever is the current stream of `device`."""

    def __init__(self, device: torch.device, stream: Any = None) -> None:
        self.device = device
        self.stream = stream

    def current(self) -> AbstractContextManager[object]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)

    def mark(self) -> Any:
        event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream())
        return event

    def wait(self, mark: Any) -> None:
        self._stream().wait_event(mark)

    def _stream(self) -> Any:
        return torch.cuda.current_stream(self.device) if self.stream is None else self.stream


def cuda_lanes(device: torch.device) -> Lanes:
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return Lanes(CudaLane(device), CudaLane(device, stream))


class Overlap:
    """Draws batches, and renders them by `render`, on the input lane."""

    def __init__(self, lanes: Lanes, render: Callable[..., Batch], device: torch.device) -> None:
        self.lanes = lanes
        self.render = render
        self.device = device
        self.drawn: Batch = ()  # the last one

    def draw(self, epoch: Callable[[], Iterable[Batch]]) -> Iterator[Batch]:
        """The batches of an epoch. What `epoch` does at once is done now."""
        with self.lanes.input.current():
            batches = iter(epoch())
        return self._drawn(batches)

    def _drawn(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            with self.lanes.input.current():
                batch = next(batches, None)
            if batch is None:
                return
            self.drawn = batch
            yield batch

    @contextmanager
    def joined(self) -> Iterator[None]:
        """The main lane alone works on batches within this block."""
        main, input_ = self.lanes
        main.wait(input_.mark())
        try:
            yield
        finally:
            input_.wait(main.mark())

    def capture(
        self, train: Callable[[Batch], None], capture: Capture, buffers: tuple[Tensor, ...]
    ) -> Replay:
        """Capture `train`, which is given rendered batches; to be done within `joined`."""
        main, input_ = self.lanes
        # They hold the batch before, as `buffers` do, so that what a graph keeps of it is noticed.
        inputs = tuple(t.clone() for t in self.render(*buffers))
        rendered = tuple(torch.empty_like(t) for t in inputs)
        replay = capture(lambda: train(inputs))
        read = main.mark()

        def step(*batch: Tensor) -> None:
            nonlocal read
            if not self._is_drawn(batch):
                input_.wait(main.mark())  # it may have been made on the main lane just now
            input_.wait(read)
            with input_.current():
                fill(rendered, self.render(*(t.to(self.device, non_blocking=True) for t in batch)))
            main.wait(input_.mark())
            fill(inputs, rendered)
            read = main.mark()
            replay()

        return step

    def close(self) -> None:
        """Let the memory of both lanes be used for anything else from now on."""
        with self.joined():
            self.drawn = ()
        del self.render

    def _is_drawn(self, batch: tuple[Tensor, ...]) -> bool:
        same = len(batch) == len(self.drawn)
        return same and all(a is b for a, b in zip(batch, self.drawn, strict=True))
