"""What the project says of itself: dependencies, version, and the files that an installation needs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import hatchling.build
import pytest

import bench

ROOT = Path(bench.__file__).parent.parent
OURS = re.compile(r"bench(_\w+)?")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a source tree")


def _project() -> dict:  # type: ignore[type-arg]
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _normalized(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=! ;]", requirement)[0]).lower()


def _imported(folder: str) -> dict[str, Path]:
    """Every third-party module that the code of a folder imports, and a file that does."""
    modules = {}
    for path in (ROOT / folder).rglob("*.py"):
        if "bench_medmnist" in path.parts:  # a distribution of its own
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.append(node.module)
            modules |= {name.partition(".")[0]: path for name in names}
    return {
        name: path
        for name, path in modules.items()
        if name not in sys.stdlib_module_names and not OURS.fullmatch(name)
    }


def test_every_import_is_a_declared_dependency() -> None:
    """Not only something that another dependency happens to bring."""
    project = _project()["project"]
    declared = {_normalized(requirement) for requirement in project["dependencies"]}
    optional = project["optional-dependencies"]
    declared |= {_normalized(r) for extra in ("offline", "cost", "kaggle") for r in optional[extra]}
    distributions = packages_distributions()
    for module, path in {**_imported("bench"), **_imported("plugins")}.items():
        names = {_normalized(name) for name in distributions.get(module, [module])}
        assert names & declared, f"{path} imports {module}, which pyproject.toml does not declare"


def test_every_dependency_is_imported() -> None:
    """timm and the like are; what is not needed any more goes."""
    distributions = packages_distributions()
    used = {
        _normalized(name)
        for module in {**_imported("bench"), **_imported("plugins")}
        for name in distributions.get(module, [module])
    }
    declared = {_normalized(requirement) for requirement in _project()["project"]["dependencies"]}
    assert not declared - used


def test_the_citation_names_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {bench.__version__}\n" in text


def test_the_wheel_has_all_that_is_read_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wheel = zipfile.ZipFile(tmp_path / hatchling.build.build_wheel(str(tmp_path)))
    names = set(wheel.namelist())
    assert {"bench/py.typed", "bench/__init__.pyi", "bench/reported/florindo-moura-2026.csv"} <= names
    ours = [
        ROOT / "bench",
        *(path for path in (ROOT / "plugins").glob("bench_*") if path.name != "bench_medmnist"),
    ]
    for package in ours:
        files = [f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        lacking = {f.relative_to(package.parent).as_posix() for f in files} - names
        assert not lacking
