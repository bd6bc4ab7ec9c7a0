"""What the pictures and numbers of an explanation are, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.explain.guides import Guide
from bench.explain.looks import LABELLED, PREDICTED
from bench.explain.measures import AREA, CORRELATION, GUIDE_INSIDE, INSIDE, POINTING, RANDOM_HEAD

CAUTION = (
    "A map is no proof of what a network uses. Maps can look convincing for networks that have learnt "
    "nothing, and one that lies on the lesion does not show that the decision rests on it (Adebayo et al., "
    "Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv:1810.03292). --random-head compares each map with "
    "that of a classifier of random weights."
)
ENSEMBLE = (
    "The map of an ensemble is the mean of its members' maps for the ensemble's class, each weighted by how "
    "much the ensemble's probability of that class rises with the member's: for a mean of probabilities, "
    "equally."
)


def picture_texts(guides: Sequence[Guide], of: str, with_pictures: bool, has_ensemble: bool) -> Iterator[str]:
    """What is shown of each image, a sentence or two each."""
    if with_pictures:
        yield (
            "Original: the test image as networks are evaluated on it, resized and its centre cut out. The "
            "red outline is the mask that comes with the data set, where the image has one."
        )
    for guide in guides:
        yield (
            f"{guide.caption[:1].upper()}{guide.caption[1:]}: what {guide.method} goes by, one value for "
            "each patch. All images on this page share its scale of colours."
        )
    if with_pictures:
        yield (
            "Input and reconstruction of a pretraining: what its encoder is given, and what its decoder "
            "makes of that where the input was corrupted; the rest is the image itself. Pixels that noise "
            "drove beyond black or white are cut off for display. Random numbers are drawn from the image's "
            "name, so methods that draw alike show the same noise."
        )
    yield (
        f"Maps: which parts of the image speak for {_class_text(of)} in the fine-tuned network, by Grad-CAM "
        "(Selvaraju et al., ICCV 2017) on the last features before pooling. Each map has its own scale, "
        "from nothing to its maximum. It has as few cells as these features have and is smoothed for "
        "display, so it is never sharper than a cell."
    )
    if has_ensemble:
        yield ENSEMBLE
    yield CAUTION


def _class_text(of: str) -> str:
    known = {PREDICTED: "the class that the method predicts", LABELLED: "the image's own class"}
    return known.get(of, f"the class {of}")


def headings(names: Sequence[str], guides: Sequence[Guide]) -> Mapping[str, str]:
    """Number -> the heading of its column, of those that a method has (those of images are sentences)."""
    known = {
        **{f"{CORRELATION}.{g.method}": f"correlation with {_short(g, guides)}" for g in guides},
        INSIDE: "map inside the mask",
        POINTING: "highest point inside",
        RANDOM_HEAD: "correlation with random head",
    }
    return {name: heading for name, heading in known.items() if name in names}


def _short(guide: Guide, guides: Sequence[Guide]) -> str:
    return guide.caption if len(guides) == 1 else f"{guide.caption} ({guide.method})"


def number_texts(names: Sequence[str], guides: Sequence[Guide], of: str) -> Iterator[str]:
    """What each number is, a sentence each."""
    if any(name.startswith(f"{CORRELATION}.") for name in names):
        what = " or ".join(_short(guide, guides) for guide in guides)
        yield (
            f"correlation with {what}: Spearman's rank correlation within an image, patch by patch, of the "
            f"map for {_class_text(of)} with the {what}. 1: the map is highest where that is; 0: no relation."
        )
    if INSIDE in names:
        yield (
            "map inside the mask: the share of the map that lies inside; a map without any preference has "
            "the mask's share of the image. highest point inside: the share of images whose map is highest "
            "inside the mask (pointing game). Images without a mask, or with an empty one, do not count."
        )
    if RANDOM_HEAD in names:
        yield (
            "correlation with random head: of the map with the one that the same features give with a "
            "classifier of random weights; near 1, the map hardly depends on what the classifier learnt."
        )
    yield (
        "Means over images and rounds with 95 % intervals; groups of images (patients, lesions, duplicates) "
        "are resampled. An image whose map is 0 everywhere does not count. In parentheses: on how many "
        "images a number is defined, where not on all."
    )


def image_numbers(names: Sequence[str], guides: Sequence[Guide]) -> Mapping[str, str]:
    """Number of the images themselves -> what it is."""
    known = {
        AREA: "share of an image that its mask covers",
        **{
            f"{GUIDE_INSIDE}.{g.method}": f"probability that {_short(g, guides)} is higher in a patch of the "
            "mask than in one outside, within an image (0.5: no difference)"
            for g in guides
        },
    }
    return {name: text for name, text in known.items() if name in names}
