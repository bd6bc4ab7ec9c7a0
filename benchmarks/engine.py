"""How close the engine comes to the bare step: `python -m benchmarks.engine`, from the root of the sources.

Epochs of `bench run`'s own loop over two ceilings (A: the eager step on one fixed batch; B: the same replayed
as a CUDA graph, on a GPU only), what an epoch is made of, utilisation, bf16, our gradients of depthwise
convolutions, scaling, memory and several units at once, to results/<hardware>/engine.md, engine.csv and
engine.png. Nothing else should run on the machine meanwhile. `--quick` is for two CPU cores and about
a quarter of an hour; without it a GPU is expected, and ten minutes. `--only` runs some sections and leaves
the others out of the files.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from bench import BenchError
from benchmarks.figure import Figure, Inputs, choose, tables
from benchmarks.pairs import ENOUGH, LIMIT
from benchmarks.report import ROOT, Facts, one_line, prepare, save

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # how threads wait, as the record says it

Section = Callable[[Inputs], Iterator[Figure]]


def main(
    quick: Annotated[bool, typer.Option(help="A small network at 96 pixels, for a CPU.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    only: Annotated[str, typer.Option(help="Some sections, comma-separated [default: all].")] = "",
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Measure the engine and write results/<hardware>/engine.md, .csv and .png."""
    machine = prepare(device, threads, results)  # before torch is loaded: it sets how threads wait
    from benchmarks.work import GPU, QUICK, tasks

    sections = load_sections()
    chosen = choose(only, sections)
    setting = QUICK if quick else GPU
    facts = {
        **machine.facts,
        **{name: os.environ[name] for name in WAITING if name in os.environ},
        "MPS": os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "no"),
        **{name: str(v) for name, v in asdict(setting).items() if name not in ("epochs", "budget")},
    }
    options = (" --quick" if quick else "") + (f" --only {only}" if only else "")
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as temporary:
        scratch = Path(temporary)
        environment = replace(machine.session.environment, data=scratch, results=scratch)
        inputs = Inputs(
            setting,
            tasks(setting, environment),
            environment,
            machine.device.type == "cuda",
        )
        for name in chosen:
            started = time.perf_counter()
            for row in sections[name](inputs):
                note = f" ({row.note})" if row.note else ""
                print(f"{row.section}: {row.what}: {row.text}{note}", file=sys.stderr)
                rows.append(row)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
            # After each section, so that a machine that is taken away leaves what was measured.
            text = as_markdown(rows, facts, f"python -m benchmarks.engine{options}")
            save(machine.folder, "engine", [asdict(row) for row in rows], facts, text)
    plot(rows, machine.folder / "engine.png")


def load_sections() -> dict[str, Section]:
    """All sections by name, in their order. Loads torch."""
    from benchmarks import epochs, scaling

    return {
        "ceilings": epochs.ceilings,
        "shares": epochs.shares,
        "utilisation": epochs.utilisation,
        "precision": epochs.precision,
        "depthwise": epochs.depthwise,
        "scaling": scaling.scaling,
        "startup": scaling.startup,
        "packing": scaling.packing,
        "protocol": scaling.protocol,
    }


# --- what is written ---------------------------------------------------------------------------------


def as_markdown(rows: Sequence[Figure], facts: Facts, command: str) -> str:
    """The tables for readers, one per section."""
    lines = ["# The engine against the bare step", "", one_line(facts), ""]
    lines += [
        f"Written by `{command}`. Ratios are medians of at least {ENOUGH} pairs of an epoch and the two",
        f"ceilings around it; a pair whose ceilings differ by more than {LIMIT} x is left out. A dash: not",
        "measured.",
    ]
    return "\n".join([*lines, *tables(rows)]) + "\n"


def plot(rows: Sequence[Figure], path: Path) -> None:
    """Seconds per epoch by images, with the line through the origin and the first point."""
    points = [
        (int(row.what.split()[3]), row.value)
        for row in rows
        if row.section == "scaling" and row.what.startswith("an epoch of") and row.value is not None
    ]
    if not points:
        return
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed; pip install 'medbench[peers]'", file=sys.stderr)
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    images, seconds = zip(*points, strict=True)
    axes.plot(images, seconds, "o-", label="measured")
    axes.plot([0, images[-1]], [0, images[-1] * seconds[0] / images[0]], ":", label="linear")
    axes.set(xlabel="images", ylabel="seconds per epoch", xlim=0, ylim=0)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
