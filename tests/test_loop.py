"""The training loop: schedule, resuming bit for bit, accumulation, divergence, the best epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import interruption
from bench.engine import checkpoint, loop
from bench.engine.batches import Batch
from bench.engine.input_pipeline import InputPipeline
from bench.engine.job import Budget, Job
from bench.engine.predict import predict
from bench.engine.step import make_optimizer
from bench.errors import TrainingError
from bench.interfaces.executor import Progress

BUDGET = Budget(epochs=4, steps=3, learning_rate=0.01, betas=(0.9, 0.999), weight_decay=0.05, warmup=0.25)


class Toy(nn.Module):
    """Has batch norm and dropout, so that a resumed training needs their buffers and random states."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) - x.sum(1, keepdim=True)).square().mean()


class Pictures(nn.Module):
    """Has a convolution, whose weights have other strides in another memory format."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.net(x) - x.mean(1, keepdim=True)[..., 1:-1, 1:-1]).square().mean()


def epoch_batches(seed: int) -> Iterator[Batch]:
    draw = torch.Generator().manual_seed(seed)
    for _ in range(BUDGET.steps):
        yield (torch.randn(8, 6, generator=draw),)


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def job(tmp_path: Path, reports: list[Progress] | None = None, accumulate: int = 1) -> Job:
    return Job(
        "toy",
        "pretrain",
        7,
        torch.device("cpu"),
        tmp_path / "toy.pt",
        (reports if reports is not None else []).append,
        accumulate=accumulate,
    )


class Killed(Exception):
    pass


def test_compiling_changes_neither_result_nor_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, compiled = toy(), toy()
    expected = loop.optimize(plain, InputPipeline(epoch_batches), BUDGET, job(tmp_path / "a"))
    inductor = torch.compile
    traced: list[nn.Module] = []

    def compile_eagerly(module: nn.Module, **options: Any) -> nn.Module:  # real compiling takes minutes
        traced.append(module)
        return inductor(module, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    history = loop.optimize(
        compiled, InputPipeline(epoch_batches), BUDGET, replace(job(tmp_path / "b"), compile=True)
    )
    assert traced == [compiled]
    assert history.losses == pytest.approx(expected.losses, abs=1e-6)
    assert history.engine["compile"] == "true"
    torch.testing.assert_close(
        compiled.state_dict(), plain.state_dict()
    )  # torch.compile adds no prefix to the names


@pytest.mark.parametrize("killed_after", [1, 3, 4, 8, 11])
def test_a_killed_training_resumes_bit_for_bit(tmp_path: Path, killed_after: int) -> None:
    uninterrupted = toy()
    expected = loop.optimize(uninterrupted, InputPipeline(epoch_batches), BUDGET, job(tmp_path / "a"))

    steps = 0

    def until_killed(seed: int) -> Iterator[Batch]:
        nonlocal steps
        for batch in epoch_batches(seed):
            if steps == killed_after:
                raise Killed
            steps += 1
            yield batch

    with pytest.raises(Killed):
        loop.optimize(toy(), InputPipeline(until_killed), BUDGET, job(tmp_path / "b"))
    resumed = toy()
    torch.manual_seed(999)  # whatever ran before in this process must not matter
    history = loop.optimize(resumed, InputPipeline(epoch_batches), BUDGET, job(tmp_path / "b"))
    assert history.losses == expected.losses
    assert history.resumed_from <= killed_after // BUDGET.steps
    assert (history.resumed_from > 0) == (killed_after >= BUDGET.steps)
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("damage", ["empty", "text", "zeros", "cut short", "a byte short", "a wrong byte"])
def test_a_damaged_checkpoint_is_discarded(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "toy.pt"
    checkpoint.save(path, {"weights": torch.zeros(1000)})
    whole = path.read_bytes()
    middle = len(whole) // 2  # in the weights
    path.write_bytes(
        {
            "empty": b"",
            "text": b"half a checkpo",
            "zeros": bytes(len(whole)),
            "cut short": whole[:middle],
            "a byte short": whole[:-1],
            "a wrong byte": whole[:middle] + b"x" + whole[middle + 1 :],
        }[damage]
    )
    assert checkpoint.load(path) is None
    assert not path.exists()
    assert loop.optimize(toy(), InputPipeline(epoch_batches), BUDGET, job(tmp_path)).resumed_from == 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OSError(5, "Input/output error"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_checkpoint_that_cannot_be_loaded_now_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"epoch": 900})

    def fail(*_: object, map_location: str, **__: object) -> None:
        assert map_location == "cpu"
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(type(error)):
            checkpoint.load(path)
    assert checkpoint.load(path) == {"epoch": 900}


@pytest.mark.parametrize("first", [torch.contiguous_format, torch.channels_last])
def test_a_training_resumes_in_another_memory_format(tmp_path: Path, first: torch.memory_format) -> None:
    (second,) = {torch.contiguous_format, torch.channels_last} - {first}
    epochs: list[int] = []

    def images(seed: int) -> Iterator[Batch]:
        draw = torch.Generator().manual_seed(seed)
        for _ in range(BUDGET.steps):
            yield (torch.randn(4, 3, 6, 6, generator=draw),)

    def fresh(memory_format: torch.memory_format) -> nn.Module:
        torch.manual_seed(0)
        return Pictures().to(memory_format=memory_format)  # type: ignore[call-overload, no-any-return]

    def until_killed(seed: int) -> Iterator[Batch]:
        yield from images(seed)
        epochs.append(seed)
        if len(epochs) == 3:
            raise Killed

    expected = fresh(first)
    loop.optimize(expected, InputPipeline(images), BUDGET, job(tmp_path / "a"))
    with pytest.raises(Killed):
        loop.optimize(fresh(first), InputPipeline(until_killed), BUDGET, job(tmp_path / "b"))
    resumed = fresh(second)
    assert loop.optimize(resumed, InputPipeline(images), BUDGET, job(tmp_path / "b")).resumed_from > 0
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_crash_while_saving_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"epoch": 1})

    def crash(state: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == {"epoch": 1}
    (tmp_path / "another.1.tmp").touch()  # of another unit
    checkpoint.discard(path)
    assert [left.name for left in tmp_path.iterdir()] == ["another.1.tmp"]


def test_a_checkpoint_is_what_the_state_was_when_it_was_taken(tmp_path: Path) -> None:
    path, weight = tmp_path / "c.pt", torch.zeros(1000)
    with checkpoint.Writer(path) as writer:
        writer.write({"epoch": 1, "module": {"w": weight}, "moments": [weight, (weight, 2)]})
        weight.fill_(5.0)  # the training goes on while the file is written
    saved = checkpoint.load(path)
    assert saved
    assert (saved["module"]["w"] == 0).all()
    assert (saved["moments"][1][0] == 0).all()


def test_checkpoints_follow_one_another_and_the_last_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with checkpoint.Writer(path) as writer:
        for epoch in range(20):
            writer.write({"epoch": epoch})
    assert checkpoint.load(path) == {"epoch": 19}
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_the_next_checkpoint_is_due_by_the_cost_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint, "clock", lambda: now[0])
    monkeypatch.setattr(checkpoint, "snapshot", lambda state: (now.__setitem__(0, now[0] + 1.0), state)[1])
    with checkpoint.Writer(tmp_path / "c.pt") as writer:
        assert writer.due()
        writer.write({"epoch": 1})
        writer.settle()
        now[0] = 49.0
        assert not writer.due()
        now[0] = 51.0
        assert writer.due()


@pytest.mark.parametrize("training_fails", [False, True])
def test_an_error_of_writing_is_raised_unless_the_training_failed_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training_fails: bool
) -> None:
    def full(state: object, file: object) -> None:
        raise OSError("disk full")

    def train(writer: checkpoint.Writer) -> None:
        writer.write({"epoch": 1})
        if training_fails:
            raise Killed

    monkeypatch.setattr(torch, "save", full)
    with (
        pytest.raises(Killed if training_fails else TrainingError),
        checkpoint.Writer(tmp_path / "c.pt") as writer,
    ):
        train(writer)


def test_a_full_disk_ends_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: object, file: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"toy\.pt: .*disk full.*; free some space"):
        loop.optimize(toy(), InputPipeline(epoch_batches), BUDGET, job(tmp_path))


def test_schedule_warms_up_linearly_and_falls_by_a_cosine_to_zero() -> None:
    budget = Budget(10, 10, 1.0, (0.9, 0.95), 0.0, warmup=0.2)
    rates = [loop.learning_rate(step, budget) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 20)
    assert rates[19] == pytest.approx(1.0)
    assert rates[20] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    """Without batch norm and dropout, the gradients of the parts of a batch add up to that of the batch."""

    class Plain(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    results = []
    for accumulate in (1, 3, 8):
        torch.manual_seed(0)
        module = Plain()
        loop.optimize(
            module,
            InputPipeline(epoch_batches),
            BUDGET,
            job(tmp_path / str(accumulate), accumulate=accumulate),
        )
        results.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(results[2], results[0], rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_not_finite_stops_with_a_remedy(tmp_path: Path) -> None:
    class Exploding(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * math.inf

    with pytest.raises(TrainingError, match=r"loss is (inf|nan) in epoch 1; lower protocol\.pretrain"):
        loop.optimize(Exploding(), InputPipeline(epoch_batches), BUDGET, job(tmp_path))


@pytest.mark.parametrize("killed_in", [None, 1, 2, 3])
def test_validation_keeps_the_best_epoch_also_across_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: int | None
) -> None:
    monkeypatch.setattr(checkpoint.Writer, "due", lambda self: True)
    scores, module, states = [0.2, 0.9, 0.9, 0.1], toy(), []

    def validate() -> float:
        if len(states) == killed_in:
            raise Killed
        states.append({k: v.clone() for k, v in module.state_dict().items()})
        return scores[len(states) - 1]

    if killed_in is not None:
        with pytest.raises(Killed):
            loop.optimize(module, InputPipeline(epoch_batches), BUDGET, job(tmp_path), validate)
        saved = checkpoint.load(tmp_path / "toy.pt")
        assert saved
        assert saved["epoch"] == killed_in
        killed_in = None
        module = toy()
    history = loop.optimize(module, InputPipeline(epoch_batches), BUDGET, job(tmp_path), validate)
    assert history.scores == scores
    for name, value in module.state_dict().items():
        assert torch.equal(value, states[1][name])


def test_vectors_and_listed_names_are_not_decayed() -> None:
    class Listed(Toy):
        def no_weight_decay(self) -> set[str]:
            return {"net.3.weight"}

    module = Listed()
    decayed, undecayed = make_optimizer(module, BUDGET).param_groups
    assert [tuple(p.shape) for p in decayed["params"]] == [(8, 6)]
    assert decayed["weight_decay"] == 0.05
    assert undecayed["weight_decay"] == 0.0
    assert len(undecayed["params"]) == 5


def test_frozen_parameters_are_not_the_optimizers() -> None:
    module = toy()
    module.net[0].requires_grad_(False)
    groups = make_optimizer(module, BUDGET).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters())) - 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_predictions_have_the_precision_of_the_training(tmp_path: Path, precision: str) -> None:
    """ "auto" is float32 on a CPU."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.randint(0, 256, (5, 3, 2, 2), dtype=torch.uint8)
    predicted = predict(net, [(images,)], lambda x: x / 255, replace(job(tmp_path), precision=precision))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"), torch.no_grad():
        expected = net(images / 255).double().softmax(1)
    torch.testing.assert_close(predicted, expected, rtol=0, atol=0)
    assert not net.training


