"""What the benchmarks share: what they ran on, where figures go, and how they are written."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent


def prepare(
    device: str, threads: int, names: Sequence[str], results: Path
) -> tuple[torch.device, dict[str, str], Path]:
    """The device, set up as for a run; what is measured on and with; the folder for the figures."""
    from bench.engine.device import configure, default_device, uses_bf16
    from bench.execution import provenance
    from bench.registry import installed

    threads = threads or provenance.usable_cores()
    place = configure(device or default_device(), threads)
    sources = {installed().models.entry(name).source for name in names}
    made = provenance.describe(sources, str(place), threads)
    about = facts(made, "bf16 autocast" if uses_bf16("auto", place) else "fp32", datetime.now(UTC))
    return place, about, results / folder_name(made["hardware"])


def facts(made: Mapping[str, Any], precision: str, now: datetime) -> dict[str, str]:
    """What the figures were measured on and with, from the provenance of a record."""
    git = made["git"] or {}
    commit = git.get("commit", "none")[:12] + ("+changes" if git.get("dirty") else "")
    hardware = {name: str(value) for name, value in made["hardware"].items()}
    versions = {name: made["packages"].get(name, "none") for name in ("bench", "torch", "timm")}
    return {"date": f"{now:%Y-%m-%d}", **hardware, "precision": precision, **versions, "commit": commit}


def folder_name(hardware: Mapping[str, Any]) -> str:
    """The machine as a folder: the GPU's name, or the processor's with the threads used."""
    name = hardware.get("gpu") or f"{hardware['cpu']} {hardware['threads']} threads"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def as_csv(rows: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """A line a model, each with what it was measured on."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], *about], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **about} for row in rows)
    return text.getvalue()


def cell(value: float | None, scale: float = 1) -> str:
    """Four digits, or a dash."""
    return "-" if value is None else f"{value * scale:.4g}"


def batches(text: str) -> tuple[int, ...]:
    """Numbers of images, comma-separated. Raises BadParameter."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 1 for part in parts):
        raise typer.BadParameter(f"{text!r} must be numbers of 2 or more like 16,64")
    return tuple(map(int, parts))


def tell(model: str, what: str) -> None:
    """Say on stderr what is being done."""
    print(f"{model}: {what}", file=sys.stderr)
