"""Each training program: its command line, and what its log says of the training."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.images import Images

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Work:
    """What all are to do, with the settings of the protocol `quick`.

    Attributes:
        images: what to train on.
        model: name of timm's network.
        device: where.
        size: side of what the network sees, pixels.
        resize: short side before the crop, pixels.
        batch: images per step.
        rate: AdamW's learning rate.
        decay: AdamW's weight decay.
    """

    images: Images
    model: str = "tf_efficientnet_lite0"
    device: str = "cpu"
    size: int = 96
    resize: int = 104
    batch: int = 16
    rate: float = 5e-4
    decay: float = 0.05

    @property
    def steps(self) -> int:
        """Per epoch."""
        return self.images.counts["train"] // self.batch


@dataclass(frozen=True)
class Order:
    """One run of a program.

    Attributes:
        epochs: how many.
        out: an empty folder for what it writes.
        workers: of its loader.
        seed: of the run.
    """

    epochs: int
    out: Path
    workers: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Learned:
    """What a program says of one training.

    Attributes:
        steps: of an epoch.
        losses: on training images, of each epoch.
        accuracy: on validation images after the last epoch; None if it does not say.
    """

    steps: int
    losses: tuple[float, ...]
    accuracy: float | None = None


class Differs(Exception):
    """A program did other work than the rest; says what."""


@dataclass(frozen=True)
class Contestant:
    """A training program.

    Attributes:
        name: for the table.
        command: its command line.
        learned: its trainings, from its output and the folder `out`.
        has_workers: whether its loader has workers.
        about: which version it is of.
    """

    name: str
    command: Callable[[Work, Order], list[str]]
    learned: Callable[[str, Path], Sequence[Learned]]
    has_workers: bool = True
    about: str = ""


def check(learned: Sequence[Learned], work: Work, epochs: int, trainings: int = 1) -> None:
    """Raises Differs unless there were so many trainings of so many epochs, each of whole batches of all
    images."""
    if len(learned) != trainings:
        raise Differs(f"{len(learned)} trainings, not {trainings}")
    for training in learned:
        done = (training.steps, len(training.losses))
        if done != (work.steps, epochs):
            raise Differs("{} steps in each of {} epochs, not {} in {}".format(*done, work.steps, epochs))


# --- ours --------------------------------------------------------------------------------------------


def finetuning(rounds: int = 1, selection: str = "best") -> Contestant:
    """`bench run`: so many fine-tunings from scratch. With the selection "best" it evaluates the validation
    part after each epoch, as all others do."""

    def command(work: Work, order: Order) -> list[str]:
        settings = {"finetune.epochs": order.epochs, "finetune.selection": selection}
        return _bench(work, order, "scratch", rounds, settings)

    def learned(output: str, out: Path) -> list[Learned]:
        return _records(out / "runs", evaluates=selection == "best")

    return Contestant("bench", command, learned, has_workers=False)


def pretraining() -> Contestant:
    """`bench run`: a pretraining with `mae`, and the shortest fine-tuning, which is always part of it."""

    def command(work: Work, order: Order) -> list[str]:
        return _bench(work, order, "mae", 1, {"pretrain.epochs": order.epochs, "finetune.epochs": 1})

    def learned(output: str, out: Path) -> list[Learned]:
        return _records(out / "pretrain")

    return Contestant("bench, which also fine-tunes for an epoch", command, learned, has_workers=False)


def _bench(work: Work, order: Order, strategy: str, rounds: int, settings: dict[str, object]) -> list[str]:
    settings = settings | {
        "size": work.size,
        "precision": "fp32",
        "seed": order.seed,
        "pretrain.batch": work.batch,
        "finetune.batch": work.batch,
        "finetune.resize": work.resize,
        "finetune.learning_rate": work.rate,
        "finetune.weight_decay": work.decay,
    }
    words = [sys.executable, "-m", "bench", "run", "--protocol", "quick", "--dataset", "folder"]
    words += ["--data", str(work.images.folder), "--results", str(order.out), "--models", work.model]
    words += ["--strategies", strategy, "--ensembles", "none", "--rounds", str(rounds)]
    words += ["--device", work.device]
    for name, value in settings.items():
        words += ["--set", f"protocol.{name}={value}"]
    return words


def _records(folder: Path, evaluates: bool = False) -> list[Learned]:
    learned = []
    for path in sorted(folder.rglob("record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        losses = tuple(record["history"]["loss"])
        steps = record["timings"]["steps"] // len(losses)
        accuracy = record["history"]["validation_accuracy"][-1] if evaluates else None
        learned.append(Learned(steps, losses, accuracy))
    return learned


# --- others ------------------------------------------------------------------------------------------


def timm(script: Path, about: str) -> Contestant:
    """timm's train.py, with nothing but crop and flip."""

    def command(work: Work, order: Order) -> list[str]:
        words = [sys.executable, str(script), "--data-dir", str(work.images.folder)]
        words += ["--train-split", "train", "--val-split", "val", "--num-classes", str(work.images.classes)]
        words += ["--model", work.model, "--img-size", str(work.size), "--batch-size", str(work.batch)]
        words += ["--epochs", str(order.epochs), "--opt", "adamw", "--lr", str(work.rate)]
        words += ["--weight-decay", str(work.decay), "--sched", "cosine", "--warmup-epochs", "0"]
        words += ["--color-jitter", "0", "--smoothing", "0", "--seed", str(order.seed)]
        words += ["--workers", str(order.workers), "--device", work.device]
        return [*words, "--output", str(order.out), "--experiment", "run"]

    return Contestant("timm's train.py", command, read_timm, about=about)


