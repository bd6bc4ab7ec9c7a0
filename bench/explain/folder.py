"""Explained images as a folder of PNG files, a csv file, and a text that says what is what."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.data.preview.embedding import Embedding
from bench.errors import ConfigError, StoreError
from bench.explain.drawing import as_png, enlarged, heat, outlined, overlay, patches, scale_bar
from bench.explain.explained import Explained, ExplainedImage
from bench.explain.measures import Measured
from bench.explain.page import guide_ends
from bench.explain.rows import as_csv
from bench.explain.texts import picture_texts
from bench.files import new_directory, write_text
from bench.text import one_line

VALUES = "values.csv"
ABOUT = "README.txt"


def check_folder(path: Path) -> None:
    """Raise ConfigError, before any work is done, for a place where no new folder can be made."""
    if path.suffix.lower() in (".csv", ".png", ".pdf", ".svg", ".json"):
        raise ConfigError(f"--output {path}: give a page (a name that ends in .html) or a folder")
    if path.is_file():
        raise ConfigError(f"--output {path}: is a file; give a page (.html) or a new folder")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(
            f"--output {path}: this folder is not empty; name a new one, so that nothing in it is lost"
        )


def write_folder(
    path: Path,
    explained: Explained,
    rule: Embedding,
    of: str,
    chosen: str,
    measured: Sequence[Measured],
) -> int:
    """Write everything or nothing; returns the number of files. The csv file has the rows
    `measured`, of all test images, or, without any, those of the pictures. Raises StoreError."""
    try:
        if path.is_dir():  # empty: `check_folder` has looked
            path.rmdir()
        with new_directory(path, ABOUT) as folder:
            own = [each for image in explained.images for each in image.measured]
            write_text(folder / VALUES, as_csv(measured or own, explained.classes))
            about = [chosen, rule.why]
            about += picture_texts(explained.guides, of, rule.pictures, explained.has_ensemble)
            about += [*explained.warnings, *explained.notes]
            about += [f"{name}: {id_}" for name, id_ in _write_pictures(folder, explained, rule)]
            write_text(folder / ABOUT, "".join(f"{one_line(line)}\n\n" for line in about if line))
            return sum(1 for file in folder.rglob("*") if file.is_file())
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{path}: cannot be written ({reason}); choose another --output") from None


def _write_pictures(folder: Path, explained: Explained, rule: Embedding) -> Iterator[tuple[str, str]]:
    """Write the pictures of every image into a folder of its own; its name, and the image it is of."""
    ends = guide_ends(explained.images)
    (folder / "scale.png").write_bytes(as_png(scale_bar()))
    for number, image in enumerate(explained.images, 1):
        name = f"{number:02d}-{_safe(image.id)}"
        (folder / name).mkdir()
        for picture, content in _pictures(image, explained, rule, ends):
            (folder / name / f"{picture}.png").write_bytes(content)
        yield name, f"{image.id}, labelled {image.label}"


def _pictures(
    image: ExplainedImage, explained: Explained, rule: Embedding, ends: dict[str, tuple[float, float]]
) -> Iterator[tuple[str, bytes]]:
    if rule.pictures:
        yield "original", as_png(image.pixels)
        if image.given.mask is not None:
            yield "original-with-mask", as_png(outlined(image.pixels, image.given.mask))
    for guide in explained.guides:
        grid = image.given.guides[guide.method]
        yield _safe(f"{guide.method}-{guide.caption}"), as_png(patches(grid, *ends[guide.method]))
    if rule.pictures:
        for each in image.revealed:
            yield _safe(f"{each.method}-{each.name}"), as_png(each.pixels)
    for measured in image.measured:
        grid = measured.look.map
        drawn = overlay(enlarged(image.pixels), grid) if rule.pictures else heat(grid)
        yield _safe(f"map-{measured.look.title}"), as_png(drawn)


def _safe(text: str) -> str:
    """A file name of letters, digits and hyphens, at most 100 characters."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", text).strip("-.")[:100] or "_"
