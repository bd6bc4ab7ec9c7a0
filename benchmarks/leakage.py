"""What an image-level split adds: `python -m benchmarks.leakage --data DIR`, from the source tree's root.

The same protocol on the same images under two splits: the default one, which keeps duplicates on one side,
and the naive one, image by image. `bench run` does the work (so it can be interrupted and repeated); this
adds the scores up, over all test images and over those that have a duplicate somewhere in the data set, and
writes results/<hardware>/<data set>-leakage.md. Images whose duplicates carry another label are left out of
the scores of both, because the default split never tests on them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from bench.errors import BenchError
from bench.files import write_text
from bench.interfaces.predictions import Predictions
from benchmarks.report import ROOT, facts, folder_name

SPLITS = {"audited": "duplicates on one side", "none": "image by image"}


class Round(NamedTuple):
    """Accuracies of one round, over its test images."""

    everything: float
    twins: float  # images with a duplicate anywhere in the data set
    others: float
    leaked: int  # validation and test images with a duplicate on another side
    tested: int


def main(
    dataset: Annotated[str, typer.Option(help="A data set.")] = "busi",
    data: Annotated[str, typer.Option(help="Where it lies.")] = "",
    strategy: Annotated[str, typer.Option(help="A strategy.")] = "imagenet",
    epochs: Annotated[int, typer.Option(help="Of fine-tuning.")] = 15,
    rounds: Annotated[int, typer.Option(help="Rounds of each split.")] = 5,
    protocol: Annotated[str, typer.Option(help="A protocol.")] = "quick",
    threads: Annotated[int, typer.Option(help="CPU threads [default: all usable cores].")] = 0,
    work: Annotated[Path, typer.Option(help="Where the runs are kept.")] = ROOT
    / "results"
    / ".scratch"
    / "leakage",
) -> None:
    """Run both splits and write what the naive one adds."""
    command = [
        "run",
        "-d",
        dataset,
        "-s",
        strategy,
        "-p",
        protocol,
        "-r",
        str(rounds),
        "--threads",
        str(threads),
    ]
    command += ["--set", f"protocol.finetune.epochs={epochs}", *(["--data", data] if data else [])]
    for groups in SPLITS:
        options = [*command, "--results", str(work / groups), "--set", f"protocol.split.groups={groups}"]
        subprocess.run([sys.executable, "-m", "bench", *options], check=True)
    found = {groups: list(read_rounds(work / groups)) for groups in SPLITS}
    made = provenance_of(work / "audited")
    about = facts(made, "fp32" if made["hardware"]["device"] == "cpu" else "bf16 autocast", datetime.now(UTC))
    local = {"--data", data, "--threads", str(threads)} if data else {"--threads", str(threads)}
    shown = " ".join(["bench", *(word for word in command if word not in local)])
    text = as_markdown(dataset, shown, found, about)
    target = ROOT / "results" / folder_name(made["hardware"]) / f"{dataset}-leakage.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    print(text)


def read_rounds(results: Path) -> Iterator[Round]:
    """The rounds of one split, in order."""
    import json

    from bench.data.splits.manifest import read
    from bench.results import store

    (path,) = (results / "audits").glob("*/*.json")
    clusters = json.loads(path.read_text(encoding="utf-8"))["clusters"]
    records = [r for r in store.scan(results)[0] if r.kind == "run" and r.status == "done"]
    for record in sorted(records, key=lambda r: r.spec.round):
        (manifest,) = (results / "splits").glob(f"*/*.{record.spec.split}.json")
        split = read(manifest)
        labels = dict(zip(split.ids, split.labels, strict=True))
        plain = [c for c in clusters if len({labels[i] for i in c}) == 1]
        odd = {i for c in clusters for i in c} - {i for c in plain for i in c}
        made = store.read_predictions(record.path, "test")
        leaked = int(record.content["data"]["audit"]["exposed"])
        yield judge(made, {i for c in plain for i in c}, odd, leaked)


def judge(made: Predictions, twins: set[str], odd: set[str], leaked: int) -> Round:
    """Accuracies over the test images that are not `odd`: all, `twins`, and the rest."""
    right = made.probabilities.argmax(axis=1) == made.labels
    kept = np.array([i not in odd for i in made.ids])
    twin = np.array([i in twins for i in made.ids])
    parts = (right[kept], right[kept & twin], right[kept & ~twin])
    everything, of_twins, of_others = (float(p.mean()) if len(p) else float("nan") for p in parts)
    return Round(everything, of_twins, of_others, leaked, len(made.ids))


def provenance_of(results: Path) -> dict[str, Any]:
    """Of the first run there."""
    from bench.results import store

    record = next(r for r in store.scan(results)[0] if r.kind == "run")
    found: dict[str, Any] = record.content["provenance"]
    return found


def as_markdown(
    dataset: str, command: str, found: Mapping[str, Sequence[Round]], about: Mapping[str, str]
) -> str:
    """The table for readers."""
    lines = [f"# What an image-level split adds on {dataset}", "", "```console"]
    lines += [f"$ {command}", f"$ {command} --set protocol.split.groups=none", "```", ""]
    lines += [", ".join(f"{name} {value}" for name, value in about.items()), ""]
    lines += [
        "Accuracy, mean ± sample standard deviation over rounds. Twins are test images that have a duplicate",
        "anywhere in the data set. Images whose duplicates carry another label are left out of all columns.",
        "Written by `python -m benchmarks.leakage`.",
        "",
        "| split | rounds | test images | exposed val and test images | accuracy | twins | other images |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for groups, rounds in found.items():
        cells = [spread([getattr(r, name) for r in rounds]) for name in ("everything", "twins", "others")]
        sizes = [
            f"{statistics.fmean(r.tested for r in rounds):.1f}",
            f"{statistics.fmean(r.leaked for r in rounds):.1f}",
        ]
        lines.append(f"| {SPLITS[groups]} | {len(rounds)} | {' | '.join([*sizes, *cells])} |")
    naive, grouped = found["none"], found["audited"]
    gains = [
        gain([getattr(r, n) for r in naive], [getattr(r, n) for r in grouped]) for n in Round._fields[:3]
    ]
    lines.append(f"| difference (95 % interval) | | | | {' | '.join(gains)} |")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{deviation}"


def gain(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Difference of means with Welch's 95 % interval over rounds."""
    from scipy.stats import ttest_ind

    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return f"{difference:+.4f}"
    low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
