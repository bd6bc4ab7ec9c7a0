"""The report in a real Chromium: what its script does, and that it reads well without it.

Needs playwright (the extra `browser`) and a Chromium: $BENCH_CHROMIUM, one on the PATH, or playwright's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_study
from samples import failure_of, run_spec
from typer.testing import CliRunner

from bench.cli import app
from bench.results import store

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Error, Page, sync_playwright

WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("BENCH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        try:  # root, as which containers run tests, has no sandbox
            running = playwright.chromium.launch(executable_path=found, chromium_sandbox=False)
        except Error as error:
            pytest.skip(f"no Chromium: {error}")
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report of two data sets, with a failure and hostile names."""
    folder = tmp_path_factory.mktemp("study")
    results = sample_study.fill(folder / "results", ("busi", "isic2018"), rounds=3, images=45)
    failure = failure_of(run_spec("mae", 7), "<img src=x onerror=alert(1)>")
    store.write_failure(results, failure)
    words = ["report", "--results", str(results), "-o", str(folder / "r.html"), "--no-pictures"]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return (folder / "r.html").as_uri()


class Opened:
    """A page, with all that the browser said and asked for meanwhile."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.noise: list[str] = []
        page.on("console", lambda message: self.noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.noise.append(f"dialog: {dialog.message}"))
        page.on("request", self._note)
        page.goto(address)

    def _note(self, request: Any) -> None:
        if request.url.split("#")[0] != self.page.url.split("#")[0] and not request.url.startswith("data:"):
            self.noise.append(f"request: {request.url}")


@pytest.fixture
def opened(browser: Browser, report: str) -> Iterator[Page]:
    """The report; nothing may be said on the console and nothing asked for while the test uses it."""
    context = browser.new_context(viewport=WIDE, color_scheme="light")
    page = Opened(context.new_page(), report)
    yield page.page
    assert [line for line in page.noise if report not in line] == []
    context.close()


def column(page: Page, head: str) -> list[str]:
    """The texts of one column of the first main table."""
    table = page.locator("table.main").first
    heads = [text.split("\n")[0].strip() for text in table.locator("thead th").all_inner_texts()]
    place = next(i for i, text in enumerate(heads) if text.startswith(head))
    return [
        text.split()[0] for text in table.locator(f"tbody tr > :nth-child({place + 1})").all_inner_texts()
    ]


def test_columns_sort_both_ways_the_best_first(opened: Page) -> None:
    table = opened.locator("table.main").first
    head = table.get_by_role("columnheader", name="Accuracy")
    before = column(opened, "Accuracy")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert column(opened, "Accuracy") == sorted(before, reverse=True)
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(opened, "Accuracy") == sorted(before)
    table.get_by_role("columnheader", name="Method").get_by_role("button").click()
    assert column(opened, "Method") == sorted(column(opened, "Method"))
    assert head.get_attribute("aria-sort") is None


def test_rows_and_data_sets_are_filtered(opened: Page) -> None:
    visible = opened.locator("table.main tbody tr:visible")
    assert visible.count() == 12
    opened.get_by_label("Filter methods").fill("EGMAE mean")
    assert visible.count() == 2
    assert opened.get_by_role("status").inner_text() == "2 of 12 rows"
    opened.get_by_label("Data set").select_option(label="isic2018")
    assert visible.count() == 1
    assert opened.locator("#verdict [data-dataset='busi']:visible").count() == 0
    opened.get_by_label("Filter methods").fill("no such row")
    assert visible.count() == 0
    opened.get_by_label("Filter methods").fill("")
    opened.get_by_label("Data set").select_option(label="all")
    assert visible.count() == 12


def background(page: Page) -> str:
    found: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


def test_the_theme_is_chosen_and_remembered(opened: Page) -> None:
    light = background(opened)
    opened.emulate_media(color_scheme="dark")
    dark = background(opened)
    assert dark != light
    opened.get_by_role("button", name="Light").click()
    assert background(opened) == light
    opened.reload()
    assert background(opened) == light
    assert opened.get_by_role("button", name="Light").get_attribute("aria-pressed") == "true"
    opened.get_by_role("button", name="System").click()
    assert background(opened) == dark


def test_a_cell_says_where_it_comes_from_by_keyboard(opened: Page) -> None:
    cell = opened.locator("table.main").first.locator("tbody tr").first.locator("td button").first
    value = cell.inner_text().split()[0]
    cell.focus()
    cell.press("Enter")
    dialog = opened.get_by_role("dialog")
    assert dialog.is_visible()
    text = dialog.inner_text()
    assert value in text
    assert "95 % interval" in text
    assert "bench run --dataset busi" in text
    assert "Accuracy" in dialog.get_by_role("heading").first.inner_text()
    heads = dialog.locator("thead th").all_inner_texts()
    assert heads == ["Round", "Accuracy", "Unit", "Split", "Predictions, sha256"]  # of this metric alone
    assert opened.evaluate("document.activeElement.textContent") == "Close"
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert opened.evaluate("document.activeElement.textContent").split()[0] == value.split("[")[0]


@pytest.mark.parametrize("width", [320, 800, 1920])
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_the_page_never_scrolls_sideways(browser: Browser, report: str, width: int, script: bool) -> None:
    """Tables scroll in themselves; with all details open, too."""
    context = browser.new_context(viewport={"width": width, "height": 800}, java_script_enabled=script)
    page = context.new_page()
    page.goto(report)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_all_is_there_without_javascript(browser: Browser, report: str) -> None:
    context = browser.new_context(viewport=WIDE, java_script_enabled=False)
    page = Opened(context.new_page(), report)
    assert page.page.get_by_role("heading", level=2).all_inner_texts()[:2] == ["What was compared", "Verdict"]
    assert page.page.get_by_role("button").count() == 0
    assert page.page.locator("table.main tbody tr:visible").count() == 12
    summary = page.page.locator("details.origins > summary").first
    summary.click()
    assert page.page.get_by_text("bench run --dataset busi").first.is_visible()
    assert [line for line in page.noise if report not in line] == []
    context.close()


def test_it_prints_with_details_open_and_without_controls(browser: Browser, report: str) -> None:
    context = browser.new_context(viewport=WIDE, color_scheme="dark")
    page = context.new_page()
    page.goto(report)
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    assert not page.locator(".tools").is_visible()
    assert not page.locator("nav").is_visible()
    shown = page.locator(".origin pre").first.bounding_box()
    assert shown is not None
    assert shown["height"] > 0
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 4 <= printed.count(b"/Type /Page\n") <= 60
    context.close()


def test_names_from_outside_do_nothing(browser: Browser, report: str) -> None:
    context = browser.new_context(viewport=WIDE)
    page = Opened(context.new_page(), report)
    assert page.page.get_by_text("<img src=x onerror=alert(1)>").count() > 0
    assert page.page.locator("img").count() == 0
    for button in page.page.locator("table.main th button").all()[:4]:
        button.click()
    assert [line for line in page.noise if report not in line] == []
    context.close()


def test_the_policy_is_enforced(browser: Browser, report: str, tmp_path: Path) -> None:
    """What is put into the page afterwards neither runs nor loads anything."""
    html = Path(report.removeprefix("file://")).read_text(encoding="utf-8")
    added = "<script>document.title = 'ran'</script><img src='http://localhost:9/x.png'></body>"
    (tmp_path / "changed.html").write_text(html.replace("</body>", added), encoding="utf-8")
    context = browser.new_context()
    empty = context.new_page()
    blocked: list[str] = []
    empty.on("requestfailed", lambda request: blocked.append(f"{request.url} {request.failure}"))
    page = Opened(empty, (tmp_path / "changed.html").as_uri())
    assert page.page.title() != "ran"
    assert len([line for line in page.noise if "Content Security Policy" in line]) >= 2
    assert blocked == ["http://localhost:9/x.png csp"]  # by the policy, and not because nobody answers
    context.close()
