"""The variance of a difference of accuracies in a study that is only planned.

Its images' part follows from the splits. Let s_rg be the share that group g has of the test images of round
r, and m the mean square of what an image contributes to the difference: 1 where exactly one of two methods is
right, so that m is how often two methods disagree. Where images of a group count as one, in the terms of
`design`,

    one_round = m  mean_r sum_g s_rg^2
    shared    = m' mean_r<q sum_g s_rg s_qg      m' <= m: the part of m that comes back in another round

With m' = m, the images' part is m sum_g c_g^2, where c_g is the mean over rounds of s_rg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, NamedTuple

from bench.evidence.design import Design, Parts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENOUGH = 5  # rounds that can tell how far an image contributes the same in several of them


class Concentration(NamedTuple):
    """On how few groups the test images of R rounds fall; 1 / n where n groups have equal shares.

    Attributes:
        one_round: mean over rounds of the sum of squared shares.
        shared: mean over pairs of rounds of the sum of products of shares.
        groups: that any round tests on.
    """

    one_round: float
    shared: float
    groups: int


def concentration(
    shares: NDArray[np.float64], all_images: NDArray[np.float64] | None = None
) -> Concentration:
    """Of shares (R, G), which sum to 1 in every round. What a single round would share with another one
    follows from `all_images` (G,), the shares in all images that could be tested; without, every round has
    the same test images."""
    count, mean = len(shares), shares.mean(axis=0)
    one_round, all_rounds = float((shares**2).sum(axis=1).mean()), float((mean**2).sum())
    if count > 1:
        shared = max(0.0, (count * all_rounds - one_round) / (count - 1))
    else:
        shared = one_round if all_images is None else float((all_images**2).sum())
    return Concentration(one_round, shared, int((mean > 0).sum()))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What the predictions of two methods vary by, whatever the splits.

    Attributes:
        disagreement: share of the images on which exactly one of them is right.
        one_round: mean square of what an image contributes in one round: `disagreement` where images of a
            group are alike, less where they are not.
        shared: the part of it that comes back when the image is tested on in another round.
        excess: variance of rounds by training set and seed.
    """

    disagreement: float
    one_round: float
    shared: float
    excess: float

    def at(self, difference: float) -> Noise:
        """The same where accuracies differ by so much, for which they must disagree at least as often."""
        scale = max(1.0, difference / self.disagreement)
        return replace(
            self,
            disagreement=self.disagreement * scale,
            one_round=self.one_round * scale,
            shared=self.shared * scale,
        )


def assumed(disagreement: float) -> Noise:
    """Where nothing was measured: images of a group alike, an image the same in all rounds, and training that
    adds nothing."""
    return Noise(disagreement=disagreement, one_round=disagreement, shared=disagreement, excess=0.0)


def noise_of(parts: Parts, tested: Concentration, disagreement: float) -> Noise:
    """Of two methods whose difference was measured on these test images; `shared` and `excess` are estimates
    that may be negative. Of rounds that share no image, nothing is known of one in another round."""
    one_round = parts.one_round / tested.one_round
    shared = parts.shared / tested.shared if tested.shared > 0 else one_round
    return Noise(disagreement=disagreement, one_round=one_round, shared=shared, excess=parts.excess)


def typical(noises: Sequence[Noise], rounds: int) -> Noise:
    """Of two methods such as these, measured over so many rounds: medians, but the mean of `excess`, whose
    estimates from few rounds are so skewed that in half of the pairs there is none. Under `ENOUGH` rounds
    hardly any image is tested on twice, and so one counts as the same in all rounds."""
    one_round = median(each.one_round for each in noises)
    shared = median(each.shared for each in noises)
    return Noise(
        disagreement=median(each.disagreement for each in noises),
        one_round=one_round,
        shared=min(max(0.0, shared), one_round) if rounds >= ENOUGH else one_round,
        excess=max(0.0, fmean(each.excess for each in noises)),
    )


def planned(
    tested: Concentration, noise: Noise, rounds: int, overlap: float, classes: int, folds: int = 0
) -> Design:
    """A study with these test images, of so many classes, whose methods vary by `noise`."""
    return Design(
        rounds=rounds,
        one_round=noise.one_round * tested.one_round,
        shared=noise.shared * tested.shared,
        excess=noise.excess,
        overlap=overlap,
        df=max(1, tested.groups - classes),
        folds=folds,
    )
