"""What an image-level split adds: `python -m benchmarks.leakage --data DIR`, from the source tree's root.

The same protocol on the same images under three splits: the default one, which keeps together what the audit
finds and a person decided; one by perceptual hashes alone, which miss the same picture at another crop; and
the naive one, image by image. What is done is kept, so the command can be interrupted and repeated. The
accuracies over all test images, and over those that have a duplicate somewhere in the data set, go to
results/<hardware>/<data set>-leakage.md. Duplicates are those of the default split, for all three; images
whose duplicates carry another label are left out of all accuracies, because that split never tests on them.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter
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


class Drawn(NamedTuple):
    """How a split is drawn."""

    label: str
    values: tuple[tuple[str, object], ...]


SPLITS = {
    "audited": Drawn("duplicates on one side", ()),
    "hashes": Drawn(
        "by hashes alone", (("protocol.audit.keypoints", False), ("dataset.{dataset}.groups", "none"))
    ),
    "none": Drawn("image by image", (("protocol.split.groups", "none"),)),
}


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
    """Run all splits and write what those that leak add."""
    rounds_of: dict[str, list[Round]] = {}
    shown: dict[str, Estimate] = {}
    known: dict[str, str] = {}
    for name, drawn in SPLITS.items():
        own = {key.format(dataset=dataset): value for key, value in drawn.values}
        values = {"protocol.finetune.epochs": epochs, **own}
        study = Study.from_names(dataset, strategy, protocol=protocol, rounds=rounds, values=values)
        planned = plan(study, local_environment(data or None, work / name, threads=threads), print_progress)
        known = known or groups_of(planned)
        if failed := [outcome for outcome in run(planned, report=print_progress) if outcome.status != "done"]:
            raise BenchError(f"{failed[0].unit.label}: {failed[0].reason}")
        stored = load_results(work / name)
        rounds_of[name] = read_rounds(planned, stored, known)
        [table] = tables(stored, "accuracy")
        shown[name] = table.rows[0].values["accuracy"]
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


def groups_of(planned: Plan) -> dict[str, str]:
    """The group of every image in the splits of a study, duplicates joined, by id."""
    split = next(iter(planned.splits.values()))
    return dict(zip(split.ids, split.groups, strict=True))


def read_rounds(planned: Plan, stored: Results, known: Mapping[str, str]) -> list[Round]:
    """The rounds of one split, in order. `known` is the group of every image, by id."""
    (dataset,) = planned.study.datasets
    split = next(iter(planned.splits.values()))
    labels_of: dict[str, set[str]] = {}
    for id_, label in zip(split.ids, split.labels, strict=True):
        labels_of.setdefault(known.get(id_, id_), set()).add(label)
    sizes = Counter(known.values())
    duplicated = {id_ for id_, group in known.items() if sizes[group] > 1 and len(labels_of[group]) == 1}
    conflicting = {id_ for id_, group in known.items() if len(labels_of[group]) > 1}
    test = stored.predictions[stored.predictions["part"] == "test"]
    rounds = []
    for unit in planned.units:
        if isinstance(unit, RunSpec):
            split = planned.splits[dataset, unit.round]
            leaked = exposed(dict(zip(split.ids, split.parts, strict=True)), known)
            rounds.append(judge(test[test["key"] == unit.key], duplicated, conflicting, leaked))
    return rounds


def exposed(parts: Mapping[str, str], known: Mapping[str, str]) -> int:
    """Validation and test images that have a group mate in another part, given part and group by id."""
    found: dict[str, set[str]] = {}
    for id_, part in parts.items():
        if part != "out":
            found.setdefault(known.get(id_, id_), set()).add(part)
    return sum(part in ("val", "test") and len(found[known.get(id_, id_)]) > 1 for id_, part in parts.items())


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
    """The table for readers. `rounds_of` has the rounds by the names of SPLITS, `shown` what `bench table`
    says of the accuracy over all test images."""
    lines = [f"# What an image-level split adds on {dataset}", "", "```console"]
    for drawn in SPLITS.values():
        own = [f" --set {key.format(dataset=dataset)}={str(value).lower()}" for key, value in drawn.values]
        lines.append(f"$ {command}{''.join(own)}")
    lines += ["```", ""]
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
    for name, rounds in rounds_of.items():
        sizes = [[r.tested for r in rounds], [r.leaked for r in rounds]]
        cells = [f"{statistics.fmean(counts):.1f}" for counts in sizes]
        cells += [spread(values) for values in accuracies(rounds)]
        lines.append(f"| {SPLITS[name].label} | {len(rounds)} | {' | '.join(cells)} |")
    grouped = accuracies(rounds_of["audited"])
    for name in rounds_of:
        if name != "audited":
            others = accuracies(rounds_of[name])
            gains = [difference(a, b) for a, b in zip(others, grouped, strict=True)]
            what = f"{SPLITS[name].label}, difference (95 % interval)"
            lines.append(f"| {what} | | | | {' | '.join(gains)} |")
    lines += ["", "The accuracy over all test images, with the 95 % interval of `bench table`:", ""]
    lines += ["| split | accuracy | 95 % interval |", "| --- | ---: | ---: |"]
    for name, value in shown.items():
        ends = "-" if value.low is None else f"{value.low:.3f} to {value.high:.3f}"
        lines.append(f"| {SPLITS[name].label} | {value.mean:.4f} | {ends} |")
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
