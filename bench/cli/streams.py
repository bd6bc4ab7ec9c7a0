"""Standard output and error as they may be: closed, gone, full, or of an encoding without what tables are
drawn with."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any

from bench.errors import BenchError

READER_GONE = 141  # exit code: 128 + SIGPIPE, as of other commands in `bench table | head`

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
    for name, raw in (("stdout", _Output), ("stderr", _Messages)):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="bench")
            if stream is getattr(sys, f"__{name}__") and not stream.isatty():
                setattr(sys, name, _over(raw(stream.fileno(), "w", closefd=False), stream))


def _over(raw: io.FileIO, stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """A stream that writes like another, through `raw`."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class OutputGone(BenchError):
    """Standard output takes nothing any more; `code` is what the command ends with."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"standard output cannot be written ({error.strerror or error}); free some space, or send it "
            "elsewhere"
        )
        self.code = READER_GONE if isinstance(error, BrokenPipeError) else 1

    def drop(self) -> None:
        """Let what is still to be written go nowhere, or Python would complain at its end."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Output(io.FileIO):
    """Standard output. An OSError would be taken for a plugin's, or for another file's."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputGone(error) from None


class _Messages(io.FileIO):
    """Standard error. Progress that nobody can read is no reason to end what takes hours."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data).cast("B"))


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
