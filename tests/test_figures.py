"""Figures of stored results: as parts of pages, as files, and by `bench figure`."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from sample_study import fill
from samples import predictions, record_of, run_spec
from typer.testing import CliRunner

from bench.cli import app
from bench.comparison.compare import Question, comparable_tables
from bench.figures.canvas import short, thinned
from bench.figures.drawing import Drawing
from bench.figures.drawings import KINDS, OVERVIEWS, drawings, drawings_of, drawings_over
from bench.figures.kinds import ABOUT
from bench.figures.material import Material
from bench.figures.output import as_svg, write
from bench.figures.palette import DARK, LIGHT, declarations, look
from bench.registry import installed
from bench.report.figures_section import figures_sections
from bench.report.gathered import Gathered
from bench.results import store
from bench.study.declaration import Declaration

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = ("$\\frac{1}$ <script>alert(1)</script>", 'a \u202egnp.exe & "b"', "very " * 20 + "long")
OF_A_TABLE = [name for name in ABOUT if name not in ("shares", "epochs", "ablation", "critical")]


def bench(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})


def material_of(results: Path, baseline: str = "") -> Material:
    registry = installed()
    declared = Declaration(metric="accuracy", baseline=baseline)
    question = Question(metric=registry.metrics.get("accuracy"), declared=declared)
    records, _ = store.scan(results)
    tables, _ = comparable_tables(records, results, question, registry)
    return Material(table=tables[0], results=results, registry=registry, question=question, records=records)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("results"), rounds=3, images=60)


@pytest.fixture(scope="module")
def drawn(results: Path) -> list[Drawing]:
    material = material_of(results, "imagenet")
    return drawings(material.table, results, material.registry, material.question, material.records)


@pytest.fixture(scope="module")
def inlined(drawn: list[Drawing]) -> dict[str, str]:
    return {drawing.name: as_svg(drawing) for drawing in drawn}


# --- which there are ---------------------------------------------------------------------------------


def test_every_kind_is_listed_and_documented() -> None:
    assert list(ABOUT) == [kind.name for kind in (*KINDS, *OVERVIEWS)]
    listed = bench("figure", "--list").stdout
    docs = (Path(__file__).parents[1] / "docs" / "figures.md").read_text(encoding="utf-8")
    for name, about in ABOUT.items():
        assert re.search(rf"^{name} +{re.escape(about)}$", listed, re.MULTILINE)
        assert f"`{name}`" in docs


def test_a_study_has_every_figure_of_one_table(drawn: list[Drawing]) -> None:
    made = {drawing.name for drawing in drawn}
    assert made == {*OF_A_TABLE} - {"learning-pretraining"}  # no pretraining is stored
    for drawing in drawn:
        assert drawing.title
        assert drawing.caption.endswith((".", ")."))
        assert len(drawing.alt) > 20
        if drawing.data:
            assert all(len(row) == len(drawing.data.heads) for row in drawing.data.rows)


def test_the_values_of_the_forest_plot_are_those_of_bench_compare(
    results: Path, drawn: list[Drawing]
) -> None:
    [forest] = [drawing for drawing in drawn if drawing.name == "forest"]
    assert forest.data
    row = next(row for row in forest.data.rows if row[0] == "egmae")
    said = bench("compare", "egmae", "imagenet", "--results", str(results)).stdout
    assert f"egmae ({row[1]})" in said
    ends = re.findall(r"[+-]?\d\.\d{4}", row[4])
    for end in ends:  # in points there
        assert re.search(rf"{abs(100 * float(end)):.1f}", said)


# --- as parts of a page ------------------------------------------------------------------------------


def test_drawings_of_a_page_are_whole_and_refer_to_nothing_outside(inlined: dict[str, str]) -> None:
    for name, text in inlined.items():
        root = ET.fromstring(text)
        assert root.tag == f"{SVG}svg", name
        assert root.get("role") == "img"
        assert root.find(f"{SVG}title") is not None
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        assert set((root.get("aria-labelledby") or "").split()) <= set(ids)
        for element in root.iter():
            assert element.tag not in (f"{SVG}image", f"{SVG}style", f"{SVG}script", f"{SVG}metadata")
            for attribute, value in element.attrib.items():
                if attribute.endswith("href"):
                    assert value.removeprefix("#") in ids
                for reference in re.findall(r"url\(([^)]*)\)", value):
                    assert reference.removeprefix("#") in ids


def test_no_id_of_one_drawing_is_in_another(inlined: dict[str, str]) -> None:
    ids = [each for text in inlined.values() for each in re.findall(r' id="([^"]+)"', text)]
    assert len(ids) == len(set(ids))


def test_colours_are_those_of_the_page(inlined: dict[str, str]) -> None:
    for name, text in inlined.items():
        bare = re.sub(r"var\(--c\d+,#[0-9a-f]{6}\)", "", text)
        assert set(re.findall(r"#[0-9a-f]{6}\b", bare)) <= {"#808080"}, name
        assert "currentColor" in text
    assert "var(--c1,#0072b2)" in inlined["roc"]
    assert declarations().startswith(
        f" --c1: light-dark({LIGHT[0]}, {DARK[0]});\n --c2: light-dark({LIGHT[1]},"
    )


def test_every_colour_can_be_seen_and_is_never_the_only_cue() -> None:
    assert all(contrast(colour, "#ffffff") >= 3.5 for colour in LIGHT)
    assert all(contrast(colour, "#16181c") >= 4.5 for colour in DARK)
    looks = [look(place) for place in range(40)]
    assert len(set(looks)) == 40
    assert len({one.marker for one in looks[:12]}) == len({one.colour for one in looks[:12]}) == 12
    assert all(a.dashes != b.dashes for a, b in pairwise(looks[:12]))


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""
    luminances = []
    for colour in (one, other):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        luminances.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    dark, light = sorted(luminances)
    return (light + 0.05) / (dark + 0.05)


def test_series_are_named_for_who_hovers(inlined: dict[str, str]) -> None:
    root = ET.fromstring(inlined["roc"])
    named = {
        title.text
        for group in root.iter(f"{SVG}g")
        if "series" in (group.get("class") or "")
        for title in group.findall(f"{SVG}title")
    }
    assert {"egmae", "imagenet", "mean(egmae+mae)"} <= named


def test_drawings_are_small(inlined: dict[str, str]) -> None:
    assert max(map(len, inlined.values())) < 40_000
    assert sum(map(len, inlined.values())) < 250_000


def test_what_cannot_be_seen_is_left_away() -> None:
    import numpy as np

    x = np.linspace(0, 1, 1001)
    y = x**2
    kept = thinned(x, y, 0.001)
    assert len(kept) < 40
    assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() <= 0.001
    assert thinned(x, np.zeros(1001), 0.001).tolist() == [0, 1000]


# --- hostile names -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Material:
    results = tmp_path_factory.mktemp("hostile")
    for number in range(2):
        for place, strategy in enumerate(("egmae", "imagenet")):
            one = predictions(10 * number + place, n=60, classes=HOSTILE)
            spec = run_spec(strategy, number, params={"colour": HOSTILE[0]} if place else None)
            store.write(results, record_of(spec), predictions={"val": one, "test": one})
    return material_of(results)


def test_names_from_outside_are_text_and_no_markup(hostile: Material) -> None:
    made = drawings_of(hostile)
    assert not made.problems
    for drawing in made.drawings:
        text = as_svg(drawing)
        root = ET.fromstring(text)
        assert "<script" not in text
        assert "\u202e" not in text
        assert not [e for e in root.iter() if e.tag.endswith("script")]
        if drawing.name == "roc-classes":
            shown = [e.text or "" for e in root.iter(f"{SVG}text")]
            assert any(s.startswith("$\\frac{1}$") for s in shown)  # no formula
            assert any("…" in s for s in shown)


def test_a_report_has_a_section_a_table_with_captions_and_values(hostile: Material) -> None:
    [section] = figures_sections(gathered_of(hostile))
    assert (section.anchor, section.title) == ("figures-1", "Figures: busi")
    made = drawings_of(hostile).drawings
    assert section.html.count("<figure ") == section.html.count("<figcaption>") == len(made)
    assert section.html.count("<summary>Values</summary>") == sum(d.data is not None for d in made)
    assert "<script" not in section.html
    assert "\u202e" not in section.html


def test_names_from_outside_can_be_written_as_files(hostile: Material, tmp_path: Path) -> None:
    [drawing] = [d for d in drawings_of(hostile).drawings if d.name == "confusion"]
    for suffix in ("svg", "pdf", "png"):
        write(drawing, tmp_path / f"f.{suffix}", dpi=40)
        assert (tmp_path / f"f.{suffix}").stat().st_size > 500


def test_long_names_are_shortened_in_the_middle() -> None:
    assert short("mean(egmae+imagenet)") == "mean(egmae+imagenet)"
    assert short("a" * 30 + "b" * 30, 20) == "aaaaaaaaaaaaa…bbbbbb"
    assert short("two\nlines") == "two lines"


# --- files -------------------------------------------------------------------------------------------


def test_files_open_and_are_the_same_every_time(drawn: list[Drawing], tmp_path: Path) -> None:
    [drawing] = [d for d in drawn if d.name == "roc"]
    for suffix in ("svg", "pdf", "png"):
        first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
        write(drawing, first, width=3.5, dpi=100)
        write(drawing, second, width=3.5, dpi=100)
        assert first.read_bytes() == second.read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == 350
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # embedded TrueType
    assert b"/Type3" not in pdf
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.get("width") == "252pt"
    assert "var(" not in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_settings_of_matplotlib_stay_as_they_were(drawn: list[Drawing]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    as_svg(drawn[0])
    assert dict(mpl.rcParams) == before


# --- the command -------------------------------------------------------------------------------------


def test_one_figure_is_one_file_and_its_caption(results: Path, tmp_path: Path) -> None:
    made = bench("figure", "forest", "-o", str(tmp_path / "f.pdf"), "--results", str(results))
    assert made.exit_code == 0, made.output
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert "Accuracy with intervals (busi). Means over 3 rounds" in made.stdout
    assert re.search(r"^egmae +0\.\d{4} ", made.stdout, re.MULTILINE)
    assert f"written: {tmp_path / 'f.pdf'}" in made.stderr


def test_all_that_applies_is_written_under_its_name(results: Path, tmp_path: Path) -> None:
    made = bench(
        "figure", "-o", str(tmp_path / "f.svg"), "--method", "egmae,imagenet", "--results", str(results)
    )
    assert made.exit_code == 0, made.output
    names = {path.stem.removeprefix("f-") for path in tmp_path.glob("*.svg")}
    assert names == {*OF_A_TABLE} - {"learning-pretraining", "gmacs", "seconds"}  # one network alone
    text = (tmp_path / "f-roc.svg").read_text(encoding="utf-8")
    assert "imagenet" in text
    assert "scratch" not in text


def test_a_figure_of_two_data_sets_is_two_files(tmp_path: Path) -> None:
    fill(tmp_path / "results", datasets=("busi", "isic2018"), rounds=1, images=30)
    made = bench(
        "figure",
        "confusion",
        "-o",
        str(tmp_path / "c.png"),
        "--dpi",
        "40",
        "--results",
        str(tmp_path / "results"),
    )
    assert made.exit_code == 0, made.output
    assert {path.name for path in tmp_path.glob("*.png")} == {"c-busi.png", "c-isic2018.png"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frest", "-o", "f.pdf"], "unknown figure 'frest'; did you mean forest"),
        (["forest"], "bench figure forest needs a file: -o forest.pdf"),
        (["forest", "-o", "f.gif"], "f.gif: cannot be written as a figure; name a .svg, .pdf or .png"),
        (["forest", "-o", "f.pdf", "--method", "nobody"], "unknown method 'nobody'"),
        (["shares", "-o", "f.pdf"], "`bench run --shares 0.1,0.3,1` makes such a study"),
        (["learning-pretraining", "-o", "f.pdf"], "a study with a strategy that pretrains has this figure"),
        (["critical", "-o", "f.pdf"], "1 data sets share 6 rows; ranks need 6 data sets"),
        (["roc", "-o", "/proc/nowhere/f.pdf"], "choose another --output"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = bench("figure", *arguments, "--results", str(results))
    assert made.exit_code != 0
    assert said in str(made.exception)
    assert "\n" not in str(made.exception)
    assert not list(tmp_path.iterdir())


def test_two_classes_have_no_mirrored_panels(tmp_path: Path) -> None:
    fill(tmp_path, rounds=2, images=40, classes=("healthy", "ill"))
    made = {drawing.name: drawing for drawing in drawings_of(material_of(tmp_path)).drawings}
    assert "roc-classes" not in made
    assert "ill against healthy" in made["roc"].caption


def test_a_class_without_test_images_has_no_curve_and_leaves_the_others(tmp_path: Path) -> None:
    for number in range(2):
        whole = predictions(number, skill=2)
        kept = [i for i, label in enumerate(whole.labels) if label != 2]
        cut = replace(
            whole,
            ids=tuple(whole.ids[i] for i in kept),
            groups=tuple(whole.groups[i] for i in kept),
            labels=whole.labels[kept],
            probabilities=whole.probabilities[kept],
        )
        record = record_of(run_spec("imagenet", number))
        store.write(tmp_path, record, predictions={"val": whole, "test": cut})
    made = {drawing.name: drawing for drawing in drawings_of(material_of(tmp_path)).drawings}
    assert "the unweighted mean of 2 curves" in made["roc"].caption
    for name in ("roc", "precision-recall", "precision-recall-classes", "decision"):
        assert "Without test images, so without a curve: normal." in made[name].caption
    by_class = made["roc-classes"].data
    assert by_class
    assert by_class.heads == ["Area by method", "benign", "malignant"]
    assert all(0.5 < float(cell) <= 1 for row in by_class.rows for cell in row[1:])


# --- the report --------------------------------------------------------------------------------------


def gathered_of(material: Material) -> Gathered:
    return Gathered(
        results=material.results,
        registry=material.registry,
        question=material.question,
        tables=[material.table],
        records=material.records,
    )


def test_label_shares_are_a_section_over_tables(tmp_path: Path) -> None:
    from bench.study.protocol import Finetuning

    for share in (0.1, 1.0):
        for number in range(2):
            spec = run_spec("egmae", number, finetune=Finetuning(share=share))
            one = predictions(number, skill=1 + share)
            store.write(tmp_path, record_of(spec), predictions={"val": one, "test": one})
    registry = installed()
    question = Question(metric=registry.metrics.get("accuracy"), declared=Declaration())
    records, _ = store.scan(tmp_path)
    tables, _ = comparable_tables(records, tmp_path, question, registry)
    assert len(tables) == 2
    materials = [
        Material(table=t, results=tmp_path, registry=registry, question=question, records=records)
        for t in tables
    ]
    [drawing] = drawings_over(materials).drawings
    assert drawing.name == "shares"
    assert drawing.data
    assert [head.split(" (")[0] for head in drawing.data.heads] == ["Method", "10 %", "100 %"]
