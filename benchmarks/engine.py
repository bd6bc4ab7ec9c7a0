"""How close the engine comes to the bare step: `python -m benchmarks.engine`, from the root of the sources.

Epochs of `bench run`'s own loop over two ceilings (A: the eager step on one fixed batch; B: the same replayed
as a CUDA graph, on a GPU only), peers on the same work, what an epoch is made of, utilisation, bf16, scaling,
memory and several units at once, to results/<hardware>/engine.md, engine.csv and engine.png. Nothing else
should run on the machine meanwhile. `--quick` is for two CPU cores and about eight minutes; without it a GPU
is expected, and ten minutes. `--only` runs some sections and leaves the others out of the files.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.errors import BenchError
from bench.files import write_text
from benchmarks.pairs import ENOUGH, LIMIT, Pair, measure, summarize
from benchmarks.report import ROOT, as_csv, facts, folder_name

if TYPE_CHECKING:
    from bench.interfaces.executor import Environment
    from benchmarks.work import Setting, Task

PROTOCOL_STEPS = 5 * (1000 + 15) * 39  # five rounds, 1000 and 15 epochs of 39 batches: 624 images of BUSI


@dataclass(frozen=True)
class Figure:
    """One figure. `value` None: not measured, and `note` says why."""

    section: str
    what: str
    value: float | None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """What all sections need."""

    setting: Setting
    tasks: dict[str, Task]
    environment: Environment
    on_gpu: bool
    png: Path


def main(
    quick: Annotated[bool, typer.Option(help="A small network at 96 pixels, for a CPU.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads [default: all usable cores].")] = 0,
    only: Annotated[str, typer.Option(help="Some sections, comma-separated [default: all].")] = "",
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Measure the engine and write results/<hardware>/engine.md, .csv and .png."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `bench` does, before torch is loaded
    from bench.engine.device import configure, default_device, uses_bf16
    from bench.execution import provenance
    from bench.interfaces.executor import Environment
    from benchmarks.work import GPU, QUICK, tasks

    chosen = _sections(only)
    threads = threads or provenance.usable_cores()
    place = configure(device or default_device(), threads)
    made = provenance.describe([], str(place), threads)
    about = facts(made, "bf16 autocast" if uses_bf16("auto", place) else "fp32", datetime.now(UTC))
    about |= {
        "OMP_WAIT_POLICY": os.environ["OMP_WAIT_POLICY"],
        "MPS": os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "no"),
    }
    setting = QUICK if quick else GPU
    command = (
        "python -m benchmarks.engine" + (" --quick" if quick else "") + (f" --only {only}" if only else "")
    )
    about |= {name: str(value) for name, value in asdict(setting).items() if name not in ("epochs", "budget")}
    folder = results / folder_name(made["hardware"])
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as scratch:
        environment = Environment(
            data=Path(scratch), results=Path(scratch), device=str(place), threads=threads
        )
        made_tasks = tasks(setting, environment)
        bench = Bench(setting, made_tasks, environment, place.type == "cuda", Path(scratch) / "png")
        for name in chosen:
            started = time.perf_counter()
            for row in SECTIONS[name](bench):
                print(f"{row.section}: {_line(row)}", file=sys.stderr)
                rows.append(row)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
            # After each section, so that a machine that is taken away leaves what was measured.
            write_text(folder / "engine.csv", as_csv([asdict(row) for row in rows], about))
            write_text(folder / "engine.md", as_markdown(rows, about, command))
    _plot(rows, folder / "engine.png")


# --- ratios ------------------------------------------------------------------------------------------


def ceilings(bench: Bench) -> Iterator[Figure]:
    """Epochs of the engine over the bare step."""
    from benchmarks.work import ceiling, pairs

    for name, task in bench.tasks.items():
        bare = ceiling(task, graph=False)
        yield _ratio("ceilings", f"{name}: epoch / ceiling A", pairs(task, bare, bench.setting.budget))
        if bench.on_gpu:
            replayed = ceiling(task, graph=True)
            found = pairs(task, replayed, bench.setting.budget)
            yield _ratio("ceilings", f"{name}: epoch / ceiling B", found)
            found = measure(replayed, bare, bench.setting.budget)
            yield _ratio("ceilings", f"{name}: ceiling A / ceiling B, the gain of a graph", found)
        else:
            yield Figure("ceilings", f"{name}: epoch / ceiling B", None, "x", "no GPU")


def peers(bench: Bench) -> Iterator[Figure]:
    """Epochs of others over the ceiling and so over ours, on the pretraining `mae`."""
    from benchmarks.peers import PEERS, Missing, write_png
    from benchmarks.work import ceiling, pairs

    task = bench.tasks["mae"]
    bare, over = ceiling(task, graph=bench.on_gpu), "ceiling B" if bench.on_gpu else "ceiling A"
    ours = _ratio("peers", f"bench: epoch / {over}", pairs(task, bare, bench.setting.budget))
    yield ours
    short = round(bench.setting.size * 256 / 224)
    files = write_png(task, bench.setting, bench.png / "files")
    small = write_png(task, bench.setting, bench.png / "small", short)
    asked = [(name, workers, files) for name in PEERS for workers in (0, 2, 4)]
    for name, workers, folder in [*asked, ("torchvision", 0, small)]:
        label = f"{name}, {workers} workers" + (
            f", files shrunk to {short} before" if folder == small else ""
        )
        try:
            theirs = PEERS[name](task, folder, workers)
        except Missing as reason:
            if workers == 0:
                yield Figure("peers", name, None, "x", str(reason))
            continue
        row = _ratio("peers", f"{label}: epoch / {over}", measure(bare, theirs, bench.setting.budget))
        yield row
        if row.value is not None and ours.value is not None:
            yield Figure("peers", f"{label}: epoch / ours", row.value / ours.value, "x")


def _ratio(section: str, what: str, pairs: list[Pair], enough: int = ENOUGH) -> Figure:
    found = summarize(pairs, enough)
    counted = f"{found.accepted} pairs, {found.rejected} rejected"
    if found.ratio is None:
        return Figure(section, what, None, "x", f"only {counted}: the machine is too restless")
    return Figure(section, what, found.ratio, "x", f"{found.low:.3f} to {found.high:.3f}, {counted}")


# --- what an epoch is made of ------------------------------------------------------------------------


def shares(bench: Bench) -> Iterator[Figure]:
    """Parts of a pretraining epoch, each timed alone and waited for, as shares of the bare steps."""
    import torch

    from bench.engine import checkpoint
    from benchmarks.work import ceiling, timed

    task, device = bench.tasks["egmae"], bench.tasks["egmae"].job.device
    batches = list(task.inputs.epoch(0))
    images = [task.inputs.render(*batch)[0].to(device) for batch in batches]
    clean = [task.setup.context.normalize(i) for i in images]
    corruption: Any = task.module.corruption
    step = ceiling(task, graph=bench.on_gpu)
    state = {"module": task.module.state_dict(), "twice more, as AdamW has": [task.module.state_dict()] * 2}
    parts: dict[str, Callable[[], object]] = {
        "drawing an epoch, and augmentation": lambda: [task.inputs.render(*b) for b in task.inputs.epoch(1)],
        "entropy": lambda: [_entropy(task, i) for i in images],
        "entropy and noise": lambda: [corruption(i, c) for i, c in zip(images, clean, strict=True)],
        "evaluation of the validation part": lambda: _evaluate(bench.tasks["fine-tuning"]),
        "checkpoint, its copy": lambda: checkpoint.snapshot(state),
        "checkpoint, its file (beside the training)": lambda: checkpoint.save(task.job.checkpoint, state),
    }
    with torch.no_grad():
        took = {
            name: statistics.median(timed(part, device) for _ in range(5)) for name, part in parts.items()
        }
    bare = statistics.median(step() for _ in range(3))
    checkpoint.discard(task.job.checkpoint)
    yield Figure("shares", "bare steps of an epoch", bare, "s", f"{len(batches)} steps")
    for name, seconds in took.items():
        yield Figure("shares", name, 100 * seconds / bare, "%", f"{seconds * 1e3:.2f} ms an epoch")
    yield Figure("shares", "checkpoints, by their rule at most", 100 / 51, "%", "every 50 times their cost")


def _entropy(task: Task, images: Any) -> Any:
    from bench_strategies.entropy import patch_entropy

    return patch_entropy(images, task.module.corruption.params.patch)  # type: ignore[union-attr]


def _evaluate(task: Task) -> object:
    from bench.engine import input_pipeline
    from bench.engine.predict import predict

    setup = task.setup
    found = input_pipeline.evaluation(
        setup.images.view(setup.context.size),
        setup.split.indices("val"),
        setup.device,
        size=setup.context.size,
    )
    try:
        return predict(setup.net, found, setup.context.normalize, task.job)
    finally:
        task.module.train()


def utilisation(bench: Bench) -> Iterator[Figure]:
    """Model FLOPs (3 x 2 x fvcore's multiply-adds) a second, of those of a large matrix product here."""
    import torch

    from bench.cost.count import measure as count
    from benchmarks.work import ceiling, tasks, timed

    side = 8192 if bench.on_gpu else 1024
    dtype = torch.bfloat16 if bench.on_gpu else torch.float32
    a = torch.randn(side, side, device=bench.environment.device, dtype=dtype)
    device = a.device
    best = min(timed(lambda: a @ a, device) for _ in range(10))
    peak = 2 * side**3 / best
    yield Figure("utilisation", f"matrix product of side {side}", peak / 1e12, "TFLOP/s", str(dtype))
    for batch in (16, 64, 256) if bench.on_gpu else (16,):
        setting = replace(bench.setting, batch=batch, images=max(bench.setting.images, 2 * batch))
        task = tasks(setting, bench.environment)["fine-tuning"]
        macs = count(task.setup.net, setting.size).macs
        images = len(task.indices)
        if macs is None:
            yield Figure("utilisation", f"batch {batch}", None, "%", "fvcore cannot count this network")
            continue
        try:
            step = ceiling(task, graph=bench.on_gpu)
            seconds = statistics.median(step() for _ in range(3))
        except torch.OutOfMemoryError:
            yield Figure("utilisation", f"batch {batch}", None, "%", "memory ran out")
            continue
        rate = 6 * macs * images / seconds
        yield Figure(
            "utilisation", f"batch {batch}", 100 * rate / peak, "%", f"{images / seconds:.0f} images/s"
        )


def precision(bench: Bench) -> Iterator[Figure]:
    """Bare steps in bf16 over those in float32; on a CPU also of a network of the paper's size."""
    import torch

    from benchmarks.work import GPU, ceiling, tasks

    settings = [bench.setting]
    if not bench.on_gpu:
        settings.append(replace(GPU, images=2 * GPU.batch))
    for setting in settings:
        task = tasks(setting, bench.environment)["fine-tuning"]
        steps = {
            name: ceiling(replace(task, job=replace(task.job, precision=name)), graph=bench.on_gpu)
            for name in ("fp32", "bf16")
        }
        budget = bench.setting.budget * (1 if setting is bench.setting else 4)
        found = measure(steps["fp32"], steps["bf16"], budget)
        native = "" if bench.on_gpu else f", {torch.backends.cpu.get_cpu_capability()}"
        yield _ratio("precision", f"{setting.model} at {setting.size}: bf16 / fp32{native}", found)


# --- scaling -----------------------------------------------------------------------------------------


def scaling(bench: Bench) -> Iterator[Figure]:
    """Seconds of a fine-tuning by its images and its epochs: both must be lines."""
    from benchmarks.work import epoch, tasks, whole

    for times in (1, 2, 4):
        setting = replace(bench.setting, images=bench.setting.images * times // (1 if bench.on_gpu else 2))
        task = tasks(setting, bench.environment)["fine-tuning"]
        seconds = epoch(task, bench.setting.epochs)()
        yield Figure("scaling", f"an epoch of {len(task.indices)} images", seconds, "s")
    task = bench.tasks["fine-tuning"]
    for epochs in (2, 4, 8):
        what = f"{epochs} epochs of {len(task.indices)} images, start included"
        yield Figure("scaling", what, whole(task, epochs), "s")
    yield Figure("scaling", "peak memory", *_peak(bench))


def _peak(bench: Bench) -> tuple[float, str, str]:
    import torch

    if bench.on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20, "MiB", "allocated on the GPU, all sections so far"
    return (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "MiB",
        "of this process, all sections so far",
    )


def startup(bench: Bench) -> Iterator[Figure]:
    """What a unit takes before its first step."""
    from benchmarks.work import epoch, tasks, timed, whole

    code = "import bench.run, bench.engine.loop, bench.workbench, timm"
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        seconds.append(time.perf_counter() - started)
    yield Figure("start-up", "a process with its imports", statistics.median(seconds), "s")
    device = bench.tasks["mae"].job.device
    laid = timed(lambda: tasks(bench.setting, bench.environment), device)
    yield Figure("start-up", "laying out three trainings", laid, "s", "images are decoded")
    task = bench.tasks["mae"]
    extra = statistics.median(whole(task, 1) - epoch(task, 1)() for _ in range(3))
    yield Figure("start-up", "a training of one epoch, beyond the epoch", extra, "s", "capture included")


# --- several at once ---------------------------------------------------------------------------------


def packing(bench: Bench) -> Iterator[Figure]:
    """Time of several units beside each other over that of one alone, steady, each in a process."""
    from bench.interfaces.executor import Environment

    count = 5 if bench.on_gpu else 2
    threads = max(1, bench.environment.threads // count)
    place = Environment(
        data=bench.environment.data,
        results=bench.environment.results,
        device=bench.environment.device,
        threads=threads,
    )
    setting = replace(bench.setting, images=4 * bench.setting.batch)  # every process lays its own out
    enough = 3 if bench.on_gpu else 1
    found = measure(
        lambda: max(_side_by_side(1, setting, place)),
        lambda: max(_side_by_side(count, setting, place)),
        4 * bench.setting.budget,
        enough,
    )
    what = f"{count} units at once / one alone, seconds a step, {threads} CPU threads each"
    row = _ratio("packing", what, found, enough)
    yield row
    yield Figure("packing", "gain in units a second", row.value and count / row.value, "x")


def _side_by_side(count: int, setting: Setting, environment: Environment) -> list[float]:
    """Seconds a step of `count` processes that train at the same time."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=_train_apart, args=(setting, environment, barrier, results), daemon=True)
        for _ in range(count)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return found


def _train_apart(setting: Setting, environment: Environment, barrier: Any, results: Any) -> None:
    from itertools import chain
    from itertools import count as counting

    from bench.engine import loop
    from bench.engine.gpu.graph import WARMUP
    from benchmarks.work import tasks, timed

    task = tasks(setting, environment)["egmae"]
    task.module.train()
    step = loop.make_step(task.module, task.inputs, task.budget, task.job)
    size = max(len(batch[0]) for batch in task.inputs.epoch(0))
    batches = (b for b in chain.from_iterable(map(task.inputs.epoch, counting())) if len(b[0]) == size)
    steps = 100 if task.on_gpu else 4
    for _ in range(WARMUP + 2):
        step(next(batches), 1e-5)
    barrier.wait()
    seconds = timed(lambda: [step(next(batches), 1e-5) for _ in range(steps)], task.job.device)
    results.put(seconds / steps)


def protocol(bench: Bench) -> Iterator[Figure]:
    """How long five rounds of pretraining and fine-tuning on BUSI take at the speed of this epoch."""
    from benchmarks.work import epoch

    task = bench.tasks["egmae"]
    step = epoch(task, bench.setting.epochs)() / task.budget.steps
    about = f"{step * 1e3:.2f} ms a step of {bench.setting.model} at {bench.setting.size} pixels"
    what = f"{PROTOCOL_STEPS} steps, one after another"
    yield Figure("protocol", what, PROTOCOL_STEPS * step / 60, "min", f"a projection from {about}")


SECTIONS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "ceilings": ceilings,
    "peers": peers,
    "shares": shares,
    "utilisation": utilisation,
    "precision": precision,
    "scaling": scaling,
    "startup": startup,
    "packing": packing,
    "protocol": protocol,
}


def _sections(only: str) -> list[str]:
    names = [name.strip() for name in only.split(",") if name.strip()] or list(SECTIONS)
    if unknown := set(names) - set(SECTIONS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: no such section; use {', '.join(SECTIONS)}")
    return names


# --- what is written ---------------------------------------------------------------------------------


def as_markdown(rows: list[Figure], about: dict[str, str], command: str) -> str:
    """The tables for readers, one a section."""
    lines = ["# The engine against the bare step", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
    lines += [
        f"Written by `{command}`. Ratios are medians of at least {ENOUGH} pairs of an epoch and the two"
    ]
    lines += [
        f"ceilings around it; a pair whose ceilings differ by more than {LIMIT} x is thrown away. A dash"
    ]
    lines += ["was not measured."]
    for section in dict.fromkeys(row.section for row in rows):
        lines += ["", f"## {section.capitalize()}", "", "| what | value | |", "| --- | ---: | --- |"]
        for row in rows:
            if row.section == section:
                value = "-" if row.value is None else f"{row.value:.4g} {row.unit}"
                lines.append(f"| {row.what} | {value} | {row.note} |")
    return "\n".join(lines) + "\n"


def _line(row: Figure) -> str:
    value = "not measured" if row.value is None else f"{row.value:.4g} {row.unit}"
    return f"{row.what}: {value}" + (f" ({row.note})" if row.note else "")


def _plot(rows: list[Figure], path: Path) -> None:
    """Seconds an epoch by images, with the line through the origin and the first point."""
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
        print("no plot: matplotlib is not installed; pip install 'bench[peers]'", file=sys.stderr)
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    images, seconds = zip(*points, strict=True)
    axes.plot(images, seconds, "o-", label="measured")
    axes.plot([0, images[-1]], [0, images[-1] * seconds[0] / images[0]], ":", label="linear")
    axes.set(xlabel="images", ylabel="seconds an epoch", xlim=0, ylim=0)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
