"""`bench cost`: what models cost, counted and timed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.cli import complete
from bench.cli.options import BaselinesOption, DeviceOption, Names, ThreadsOption
from bench.cli.screen import echo, installed_components, make_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table as Grid

    from bench.comparison.reported import ReportedRow
    from bench.cost.model_cost import CostRequest, ModelCost
    from bench.engine.speed import Timing
    from bench.interfaces.model import Model
    from bench.registry import Registry

CLASSES = 3  # unless --classes or --dataset says otherwise
LARGEST = 8192  # pixels, as in a protocol
MAX_NAMED = 3  # operators without a count, those with most operations first


def cost(
    models: Annotated[
        Names,
        typer.Argument(
            help="Models. `bench list models`.", show_default=False, autocompletion=complete.models
        ),
    ] = None,
    baselines: BaselinesOption = None,
    classes: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help=f"Classes of the classifier [default: {CLASSES}].", show_default=False
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option("--dataset", "-d", help="As many classes as it has.", autocompletion=complete.datasets),
    ] = "",
    size: Annotated[
        int, typer.Option(min=1, max=LARGEST, help="Side of the image, pixels, or the nearest allowed.")
    ] = 224,
    batch: Annotated[str, typer.Option(help="Batches to time, comma-separated; 0 times nothing.")] = "16",
    train: Annotated[bool, typer.Option("--train", help="Time training steps too.")] = False,
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
    format_: Annotated[Literal["rich", "csv", "json"], typer.Option("--format", "-f")] = "rich",
) -> None:
    """Show what models cost: parameters, operations, and speed on this machine.

    Example: bench cost convnext_tiny --baselines cmt,spa --dataset busi
    """
    from bench.comparison.reported import load_reported
    from bench.errors import ConfigError
    from bench.study.study import baseline_names, split_names

    registry = installed_components()
    names = (*split_names(models), *baseline_names(split_names(baselines), registry))
    chosen = [registry.models.get(name) for name in dict.fromkeys(names)]
    batches = _batches(batch, train)
    count = _classes(classes, dataset, registry)
    if not chosen:
        raise ConfigError("no model named; give some, or --baselines all (`bench list models`)")
    request, hardware = _prepare(count, size, batches, train, device, threads)
    rows = load_reported()
    costs = list(_costs(chosen, request, rows))
    if format_ == "rich":
        _print(costs, request, hardware)
    else:
        echo(_text(costs, hardware, format_), nl=False)


# --- options -----------------------------------------------------------------------------------------


def _batches(text: str, train: bool) -> tuple[int, ...]:
    from bench.errors import ConfigError
    from bench.parsing import brief

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise ConfigError(
            f"--batch {brief(text)!r}: must be numbers of images like 16 or 16,64, or 0 for no timing"
        )
    if any(len(part) > 5 for part in parts):
        raise ConfigError(f"--batch {brief(text)!r}: too many images; at most 99999")
    batches = tuple(dict.fromkeys(int(part) for part in parts if int(part)))
    if train and (not batches or 1 in batches):
        raise ConfigError(f"--train with --batch {text}: a training step needs 2 images or more")
    return batches


def _classes(classes: int | None, name: str, registry: Registry) -> int:
    from bench.errors import ConfigError

    if not name:
        return CLASSES if classes is None else classes
    component = registry.datasets.get(name)
    if classes is not None:
        raise ConfigError(f"--classes {classes} and --dataset {name} both set the classes; give one of them")
    if not component.expected:
        raise ConfigError(f"--dataset {name}: its classes depend on the images; give --classes N")
    return len(component.expected)


def _prepare(
    classes: int, size: int, batches: tuple[int, ...], train: bool, device: str, threads: int
) -> tuple[CostRequest, dict[str, Any]]:
    """Set up the device as for a run. Gives what to measure, and on which hardware."""
    from bench.api import check_counts
    from bench.cost.model_cost import CostRequest
    from bench.engine.device import configure, parse_device, uses_bf16
    from bench.execution.provenance import hardware, usable_cores

    check_counts(1, threads)
    threads = threads or usable_cores()
    used_device = configure(parse_device(device), threads)
    precision = "bf16 autocast" if uses_bf16("auto", used_device) else "fp32"
    machine = hardware(str(used_device)) | {"threads": threads, "precision": precision}
    return CostRequest(classes, size, batches, train, str(used_device)), machine


def _costs(models: Iterable[Model], request: CostRequest, rows: Sequence[ReportedRow]) -> Iterator[ModelCost]:
    """The costs of each model in turn; a terminal shows what is being counted or timed."""
    from bench.cost.model_cost import measure_model

    with make_console(stderr=True).status("") as status:
        for model in models:
            yield measure_model(model, request, rows, partial(_show_stage, status, model.name))


def _show_stage(status: Status, model: str, stage: str) -> None:
    status.update(f"{model}: {stage}")


# --- csv and JSON ------------------------------------------------------------------------------------


def _text(costs: Sequence[ModelCost], hardware: Mapping[str, Any], form: str) -> str:
    import json
    from dataclasses import asdict

    if form == "json":
        values = [{**asdict(cost), "difference": cost.difference} for cost in costs]
        return json.dumps({"hardware": hardware, "models": values}, indent=2) + "\n"
    import csv
    import io

    text = io.StringIO()
    flat = [cost.flat for cost in costs]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


# --- the terminal ------------------------------------------------------------------------------------


def _print(costs: Sequence[ModelCost], request: CostRequest, hardware: Mapping[str, Any]) -> None:
    from bench.cost.published import HOW_TO_INSTALL, SIZE, has_ptflops

    console = make_console()
    _title(console, f"Cost of one image of {request.size} pixels")
    console.print(_counted(costs, request))
    _remark(
        console, "GMACs: multiply-adds of one image by fvcore; operators that it does not count are named."
    )
    if request.size == SIZE:
        how = f"As published: by the convention of published tables at {SIZE} pixels"
    else:
        how = f"By ptflops: the convention of published tables, which are at {SIZE} pixels and not at these"
    how += " (ptflops misses most attention)"
    _remark(console, f"{how}." if has_ptflops() else f"{how}: {HOW_TO_INSTALL}")
    if request.batches:
        where = hardware.get("gpu") or f"{hardware['cpu']}, {hardware['threads']} threads"
        _title(console, f"Speed on {where}, {hardware['precision']}")
        console.print(_timed(costs, request, hardware))
        _remark(console, "Medians of repeats after a warm-up; training is the protocol's step with AdamW.")
        if not hardware["device"].startswith("cuda"):
            _remark(console, "Peak memory is measured on GPUs only.")
    for cost in costs:
        for note in cost.notes:
            _remark(console, f"{cost.model}: {note}")


def _title(console: Console, text: str) -> None:
    """A title printed above its table: rich would wrap a table's own title at the width of the table."""
    from rich.text import Text

    console.print(Text(text, style="italic"))


