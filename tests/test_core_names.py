"""The core names no component: what it needs by default, a protocol or a plugin says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bench
from bench.registry import installed
from bench.study.config import protocol_names, read_protocol

CORE = Path(bench.__file__).parent

ORDINARY_WORDS = {
    ("cli/check_claims.py", "accuracy"): "the only column that `bench check-claims` can compare",
    ("cli/check_claims.py", "json"): "a file format of `bench check-claims`",
    ("cli/claims_text.py", "accuracy"): "a heading",
    **{
        ("comparison/published_table.py", name): "a column of published tables"
        for name in ("accuracy", "precision", "recall", "f1", "f1_pr")
    },
    ("comparison/one_class.py", "auc"): "a column of tables of one class",
    ("comparison/one_class.py", "auprc"): "a column of tables of one class",
    ("cli/cost.py", "rich"): "what --format of `bench cost` prints without a reporter: no table of results",
    ("cli/cost.py", "csv"): "a file format of `bench cost`",
    ("cli/compare.py", "json"): "a format of `bench compare`",
    ("cli/subgroups.py", "json"): "a format of `bench subgroups`",
    ("cli/hard_images.py", "csv"): "a format of `bench hard-images`",
    ("cli/hard_images.py", "json"): "a format of `bench hard-images`",
    ("cli/label_noise.py", "csv"): "a format of `bench label-noise`",
    ("cli/label_noise.py", "json"): "a format of `bench label-noise`",
    ("cli/diversity.py", "csv"): "a format of `bench diversity`",
    ("cli/diversity.py", "json"): "a format of `bench diversity`",
    ("cli/diversity_text.py", "accuracy"): "what the oracle bounds",
    ("cli/diversity_text.py", "mean"): "over all pairs, in json",
    ("report/diversity_section.py", "accuracy"): "a heading",
    ("cli/explain.py", "csv"): "a format of `bench explain --measure`",
    ("cli/predict.py", "csv"): "a file format of `bench predict`",
    ("cli/predict.py", "json"): "a file format of `bench predict`",
    ("cli/predictions_text.py", "csv"): "a file format of `bench predict`",
    ("cli/predictions_text.py", "json"): "a file format of `bench predict`",
    ("execution/keeping.py", "mean"): "of the pixels, in an encoder's metadata",
    ("kept/export.py", "mean"): "of the pixels, in an export's metadata",
    ("kept/hub.py", "mean"): "of the pixels, as timm's configuration calls it",
    ("kept/hub.py", "timm"): "a tag of the Hugging Face hub",
    ("kept/load.py", "timm"): "a package whose version a message names",
    ("cli/status.py", "json"): "a format of `bench status`",
    ("cli/cost.py", "json"): "a file format of `bench cost`",
    ("cli/cost.py", "precision"): "of numbers",
    ("execution/estimate.py", "precision"): "of numbers",
    ("execution/follow.py", "precision"): "of numbers",
    ("execution/provenance.py", "timm"): "the package whose version a record holds",
    ("manuscript/bibliography.py", "timm"): "a package of records, whose work a text cites",
    ("manuscript/checklist_text.py", "markdown"): "a format of checklists",
    ("manuscript/document.py", "markdown"): "a format of methods texts",
    ("manuscript/document.py", "latex"): "a format of methods texts",
    ("manuscript/evaluation_text.py", "precision"): "of numbers",
    ("manuscript/methods.py", "markdown"): "a format of methods texts",
    ("manuscript/methods.py", "latex"): "a format of methods texts",
    ("pack/paper/names.py", "mean"): "what a column of csv has of a metric",
    ("pack/paper/plain.py", "phantom"): "a command of LaTeX",
    ("results/record.py", "mean"): "of the pixels, in a record",
    ("results/results.py", "precision"): "of numbers",
    ("study/expand.py", "precision"): "of numbers",
    ("testing/reporter.py", "accuracy"): "the column of a made-up table",
    ("testing/tracker.py", "accuracy"): "a score of a made-up unit",
    ("testing/tracker.py", "auc"): "a score of a made-up unit",
}


def component_names() -> set[str]:
    """Of all installed components, of families, and of the models that our protocols name."""
    registry = installed()
    names = {name for components in registry.kinds for name in components.entries}
    models = {str(read_protocol(name)[1]["model"]) for name in protocol_names()}
    return names | set(registry.models.families) | models


def literals(source: str) -> Iterator[tuple[int, str]]:
    """The string literals of a module without its docstrings: (line, text)."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_no_module_of_the_core_names_a_component() -> None:
    names = component_names()
    found = {
        (path.relative_to(CORE).as_posix(), text): line
        for path in CORE.rglob("*.py")
        for line, text in literals(path.read_text(encoding="utf-8"))
        if text in names
    }
    named = {
        f"{path}:{line} {text!r}"
        for (path, text), line in found.items()
        if (path, text) not in ORDINARY_WORDS
    }
    assert not named, "a default belongs into a protocol, or into the plugin (`default=True`)"
    assert not set(ORDINARY_WORDS) - set(found), "no longer there: take it off the list"


@pytest.mark.parametrize(
    "name", ["local", "packed", "mean", "rich", "convnext_tiny.fb_in1k", "busi", "egmae", "timm"]
)
def test_what_the_core_once_named_is_looked_for(name: str) -> None:
    assert name in component_names()
    assert name in [
        text for _, text in literals(f"def choose():\n    '''Docs.'''\n    return {{'{name}': 1}}\n")
    ]
    assert name not in [text for _, text in literals(f"'''{name}'''\n")]
