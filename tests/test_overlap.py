"""Batches rendered while the step before is computed: lanes that exist in name only, and a detector of races.

All is done at once and in order, so that results are those of a run without lanes. `Races` sees each
operator, on whose behalf it was done and which memory it read and wrote, and says where two lanes use one
piece of memory without one having waited for the other.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench import Progress, interruption, silent
from bench.data.images.view import View
from bench.engine import input_pipeline, loop
from bench.engine import step as step_module
from bench.engine.batches import Batch
from bench.engine.gpu.graph import WARMUP
from bench.engine.gpu.overlap import Lanes
from bench.engine.gpu.resident import DeviceStore
from bench.engine.gpu.stability import Recorder, tensors_of
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, History, Job
from bench.engine.step import Step, make_optimizer

CPU = torch.device("cpu")
SIZE, IMAGES = 16, 22
BUDGET = Budget(4, 3, 1e-3, (0.9, 0.99), 0.05)  # 22 images in batches of 8, 8 and 6


# --- lanes and races ---------------------------------------------------------------------------------

Clock = dict[str, int]  # by lane: how much of what it was handed is known to be done


class Race(AssertionError):
    """Two lanes use one piece of memory at the same time."""


@dataclass
class Uses:
    """Who has used a piece of memory, and when."""

    memory: StorageWeakRef
    owner: str  # the lane whose allocator gave it out
    reads: Clock = field(default_factory=dict)
    writes: Clock = field(default_factory=dict)


class Races(TorchDispatchMode):
    """Counts operators by lane; raises Race for one that uses memory which another lane may be using."""

    def __init__(self) -> None:
        super().__init__()
        self.lane = "main"
        self.clocks: dict[str, Clock] = {lane: {"main": 0, "input": 0} for lane in ("main", "input")}
        self.known: dict[int, Uses] = {}
        self.freed: list[Uses] = []
        self.operators = {"main": 0, "input": 0}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        self.clocks[self.lane][self.lane] += 1
        self.operators[self.lane] += 1
        results = func(*args, **kwargs)
        if func.is_view:  # which uses no memory
            return results
        given = {}
        for number, argument in enumerate(func._schema.arguments):
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            written = argument.alias_info is not None and argument.alias_info.is_write
            for t in tree_leaves(value):
                if isinstance(t, Tensor):
                    given[t.untyped_storage()._cdata] = written
                    self._use(t, written, func)
        for t in tree_leaves(results):
            if isinstance(t, Tensor) and t.untyped_storage()._cdata not in given:
                self._make(t, func)
        return results

    def _use(self, t: Tensor, written: bool, func: Any) -> None:
        storage = t.untyped_storage()
        uses = self.known.get(storage._cdata)
        if uses is None or uses.memory.expired():  # made before this block, or where no operator is seen
            uses = self._remember(storage)
        others = [uses.writes] + [uses.reads] * written
        if any(at > self.clocks[self.lane][lane] for uses_ in others for lane, at in uses_.items()):
            raise Race(f"{func} on the {self.lane} lane: {t.shape} is in use")
        (uses.writes if written else uses.reads)[self.lane] = self.clocks[self.lane][self.lane]

    def _make(self, t: Tensor, func: Any) -> None:
        """As an allocator that gives memory of this lane out again, once it is free for the host."""
        for uses in [u for u in self.known.values() if u.memory.expired()]:
            self.freed.append(uses)
        self.known = {key: uses for key, uses in self.known.items() if not uses.memory.expired()}
        for uses in [u for u in self.freed if u.owner == self.lane]:
            self.freed.remove(uses)
            for lane, at in [*uses.reads.items(), *uses.writes.items()]:
                if at > self.clocks[self.lane][lane]:
                    raise Race(f"{func} on the {self.lane} lane: memory is free, but in use by {lane}")
        self._remember(t.untyped_storage()).writes[self.lane] = self.clocks[self.lane][self.lane]

    def _remember(self, storage: Any) -> Uses:
        if (old := self.known.get(storage._cdata)) is not None:
            self.freed.append(old)
        self.known[storage._cdata] = Uses(StorageWeakRef(storage), self.lane)
        return self.known[storage._cdata]

    @property
    def ahead(self) -> int:
        """Operators of the main lane that this lane has not waited for."""
        return self.clocks["main"]["main"] - self.clocks[self.lane]["main"]


class FakeLane:
    """A lane of `races`; a deaf one does not wait."""

    def __init__(self, races: Races, name: str, deaf: bool = False) -> None:
        self.races = races
        self.name = name
        self.deaf = deaf

    @contextmanager
    def current(self) -> Iterator[None]:
        before, self.races.lane = self.races.lane, self.name
        try:
            yield
        finally:
            self.races.lane = before

    def mark(self) -> Clock:
        return dict(self.races.clocks[self.name])

    def wait(self, mark: Clock) -> None:
        if not self.deaf:
            clock = self.races.clocks[self.name]
            clock.update({lane: max(at, mark[lane]) for lane, at in clock.items()})


def lanes(races: Races, deaf: str = "") -> Lanes:
    return Lanes(FakeLane(races, "main", deaf == "main"), FakeLane(races, "input", deaf == "input"))


def test_races_are_seen() -> None:
    with Races() as races:
        main, input_ = lanes(races)
        shared = torch.zeros(4)
        with input_.current(), pytest.raises(Race, match="is in use"):
            shared.sum()  # made on the main lane just now
        input_.wait(main.mark())
        with input_.current():
            shared.sum()
        shared.sum()  # both may read
        with pytest.raises(Race, match="is in use"):
            shared.add_(1)
        main.wait(input_.mark())
        shared.add_(1)
        with input_.current():
            theirs = torch.zeros(4)
        main.wait(input_.mark())
        theirs.sum()
        del theirs
        with input_.current(), pytest.raises(Race, match="memory is free, but in use by main"):
            torch.zeros(4)


# --- trainings ---------------------------------------------------------------------------------------


class Objective(nn.Module):
    """Has batch norm and dropout: buffers and random states that a step changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Dropout(0.2))

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        x = pictures.float() / 255
        loss: Tensor = self.body(x).square().mean() + self.body(x.flip(-1)).float().mean()
        return loss if labels is None else loss * (1 + labels.float().mean())


