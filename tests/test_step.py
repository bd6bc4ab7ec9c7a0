"""The engine's step compared with a plain loop, with graphs that rerun the work, and with real ones on a GPU.

`Rerun` stands for a CUDA graph: it receives work on fixed buffers, and a replay does that work again on what
the buffers hold at that time.
"""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from bench import ConfigError, Context, Progress, interruption, silent
from bench.data.images.view import View
from bench.engine import input_pipeline, loop
from bench.engine import step as step_module
from bench.engine.batches import Batch
from bench.engine.device import (
    check_device,
    configure,
    device_lost,
    out_of_memory,
    parse_device,
    parse_devices,
    uses_bf16,
)
from bench.engine.gpu.graph import WARMUP, CudaCapture, GraphReplay
from bench.engine.gpu.memory_format import FORMATS, fastest_format
from bench.engine.gpu.resident import DeviceStore
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.step import Step, choose_format, make_optimizer
from bench.identity import derive_seed
from bench_strategies import egmae, mae

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU = torch.device("cpu")
SIZE, IMAGES = 32, 22
CONTEXT = Context(classes=("a", "b", "c"), size=SIZE)
BUDGET = Budget(3, 3, 1e-3, (0.9, 0.99), 0.05, warmup=0.2)  # 22 images in batches of 8, 8 and 6


def net() -> nn.Module:
    """Has batch norm and dropout: buffers and random states that a step changes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(
            3, 8, 8, stride=8, bias=False
        ),  # without bias, whose gradient before a norm would be rounding only
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(8 * (SIZE // 8) ** 2, 3),
    )


def images() -> View:
    rng = np.random.default_rng(0)
    shapes = tuple((1 if i % 2 else 3, 40, 40 + i) for i in range(IMAGES))
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


LABELS = np.arange(IMAGES) % 3


def inputs(**options: object) -> InputPipeline:
    common = {"batch": 8, "size": SIZE, "flip": 0.5, **options}
    return input_pipeline.finetuning(images(), LABELS, np.arange(IMAGES), **common)  # type: ignore[arg-type]


def job(folder: Path, device: torch.device = CPU, **options: object) -> Job:
    common: dict = {"precision": "fp32", **options}
    return Job("toy", "fine-tune", 7, device, folder / "toy.pt", silent, **common)


def plain_loop(module: nn.Module, epochs: InputPipeline) -> list[float]:
    """The textbook loop with the same seeds, which the engine must equal."""
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    matrices = [p for p in module.parameters() if p.ndim > 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    losses, step, total = [], 0, BUDGET.epochs * BUDGET.steps
    warm = round(0.2 * total)
    for epoch in range(BUDGET.epochs):
        torch.manual_seed(derive_seed(7, "epoch", epoch))
        image_losses = []
        for pictures, labels in epochs.epoch(derive_seed(7, "batches", epoch)):
            decayed = 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * ((step + 1) / warm if step < warm else decayed)
            optimizer.zero_grad()
            loss = cross_entropy(module(CONTEXT.normalize(pictures)), labels)
            loss.backward()
            optimizer.step()
            image_losses += [loss.item()] * len(labels)
            step += 1
        losses.append(sum(image_losses) / len(image_losses))
    return losses


class Rerun:
    """Captures by keeping the work; counts captures and replays."""

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay


def trained(monkeypatch: pytest.MonkeyPatch, folder: Path, capture: object, pipeline: InputPipeline) -> tuple:
    """The engine's loop on a CPU with the step captured by `capture`."""

    def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        optimizer = make_optimizer(module, budget)
        step = Step(module, optimizer, job, inputs.render, torch.channels_last, capture)  # type: ignore[arg-type]
        step.rate = torch.zeros(())  # as on a GPU: a graph would not see another number
        return step

    monkeypatch.setattr(loop, "make_step", make_step)
    module = loop.Classifier(net(), CONTEXT.normalize)
    return module, loop.optimize(module, pipeline, BUDGET, job(folder))


def assert_same(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x.cpu(), y.cpu(), msg=lambda m, name=name: f"{name}: {m}", **tolerance)


# --- against the textbook ----------------------------------------------------------------------------


