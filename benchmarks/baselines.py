"""Speed of the baselines on this machine: `python -m benchmarks.baselines`, from the root of the source tree.

Forward and training step of every model with the trait "baseline", as medians of repeats, with what they ran
on, to results/<hardware>/baselines.csv and .md. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench import BenchError, Progress, measure_model
from benchmarks.report import ROOT, Facts, Row, batches, cell, one_line, prepare, save, tell

SHOWN = {"latency_s": "ms at batch 1", "params": "M params", "macs": "GMACs"}
SCALES = {"latency_s": 1e3, "params": 1e-6, "macs": 1e-9}


def main(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    batch: Annotated[str, typer.Option(help="Batches, comma-separated.")] = "16,64",
    size: Annotated[int, typer.Option(help="Side of the image, pixels, or the nearest allowed.")] = 224,
    seconds: Annotated[
        float, typer.Option(help="Of repeats for each timing, at least (and 3 repeats).")
    ] = 5.0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time all baselines and write results/<hardware>/baselines.csv and .md."""
    machine = prepare(device, threads, results)
    rows = [
        measure_model(
            model.name,
            machine.session.environment,
            size=size,
            batches=batches(batch),
            train=True,
            seconds=seconds,
            report=show,
        ).flat
        for model in machine.session.registry.models.all()
        if "baseline" in model.traits
    ]
    save(machine.folder, "baselines", rows, machine.facts, as_markdown(rows, machine.facts))


def show(news: Progress) -> None:
    """Say on stderr which model is being counted or timed."""
    tell(news.unit, news.stage)


def as_markdown(rows: Sequence[Row], facts: Facts) -> str:
    """The table for readers."""
    speeds = [name for name in rows[0] if "_images_per_s_at_" in name]
    peaks = [name for name in rows[0] if "_peak_bytes_at_" in name and rows[0][name] is not None]
    titles = [*SHOWN.values(), *(name.replace("_", " ").replace("per s", "/ s") for name in speeds)]
    titles += [name.replace("bytes", "MiB").replace("_", " ") for name in peaks]
    lines = ["# Speed of the baselines", "", one_line(facts), ""]
    lines += [
        "Medians of repeats after a warm-up. Training is the protocol's fine-tuning step with AdamW.",
        "Written by `python -m benchmarks.baselines`; GMACs are fvcore's multiply-adds of one image.",
        "A dash is a batch that memory did not suffice for, or a network that could not be counted.",
        "",
        f"| model | size | {' | '.join(titles)} |",
        f"| --- |{' ---: |' * (len(titles) + 1)}",
    ]
    for row in rows:
        cells = [cell(row[name], SCALES[name]) for name in SHOWN]
        cells += [cell(row[name]) for name in speeds] + [cell(row[name], 2**-20) for name in peaks]
        lines.append(f"| {row['model']} | {row['size']} | {' | '.join(cells)} |")
    if remarks := [f"- {row['model']}: {row['notes']}" for row in rows if row["notes"]]:
        lines += ["", *remarks]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
