"""`bench cost`: what models cost, counted and measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.cli.options import (
    BaselinesOption,
    DeviceOption,
    Names,
    ThreadsOption,
    make_console,
    split_names,
    warn_of_problems,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table

    from bench.datasheet import Asked, Datasheet
    from bench.engine.speed import Timing
    from bench.plugins import Catalog
    from bench.table import ReportedRow
    from bench.types import Dataset, Model

CLASSES = 3
MOST_NAMED = 3  # operators without a count, largest first


def cost(
    models: Annotated[Names, typer.Argument(help="Models. `bench list models`.", show_default=False)] = None,
    baselines: BaselinesOption = None,
    classes: Annotated[
        int | None,
        typer.Option(min=1, help=f"Classes of the classifier [default: {CLASSES}].", show_default=False),
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="As many classes as it has.")] = "",
    size: Annotated[
        int, typer.Option(min=1, help="Side of the image, pixels, or the nearest allowed.")
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
    from bench.cli.table import load_reported
    from bench.plugins import catalog
    from bench.study import baseline_names

    offers = catalog()
    warn_of_problems(offers)
    named = (*split_names(models), *baseline_names(split_names(baselines), offers))
    chosen = [offers.get("models", name) for name in dict.fromkeys(named)]
    batches = _batches(batch, train)
    count = _classes(classes, dataset, offers)
    if not chosen:
        from bench.errors import ConfigError

        raise ConfigError("no model named; give some, or --baselines all (`bench list models`)")
    asked, hardware = _prepare(count, size, batches, train, device, threads)
    rows = load_reported()
    sheets = list(_sheets(chosen, asked, rows))
    if format_ == "rich":
        _print(sheets, asked, hardware)
    else:
        typer.echo(_text(sheets, hardware, format_), nl=False)


# --- what was asked ----------------------------------------------------------------------------------


def _batches(text: str, train: bool) -> tuple[int, ...]:
    from bench.errors import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ConfigError(f"--batch {text!r}: must be numbers of images like 16 or 16,64, or 0 for no timing")
    batches = tuple(dict.fromkeys(int(part) for part in parts if int(part)))
    if train and (not batches or 1 in batches):
        raise ConfigError(f"--train with --batch {text}: a training step needs 2 images or more")
    return batches


def _classes(classes: int | None, name: str, catalog: Catalog) -> int:
    from bench.errors import ConfigError

    if not name:
        return CLASSES if classes is None else classes
    offer: Dataset = catalog.get("datasets", name)
    if classes is not None:
        raise ConfigError(f"--classes {classes} and --dataset {name} both set the classes; give one of them")
    if not offer.expected:
        raise ConfigError(f"--dataset {name}: its classes depend on the images; give --classes N")
    return len(offer.expected)


def _prepare(
    classes: int, size: int, batches: tuple[int, ...], train: bool, device: str, threads: int
) -> tuple[Asked, dict[str, Any]]:
    """Set up the device as for a run; also says what it is."""
    from bench.datasheet import Asked
    from bench.engine.device import check, configure, default_device, uses_bf16
    from bench.provenance import hardware, usable_cores

    threads = threads or usable_cores()
    place = configure(str(check(device)) if device else default_device(), threads)
    precision = "bf16 autocast" if uses_bf16("auto", place) else "fp32"
    here = hardware(str(place)) | {"threads": threads, "precision": precision}
    return Asked(classes, size, batches, train, str(place)), here


def _sheets(models: Iterable[Model], asked: Asked, rows: Sequence[ReportedRow]) -> Iterator[Datasheet]:
    """One model's after the other's, saying on a terminal what is being done."""
    from bench.datasheet import make

    with make_console(stderr=True).status("") as status:
        for model in models:
            yield make(model, asked, rows, partial(_tell, status, model.name))


def _tell(status: Status, model: str, what: str) -> None:
    status.update(f"{model}: {what}")


# --- for programs ------------------------------------------------------------------------------------


def _text(sheets: Sequence[Datasheet], hardware: Mapping[str, Any], form: str) -> str:
    import json
    from dataclasses import asdict

    if form == "json":
        values = [{**asdict(sheet), "difference": sheet.difference} for sheet in sheets]
        return json.dumps({"hardware": hardware, "models": values}, indent=2) + "\n"
    import csv
    import io

    text = io.StringIO()
    flat = [sheet.flat for sheet in sheets]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


# --- for readers -------------------------------------------------------------------------------------


def _print(sheets: Sequence[Datasheet], asked: Asked, hardware: Mapping[str, Any]) -> None:
    from bench.published import HOW_TO_INSTALL, SIZE, can_count

    console = make_console()
    console.print(_counted(sheets, asked))
    _remark(
        console, "GMACs: multiply-adds of one image counted by fvcore; what it has no count for is named."
    )
    how = f"by the convention of published tables at {SIZE} pixels (ptflops, which misses most attention)"
    _remark(console, f"As published: {how}." if can_count() else f"As published: {how}: {HOW_TO_INSTALL}")
    if asked.batches:
        console.print(_timed(sheets, asked, hardware))
        _remark(console, "Medians of repeats after a warm-up; training is the protocol's step with AdamW.")
        if not hardware["device"].startswith("cuda"):
            _remark(console, "Peak memory is measured on GPUs only.")
    for sheet in sheets:
        for note in sheet.notes:
            _remark(console, f"{sheet.model}: {note}")


def _remark(console: Console, text: str) -> None:
    from rich.text import Text

    console.print(Text(text, style="dim"))


def _counted(sheets: Sequence[Datasheet], asked: Asked) -> Table:
    from rich.table import Table

    table = Table(title=f"Cost of one image of {asked.size} pixels", title_justify="left")
    table.add_column("model", overflow="fold")
    same = f"M params\n{asked.classes} classes"
    for heading in (
        same,
        "M params\n1000",
        "GMACs",
        "as\npublished",
        "published\nG",
        "published\nM",
        "differs",
    ):
        table.add_column(heading, justify="right")
    table.add_column("not counted in GMACs")
    for sheet in sheets:
        reported = sheet.published
        table.add_row(
            sheet.model,
            _millions(sheet.cost.params),
            _millions(sheet.params_imagenet),
            _billions(sheet.cost.macs),
            _billions(sheet.convention),
            f"{reported.gmacs:.2f}" if reported and reported.gmacs else "",
            f"{reported.mparams:.2f}" if reported and reported.mparams else "",
            "" if sheet.difference is None else f"{sheet.difference:+z.1%}",
            _left_out(sheet),
        )
    return table


def _left_out(sheet: Datasheet) -> str:
    if sheet.cost.skipped_share is None:
        return ""
    names = [s.operator.removeprefix("aten::") for s in sheet.cost.skipped]
    more = ", ..." if len(names) > MOST_NAMED else ""
    return f"{sheet.cost.skipped_share:.1%}: {', '.join(names[:MOST_NAMED])}{more}" if names else "nothing"


def _timed(sheets: Sequence[Datasheet], asked: Asked, hardware: Mapping[str, Any]) -> Table:
    from rich.table import Table

    where = hardware.get("gpu") or f"{hardware['cpu']}, {hardware['threads']} threads"
    table = Table(title=f"Speed on {where}, {hardware['precision']}", title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("ms at\nbatch 1", justify="right")
    on_gpu = hardware["device"].startswith("cuda")
    for work in ("images/s", "training\nimages/s") if asked.train else ("images/s",):
        for batch in asked.batches:
            table.add_column(f"{work}\nat {batch}", justify="right")
            if on_gpu:
                table.add_column(f"peak MiB\nat {batch}", justify="right")
    for sheet in sheets:
        cells = [c for t in (*sheet.forward, *sheet.training) for c in _speed(t, on_gpu)]
        latency = sheet.latency.seconds if sheet.latency else None
        table.add_row(sheet.model, "out of memory" if latency is None else f"{latency * 1e3:.1f}", *cells)
    return table


def _speed(timing: Timing, on_gpu: bool) -> list[str]:
    speed = "out of memory" if timing.images_per_s is None else f"{timing.images_per_s:.1f}"
    peak = "" if timing.peak_bytes is None else f"{timing.peak_bytes / 2**20:.0f}"
    return [speed, peak] if on_gpu else [speed]


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}"


def _billions(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.2f}"
