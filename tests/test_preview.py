"""`bench data preview`: a data sheet as one page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from typer.testing import CliRunner

from bench import Dataset, Index
from bench.cli import app
from bench.data.images.thumbnail import thumbnail
from bench.data.preview.embedding import embedding
from bench.data.preview.figures import (
    GreyFigures,
    evenly_spaced,
    group_sizes,
    outliers,
    robust_scale,
    robust_z,
)
from bench.page import html_page, is_page, shown
from bench.registry import installed

EVIL = "<script>alert(1)<"  # a class folder may be called so: "/" alone cannot stand in a name
QUOTE = '" onload="alert(2)'
VOID = {"meta", "img", "br"}


@dataclass
class Page(HTMLParser):
    """What a browser would make of a page; a tag that is not closed, or closed twice, fails."""

    text: str
    tags: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str | None]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, tag: str, name: str) -> list[str]:
        return [value or "" for t, n, value in self.attributes if (t, n) == (tag, name)]

    @property
    def plain(self) -> str:
        return " ".join(" ".join(self.words).split())


def preview(folder: Path, *arguments: object) -> Any:
    words = ["data", "preview", *map(str, arguments), "--results", str(folder / "results"), "--threads", "1"]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def page(folder: Path, *arguments: object) -> Page:
    target = folder / "page.html"
    done = preview(folder, *arguments, "-o", target)
    assert done.exit_code == 0, done.exception or done.output
    assert f"written: {target}" in done.stdout
    return Page(target.read_text(encoding="utf-8"))


def images(folder: Path, classes: tuple[str, ...], each: int = 24, part: str = "") -> Path:
    """Noise, one image of each class nearly black; the last class is in colour and of several sizes."""
    random = np.random.default_rng(0)
    for name in classes:
        home = folder / "images" / part / name
        home.mkdir(parents=True)
        for i in range(each):
            last = name == classes[-1]
            shape = (40 + i, 64, 3) if last else (40, 64)
            pixels = random.integers(60, 200, shape, dtype=np.uint8)
            Image.fromarray(pixels // 30 if i == 5 else pixels).save(home / f"{part}{i:02d}.png")
    return folder / "images"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp("phantom"), "phantom", "--set", "dataset.phantom.patients=40")


# --- the page ----------------------------------------------------------------------------------------


def test_a_page_needs_nothing_but_itself(phantom: Page) -> None:
    assert "script" not in phantom.tags
    assert not phantom.tags & {"link", "iframe", "object", "form", "base"}
    assert not [name for _, name, _ in phantom.attributes if name.startswith("on") or name == "href"]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in phantom.values("img", "src"))
    policy = next(value for value in phantom.values("meta", "content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert "http" not in re.sub(r"<style>.*</style>", "", phantom.text, flags=re.DOTALL).replace(
        'http-equiv="', ""
    )
    assert "width=device-width" in phantom.text
    assert "color-scheme: light dark" in phantom.text


def test_every_picture_says_what_it_shows_and_is_small(phantom: Page) -> None:
    uris, alts = phantom.values("img", "src"), phantom.values("img", "alt")
    assert len(uris) == len(alts) >= 3 * 3 * 3
    assert all("class " in alt and "part " in alt for alt in alts)
    for uri in uris[:5]:
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
            assert max(picture.size) <= 112
    assert len(phantom.text) < 600_000
    assert all(phantom.values("svg", "aria-label"))


def test_the_page_has_what_a_data_sheet_asks_for(phantom: Page) -> None:
    text = phantom.plain
    for part in ("train", "val", "test"):
        assert f"smooth, {part}:" in text
    for words in (
        "patients=40",
        "MIT, as bench itself",
        "Images (groups) by class and part",
        "Images per group",
        "width / height",
        "held in memory",
        "Brightness is the mean grey value",
        "more than 3.5 robust standard deviations",
        "border pixels alone",
        "duplicate pairs",
        "nothing to fetch: the images are generated",
        "as `bench data split` draws them (holdout, seed 0)",
        "For you to write",
    ):
        assert words.lower() in text.lower(), words


def test_the_same_data_set_gives_the_same_page(phantom: Page, tmp_path: Path) -> None:
    again = page(tmp_path, "phantom", "--set", "dataset.phantom.patients=40")
    assert again.text == phantom.text


def test_counts_are_those_that_a_run_would_have(phantom: Page, tmp_path: Path) -> None:
    words = ["data", "split", "phantom", "--set", "dataset.phantom.patients=40", "--rounds", "1"]
    done = CliRunner().invoke(
        app, [*words, "--results", str(tmp_path), "--threads", "1"], env={"COLUMNS": "200"}
    )
    row = next(line for line in done.stdout.splitlines() if "irregular" in line)
    for cell in re.findall(r"\d+ \(\d+\)", row):
        assert cell in phantom.plain


def test_pictures_of_a_cell_can_be_chosen(tmp_path: Path) -> None:
    few = page(tmp_path, "phantom", "--set", "dataset.phantom.patients=40", "--most", "1")
    assert "up to 1 images" in few.plain
    assert len(few.values("img", "src")) < 25


# --- names from outside ------------------------------------------------------------------------------


def test_names_of_folders_and_files_are_no_markup(tmp_path: Path) -> None:
    home = images(tmp_path, (EVIL, QUOTE, "b&b"))
    (home / EVIL / "00.png").rename(home / EVIL / "<img src=x onerror=alert(3)>\x1b.png")
    found = page(tmp_path, "folder", "--data", home, "--embed-pictures", "--most", "50")
    assert "script" not in found.tags
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in found.values("img", "src"))
    assert EVIL in found.plain
    assert QUOTE in found.plain
    assert "<img src=x onerror=alert(3)>\\x1b.png" in found.plain
    assert "\x1b" not in found.text


@given(st.text())
def test_a_text_stays_a_text(text: str) -> None:
    escaped = shown(text)
    assert not set(escaped) & set("<>\"'")
    assert Page(html_page(text, f'<p class="{escaped}">{escaped}</p>')).tags >= {"p"}


# --- what the images are -----------------------------------------------------------------------------


def test_sizes_modes_formats_and_outliers_are_shown(tmp_path: Path) -> None:
    home = images(tmp_path, ("a", "b"))
    found = page(tmp_path, "folder", "--data", home)
    for words in ("24 different sizes", "64 x 40 25", ".png 48", "3: colour", "24 0", "0 24"):
        assert words in found.plain, words
    outlying = re.findall(r"([ab]/05\.png) [ab] \w+ [\d.]+ [\d.]+ brightness -", found.plain)
    assert sorted(outlying) == ["a/05.png", "b/05.png"]
    assert not found.values("img", "src")


def test_parts_that_come_with_a_data_set_are_shown(tmp_path: Path) -> None:
    images(tmp_path, ("a", "b"), part="train")
    home = images(tmp_path, ("a", "b"), each=6, part="test")
    found = page(tmp_path, "folder", "--data", home, "--embed-pictures")
    assert (
        "Parts are those that come with the data set; validation is drawn from its training part"
        in found.plain
    )
    assert "a, test: 6 images" in found.plain


def test_a_data_set_that_cannot_be_split_is_shown_all_the_same(tmp_path: Path) -> None:
    home = images(tmp_path, ("a", "b"), each=1)
    found = page(tmp_path, "folder", "--data", home)
    assert "There is no split to show: folder: " in found.plain
    assert "a 1 50.0 %" in found.plain


def test_duplicates_of_two_labels_are_shown_side_by_side(tmp_path: Path) -> None:
    home = images(tmp_path, ("a", "b"))
    copy = home / "a" / "copy.png"
    copy.write_bytes((home / "b" / "03.png").read_bytes())
    named = page(tmp_path, "folder", "--data", home)
    assert "a/copy.png = b/03.png" in named.plain or "b/03.png = a/copy.png" in named.plain
    pictured = page(tmp_path, "folder", "--data", home, "--embed-pictures")
    assert "1 pair of duplicates carries two labels" in pictured.plain
    assert "class a similarity 1.00" in pictured.plain


# --- whether pictures may be in it -------------------------------------------------------------------


def nothing(root: Path, params: Any) -> Index:
    return Index(classes=(), samples=())


@pytest.mark.parametrize(
    ("redistribution", "asked", "pictures"),
    [
        ("", None, False),
        ("", True, True),
        ("", False, False),
        ("CC BY permits it", None, True),
        ("CC BY permits it", False, False),
    ],
)
def test_pictures_are_embedded_where_the_licence_says_so_or_the_user(
    redistribution: str, asked: bool | None, pictures: bool
) -> None:
    dataset = Dataset(name="x", about="x", index=nothing, redistribution=redistribution, licence="mine")
    rule = embedding(dataset, asked)
    assert rule.pictures is pictures
    if pictures and not redistribution:
        assert "for your own eyes: the licence does not say that they may be passed on" in rule.why
    elif pictures:
        assert redistribution in rule.why


def test_a_page_without_pictures_says_so(tmp_path: Path) -> None:
    home = images(tmp_path, ("a", "b"))
    closed = page(tmp_path, "folder", "--data", home)
    assert not closed.values("img", "src")
    assert "With --embed-pictures they are in it, for your own eyes" in closed.plain
    opened = page(tmp_path, "folder", "--data", home, "--embed-pictures")
    assert len(opened.values("img", "src")) > 10
    assert "for your own eyes: the licence does not say that they may be passed on" in opened.plain


def test_data_sets_are_careful_about_passing_images_on() -> None:
    """What a licence must say for it; any other licence has to be read by a person first."""
    for dataset in installed().datasets.all():
        permits = dataset.licence.startswith(("CC BY", "MIT"))
        assert bool(dataset.redistribution) == permits, dataset.name


# --- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["page.txt", "page", "page.html.png"])
def test_a_page_has_the_suffix_of_one(tmp_path: Path, name: str) -> None:
    done = preview(tmp_path, "phantom", "-o", tmp_path / name)
    assert "give a name that ends in .html" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_what_is_no_page_of_ours_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "thesis.html"
    target.write_text("<!DOCTYPE html><p>four years of work", encoding="utf-8")
    done = preview(tmp_path, "phantom", "-o", target)
    assert "is no page of bench" in str(done.exception)
    assert "four years" in target.read_text(encoding="utf-8")
    assert not (tmp_path / "results").exists()  # said before any work was done
    (tmp_path / "folder.html").mkdir()
    assert "cannot be read" in str(preview(tmp_path, "phantom", "-o", tmp_path / "folder.html").exception)


def test_a_page_of_ours_is_replaced_and_without_a_name_it_is_the_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("phantom", "--set", "dataset.phantom.patients=40")
    assert preview(tmp_path, *few).exit_code == 0
    target = tmp_path / "phantom-preview.html"
    first = target.read_text(encoding="utf-8")
    assert is_page(first)
    assert preview(tmp_path, *few, "--no-pictures").exit_code == 0
    assert "<img" in first
    assert "<img" not in target.read_text(encoding="utf-8")


def test_a_data_set_that_is_not_there_leaves_no_page(tmp_path: Path) -> None:
    done = preview(tmp_path, "busi", "--data", tmp_path, "-o", tmp_path / "page.html")
    assert done.exit_code != 0
    assert "Dataset_BUSI.zip" in str(done.exception)
    assert not (tmp_path / "page.html").exists()


# --- figures -----------------------------------------------------------------------------------------

VALUES = arrays.arrays(np.float64, st.integers(3, 60), elements=st.floats(0, 255, width=32))


@given(VALUES, st.floats(0.5, 4), st.floats(-100, 100))
def test_robust_z_does_not_depend_on_origin_and_unit(values: Any, scale: float, shift: float) -> None:
    if robust_scale(values).spread > 1e-3:
        assert robust_z(values * scale + shift) == pytest.approx(robust_z(values), abs=1e-3, rel=1e-4)


@given(st.integers(0, 1000))
def test_robust_z_of_normal_values_is_their_z(seed: int) -> None:
    values = np.random.default_rng(seed).normal(100, 10, 4000)
    median, spread = robust_scale(values)
    assert (median, spread) == (pytest.approx(100, abs=1), pytest.approx(10, rel=0.08))


def test_outliers_do_not_hide_each_other_and_equal_values_are_none() -> None:
    rng = np.random.default_rng(0)
    contrast = rng.normal(40, 3, 100)
    brightness = rng.normal(120, 10, 100)
    brightness[:10] = 250  # so many that the standard deviation grows to 40, and z would be below 3.5
    found = outliers(GreyFigures(brightness, np.clip(contrast, 34, 46)))
    assert sorted(one.position for one in found if one.what == "brightness") == list(range(10))
    assert outliers(GreyFigures(np.full(9, 5.0), np.full(9, 0.0))) == []
    mostly = np.full(50, 100.0)
    mostly[3] = 200.0  # the median absolute deviation is 0
    [only] = outliers(GreyFigures(mostly, np.full(50, 1.0)))
    assert (only.position, only.what) == (3, "brightness")


@given(st.integers(0, 200), st.integers(1, 20))
def test_evenly_spaced_images_are_different_and_in_order(count: int, most: int) -> None:
    chosen = evenly_spaced(list(range(count)), most)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, most)
    if len(chosen) > 1:
        gaps = np.diff([-1 - chosen[0], *chosen])[1:]
        assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=200))
def test_every_group_is_counted_once(groups: list[str]) -> None:
    assert sum(group_sizes(groups).values()) == len(set(groups))


@pytest.mark.parametrize("shape", [(1, 30, 400), (3, 300, 20), (3, 8, 8)])
def test_thumbnails_keep_the_aspect_and_are_never_enlarged(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uri = thumbnail(pixels, 100)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as picture:
        width, height = picture.size
        assert picture.mode == ("L" if shape[0] == 1 else "RGB")
    assert max(width, height) <= 100
    assert (width, height) == (8, 8) or width / height == pytest.approx(shape[2] / shape[1], rel=0.2)
