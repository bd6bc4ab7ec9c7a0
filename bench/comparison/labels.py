"""Of how many training images the rows of a table had labels."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.comparison.scored import ScoredUnit
from bench.study.spec import share_of


def labelled_images(group: Sequence[ScoredUnit]) -> float | None:
    """Training images whose labels fine-tuning used, of units with one share, as a mean over rounds; None
    where no record says."""
    by_round: dict[int, int] = {}
    for unit in group:
        counts = unit.labelled if unit.labelled is not None else unit.counts.get("train")
        if counts and unit.spec.kind != "pretrain":
            by_round[unit.spec.round] = sum(images for images, *_ in counts.values())
    return statistics.fmean(by_round.values()) if by_round else None


def percent(share: float) -> str:
    """A share from 0 to 1 as a percentage, with all of its digits."""
    return f"{100 * share:.10g} %"


def labels_text(group: Sequence[ScoredUnit]) -> str:
    """What a table's rows say of their labels: "10 % of the labels (54 images)"; empty for all of them."""
    shares = sorted({share_of(unit.spec) for unit in group if unit.spec.kind != "pretrain"})
    if shares in ([], [1.0]):
        return ""
    if len(shares) > 1:
        return f"{percent(shares[0])} to {percent(shares[-1])} of the labels"
    count = labelled_images(group)
    return f"{percent(shares[0])} of the labels" + (f" ({count:.4g} images)" if count is not None else "")
