"""Standard output and error as they may be: closed, or of an encoding without what tables are drawn with."""

from __future__ import annotations

import codecs
import io
import os
import sys

_PLAIN = {
    "±": "+-",
    "…": "...",
    "\N{MULTIPLICATION SIGN}": "x",
    "≥": ">=",
    "≤": "<=",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "—": "-",
    "→": "->",
    "│": "|",
}
_LINES = range(0x2500, 0x2580)  # box drawing


def set_up_streams() -> None:
    """Give a closed stream a place to write to, and spell out what the encoding of standard output lacks."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if (
            getattr(sys, name) is None
        ):  # closed by who started us; the next file opened must not take its number
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
    codecs.register_error("bench", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="bench")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: a plain spelling of each character that cannot be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelling, error.object[error.start : error.end])), error.end


def _spelling(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    if ord(character) in _LINES:
        return "-"
    return character.encode("unicode_escape").decode("ascii")
