"""What the audit finds, and what it takes: `python -m benchmarks.audits --data DIR`, from the source's root.

Copies of randomly chosen images are planted among the images of a data set, each changed as files of one
picture differ: another crop, scale, aspect, compression. Recall is the share of them that `bench data audit`
pairs with their original. A pair of a copy with an image that is no duplicate of its original would be false,
and is listed. The audit of the untouched data set is timed as a whole process, its images decoded before.
Figures go to results/<hardware>/<data set>-audit.md. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageOps

from bench import BenchError, Session, local_environment
from benchmarks.command import CommandFailed, run
from benchmarks.report import ROOT, Facts, one_line, prepare

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def cropped(share: float) -> Change:
    """A part with this share of height and width, anywhere."""

    def change(image: Image.Image, random: np.random.Generator) -> Image.Image:
        width, height = int(image.width * share), int(image.height * share)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return change


def scaled(x: float, y: float) -> Change:
    return lambda image, _: image.resize((round(image.width * x), round(image.height * y)))


def padded(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return ImageOps.expand(image, border=image.width // 6, fill=0)


def recompressed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


def brighter(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.point(
        [min(255, round(255 * (level / 255) ** 0.7)) for level in range(256)] * len(image.getbands())
    )


CHANGES: dict[str, Change] = {
    "JPEG of quality 30": recompressed,
    "gamma 0.7": brighter,
    "half as large": scaled(0.5, 0.5),
    "1.3 times as wide": scaled(1.3, 1.0),
    "crop to 80 % of the sides": cropped(0.8),
    "crop to 60 % of the sides": cropped(0.6),
    "a frame of a sixth": padded,
    "turned by 10 degrees": lambda image, _: image.rotate(10),
    "upside down": lambda image, _: image.rotate(180),
}


@dataclass(frozen=True)
class Found:
    """What the audit says of the copies of one kind."""

    planted: int
    duplicates: int  # copies that were paired with their original
    suspects: int  # copies that were at least suspected to be


def main(
    data: Annotated[str, typer.Option(help="Where the data set lies.")],
    dataset: Annotated[str, typer.Option(help="A data set.")] = "busi",
    copies: Annotated[int, typer.Option(min=1, help="Planted of each kind of change.")] = 100,
    threads: Annotated[int, typer.Option(min=0, help="Threads [default: all usable cores].")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Timings of the audit.")] = 3,
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Time the audit of a data set, plant copies in it, and write what it finds."""
    machine = prepare("cpu", threads, results)
    threads = machine.session.environment.threads
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        seconds = [timed_audit(dataset, data, work / "untouched", threads) for _ in range(repeats)]
        untouched = read_audit(work / "untouched", dataset)
        environment = local_environment(data, work / "untouched", device="cpu", threads=threads)
        session = Session(environment)
        images = session.images(session.registry.datasets.ref(dataset, {}), (128,))
        origins = {}
        for i, path in enumerate(images.paths):
            if path is None:
                raise BenchError(
                    f"{dataset}: its images are no files, so that none can be planted among them"
                )
            label = images.classes[images.labels[i]].replace(os.sep, "_")
            link = work / "images" / label / f"{i}{path.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
            origins[f"{label}/{link.name}"] = images.ids[i]
        planted = plant(work / "images", list(origins), copies)
        audit_command("folder", str(work / "images"), work / "planted", threads)
        audited = read_audit(work / "planted", "folder")
    found = recall(planted, audited)
    groups = dict(zip(images.ids, images.groups, strict=True))
    wrong = [(a, b) for a, b in false_pairs(planted, origins, audited, untouched) if groups[a] != groups[b]]
    text = as_markdown(dataset, copies, seconds, untouched, found, wrong, machine.facts)
    machine.folder.mkdir(parents=True, exist_ok=True)
    (machine.folder / f"{dataset}-audit.md").write_text(text, encoding="utf-8")
    print(text)


# --- what is run -------------------------------------------------------------------------------------


def audit_command(dataset: str, data: str, results: Path, threads: int) -> float:
    """Seconds that `bench data audit` takes."""
    command = [sys.executable, "-m", "bench", "data", "audit", dataset, "--data", data]
    command += ["--results", str(results), "--threads", str(threads), "--device", "cpu"]
    search = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    return run(command, {**os.environ, "PYTHONPATH": search}, ROOT).seconds


