"""The engine's step against a plain loop; graphs by a stand-in that reruns, and real ones on a GPU.

The stand-in captures as CUDA does in what matters: it is given work on fixed buffers, and a replay does that
work again on whatever the buffers hold then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import Context
from bench.data.images.view import View
from bench.engine import input_pipeline, loop
from bench.engine.gpu.graph import WARMUP, CudaCapture, Replayed
from bench.engine.gpu.memory_format import FORMATS, fastest_format
from bench.engine.gpu.resident import DeviceStore
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.step import Step, make_optimizer
from bench.identity import derive_seed
from bench_strategies import egmae, mae

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CPU = torch.device("cpu")
SIZE, IMAGES = 32, 22
CONTEXT = Context(classes=("a", "b", "c"), size=SIZE)
BUDGET = Budget(3, 3, 1e-3, (0.9, 0.99), 0.05, warmup=0.2)  # 22 images in batches of 8, 8 and 6


def net() -> nn.Module:
    """Batch norm and dropout: buffers and random states that a step changes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 8, stride=8, bias=False),  # a bias before a norm has no gradient but rounding
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
    return Job("toy", "fine-tune", 7, device, folder / "toy.pt", lambda news: None, **common)


def plain_loop(module: nn.Module, epochs: InputPipeline) -> list[float]:
    """What the engine must equal: the textbook loop, with the same seeds."""
    vectors = [p for p in module.parameters() if p.ndim <= 1]
    matrices = [p for p in module.parameters() if p.ndim > 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    losses, step, total = [], 0, BUDGET.epochs * BUDGET.steps
    warm = round(0.2 * total)
    for epoch in range(BUDGET.epochs):
        torch.manual_seed(derive_seed(7, "epoch", epoch))
        found = []
        for pictures, labels in epochs.epoch(derive_seed(7, "batches", epoch)):
            decayed = 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * ((step + 1) / warm if step < warm else decayed)
            optimizer.zero_grad()
            loss = cross_entropy(module(CONTEXT.normalize(pictures)), labels)
            loss.backward()
            optimizer.step()
            found += [loss.item()] * len(labels)
            step += 1
        losses.append(sum(found) / len(found))
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


def trained(monkeypatch: pytest.MonkeyPatch, folder: Path, capture: object, given: InputPipeline) -> tuple:
    """The engine's loop on a CPU with the step captured by `capture`."""

    def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        optimizer = make_optimizer(module, budget)
        return Step(module, optimizer, job, inputs.render, torch.channels_last, capture)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "make_step", make_step)
    module = loop.Classifier(net(), CONTEXT.normalize)
    return module, loop.optimize(module, given, BUDGET, job(folder))


def same(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x.cpu(), y.cpu(), msg=lambda m, name=name: f"{name}: {m}", **tolerance)


# --- against the textbook ----------------------------------------------------------------------------


def test_the_loop_is_the_plain_loop(tmp_path: Path) -> None:
    reference = net()
    losses = plain_loop(reference, inputs())
    module = loop.Classifier(net(), CONTEXT.normalize)
    history = loop.optimize(module, inputs(), BUDGET, job(tmp_path))
    assert history.losses == pytest.approx(losses, rel=1e-5)
    same(module.net, reference, rtol=1e-4, atol=1e-5)
    assert history.engine["step"] == "eager"


@pytest.mark.parametrize("limit", [None, 0])
def test_the_path_of_a_gpu_gives_what_a_cpu_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """Tables of crops, rendered within a captured step: crops are exact, so nothing differs but layout."""
    module = loop.Classifier(net(), CONTEXT.normalize)
    expected = loop.optimize(module, inputs(), BUDGET, job(tmp_path / "a"))
    capture = Rerun()
    other, history = trained(
        monkeypatch, tmp_path / "b", capture, inputs(device_store=DeviceStore(CPU, limit))
    )
    assert history.losses == expected.losses
    same(other, module, rtol=0.0, atol=0.0)
    assert (history.engine["step"], history.engine["images"]) == (
        "graph",
        "streamed" if limit == 0 else "resident",
    )
    # Two shapes, the whole batch and the last; ordinary steps come first.
    assert capture.captured == 2
    assert capture.replayed == BUDGET.epochs * BUDGET.steps - WARMUP - 1


