"""What methods find hard, in words: for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bench.comparison.hard_images import HardImages, ImageVotes
from bench.data.images.index import first_few
from bench.text import one_line

NAME = 60  # characters of an image's id that are shown
CLASS = 40  # of a class's name

RULE = (
    "Every prediction is by a model that did not train on the image. Confidence is the mean probability of "
    "a wrong class over all predictions of an image, each of which counts the same. Disagreement is the "
    "share of pairs of methods that predict different classes in one round, where both have trained on the "
    "same images: 0 if all agree."
)


class Headline(NamedTuple):
    """Of one list: its title, and how to read it."""

    title: str
    about: str


def headlines(found: HardImages) -> tuple[Headline, Headline, Headline]:
    """Of the images that no method ever gets right, of the confident errors, and of the disagreed."""
    of = f"of {len(found.tested):,} images tested at least once"
    several = len(found.methods) > 1
    every = "every method, in every round," if several else f"{found.methods[0]}, in every round,"
    together = "all predictions together" if several else "its predictions together"
    return (
        Headline(
            f"Wrong by {every[:-1]}: {len(found.never_right):,} {of}",
            "First those that most methods were tested on in most rounds.",
        ),
        Headline(
            f"Wrong by {together}: {len(found.confident_errors):,} {of}",
            "First those of whose wrong class the methods are surest.",
        ),
        Headline(
            f"Methods disagree on {len(found.disagreed):,} {of}",
            "First those on which most pairs of methods disagree."
            if several
            else "There is one method, so nothing to disagree with.",
        ),
    )


def coverage(found: HardImages) -> list[str]:
    """What the lists rest on, and what they do not say, a sentence each."""
    return list(_coverage(found))


def _coverage(found: HardImages) -> Iterator[str]:
    rounds = f"{len(found.rounds)} round{'s' * (len(found.rounds) != 1)}"
    methods = f"{len(found.methods)} method{'s' * (len(found.methods) != 1)}"
    yield f"Predictions of {methods} in {rounds} ({first_few(found.methods, 6)})."
    if (never := found.images - len(found.tested)) > 0:
        yield f"{never:,} of {found.images:,} images are in no test part, so nothing is known of them."
    if found.ensembles:
        have = "have" if len(found.ensembles) > 1 else "has"
        yield (
            f"{first_few(found.ensembles, 4)} {have} no vote, because an ensemble says what its members say; "
            "what it gets wrong is listed by method."
        )


def short_name(id_: str) -> str:
    """An image's id on one line, its middle left out where it is long."""
    text = one_line(id_)
    return text if len(text) <= NAME else f"{text[: NAME - 23]}...{text[-20:]}"


def name_of(class_: str) -> str:
    """A class's name on one line, cut where it is long."""
    text = one_line(class_)
    return text if len(text) <= CLASS else f"{text[: CLASS - 3]}..."


def predicted(one: ImageVotes) -> str:
    """ "benign by 12 of 15, normal by 3"."""
    (first, count), *others = one.votes
    text = f"{name_of(first)} by {count} of {one.predictions}"
    return text + "".join(f", {name_of(name)} by {number}" for name, number in others)
