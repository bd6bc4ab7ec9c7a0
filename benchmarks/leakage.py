"""What an image-level split adds: `python -m benchmarks.leakage --data DIR`, from the source tree's root.

The same protocol on the same images under two splits: the default one, which keeps duplicates on one side,
and the naive one, image by image. What is done is kept, so the command can be interrupted and repeated. The
accuracies over all test images, and over those that have a duplicate somewhere in the data set, go to
results/<hardware>/<data set>-leakage.md. Images whose duplicates carry another label are left out of the
accuracies of both, because the default split never tests on them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench import (
    BenchError,
    Estimate,
    Plan,
    Results,
    RunSpec,
    Study,
    load_results,
    local_environment,
    plan,
    print_progress,
    run,
    tables,
)
from benchmarks.report import ROOT, Facts, facts_of, folder_name, one_line

if TYPE_CHECKING:
    import pandas as pd

SPLITS = {"audited": "duplicates on one side", "none": "image by image"}  # by protocol.split.groups


class Round(NamedTuple):
    """One round: accuracies over its test images, nan over none, and numbers of images."""

    overall: float
    duplicates: float  # images with a duplicate anywhere in the data set
    others: float
    leaked: int  # validation and test images with a duplicate or group mate on another side
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
    results: Annotated[Path, typer.Option(help="Where the table is written.")] = ROOT / "results",
) -> None:
    """Run both splits and write what the naive one adds."""
    rounds_of: dict[str, list[Round]] = {}
    shown: dict[str, Estimate] = {}
    for groups in SPLITS:
        values = {"protocol.finetune.epochs": epochs, "protocol.split.groups": groups}
        study = Study.from_names(dataset, strategy, protocol=protocol, rounds=rounds, values=values)
        planned = plan(study, local_environment(data or None, work / groups, threads=threads), print_progress)
        if failed := [outcome for outcome in run(planned, report=print_progress) if outcome.status != "done"]:
            raise BenchError(f"{failed[0].unit.label}: {failed[0].reason}")
        stored = load_results(work / groups)
        rounds_of[groups] = read_rounds(planned, stored)
        [table] = tables(stored, "accuracy")
        shown[groups] = table.rows[0].values["accuracy"]
    provenance = next(r for r in stored.records if r.key == planned.units[0].key).provenance
    precision = "fp32" if provenance.device == "cpu" else "bf16 autocast"
    now = datetime.now(UTC)
    facts = facts_of(provenance.hardware, provenance.packages, provenance.git, precision, now)
    command = f"bench run -d {dataset} -s {strategy} -p {protocol} -r {rounds}"
    command += f" --set protocol.finetune.epochs={epochs}"
    text = as_markdown(dataset, command, rounds_of, shown, facts)
    folder = results / folder_name(provenance.hardware)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{dataset}-leakage.md").write_text(text, encoding="utf-8")
    print(text)


def read_rounds(planned: Plan, stored: Results) -> list[Round]:
    """The rounds of one split, in order."""
    (dataset,) = planned.study.datasets
    images, audit = planned.session.audited(dataset, planned.study.protocol.audit)
    duplicated: set[str] = set()
    conflicting: set[str] = set()
    for cluster in audit.clusters(images.ids):
        same_label = len({images.labels[i] for i in cluster}) == 1
        (duplicated if same_label else conflicting).update(images.ids[i] for i in cluster)
    test = stored.predictions[stored.predictions["part"] == "test"]
    rounds = []
    for unit in planned.units:
        verdict = planned.splits[dataset, unit.round].verdict
        assert verdict is not None  # the split was drawn by `plan`, with this audit
        if isinstance(unit, RunSpec):
            rounds.append(judge(test[test["key"] == unit.key], duplicated, conflicting, verdict.leaked))
    return rounds


def judge(
    predictions: pd.DataFrame, duplicated: Collection[str], conflicting: Collection[str], leaked: int
) -> Round:
    """Accuracies over the test images that are not `conflicting`: all, those `duplicated`, and the others.

    `predictions` are the rows of one unit's test part in `bench.Results.predictions`.
    """
    probabilities = predictions.filter(regex="^p:")
    right = probabilities.idxmax(axis=1) == "p:" + predictions["label"]
    kept = ~predictions["id"].isin(conflicting)
    duplicate = predictions["id"].isin(duplicated)
    overall, of_duplicates, of_others = (
        float(right[rows].mean()) for rows in (kept, kept & duplicate, kept & ~duplicate)
    )
    return Round(overall, of_duplicates, of_others, leaked, len(predictions))


def as_markdown(
    dataset: str,
    command: str,
    rounds_of: Mapping[str, Sequence[Round]],
    shown: Mapping[str, Estimate],
    facts: Facts,
) -> str:
    """The table for readers. `rounds_of` has the rounds by `protocol.split.groups`, `shown` what `bench
    table` says of the accuracy over all test images."""
    lines = [f"# What an image-level split adds on {dataset}", "", "```console"]
    lines += [f"$ {command}", f"$ {command} --set protocol.split.groups=none", "```", ""]
    lines += [one_line(facts), ""]
    lines += [
        "Accuracy, mean ± sample standard deviation over rounds. Duplicates are test images that have a",
        "duplicate anywhere in the data set. Images whose duplicates carry another label are left out of all",
        "columns. Leaked are validation and test images with a duplicate or another image of their group on",
        "another side of the split. A dash: the test part has no such images.",
        "Written by `python -m benchmarks.leakage`.",
        "",
        "| split | rounds | test images | leaked images | accuracy | on duplicates | on other images |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for groups, rounds in rounds_of.items():
        sizes = [[r.tested for r in rounds], [r.leaked for r in rounds]]
        cells = [f"{statistics.fmean(counts):.1f}" for counts in sizes]
        cells += [spread(values) for values in accuracies(rounds)]
        lines.append(f"| {SPLITS[groups]} | {len(rounds)} | {' | '.join(cells)} |")
    naive, grouped = accuracies(rounds_of["none"]), accuracies(rounds_of["audited"])
    gains = [difference(a, b) for a, b in zip(naive, grouped, strict=True)]
    lines.append(f"| difference (95 % interval) | | | | {' | '.join(gains)} |")
    lines += ["", "The accuracy over all test images, with the 95 % interval of `bench table`:", ""]
    lines += ["| split | accuracy | 95 % interval |", "| --- | ---: | ---: |"]
    for groups, value in shown.items():
        ends = "-" if value.low is None else f"{value.low:.3f} to {value.high:.3f}"
        lines.append(f"| {SPLITS[groups]} | {value.mean:.4f} | {ends} |")
    return "\n".join(lines) + "\n"


def accuracies(rounds: Sequence[Round]) -> tuple[list[float], list[float], list[float]]:
    """Of every round: over all test images, over duplicates, over the others."""
    return [r.overall for r in rounds], [r.duplicates for r in rounds], [r.others for r in rounds]


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation; a dash where a round has no such images."""
    if any(map(math.isnan, values)):
        return "-"
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{deviation}"


def difference(first: Sequence[float], second: Sequence[float]) -> str:
    """`first` minus `second`: difference of means with Welch's 95 % interval over rounds, where it exists; a
    dash where a round has no such images."""
    from scipy.stats import t

    if any(map(math.isnan, (*first, *second))):
        return "-"
    means = statistics.fmean(first) - statistics.fmean(second)
    if min(len(first), len(second)) < 2:
        return f"{means:+.4f}"
    errors = [statistics.variance(values) / len(values) for values in (first, second)]  # squared
    if not sum(errors):
        return f"{means:+.4f}"
    degrees = sum(errors) ** 2 / sum(
        e**2 / (len(v) - 1) for e, v in zip(errors, (first, second), strict=True)
    )
    half = float(t.ppf(0.975, degrees)) * math.sqrt(sum(errors))
    return f"{means:+.4f} ({means - half:+.4f} to {means + half:+.4f})"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
