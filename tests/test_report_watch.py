"""`bench report --watch`: the page of a study that runs, and the last one."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import run_spec, store_run
from test_cli import bench, command, environment
from test_status import UNITS, plan_of, seen, study

from bench import Outcome, StoreError
from bench.cli import report_watch
from bench.execution.status import Command, FolderStatus, StudyStatus
from bench.execution.status_file import told
from bench.page import html_page
from bench.report.live import banner, live_page
from bench.report.page import Page

REFRESH = re.compile(r'<meta http-equiv="refresh" content="\d+">')
RUNS = (Command(host="node7", pid=7, state="at work", study="s"),)


def status(title: str = "busi: egmae, quick", **changes: Any) -> StudyStatus:
    told: dict[str, Any] = {"name": "s", "title": title, "units": 30, "done": 12, "commands": RUNS}
    return StudyStatus(**{**told, **changes})


def page_as(path: Path, wanted: Callable[[str], object]) -> str:
    """The page, as soon as it is as wanted."""
    deadline = time.monotonic() + 120
    while not (path.exists() and wanted(text := path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return text


def test_the_banner_says_how_far_studies_are() -> None:
    one = status(failed=2, left=840.0)
    assert banner([one]) == ["Running: 12 of 30 units done; 2 failed; about 14 min left"]
    two = [one, status("isic2018: mae, quick", units=0)]
    assert banner(two)[1] == "isic2018: mae, quick: being planned"


def test_a_page_that_is_live_is_the_page_with_three_things_more() -> None:
    page = html_page("busi", "<h1>busi</h1>\n<body>\n", script="let x;")
    live = live_page(page, FolderStatus(studies=(status("<b>&"), status("b"))), 20.4)
    assert live.count('<meta http-equiv="refresh" content="20">') == 1
    assert "<title>24/60 busi</title>" in live
    assert "&lt;b&gt;&amp;: 12 of 30 units done" in live
    shown = re.search(r'<p role="status".*?</p>\n', live)
    assert shown
    assert (
        REFRESH.sub("", live, count=1)
        .replace(shown[0], "")
        .replace("24/60 ", "")
        .replace("<head>\n\n", "<head>\n")
        == page
    )


def test_it_is_made_anew_when_units_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And written with another banner in between, without being made."""
    monkeypatch.setattr(report_watch, "EVERY", 0.3)
    monkeypatch.setattr(report_watch, "LOOK", 0.1)
    made: list[int] = []

    def make() -> Page:
        made.append(1)
        return Page(html_page(f"number {len(made)}", "<p>results</p>"), ())

    with told(study(), tmp_path / ".scratch") as writer:
        writer.plan(plan_of(*UNITS), UNITS)
        seen(tmp_path, lambda study: study.commands and study.units)
        output = tmp_path / "report.html"
        watching = threading.Thread(target=report_watch.write_again, args=(make, output, tmp_path))
        watching.start()
        page_as(output, lambda text: "0 of 4 units done" in text)
        count = len(made)
        time.sleep(1.0)
        assert len(made) == count == 1
        store_run(tmp_path, UNITS[0])
        writer.ended(Outcome(unit=UNITS[0], status="done", seconds=1.0))
        page = page_as(output, lambda text: "1 of 4 units done" in text)
        assert "number 2" in page
        assert REFRESH.search(page)
    watching.join(30)
    assert output.read_text() == html_page(f"number {len(made)}", "<p>results</p>")


def test_a_study_of_which_nothing_came_leaves_no_page_that_says_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_watch, "EVERY", 0.2)
    monkeypatch.setattr(report_watch, "LOOK", 0.1)
    output = tmp_path / "report.html"
    raised: list[BaseException] = []

    def make() -> Page:
        raise StoreError("no run has finished")

    def watch() -> None:
        try:
            report_watch.write_again(make, output, tmp_path)
        except StoreError as error:
            raised.append(error)

    with told(study(), tmp_path / ".scratch"):
        seen(tmp_path, lambda study: study.commands)
        watching = threading.Thread(target=watch)
        watching.start()
        page_as(output, REFRESH.search)
    watching.join(30)
    assert [str(error) for error in raised] == ["no run has finished"]
    assert not REFRESH.search(output.read_text())
    assert "Nothing to report yet" in output.read_text()


@pytest.mark.long
def test_the_last_page_is_what_bench_report_writes(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for strategy in ("egmae", "imagenet"):
        for round_ in range(2):
            store_run(results, run_spec(strategy, round_))
    with told(study(), results / ".scratch") as writer:
        writer.plan(plan_of(*UNITS), UNITS)
        seen(results, lambda study: study.commands and study.units)
        watching = subprocess.Popen(
            command("report", "--watch", "-o", "live.html"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        live = page_as(tmp_path / "live.html", REFRESH.search)
        assert "Running: " in live
        assert "egmae" in live
    printed, said = watching.communicate(timeout=120)
    assert (watching.returncode, printed) == (0, "")
    assert re.search(
        r"^\d\d:\d\d:\d\d  written: live.html \(.*\); phantom: egmae, scratch, quick: ", said, re.M
    )
    assert said.rstrip().endswith("nothing runs any more")
    bench(tmp_path, "report", "-o", "plain.html")
    assert (tmp_path / "live.html").read_bytes() == (tmp_path / "plain.html").read_bytes()
