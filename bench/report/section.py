"""One part of the report."""

from __future__ import annotations

from typing import NamedTuple


class Section(NamedTuple):
    """A part of the report, which its list of contents names.

    Attributes:
        anchor: what an address ends with after "#": small letters, digits and "-"; no two alike.
        title: text.
        html: finished HTML, in which every text from outside is escaped.
        problems: what of it could not be made, which it says itself, and stderr does too.
    """

    anchor: str
    title: str
    html: str
    problems: tuple[str, ...] = ()
