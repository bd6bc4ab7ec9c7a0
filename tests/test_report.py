"""`bench report`: what the page says, and that nothing from outside is more than text in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sample_study
from samples import data_of, failure_of, predictions, record_of, run_spec, store_run
from typer.testing import CliRunner

import bench
from bench.cli import app
from bench.comparison.asked import question_of
from bench.data.splits.split import PartCount
from bench.identity import Ref
from bench.registry import installed
from bench.report.gathered import gather
from bench.report.page import Page, report_page, sections_of, style
from bench.report.section import Section
from bench.results import store
from bench.results.record import Provenance

FIRST_SCREEN = ["What was compared", "Verdict", "Results", "What this study could not show"]


class Parsed(HTMLParser):
    """A page as a browser takes it: elements with their attributes, and the text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.script: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.script.append(data)
        elif not self._inside:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def said(self) -> str:
        return " ".join("".join(self.text).split())


def run(results: Path, output: Path, *arguments: str, code: int = 0) -> Any:
    words = ["report", "--results", str(results), "-o", str(output), "--no-pictures", *arguments]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    if code == 0:
        assert done.exit_code == 0, (done.output, done.exception)
    return done


def page_of(results: Path, output: Path, *arguments: str) -> str:
    run(results, output, *arguments)
    return output.read_text(encoding="utf-8")


def without_figures(results: Path, **asked: Any) -> Page:
    """The page but for its figures, which take seconds to draw."""
    records, _ = store.scan(results)
    question, _ = question_of(records, installed(), **asked)
    makers = [(title, make) for title, make in sections_of() if title != "Figures"]
    named = bool(asked.get("baseline"))
    gathered = gather(records, results, question, installed(), pictures=False, baseline_asked=named)
    return report_page(gathered, makers)


