"""Text from outside (names of classes, files and packages, messages of other code) that is safe to show.

A control character in a name can clear a terminal, colour it, retitle its window or forge a line of a log; a
character that turns the direction of writing can show a name that is another one. Whatever leaves the program
goes through `printable`: terminal, logs, tables, errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)  # control characters except tab and newline, halves of surrogate pairs, line breaks, changes of direction


def printable(text: str) -> str:
    r"""`text` with control characters as Python escapes them (ESC becomes "\x1b"); newlines and tabs stay."""
    return _UNSAFE.sub(_escaped, text)


def one_line(text: str) -> str:
    """`printable` text on one line: what breaks lines becomes a space."""
    return printable(" ".join(part for part in re.split(f"[{_LINE_BREAKS}\t]+", text) if part))


def is_printable(text: str) -> bool:
    """Whether `text` is one line that may be shown as it is."""
    return "\n" not in text and "\t" not in text and not _UNSAFE.search(text)


def by_kind(counts: Mapping[str, int], limit: int = 8) -> str:
    """Numbers of files by kind, the most first: "masks (798), DICOM files (3)"."""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(most) - limit} more kinds" if len(most) > limit + 1 else ""
    shown = most[:limit] if more else most
    return ", ".join(f"{kind} ({count:,})" for kind, count in shown) + more


def duration(seconds: float) -> str:
    """ "40 s", "26 min", "3 h 20 min", "2 d 4 h"."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
