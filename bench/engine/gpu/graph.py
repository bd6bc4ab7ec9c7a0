"""Capture a training step as a CUDA graph and replay it.

An ordinary step launches about a thousand kernels, and with a batch of 16 images the launches take longer
than the kernels. A graph launches them all at once.

`GraphReplay` does what a graph needs: inputs in fixed buffers, one graph per shape of batch, a few ordinary
steps before the capture, and ordinary steps for good if the capture fails. Those before the capture are
watched operator by operator (`stability`), because what Python does between kernels would be captured without
an error and be frozen. What was captured is compared with an ordinary step before it is used (`self_check`).
The function that captures is a parameter: `CudaCapture` on a GPU; tests on a CPU pass one that runs the work
again.

There may be faster ways to capture the same step. They are tried first, and one that fails or does something
else than the step is given up for the next.

Capturing itself runs no kernel, so every step trains the network once. A graph runs the same kernels with the
same random numbers as ordinary steps (the generator is registered with it), so the results are equal.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.engine.device import forget_peak
from bench.engine.gpu.self_check import Reference, SelfCheck
from bench.engine.gpu.stability import Trace, obstacle, trace

Work = Callable[..., None]
"""Takes the tensors of a batch, changes state in place, returns nothing."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes work without arguments, returns a function that replays it."""

Replay = Callable[..., None]
"""Takes the tensors of a batch and does the work on them by replaying what was captured."""


@dataclass(frozen=True)
class Way:
    """A way to capture work: `capture` takes tensors like those of a batch, into which it may write."""

    name: str  # for the record
    capture: Callable[[tuple[Tensor, ...]], Replay]
    apart: bool = True  # whether replays are done within what `GraphReplay` calls `apart`


WARMUP = 3  # ordinary steps before a capture, in which libraries initialise and choose kernels

log = logging.getLogger("bench")


