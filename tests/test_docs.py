"""The code in docs/ is run as a reader would: plugins.md as a package, api.md from top to bottom."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_cli import bench, environment, workspace

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\S+\.\w+)(, continued)?\n")


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    line: int
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(match[1], text.count("\n", 0, match.start()) + 2, match[2])


# --- plugins.md --------------------------------------------------------------------------------------


class Package(NamedTuple):
    """The package of plugins.md: its source tree, and where it is installed."""

    source: Path
    installed: str


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    source, target = tmp_path_factory.mktemp("bench-mine"), tmp_path_factory.mktemp("site")
    for block in blocks("plugins.md"):
        name = FILE.match(block.text)
        assert name, f"plugins.md, line {block.line}: the block does not begin with the name of its file"
        file = source / name[1]
        file.parent.mkdir(exist_ok=True)
        assert file.exists() == bool(name[2]), f"plugins.md, line {block.line}: {name[1]}"
        with file.open("a", encoding="utf-8") as stream:
            stream.write(block.text)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return Package(source, str(target))


def test_the_components_of_the_page_conform(package: Package) -> None:
    """By the tests of the page itself."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests"],
        cwd=package.source,
        env=environment(PYTHONPATH=package.installed),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout


def test_every_check_is_used_on_the_page(package: Package) -> None:
    from bench import testing

    text = (package.source / "tests" / "test_bench_mine.py").read_text(encoding="utf-8")
    used = {name for name in testing.__all__ if f"testing.{name}(" in text}
    assert used == set(testing.__all__) - {"check_component"}  # with which each of the others begins


def test_a_study_with_the_components_of_the_page(package: Package, tmp_path: Path) -> None:
    """One of each kind: data set, model, family, strategy, ensemble, executor, metric, reporter, tracker."""
    from PIL import Image

    for label, level in (("benign", 60), ("malignant", 160)):
        (tmp_path / "scans" / label).mkdir(parents=True)
        for number in range(24):
            path = tmp_path / "scans" / label / f"{label[0]}{number // 2}_{number % 2}.png"
            Image.effect_noise((48, 48), 4 * number + 8).point(lambda v, level=level: v // 2 + level).save(
                path
            )
    path = package.installed
    arguments = ["run", "-d", "scans", "--models", "small,small16", "-s", "denoise,orthogonal"]
    arguments += ["--ensembles", "by_accuracy", "--executor", "noted", "-p", "tiny.toml", "--threads", "1"]
    chosen = ["--set", "strategy.denoise.noise=0.25", "--set", "dataset.scans.views=first", "--track", "told"]
    bench(workspace(tmp_path), *arguments, *chosen, "--data", str(tmp_path), PYTHONPATH=path)
    log = (tmp_path / "results" / "units.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in log] == ["pretrain", "run", "run", "ensemble"] * 2
    assert all(" done " in line for line in log)
    told = (tmp_path / "results" / "told.txt").read_text(encoding="utf-8").splitlines()
    assert len(told) == len(log)
    assert sum(" done accuracy 0." in line for line in told) == 6  # all but the pretrainings
    table = bench(
        tmp_path, "table", "--metrics", "worst_recall,accuracy", "--format", "lines", PYTHONPATH=path
    ).stdout
    for text in ("small denoise: Worst recall 0.", "small16 by_accuracy(denoise + orthogonal): Accuracy 0."):
        assert text in table


def test_parameters_are_explained_as_the_page_says(package: Package, tmp_path: Path) -> None:
    for name, text in (
        ("scans", "all or first"),
        ("scans", '"all" views of a patient, or the "first" alone'),
        ("denoise", "standard deviation of what is added"),
        ("small", "channels of the feature maps"),
    ):
        shown = bench(tmp_path, "show", name, PYTHONPATH=package.installed).stdout
        assert text in " ".join(shown.split())
    listed = bench(tmp_path, "list", "plugins", PYTHONPATH=package.installed).stdout
    assert "bench-mine 0.1.0" in " ".join(listed.split())


# --- api.md ------------------------------------------------------------------------------------------


def test_the_code_of_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("BENCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("api.md"):
        code = "\n" * (block.line - 1) + block.text  # so that a traceback has the page's line
        exec(compile(code, "docs/api.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "test_convnext.egmae.r1  pretrain epoch 2/2  loss 0." in printed
    assert "| test\\_convnext | mean(egmae + scratch) | 2 |" in printed
    assert "<Plan of 8 units, 0 to do>" in printed
    assert "unknown strategy 'egame'; did you mean egmae" in printed
    assert names["outcomes"] == []
    assert len(names["summary"]) == 4  # egmae, mae, scratch, and the ensemble of the first study
    assert names["summary"]["count"].sum() == 3 * 2 + 1
    assert names["confusion"].to_numpy().sum() == len(names["test"]) > 0
    assert list(names["curves"].index) == [1, 2]
    assert names["best"].method in ("egmae", "scratch", "mae", "mean(egmae + scratch)")
    assert "\\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")


def test_the_page_lists_the_columns_of_the_frames(tmp_path: Path) -> None:
    import bench as api

    page = (DOCS / "api.md").read_text(encoding="utf-8")
    results = api.load_results(tmp_path, "accuracy")
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (key.*) \|$", page, re.MULTILINE))
    assert rows["runs"] == ", ".join(results.runs.columns)
    assert rows["history"].replace(" (from 1)", "") == ", ".join(results.history.columns)
    assert rows["predictions"].startswith(", ".join(results.predictions.columns))
    assert list(results.rounds.columns) == [*results.runs.columns[:9], "accuracy"]
    assert results.runs.columns[8] == "split"


# --- notebook.ipynb ----------------------------------------------------------------------------------


def test_the_notebook_is_stored_with_the_output_of_one_run() -> None:
    """That it runs is tested by nbmake."""
    notebook = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    errors = [output["traceback"] for output in outputs if output["output_type"] == "error"]
    assert errors == [["UnknownName: unknown strategy 'egame'; did you mean egmae or mae?"]]
    tables = [o["data"] for o in outputs if "<Tables:" in "".join(o.get("data", {}).get("text/plain", ""))]
    assert all("<b>0." in "".join(table["text/html"]) for table in tables)
    assert tables
    assert not re.search(r"/(home|root|tmp)/", json.dumps(outputs))
