"""News of units at work as lines of text."""

from __future__ import annotations

from bench.interfaces.executor import Progress

LINES = 10  # of one stage


def print_progress(news: Progress) -> None:
    """A report that prints, at the end of an epoch or of a stage without epochs: at most ten lines per stage.

    `bench.run(plan, report=bench.print_progress)` shows in a notebook how far a study is.
    """
    tenth = not news.epochs or news.epoch * LINES // news.epochs > (news.epoch - 1) * LINES // news.epochs
    if tenth and news.done == news.total:
        print(describe(news), flush=True)


def describe(news: Progress) -> str:
    """One line: unit, stage, epoch or count, figures."""
    count = bytes_of(news.done, news.total) if news.in_bytes else f"{news.done}/{news.total}"
    epoch = f" epoch {news.epoch}/{news.epochs}" if news.epochs else f" {count}"
    resumed = "  (resumed)" if news.resumed else ""
    return f"{news.unit}  {news.stage}{epoch}  {figures(news)}{resumed}".rstrip()


def figures(news: Progress) -> str:
    """Loss and speed, as far as they are known."""
    loss = f"loss {news.loss:.4f}" if news.loss is not None else ""
    speed = f"{news.images_per_s:.0f} images/s" if news.images_per_s else ""
    return "  ".join(part for part in (loss, speed) if part)


def bytes_of(done: int, total: int) -> str:
    """How many bytes of how many (0 if not known)."""
    from rich.filesize import decimal

    return f"{decimal(done)} of {decimal(total)}" if total else decimal(done)
