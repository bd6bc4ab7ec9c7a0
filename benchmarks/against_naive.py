"""Speed of the five networks written here against their obvious form (`benchmarks/naive.py`):
`python -m benchmarks.against_naive`, from the root of the source tree.

Forward and training step of either form, same parameters and set-up, as medians of repeats, with what they
ran on, to results/<hardware>/against-naive.csv and .md. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import BenchError
from benchmarks.baselines import ROOT, as_csv, batches, cell, prepare, tell, write

if TYPE_CHECKING:
    import torch

    from bench.engine.speed import Timing

NAMES = ("cmt", "smt", "pervit", "sgformer", "spa")


def main(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    batch: Annotated[str, typer.Option(help="Batches, comma-separated.")] = "16",
    size: Annotated[int, typer.Option(help="Side of the image, pixels; all five take 224.")] = 224,
    seconds: Annotated[
        float, typer.Option(help="Of repeats for each timing, at least (and 3 repeats).")
    ] = 5.0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the five networks in both forms and write results/<hardware>/against-naive.csv and .md."""
    place, about, folder = prepare(device, threads, NAMES, results)
    rows = [measure(n, size, b, place, seconds) for n in NAMES for b in batches(batch)]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "against-naive.csv", as_csv(rows, about))
    write(folder / "against-naive.md", as_markdown(rows, about))


def measure(name: str, size: int, batch: int, device: torch.device, seconds: float) -> dict[str, Any]:
    """Both forms of one network; the obvious one of each pair is timed right after ours."""
    from bench.engine import speed
    from bench.plugins import catalog
    from bench.types import Context
    from benchmarks.naive import naive

    offer = catalog().get("models", name)
    context = Context(("a", "b", "c"), size)
    ours = offer.build(offer.params(), context)
    forms = {"ours": ours, "naive": naive(ours)}
    row: dict[str, Any] = {"model": name, "size": size, "batch": batch}
    works = {
        "forward": partial(speed.forward, size=size, batch=batch, device=device, budget=seconds),
        "training": partial(speed.training, context=context, batch=batch, device=device, budget=seconds),
    }
    for work, time in works.items():
        found: dict[str, Timing] = {}
        for form, net in forms.items():
            tell(name, f"{work} at {batch}, {form}")
            found[form] = time(net)
            row[f"{work}_{form}_images_per_s"] = found[form].images_per_s
            row[f"{work}_{form}_peak_bytes"] = found[form].peak_bytes
        row[f"{work}_times_faster"] = ratio(found["ours"].images_per_s, found["naive"].images_per_s)
    return row


def ratio(ours: float | None, obvious: float | None) -> float | None:
    """How many times faster ours is; None where memory did not suffice for one of the two."""
    return ours / obvious if ours and obvious else None


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
        "Medians of repeats after a warm-up. Training is the protocol's fine-tuning step with AdamW.",
        "The obvious form (`benchmarks/naive.py`) loops over heads, windows and merged groups, copies maps",
        "and writes attention out; its parameters, results and set-up are the same.",
        "Written by `python -m benchmarks.against_naive`. A dash: memory did not suffice.",
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
