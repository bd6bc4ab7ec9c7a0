"""What a data sheet is made of, gathered; `page` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.data.audit.audit import Audit
from bench.data.images.images import Images
from bench.data.images.index import PARTS
from bench.data.preview.embedding import Embedding
from bench.data.splits.split import OUT, draw_split
from bench.errors import DataError, SplitError
from bench.interfaces.dataset import Dataset, Index
from bench.study.protocol import SplitSettings

if TYPE_CHECKING:
    from bench.data.audit.verdict import Verdict

ALL = "all"  # stands for the part of every image where there is no split


class Parts(NamedTuple):
    """The parts by which a data set is shown.

    Attributes:
        of: part of every image.
        how: where they come from, in a sentence.
        verdict: what the audit says of them; None where there are none.
        notes: on the split.
    """

    of: tuple[str, ...]
    how: str
    verdict: Verdict | None
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Those that have an image, in the usual order."""
        present = set(self.of)
        return tuple(name for name in (*PARTS, OUT, ALL) if name in present)


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What a data sheet is made of.

    Attributes:
        dataset: the component.
        params: its parameters that are not at their default.
        index: its list of images.
        images: the images, with a view at the short side `bench.data.audit.search.SHORT`.
        audit: of these images.
        parts: of these images.
        embedding: whether pictures are shown.
        most: pictures of a class and part, at most.
        consent: what `bench data fetch` wrote down about the licence; empty where it was not used.
    """

    dataset: Dataset
    params: Mapping[str, Any]
    index: Index
    images: Images
    audit: Audit
    parts: Parts
    embedding: Embedding
    most: int
    consent: Mapping[str, Any]


def parts_of(images: Images, settings: SplitSettings, seed: int, audit: Audit) -> Parts:
    """The parts that a study's first round would have: the data set's own where it fixes them. Nothing is
    stored. A data set that no split can be drawn of is shown without parts, with the reason."""
    try:
        split = draw_split(images, settings, 0, seed, audit)
    except (SplitError, DataError) as error:
        return Parts((ALL,) * len(images), f"There is no split to show: {error}.", None, ())
    if all(images.parts):
        drawn = "" if "val" in images.parts else "; validation is drawn from its training part"
        how = f"Parts are those that come with the data set{drawn}."
    else:
        how = (
            f"The data set fixes no parts: these are of round 0 as `bench data split` draws them "
            f"({settings.method}, seed {seed})."
        )
    return Parts(split.parts, how, split.verdict, split.notes)
