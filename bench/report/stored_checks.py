"""What files of the results folder say of a data set: audits, split manifests, pools. Each is read by itself,
so that one which is gone or damaged is named and the others are told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.data.audit.audit import Audit, read_audit, stored_counts
from bench.data.images.index import first_few
from bench.data.splits.manifest import read_named
from bench.data.splits.pool import load_pool
from bench.data.splits.split import OUT, Split
from bench.errors import BenchError
from bench.manuscript.facts import Comparison, distinct
from bench.manuscript.links import manifest_of
from bench.parsing import brief
from bench.report.grids import Grid

PAIRS = 6  # of images that are listed
LINE = 240  # characters of a sentence that names images


class Stored(NamedTuple):
    """What was read of one data set.

    Attributes:
        problems: files that are gone or damaged.
        notes: of splits and audits, a sentence each.
        counts: the figures of the audits.
        probes: what tells the class without the picture.
        shortcuts: those probes that do, a sentence each.
        pairs: duplicates that carry two labels, and what a person has to decide about.
        pools: what pretrainings saw beside the training images.
    """

    problems: Sequence[str]
    notes: Sequence[str]
    counts: Sequence[Grid]
    probes: Sequence[Grid]
    shortcuts: Sequence[str]
    pairs: Sequence[str]
    pools: Sequence[str]


def stored_checks(comparison: Comparison) -> Stored:
    """Of the data set of these units. What cannot be read is among its problems."""
    problems: list[str] = []
    splits = list(_splits(comparison, problems))
    audits = list(_audits(comparison, problems))
    probes = [(audit, probe) for audit, _ in audits for probe in audit.probes]
    return Stored(
        notes=[*_split_notes(splits), *(note for audit, _ in audits for note in audit.notes)],
        counts=[_counts(audit, counts) for audit, counts in audits if counts],
        probes=[_probes(audit) for audit, _ in audits if audit.probes],
        shortcuts=distinct(f"{probe.text}." for _, probe in probes if probe.beats),
        pairs=distinct(text for audit, _ in audits for text in _pairs(audit, splits, comparison)),
        pools=list(_pools(comparison, problems)),
        problems=problems,
    )


def _splits(comparison: Comparison, problems: list[str]) -> Iterator[Split]:
    for number, hash_ in sorted({(r.spec.round, r.spec.split) for r in comparison.evaluated}):
        path = manifest_of(comparison, hash_)
        if path is None:
            problems.append(
                f"The split manifest {hash_[:8]} of round {number} is not among these results, so which "
                "images it has is not known here."
            )
            continue
        try:
            yield read_named(path)
        except BenchError as error:
            problems.append(f"The split manifest of round {number} cannot be used: {_local(error, path)}.")


def _audits(comparison: Comparison, problems: list[str]) -> Iterator[tuple[Audit, dict[str, int]]]:
    folder = comparison.results / "audits" / comparison.dataset.name
    for name in distinct(data.audit.audit for data in comparison.data.values() if data.audit):
        path = next(iter(sorted(folder.glob(f"*.{name}.json"))), None)
        if path is None:
            problems.append(
                f"The audit {name[:8]} is not among these results: what it found beyond what is said here "
                "is not known."
            )
            continue
        try:
            yield read_audit(path), stored_counts(path)
        except BenchError as error:
            problems.append(f"The audit {name[:8]} cannot be used: {_local(error, path)}.")


def _local(error: BenchError, path: Path) -> str:
    """A message without the folder of the file, which is of this machine."""
    return brief(str(error).replace(f"{path.parent}/", ""), LINE)


def _split_notes(splits: Sequence[Split]) -> Iterator[str]:
    """Notes of the splits, each once with the rounds it is about; and how many images are in no part."""
    rounds: dict[str, list[int]] = defaultdict(list)
    for split in splits:
        left_out = split.parts.count(OUT)
        notes = split.notes or ([f"{left_out} images are in no part"] if left_out else [])
        for note in notes:
            rounds[note].append(split.round)
    for note, of in rounds.items():
        several = "s" * (len(of) > 1)
        where = "" if len(of) == len(splits) else f" (round{several} {', '.join(map(str, of))})"
        yield f"{note[:1].upper()}{note[1:]}{where}."


def _counts(audit: Audit, counts: dict[str, int]) -> Grid:
    rows = [[what, f"{count:,}"] for what, count in counts.items()]
    return Grid(f"What audit {audit.hash[:8]} counted", ["", "Number"], rows)


def _probes(audit: Audit) -> Grid:
    heads = [
        "A classifier that sees only",
        "Accuracy",
        "95 % interval",
        "Majority class",
        "Balanced accuracy",
        "Tells the class",
    ]
    rows = [
        [
            probe.sees,
            f"{probe.accuracy:.3f}",
            f"{probe.low:.3f} to {probe.high:.3f}",
            f"{probe.majority:.3f}",
            f"{probe.balanced:.3f}",
            "yes" if probe.beats else "no",
        ]
        for probe in audit.probes
    ]
    return Grid(
        "Whether something else than the picture tells the class, tested on other groups", heads, rows
    )


def _pairs(audit: Audit, splits: Sequence[Split], comparison: Comparison) -> Iterator[str]:
    """Pairs of duplicates with two labels, the most similar first; suspected pairs, if some are undecided."""
    labels = {id_: label for split in splits for id_, label in zip(split.ids, split.labels, strict=True)}
    known = [d for d in audit.duplicates if d.first in labels and d.second in labels]
    across = [d for d in known if labels[d.first] != labels[d.second]]
    if across:
        ranked = sorted(across, key=lambda d: (-d.similarity, d.first, d.second))
        one = len(ranked) == 1
        yield (
            f"{len(ranked)} pair{'' if one else 's'} of duplicates carr{'ies' if one else 'y'} two labels, "
            f"of which at least one is wrong: {_listed(f'{d.first} = {d.second}' for d in ranked)}."
        )
    verdicts = [data.audit for data in comparison.data.values() if data.audit]
    undecided = max((v.suspects for v in verdicts if v.audit == audit.hash), default=0)
    if undecided:
        yield (
            f"Pairs that are alike, but not enough for a duplicate, {undecided} of them undecided: "
            f"{_listed(f'{s.first} ~ {s.second}' for s in audit.suspects)}."
        )


def _listed(pairs: Iterable[str]) -> str:
    return first_few([brief(pair, LINE // 2) for pair in pairs], PAIRS)


def _pools(comparison: Comparison, problems: list[str]) -> Iterator[str]:
    rounds: dict[str, list[int]] = defaultdict(list)
    frozen = {(s.round, s.split, s.left_out) for s in comparison.starts if s.left_out}
    for number, split, hash_ in sorted(frozen):
        try:
            pool = load_pool(comparison.results, comparison.dataset.name, split, hash_)
            rounds[brief(pool.text, 2 * LINE)].append(number)
        except BenchError as error:
            folder = comparison.results / "pools" / comparison.dataset.name
            problems.append(
                f"What round {number} saw of its pool is not known: {_local(error, folder / '_')}."
            )
    for text, numbers in rounds.items():
        yield f"Round{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}: {text}."
