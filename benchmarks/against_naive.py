"""Two modules in our formulation and in the obvious one, timed: `python -m benchmarks.against_naive`.

Run it from the root of the source tree. The two modules of the networks written here whose formulation gains
more than a few percent stand below in the form that comes to mind first. Whole networks with either form are
timed in turn (ours, obvious, ours: see `benchmarks/pairs.py`), forward and training step, with the same
parameters and results (tests/test_naive.py), to results/<hardware>/against-naive.csv and .md. Nothing else
should run on the machine meanwhile.
"""

from __future__ import annotations

import copy
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from bench import BenchError, Context
from bench.engine import speed
from bench_models.layers import DepthwiseMlp
from bench_models.sgformer_attention import GuidedAttention
from benchmarks import pairs
from benchmarks.report import ROOT, Facts, Machine, Row, batches, cell, one_line, prepare, save, tell

WORKS = ("forward", "training")

# --- the obvious forms -------------------------------------------------------------------------------


def merge_one_by_one(self: Any, tokens: Tensor, order: Tensor) -> Tensor:
    """SG-Former's tokens (B, N, C), sorted image by image and merged group by group to (B, M, C)."""
    ordered = torch.stack([image[rows] for image, rows in zip(tokens, order, strict=True)])
    count = ordered.shape[1]
    if len(self.merged) == 3:
        lengths = [count // 4, count // 2, count // 4]
    else:  # two halves, the first in whole groups
        first = count // 2 // self.merged[0] * self.merged[0]
        lengths = [first, count - first]
    merged, start = [], 0
    for i, (length, size) in enumerate(zip(lengths, self.merged, strict=True), start=1):
        linear = getattr(self, f"f{i}")
        for _ in range(length // size):
            group = ordered[:, start : start + size]
            merged.append(linear(group.transpose(1, 2)).transpose(1, 2))
            start += size
    return torch.cat(merged, dim=1)


def convolve_copies(self: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """The MLP of SMT and SG-Former, tokens (B, N, C) copied to a contiguous map (B, C, H, W) and back."""
    hidden = self.fc1(tokens)
    image_map = hidden.transpose(1, 2).contiguous().view(len(tokens), -1, height, width)
    local = self.dwconv["dwconv"](image_map).flatten(2).transpose(1, 2).contiguous()
    out: Tensor = self.fc2(self.act(hidden + local))
    return out


@dataclass(frozen=True)
class Formulation:
    """One method of a module in two forms.

    Attributes:
        what: ours against the obvious form, in words.
        model: the network in which both are timed.
        module: the class of the modules concerned.
        method: the name of the method.
        obvious: the method in its obvious form.
    """

    what: str
    model: str
    module: type[nn.Module]
    method: str
    obvious: Callable[..., Tensor]


FORMULATIONS = (
    Formulation(
        "tokens merged all groups at once, not one by one",
        "sgformer",
        GuidedAttention,
        "merge",
        merge_one_by_one,
    ),
    Formulation("maps as views of tokens, not as copies", "smt", DepthwiseMlp, "forward", convolve_copies),
)


def obvious_form(net: nn.Module, formulation: Formulation) -> nn.Module:
    """A copy of `net` that computes the same with the method in its obvious form."""
    copied = copy.deepcopy(net)
    for module in copied.modules():
        if isinstance(module, formulation.module):
            setattr(module, formulation.method, MethodType(formulation.obvious, module))
    return copied


# --- what is timed -----------------------------------------------------------------------------------


def main(
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    batch: Annotated[str, typer.Option(help="Batches, comma-separated.")] = "16",
    size: Annotated[int, typer.Option(help="Side of the image, pixels; both networks take 224.")] = 224,
    seconds: Annotated[
        float, typer.Option(help="For one comparison at most; one with too few pairs by then has no figure.")
    ] = 120.0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time two modules in both forms and write results/<hardware>/against-naive.csv and .md."""
    machine = prepare(device, threads, results)
    rows = [measure(f, size, b, machine, seconds) for f in FORMULATIONS for b in batches(batch)]
    save(machine.folder, "against-naive", rows, machine.facts, as_markdown(rows, machine.facts))


def measure(formulation: Formulation, size: int, batch: int, machine: Machine, seconds: float) -> Row:
    """The figures of one formulation at one batch. Raises BenchError for a size the network cannot take."""
    model = machine.session.registry.models.get(formulation.model)
    context = Context(classes=("a", "b", "c"), size=size)
    ours = model.build(model.params(), context)
    networks = (ours, obvious_form(ours, formulation))
    makers: tuple[Callable[[nn.Module], Callable[[], object]], ...] = (
        partial(speed.forward_step, size=size, batch=batch, device=machine.device),
        partial(speed.training_step, context=context, batch=batch, device=machine.device),
    )
    row = {"formulation": formulation.what, "model": formulation.model, "size": size, "batch": batch}
    for work, make in zip(WORKS, makers, strict=True):
        tell(formulation.model, f"{work} at {batch}")
        our_step, obvious_step = (partial(speed.time_once, make(net), machine.device) for net in networks)
        timed = in_turn(our_step, obvious_step, seconds)
        accepted = [pair for pair in timed if pair.accepted]
        summary = pairs.summarize(timed)
        row[f"{work}_ours_images_per_s"] = per_second(batch, [p.before for p in accepted])
        row[f"{work}_naive_images_per_s"] = per_second(batch, [p.work for p in accepted])
        row[f"{work}_times_faster"] = summary.ratio
        row[f"{work}_pairs"], row[f"{work}_rejected"] = summary.accepted, summary.rejected
    return row


def per_second(batch: int, seconds: Sequence[float]) -> float | None:
    """Median images per second; None where nothing could be timed."""
    return batch / statistics.median(seconds) if seconds else None


def in_turn(ours: pairs.Seconds, obvious: pairs.Seconds, seconds: float) -> list[pairs.Pair]:
    """Steps of both forms after a warm-up; none where memory does not suffice for one of the two."""
    try:
        for _ in range(speed.WARMUP):
            ours(), obvious()
        return pairs.measure(ours, obvious, seconds)
    except torch.OutOfMemoryError:
        return []


def as_markdown(rows: Sequence[Row], facts: Facts) -> str:
    """The table for readers."""
    columns = [
        f"{work}_{figure}"
        for work in WORKS
        for figure in ("ours_images_per_s", "naive_images_per_s", "times_faster")
    ]
    titles = [name.replace("_", " ").replace("per s", "/ s") for name in columns]
    lines = ["# Our formulation of two modules against the obvious one", "", one_line(facts), ""]
    lines += [
        f"Medians of at least {pairs.ENOUGH} steps of the whole network, each between two of ours that",
        f"differ by at most {pairs.LIMIT} x, after a warm-up. Training is the protocol's fine-tuning step",
        "with AdamW. Parameters and results of both forms are the same. A dash: memory did not suffice, or",
        "the machine was too restless.",
        "Written by `python -m benchmarks.against_naive`.",
        "",
        f"| formulation | model | size | batch | {' | '.join(titles)} |",
        f"| --- | --- |{' ---: |' * (len(titles) + 2)}",
    ]
    for row in rows:
        cells = [row["formulation"], row["model"], str(row["size"]), str(row["batch"])]
        cells += [cell(row[name]) for name in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