def view() -> View:
    rng = np.random.default_rng(0)
    shapes = tuple((1 if i % 2 else 3, SIZE + 4, SIZE + 4 + i) for i in range(IMAGES))
    return View(rng.integers(0, 256, sum(c * h * w for c, h, w in shapes), dtype=np.uint8), shapes)


def pipeline(kind: str, races: Races | None, seen: list[tuple[str, int]]) -> InputPipeline:
    """Batches that are cut as on a GPU; `seen` is told the lane that renders, and how far it is ahead."""
    store = DeviceStore(CPU, 0 if kind == "streamed" else None)
    common: dict[str, Any] = {"batch": 8, "size": SIZE, "flip": 0.5, "device_store": store}
    if kind == "labelled":
        labels = np.arange(IMAGES) % 3
        inputs = input_pipeline.finetuning(view(), labels, np.arange(IMAGES), **common)
    else:
        inputs = input_pipeline.pretraining(view(), np.arange(IMAGES), scale=(0.2, 1.0), **common)

    def render(*batch: Tensor) -> Batch:
        if races is not None:
            seen.append((races.lane, races.ahead))
        return inputs.render(*batch)

    return replace(inputs, render=render)


@dataclass
class Trained:
    module: nn.Module
    history: History
    random: Tensor
    rendered: list[tuple[str, int]]  # lane, and operators of the step before that it did not wait for


def train(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    kind: str,
    races: Races | None,
    deaf: str = "",
    report: Callable[[Progress], None] = silent,
    capture: Any = None,
    **options: Any,
) -> Trained:
    """The engine's loop as on a GPU, with `races` in its place; without, in ordinary steps."""
    job = Job("toy", "x", 7, CPU, folder / "toy.pt", report, **{"precision": "fp32", **options})

    def make_step(module: nn.Module, inputs: InputPipeline, budget: Budget, job: Job) -> Step:
        optimizer = make_optimizer(module, budget, capturable=True)
        rate = torch.zeros(())
        recorder = capture or Recorder(lambda: tensors_of(module, optimizer, [step.total, rate]))
        step = Step(
            module,
            optimizer,
            job,
            inputs.render,
            torch.channels_last,
            recorder if races else None,
            lanes=lanes(races, deaf) if races else None,
        )
        step.rate = rate
        return step

    monkeypatch.setattr(loop, "make_step", make_step)
    seen: list[tuple[str, int]] = []
    module = Objective().to(memory_format=torch.channels_last)
    inputs = pipeline(kind, races, seen)
    history = loop.optimize(module, inputs, BUDGET, job)
    return Trained(module, history, torch.get_rng_state(), seen)


