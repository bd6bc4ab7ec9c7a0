"""Images and Data in `bench report`: pictures where they may be shown, and what records and files say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import data_of, mean_of, record_of, run_spec
from test_report import Parsed

from bench import Environment, Predictions
from bench.comparison.asked import question_of
from bench.data.audit.search import SHORT
from bench.data.splits.manifest import freeze_split, read_named
from bench.data.splits.split import PartCount, Split
from bench.execution.session import Session
from bench.identity import Ref
from bench.registry import installed
from bench.report.composition import composition
from bench.report.data_section import data_sections
from bench.report.gathered import Gathered, gather
from bench.report.images_section import MOST_CHARACTERS, MOST_PICTURES, SIDE, images_sections
from bench.results import store
from bench.results.record import DataSummary
from bench.study.protocol import AuditSettings, SplitSettings
from bench.study.spec import RunSpec

METHODS = ("egmae", "imagenet", "scratch")
CLASSES = ("benign", "malignant")
HOSTILE = "<img src=x onerror=alert(1)>\u202e\n" + "long" * 1000
MARKUP = re.compile(r"onerror=|<script|\u202e")

Make = Callable[[Gathered], Sequence[Any]]


def draw(root: Path, per_class: int = 20, seed: int = 0) -> Path:
    """Pictures of noise; the first two of a class are one picture, and one of them has both labels."""
    random = np.random.default_rng(seed)
    pictures = [random.integers(0, 255, (150, 220), dtype=np.uint8) for _ in range(2 * per_class)]
    pictures[1] = pictures[0]
    pictures[per_class] = pictures[0]
    for i, pixels in enumerate(pictures):
        path = root / CLASSES[i // per_class] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def session_of(root: Path, results: Path) -> Session:
    return Session(Environment(data=root, results=results, device="cpu"), installed())


def store_study(
    results: Path, session: Session, dataset: Ref, settings: SplitSettings | None = None, **data: Any
) -> list[Split]:
    """Two rounds of three methods and their ensemble, with made-up predictions of the real test images: of an
    image of the first class that is tested nobody is right."""
    settings = settings or SplitSettings()
    images, audit = session.audited(dataset, AuditSettings(), (SHORT,))
    splits = [freeze_split(results, images, settings, number, 0, audit) for number in range(2)]
    for split in splits:
        summary = data_of(
            title=dataset.name,
            content=images.content,
            split=split.hash,
            settings={},
            audit=split.verdict,
            counts=split.counts(),
            fixed=False,
            **data,
        )
        specs = [
            run_spec(method, split.round, dataset=dataset, split=split.hash, size=SHORT) for method in METHODS
        ]
        for place, spec in enumerate(specs):
            put(results, spec, guesses(split, place), summary)
        put(results, mean_of(*specs), guesses(split, 0), summary)
    return splits


def put(results: Path, spec: Any, one: Predictions, summary: DataSummary) -> None:
    store.write(results, record_of(spec, data=summary), predictions={"val": one, "test": one})


def guesses(split: Split, place: int) -> Predictions:
    at = split.indices("test")
    labels = np.array([split.classes.index(split.labels[i]) for i in at])
    right = np.full((len(at), len(split.classes)), 0.1)
    right[np.arange(len(at)), labels] = 0.9
    wrong = np.roll(right, 1, axis=1)
    is_wrong = (np.arange(len(at)) + place) % 4 == 0
    is_wrong[0] = True
    probabilities = np.where(is_wrong[:, None], wrong, right)
    return Predictions(
        classes=split.classes,
        ids=tuple(split.ids[i] for i in at),
        groups=tuple(split.groups[i] for i in at),
        labels=labels,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of one's own, whose licence nobody knows, and results of them."""
    folder = tmp_path_factory.mktemp("study")
    draw(folder / "data")
    store_study(folder / "results", session_of(folder / "data", folder / "results"), Ref("folder"))
    return folder


