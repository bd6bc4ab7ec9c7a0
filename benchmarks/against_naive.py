"""Speed of the five networks written here against their obvious form (`benchmarks/naive.py`):
`python -m benchmarks.against_naive`, from the root of the source tree.

Forward and training step of either form, same parameters and set-up, in turn (ours, obvious, ours: see
`benchmarks/pairs.py`), with what they ran on, to results/<hardware>/against-naive.csv and .md. Nothing else
should run on the machine meanwhile.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import BenchError
from bench.files import write_text
from benchmarks import pairs
from benchmarks.report import ROOT, as_csv, batches, cell, prepare, tell

if TYPE_CHECKING:
    import torch

NAMES = ("cmt", "smt", "pervit", "sgformer", "spa")


def main(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    batch: Annotated[str, typer.Option(help="Batches, comma-separated.")] = "16",
    size: Annotated[int, typer.Option(help="Side of the image, pixels; all five take 224.")] = 224,
    seconds: Annotated[
        float, typer.Option(help="For one comparison at most; one with too few pairs by then has no figure.")
    ] = 120.0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the five networks in both forms and write results/<hardware>/against-naive.csv and .md."""
    place, about, folder = prepare(device, threads, NAMES, results)
    rows = [measure(n, size, b, place, seconds) for n in NAMES for b in batches(batch)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "against-naive.csv", as_csv(rows, about))
    write_text(folder / "against-naive.md", as_markdown(rows, about))


def measure(name: str, size: int, batch: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Both forms of one network."""
    from bench.engine import speed
    from bench.interfaces.model import Context
    from bench.registry import installed
    from benchmarks.naive import naive

    offer = installed().models.get(name)
    context = Context(classes=("a", "b", "c"), size=size)
    ours = offer.build(offer.params(), context)
    forms = (ours, naive(ours))
    row: dict[str, Any] = {"model": name, "size": size, "batch": batch}
    works = {
        "forward": partial(speed.forward_step, size=size, batch=batch, device=device),
        "training": partial(speed.training_step, context=context, batch=batch, device=device),
    }
    for work, make in works.items():
        tell(name, f"{work} at {batch}")
        steps = [partial(speed.once, make(net), device) for net in forms]
        found = in_turn(*steps, seconds)
        good = [pair for pair in found if pair.accepted]
        summary = pairs.summarize(found)
        row[f"{work}_ours_images_per_s"] = per_second(batch, [p.before for p in good])
        row[f"{work}_naive_images_per_s"] = per_second(batch, [p.work for p in good])
        row[f"{work}_times_faster"] = summary.ratio
        row[f"{work}_pairs"], row[f"{work}_rejected"] = summary.accepted, summary.rejected
    return row


def per_second(batch: int, seconds: list[float]) -> float | None:
    """Images a second in the median; None where nothing could be timed."""
    return batch / statistics.median(seconds) if seconds else None


def in_turn(ours: pairs.Seconds, obvious: pairs.Seconds, seconds: float) -> list[pairs.Pair]:
    """Steps of both forms after a warm-up; none where memory does not suffice for one of the two."""
    import torch

    from bench.engine.speed import WARMUP

    try:
        for _ in range(WARMUP):
            ours(), obvious()
        return pairs.measure(ours, obvious, seconds)
    except torch.OutOfMemoryError:
        return []


def as_markdown(rows: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """The table for readers."""
    columns = [
        f"{work}_{what}"
        for work in ("forward", "training")
        for what in ("ours_images_per_s", "naive_images_per_s", "times_faster")
    ]
    titles = [name.replace("_", " ").replace("per s", "/ s") for name in columns]
    lines = ["# Our formulation of five networks against the obvious one", ""]
    lines += [", ".join(f"{k} {v}" for k, v in about.items()), ""]
    lines += [
        f"Medians of at least {pairs.ENOUGH} steps, each between two of ours that differ by at most "
        f"{pairs.LIMIT} x, after a warm-up. Training is the",
        "protocol's fine-tuning step with AdamW.",
        "The obvious form (`benchmarks/naive.py`) loops over heads, windows and merged groups, copies maps",
        "and writes attention out; its parameters, results and set-up are the same. A dash: memory did not",
        "suffice, or the machine was too restless. Written by `python -m benchmarks.against_naive`.",
        "",
        f"| model | size | batch | {' | '.join(titles)} |",
        f"| --- |{' ---: |' * (len(titles) + 2)}",
    ]
    for row in rows:
        cells = [str(row["size"]), str(row["batch"]), *(cell(row[name]) for name in columns)]
        lines.append(f"| {row['model']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
