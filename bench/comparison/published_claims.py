"""What the rows of a published table, and nothing else, say about its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.comparison.congruence import MeasuredCongruence
from bench.comparison.published_table import PublishedRow
from bench.errors import ConfigError
from bench.evidence.printed import (
    Relation,
    against_harmonic_mean,
    attainable,
    nearest_hits,
    smallest_size,
)
from bench.evidence.published import (
    Bounds,
    congruence_of,
    false_claim,
    false_claim_bounds,
    possible_congruence,
)

DEFAULT_OVERLAP = 0.5
"""Where nothing was measured: halfway between methods whose errors are independent and a worse method that is
right on no image that the better one gets wrong. For accuracies of 0.7877 and 0.7819 that is a congruence of
0.70."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That of two rows the one with the higher accuracy is more accurate.

    Attributes:
        points: by how many percentage points the row that is compared with stands above this one.
        congruence: the share of images that both are taken to predict right.
        moved: whether it had to be moved, because the two accuracies do not allow the one that was asked for.
        false: probability that the claim is false.
        any_congruence: the smallest and the largest such probability under any congruence that is possible.
    """

    points: float
    congruence: float
    moved: bool
    false: float
    any_congruence: Bounds


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """A printed accuracy and the nearest that n images have.

    Attributes:
        attainable: whether `hits / images` rounds to the printed value.
        hits: images.
        images: of all rounds together.
    """

    attainable: bool
    hits: int
    images: int


@dataclass(frozen=True, kw_only=True)
class CheckedRow:
    """One row with what follows from it.

    Attributes:
        row: as published.
        claim: against the row that is compared with; None for that row itself, without an accuracy, and where
            the number of test images is not known.
        granularity: None without an accuracy or a number of test images.
        f1: by column, how F1 stands to the harmonic mean of precision and recall.
    """

    row: PublishedRow
    claim: Claim | None
    granularity: Granularity | None
    f1: Mapping[str, Relation]


@dataclass(frozen=True, kw_only=True)
class CheckedDataset:
    """The rows of one data set, from the highest accuracy to the lowest, those without one last.

    Attributes:
        dataset: its name.
        images: in the test set of a round; None if that was not said.
        rounds: over which the accuracies are means.
        compared: the row that is compared with the others; None where no row has an accuracy.
        measured: congruences of our own runs.
        rows: all rows.
        smallest: the fewest test images a round with which all accuracies are attainable; None beyond 10,000
            and without accuracies.
    """

    dataset: str
    images: int | None
    rounds: int
    compared: PublishedRow | None
    measured: MeasuredCongruence | None
    rows: tuple[CheckedRow, ...]
    smallest: int | None


def check_dataset(
    rows: Sequence[PublishedRow],
    *,
    images: int | None,
    rounds: int = 1,
    method: str = "",
    congruence: float | None = None,
    measured: MeasuredCongruence | None = None,
) -> CheckedDataset:
    """Check the rows of one data set, at least one.

    `method` is the row to compare with, by default the best. `congruence` holds for every pair as far as it
    is possible; without it, every pair gets the congruence at its two accuracies that has the median overlap
    of what was `measured`, or the default one. Raises ConfigError if two rows have the name `method`.
    """
    ranked = sorted(rows, key=lambda row: (-(-1 if row.accuracy is None else row.accuracy), row.line))
    compared = _compared(ranked, method)
    overlap = measured.median_overlap if measured else DEFAULT_OVERLAP
    total = images * rounds if images else None
    checked = [
        CheckedRow(
            row=row,
            claim=_claim(compared, row, total, congruence, overlap) if compared and total else None,
            granularity=_granularity(row, total) if total else None,
            f1={name: against_harmonic_mean(*values) for name, values in row.f1.items()},
        )
        for row in ranked
    ]
    accuracies = [row.accuracy for row in rows if row.accuracy is not None]
    return CheckedDataset(
        dataset=ranked[0].dataset,
        images=images,
        rounds=rounds,
        compared=compared,
        measured=measured,
        rows=tuple(checked),
        smallest=smallest_size(accuracies, rounds) if accuracies else None,
    )


def _compared(ranked: Sequence[PublishedRow], method: str) -> PublishedRow | None:
    found = [row for row in ranked if row.accuracy is not None and method in ("", row.model)]
    if method and len(found) > 1:
        lines = " and ".join(str(row.line) for row in found)
        raise ConfigError(
            f"--method {method!r}: lines {lines} have that name; rename all but one in the file"
        )
    return found[0] if found else None


def _claim(
    compared: PublishedRow, row: PublishedRow, images: int, congruence: float | None, overlap: float
) -> Claim | None:
    if row is compared or row.accuracy is None or compared.accuracy is None:
        return None
    better, worse = sorted((float(compared.accuracy), float(row.accuracy)), reverse=True)
    low, high = possible_congruence(better, worse)
    asked = congruence_of(better, worse, overlap) if congruence is None else congruence
    used = min(high, max(low, asked))
    return Claim(
        points=float(100 * (compared.accuracy - row.accuracy)),
        congruence=used,
        moved=congruence is not None and abs(used - congruence) > 1e-9,
        false=false_claim(better, worse, images, used),
        any_congruence=false_claim_bounds(better, worse, images),
    )


def _granularity(row: PublishedRow, images: int) -> Granularity | None:
    if (accuracy := row.accuracy) is None:
        return None
    hits = nearest_hits(accuracy, images)
    return Granularity(attainable=attainable(accuracy, images), hits=hits, images=images)
