"""Drawings as parts of pages and as files."""

from __future__ import annotations

import io
from pathlib import Path

from bench.errors import ConfigError, StoreError
from bench.figures.canvas import styled
from bench.figures.drawing import WIDTH, Drawing
from bench.figures.svg import inlined, standalone
from bench.files import replacing
from bench.text import printable

SUFFIXES = (".svg", ".pdf", ".png")
DPI = 300


def as_svg(drawing: Drawing, width: float = WIDTH) -> str:
    """One <svg> element to stand in a page of HTML, as wide as its place is. Colours of series are the
    variables --c1 to --c12 (`bench.figures.palette.declarations`), with those of print where a page has none.

    Raises ConfigError where matplotlib is not installed.
    """
    text = _rendered(drawing, width, "svg").decode()
    return inlined(text, drawing.key, printable(drawing.title), printable(drawing.alt))


def write(
    drawing: Drawing, path: Path, width: float = WIDTH, dpi: int = DPI, option: str = "--output"
) -> None:
    """Write a drawing to a .svg, .pdf or .png, all of it or nothing; the same bytes for the same results.

    Raises ConfigError for another suffix or where matplotlib is not installed, StoreError where the file
    cannot be written.
    """
    kind = check_suffix(path, option)
    content = _rendered(drawing, width, kind, dpi)
    if kind == "svg":
        titled = printable(drawing.title), printable(drawing.alt)
        content = standalone(content.decode(), drawing.key, *titled).encode()
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path}: cannot be written ({reason}); choose another {option}") from None


def check_suffix(path: Path, option: str = "--output") -> str:
    """The format that a path's suffix asks for. Raises ConfigError."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{option} {path}: cannot be written as a figure; name a .svg, .pdf or .png")
    return path.suffix.lower().removeprefix(".")


def _rendered(drawing: Drawing, width: float, kind: str, dpi: int = DPI) -> bytes:
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "Title": printable(drawing.title)}}
    with styled():
        figure = drawing.draw(width)
        buffer = io.BytesIO()
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi if kind == "png" else 72,
            facecolor="white" if kind == "png" else "none",
            metadata=metadata.get(kind, {"Software": None}),
        )
    return buffer.getvalue()