@pytest.fixture(scope="module")
def permitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of generated pictures, which anybody may pass on."""
    results = tmp_path_factory.mktemp("permitted")
    dataset = installed().datasets.ref("phantom", {"patients": 20})
    store_study(results, session_of(results, results), dataset)
    return results


def gathered(results: Path, session: Session | None = None, pictures: bool | None = None) -> Gathered:
    registry = installed()
    records, _ = store.scan(results)
    question, _ = question_of(records, registry)
    return gather(records, results, question, registry, session, pictures)


def html_of(make: Make, results: Path, session: Session | None = None, pictures: bool | None = None) -> str:
    [section] = make(gathered(results, session, pictures))
    return str(section.html)


def said(html: str) -> str:
    return Parsed(html).said


def copied(study: Path, to: Path) -> Path:
    return Path(shutil.copytree(study / "results", to / "results"))


# --- pictures ----------------------------------------------------------------------------------------


def test_without_consent_no_picture_of_unknown_licence_is_shown(study: Path) -> None:
    """Although they are there."""
    html = html_of(images_sections, study / "results", session_of(study / "data", study / "results"))
    assert "<img" not in html
    assert "does not say that they may be passed on" in said(html)
    assert "Never right" in said(html)
    assert html.count("<tr>") > 6  # a table instead


def test_with_consent_they_are_shown_for_ones_own_eyes(study: Path) -> None:
    session = session_of(study / "data", study / "results")
    html = html_of(images_sections, study / "results", session, pictures=True)
    pictures = Parsed(html).all("img")
    assert len(pictures) >= 3
    assert "for your own eyes" in said(html)
    for picture in pictures:
        assert picture["src"].startswith("data:image/jpeg;base64,")
        assert picture["loading"] == "lazy"
        assert 0 < int(picture["width"]) <= SIDE
        assert 0 < int(picture["height"]) <= SIDE
        assert re.match(r"Test image .+, labelled (benign|malignant), predicted ", picture["alt"])
    assert len({picture["src"] for picture in pictures}) == len(pictures)  # none is in the page twice
    anchors = {tag["id"] for tag in Parsed(html).all("figure") if "id" in tag}
    links = {tag["href"][1:] for tag in Parsed(html).all("a")}
    assert links
    assert links <= anchors


def test_pictures_that_may_be_passed_on_are_shown_unless_none_are_wanted(permitted: Path) -> None:
    session = session_of(permitted, permitted)
    html = html_of(images_sections, permitted, session)
    assert "<img" in html
    assert "Pictures may be passed on: bench generates them" in said(html)
    none = html_of(images_sections, permitted, session, pictures=False)
    assert "<img" not in none
    assert "as --no-pictures asked" in said(none)
    assert "<img" not in html_of(images_sections, permitted, None)


def test_images_of_another_content_are_refused(study: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "other", seed=1)
    html = html_of(images_sections, study / "results", session_of(other, study / "results"), pictures=True)
    assert "<img" not in html
    assert "are not those of these results" in said(html)
    assert 'class="warn"' in html
    assert "Never right" in said(html)  # the rest stays
    told = html_of(data_sections, study / "results", session_of(other, study / "results"))
    assert "are not those of these results" in said(told)


def test_images_that_are_not_there_leave_a_table(study: Path, tmp_path: Path) -> None:
    session = session_of(tmp_path / "nothing", study / "results")
    html = html_of(images_sections, study / "results", session, pictures=True)
    assert "There are no pictures in this page" in said(html)
    assert html.count("<tr>") > 6


def test_pictures_add_less_than_a_megabyte_whatever_they_show(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(study / "data", study / "results")
    monkeypatch.setattr("bench.report.images_section.MOST_CHARACTERS", 30_000)
    html = html_of(images_sections, study / "results", session, pictures=True)
    uris = [picture["src"] for picture in Parsed(html).all("img")]
    assert 0 < sum(map(len, uris)) <= 30_000
    monkeypatch.setattr("bench.report.images_section.MOST_PICTURES", 2)
    html = html_of(images_sections, study / "results", session, pictures=True)
    assert html.count("<img") == 2
    assert MOST_CHARACTERS <= 500_000  # with 1.5 MB of all else, less than 2 MB
    assert MOST_PICTURES <= 60


# --- what is listed ----------------------------------------------------------------------------------


def test_one_changed_prediction_changes_the_section(study: Path, tmp_path: Path) -> None:
    results = copied(study, tmp_path)
    before = said(html_of(images_sections, results))
    number = int(re.search(r"Never right: (\d+) of", before)[1])  # type: ignore[index]
    records, _ = store.scan(results)
    record = next(r for r in records if isinstance(r.spec, RunSpec) and r.spec.round == 0)
    assert record.path is not None
    one = store.read_predictions(record.path, "test", record)
    better = one.probabilities.copy()
    better[0] = 0.0
    better[0, one.labels[0]] = 1.0
    shutil.rmtree(record.path)
    changed = replace(one, probabilities=better)
    store.write(results, replace(record, path=None), predictions={"val": changed, "test": changed})
    after = said(html_of(images_sections, results))
    assert f"Never right: {number - 1} of" in after
    assert one.ids[0] in after


def test_ensembles_have_no_vote_and_are_listed(study: Path) -> None:
    text = said(html_of(images_sections, study / "results"))
    assert "Predictions of 3 methods in 2 rounds (egmae, imagenet, scratch)." in text
    assert "mean(egmae + imagenet + scratch) (ensemble)" in text
    assert "bench hard-images --dataset folder --format csv" in text


def test_predictions_that_do_not_fit_are_said_in_their_table(study: Path, tmp_path: Path) -> None:
    results = copied(study, tmp_path)
    records, _ = store.scan(results)
    record = next(r for r in records if isinstance(r.spec, RunSpec) and r.spec.round == 0)
    assert record.path is not None
    one = store.read_predictions(record.path, "test", record)
    shutil.rmtree(record.path)
    other = replace(one, ids=tuple(f"other {id_}" for id_ in one.ids))
    store.write(results, replace(record, path=None), predictions={"val": other, "test": other})
    html = html_of(images_sections, results)
    assert "test images differ from those of other units of round 0" in said(html)
    assert 'class="warn"' in html


def test_without_a_finished_run_there_is_no_section(tmp_path: Path) -> None:
    empty = gathered(tmp_path)
    assert images_sections(empty) == data_sections(empty) == []


# --- the data ----------------------------------------------------------------------------------------


def test_the_data_are_told_without_the_images_there(study: Path) -> None:
    html = html_of(data_sections, study / "results")
    text = said(html)
    splits = manifests(study / "results")
    trained = sum(len(split.indices("train")) for split in splits) / 2
    assert f"Training: {trained:,.1f}".removesuffix(".0") in text
    assert "assigned at random to a training, a validation and a test part" in text
    assert "pairs of duplicates carry two labels" in text
    assert "benign/00" in text
    assert "Your own images" in text
    assert "Where this page was made" not in text
    [*bars, _] = [tag for tag in Parsed(html).all("svg") if tag.get("role") == "img"] + [{}]
    assert [bar["aria-label"].partition(" part: ")[0] for bar in bars] == ["Training", "Validation", "Test"]
    assert all("benign: " in bar["aria-label"] for bar in bars)


def manifests(results: Path) -> list[Split]:
    return [read_named(path) for path in sorted(results.glob("splits/*/*.json"))]


def test_images_that_are_there_are_said_to_be_the_same(study: Path) -> None:
    html = html_of(data_sections, study / "results", session_of(study / "data", study / "results"))
    assert "all 40 have the same pixels, labels and groups" in said(html)
    assert "<img" not in html


def test_counts_are_those_of_the_records() -> None:
    """As means, and round by round where rounds differ."""
    sizes = {
        0: {"train": (10, 8), "val": (2, 2), "test": (4, 3)},
        1: {"train": (11, 9), "val": (2, 2), "test": (3, 2)},
    }
    by_round = {
        number: data_of(
            counts={part: {"b": PartCount(*n), "m": PartCount(1, 1)} for part, n in parts.items()}
        )
        for number, parts in sizes.items()
    }
    found = composition(by_round)
    assert found is not None
    assert found.about == "Means over 2 rounds."
    assert found.grid.rows == [
        ["b", "10.5 (8.5)", "2 (2)", "3.5 (2.5)", "16 (13)", "84.2 %"],
        ["m", "1 (1)", "1 (1)", "1 (1)", "3 (3)", "15.8 %"],
        ["all", "11.5 (9.5)", "3 (3)", "4.5 (3.5)", "19 (16)", "100.0 %"],
    ]
    assert found.rounds is not None
    assert found.rounds.rows[0] == ["0", "training", "10 (8)", "1 (1)", "11"]
    assert found.rounds.rows[-1] == ["1", "test", "3 (2)", "1 (1)", "4"]
    assert [bar.images for bar in found.bars] == ["11.5", "3", "4.5"]
    assert found.bars[0].pieces[-1].start + found.bars[0].pieces[-1].length == pytest.approx(100)
    one = composition({0: by_round[0]})
    assert one is not None
    assert (one.about, one.rounds) == ("", None)


def test_a_bar_of_many_classes_has_as_many_pieces_as_there_are_colours() -> None:
    counts = {"train": {f"class {k}": PartCount(k + 1, k + 1) for k in range(40)}}
    found = composition({0: data_of(counts=counts)})
    assert found is not None
    [bar] = found.bars
    assert len(bar.pieces) == len({piece.colour for piece in bar.pieces}) == 12
    assert bar.pieces[-1].name == "all other classes"
    assert bar.pieces[0].name == "class 29"  # the eleven largest, in their order
    assert len(found.grid.rows) == 41


def test_what_the_study_changed_and_passed_over_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "data", per_class=5)
    session = session_of(tmp_path / "data", tmp_path / "results")
    store_study(
        tmp_path / "results",
        session,
        Ref("folder"),
        changes=("class normal left out", HOSTILE),
        reviewed={HOSTILE: "ab" * 32, "mine.csv": "cd" * 32},
        passed_over={"masks": 798, HOSTILE: 3},
        bits=12,
        version="of 2020",
    )
    html = html_of(data_sections, tmp_path / "results")
    text = said(html)
    for part in ("Class normal left out.", "mine.csv, sha256 " + "cd" * 32, "masks (798)", "of 2020"):
        assert part in text
    assert "files with 16 bits hold 12; reduced to 8" in text
    assert not MARKUP.search(re.sub("&lt;[^&]*&gt;", "", html))


@pytest.mark.parametrize("kind", ["audits", "splits"])
@pytest.mark.parametrize("damage", ["missing", "cut short", "edited"])
def test_a_stored_file_that_cannot_be_used_is_named_and_the_rest_stays(
    study: Path, tmp_path: Path, kind: str, damage: str
) -> None:
    results = copied(study, tmp_path)
    path = sorted(results.glob(f"{kind}/folder/*.json"))[0]
    text = path.read_text(encoding="utf-8")
    if damage == "missing":
        path.unlink()
    else:
        edited = text.replace("benign/00", "benign/99").replace("benign/01", "benign/98")
        path.write_text(text[: len(text) // 2] if damage == "cut short" else edited, encoding="utf-8")
    html = html_of(data_sections, results)
    problem = {"missing": "is not among these results", "cut short": "be read", "edited": "was edited"}[
        damage
    ]
    assert any(problem in warning for warning in re.findall(r'<p class="warn">([^<]*)', html))
    assert str(tmp_path) not in html  # a page that is passed on does not name folders of a machine
    assert "assigned at random" in said(html)
    assert "Images (groups) by class and part; a group of two classes counts in both" in said(html)


def test_a_leaking_split_is_said_loudly(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "results" / "audits", tmp_path / "audits")  # made once
    session = session_of(study / "data", tmp_path)
    splits = store_study(tmp_path, session, Ref("folder"), SplitSettings(groups="none", conflicts="anywhere"))
    leaks = [split for split in splits if split.verdict and split.verdict.leaks]
    warnings = re.findall(r'<p class="warn">The split leaks. (Round \d)', html_of(data_sections, tmp_path))
    assert warnings == [f"Round {split.round}" for split in leaks]
    assert leaks


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Of images, groups and classes, in both sections."""
    classes = (HOSTILE, "b" * 4000)
    rows = tuple(f"{HOSTILE}{i}" for i in range(6))
    one = Predictions(
        classes=classes,
        ids=rows,
        groups=(HOSTILE,) * 6,
        labels=np.array([0, 0, 0, 1, 1, 1]),
        probabilities=np.array([[0.1, 0.9]] * 6),
    )
    counts = {part: dict.fromkeys(classes, PartCount(3, 2)) for part in ("train", "val", "test")}
    for method in METHODS:
        put(tmp_path, run_spec(method), one, data_of(counts=counts, title=HOSTILE))
    for make in (images_sections, data_sections):
        html = html_of(make, tmp_path)
        parsed = Parsed(html)
        assert not parsed.all("img")
        assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
        assert "\u202e" not in html
        assert "onerror=alert(1)" in parsed.said  # shown as text
        assert len(html) < 400_000
