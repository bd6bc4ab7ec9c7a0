"""The registry: a broken plugin is named with its remedy, and the rest keeps working."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

import bench
from bench.errors import ConfigError, PluginError, UnknownName, blame_text
from bench.registry import Registry, collect, installed

GOOD = """
from bench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric(name="half", about="always 0.5", title="Half", score=lambda predictions: 0.5)]
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Load a registry from plugin modules given as source, beside our own."""
    monkeypatch.syspath_prepend(tmp_path)

    def load_(**sources: str) -> Registry:
        points = list(entry_points(group="bench"))
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
            points.append(EntryPoint(name, name, "bench"))
        return collect(points)

    return load_


def test_our_own_plugins_load_without_problems() -> None:
    registry = installed()
    assert registry.problems == ()
    assert {"egmae", "mae", "noise", "imagenet", "scratch"} <= set(registry.strategies.names())
    assert {"busi", "folder", "phantom"} <= set(registry.datasets.names())
    assert all(components.all() for components in registry.kinds)


def test_our_own_plugins_are_registered_without_slow_imports() -> None:
    """Every command and every completion in a shell waits for them; even multiprocessing takes 15 ms."""
    code = (
        "import sys; before = set(sys.modules); "  # a coverage run has loaded some
        "from bench.registry import installed; assert installed().strategies.all(); "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = set(done.stdout.split())
    assert {"bench_datasets", "bench_models", "bench_standard", "bench_strategies"} <= packages
    slow = {"torch", "timm", "numpy", "pandas", "sklearn", "PIL", "pydantic", "rich", "multiprocessing"}
    assert not packages & slow


def test_a_third_party_adds_a_metric(load) -> None:  # type: ignore[no-untyped-def]
    registry = load(good=GOOD)
    assert registry.metrics.get("half").title == "Half"
    assert registry.metrics.entry("half").plugin.name == "good"


def test_our_own_plugins_come_first_whatever_the_names(load) -> None:  # type: ignore[no-untyped-def]
    """So that another's metric is not the first column of every table."""
    registry = load(aaa=GOOD)
    own = len(registry.metrics.all()) - 1
    assert [entry.plugin.distribution == "medbench" for entry in registry.metrics.entries.values()] == [
        *[True] * own,
        False,
    ]
    assert registry.plugins[-1].name == "aaa"


def test_a_plugin_that_cannot_be_imported_is_named_and_the_rest_works(load) -> None:  # type: ignore[no-untyped-def]
    registry = load(bad="import no_such_module", good=GOOD)
    (problem,) = registry.problems
    assert "plugin bad" in problem
    assert "No module named 'no_such_module'" in problem
    assert "BENCH_BLOCK=bad" in problem
    assert registry.metrics.get("half")
    with pytest.raises(UnknownName, match=r"not loaded: plugin bad"):
        registry.strategies.get("what_bad_would_register")


def test_a_misspelt_hook_is_found(load) -> None:  # type: ignore[no-untyped-def]
    registry = load(typo=GOOD.replace("register_metrics", "register_metric"))
    (problem,) = registry.problems
    assert "typo" in problem
    assert "register_metric, which is not a hook; did you mean register_metrics?" in problem


@pytest.mark.parametrize("body", ["return [42]", "raise RuntimeError('boom')", "return None"])
def test_a_hook_that_fails_or_returns_nonsense_is_named(load, body: str) -> None:  # type: ignore[no-untyped-def]
    source = f"from bench import hookimpl\n@hookimpl\ndef register_models():\n    {body}\n"
    registry = load(wild=source, good=GOOD)
    (problem,) = registry.problems
    assert "plugin wild" in problem
    assert "failed in register_models" in problem
    assert registry.metrics.get("half")


def test_a_taken_name_names_both_packages_and_only_fails_when_asked_for(load) -> None:  # type: ignore[no-untyped-def]
    registry = load(good=GOOD, second=GOOD)
    (problem,) = registry.problems
    for part in ("good", "second", "BENCH_BLOCK="):
        assert part in problem
    with pytest.raises(PluginError, match=r"metric 'half' is registered by good .* and second"):
        registry.metrics.get("half")
    assert registry.metrics.get("accuracy")


