"""The code in docs/ is run as a reader would: plugins.md as a package, api.md from top to bottom."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
    assert "7 passed" in done.stdout


def test_every_check_is_used_on_the_page(package: Package) -> None:
    from bench import testing

    text = (package.source / "tests" / "test_bench_mine.py").read_text(encoding="utf-8")
    used = {name for name in testing.__all__ if f"testing.{name}(" in text}
    assert used == set(testing.__all__) - {"check_component"}  # with which each of the others begins


def test_a_study_with_the_components_of_the_page(package: Package, tmp_path: Path) -> None:
    """One of each kind: data set, model, family, strategies, ensemble, executor, metric, reporter."""
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
    arguments += ["--ensembles", "weighted", "--executor", "noted", "-p", "tiny.toml", "--threads", "1"]
    chosen = ["--set", "strategy.denoise.noise=0.25", "--set", "dataset.scans.views=first"]
    bench(workspace(tmp_path), *arguments, *chosen, "--data", str(tmp_path), PYTHONPATH=path)
    log = (tmp_path / "results" / "units.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in log] == ["pretrain", "run", "run", "ensemble"] * 2
    assert all(" done " in line for line in log)
    table = bench(
        tmp_path, "table", "--metrics", "worst_recall,accuracy", "--format", "lines", PYTHONPATH=path
    ).stdout
    for text in ("small denoise: Worst recall 0.", "small16 weighted(denoise + orthogonal): Accuracy 0."):
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