class GraphReplay:
    """Does `work(*batch)` on `device`, after the first few times by replaying a graph.

    `mode` says how steps are done now: "graph", or "eager" with the reason. Work cannot be captured if it
    copies tensors from the host, waits for the device, or makes shapes or branches depend on values. With
    `check`, a graph that does something else than the work is not used.

    `faster` are ways to capture the same work that are tried before the plain one; `way` names the one in
    use, with what was given up for it. `reference` does the work as well; the check does it that way.
    All is done within `apart`, but the replays of a way that does without.
    """

    def __init__(
        self,
        work: Work,
        device: torch.device,
        capture: Capture,
        warmup: int = WARMUP,
        check: SelfCheck | None = None,
        faster: Sequence[Way] = (),
        reference: Work | None = None,
        apart: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.work = work
        self.device = device
        self.warmup = warmup
        self.check = check
        self.ways = [*faster, Way("plain", in_series(work, capture))]
        self.reference = reference or work
        self.apart = apart
        self.given_up = ""
        self.mode = "eager: too few steps to capture one"
        self.graphs: dict[tuple[object, ...], Replay] = {}  # by shapes
        self.ordinary_steps: dict[tuple[object, ...], int] = {}  # by shapes
        self.traces: dict[tuple[object, ...], list[Trace]] = {}  # of ordinary steps, by shapes
        self.buffers: dict[tuple[object, ...], tuple[Tensor, ...]] = {}  # of graphs to come, by shapes
        self.failure = ""

    def __call__(self, *batch: Tensor) -> None:
        shapes = tuple((t.shape, t.dtype) for t in batch)
        if shapes not in self.graphs:
            with self.apart():
                if not self._has_graph_now(shapes, batch):
                    self._ordinary_step(shapes, batch)
                    return
        with self.apart() if self.ways[0].apart else nullcontext():
            self.graphs[shapes](*batch)

    @property
    def way(self) -> str:
        """The way in which steps are captured; empty while none is."""
        return self.ways[0].name + self.given_up if self.graphs else ""

    @property
    def plain(self) -> bool:
        """Whether all faster ways are given up, or none was given."""
        return len(self.ways) == 1

    def close(self) -> None:
        """Free the graphs and their buffers; no step may follow."""
        self.graphs.clear()
        self.buffers.clear()
        del self.work, self.reference, self.ways, self.check, self.apart

    def _ordinary_step(self, shapes: tuple[object, ...], batch: tuple[Tensor, ...]) -> None:
        moved = tuple(t.to(self.device, non_blocking=True) for t in batch)
        # Not the first step of all, in which libraries and modules make what they keep.
        if self.failure or not (self.graphs or self.ordinary_steps.get(shapes)):
            self.work(*moved)
        else:
            self.traces.setdefault(shapes, []).append(trace(self.work, moved))
        if not self.failure:
            self.buffers[shapes] = tuple(t.clone() for t in moved)
        # Not if it has failed: it may be done again.
        self.ordinary_steps[shapes] = self.ordinary_steps.get(shapes, 0) + 1

    def _has_graph_now(self, shapes: tuple[object, ...], batch: tuple[Tensor, ...]) -> bool:
        # After the first graph the libraries are initialised, so one ordinary step is enough.
        enough = self.ordinary_steps.get(shapes, 0) >= (1 if self.graphs else self.warmup)
        return not self.failure and enough and self._try_capture(shapes, batch)

    def _try_capture(self, shapes: tuple[object, ...], batch: tuple[Tensor, ...]) -> bool:
        """Whether there is a graph for these shapes now; if not, all further steps are ordinary ones."""
        if reason := obstacle(self.traces.pop(shapes, [])):
            return self._stay_ordinary(reason)
        moved = tuple(t.to(self.device, non_blocking=True) for t in batch)
        # At the capture they hold the batch before, so that what a graph takes from it for good is noticed.
        before = self.buffers.pop(shapes, None) or tuple(t.clone() for t in moved)
        expected = self.check.reference(lambda: self.reference(*moved)) if self.check else None
        while reason := self._try_way(shapes, tuple(t.clone() for t in before), moved, expected):
            if self.plain:
                return self._stay_ordinary(reason)
            self._give_up(reason)
        del expected  # copies of all that a step changes
        if self.check:
            forget_peak(self.device)
        self.mode = "graph"
        return True

    def _try_way(
        self,
        shapes: tuple[object, ...],
        buffers: tuple[Tensor, ...],
        batch: tuple[Tensor, ...],
        expected: Reference | None,
    ) -> str:
        """Capture in the first of the ways; why it cannot be used, or nothing."""
        try:
            replay = self.ways[0].capture(buffers)
        except torch.OutOfMemoryError:
            raise  # ordinary steps would need as much memory; the unit starts again with smaller ones
        except Exception as error:  # a module may do anything that a graph does not support
            first_line = str(error).splitlines()[0] if str(error) else ""
            return f"{type(error).__name__}: {first_line}"
        if self.check and expected and (found := self.check.difference(lambda: replay(*batch), expected)):
            return f"a replayed step is not the ordinary one: {found}"
        self.graphs[shapes] = replay
        return ""

    def _give_up(self, reason: str) -> None:
        """Capture in the next way from now on, and what was captured in this one again."""
        self.graphs.clear()
        self.given_up += f"; not {self.ways.pop(0).name}: {reason}"
        log.warning("the step is captured as a slower CUDA graph (%s)", self.ways[0].name + self.given_up)

    def _stay_ordinary(self, reason: str) -> bool:
        """All further steps are ordinary ones: never a capture."""
        self.failure = reason
        self.mode = f"eager: {reason}"
        self.graphs.clear()
        self.buffers.clear()
        self.traces.clear()
        log.warning("the step cannot be captured as a CUDA graph, so it runs slower (%s)", reason)
        return False


def in_series(work: Work, capture: Capture) -> Callable[[tuple[Tensor, ...]], Replay]:
    """Capture all of the work as one graph, which reads the batch from buffers."""

    def captured(buffers: tuple[Tensor, ...]) -> Replay:
        replay = capture(lambda: work(*buffers))

        def step(*batch: Tensor) -> None:
            fill(buffers, batch)
            replay()

        return step

    return captured


def fill(buffers: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    for buffer, t in zip(buffers, tensors, strict=True):
        buffer.copy_(t, non_blocking=True)


class CudaCapture:
    """Captures work on `device` as CUDA graphs that share one memory pool.

    Sharing is safe because replays never overlap, and after a replay only the state that steps change in
    place is used. PyTorch registers the generator of the device with every graph, so seeding it between
    replays has the same effect as between ordinary steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        # "thread_local", because the thread that writes checkpoints may use the device during the capture.
        with (
            _restored_on_failure(self.device),
            torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"),
        ):
            work()
        replay: Callable[[], None] = graph.replay
        return replay


@contextmanager
def _restored_on_failure(device: torch.device) -> Iterator[None]:
    """Undo what a failed capture leaves in PyTorch: another current stream, a generator in capture mode."""
    stream, state = torch.cuda.current_stream(device), torch.cuda.get_rng_state(device)
    try:
        with warnings.catch_warnings():
            # The ordinary steps have already warned of operations without a deterministic kernel.
            warnings.simplefilter("ignore")
            yield
    except Exception:  # of any kind, because the work is a plugin's; raised again below
        torch.cuda.set_stream(stream)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        fresh = torch.Generator(device)
        generator.graphsafe_set_state(fresh.graphsafe_get_state())
        torch.cuda.set_rng_state(state, device)
        raise