def read_timm(output: str, out: Path) -> list[Learned]:
    """Steps from the log, losses and accuracy from the summary."""
    steps = {int(number) for number in re.findall(r"^Train: \d+ \[ *\d+/(\d+) ", output, re.MULTILINE)}
    with (out / "run" / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    losses = tuple(float(row["train_loss"]) for row in rows)
    return [Learned(max(steps, default=0), losses, float(rows[-1]["eval_top1"]) / 100)]


def torchvision(script: Path, about: str) -> Contestant:
    """torchvision's references/classification/train.py on timm's network."""

    def command(work: Work, order: Order) -> list[str]:
        words = [sys.executable, "-P", str(HERE / "torchvision_loop.py"), str(script)]
        words += ["--data-path", str(work.images.folder), "--model", work.model, "--device", work.device]
        words += ["--batch-size", str(work.batch), "--epochs", str(order.epochs)]
        words += ["--workers", str(order.workers), "--opt", "adamw", "--lr", str(work.rate)]
        words += ["--weight-decay", str(work.decay), "--lr-scheduler", "cosineannealinglr"]
        words += ["--train-crop-size", str(work.size), "--val-crop-size", str(work.size)]
        return [*words, "--val-resize-size", str(work.resize), "--output-dir", str(order.out)]

    return Contestant("torchvision's reference", command, read_torchvision, about=about)


def read_torchvision(output: str, out: Path) -> list[Learned]:
    """Steps, the mean loss at the last line of each epoch, and the last accuracy, from the log."""
    epochs: dict[int, tuple[int, float]] = {}
    line = r"^Epoch: \[(\d+)\] +\[ *\d+/(\d+)\].* loss: \S+ \(([^)]+)\)"
    for epoch, steps, loss in re.findall(line, output, re.MULTILINE):
        epochs[int(epoch)] = int(steps), float(loss)
    accuracy = re.findall(r"Acc@1 (\S+)", output)
    losses = tuple(loss for _, loss in epochs.values())
    return [Learned(max((s for s, _ in epochs.values()), default=0), losses, float(accuracy[-1]) / 100)]


def plain() -> Contestant:
    """`plain_loop.py`."""

    def command(work: Work, order: Order) -> list[str]:
        return [*_script("plain_loop.py", work, order), "--resize", str(work.resize)]

    return Contestant("the plainest loop", command, read_lines)


def lightly() -> Contestant:
    """`lightly_loop.py`."""

    def command(work: Work, order: Order) -> list[str]:
        return [*_script("lightly_loop.py", work, order), "--classes", str(work.images.classes)]

    return Contestant("lightly", command, read_lines)


def _script(name: str, work: Work, order: Order) -> list[str]:
    words = [sys.executable, "-P", str(HERE / name), str(work.images.folder), "--model", work.model]
    words += ["--device", work.device, "--size", str(work.size), "--batch", str(work.batch)]
    words += ["--epochs", str(order.epochs), "--workers", str(order.workers)]
    return [*words, "--rate", str(work.rate), "--decay", str(work.decay)]


def read_lines(output: str, out: Path) -> list[Learned]:
    """From a line of JSON per epoch."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    steps = max((line["steps"] for line in lines), default=0)
    accuracy = lines[-1].get("accuracy") if lines else None
    return [Learned(steps, tuple(line["loss"] for line in lines), accuracy)]