def _remark(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(text, style="dim"))


def _counted(costs: Sequence[ModelCost], request: CostRequest) -> Grid:
    from rich.table import Table as Grid

    from bench.cost.published import SIZE

    grid = Grid()
    grid.add_column("model", overflow="fold")
    same = f"M params\n{request.classes} classes"
    for heading in (
        same,
        "M params\n1000",
        "GMACs",
        "as\npublished" if request.size == SIZE else "by\nptflops",
        "published\nG",
        "published\nM",
        "differs",
    ):
        grid.add_column(heading, justify="right")
    grid.add_column("not counted in GMACs")
    for cost in costs:
        reported = cost.published
        grid.add_row(
            cost.model,
            _millions(cost.cost.params),
            _millions(cost.params_imagenet),
            _billions(cost.cost.macs),
            _billions(cost.convention),
            f"{reported.gmacs:.2f}" if reported and reported.gmacs else "",
            f"{reported.mparams:.2f}" if reported and reported.mparams else "",
            "" if cost.difference is None else f"{cost.difference:+z.1%}",
            _left_out(cost),
        )
    return grid


def _left_out(cost: ModelCost) -> str:
    if cost.cost.skipped_share is None:
        return ""
    names = [s.operator.removeprefix("aten::") for s in cost.cost.skipped]
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f"{cost.cost.skipped_share:.1%}: {', '.join(names[:MAX_NAMED])}{more}" if names else "nothing"


def _timed(costs: Sequence[ModelCost], request: CostRequest, hardware: Mapping[str, Any]) -> Grid:
    from rich.table import Table as Grid

    grid = Grid()
    grid.add_column("model", overflow="fold")
    grid.add_column("ms at\nbatch 1", justify="right")
    on_gpu = hardware["device"].startswith("cuda")
    for work in ("images/s", "training\nimages/s") if request.train else ("images/s",):
        for batch in request.batches:
            grid.add_column(f"{work}\nat {batch}", justify="right")
            if on_gpu:
                grid.add_column(f"peak MiB\nat {batch}", justify="right")
    for cost in costs:
        cells = [c for t in (*cost.forward, *cost.training) for c in _speed(t, on_gpu)]
        latency = cost.latency.seconds if cost.latency else None
        grid.add_row(cost.model, "out of memory" if latency is None else f"{latency * 1e3:.1f}", *cells)
    return grid


def _speed(timing: Timing, on_gpu: bool) -> list[str]:
    speed = "out of memory" if timing.images_per_s is None else f"{timing.images_per_s:.1f}"
    peak = "" if timing.peak_bytes is None else f"{timing.peak_bytes / 2**20:.0f}"
    return [speed, peak] if on_gpu else [speed]


def _millions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.2f}"


def _billions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f}"