def test_the_loop_is_the_plain_loop(tmp_path: Path) -> None:
    reference = net()
    losses = plain_loop(reference, inputs())
    module = loop.Classifier(net(), CONTEXT.normalize)
    history = loop.optimize(module, inputs(), BUDGET, job(tmp_path))
    assert history.losses == pytest.approx(losses, rel=1e-5)
    assert_same(module.net, reference, rtol=1e-4, atol=1e-5)
    assert history.engine["step"] == "eager"


@pytest.mark.parametrize("limit", [None, 0])
def test_the_path_of_a_gpu_gives_what_a_cpu_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """Tables of crops, rendered within a captured step. Crops are exact, so the results are equal."""
    module, expected = trained(monkeypatch, tmp_path / "a", None, inputs())
    capture = Rerun()
    other, history = trained(
        monkeypatch, tmp_path / "b", capture, inputs(device_store=DeviceStore(CPU, limit))
    )
    assert history.losses == expected.losses
    assert_same(other, module, rtol=0.0, atol=0.0)
    assert (history.engine["step"], history.engine["images"]) == (
        "graph",
        "streamed" if limit == 0 else "resident",
    )
    # There are two shapes, that of whole batches and that of the last one; ordinary steps come first.
    assert capture.captured == 2
    # One more for each shape, whose effect is put back: the self-check of its graph.
    assert capture.replayed == BUDGET.epochs * BUDGET.steps - WARMUP - 1 + 2
    assert history.engine["self_check"] == "held, bitwise"


@pytest.mark.parametrize("accumulate", [2, 3])
def test_a_captured_step_in_parts_is_the_ordinary_step_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    original = job
    monkeypatch.setitem(globals(), "job", lambda folder: original(folder, accumulate=accumulate))
    whole, _ = trained(monkeypatch, tmp_path / "a", None, inputs())
    other, _ = trained(monkeypatch, tmp_path / "b", Rerun(), inputs(device_store=DeviceStore(CPU)))
    assert_same(other, whole, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("strategy", [egmae, mae])
def test_objectives_can_be_captured_as_they_are(tmp_path: Path, strategy: object) -> None:
    """No objective keeps a tensor of an earlier batch: replays on refilled buffers give ordinary losses."""
    from bench.interfaces.model import Encoder

    def module() -> nn.Module:
        torch.manual_seed(1)
        body = nn.Conv2d(3, 8, 8, stride=8)
        encoder = Encoder(net=body, features=lambda net, x: net(x), stride=8, width=8)
        return strategy.objective(encoder, strategy.STRATEGY.params(decoder_width=16, patch=16), CONTEXT)  # type: ignore[attr-defined]

    results = []
    for capture in (None, Rerun()):
        pipeline = input_pipeline.pretraining(
            images(),
            np.arange(IMAGES),
            batch=8,
            size=SIZE,
            scale=(0.2, 1.0),
            flip=0.5,
            device_store=DeviceStore(CPU),
        )
        objective = module()
        step = Step(
            objective, make_optimizer(objective, BUDGET), job(tmp_path), pipeline.render, None, capture
        )
        for epoch in range(3):
            torch.manual_seed(epoch)
            for batch in pipeline.epoch(epoch):
                step(batch, 1e-3)
        results.append((step.total, objective))
    (plain_total, plain), (captured_total, captured) = results
    assert torch.equal(captured_total, plain_total)
    assert_same(captured, plain, rtol=0.0, atol=0.0)


# --- graphs ------------------------------------------------------------------------------------------


def test_a_captured_optimizer_reads_its_rate_from_the_device(tmp_path: Path) -> None:
    """The same tensor in every step, which is filled before it."""
    module = loop.Classifier(net(), CONTEXT.normalize)
    step = Step(module, make_optimizer(module, BUDGET), job(tmp_path), inputs().render)
    step.rate = torch.zeros(())
    for batch, rate in zip(inputs().epoch(0), (0.25, 0.5), strict=False):
        step(batch, rate)
        assert all(group["lr"] is step.rate for group in step.optimizer.param_groups)
        assert float(step.rate) == rate


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, there, absent in ((0, (), ("cuda", "cuda:0")), (1, ("cuda", "cuda:0"), ("cuda:1",))):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        for name in there:
            assert str(check_device(name)) == name
        for name in absent:
            with pytest.raises(ConfigError, match=f"sees {count} GPUs; use --device cpu"):
                check_device(name)


@pytest.mark.parametrize("name", ["meta", "hpu", "mps", "xpu", "nonsense", "cuda:-1", "cuda:x"])
def test_a_device_that_cannot_train_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="use cpu, cuda or cuda:N"):
        check_device(name)


