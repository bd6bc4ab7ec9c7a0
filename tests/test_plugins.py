"""The catalog: a broken plugin is named with its remedy, and the rest keeps working."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

import bench
from bench import plugins
from bench.errors import ConfigError, PluginError, UnknownName

GOOD = """
from bench import Metric, hookimpl

@hookimpl
def register_metrics():
    return [Metric(name="half", about="always 0.5", title="Half", score=lambda predictions: 0.5)]
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Load a catalog from plugin modules given as source, beside our own."""
    monkeypatch.syspath_prepend(tmp_path)

    def load_(**sources: str) -> plugins.Catalog:
        points = list(entry_points(group="bench"))
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            sys.modules.pop(name, None)
            points.append(EntryPoint(name, name, "bench"))
        return plugins.load(points)

    return load_


def test_our_own_plugins_load_without_problems() -> None:
    catalog = plugins.catalog()
    assert catalog.problems == ()
    assert {"egmae", "mae", "noise", "imagenet", "scratch"} <= set(catalog.names("strategies"))
    assert {"busi", "folder", "phantom"} <= set(catalog.names("datasets"))
    assert all(catalog.offers(kind) for kind, _ in plugins.KINDS.values())


def test_a_stranger_adds_a_metric(load) -> None:  # type: ignore[no-untyped-def]
    catalog = load(good=GOOD)
    assert catalog.get("metrics", "half").title == "Half"
    assert catalog.entry("metrics", "half").source.plugin == "good"


def test_a_plugin_that_cannot_be_imported_is_named_and_the_rest_works(load) -> None:  # type: ignore[no-untyped-def]
    catalog = load(bad="import no_such_module", good=GOOD)
    (problem,) = catalog.problems
    assert "plugin bad" in problem
    assert "No module named 'no_such_module'" in problem
    assert "BENCH_BLOCK=bad" in problem
    assert catalog.get("metrics", "half")
    with pytest.raises(UnknownName, match=r"not loaded: plugin bad"):
        catalog.get("strategies", "what_bad_would_offer")


def test_a_misspelt_hook_is_found(load) -> None:  # type: ignore[no-untyped-def]
    catalog = load(typo=GOOD.replace("register_metrics", "register_metric"))
    (problem,) = catalog.problems
    assert "typo" in problem
    assert "register_metric, which is no hook; did you mean register_metrics?" in problem


@pytest.mark.parametrize("body", ["return [42]", "raise RuntimeError('boom')", "return None"])
def test_a_hook_that_fails_or_returns_nonsense_is_named(load, body: str) -> None:  # type: ignore[no-untyped-def]
    source = f"from bench import hookimpl\n@hookimpl\ndef register_models():\n    {body}\n"
    catalog = load(wild=source, good=GOOD)
    (problem,) = catalog.problems
    assert "plugin wild" in problem
    assert "register_models failed" in problem
    assert catalog.get("metrics", "half")


def test_a_taken_name_names_both_packages_and_only_fails_when_asked_for(load) -> None:  # type: ignore[no-untyped-def]
    catalog = load(good=GOOD, twin=GOOD)
    (problem,) = catalog.problems
    for part in ("good", "twin", "BENCH_BLOCK="):
        assert part in problem
    with pytest.raises(PluginError, match=r"metric 'half' is offered by good .* and twin"):
        catalog.get("metrics", "half")
    assert catalog.get("metrics", "accuracy")


def test_bench_block_switches_a_plugin_off(load, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BENCH_BLOCK", "bad, twin")
    catalog = load(bad="import no_such_module", good=GOOD, twin=GOOD)
    assert catalog.problems == ()
    assert catalog.get("metrics", "half")


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown strategy 'egame'; did you mean egmae"):
        plugins.catalog().get("strategies", "egame")
    with pytest.raises(UnknownName, match="did you mean convnext_tiny"):
        plugins.catalog().get("models", "convnext_tny")


def test_parameters_are_validated_and_defaults_left_out() -> None:
    catalog = plugins.catalog()
    assert catalog.ref("strategies", "egmae", {"patch": 16}).params == {}
    assert catalog.ref("strategies", "egmae", {"patch": 32}).params == {"patch": 32}
    with pytest.raises(ConfigError, match=r"strategy\.egmae\.patsh: no such key; did you mean patch"):
        catalog.ref("strategies", "egmae", {"patsh": 8})
    with pytest.raises(
        ConfigError, match=r"strategy\.egmae\.colour = 'red': must be 'luma', 'channels' or 'joint'"
    ):
        catalog.ref("strategies", "egmae", {"colour": "red"})


LAYERS = [
    *("errors", "spec", "types", "hookspecs", "plugins", "study", "store", "data", "engine", "workbench"),
    *("provenance", "run", "score", "cost", "published", "datasheet", "estimate", "table", "cli"),
]


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_plugins_import_only_what_is_public() -> None:
    root = Path(bench.__file__).parent.parent / "plugins"
    if not root.exists():
        pytest.skip("not a source tree")
    private = tuple(f"bench.{layer}" for layer in LAYERS if layer != "engine")
    for path in root.rglob("*.py"):
        bad = [
            name
            for name in _imports(path)
            if name in private or name.startswith(tuple(p + "." for p in private))
        ]
        assert not bad, f"{path} imports {bad}"


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
    ours = plugins.catalog()
    assert "RECONSTRUCTION" in ours.get("models", "cpvt").about
    catalog = load(authors=official)
    assert catalog.problems == ()
    assert catalog.get("models", "cpvt").about == "the real one"
    assert catalog.entry("models", "cpvt").source.plugin == "authors"
    refs = [found.ref("models", "cpvt", {}) for found in (ours, catalog)]
    assert refs[0] != refs[1]
    again = load(authors=official, others=official)  # two real ones are a conflict as ever
    assert "offered by authors" in again.conflicts["models", "cpvt"]
