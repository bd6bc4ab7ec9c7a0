"""What decoding a data set once costs: `python -m benchmarks.store`, from the root of the source tree.

PNG files of generated speckle are read by a plain loop over Pillow (open, load, convert to an array), then
decoded, resized and stored as `bench run` does it, at one size and at the three of the paper's protocol, then
as many bytes as the store holds are written alone; in turn, several times. Medians, and the peak memory of
storing a quarter of the files and all of them, go to results/<hardware>/store.csv and .md. Nothing else
should run on the machine meanwhile; room for the files is needed in the folder for temporary files (TMPDIR):
5 GB for 21,000 images of 299x299.
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
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from bench import BenchError, Environment, Session
from benchmarks.report import ROOT, Facts, Row, one_line, prepare, save

SHORT_SIDES = (224, 236, 256)  # what the paper's protocol keeps


def main(
    images: Annotated[int, typer.Option(min=8, help="Files.")] = 21_000,
    side: Annotated[int, typer.Option(min=32, help="Their side, pixels.")] = 299,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median is taken.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Threads [default: all usable cores].")] = 0,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the image store against a plain loop and write results/<hardware>/store.csv and .md."""
    machine = prepare("cpu", threads, results)
    threads = machine.session.environment.threads
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder / "images", images, side, threads)
        everything = list_files(folder / "images", images)
        ways: dict[str, Callable[[], None]] = {
            "plain loop": partial(plain_loop, folder / "images"),
            "store, one size": partial(store, everything, threads, SHORT_SIDES[:1]),
            "store": partial(store, everything, threads),
            "its bytes written alone": partial(write_alone, folder / "bytes", images),
        }
        times = in_turn(ways, repeats)
        quarter = list_files(folder / "images", images // 4)
        peaks = [peak_memory(listing, threads) for listing in (quarter, everything)]
    rows = [
        {
            **make_row(way, images, side, seconds, times["plain loop"]),
            "peak_bytes_at_a_quarter": peaks[0] if way == "store" else None,
            "peak_bytes": peaks[1] if way == "store" else None,
        }
        for way, seconds in times.items()
    ]
    facts = {**machine.facts, "precision": "uint8", "pillow": version("pillow")}
    text = as_markdown(rows, facts)
    save(machine.folder, "store", rows, facts, text)
    print(text)


# --- what is timed -----------------------------------------------------------------------------------


def plain_loop(folder: Path) -> None:
    """One thread, Pillow alone, nothing resized and nothing kept."""
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            np.asarray(image.convert("L"))


def store(listing: Path, threads: int, short_sides: Sequence[int] = SHORT_SIDES) -> None:
    """Decode, resize and store the files that the csv `listing` names, from nothing."""
    results = listing.parent / "results"
    shutil.rmtree(results, ignore_errors=True)
    session = Session(Environment(data=listing, results=results, threads=threads))
    session.images(session.registry.datasets.ref("folder", {}), short_sides)


def write_alone(file: Path, count: int) -> None:
    """As many bytes as the store of `count` square grey images, to a file and to disk."""
    block = os.urandom(1 << 20)
    total = count * sum(short**2 for short in SHORT_SIDES)
    with file.open("wb", buffering=0) as out:
        for start in range(0, total, len(block)):
            out.write(block[: total - start])
        os.fsync(out.fileno())
    file.unlink()


def in_turn(ways: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every way in every round, in turn, so that all meet the same state of the machine."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(repeats):
        for way, action in ways.items():
            os.sync()  # so that no way waits for what the one before it wrote
            start = time.perf_counter()
            action()
            times[way].append(time.perf_counter() - start)
            print(f"round {round_ + 1}: {way} {times[way][-1]:.1f} s", file=sys.stderr)
    return times


def peak_memory(listing: Path, threads: int) -> int | None:
    """Highest resident memory, bytes, of a fresh process that stores the files of `listing`; None if the
    system does not tell."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, listing, threads).result()


def _peak(listing: Path, threads: int) -> int | None:
    store(listing, threads)
    try:  # not getrusage, whose figure a child process inherits from its parent
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024


# --- files to read -----------------------------------------------------------------------------------


def make_files(folder: Path, count: int, side: int, threads: int) -> None:
    """`count` different grey PNGs that compress like ultrasound: smooth tissue under speckle."""
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


def list_files(folder: Path, count: int) -> Path:
    """A csv beside `folder` that lists its first `count` files, as the data set `folder` reads it."""
    listing = folder.parent / f"{count}.csv"
    names = sorted(path.name for path in folder.iterdir())[:count]
    lines = [f"{folder.name}/{name},any" for name in names]
    listing.write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")
    return listing


def _tissue(side: int, seed: int) -> NDArray[np.float32]:
    """(side, side): noise at two scales, by enlarging small noise."""
    rng = np.random.default_rng(seed)
    tissue = np.zeros((side, side), dtype=np.float32)
    for coarse, low, high in ((side // 40, 0, 180), (side // 3, 0, 60)):
        small = rng.uniform(low, high, (coarse + 2, coarse + 2)).astype(np.float32)
        tissue += np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))
    return tissue


# --- what is written ---------------------------------------------------------------------------------


def make_row(way: str, images: int, side: int, seconds: Sequence[float], plain: Sequence[float]) -> Row:
    """One way's figures; `share_of_plain` is the median over rounds of its time by the plain loop's."""
    median = statistics.median(seconds)
    return {
        "way": way,
        "images": images,
        "side": side,
        "seconds": median,
        "lowest_s": min(seconds),
        "highest_s": max(seconds),
        "images_per_s": images / median,
        "share_of_plain": statistics.median(s / p for s, p in zip(seconds, plain, strict=True)),
        "repeats": len(seconds),
    }


def as_markdown(rows: Sequence[Row], facts: Facts) -> str:
    """The table for readers."""
    first = rows[0]
    sizes = ", ".join(map(str, SHORT_SIDES))
    lines = ["# Decoding a data set once", "", one_line(facts), ""]
    lines += [
        f"{first['images']} grey PNGs of {first['side']}x{first['side']}. The plain loop opens, loads and "
        "converts each in one thread; the store also",
        f"hashes files and pixels, resizes to {sizes} (or the first alone) and brings all to disk.",
        f"Medians of {first['repeats']} rounds in turn, the range in parentheses; the peak is the process's "
        "resident memory.",
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
