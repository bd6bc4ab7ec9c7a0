"""The page on which a person decides about pairs."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from samples import opened
from test_cli import bench
from test_duplicates import texture
from test_keypoints import PICTURES, neighbouring_frame

from bench import Dataset, Environment, Index, Sample
from bench.data.audit.page import PageImage, PagePair, PageSection, pairs_page
from bench.data.audit.search import SHORT, hashes_of
from bench.interfaces.reviewed import ReviewedImage


class Page(HTMLParser):
    """What the page shows, and whether anything in it asks the network."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.images: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.append(tag)
        if tag == "figure":
            self.ids.append(values["data-id"] or "")
        if tag == "img":
            self.images.append(values["src"] or "")
        assert not any((values.get(name) or "").startswith(("http", "//")) for name in ("src", "href"))


def shown(id_: str, label: str = "x") -> PageImage:
    return PageImage(np.full((1, 20, 30), 90, np.uint8), id_, label, "", "0" * 16)


def test_the_page_shows_pictures_and_escapes_names() -> None:
    evil = "a/<script>alert(1)</script>\"'.png"
    pair = PagePair(shown(evil), shown("b", "<b>y</b>"), "0.40 alike, 7 points")
    text = pairs_page("</script>", "0123456789abcdef", ["about & more"], [PageSection("S", "", [pair, pair])])
    page = Page(text)
    assert page.ids == [evil, "b"] * 2
    assert page.tags.count("script") == 1
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.images)
    assert len(page.images) == 4
    assert "pair differ" in text


def test_earlier_decisions_are_in_the_page_for_the_file_that_it_makes() -> None:
    kept = [ReviewedImage(id="a'b", group='p "1"', reason="x"), ReviewedImage(id="c", exclude=True)]
    text = pairs_page("d", "0123456789abcdef", [], [PageSection("S", "", [])], kept)
    (rows,) = (dict(a)["data-kept"] for t, a in Attributes(text).seen if "data-kept" in dict(a))
    assert json.loads(rows or "") == [["a'b", 'p "1"', "", "", "x"], ["c", "", "yes", "", ""]]


class Attributes(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attributes))


def test_hashes_on_the_page_are_those_of_imagehash() -> None:
    samples = tuple(Sample(id=str(i), label="ab"[i % 2], array=texture(i, 200)) for i in range(4))
    index = Index(classes=("a", "b"), samples=samples)
    toy = Dataset(name="toy", about="", index=lambda root, params: index)
    images = opened(toy, Environment(data=Path(), results=Path("/nonexistent")), (SHORT,))
    copies = [
        Image.fromarray(images.view(SHORT)[i][0]).resize((64, 64), Image.Resampling.BILINEAR) for i in (1, 3)
    ]
    assert hashes_of(images.view(SHORT), [1, 3]) == {
        i: str(imagehash.phash(copy)) for i, copy in zip((1, 3), copies, strict=True)
    }


def test_suspects_are_counted_listed_and_shown(tmp_path: Path) -> None:
    """Neighbouring frames of two lesions; one pair has one label, the other two."""
    frames = [*PICTURES, neighbouring_frame(PICTURES[4], 99), neighbouring_frame(PICTURES[7], 98)]
    for i, frame in enumerate(frames):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(path)
    command = ["data", "audit", "folder", "--data", "images", "--similarity", "0.9", "--device", "cpu"]
    done = bench(tmp_path, *command, "--page", "pairs.html")
    assert "suspected pairs, for a person to decide" in done.stdout
    page = Page((tmp_path / "pairs.html").read_text())
    pairs = {frozenset(page.ids[i : i + 2]) for i in range(0, len(page.ids), 2)}
    assert pairs == {frozenset({"a/04.png", "a/16.png"}), frozenset({"b/07.png", "b/17.png"})}
    assert (
        "for a person to decide" in bench(tmp_path, *command, "--page", "pairs.html").stdout
    )  # stored by now
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    for name, message in ((".", "is a page of HTML"), ("mine.html", "is no page of bench")):
        assert message in bench(tmp_path, *command, "--page", name, code=2).stderr
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
