"""What decoding a data set once costs: `python -m benchmarks.store`, from the root of the source tree.

PNG files of generated speckle are read by a plain loop over Pillow (open, load, convert to an array), then
decoded, resized and stored by `prepare` at one size and at the three of the paper's protocol, then decoded
and resized by as many processes, then as many bytes as the store holds are written alone; in turn, several
times. Medians, and the peak memory of building a quarter of the files and all of them, go to
results/<hardware>/store.csv and .md. Nothing else should run on the machine meanwhile; room for the files is
needed in the folder for temporary files (TMPDIR): 5 GB for 21,000 images of 299x299.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from bench import Dataset, Environment, Index, NoParams, Sample, silent
from bench.data.images.store import BATCH, decode_samples
from bench.errors import BenchError
from bench.files import write_text
from benchmarks.report import ROOT, as_csv, facts, folder_name

SHORTS = (224, 236, 256)  # what the paper's protocol keeps


def main(
    images: Annotated[int, typer.Option(min=8, help="Files.")] = 21_000,
    side: Annotated[int, typer.Option(min=32, help="Their side, pixels.")] = 299,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median is taken.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Threads [default: all usable cores].")] = 0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the image store against a plain loop and write results/<hardware>/store.csv and .md."""
    from bench.execution import provenance

    threads = threads or provenance.usable_cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder / "data", images, side, threads)
        ways: dict[str, Callable[[], None]] = {
            "plain loop": partial(plain_loop, folder / "data"),
            "store, one size": partial(build, folder, images, threads, SHORTS[:1]),
            "store": partial(build, folder, images, threads),
            "processes": partial(by_processes, folder / "data", threads),
            "its bytes written alone": partial(write_alone, folder / "bytes", images),
        }
        times = in_turn(ways, repeats)
        peaks = [peak_memory(folder, count, threads) for count in (images // 4, images)]
    rows = [make_row(way, images, side, taken, times["plain loop"]) for way, taken in times.items()]
    for row in rows:
        at = peaks if row["way"] == "store" else (None, None)
        row["peak_bytes_at_a_quarter"], row["peak_bytes"] = at
    made = provenance.describe([], "cpu", threads)
    about = {**facts(made, "uint8", datetime.now(UTC)), "pillow": made["packages"]["pillow"]}
    place = results / folder_name(made["hardware"])
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "store.csv", as_csv(rows, about))
    write_text(place / "store.md", as_markdown(rows, about))
    print(as_markdown(rows, about))


# --- what is timed -----------------------------------------------------------------------------------


def plain_loop(folder: Path) -> None:
    """One thread, Pillow alone, nothing resized and nothing kept."""
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            np.asarray(image.convert("L"))


def build(folder: Path, count: int, threads: int, shorts: tuple[int, ...] = SHORTS) -> None:
    """The store of the first `count` files, from nothing."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    environment = Environment(data=folder / "data", results=folder / "results", threads=threads)
    dataset = Dataset(name="files", about="", index=partial(_index, count))
    index = dataset.index(environment.data, NoParams())
    open_images(dataset.name, index, environment, shorts, silent)


def _index(count: int, root: Path, params: object) -> Index:
    samples = tuple(Sample(id=p.name, label="all", path=p) for p in sorted(root.iterdir())[:count])
    return Index(classes=("all",), samples=samples)


def by_processes(folder: Path, workers: int) -> None:
    """The store's decoding and resizing by processes; what they send back is dropped."""
    samples = [Sample(id=p.name, label="all", path=p) for p in sorted(folder.iterdir())]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        parts = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
        for _ in pool.map(partial(decode_samples, shorts=SHORTS), parts, chunksize=4):
            pass


def write_alone(file: Path, count: int) -> None:
    """As many bytes as the store of `count` square grey images, to a file and to disk."""
    block = os.urandom(1 << 20)
    total = count * sum(short**2 for short in SHORTS)
    with file.open("wb", buffering=0) as out:
        for start in range(0, total, len(block)):
            out.write(block[: total - start])
        os.fsync(out.fileno())
    file.unlink()


def in_turn(ways: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every way in every round, one after the other, so that all see the same machine."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(repeats):
        for way, action in ways.items():
            os.sync()  # what the one before wrote is not this one's to wait for
            start = time.perf_counter()
            action()
            times[way].append(time.perf_counter() - start)
            print(f"round {round_ + 1}: {way} {times[way][-1]:.1f} s", file=sys.stderr)
    return times


def peak_memory(folder: Path, count: int, threads: int) -> int | None:
    """Highest resident memory, bytes, of a fresh process that builds the store of `count` files."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, folder, count, threads).result()


def _peak(folder: Path, count: int, threads: int) -> int | None:
    build(folder, count, threads)
    try:  # not getrusage, which a child begins with its parent's figure
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024


# --- files to read -----------------------------------------------------------------------------------


def make_files(folder: Path, count: int, side: int, threads: int) -> None:
    """Grey PNGs that compress like ultrasound: smooth tissue under speckle, no two alike."""
    folder.mkdir()
    tissue = [_tissue(2 * side, seed) for seed in range(8)]

    def make(i: int) -> None:
        rng = np.random.default_rng(i)
        y, x = rng.integers(0, side, 2)
        speckle = rng.normal(0, 2, (side, side))
        pixels = tissue[i % len(tissue)][y : y + side, x : x + side] + speckle
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:06d}.png")

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(make, range(count)):
            pass


def _tissue(side: int, seed: int) -> np.ndarray[Any, Any]:
    """(side, side) float: noise at two scales, by enlarging small noise."""
    rng = np.random.default_rng(seed)
    layers = []
    for coarse, low, high in ((side // 40, 0, 180), (side // 3, 0, 60)):
        small = rng.uniform(low, high, (coarse + 2, coarse + 2)).astype(np.float32)
        layers.append(np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)))
    return layers[0] + layers[1]


# --- what is written ---------------------------------------------------------------------------------


def make_row(
    way: str, images: int, side: int, taken: Sequence[float], plain: Sequence[float]
) -> dict[str, Any]:
    """One way's figures; `share` is the median over rounds of its time by the plain loop's."""
    share = statistics.median(t / p for t, p in zip(taken, plain, strict=True))
    return {
        "way": way,
        "images": images,
        "side": side,
        "seconds": statistics.median(taken),
        "lowest_s": min(taken),
        "highest_s": max(taken),
        "images_per_s": images / statistics.median(taken),
        "share_of_plain": share,
        "repeats": len(taken),
    }


def as_markdown(rows: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """The table for readers."""
    first = rows[0]
    lines = ["# Decoding a data set once", "", ", ".join(f"{k} {v}" for k, v in about.items()), ""]
    lines += [
        f"{first['images']} grey PNGs of {first['side']}x{first['side']}. The plain loop opens, loads and "
        "converts each in one thread; the store also",
        f"hashes files and pixels, resizes to {', '.join(map(str, SHORTS))} (or the first alone) and brings "
        "all to disk. The processes decode",
        f"and resize as the store does, and write nothing. Medians of {first['repeats']} rounds in turn, the "
        "range in parentheses; the peak is the",
        "process's resident memory.",
        "Written by `python -m benchmarks.store`.",
        "",
        "| way | s | images / s | times the plain loop | peak MiB at a quarter | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        peaks = [row["peak_bytes_at_a_quarter"], row["peak_bytes"]]
        cells = [
            f"{row['seconds']:.1f} ({row['lowest_s']:.1f} to {row['highest_s']:.1f})",
            f"{row['images_per_s']:.0f}",
            f"{row['share_of_plain']:.2f}",
            *("-" if peak is None else f"{peak / 2**20:.0f}" for peak in peaks),
        ]
        lines.append(f"| {row['way']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
