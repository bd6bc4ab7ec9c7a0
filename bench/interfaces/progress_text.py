"""The progress of units as lines of text."""

from __future__ import annotations

from bench.interfaces.executor import Progress
from bench.text import one_line

LINES = 10  # per stage


def print_progress(progress: Progress) -> None:
    """A report that prints, at the end of an epoch or of a stage without epochs: at most ten lines per stage.

    `bench.run(plan, report=bench.print_progress)` shows in a notebook how far a study is.
    """
    epoch, epochs = progress.epoch, progress.epochs
    tenth = not epochs or epoch * LINES // epochs > (epoch - 1) * LINES // epochs
    if tenth and progress.done == progress.total:
        print(one_line(describe(progress)), flush=True)


def describe(progress: Progress) -> str:
    """One line: unit, stage, epoch or count, figures."""
    resumed = "  (resumed)" if progress.resumed else ""
    where = f"{progress.stage} {position(progress)}".rstrip()
    return f"{progress.unit}  {where}  {figures(progress)}{resumed}".rstrip()


def position(progress: Progress) -> str:
    """Epoch, steps or bytes; empty for a stage without steps, in which a unit waits."""
    if progress.epochs:
        return f"epoch {progress.epoch}/{progress.epochs}"
    if progress.in_bytes:
        return bytes_of(progress.done, progress.total)
    return f"{progress.done}/{progress.total or '?'}" if progress.done or progress.total else ""


def figures(progress: Progress) -> str:
    """Loss and speed, as far as they are known."""
    loss = f"loss {progress.loss:.4f}" if progress.loss is not None else ""
    speed = f"{progress.images_per_s:.0f} images/s" if progress.images_per_s else ""
    return "  ".join(part for part in (loss, speed) if part)


def bytes_of(done: int, total: int) -> str:
    """How many bytes of how many (0 if not known)."""
    from rich.filesize import decimal

    return f"{decimal(done)} of {decimal(total)}" if total else decimal(done)
