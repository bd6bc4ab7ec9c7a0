"""What a person decided about images that looked alike: which belong together, which are left out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReviewedImage:
    """One line of a reviewed file.

    Attributes:
        id: of the image within its data set.
        group: what it must share a side of a split with; empty if the file only leaves it out.
        exclude: whether it is left out of the study.
        phash: 64-bit perceptual hash of the picture that was looked at, 16 hex digits; empty if not given.
        reason: of the decision, in the reviewer's words.
    """

    id: str
    group: str = ""
    exclude: bool = False
    phash: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """A reviewed file.

    Attributes:
        name: of the file, without its folder.
        sha256: of the file's bytes, hex.
        images: one for each id, in the order of the file.
    """

    name: str
    sha256: str
    images: tuple[ReviewedImage, ...]