def headings(html: str, level: int = 2) -> list[str]:
    return [re.sub("<[^>]*>", "", text) for text in re.findall(rf"<h{level}[^>]*>(.*?)</h{level}>", html)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_study.fill(tmp_path_factory.mktemp("study") / "results")


@pytest.fixture(scope="module")
def page(results: Path) -> str:
    return page_of(results, results.parent / "report.html")


# --- what it says ------------------------------------------------------------------------------------


def test_the_first_screen_comes_first(page: str) -> None:
    titles = headings(page)
    assert titles[:4] == FIRST_SCREEN
    assert titles[-2:] == ["Provenance", "Citations and licences"]
    assert "Failures" not in titles  # nothing failed


def test_headings_go_down_one_level_at_a_time(page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_section_is_in_the_contents(page: str) -> None:
    parsed = Parsed(page)
    ids = [attributes["id"] for attributes in (a for _, a in parsed.tags) if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"].removeprefix("#") for a in parsed.all("a")]
    assert set(links) <= set(ids)
    sections = [a["id"] for a in parsed.all("section")]
    assert sections == [link for link in links if link in sections][: len(sections)]


def test_values_are_those_of_bench_table(results: Path, page: str) -> None:
    done = CliRunner().invoke(app, ["table", "--results", str(results), "-f", "json"], env={"COLUMNS": "200"})
    [table] = json.loads(done.stdout)["tables"] if "tables" in done.stdout[:20] else json.loads(done.stdout)
    for row in table["rows"]:
        for value in row["values"].values():
            assert f">{value['mean']:.4f}<" in page


def test_the_verdict_is_that_of_bench_compare(results: Path, page: str) -> None:
    """With the declared baseline, its interval and Holm's adjustment over what was declared."""
    done = CliRunner().invoke(app, ["compare", "scratch", "imagenet", "--results", str(results)])
    found = re.search(
        r"by ([\d.]+) points \(95 % interval ([\d.]+) to ([\d.]+), p (.+?) after Holm", done.stdout
    )
    assert found, done.stdout
    said = Parsed(page).said
    assert f"better than scratch ({sample_score(results, 'scratch')}), by {found[1]} points" in said
    assert f"95 % interval {found[2]} to {found[3]}" in said
    assert "Declared before the study was run." in said


def sample_score(results: Path, strategy: str) -> str:
    scores = bench.load_results(results, "accuracy").rounds
    return f"{scores[scores.method == strategy].accuracy.mean():.4f}"


def test_each_row_says_how_to_make_it_again(page: str) -> None:
    commands = re.findall(r"<code>(bench run [^<]*)</code>", page)
    assert len(commands) == 6
    assert any("--strategies egmae --ensembles none" in command for command in commands)
    keys = re.findall(r'<td class="hash">([0-9a-f]{16})</td>', page)
    assert len(keys) >= 6 * 5


def test_what_could_not_be_shown_is_said(results: Path, tmp_path: Path) -> None:
    """Too few rounds, a failure, claims that must not be made."""
    for number in range(2):
        for strategy in ("egmae", "imagenet"):
            store_run(tmp_path / "results", run_spec(strategy, number), seed=len(strategy))
    store.write_failure(tmp_path / "results", failure_of(run_spec("mae", 0), "ran out of memory"))
    said = Parsed(without_figures(tmp_path / "results").html).said
    assert "2 rounds: too few for any verdict. It takes 3 to test a difference" in said
    assert "mae: round 0 failed: ran out of memory" in said
    assert "The methods generalise to other hospitals, devices or populations." in said
    assert "No verdict: two rounds are too few." in said
    assert "No test image was seen in training." in said  # nothing was audited


def test_failures_have_their_cause(tmp_path: Path) -> None:
    store_run(tmp_path / "results", run_spec("egmae"))
    for number in range(3):
        store.write_failure(tmp_path / "results", failure_of(run_spec("mae", number), "the disk is full"))
    page = without_figures(tmp_path / "results").html
    assert "Failures" in headings(page)
    failures = page[page.index('<section id="failures"') : page.index('<section id="methods"')]
    assert failures.count("the disk is full") == 1
    assert failures.count("<li>busi run convnext_tiny.mae.r") == 3
    assert "<pre>Traceback</pre>" in failures


def test_several_data_sets_say_what_they_share_once(tmp_path: Path) -> None:
    results = sample_study.fill(tmp_path / "results", ("busi", "isic2018"), rounds=3, images=30)
    page = without_figures(results).html
    compared = page[page.index('<section id="compared"') : page.index('<section id="verdict"')]
    assert compared.count("<dt>Protocol</dt>") == 1
    assert "busi, isic2018" in compared
    assert "2 data sets allow no test of ranks" in page
    assert "Over 2 tables: egmae is ahead of imagenet on" in page


def test_a_baseline_that_no_row_has(tmp_path: Path) -> None:
    """One that was declared is a warning, one that was asked for an error."""
    results = sample_study.fill(tmp_path / "results", rounds=3, images=30, baseline="egame")
    made = without_figures(results)
    assert any("declared baseline cannot be compared with" in warning for warning in made.warnings)
    page = made.html
    assert "has the best mean Accuracy" in page
    assert "Declared before" not in page
    done = run(results, tmp_path / "other.html", "--baseline", "egame", code=1)
    assert "did you mean egmae" in str(done.exception)
    assert not (tmp_path / "other.html").exists()


def test_nothing_has_finished(tmp_path: Path) -> None:
    store.write_failure(tmp_path / "results", failure_of(run_spec("mae"), "no such file"))
    page = without_figures(tmp_path / "results").html
    assert headings(page)[0] == "What was compared"
    assert "Nothing has finished yet, so nothing is compared (busi)" in Parsed(page).said
    assert "no such file" in page
    assert "Results" not in headings(page)


# --- what it is --------------------------------------------------------------------------------------


def test_the_same_results_give_the_same_page_wherever_they_lie(
    results: Path, page: str, tmp_path: Path
) -> None:
    shutil.copytree(results, tmp_path / "elsewhere")
    (tmp_path / "r.html").write_text(page)  # a page of ours is replaced
    assert page_of(tmp_path / "elsewhere", tmp_path / "r.html") == page
    assert str(results) not in page


def test_the_policy_permits_the_script_of_the_page_alone(page: str) -> None:
    parsed = Parsed(page)
    [policy] = [a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256("".join(parsed.script).encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "base-uri 'none'; form-action 'none'" in policy
    assert len(parsed.all("script")) == 1
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base"), tag
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), attributes


def test_the_page_can_be_read_without_the_script(page: str) -> None:
    """It adds controls: none stands in the page itself, and nothing is hidden."""
    parsed = Parsed(page)
    assert not [tag for tag, _ in parsed.tags if tag in ("button", "input", "select", "dialog")]
    assert not [a for _, a in parsed.tags if "hidden" in a]


def test_tables_have_heads_with_a_scope(page: str) -> None:
    parsed = Parsed(page)
    assert all(a.get("scope") in ("col", "row") for a in parsed.all("th"))
    assert len(parsed.all("caption")) >= len([a for a in parsed.all("table") if a])


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2 defines it: 1 to 21."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_contrast_enough(theme: int) -> None:
    """Text 4.5 (WCAG AA), lines and marks of series 3."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style())
    colours = {name: pair[theme] for name, *pair in pairs}
    for ground in ("paper", "raised"):
        for text in ("ink", "quiet", "strong", "alarm"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["ink"], colours["mark"]) >= 4.5
    for number in range(1, 13):
        assert contrast(colours[f"c{number}"], colours["paper"]) >= 3, number


def test_a_report_of_many_methods_is_small(tmp_path: Path) -> None:
    """Without figures: one table's share of a megabyte for four of them."""
    results = sample_study.fill(tmp_path / "results", models=sample_study.MODELS, images=30)
    page = without_figures(results, baseline="resnet50.imagenet").html
    assert len(page.encode()) < 500_000


# --- what comes from outside -------------------------------------------------------------------------

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "safe\u202egnp.exe\u2066",
    "a\x00b\x1b[2Jc\x7f",
    "&lt;b&gt; &amp;",
    "javascript:alert(1)",
    "--><!--",
)


def test_names_and_texts_from_outside_are_text(tmp_path: Path) -> None:
    """Of data set, class, strategy, network, file, plugin, package, failure and note."""
    text = " ".join(HOSTILE)
    results = tmp_path / "results"
    classes = (text, "b" + text, "c")
    each = predictions(1, classes=classes)
    each = replace(each, ids=tuple(f"{i}{text}" for i in range(len(each.ids))))
    counts = {part: {name: PartCount(20, 10) for name in classes} for part in ("train", "val", "test")}
    made = Provenance(
        plugins={text: {"distribution": text, "version": text}},
        hardware={"device": "cpu", "cpu": text},
        git={"commit": text},
        packages={"numpy": text},
        python=text,
        platform=text,
    )
    for strategy in ("egmae", text):
        spec = run_spec(Ref(strategy, {"note": text}), dataset=Ref("busi", {"path": text}))
        record = record_of(
            spec,
            data=data_of(title=text, counts=counts, changes=(text,), version=text, passed_over={text: 3}),
            provenance=made,
            notes=(text,),
            weights=text,
        )
        store.write(results, record, predictions={"val": each, "test": each})
    failed = failure_of(run_spec(Ref(text), 1, dataset=Ref("busi", {"path": text})), text)
    store.write_failure(results, replace(failed, traceback=f"Traceback\n{text}"))
    page = without_figures(results).html
    parsed = Parsed(page)
    assert [len(parsed.all(tag)) for tag in ("script", "img", "form", "b")] == [1, 0, 0, 0]
    assert not [a for _, a in parsed.tags for name in a if name.startswith(("on", "autofocus"))]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    assert not re.search(r"This section could not be made", page), page
    for one in HOSTILE:
        plain = one.encode("unicode_escape").decode() if re.search("[\x00\u202e]", one) else one
        assert plain in parsed.said, plain


def test_one_section_that_cannot_be_made_leaves_the_others(results: Path) -> None:
    def good(gathered: Any) -> Sequence[Section]:
        return [Section("good", "Good", "<p>good</p>")]

    def bad(gathered: Any) -> Sequence[Section]:
        raise ZeroDivisionError("<b>by zero")

    records, _ = store.scan(results)
    question, _ = question_of(records, installed())
    gathered = gather(records, results, question, installed())
    page = report_page(gathered, [("Bad", bad), ("Good", good), ("Good again", good)])
    assert headings(page.html) == ["Bad", "Good", "Good"]
    assert "ZeroDivisionError: &lt;b&gt;by zero" in page.html
    assert page.warnings == ["section 'Bad' could not be made: ZeroDivisionError: <b>by zero"]
    ids = [a["id"] for a in Parsed(page.html).all("section")]
    assert ids == ["broken-0", "good", "good-2"]


def test_damaged_results_are_told_of(tmp_path: Path) -> None:
    results = sample_study.fill(tmp_path / "results", rounds=3, images=30)
    runs = sorted((results / "runs" / "busi").iterdir())
    (runs[0] / "predictions.parquet").write_bytes(b"x")
    (runs[1] / "record.json").write_text("{")
    done = run(results, tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert headings(page)[:4] == FIRST_SCREEN
    assert "Failures" in headings(page)
    assert "This section could not be made" not in page
    for folder in runs[:2]:
        assert folder.name in done.stderr


def test_a_metric_that_raises_takes_its_cells_alone(tmp_path: Path) -> None:
    results = sample_study.fill(tmp_path / "results", rounds=3, images=30)

    def broken(predictions: Any) -> float:
        raise RuntimeError("<i>no")

    registry = installed()
    entries = dict(registry.metrics.entries)
    entry = entries["auc"]
    entries["auc"] = replace(
        entry, component=replace(entry.component, score=broken, of_counts=None, of_weights=None)
    )
    changed = replace(registry, metrics=replace(registry.metrics, entries=entries))
    records, _ = store.scan(results)
    question, _ = question_of(records, changed, metric="auc")
    makers = [(title, make) for title, make in sections_of() if title != "Figures"]
    page = report_page(gather(records, results, question, changed), makers)
    assert "could not be computed" in page.html
    assert "&lt;i&gt;no" in page.html
    assert any("<i>no" in warning for warning in page.warnings)
    assert "nothing is compared by AUC" in page.html
    assert set(FIRST_SCREEN) <= set(headings(page.html))


# --- what a user does wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "report.pdf"], "give a name that ends in .html"),
        (["-o", "mine.html"], "is there already and is no page of bench"),
        (["-o", "folder.html"], "cannot be read"),
        (["--results", "nowhere"], "no such folder"),
        (["-d", "busy"], "did you mean busi"),
        (["--metric", "acuracy"], "did you mean accuracy"),
        (["--margin", "-1"], ""),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.html").write_text("<p>my own page")
    Path("folder.html").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    words = ["report", "--results", str(results), *arguments]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert Path("mine.html").read_text() == "<p>my own page"


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_extra_says_how_to_install_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a)
    )
    done = run(results, tmp_path / "r.html", code=1)
    assert f'bench report needs {package}: pip install "medbench[report]"' in str(done.exception)


def test_the_same_from_python(results: Path, page: str, tmp_path: Path) -> None:
    warnings = bench.write_report(bench.load_results(results), tmp_path / "r.html", pictures=False)
    assert warnings == []
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page
    with pytest.raises(bench.ConfigError, match=r"ends in \.html"):
        bench.write_report(bench.load_results(results), tmp_path / "r.txt")