@pytest.mark.parametrize(
    ("gpus", "text", "devices"),
    [
        (0, "", ("cpu",)),
        (2, "", ("cuda",)),
        (2, "cpu", ("cpu",)),
        (2, "cuda", ("cuda",)),
        (2, "cuda:1", ("cuda:1",)),
        (1, "cuda:all", ("cuda:0",)),
        (3, "cuda:all", ("cuda:0", "cuda:1", "cuda:2")),
        (3, "cuda:2, cuda:0", ("cuda:2", "cuda:0")),
        (2, "cuda,cuda:1", ("cuda", "cuda:1")),
    ],
)
def test_several_devices_are_parsed(
    monkeypatch: pytest.MonkeyPatch, gpus: int, text: str, devices: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert parse_devices(text) == devices
    if len(devices) == 1:
        assert parse_device(text) == devices[0]
    else:
        with pytest.raises(ConfigError, match=rf"works on one device; name one \({devices[0]}\)"):
            parse_device(text)


@pytest.mark.parametrize(
    ("gpus", "text", "said"),
    [
        (0, "cuda:all", "sees 0 GPUs; use --device cpu$"),
        (0, "cuda:0,cuda:1", "--device cuda:0: this PyTorch sees 0 GPUs; use --device cpu$"),
        (1, "cuda:1", "sees 1 GPUs; use --device cpu or cuda:0$"),
        (2, "cuda:0,cuda:2", "--device cuda:2: .* sees 2 GPUs; use --device cpu or one of cuda:0 to cuda:1$"),
        (2, "cuda:256", "--device cuda:256: this PyTorch sees 2 GPUs"),  # for PyTorch, cuda:0
        (2, "cuda:1,cuda:1", "names cuda:1 twice; name each GPU once"),
        (2, "cuda,cuda:0", "names cuda:0 twice"),
        (2, "cuda:0,cpu", "only GPUs work beside each other; name one device, or GPUs alone"),
        (2, "cpu,cpu", "only GPUs work beside each other"),
        (2, "cpu:0", "the CPU is one device; use cpu"),
        (2, "cuda:0,", "--device '': not a device"),
        (2, "cuda:all,cuda:0", "--device 'cuda:all': not a device"),
        (2, "cuda:0;cuda:1", "not a device; use cpu, cuda or cuda:N"),
    ],
)
def test_devices_that_mean_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: int, text: str, said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigError, match=said):
        parse_devices(text)


@pytest.mark.parametrize(
    ("error", "memory", "lost"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False, True),
        (RuntimeError("shapes do not fit"), False, False),
        (ValueError("CUDA error"), False, False),
    ],
)
def test_what_an_error_says_of_the_device(error: Exception, memory: bool, lost: bool) -> None:
    assert (out_of_memory(error), device_lost(error)) == (memory, lost)


def test_bf16_is_used_where_a_gpu_computes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for native in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: native or including_emulation,
        )
        assert uses_bf16("auto", torch.device("cuda")) is native
    assert uses_bf16("bf16", torch.device("cuda"))
    assert not uses_bf16("auto", CPU)


def test_a_process_has_the_threads_it_is_given() -> None:
    for threads in (2, 1):
        assert configure("cpu", threads) == CPU
        assert torch.get_num_threads() == threads


def test_buffers_are_filled_anew_for_every_replay() -> None:
    seen: list[Tensor] = []
    replayed = GraphReplay(lambda x, y: seen.append(x * y), CPU, Rerun())
    batches = [(torch.full((2,), float(i)), torch.full((2,), i + 1.0)) for i in range(WARMUP + 5)]
    for batch in batches:
        replayed(*batch)
    assert [int(x[0]) for x in seen] == [i * (i + 1) for i in range(WARMUP + 5)]
    assert replayed.mode == "graph"


def test_a_batch_does_not_outlive_its_step() -> None:
    """A replay does not see what the caller does with its tensors afterwards."""
    seen: list[Tensor] = []
    replayed = GraphReplay(lambda x: seen.append(x.clone()), CPU, Rerun(), warmup=0)
    batch = torch.ones(3)
    replayed(batch)
    batch.zero_()
    replayed(torch.full((3,), 2.0))
    assert [x.tolist() for x in seen] == [[1.0] * 3, [2.0] * 3]