def assert_same(a: Trained, b: Trained) -> None:
    for (name, x), y in zip(a.module.state_dict().items(), b.module.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    assert a.history.losses == b.history.losses
    assert torch.equal(a.random, b.random)


KINDS = ["resident", "streamed", "labelled"]
REPLAYS = BUDGET.epochs * BUDGET.steps - WARMUP - 1  # of two shapes


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "bf16"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_rendered_ahead_with_the_same_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    plain = train(monkeypatch, tmp_path / "a", kind, None, **options)
    with Races() as races:
        done = train(monkeypatch, tmp_path / "b", kind, races, **options)
    assert_same(done, plain)
    bf16 = "with bf16 weights, " if options.get("precision") == "bf16" else ""
    assert done.history.engine["step"] == "graph"
    assert done.history.engine["graph"] == f"{bf16}rendered ahead"
    assert done.history.engine["self_check"] == "held, bitwise"
    rendered = [ahead for lane, ahead in done.rendered if lane == "input"]
    assert len(rendered) == REPLAYS + 2  # and one in each self-check
    # The step before has a few operators before its inputs are read, and dozens afterwards.
    assert sum(ahead > 30 for ahead in rendered) >= REPLAYS - 2
    assert races.operators["main"] > 30 * REPLAYS


@pytest.mark.parametrize("deaf", ["main", "input"])
@pytest.mark.parametrize("kind", KINDS)
def test_lanes_that_do_not_wait_are_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, deaf: str
) -> None:
    with Races() as races, pytest.raises(Race):
        train(monkeypatch, tmp_path, kind, races, deaf)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [(1, 2), (2, 1), (3, 3)])
def test_a_training_that_is_interrupted_goes_on_with_the_same_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, at: tuple[int, int]
) -> None:
    def interrupt(progress: Progress) -> None:
        if (progress.epoch, progress.done) == at:
            interruption.interrupt()

    plain = train(monkeypatch, tmp_path / "a", kind, None)
    with Races() as races:
        with pytest.raises(KeyboardInterrupt):
            train(monkeypatch, tmp_path / "b", kind, races, report=interrupt)
        done = train(monkeypatch, tmp_path / "b", kind, races)
    over = (
        at[1] == BUDGET.steps
    )  # the last step is told when the epoch is over, so the next one is interrupted
    assert done.history.resumed_from == at[0] - 1 + over
    assert_same(done, plain)


def test_a_batch_that_was_not_drawn_is_rendered_after_what_made_it() -> None:
    """By who calls a step with a batch of its own, as the trial of memory formats does."""
    with Races() as races:
        module = Objective()
        inputs = pipeline("resident", races, seen := [])
        optimizer = make_optimizer(module, BUDGET, capturable=True)
        rate = torch.zeros(())
        recorder = Recorder(lambda: tensors_of(module, optimizer, [step.total, rate]))
        job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, precision="fp32")
        step = Step(module, optimizer, job, inputs.render, torch.channels_last, recorder, lanes=lanes(races))
        step.rate = rate
        for _ in range(WARMUP + 3):
            (rows,) = next(iter(inputs.epoch(0)))
            step((rows.clone(),), 1e-3)
        assert step.choices["graph"] == "rendered ahead"
        assert [lane for lane, _ in seen[-2:]] == ["input", "input"]
        assert [ahead for _, ahead in seen[-2:]] == [0, 0]
        step.close()


class Wrong:
    """A capture whose first replay draws more random numbers than the step does."""

    def __init__(self) -> None:
        self.captures = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        first = self.captures == 1

        def replay() -> None:
            if first:
                torch.rand(1)
            work()

        return replay


