"""Probes that see marks burnt into pictures, and what files say of themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin
from samples import opened
from test_duplicates import texture

from bench import Dataset, Environment, Index, Sample
from bench.data.audit.audit import Audit, make_audit
from bench.data.audit.search import SHORT
from bench.data.audit.shortcut_features import mark_features, metadata_features
from bench.study.protocol import AuditSettings

COUNT = 48


def audit_of(folder: Path) -> Audit:
    """The audit of the files in `folder`, whose names begin with their class, a or b."""
    paths = sorted(folder.glob("*.*"))
    samples = tuple(Sample(id=p.name, label=p.name[0], path=p) for p in paths)
    index = Index(classes=("a", "b"), samples=samples)
    toy = Dataset(name="toy", about="", index=lambda root, params: index)
    images = opened(toy, Environment(data=folder, results=folder / "r"), (SHORT,))
    return make_audit(images, AuditSettings())


def picture(seed: int) -> Image.Image:
    """A dark texture, as ultrasound is."""
    return Image.fromarray((texture(seed, 140) * 0.5).astype(np.uint8))


def probes(audit: Audit) -> dict[str, bool]:
    return {probe.sees: probe.beats for probe in audit.probes}


def lettered(image: Image.Image, seed: int) -> Image.Image:
    """With a bright cross somewhere inside, as callipers leave it."""
    x, y = np.random.default_rng(seed).integers(40, 100, 2).tolist()
    pen = ImageDraw.Draw(image)
    pen.line((x - 4, y, x + 4, y), fill=255, width=2)
    pen.line((x, y - 4, x, y + 4), fill=255, width=2)
    return image


def boxed(image: Image.Image, seed: int) -> Image.Image:
    """Grey, but for a coloured frame inside."""
    coloured = image.convert("RGB")
    x, y = np.random.default_rng(seed).integers(30, 60, 2).tolist()
    ImageDraw.Draw(coloured).rectangle((x, y, x + 50, y + 50), outline=(230, 200, 20), width=3)
    return coloured


@pytest.mark.parametrize("mark", [lettered, boxed])
def test_marks_of_one_class_tell_it(tmp_path: Path, mark: object) -> None:
    for i in range(COUNT):
        image = picture(i)
        if i % 2:
            image = mark(image, i)  # type: ignore[operator]
        image.convert("RGB").save(tmp_path / f"{'ab'[i % 2]}{i:02d}.png")
    found = probes(audit_of(tmp_path))
    assert found["bright and coloured marks"]
    assert not found["border pixels"]


def test_marks_of_all_classes_tell_none(tmp_path: Path) -> None:
    for i in range(COUNT):
        lettered(picture(i), i).save(tmp_path / f"{'ab'[i % 2]}{i:02d}.png")
    assert not probes(audit_of(tmp_path))["bright and coloured marks"]


def test_pictures_without_marks_have_no_such_probe(tmp_path: Path) -> None:
    for i in range(COUNT):
        picture(i).save(tmp_path / f"{'ab'[i % 2]}{i:02d}.png")
    assert set(probes(audit_of(tmp_path))) == {"border pixels", "image size and colour"}


def test_a_bright_region_is_no_mark() -> None:
    """Tissue is bright among bright tissue; a colourful picture has no coloured marks."""
    bright = np.clip(texture(1, SHORT).astype(int) + 90, 0, 255).astype(np.uint8)
    assert not mark_features(bright[None], bright).any()
    colours = np.stack([texture(i, SHORT) // 2 for i in range(3)])
    assert not mark_features(colours, colours[0] // 2).any()


@pytest.mark.parametrize("kind", ["PNG text", "EXIF device", "JPEG quality"])
def test_what_files_say_tells_the_class(tmp_path: Path, kind: str) -> None:
    for i in range(COUNT):
        one, image = "ab"[i % 2], picture(i)
        path = tmp_path / f"{one}{i:02d}"
        if kind == "PNG text":
            text = PngImagePlugin.PngInfo()
            text.add_text("Software", f"scanner {one}")
            image.save(path.with_suffix(".png"), pnginfo=text)
        elif kind == "EXIF device":
            exif = Image.Exif()
            exif[0x0110] = f"device {one}"
            image.save(path.with_suffix(".jpg"), exif=exif, quality=95)
        else:
            image.save(path.with_suffix(".jpg"), quality=95 if i % 2 else 90)
    audit = audit_of(tmp_path)
    (probe,) = (p for p in audit.probes if p.sees == "metadata of the files")
    assert probe.beats
    assert probe.accuracy == 1


def test_files_that_say_the_same_have_no_such_probe(tmp_path: Path) -> None:
    for i in range(COUNT):
        text = PngImagePlugin.PngInfo()
        text.add_text("Creation Time", f"2026-11-{i:02d}")  # one of its own each
        picture(i).save(tmp_path / f"{'ab'[i % 2]}{i:02d}.png", pnginfo=text)
    assert metadata_features(sorted(tmp_path.glob("*.png")), 1) is None


def test_files_that_cannot_be_opened_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"\x89PNG nothing")
    assert metadata_features([tmp_path / "no.png", tmp_path / "absent.png", None] * 8, 1) is None