def test_a_capture_that_fails_leaves_ordinary_steps_and_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    seen: list[Tensor] = []
    replayed = GraphReplay(lambda x: seen.append(x + 0), CPU, refuse)
    for i in range(6):
        replayed(torch.tensor(float(i)))
    assert [int(x) for x in seen] == [0, 1, 2, 3, 4, 5]
    assert replayed.mode == "eager: RuntimeError: operation not permitted when stream is capturing"
    assert len(caplog.records) == 1
    assert "cannot be captured" in caplog.text


def test_memory_that_runs_out_in_a_capture_is_not_taken_for_a_bad_step() -> None:
    def full(work: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("full")

    replayed = GraphReplay(lambda x: None, CPU, full, warmup=0)
    with pytest.raises(torch.OutOfMemoryError):
        replayed(torch.ones(1))


def test_nothing_of_a_captured_training_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a garbage collection: the retry with smaller steps needs the memory at once."""
    alive: list[weakref.ref] = []

    def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        step = Step(module, make_optimizer(module, budget), job, inputs.render, None, Rerun())
        alive.extend(weakref.ref(part) for part in (module, step.optimizer, step.replay))
        return step

    def train(validate: Callable[[], float] | None) -> None:
        module = loop.Classifier(net(), CONTEXT.normalize)
        loop.optimize(module, inputs(), BUDGET, job(tmp_path), validate)

    def run_out() -> float:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(loop, "make_step", make_step)
    gc.collect()
    gc.disable()
    try:
        train(None)
        with pytest.raises(torch.OutOfMemoryError):
            train(run_out)
        assert len(alive) == 6
        assert [ref() for ref in alive] == [None] * 6
    finally:
        gc.enable()


# --- memory formats ----------------------------------------------------------------------------------


class FakeStep:
    """Does `work` for a step."""

    def __init__(self, work: Callable[[], None] = lambda: None) -> None:
        self.work = work

    def __call__(self, batch: Batch, rate: float) -> None:
        self.work()

    def close(self) -> None:
        del self.work


@pytest.mark.parametrize("slow", list(FORMATS.values()))
def test_the_faster_format_is_kept_for_the_next_training(tmp_path: Path, slow: torch.memory_format) -> None:
    tried: list[torch.memory_format] = []
    now = 0.0

    def build(module: nn.Module, memory_format: torch.memory_format) -> FakeStep:
        tried.append(memory_format)

        def step() -> None:
            nonlocal now
            now += 2.0 if memory_format is slow else 1.0

        return FakeStep(step)

    def choose(images: int) -> torch.memory_format:
        sample = (torch.zeros(images, 10, dtype=torch.int64),)
        measuring = job(tmp_path, memory_formats=tmp_path / "formats")
        return fastest_format(net(), sample, build, measuring, clock=lambda: now)

    (fast,) = set(FORMATS.values()) - {slow}
    assert choose(4) is fast
    assert choose(4) is fast
    assert tried == list(FORMATS.values())  # once each
    assert choose(5) is fast
    assert len(tried) == 4  # another size of batch is measured anew
    for file in (tmp_path / "formats").glob("*.json"):
        file.write_text("{}")
    assert choose(4) is fast
    assert len(tried) == 6  # a damaged file is measured anew


@pytest.mark.parametrize("failing", [["channels_last"], ["contiguous_format"], list(FORMATS)])
def test_a_format_that_fails_is_not_chosen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, failing: list[str]
) -> None:
    def build(module: nn.Module, memory_format: torch.memory_format) -> FakeStep:
        if any(FORMATS[name] is memory_format for name in failing):
            raise torch.OutOfMemoryError("full")
        return FakeStep()

    measuring = job(tmp_path, memory_formats=tmp_path / "formats")
    chosen = fastest_format(net(), (torch.zeros(1),), build, measuring)
    assert chosen is FORMATS[next((name for name in FORMATS if name not in failing), "channels_last")]
    for name in failing:
        assert f"memory format {name} cannot be tried (OutOfMemoryError: full)" in caplog.text
    # What failed may do so once only, for want of memory, so channels_last is tried anew.
    assert bool(list((tmp_path / "formats").glob("*.json"))) == ("channels_last" not in failing)


class Copies(TorchDispatchMode):
    """Counts copies of tensors with four dimensions."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten.clone.default and args[0].ndim == 4
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "activation", [nn.Hardtanh, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.SiLU, nn.ReLU, nn.ELU]
)
def test_activations_copy_nothing_and_no_bit_changes(tmp_path: Path, activation: type[nn.Module]) -> None:
    """Those whose gradients come from what goes out stay in place, where they need no second tensor."""
    stays = activation in (nn.ReLU, nn.ELU)

    def network() -> nn.Module:
        module = net()
        module[2] = activation(inplace=True)  # type: ignore[operator]
        return module.train()

    def trained(module: nn.Module, step: Step) -> int:
        with Copies() as copies:
            for seed in range(2):
                torch.manual_seed(seed)
                step((torch.randn(8, 3, SIZE, SIZE), torch.arange(8) % 3), 1e-3)
        return copies.count

    inputs = InputPipeline(lambda seed: iter(()))
    kept, ours = (loop.Classifier(network(), CONTEXT.normalize) for _ in range(2))
    before = trained(kept, Step(kept, make_optimizer(kept, BUDGET), job(tmp_path), inputs.render))
    assert trained(ours, step_module.make_step(ours, inputs, BUDGET, job(tmp_path))) == 0
    assert before == (0 if stays else 2)
    assert ours.net[2].inplace == stays  # type: ignore[index, union-attr]
    for name, value in kept.state_dict().items():
        assert torch.equal(value, ours.state_dict()[name]), name