@pytest.mark.parametrize("accumulate", [2, 3])
def test_a_captured_step_in_parts_is_the_ordinary_step_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    whole = loop.Classifier(net(), CONTEXT.normalize)
    loop.optimize(whole, inputs(), BUDGET, job(tmp_path / "a", accumulate=accumulate))
    original = job
    monkeypatch.setitem(globals(), "job", lambda folder: original(folder, accumulate=accumulate))
    other, _ = trained(monkeypatch, tmp_path / "b", Rerun(), inputs(device_store=DeviceStore(CPU)))
    same(other, whole, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("strategy", [egmae, mae])
def test_objectives_can_be_captured_as_they_are(tmp_path: Path, strategy: object) -> None:
    """No objective holds on to a tensor of an earlier batch: replays on new buffers give ordinary losses."""
    from bench.interfaces.model import Encoder

    def module() -> nn.Module:
        torch.manual_seed(1)
        body = nn.Conv2d(3, 8, 8, stride=8)
        encoder = Encoder(net=body, features=lambda net, x: net(x), stride=8, width=8)
        return strategy.objective(encoder, strategy.STRATEGY.params(decoder_width=16, patch=16), CONTEXT)  # type: ignore[attr-defined]

    found = []
    for capture in (None, Rerun()):
        given = input_pipeline.pretraining(
            images(),
            np.arange(IMAGES),
            batch=8,
            size=SIZE,
            scale=(0.2, 1.0),
            flip=0.5,
            device_store=DeviceStore(CPU),
        )
        trained_one = module()
        step = Step(
            trained_one, make_optimizer(trained_one, BUDGET), job(tmp_path), given.render, None, capture
        )
        for epoch in range(3):
            torch.manual_seed(epoch)
            for batch in given.epoch(epoch):
                step(batch, 1e-3)
        found.append((step.total, trained_one))
    assert torch.equal(found[0][0], found[1][0])
    same(found[0][1], found[1][1], rtol=0.0, atol=0.0)


# --- graphs ------------------------------------------------------------------------------------------


def test_buffers_are_filled_anew_for_every_replay() -> None:
    seen: list[Tensor] = []
    replayed = Replayed(lambda x, y: seen.append(x * y), CPU, Rerun())
    given = [(torch.full((2,), float(i)), torch.full((2,), i + 1.0)) for i in range(WARMUP + 5)]
    for pair in given:
        replayed(*pair)
    assert [int(x[0]) for x in seen] == [i * (i + 1) for i in range(WARMUP + 5)]
    assert replayed.mode == "graph"


def test_a_batch_does_not_outlive_its_step() -> None:
    """What the caller does with its tensors afterwards does not reach a replay."""
    seen: list[Tensor] = []
    replayed = Replayed(lambda x: seen.append(x.clone()), CPU, Rerun(), warmup=0)
    batch = torch.ones(3)
    replayed(batch)
    batch.zero_()
    replayed(torch.full((3,), 2.0))
    assert [x.tolist() for x in seen] == [[1.0] * 3, [2.0] * 3]


def test_a_capture_that_fails_leaves_ordinary_steps_and_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    seen: list[float] = []
    replayed = Replayed(lambda x: seen.append(x.item()), CPU, refuse)
    for i in range(6):
        replayed(torch.tensor(float(i)))
    assert seen == [0, 1, 2, 3, 4, 5]
    assert replayed.mode == "eager: RuntimeError: operation not permitted when stream is capturing"
    assert len(caplog.records) == 1
    assert "cannot be captured" in caplog.text


def test_memory_that_runs_out_in_a_capture_is_not_taken_for_a_bad_step() -> None:
    def full(work: Callable[[], None]) -> Callable[[], None]:
        raise torch.OutOfMemoryError("full")

    replayed = Replayed(lambda x: None, CPU, full, warmup=0)
    with pytest.raises(torch.OutOfMemoryError):
        replayed(torch.ones(1))


# --- memory formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", list(FORMATS.values()))
def test_the_faster_format_is_kept_for_the_next_training(tmp_path: Path, slow: torch.memory_format) -> None:
    tried: list[torch.memory_format] = []
    now = 0.0

    def build(module: nn.Module, memory_format: torch.memory_format) -> Step:
        tried.append(memory_format)

        def step(sample: object, rate: float) -> None:
            nonlocal now
            now += 2.0 if memory_format is slow else 1.0

        return step  # type: ignore[return-value]

    def choose(images: int) -> torch.memory_format:
        sample = (torch.zeros(images, 10, dtype=torch.int64),)
        where = job(tmp_path, memory_formats=tmp_path / "formats")
        return fastest_format(net(), sample, build, where, clock=lambda: now)

    (fast,) = set(FORMATS.values()) - {slow}
    assert choose(4) is fast
    assert choose(4) is fast
    assert tried == list(FORMATS.values())  # once each
    assert choose(5) is fast
    assert len(tried) == 4  # another batch is another question
    for file in (tmp_path / "formats").iterdir():
        file.write_text("{}")
    assert choose(4) is fast
    assert len(tried) == 6  # a damaged file is no answer


def test_a_trial_that_fails_costs_only_the_choice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def build(module: nn.Module, memory_format: torch.memory_format) -> Step:
        raise torch.OutOfMemoryError("full")

    where = job(tmp_path, memory_formats=tmp_path / "formats")
    assert fastest_format(net(), (torch.zeros(1),), build, where) is torch.channels_last
    assert "(OutOfMemoryError: full); using channels_last" in caplog.text
    assert not (tmp_path / "formats").exists()


def test_a_trial_leaves_the_module_alone(tmp_path: Path) -> None:
    module, untouched = loop.Classifier(net(), CONTEXT.normalize), net()
    given = inputs(device_store=DeviceStore(CPU))

    def build(copy: nn.Module, memory_format: torch.memory_format) -> Step:
        optimizer = make_optimizer(copy, BUDGET)
        return Step(copy, optimizer, job(tmp_path), given.render, memory_format)

    where = job(tmp_path, memory_formats=tmp_path / "formats")
    fastest_format(module, next(iter(given.epoch(0))), build, where)
    same(module.net, untouched, rtol=0.0, atol=0.0)


# --- on a GPU ----------------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    from bench.engine.device import configure

    yield configure("cuda", 1)
    torch.use_deterministic_algorithms(False)


@cuda
@pytest.mark.parametrize("limit", [None, 0])
def test_graphs_give_the_bits_of_ordinary_steps(tmp_path: Path, gpu: torch.device, limit: int | None) -> None:
    found = []
    for graph in (False, True):
        module = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
        here = job(tmp_path / str(graph), gpu, graph=graph)
        found.append(
            (module, loop.optimize(module, inputs(device_store=DeviceStore(gpu, limit)), BUDGET, here))
        )
    (plain, expected), (replayed, history) = found
    assert history.engine["step"] == "graph"
    assert history.losses == expected.losses
    same(replayed, plain, rtol=0.0, atol=0.0)


@cuda
def test_a_gpu_gives_what_a_cpu_gives(tmp_path: Path, gpu: torch.device) -> None:
    """Without dropout, whose numbers differ between devices; fp32, TF32 off."""
    found = []
    torch.set_float32_matmul_precision("highest")
    for device in (CPU, gpu):
        module = loop.Classifier(net(), CONTEXT.normalize).to(device)
        module.net[4].p = 0.0
        found.append(
            (
                module,
                loop.optimize(
                    module,
                    inputs(device_store=None if device == CPU else DeviceStore(device)),
                    BUDGET,
                    job(tmp_path / device.type, device),
                ),
            )
        )
    assert found[1][1].losses == pytest.approx(found[0][1].losses, rel=1e-3)
    same(found[1][0], found[0][0], rtol=1e-2, atol=1e-3)


@cuda
def test_a_step_that_waits_for_the_gpu_runs_ordinarily_and_right(tmp_path: Path, gpu: torch.device) -> None:
    class Waiting(loop.Classifier):
        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            loss = super().forward(images, labels)
            assert math.isfinite(loss.item())  # cannot be captured
            return loss

    found = []
    for kind in (loop.Classifier, Waiting):
        module = kind(net(), CONTEXT.normalize).to(gpu)
        here = job(tmp_path / kind.__name__, gpu, graph=kind is Waiting)
        found.append((module, loop.optimize(module, inputs(device_store=DeviceStore(gpu)), BUDGET, here)))
    assert found[1][1].engine["step"].startswith("eager: ")
    same(found[1][0], found[0][0], rtol=0.0, atol=0.0)


@cuda
def test_a_gpu_training_resumes_to_the_same_bits(tmp_path: Path, gpu: torch.device) -> None:
    class Killed(Exception):
        pass

    def dying(seed: int) -> Iterator[tuple[Tensor, ...]]:
        if seed == derive_seed(7, "batches", 2):
            raise Killed
        yield from inputs(device_store=DeviceStore(gpu)).epoch(seed)

    whole = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
    expected = loop.optimize(whole, inputs(device_store=DeviceStore(gpu)), BUDGET, job(tmp_path / "a", gpu))
    with pytest.raises(Killed):
        loop.optimize(
            loop.Classifier(net(), CONTEXT.normalize).to(gpu),
            InputPipeline(dying, inputs(device_store=DeviceStore(gpu)).render),
            BUDGET,
            job(tmp_path / "b", gpu),
        )
    resumed = loop.Classifier(net(), CONTEXT.normalize).to(gpu)
    found = loop.optimize(resumed, inputs(device_store=DeviceStore(gpu)), BUDGET, job(tmp_path / "b", gpu))
    assert found.resumed_from > 0
    assert found.losses == expected.losses
    same(resumed, whole, rtol=0.0, atol=0.0)


@cuda
def test_seeds_reach_a_captured_graph(gpu: torch.device) -> None:
    out = torch.zeros(100, device=gpu)
    replayed = Replayed(lambda x: out.copy_(torch.rand_like(x)), gpu, CudaCapture(gpu))
    drawn = []
    for seed in (1, 1, 1, 1, 1, 2, 1):
        torch.manual_seed(seed)
        replayed(torch.zeros(100))
        drawn.append(out.clone())
    assert all(torch.equal(drawn[0], drawn[i]) for i in (1, 2, 3, 4, 6))
    assert not torch.equal(drawn[0], drawn[5])
