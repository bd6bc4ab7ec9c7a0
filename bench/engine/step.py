"""One step of training: run as it is on a CPU, captured as a CUDA graph on a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from bench.engine import checkpoint
from bench.engine.batches import Batch
from bench.engine.depthwise import applies_on, faster_gradients
from bench.engine.determinism import Determinism
from bench.engine.device import autocast, forget_peak, uses_bf16
from bench.engine.gpu.bf16_weights import Bf16Weights, Uses
from bench.engine.gpu.graph import Capture, CudaCapture, GraphReplay, Replay, Way, in_series
from bench.engine.gpu.memory_format import FORMATS, Build, arranged, fastest_format, name_of
from bench.engine.gpu.overlap import Lanes, Overlap, cuda_lanes
from bench.engine.gpu.self_check import SelfCheck
from bench.engine.gpu.state import StepState
from bench.engine.input_pipeline import InputPipeline, Render, already_rendered
from bench.engine.job import Budget, Job

BF16_WEIGHTS = "with bf16 weights"


class Step:
    """One step on one batch: render, forward, backward, AdamW, and the loss added to `total`.

    Nothing here waits for the device. With `capture`, the whole step is captured once, checked, and then
    replayed. With `strict`, operators must have deterministic kernels where PyTorch has them. With `lanes`, a
    captured step renders its batch while the step before it is computed, if `draw` has drawn the batch. A
    `plain` one is captured as it is: with neither lanes nor bf16 copies of its weights.
    `total`, a tensor on the device, is the sum of the mean losses of the batches, each times its images.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.AdamW,
        job: Job,
        render: Render = already_rendered,
        memory_format: torch.memory_format | None = None,
        capture: Capture | None = None,
        strict: bool = False,
        lanes: Lanes | None = None,
        plain: bool = False,
    ) -> None:
        self.module: Callable[..., Tensor] = torch.compile(module, dynamic=False) if job.compile else module
        self.optimizer = optimizer
        self.job = job
        self.render = render
        self.memory_format = memory_format
        self.total = torch.zeros((), device=job.device)
        self.rate = torch.zeros((), device=job.device) if job.device.type == "cuda" else None
        self.trained = module
        self.determinism = Determinism(self.state) if strict else None
        self.check = SelfCheck(self.state, self.repeats) if capture else None
        self.uses: Uses | None = None
        self.bf16_weights: Bf16Weights | None = None
        # What is rendered already has nothing to do ahead.
        ahead = capture is not None and not plain and render is not already_rendered
        self.overlap = Overlap(lanes, self._rendered, job.device) if lanes and ahead else None
        self.replay = self._captured_by(capture, plain) if capture else None

    def __call__(self, batch: Batch, rate: float) -> None:
        if self.rate is not None:  # a captured AdamW reads its rate from the device
            self.rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate
        if self.determinism is None:
            (self.replay or self._run)(*batch)
        else:
            shapes = tuple(t.shape for t in batch)
            self.determinism.do(partial(self.replay or self._run, *batch), shapes)

    def draw(self, epoch: Callable[[], Iterable[Batch]]) -> Iterable[Batch]:
        """The batches of an epoch, for this step."""
        return self.overlap.draw(epoch) if self.overlap else epoch()

    def state(self) -> StepState:
        """The tensors that a step changes."""
        return StepState.of(self.trained, self.optimizer, self.total, self.rate)

    def repeats(self) -> bool:
        """Whether a step from one state gives the same bits each time."""
        return self.determinism is None or not self.determinism.operator

    def close(self) -> None:
        """Let go of graphs, module and optimiser, so that their memory is free now; steps are over.

        A captured step refers to itself, and PyTorch runs no garbage collection before it allocates.
        """
        if self.overlap is not None:
            self.overlap.close()
        if self.replay is not None:
            self.replay.close()
        self.overlap = None
        self.replay = self.check = self.determinism = self.uses = self.bf16_weights = None
        del self.module, self.trained, self.optimizer, self.render

    def _captured_by(self, capture: Capture, plain: bool) -> GraphReplay:
        """Replays of the step, in the fastest of the ways that apply to it."""
        faster = []
        # A compiled module has casts that are part of other kernels.
        if uses_bf16(self.job.precision, self.job.device) and not (self.job.compile or plain):
            groups = self.optimizer.param_groups
            self.uses = Uses(p for group in groups for p in group["params"])
            faster.append(Way(BF16_WEIGHTS, partial(self._capture_in_series, capture)))
        if self.overlap:
            name = f"{BF16_WEIGHTS}, rendered ahead" if self.uses else "rendered ahead"
            faster.insert(0, Way(name, partial(self._capture_ahead, capture), apart=False))
        return GraphReplay(
            self._run,
            self.job.device,
            capture,
            check=self.check,
            faster=faster,
            reference=self._watched,
            apart=self.overlap.joined if self.overlap else nullcontext,
        )

    def _capture_ahead(self, capture: Capture, buffers: Batch) -> Replay:
        assert self.overlap is not None
        train = partial(self._train, weights=self._make_bf16_weights())
        return self.overlap.capture(train, capture, buffers)

    def _capture_in_series(self, capture: Capture, buffers: Batch) -> Replay:
        return in_series(partial(self._run, weights=self._make_bf16_weights()), capture)(buffers)

    def _make_bf16_weights(self) -> Bf16Weights | None:
        """Copies of the weights that may have them; the same ones for all shapes, as long as these agree."""
        weights = self.uses.replaceable if self.uses else []
        known = self.bf16_weights.weights if self.bf16_weights else []
        if list(map(id, weights)) != list(map(id, known)):
            self.bf16_weights = Bf16Weights(weights) if weights else None
        return self.bf16_weights

    def _run(self, *batch: Tensor, weights: Bf16Weights | None = None) -> None:
        self._train(self._rendered(*batch), weights=weights)

    def _watched(self, *batch: Tensor) -> None:
        """A plain step, in which the uses of weights are noted."""
        self._train(self._rendered(*batch), self.uses.watched(self.module) if self.uses else None)

    def _rendered(self, *batch: Tensor) -> Batch:
        rendered = self.render(*batch)
        if self.memory_format is not None:
            rendered = tuple(arranged(t, self.memory_format) for t in rendered)
        return rendered

    def _train(
        self,
        rendered: Batch,
        module: Callable[..., Tensor] | None = None,
        weights: Bf16Weights | None = None,
    ) -> None:
        loss = train_step(module or self.module, self.optimizer, rendered, self.job, weights)
        self.total.add_(loss * len(rendered[0]))

    @property
    def format_name(self) -> str:
        return name_of(self.memory_format or torch.channels_last)

    @property
    def choices(self) -> dict[str, str]:
        """The choices that change speed only, for the record."""
        choices = {
            "step": self.replay.mode if self.replay else "eager",
            "memory_format": self.format_name,
            "compile": str(self.job.compile).lower(),
        }
        if applies_on(self.job.device) and not self.job.compile:
            choices["depthwise"] = "weight gradients on small maps by shifts"
        if self.replay and self.replay.way:
            choices["graph"] = self.replay.way
        if self.replay and not self.replay.plain and self.uses and self.bf16_weights:
            choices["bf16_weights"] = f"{len(self.bf16_weights.weights)} of {self.uses.count}"
        if self.check is not None and self.check.result:
            choices["self_check"] = self.check.result
        if self.determinism is not None:
            choices["deterministic"] = self.determinism.choice
        if self.job.device.type == "cuda" and self.job.precision == "auto":
            bf16 = uses_bf16("auto", self.job.device)
            choices["bf16"] = "yes" if bf16 else "no: this GPU does not compute in it"
        return choices


