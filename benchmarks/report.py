"""What the benchmarks share: the machine they run on, where figures go, and how they are written."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from bench import Session, local_environment

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent

Row = Mapping[str, Any]
"""One row of a csv file: column -> value, None for what could not be measured."""

Facts = Mapping[str, str]
"""What figures were measured on and with: date, hardware, precision, versions, commit."""


class Machine(NamedTuple):
    """What a benchmark runs on."""

    session: Session
    device: torch.device  # set up as for a run
    facts: Facts
    folder: Path  # results/<hardware>


def prepare(device: str, threads: int, results: Path) -> Machine:
    """Set this process up as for a run, and describe it.

    `device` may be empty (a GPU if there is one) and `threads` 0 (all usable cores). Raises BenchError.
    """
    from bench.engine.device import uses_bf16

    session = Session(local_environment(results=results, device=device, threads=threads))
    target = session.configure_device()
    provenance = session.provenance([])
    precision = "bf16 autocast" if uses_bf16("auto", target) else "fp32"
    now = datetime.now(UTC)
    facts = facts_of(provenance.hardware, provenance.packages, provenance.git, precision, now)
    return Machine(session, target, facts, results / folder_name(provenance.hardware))


def facts_of(
    hardware: Mapping[str, Any],
    packages: Mapping[str, str],
    git: Mapping[str, Any] | None,
    precision: str,
    now: datetime,
) -> dict[str, str]:
    """What figures were measured on and with, from the provenance of a record or a session."""
    git = git or {}
    commit = git.get("commit", "none")[:12] + ("+changes" if git.get("dirty") else "")
    return {
        "date": f"{now:%Y-%m-%d}",
        **{name: str(value) for name, value in hardware.items()},
        "precision": precision,
        "bench": packages.get("medbench") or packages.get("bench", "none"),  # the name in older records
        **{name: packages.get(name, "none") for name in ("torch", "timm")},
        "commit": commit,
    }


def folder_name(hardware: Mapping[str, Any]) -> str:
    """The machine as a folder: the GPU's name, or the processor's with the threads used."""
    name = hardware.get("gpu") or f"{hardware['cpu']} {hardware['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save(folder: Path, name: str, rows: Sequence[Row], facts: Facts, markdown: str) -> None:
    """Write folder/<name>.csv for programs and folder/<name>.md for readers."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.csv").write_text(as_csv(rows, facts), encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown, encoding="utf-8")


def as_csv(rows: Sequence[Row], facts: Facts) -> str:
    """A line per row, each with what it was measured on."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], *facts], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **facts} for row in rows)
    return text.getvalue()


def one_line(facts: Facts) -> str:
    """The facts as a line of Markdown."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def command_line(module: str, main: Callable[..., object], options: Mapping[str, object]) -> str:
    """The command that wrote figures, as it is written down: `options` without those that are None or what
    `main` has by default."""
    defaults = {name.replace("_", "-"): p.default for name, p in signature(main).parameters.items()}
    given = {name: value for name, value in options.items() if value not in (None, defaults.get(name))}
    return " ".join([f"python -m {module}", *(f"--{name} {value}" for name, value in given.items())])


def cell(value: float | None, scale: float = 1) -> str:
    """Four digits, or a dash for None."""
    return "-" if value is None else f"{value * scale:.4g}"


def batches(text: str) -> tuple[int, ...]:
    """Numbers of images, comma-separated. Raises BadParameter."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 1 for part in parts):
        raise typer.BadParameter(f"{text!r} must be numbers of 2 or more like 16,64")
    return tuple(map(int, parts))


def tell(subject: str, stage: str) -> None:
    """Say on stderr what is being done."""
    print(f"{subject}: {stage}", file=sys.stderr)
