"""What methods find hard, in words: for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.comparison.hard_images import HardImages, ImageVotes
from bench.data.images.index import first_few
from bench.text import one_line

NAME = 60  # characters of an image's id that are shown
CLASS = 40  # of a class's name

RULE = (
    "Every prediction is by a model that did not train on the image. Probabilities are means over all "
    "predictions of an image, each of which counts the same.",
    "Disagreement is the share of pairs of methods that predict different classes in one round, where both "
    "have trained on the same images: 0 if all agree.",
)


class Headline(NamedTuple):
    """Of one list: its title, how to read it, and what it is sorted by: in a word, and of an image."""

    title: str
    about: str
    sorted_by: str
    measure: Callable[[ImageVotes], str]


def headlines(found: HardImages) -> tuple[Headline, Headline, Headline]:
    """Of the images that no method ever gets right, of the confident errors, and of the disagreed."""
    of = f"of {len(found.tested):,} images tested at least once"
    several = len(found.methods) > 1
    return (
        Headline(
            f"Never right: {len(found.never_right):,} {of}",
            f"Wrong by {'every method' if several else found.methods[0]} in every round. Those that "
            "most methods were tested on, in most rounds, come first.",
            "rounds, mean probabilities",
            lambda one: f"{_rounds(one.rounds)}{_by_some(one, found)}, {_sure(one)}",
        ),
        Headline(
            f"Most confident errors: {len(found.confident_errors):,} {of}",
            "Wrong by all predictions together. Those of whose wrong class these are surest come first.",
            "mean probabilities",
            _sure,
        ),
        Headline(
            f"Most disagreed: {len(found.disagreed):,} {of}",
            "Those on which most pairs of methods disagree come first."
            if several
            else "There is one method, so nothing to disagree with.",
            "disagreement",
            lambda one: f"disagreement {one.disagreement:.2f} in {_rounds(one.rounds)}",
        ),
    )


def _sure(one: ImageVotes) -> str:
    return f"{name_of(one.wrong)} {one.confidence:.2f}, {name_of(one.given)} {one.self_confidence:.2f}"


def _rounds(count: int) -> str:
    return f"{count} round{'s' * (count != 1)}"


def _by_some(one: ImageVotes, found: HardImages) -> str:
    """Where not all methods were tested on it."""
    count, of = len(one.methods), len(found.methods)
    return f" by {count} of {of} methods" if count < of else ""


def coverage(found: HardImages) -> list[str]:
    """What the lists rest on, and what they do not say, a sentence each."""
    return list(_coverage(found))


def _coverage(found: HardImages) -> Iterator[str]:
    methods = f"{len(found.methods)} method{'s' * (len(found.methods) != 1)}"
    yield f"Predictions of {methods} in {_rounds(len(found.rounds))} ({first_few(found.methods, 6)})."
    if (never := found.images - len(found.tested)) > 0:
        yield f"{never:,} of {found.images:,} images are in no test part, so nothing is known of them."
    if found.ensembles:
        count, some = len(found.ensembles), first_few(found.ensembles, 2)
        who = f"{count} ensembles ({some}) have" if count > 1 else f"{some} has"
        yield (
            f"{who} no vote, because an ensemble says what its members say; what it gets wrong is listed by "
            "method."
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
    """ "benign 12 of 15, normal 3"."""
    (first, count), *others = one.votes
    text = f"{name_of(first)} {count} of {one.predictions}"
    return text + "".join(f", {name_of(name)} {number}" for name, number in others)
