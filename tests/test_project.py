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


# What our code imports, if it is there.
EXTRAS = ("offline", "cost", "diagram", "dicom", "energy", "explain", "export", "kaggle")
EXTRAS += ("mlflow", "nifti", "noise", "report", "tensorboard", "wandb")
ELSEWHERE = {  # distributions of modules that need not be installed for tests
    "mlflow": "mlflow-skinny",
    "pynvml": "nvidia-ml-py",
    "scikit_posthocs": "scikit-posthocs",
}


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
    declared |= {_normalized(r) for extra in EXTRAS for r in optional[extra]}
    distributions = packages_distributions()
    for module, path in {**_imported("bench"), **_imported("plugins")}.items():
        known = distributions.get(module, [ELSEWHERE.get(module, module)])
        names = {_normalized(name) for name in known}
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


def test_the_changelog_begins_with_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest
    assert newest[1] == bench.__version__


# --- the distribution is called medbench: `bench` on the package index is somebody else's project ----

OTHERS = re.compile(
    r"""
    \bpip3?\ install\b [^\n&|;`]*? [\s"']bench(?![\w./-])        # an installation of it
    | dependencies\s*=\s*\[ [^\]]*? ["']bench\s*["'\[<>=~!;@]  # a package that depends on it
    | (?<![\w./-])bench\[[a-z]                                # an extra of it
    """,
    re.VERBOSE,
)
TEXTS = {".cfg", ".cff", ".ipynb", ".md", ".py", ".pyi", ".sh", ".toml", ".txt", ".yaml", ".yml", ""}
FOLDERS = ("bench", "benchmarks", "docs", "plugins", "scripts", "studies", "tests", ".ci", ".github")


@pytest.mark.parametrize(
    "text",
    [
        "$ pip install NAME",
        "uv pip install -U 'NAME'",
        "pip install numpy NAME>=2 && bench run",
        'pip install "NAME[kaggle]"',
        "the extra NAME[offline]",
        'dependencies = ["numpy>=2", "NAME"]',
        'dependencies = [\n  "numpy",\n  "NAME >= 0.1",\n]',
        'dependencies = ["NAME[cost]"]',
    ],
)
def test_a_file_that_names_another_projects_distribution_is_noticed(text: str) -> None:
    assert OTHERS.search(text.replace("NAME", "bench"))
    assert not OTHERS.search(text.replace("NAME", "medbench"))


@pytest.mark.parametrize(
    "text",
    [
        'pip install -e ".[offline]" && bench run',
        'pip install "medbench[kaggle]"',
        "pip install ./plugins/bench_medmnist",
        "pip uninstall bench, then pip install --force-reinstall --no-deps medbench",
        "`pip install ./bench`",
        'dependencies = ["medbench", "bench-example"]',
        'packages = ["bench"]',
        "pip install bench-example",
    ],
)
def test_a_file_that_names_ours_is_not(text: str) -> None:
    assert not OTHERS.search(text)


def test_no_file_installs_or_needs_another_projects_distribution() -> None:
    looked_at = 0
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    for path in [*ROOT.iterdir(), *inside]:
        if path.suffix not in TEXTS or not path.is_file() or path.name == ".git":
            continue
        if {"data", "__pycache__"} & set(path.relative_to(ROOT).parts) and path.suffix != ".py":
            continue  # stored results are as they were
        text = path.read_text(encoding="utf-8", errors="replace")
        looked_at += 1
        assert not (found := OTHERS.search(text)), f"{path}: {found[0]!r}; the distribution is medbench"
    assert looked_at > 150


def test_what_the_project_and_its_plugins_depend_on_is_ours() -> None:
    """As the files say it to pip, whatever their layout."""
    for path in (
        "pyproject.toml",
        "plugins/bench_medmnist/pyproject.toml",
        "tests/third_party/pyproject.toml",
    ):
        project = tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        needed = {_normalized(name) for names in (project["dependencies"], *extras) for name in names}
        assert "medbench" in needed, path
        assert "bench" not in needed, path


def test_the_wheel_has_all_that_is_read_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wheel = zipfile.ZipFile(tmp_path / hatchling.build.build_wheel(str(tmp_path)))
    names = set(wheel.namelist())
    assert {
        "medbench.py",
        "bench/py.typed",
        "bench/__init__.pyi",
        "bench/reported/florindo-moura-2026.csv",
    } <= names
    ours = [
        ROOT / "bench",
        *(path for path in (ROOT / "plugins").glob("bench_*") if path.name != "bench_medmnist"),
    ]
    for package in ours:
        files = [f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        lacking = {f.relative_to(package.parent).as_posix() for f in files} - names
        assert not lacking