def train_step(
    module: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    job: Job,
    weights: Bf16Weights | None = None,
) -> Tensor:
    """One optimiser step; returns the mean loss of the batch, detached, without waiting for the device.

    With `weights`, layers use these copies, which changes no bit.
    """
    # At the beginning, because a failed capture may leave gradients behind.
    optimizer.zero_grad(set_to_none=True)
    if weights is not None:
        weights.refresh()
        module = weights.used_by(module)
    loss_sum = torch.zeros((), device=job.device)
    for part in zip(*(t.chunk(job.accumulate) for t in batch), strict=True):
        moved = [t.to(job.device, non_blocking=True) for t in part]
        share = len(part[0]) / len(batch[0])
        # A compiled module has kernels of its own.
        with nullcontext() if job.compile else faster_gradients(job.device):
            with autocast(job.precision, job.device):
                loss = module(*moved)
            (loss * share).backward()  # type: ignore[no-untyped-call]  # may do parts of the module again
        if weights is not None:
            weights.return_gradients()
        loss_sum += loss.detach() * share
    optimizer.step()
    return loss_sum


COPIED_IN_PLACE = (nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.SiLU)  # ReLU6 is a Hardtanh
"""Activations whose gradients need what goes in. In place, autograd copies it before it is written over."""


def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
    """The step for this device: on a GPU captured, and in the memory format that is fastest there.

    Activations of `module` that autograd would copy for write to a tensor of their own from now on, which
    saves the copy and changes no bit.
    """
    for part in module.modules():
        if isinstance(part, COPIED_IN_PLACE):
            part.inplace = False
    if job.device.type != "cuda":
        return Step(module, make_optimizer(module, budget), job, inputs.render)

    plain = os.environ.get("BENCH_GRAPH") == "plain"

    def build(net: nn.Module, memory_format: torch.memory_format) -> Step:
        capture, lanes = (CudaCapture(job.device), cuda_lanes(job.device)) if job.graph else (None, None)
        placed = net.to(memory_format=memory_format)
        optimizer = make_optimizer(placed, budget, capturable=True)
        render = inputs.render
        return Step(placed, optimizer, job, render, memory_format, capture, True, lanes, plain)

    return build(module, choose_format(module, inputs, build, job))