def timed_audit(dataset: str, data: str, results: Path, threads: int) -> float:
    """Seconds of an audit of images that are decoded already."""
    for path in results.glob("audits/*/*"):
        path.unlink()
    if not (results / ".scratch").is_dir():
        audit_command(dataset, data, results, threads)
        return timed_audit(dataset, data, results, threads)
    return audit_command(dataset, data, results, threads)


def read_audit(results: Path, dataset: str) -> dict[str, Any]:
    (path,) = (results / "audits" / dataset).glob("*.json")
    audit: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return audit


def plant(folder: Path, ids: Sequence[str], copies: int) -> dict[str, tuple[str, str]]:
    """Write changed copies beside their originals. Gives the copies by id: kind of change and original."""
    planted: dict[str, tuple[str, str]] = {}
    for kind, change in CHANGES.items():
        random = np.random.default_rng([*kind.encode()])
        for original in random.choice(list(ids), min(copies, len(ids)), replace=False).tolist():
            with Image.open(folder / original) as image:
                plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
                changed = change(plain, random)
                name = f"{Path(original).parent}/planted-{len(planted)}.png"
                changed.save(folder / name)
            planted[name] = (kind, original)
    return planted


# --- what is found -----------------------------------------------------------------------------------


def pairs_of(audit: Mapping[str, Any]) -> set[frozenset[str]]:
    return {frozenset(row[:2]) for row in audit["duplicates"]}


def recall(planted: Mapping[str, tuple[str, str]], audit: Mapping[str, Any]) -> dict[str, Found]:
    """By kind of change, how many copies were paired with their original."""
    duplicates = pairs_of(audit)
    suspected = duplicates | {frozenset((s["first"], s["second"])) for s in audit["suspects"]}
    found = {}
    for kind in CHANGES:
        pairs = [frozenset((copy, origin)) for copy, (changed, origin) in planted.items() if changed == kind]
        found[kind] = Found(len(pairs), len(duplicates & {*pairs}), len(suspected & {*pairs}))
    return found


def false_pairs(
    planted: Mapping[str, tuple[str, str]],
    origins: Mapping[str, str],
    audit: Mapping[str, Any],
    untouched: Mapping[str, Any],
) -> list[tuple[str, str]]:
    """Pairs of the originals behind each duplicate, if they are two images that the untouched data set's
    audit has not in one set of duplicates."""
    set_of = {id_: number for number, ids in enumerate(untouched["clusters"]) for id_ in ids}
    wrong = set()
    for pair in pairs_of(audit):
        first, second = sorted(origins[planted[id_][1] if id_ in planted else id_] for id_ in pair)
        if first != second and (first not in set_of or set_of[first] != set_of.get(second)):
            wrong.add((first, second))
    return sorted(wrong)


def as_markdown(
    dataset: str,
    copies: int,
    seconds: Sequence[float],
    untouched: Mapping[str, Any],
    found: Mapping[str, Found],
    wrong: Sequence[tuple[str, str]],
    facts: Facts,
) -> str:
    """The page for readers."""
    lines = [f"# What the audit finds on {dataset}", "", one_line(facts), ""]
    lines += [
        f"`python -m benchmarks.audits --dataset {dataset} --data DIR --copies {copies}` wrote this.",
        "",
    ]
    times = ", ".join(f"{value:.1f}" for value in sorted(seconds))
    lines += [f"`bench data audit {dataset}`, images decoded before, whole process: {times} s.", ""]
    lines += ["| the untouched data set | |", "| --- | ---: |"]
    lines += [f"| {what} | {count:,} |" for what, count in untouched["counts"].items()]
    lines += [
        "",
        "Copies of random images were planted, each changed in one way. Found are those that the audit",
    ]
    lines += ["pairs with their original, as a duplicate, or at least as a suspect.", ""]
    lines += ["| change | planted | duplicates | with suspects |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {kind} | {f.planted} | {f.duplicates} | {f.suspects} |" for kind, f in found.items()]
    lines += [
        "",
        "Pairs of images of two groups, no duplicates in the untouched data set, whose copies were taken for",
    ]
    lines += [f"duplicates: {len(wrong)}.", *(f"- {first} = {second}" for first, second in wrong)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except (BenchError, CommandFailed) as error:
        sys.exit(f"error: {error}")
