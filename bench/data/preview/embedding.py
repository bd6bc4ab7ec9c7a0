"""Whether pictures of a data set may stand in a page that others may get to see."""

from __future__ import annotations

from typing import NamedTuple

from bench.interfaces.dataset import Dataset

OWN_EYES = "for your own eyes: the licence does not say that they may be passed on"


class Embedding(NamedTuple):
    """Whether pictures are embedded, and the sentence that says why."""

    pictures: bool
    why: str


def embedding(dataset: Dataset, asked: bool | None = None) -> Embedding:
    """Pictures are embedded if the data set says that they may be passed on, or if the user asks for it
    (True); not if the user asks for none (False)."""
    licence = dataset.licence or "not stated"
    if asked is False:
        return Embedding(False, "There are no pictures in this page, as --no-pictures asked.")
    if dataset.redistribution:
        return Embedding(True, f"Pictures may be passed on: {dataset.redistribution}.")
    if asked:
        return Embedding(True, f"The pictures in this page are {OWN_EYES} (licence: {licence}).")
    return Embedding(
        False,
        f"There are no pictures in this page: the licence ({licence}) does not say that they may be passed "
        "on. With --embed-pictures they are in it, for your own eyes.",
    )
