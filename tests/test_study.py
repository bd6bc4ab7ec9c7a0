"""Which models a study has: the protocol's, those named, and baselines."""

from __future__ import annotations

import pytest

from bench import ConfigError, UnknownName
from bench.plugins import catalog
from bench.study import StudyFile, baseline_names, make_study

ALL = ["swin", "convnext_small", "cmt", "smt", "focalnet", "pervit", "sgformer", "spa", "cpvt"]


def models(*assignments: str, **given: tuple[str, ...]) -> list[str]:
    file = StudyFile(datasets=("phantom",), strategies=("scratch",), base="quick", **given)  # type: ignore[arg-type]
    return [ref.name for ref in make_study(file, catalog(), assignments).models]


def test_baselines_are_added_to_the_protocols_model() -> None:
    assert models() == ["tf_efficientnet_lite0"]
    assert models(baselines=("spa", "cmt")) == ["tf_efficientnet_lite0", "spa", "cmt"]


def test_all_is_every_model_with_the_trait() -> None:
    assert models(baselines=("all",)) == ["tf_efficientnet_lite0", *ALL]
    assert baseline_names(["cmt", "all"], catalog()) == ALL


def test_a_model_given_both_ways_counts_once() -> None:
    assert models(models=("resnet18", "cmt"), baselines=("cmt", "spa")) == ["resnet18", "cmt", "spa"]
    assert baseline_names(["cmt", "cmt"], catalog()) == ["cmt"]


def test_parameters_of_a_baseline_can_be_set() -> None:
    assert models("model.cmt.drop_path=0.0", baselines=("cmt",))[-1] == "cmt"
    with pytest.raises(ConfigError, match="does not name"):
        models("model.spa.drop_path=0.0", baselines=("cmt",))


@pytest.mark.parametrize(
    ("name", "remedy"), [("sgfromer", "did you mean sgformer"), ("resnet18", "known: all, cmt")]
)
def test_an_unknown_baseline_is_one_clear_error(name: str, remedy: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown baseline '{name}'; {remedy}"):
        models(baselines=(name,))
