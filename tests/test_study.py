"""Which models a study has, the protocol's, those named, and baselines; and which cells can be run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bench import ConfigError, PretrainSpec, RunSpec, Study, UnknownName
from bench.registry import installed
from bench.study.config import StudyConfig, assign, parse_assignment, read_study
from bench.study.expand import Expansion, expand
from bench.study.study import KINDS, baseline_names, make_study

ALL = ["swin", "convnext_small", "cmt", "smt", "focalnet", "pervit", "sgformer", "spa", "cpvt"]


def models(*assignments: str, **given: tuple[str, ...]) -> list[str]:
    file = StudyConfig(datasets=("phantom",), strategies=("scratch",), base="quick", **given)  # type: ignore[arg-type]
    study = make_study(file, installed(), [parse_assignment(text) for text in assignments])
    return [ref.name for ref in study.models]


def test_baselines_are_added_to_the_protocols_model() -> None:
    assert models() == ["tf_efficientnet_lite0"]
    assert models(baselines=("spa", "cmt")) == ["tf_efficientnet_lite0", "spa", "cmt"]


def test_all_is_every_model_with_the_trait() -> None:
    assert models(baselines=("all",)) == ["tf_efficientnet_lite0", *ALL]
    assert baseline_names(["cmt", "all"], installed()) == ALL


def test_a_model_given_both_ways_counts_once() -> None:
    assert models(models=("resnet18", "cmt"), baselines=("cmt", "spa")) == ["resnet18", "cmt", "spa"]
    assert baseline_names(["cmt", "cmt"], installed()) == ["cmt"]


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


# --- what a study means ------------------------------------------------------------------------------


def study_of(*assignments: str, **given: Any) -> Study:
    names: dict[str, Any] = {"datasets": ("phantom",), "strategies": ("egmae", "scratch"), "base": "quick"}
    config = StudyConfig(**{**names, **given})
    return make_study(config, installed(), [parse_assignment(text) for text in assignments])


def test_units_come_after_what_they_need_with_the_values_of_the_protocol() -> None:
    changes = "protocol.seed=7", "protocol.precision=bf16", "protocol.pretrain.epochs=3"
    study = study_of(*changes, "protocol.finetune.epochs=2", "protocol.size=64")
    units = expand(study, installed(), lambda dataset, round_: f"split{round_}").units
    assert [unit.label for unit in units[:4]] == [
        f"tf_efficientnet_lite0.{what}.r0" for what in ("egmae", "egmae", "scratch", "mean(egmae+scratch)")
    ]
    assert [unit.kind for unit in units] == ["pretrain", "run", "run", "ensemble"] * 2
    for i, unit in enumerate(units):
        assert all(need in units[:i] for need in unit.needs)
    pretraining, tuned, scratch, ensemble = units[4:]
    assert isinstance(pretraining, PretrainSpec)
    assert isinstance(tuned, RunSpec)
    assert (pretraining.needs, tuned.needs, scratch.needs) == ((), (pretraining,), ())
    assert ensemble.needs == (tuned, scratch)
    for spec in (pretraining, tuned):
        assert (spec.seed, spec.precision, spec.size) == (7, "bf16", 64)
        assert (spec.split, spec.round) == ("split1", 1)
    assert (pretraining.pretrain, tuned.finetune) == (study.protocol.pretrain, study.protocol.finetune)
    assert (pretraining.pretrain.epochs, tuned.finetune.epochs) == (3, 2)


def test_a_value_may_belong_to_a_name_with_dots_and_changes_no_configuration() -> None:
    config = StudyConfig(protocol={"finetune": {"epochs": 3}}, model={"a.b": {"x": 1}})
    texts = "model.a.b.y=2", "model.a.c=3", "protocol.finetune.batch=4"
    changed = assign(config, [parse_assignment(text) for text in texts], KINDS)
    assert changed.model == {"a.b": {"x": 1, "y": 2}, "a": {"c": 3}}
    assert changed.protocol == {"finetune": {"epochs": 3, "batch": 4}}
    assert config.model == {"a.b": {"x": 1}}
    assert config.protocol == {"finetune": {"epochs": 3}}


def test_a_name_that_stands_twice_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="strategy 'egmae' is named twice"):
        study_of(strategies=("egmae", "mae", "egmae"))


def test_ensembles_are_the_default_one_none_or_those_named() -> None:
    assert [ref.name for ref in study_of().ensembles] == ["mean"]
    assert study_of(ensembles=("none",)).ensembles == ()
    assert study_of(ensembles=()).ensembles == ()
    assert [ref.name for ref in study_of(ensembles=("mean",)).ensembles] == ["mean"]


def test_records_say_that_a_protocol_was_changed() -> None:
    assert study_of().asked == {"protocol": "quick", "rounds": 2}
    assert study_of("protocol.rounds=3").asked == {"protocol": "quick+", "rounds": 3}
    assert study_of("strategy.egmae.patch=32").asked["protocol"] == "quick"


STUDIES = sorted((Path(__file__).parent.parent / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_source_tree_can_be_made(path: Path) -> None:
    study = make_study(read_study(path), installed())
    assert expand(study, installed(), lambda dataset, round_: "0" * 64).units


# --- cells that cannot exist -------------------------------------------------------------------------


def planned(*assignments: str, models: tuple[str, ...], strategies: tuple[str, ...]) -> Expansion:
    file = StudyConfig(datasets=("phantom",), models=models, strategies=strategies, base="quick")
    study = make_study(file, installed(), [parse_assignment(text) for text in assignments])
    return expand(study, installed(), lambda dataset, round_: "0" * 64)


def test_a_network_that_cannot_take_the_size_is_na_under_every_strategy() -> None:
    plan = planned("protocol.rounds=1", models=("sgformer", "smt"), strategies=("scratch", "mae"))
    assert [unit.label for unit in plan.units if unit.kind == "run"] == ["smt.scratch.r0", "smt.mae.r0"]
    assert [cell.label for cell in plan.not_possible] == ["sgformer.scratch", "sgformer.mae"]
    for cell in plan.not_possible:
        assert cell.reason == (
            "size 96: model 'sgformer' needs a side that is a multiple of 112; 112 is the nearest"
        )


def test_a_plan_builds_no_network_to_know_the_sizes_of_a_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    plan = planned(models=("cmt", "smt", "pervit", "sgformer", "spa", "cpvt"), strategies=("scratch",))
    assert len(plan.not_possible) == 1


def test_a_study_of_which_nothing_can_be_run_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"no model of this study can be run: .*'sgformer'.*; .*'cmt'"):
        planned("protocol.size=100", models=("sgformer", "cmt"), strategies=("scratch", "imagenet"))


# --- weights of each model ---------------------------------------------------------------------------


def weights_of(plan: Expansion) -> dict[str, str]:
    """Label -> checksum of the file that the unit starts from."""
    return {
        unit.label: unit.strategy.params.get("weights_sha256", "")
        for unit in plan.units
        if unit.kind == "run"
    }


def test_each_model_can_have_its_file_and_the_others_share_one(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pth" for name in ("cmt", "resnet18", "shared")}
    for name, path in files.items():
        path.write_bytes(name.encode())
    plan = planned(
        f"model.cmt.weights={files['cmt']}",
        f"model.resnet18.weights={files['resnet18']}",
        f"strategy.imagenet.weights={files['shared']}",
        "protocol.rounds=1",
        models=("cmt", "resnet18", "smt"),
        strategies=("imagenet",),
    )
    sha = {name: hashlib.sha256(name.encode()).hexdigest() for name in files}
    assert weights_of(plan) == {
        "cmt.imagenet.r0": sha["cmt"],
        "resnet18.imagenet.r0": sha["resnet18"],
        "smt.imagenet.r0": sha["shared"],
    }


def test_a_file_is_known_by_its_content_and_only_to_what_loads_it(tmp_path: Path) -> None:
    def keys(*assignments: str) -> dict[str, str]:
        plan = planned(*assignments, "protocol.rounds=1", models=("cmt",), strategies=("imagenet", "scratch"))
        return {unit.label: unit.key for unit in plan.units}

    for name in ("one.pth", "two.pth"):
        (tmp_path / name).write_bytes(b"the same")
    without = keys()
    one, two = (keys(f"model.cmt.weights={tmp_path / name}") for name in ("one.pth", "two.pth"))
    assert one == two == keys(f"strategy.imagenet.weights={tmp_path / 'one.pth'}")
    assert one["cmt.scratch.r0"] == without["cmt.scratch.r0"]
    assert one["cmt.imagenet.r0"] != without["cmt.imagenet.r0"]


def test_a_file_that_is_not_there_or_for_a_model_that_is_not_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.cmt\.weights = '.*none\.pth': no such file"):
        planned(f"model.cmt.weights={tmp_path / 'none.pth'}", models=("cmt",), strategies=("imagenet",))
    with pytest.raises(ConfigError, match=r"model\.smt: parameters for a model that this study does not"):
        planned("model.smt.weights=x.pth", models=("cmt",), strategies=("imagenet",))


def test_a_file_that_nothing_would_load_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.pth").write_bytes(b"weights")
    with pytest.raises(
        ConfigError, match=r"model\.cmt\.weights: no strategy of this study .* add imagenet to --strategies"
    ):
        planned(f"model.cmt.weights={tmp_path / 'one.pth'}", models=("cmt",), strategies=("scratch", "egmae"))