FULL = [torch.OutOfMemoryError("full"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")]


@pytest.mark.parametrize(("room", "error"), [(1, FULL[0]), (1, FULL[1]), (3, FULL[0]), (0, FULL[0])])
def test_memory_that_runs_out_halves_the_batch_of_predictions(
    tmp_path: Path, room: int, error: Exception
) -> None:
    seen: list[int] = []

    def net(images: Tensor) -> Tensor:
        if len(images) > room:
            raise error
        seen.append(len(images))
        return images

    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x)

    images = torch.arange(21.0).reshape(7, 3).sin()
    if not room:
        with pytest.raises(torch.OutOfMemoryError):
            predict(Small(), [(images,)], lambda x: x, job(tmp_path))
        return
    freed: list[int] = []
    predicted = predict(
        Small(), [(images[:5],), (images[5:],)], lambda x: x, job(tmp_path), lambda: freed.append(len(seen))
    )
    assert len(freed) == {1: 5, 3: 1}[room]  # before each try with half the images
    assert torch.equal(predicted, images.double().softmax(dim=1))
    assert seen == {1: [1] * 7, 3: [3, 2, 2]}[room]


def test_every_step_is_reported(tmp_path: Path) -> None:
    reports: list[Progress] = []
    history = loop.optimize(toy(), InputPipeline(epoch_batches), BUDGET, job(tmp_path, reports))
    assert [(p.epoch, p.done) for p in reports] == [(e, s) for e in (1, 2, 3, 4) for s in (1, 2, 3)]
    assert reports[2].loss == pytest.approx(history.losses[0])
    assert (history.steps, history.images) == (12, 12 * 8)


@pytest.mark.parametrize(
    ("at", "after"), [((4, 2), [(4, 3)]), ((4, 3), [(4, 3)])], ids=["before the last step", "after it"]
)
def test_a_resumed_training_says_so_and_how_fast_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, int], after: list[tuple[int, int]]
) -> None:
    """Even where no step is left to do; images of before the interruption took no time of this process."""
    reports: list[Progress] = []
    drawn = 0

    def until_interrupted(seed: int) -> Iterator[Batch]:
        """The interruption comes while the step is done."""
        nonlocal drawn
        for batch in epoch_batches(seed):
            drawn += 1
            if drawn == (at[0] - 1) * BUDGET.steps + at[1]:
                interruption.interrupt()
            yield batch

    def second_by_second(seed: int) -> Iterator[Batch]:
        nonlocal now
        for batch in epoch_batches(seed):
            now += 1.0
            yield batch

    with pytest.raises(KeyboardInterrupt):
        loop.optimize(toy(), InputPipeline(until_interrupted), BUDGET, job(tmp_path))
    now = 0.0
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    history = loop.optimize(toy(), InputPipeline(second_by_second), BUDGET, job(tmp_path, reports))
    assert [(p.epoch, p.done) for p in reports] == after
    assert (history.steps, history.images) == ((1, 8) if at == (4, 2) else (0, 0))
    assert all(p.resumed for p in reports)
    assert all(p.loss and math.isfinite(p.loss) for p in reports)
    # The batches that are passed over are drawn in this process too, a second each.
    assert reports[-1].images_per_s == (pytest.approx(8 / 3) if at == (4, 2) else 0.0)