@pytest.mark.parametrize(("saved", "name"), [(0.04, "channels_last"), (0.06, "contiguous_format")])
def test_a_small_difference_is_no_reason_to_leave_channels_last(
    tmp_path: Path, saved: float, name: str
) -> None:
    now = 0.0

    def build(module: nn.Module, memory_format: torch.memory_format) -> FakeStep:
        def step() -> None:
            nonlocal now
            now += 1.0 if memory_format is torch.channels_last else 1.0 - saved

        return FakeStep(step)

    measuring = job(tmp_path, memory_formats=tmp_path / "formats")
    assert fastest_format(net(), (torch.zeros(1),), build, measuring, lambda: now) is FORMATS[name]


def test_a_resumed_training_keeps_the_format_of_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial anew might choose another one, which rounds otherwise."""

    def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        return Step(module, make_optimizer(module, budget), job, inputs.render, torch.contiguous_format)

    tried: list[torch.memory_format] = []
    forgotten: list[int] = []

    def build(module: nn.Module, memory_format: torch.memory_format) -> FakeStep:
        tried.append(memory_format)
        slow = memory_format is torch.contiguous_format
        return FakeStep(lambda: time.sleep(0.001 if slow else 0))

    def interrupt(progress: Progress) -> None:
        if progress.epoch == 2:
            interruption.interrupt()

    monkeypatch.setattr(loop, "make_step", make_step)
    monkeypatch.setattr(step_module, "forget_peak", lambda device: forgotten.append(len(tried)))
    training = job(tmp_path, memory_formats=tmp_path / "formats")
    assert choose_format(net(), inputs(), build, training) is torch.channels_last
    assert len(tried) == 2
    assert forgotten == [2]  # the memory of trials is not that of the training
    with pytest.raises(KeyboardInterrupt):
        loop.optimize(
            loop.Classifier(net(), CONTEXT.normalize), inputs(), BUDGET, replace(training, report=interrupt)
        )
    tried.clear()
    assert choose_format(net(), inputs(), build, training) is torch.contiguous_format
    assert not tried
    history = loop.optimize(loop.Classifier(net(), CONTEXT.normalize), inputs(), BUDGET, training)
    assert history.resumed_from == 1
    assert history.engine["memory_format"] == "contiguous_format"
    training.checkpoint.write_bytes(b"no checkpoint")
    assert choose_format(net(), inputs(), build, training) is torch.channels_last


def test_measuring_leaves_the_module_as_it_was(tmp_path: Path) -> None:
    module, untouched = loop.Classifier(net(), CONTEXT.normalize), net()
    pipeline = inputs(device_store=DeviceStore(CPU))

    def build(copy: nn.Module, memory_format: torch.memory_format) -> Step:
        optimizer = make_optimizer(copy, BUDGET)
        return Step(copy, optimizer, job(tmp_path), pipeline.render, memory_format)

    measuring = job(tmp_path, memory_formats=tmp_path / "formats")
    fastest_format(module, next(iter(pipeline.epoch(0))), build, measuring)
    assert_same(module.net, untouched, rtol=0.0, atol=0.0)


# --- on a GPU ----------------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    yield configure("cuda", 1)
    torch.use_deterministic_algorithms(False)


@cuda
@pytest.mark.parametrize("limit", [None, 0])
def test_graphs_give_the_bits_of_ordinary_steps(tmp_path: Path, gpu: torch.device, limit: int | None) -> None:
    results = []
    for graph in (False, True):
        module = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
        training = job(tmp_path / str(graph), gpu, graph=graph)
        history = loop.optimize(module, inputs(device_store=DeviceStore(gpu, limit)), BUDGET, training)
        results.append((module, history))
    (plain, expected), (replayed, history) = results
    assert history.engine["step"] == "graph"
    assert history.engine["self_check"] == "held, bitwise"
    assert history.engine["deterministic"] == "yes"
    assert history.losses == expected.losses
    assert_same(replayed, plain, rtol=0.0, atol=0.0)


@cuda
def test_a_gpu_gives_what_a_cpu_gives(tmp_path: Path, gpu: torch.device) -> None:
    """Without dropout, whose numbers differ between devices; fp32, TF32 off."""
    results = []
    torch.set_float32_matmul_precision("highest")
    for device in (CPU, gpu):
        module = loop.Classifier(net(), CONTEXT.normalize).to(device)
        module.net[4].p = 0.0
        pipeline = inputs(device_store=None if device == CPU else DeviceStore(device))
        history = loop.optimize(module, pipeline, BUDGET, job(tmp_path / device.type, device))
        results.append((module, history))
    (on_cpu, cpu_history), (on_gpu, gpu_history) = results
    assert gpu_history.losses == pytest.approx(cpu_history.losses, rel=1e-3)
    assert_same(on_gpu, on_cpu, rtol=1e-2, atol=1e-3)


@cuda
def test_a_step_that_waits_for_the_gpu_runs_ordinarily_and_right(tmp_path: Path, gpu: torch.device) -> None:
    class Waiting(loop.Classifier):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            loss = super().forward(images, labels)
            assert math.isfinite(loss.item())  # cannot be captured
            return loss

    results = []
    for kind in (loop.Classifier, Waiting):
        module = kind(net(), CONTEXT.normalize).to(gpu)
        training = job(tmp_path / kind.__name__, gpu, graph=kind is Waiting)
        history = loop.optimize(module, inputs(device_store=DeviceStore(gpu)), BUDGET, training)
        results.append((module, history))
    (ordinary, _), (waiting, history) = results
    assert history.engine["step"].startswith("eager: ")
    assert_same(waiting, ordinary, rtol=0.0, atol=0.0)


@cuda
def test_a_gpu_training_resumes_to_the_same_bits(tmp_path: Path, gpu: torch.device) -> None:
    class Killed(Exception):
        pass

    def dying(seed: int) -> Iterator[tuple[Tensor, ...]]:
        if seed == derive_seed(7, "batches", 2):
            raise Killed
        yield from inputs(device_store=DeviceStore(gpu)).epoch(seed)

    uninterrupted = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
    expected = loop.optimize(
        uninterrupted, inputs(device_store=DeviceStore(gpu)), BUDGET, job(tmp_path / "a", gpu)
    )
    with pytest.raises(Killed):
        loop.optimize(
            loop.Classifier(net(), CONTEXT.normalize).to(gpu),
            InputPipeline(dying, inputs(device_store=DeviceStore(gpu)).render),
            BUDGET,
            job(tmp_path / "b", gpu),
        )
    resumed = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
    history = loop.optimize(resumed, inputs(device_store=DeviceStore(gpu)), BUDGET, job(tmp_path / "b", gpu))
    assert history.resumed_from > 0
    assert history.losses == expected.losses
    assert_same(resumed, uninterrupted, rtol=0.0, atol=0.0)


@cuda
def test_seeds_reach_a_captured_graph(gpu: torch.device) -> None:
    out = torch.zeros(100, device=gpu)
    replayed = GraphReplay(lambda x: out.copy_(torch.rand_like(x)), gpu, CudaCapture(gpu))
    drawn = []
    for seed in (1, 1, 1, 1, 1, 2, 1):
        torch.manual_seed(seed)
        replayed(torch.zeros(100))
        drawn.append(out.clone())
    assert all(torch.equal(drawn[0], drawn[i]) for i in (1, 2, 3, 4, 6))
    assert not torch.equal(drawn[0], drawn[5])