def choose_format(module: nn.Module, inputs: InputPipeline, build: Build, job: Job) -> torch.memory_format:
    """The memory format of the checkpoint, if there is one, else the fastest; it may change rounding."""
    kept = checkpoint.memory_format(job.checkpoint)
    if kept in FORMATS:
        return FORMATS[kept]
    if job.memory_formats is None:
        return torch.channels_last
    sample = next(iter(inputs.epoch(job.seed)))
    chosen = fastest_format(module, sample, build, job)
    forget_peak(job.device)  # of trials that hold a network and its graphs beside this one
    return chosen


def make_optimizer(module: nn.Module, budget: Budget, capturable: bool = False) -> torch.optim.AdamW:
    """AdamW for the parameters of `module` that require gradients.

    As usual for these networks, biases, norms and other vectors have no weight decay, nor have the parameters
    that the network's own `no_weight_decay()` names. With `capturable`, its state is kept on the device,
    where a CUDA graph can change it.
    """
    exempt = _no_weight_decay(module)
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    decayed = [p for n, p in trained if p.ndim > 1 and n not in exempt]
    undecayed = [p for n, p in trained if p.ndim <= 1 or n in exempt]
    groups = [
        {"params": decayed, "weight_decay": budget.weight_decay},
        {"params": undecayed, "weight_decay": 0.0},
    ]
    rate = budget.learning_rate
    return torch.optim.AdamW(groups, lr=rate, betas=budget.betas, fused=True, capturable=capturable)


def _no_weight_decay(module: nn.Module) -> set[str]:
    """Full names of the parameters that `module` and its submodules exempt from weight decay."""
    names: set[str] = set()
    for prefix, part in module.named_modules():
        if callable(listed := getattr(part, "no_weight_decay", None)):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return names