def test_the_speed_on_a_gpu_is_that_of_the_last_whole_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of handing steps to it, which takes a hundredth of the time here."""
    now = 0.0

    def pass_(seconds: float) -> float:
        nonlocal now
        now += seconds
        return 1.0

    class Total:
        """A sum on a device, which is waited for when it is read."""

        def zero_(self) -> None: ...

        def __float__(self) -> float:
            return pass_(BUDGET.steps * 1.0)

    class Queued:
        """A step that takes 0.01 s to be handed over."""

        total, choices, format_name = Total(), {}, "channels_last"
        optimizer = make_optimizer(toy(), BUDGET)

        def draw(self, epoch: Callable[[], Iterable[Batch]]) -> Iterable[Batch]:
            return epoch()

        def __call__(self, batch: Batch, rate: float) -> None:
            pass_(0.01)

        def close(self) -> None: ...

    monkeypatch.setattr(loop, "make_step", lambda *arguments: Queued())
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now)
    reports: list[Progress] = []
    training = replace(job(tmp_path, reports), device=torch.device("cuda"))
    loop.optimize(toy(), InputPipeline(epoch_batches), BUDGET, training)
    last = BUDGET.steps - 1  # which is told when the epoch is over, and its speed known
    assert [p.images_per_s for p in reports[:last]] == [None] * last
    assert [p.images_per_s for p in reports[last:]] == [pytest.approx(24 / 3.03)] * (12 - last)


def test_an_epoch_ends_with_what_it_came_to(tmp_path: Path) -> None:
    """Its last step is told once, after validation."""
    reports: list[Progress] = []
    scores = iter([0.5, 0.75, 0.25, 0.5])
    told: list[int] = []

    def validate() -> float:
        told.append(len(reports))
        return next(scores)

    history = loop.optimize(toy(), InputPipeline(epoch_batches), BUDGET, job(tmp_path, reports), validate)
    ends = [p for p in reports if p.epoch_ended]
    assert [(p.epoch, p.done, p.total) for p in ends] == [(epoch, 3, 3) for epoch in (1, 2, 3, 4)]
    assert [p.loss for p in ends] == history.losses
    assert [p.validation_accuracy for p in ends] == [0.5, 0.75, 0.25, 0.5]
    assert told == [2, 5, 8, 11]
    assert all(p.validation_accuracy is None for p in reports if not p.epoch_ended)