def test_bench_block_switches_a_plugin_off(load, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BENCH_BLOCK", "bad, second")
    registry = load(bad="import no_such_module", good=GOOD, second=GOOD)
    assert registry.problems == ()
    assert registry.metrics.get("half")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown strategy 'egame'; did you mean egmae"):
        installed().strategies.get("egame")
    with pytest.raises(UnknownName, match="did you mean convnext_tiny"):
        installed().models.get("convnext_tny")


def test_parameters_are_validated_and_defaults_left_out() -> None:
    registry = installed()
    assert registry.strategies.ref("egmae", {"patch": 16}).params == {}
    assert registry.strategies.ref("egmae", {"patch": 32}).params == {"patch": 32}
    with pytest.raises(ConfigError, match=r"strategy\.egmae\.patsh: no such key; did you mean patch"):
        registry.strategies.ref("egmae", {"patsh": 8})
    with pytest.raises(
        ConfigError, match=r"strategy\.egmae\.colour = 'red': must be 'luma', 'channels' or 'joint'"
    ):
        registry.strategies.ref("egmae", {"colour": "red"})


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_plugins_import_only_what_is_public() -> None:
    root = Path(bench.__file__).parent.parent / "plugins"
    if not root.exists():
        pytest.skip("not a source tree")
    public = {"bench", *(f"bench.{name}" for name in bench.__all__)}
    for path in root.rglob("*.py"):
        if "tests" in path.parts:
            continue
        private = {name for name in _imports(path) if name.partition(".")[0] == "bench"} - public
        assert not private, f"{path} imports {private}"


def test_the_core_names_no_plugin() -> None:
    root = Path(bench.__file__).parent
    for path in root.rglob("*.py"):
        assert not [name for name in _imports(path) if name.startswith("bench_")], path


def test_only_the_engine_and_what_measures_import_torch_at_the_top() -> None:
    root = Path(bench.__file__).parent
    for path in root.rglob("*.py"):
        if path.is_relative_to(root / "engine"):
            continue
        tree = ast.parse(path.read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {a.name for n in top for a in n.names} | {
            n.module or "" for n in top if isinstance(n, ast.ImportFrom)
        }
        assert not {"torch", "timm", "pandas"} & {name.split(".")[0] for name in names}, path


def test_the_authors_network_takes_the_place_of_a_reconstruction(load) -> None:  # type: ignore[no-untyped-def]
    """With nothing switched off, and under keys of its own."""
    official = """
from bench import Model, hookimpl

@hookimpl
def register_models():
    return [Model(name="cpvt", about="the real one", build=None, classifier=None, traits={"baseline"})]
"""
    ours = installed()
    assert "RECONSTRUCTION" in ours.models.get("cpvt").about
    registry = load(authors=official)
    assert registry.problems == ()
    assert registry.models.get("cpvt").about == "the real one"
    assert registry.models.entry("cpvt").plugin.name == "authors"
    refs = [found.models.ref("cpvt", {}) for found in (ours, registry)]
    assert refs[0] != refs[1]
    again = load(authors=official, others=official)  # two real ones are a conflict as ever
    assert "registered by authors" in again.models.conflicts["cpvt"]


CRASH = """Fatal Python error: Segmentation fault

Thread 0x00007fae695ff6c0 (most recent call first):
  File "/lib/python3.11/multiprocessing/connection.py", line 250 in recv
  File "/plugins/bench_standard/worker.py", line 108 in _listen

{} 0x00007fae6b080b80 (most recent call first):
  File "/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/site/bench_models/spa.py", line 26 in build
  File "/bench/execution/run.py", line 72 in execute
  File "/plugins/bench_standard/worker.py", line 94 in _execute
"""


@pytest.mark.parametrize("heading", ["Current thread", "Thread"])
def test_a_crash_is_blamed_on_the_thread_at_work_not_on_one_that_waits(heading: str) -> None:
    blamed = blame_text(CRASH.format(heading), installed().plugins)
    assert blamed == f"plugin models (medbench {bench.__version__}), /site/bench_models/spa.py:26"


def test_what_crashes_outside_of_every_plugin_is_blamed_on_none() -> None:
    text = CRASH.format("Current thread").replace("bench_models/spa.py", "elsewhere.py")
    assert blame_text(text, installed().plugins) == ""