@pytest.mark.parametrize("kind", KINDS)
def test_where_rendering_ahead_changes_the_step_it_is_done_in_series(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = train(monkeypatch, tmp_path / "a", kind, None)
    with Races() as races:
        done = train(monkeypatch, tmp_path / "b", kind, races, capture=Wrong())
    assert done.history.engine["step"] == "graph"
    reason = "a replayed step is not the ordinary one: random numbers are drawn otherwise"
    assert done.history.engine["graph"] == f"plain; not rendered ahead: {reason}"
    assert f"not rendered ahead: {reason}" in caplog.text
    assert [lane for lane, _ in done.rendered].count("input") == 1  # in the self-check
    assert_same(done, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_can_be_captured_steps_are_ordinary(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    plain = train(monkeypatch, tmp_path / "a", kind, None)
    with Races() as races:
        done = train(monkeypatch, tmp_path / "b", kind, races, capture=refuse)
    assert done.history.engine["step"].startswith("eager: RuntimeError: operation not permitted")
    assert {lane for lane, _ in done.rendered} == {"main"}
    assert_same(done, plain)


class Draws(TorchDispatchMode):
    """Notes operators that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_rendering_draws_no_random_numbers(kind: str) -> None:
    """So it makes no difference to them that it is done earlier."""
    inputs = pipeline(kind, None, [])
    batch = next(iter(inputs.epoch(0)))
    before = torch.get_rng_state()
    with Draws() as draws:
        inputs.render(*batch)
        assert not draws.found
        torch.rand(1)
    assert draws.found
    torch.set_rng_state(before)


def test_a_plain_step_is_captured_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What BENCH_GRAPH=plain asks for."""
    job = Job("toy", "x", 7, CPU, tmp_path / "toy.pt", silent, precision="bf16")
    module, races = Objective(), Races()
    step = Step(
        module,
        make_optimizer(module, BUDGET),
        job,
        lambda rows: (rows,),
        None,
        lambda work: work,
        lanes=lanes(races),
        plain=True,
    )
    assert step.replay is not None
    assert [way.name for way in step.replay.ways] == ["plain"]
    assert step.overlap is None


@pytest.mark.parametrize(("variable", "plain"), [("plain", True), ("1", False), (None, False)])
def test_what_a_step_on_a_gpu_is_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None, plain: bool
) -> None:
    """Graphs on two lanes, unless $BENCH_GRAPH or --no-graph asks for less."""
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(step_module, "Step", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(step_module, "CudaCapture", lambda device: "capture")
    monkeypatch.setattr(step_module, "cuda_lanes", lambda device: "lanes")
    monkeypatch.delenv("BENCH_GRAPH", raising=False)
    if variable is not None:
        monkeypatch.setenv("BENCH_GRAPH", variable)
    inputs = pipeline("resident", None, [])
    job = Job("toy", "x", 7, torch.device("cuda"), tmp_path / "toy.pt", silent)
    for graph in (True, False):
        step_module.make_step(Objective(), inputs, BUDGET, replace(job, graph=graph))
    expected = [("capture", True, "lanes", plain), (None, True, None, plain)]
    assert [arguments[5:] for arguments in made] == expected


def test_nothing_of_a_training_outlives_it() -> None:
    """Without a garbage collection: the retry with smaller steps needs the memory at once."""
    job = Job("toy", "x", 7, CPU, Path("unused.pt"), silent, precision="bf16")
    inputs = pipeline("resident", None, [])
    gc.collect()
    gc.disable()
    try:
        module = Objective()
        optimizer = make_optimizer(module, BUDGET, capturable=True)
        step = Step(module, optimizer, job, inputs.render, None, lambda work: work, lanes=lanes(Races()))
        for epoch in range(2):
            for batch in step.draw(partial(inputs.epoch, epoch)):
                step(batch, 1e-3)
        assert step.choices["graph"] == "with bf16 weights, rendered ahead"
        parts = (module, optimizer, step.replay, step.overlap, step.uses, step.bf16_weights)
        alive = [weakref.ref(part) for part in parts]
        step.close()
        del module, optimizer, parts, step
        assert [ref() for ref in alive] == [None] * 6
    finally:
        gc.enable()
