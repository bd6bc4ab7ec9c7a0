"""What a planned study can show, from its frozen splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.comparison.footer import LEAST
from bench.data.audit.clusters import join_groups
from bench.data.splits.split import Split, draw_split
from bench.errors import SplitError
from bench.evidence.design import MOST_FOLDS, Design, power, smallest_difference
from bench.evidence.forecast import Concentration, Noise, assumed, concentration, planned

if TYPE_CHECKING:
    from bench.comparison.noise import Measured
    from bench.data.audit.audit import Audit
    from bench.data.images.images import Images

ASSUMED = (0.1, 0.2)
"""Shares of the images on which two methods disagree, for want of a measurement: what methods of one kind
do on data sets of this size."""


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What R rounds of one data set test on.

    Attributes:
        rounds: R.
        groups: how the test images fall on groups.
        overlap: test images per training image; 0 where all rounds have the same test images.
        trained: share of all images that one training sees.
        images: that could be tested, all parts together; where all rounds test the same, these.
        classes: of the test images.
        folds: how many the split makes, of which each round tests one; 0 for none.
        fixed: whether the data set itself fixes the test images.
    """

    rounds: int
    groups: Concentration
    overlap: float
    trained: float
    images: int
    classes: int
    folds: int
    fixed: bool

    def design(self, noise: Noise, difference: float) -> Design:
        """Of two methods that vary so, whose accuracies differ by so much; with at least as many rounds as a
        verdict needs."""
        rounds = max(LEAST, self.rounds)
        return planned(self.groups, noise.at(difference), rounds, self.overlap, self.classes, self.folds)

    def smallest(self, noise: Noise) -> float:
        """Difference that is found with a power of 80 %; nan if there is none."""
        return smallest_difference(lambda difference: self.design(noise, difference))


class Case(NamedTuple):
    """What a study can show if methods vary in one way; one of at least three rounds.

    Attributes:
        noise: how they vary.
        power: probability that the difference asked about is found.
        smallest: difference that is found with a power of 80 %; nan if there is none.
        design: at the difference asked about.
        folds: the smallest such difference with as many folds; None where they are no alternative.
    """

    noise: Noise
    power: float
    smallest: float
    design: Design
    folds: float | None


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """Of one data set in a planned study.

    Attributes:
        dataset: name.
        difference: asked about, 0..1.
        tested: the images.
        folds: those of as many folds; None where they are no alternative.
        cases: one where methods were measured, else one an assumption.
        measured: what the case rests on; None for assumptions.
    """

    dataset: str
    difference: float
    tested: Tested
    folds: Tested | None
    cases: tuple[Case, ...]
    measured: Measured | None

    @property
    def tighter(self) -> bool:
        """Whether as many folds would show smaller differences, however methods vary."""
        return all(case.folds is not None and not case.folds > 0.98 * case.smallest for case in self.cases)


def foresee(
    splits: Sequence[Split],
    images: Images,
    audit: Audit,
    difference: float,
    found: Measured | None,
    redraw: bool = True,
) -> Foreseen:
    """What the rounds of one data set can show of a true difference between two accuracies.

    `redraw` is whether its splits could be drawn in another way, unless the data set fixes them.
    """
    fixed = any(images.parts)
    tested = _tested(splits, audit, fixed)
    may_redraw = redraw and not fixed and splits[0].settings.method == "holdout"
    folds = _folds(splits, images, audit) if may_redraw else None
    noises = [found.noise] if found else [assumed(share) for share in ASSUMED]
    return Foreseen(
        dataset=splits[0].dataset,
        difference=difference,
        tested=tested,
        folds=folds,
        cases=tuple(_case(noise, tested, folds, difference) for noise in noises),
        measured=found,
    )


def _case(noise: Noise, tested: Tested, folds: Tested | None, difference: float) -> Case:
    design = tested.design(noise, difference)
    return Case(
        noise=noise,
        power=power(design, difference),
        smallest=tested.smallest(noise),
        design=design,
        folds=folds.smallest(noise) if folds else None,
    )


def _tested(splits: Sequence[Split], audit: Audit, fixed: bool) -> Tested:
    """Groups are those of the splits, joined where the audit finds duplicates."""
    settings = splits[0].settings
    groups = [join_groups(split.groups, audit.clusters(split.ids)) for split in splits]
    names = {name: i for i, name in enumerate(sorted(set().union(*groups)))}
    rows = [split.indices("test") for split in splits]
    numbers = [np.array([names[group] for group in own]) for own in groups]
    counts = [np.bincount(own[test], minlength=len(names)) for own, test in zip(numbers, rows, strict=True)]
    shares = np.array([count / count.sum() for count in counts])
    parts = [np.array(split.parts) for split in splits]
    testable = np.isin(parts[0], ("train", "val", "test"))
    everywhere = np.bincount(numbers[0][testable], minlength=len(names)) / testable.sum()
    same = len(splits) > 1 and len({frozenset(test.tolist()) for test in rows}) == 1
    trained = np.array([np.mean(part == "train") for part in parts])
    sizes = np.array([np.mean(part == "test") for part in parts])
    return Tested(
        rounds=len(splits),
        groups=concentration(shares, None if fixed else everywhere),
        overlap=0.0 if same or fixed else float((sizes / trained).mean()),
        trained=float(trained.mean()),
        images=len(rows[0]) if same or fixed else int(testable.sum()),
        classes=len(set(np.array(splits[0].labels)[rows[0]])),
        folds=settings.folds if settings.method == "kfold" and not fixed else 0,
        fixed=same or fixed,
    )


def _folds(splits: Sequence[Split], images: Images, audit: Audit) -> Tested | None:
    """As many folds as there are rounds; None where that is no study, or the images do not suffice."""
    count = len(splits)
    if not LEAST <= count <= MOST_FOLDS:
        return None
    settings = replace(splits[0].settings, method="kfold", folds=count)
    try:
        drawn = [draw_split(images, settings, number, splits[0].seed, audit) for number in range(count)]
    except SplitError:
        return None
    return _tested(drawn, audit, fixed=False)
