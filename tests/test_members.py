"""Ensembles whose members are chosen: how ensembles are written, which runs they combine, and their keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import PHANTOM, bench, workspace

from bench import ConfigError, EnsembleSpec, Study, UnknownName
from bench.registry import installed
from bench.results import store
from bench.study.ensembles import Member, StudyEnsemble, parse_ensemble
from bench.study.expand import Expansion, expand

MODELS = ["convnext_tiny.fb_in1k", "convnext_tiny", "swin"]
STRATEGIES = ["egmae", "mae", "noise", "imagenet", "scratch"]
LABELS = [f"{model}.{strategy}" for model in MODELS for strategy in STRATEGIES]


def members_of(text: str, models: list[str] = MODELS, strategies: list[str] = STRATEGIES) -> list[str]:
    return [member.name for member in parse_ensemble(text, models, strategies)[1]]


# --- how they are written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean", []),
        (" mean ", []),
        ("mean(egmae+imagenet)", ["egmae", "imagenet"]),
        ("mean(imagenet+egmae)", ["egmae", "imagenet"]),
        (" mean ( scratch +egmae+ mae ) ", ["egmae", "mae", "scratch"]),
        ("mean(swin.egmae+convnext_tiny.scratch)", ["convnext_tiny.scratch", "swin.egmae"]),
        (
            "mean(convnext_tiny.mae+convnext_tiny.fb_in1k.mae)",
            ["convnext_tiny.fb_in1k.mae", "convnext_tiny.mae"],
        ),
    ],
)
def test_members_are_read_in_the_order_of_the_study(text: str, expected: list[str]) -> None:
    assert parse_ensemble(text, MODELS, STRATEGIES)[0] == "mean"
    assert members_of(text) == expected


@given(st.permutations(LABELS), st.integers(2, len(LABELS)))
def test_whatever_order_members_are_named_in_they_are_the_same(labels: list[str], count: int) -> None:
    chosen = labels[:count]
    assert members_of(f"mean({'+'.join(chosen)})") == [label for label in LABELS if label in chosen]


@given(st.permutations(STRATEGIES), st.integers(2, len(STRATEGIES)))
def test_what_is_written_is_read_again(strategies: list[str], count: int) -> None:
    name, members = parse_ensemble(f"mean({'+'.join(strategies[:count])})", MODELS, STRATEGIES)
    from bench.identity import Ref

    assert parse_ensemble(StudyEnsemble(Ref(name), members).name, MODELS, STRATEGIES) == (name, members)


def test_with_one_model_its_name_changes_nothing() -> None:
    for text in ("mean(swin.egmae+swin.mae)", "mean(egmae+swin.mae)", "mean(mae+egmae)"):
        assert members_of(text, ["swin"]) == ["egmae", "mae"]


def test_names_may_hold_plus_signs_and_dots() -> None:
    names = ["egmae", "egmae+l1", "a.b", "l2"]
    assert members_of("mean(egmae+l1+egmae)", ["swin"], names) == ["egmae", "egmae+l1"]
    assert members_of("mean(a.b+swin.egmae+l1)", ["swin"], names) == ["egmae+l1", "a.b"]
    assert members_of("mean(swin.a.b+m+x.l2)", ["swin", "m+x"], names) == ["swin.a.b", "m+x.l2"]


@pytest.mark.parametrize(
    ("text", "models", "strategies", "message"),
    [
        (
            "mean(a.b.c+x)",
            ["a", "a.b"],
            ["c", "b.c", "x"],
            "'a.b.c' can mean 'b.c' of a and 'c' of a.b; leave one",
        ),
        ("mean(a.b+x)", ["a"], ["a.b", "b", "x"], "'a.b' can mean 'a.b' of each model and 'b' of a"),
        ("mean(a+b+x)", ["m"], ["a", "b", "a+b", "x"], "can be read as a+b, x or as a, b, x; leave one"),
    ],
)
def test_what_has_two_meanings_is_refused(
    text: str, models: list[str], strategies: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_ensemble(text, models, strategies)


@pytest.mark.parametrize(
    "text",
    [
        "mean(egmae+mae",
        "mean egmae+mae)",
        "mean)",
        "mean(",
        "mean()",
        "mean(egmae+)",
        "mean(+egmae)",
        "mean(egmae++mae)",
        "mean((egmae+mae))",
        "mean(egmae)+mae)",
        "mean(egmae+mae)x",
        "(egmae+mae)",
    ],
)
def test_what_is_not_well_formed_is_one_line_with_the_form(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ensemble(text, MODELS, STRATEGIES)
    assert str(caught.value).startswith(
        f"ensemble {text!r}: must be NAME or NAME(A+B), its members joined by +"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean(egmae)", "ensemble 'mean(egmae)': one member alone is no ensemble; name two or more"),
        ("mean(mae+egmae+mae)", "ensemble 'mean(mae+egmae+mae)': member 'mae' is named twice"),
        ("mean(mae+swin.egmae)", "mae is a strategy of 3 models, while other members name theirs; write "),
        (
            "mean(egmae+imgenet)",
            "unknown member 'imgenet'; did you mean imagenet? (in ensemble 'mean(egmae+imgenet)')",
        ),
        ("mean(egmae+swan.mae)", "unknown member 'swan.mae'; did you mean swin.mae"),
        ("mean(egmae+qqq)", "unknown member 'qqq'; known: egmae, imagenet, mae, noise, scratch (in "),
        ("mean(egmae+q.q)", "unknown member 'q.q'; known: convnext_tiny.egmae, "),
    ],
)
def test_members_that_cannot_be_combined_are_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ensemble(text, MODELS, STRATEGIES)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_strategy_that_the_study_lacks_is_said_to_be_one() -> None:
    with pytest.raises(UnknownName, match="the strategy mae is not in the study, --strategies adds it"):
        parse_ensemble("mean(egmae+mae)", ["swin"], ["egmae", "scratch"], installed().strategies.entries)


def test_a_list_without_end_is_refused_at_once() -> None:
    for names in (STRATEGIES, ["egmae", "egmae+egmae"]):
        for models in (["swin"], ["swin", "cmt"]):
            with pytest.raises(ConfigError, match="named twice"):
                parse_ensemble(f"mean({'+'.join(['egmae'] * 50_000)})", models, names)


# --- which runs they combine -------------------------------------------------------------------------


def study_of(*ensembles: str, strategies: str = "egmae,scratch,mae", **given: Any) -> Study:
    models = given.pop("models", "smt")
    return Study.from_names(
        "phantom",
        strategies,
        models=models,
        protocol="quick",
        ensembles=ensembles,
        **{"rounds": 1, **given},
    )


def expanded(study: Study) -> Expansion:
    return expand(study, installed(), lambda dataset, round_: f"{round_:064}")


def labels(plan: Expansion) -> list[str]:
    return [unit.label for unit in plan.units if unit.kind == "ensemble"]


def keys(plan: Expansion) -> dict[str, str]:
    return {unit.label: unit.key for unit in plan.units}


def test_chosen_ensembles_stand_beside_all_of_a_models() -> None:
    plan = expanded(study_of("mean", "mean(mae+egmae)", rounds=2))
    assert labels(plan) == [
        f"smt.mean({members}).r{i}" for i in (0, 1) for members in ("egmae+scratch+mae", "egmae+mae")
    ]
    assert not plan.notes


def test_each_model_has_its_ensemble_of_strategies() -> None:
    plan = expanded(study_of("mean(egmae+scratch)", models="smt,spa"))
    assert labels(plan) == ["smt.mean(egmae+scratch).r0", "spa.mean(egmae+scratch).r0"]
    for unit in plan.units:
        if isinstance(unit, EnsembleSpec):
            assert len({member.model for member in unit.members}) == 1


def test_runs_of_several_models_are_combined_after_all_of_them() -> None:
    plan = expanded(study_of("mean(spa.egmae+smt.scratch)", models="smt,spa,cmt", baselines=()))
    assert labels(plan) == ["smt+spa.mean(smt.scratch+spa.egmae).r0"]
    for i, unit in enumerate(plan.units):
        assert all(need in plan.units[:i] for need in unit.needs)


def test_a_baseline_can_be_a_member() -> None:
    study = study_of("mean(smt.egmae+cmt.egmae)", baselines="cmt")
    assert labels(expanded(study)) == ["cmt+smt.mean(smt+cmt).r0"]


def test_a_key_depends_on_the_study_and_not_on_the_order_of_members() -> None:
    one, other = (keys(expanded(study_of(text))) for text in ("mean(egmae+mae)", "mean(mae+egmae)"))
    assert one == other
    all_of_two = keys(expanded(study_of("mean", strategies="egmae,mae")))
    assert all_of_two["smt.mean(egmae+mae).r0"] == one["smt.mean(egmae+mae).r0"]


def test_the_keys_of_ensembles_over_all_strategies_are_what_they_were() -> None:
    """Golden: made before members could be chosen. If one changes, stored ensembles are not found again."""
    plan = expanded(study_of("mean", models="smt,spa"))
    assert {label: key for label, key in keys(plan).items() if label in labels(plan)} == {
        "smt.mean(egmae+scratch+mae).r0": "6f2d5ebb6d9ee7d6",
        "spa.mean(egmae+scratch+mae).r0": "a2872e45c80f3246",
    }


def test_two_ensembles_of_the_same_runs_are_one_unit_and_a_note() -> None:
    plan = expanded(study_of("mean", "mean(scratch+egmae)", strategies="egmae,scratch", models="smt,spa"))
    assert labels(plan) == ["smt.mean(egmae+scratch).r0", "spa.mean(egmae+scratch).r0"]
    assert plan.notes == [
        f"mean and mean(egmae+scratch) combine the same runs of {model}, as one unit"
        for model in ("smt", "spa")
    ]
    named = expanded(study_of("mean(egmae+scratch)", "mean(smt.scratch+smt.egmae)", models="smt,spa"))
    assert labels(named) == ["smt.mean(egmae+scratch).r0", "spa.mean(egmae+scratch).r0"]
    assert named.notes == [
        "mean(egmae+scratch) and mean(smt.egmae+smt.scratch) combine the same runs of smt, as one unit"
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("mean", "mean"), "ensemble 'mean' is named twice"),
        (
            ("mean(egmae+mae)", "mean(mae+egmae)"),
            r"'mean\(mae\+egmae\)' is named twice \(the other is 'mean\(egmae\+mae\)'\)",
        ),
        (("mean(egmae+mae)", "mean(smt.mae+egmae)"), "is named twice"),
        (("maen(egmae+mae)",), "unknown ensemble 'maen'; did you mean mean"),
        (("mean(egmae", "mae)"), r"must be NAME or NAME\(A\+B\)"),
    ],
)
def test_an_ensemble_that_stands_twice_or_is_unknown_is_one_line(
    texts: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        study_of(*texts)


def test_commas_separate_ensembles_and_files_say_the_same(tmp_path: Path) -> None:
    by_names = Study.from_names("phantom", STRATEGIES, ensembles="mean, mean(egmae + imagenet)")
    (tmp_path / "study.toml").write_text(
        f'datasets = ["phantom"]\nstrategies = {json.dumps(STRATEGIES)}\n'
        'ensembles = ["mean", "mean(imagenet+egmae)"]\n'
    )
    assert Study.from_file(tmp_path / "study.toml") == by_names
    assert [ensemble.name for ensemble in by_names.ensembles] == ["mean", "mean(egmae+imagenet)"]
    assert by_names.ensembles[1].members == (Member("egmae"), Member("imagenet"))


def test_parameters_hold_for_every_ensemble_of_a_name(tmp_path: Path) -> None:
    from dataclasses import dataclass, replace

    from spies import with_one

    from bench import Ensemble

    @dataclass(frozen=True)
    class Params:
        power: float = 1.0

    powered: Ensemble = Ensemble(
        name="powered", about="", params=Params, fit=lambda val, params: lambda m: m[0]
    )
    registry = replace(installed(), ensembles=with_one(installed().ensembles, powered))
    study = study_of(
        "powered", "powered(egmae+mae)", "mean", values={"ensemble.powered.power": 2.0}, registry=registry
    )
    assert [ensemble.ensemble.params for ensemble in study.ensembles] == [{"power": 2.0}] * 2 + [{}]
    with pytest.raises(ConfigError, match=r"ensemble\.powered: parameters for a ensemble that this study"):
        study_of("mean(egmae+mae)", values={"ensemble.powered.power": 2.0}, registry=registry)


def test_an_ensemble_that_lacks_a_run_is_na_with_the_reason() -> None:
    """At 96 pixels sgformer cannot be built; the others go on."""
    study = study_of("mean(egmae+scratch)", "mean(smt.egmae+sgformer.egmae)", "mean", models="smt,sgformer")
    plan = expanded(study)
    assert labels(plan) == ["smt.mean(egmae+scratch).r0", "smt.mean(egmae+scratch+mae).r0"]
    impossible = [cell for cell in plan.not_possible if cell.kind == "ensemble"]
    assert [cell.label for cell in impossible] == [
        "sgformer.mean(egmae+scratch)",
        "mean(smt.egmae+sgformer.egmae)",
    ]
    assert {cell.reason for cell in impossible} == {
        "size 96: model 'sgformer' needs a side that is a multiple of 112; 112 is the nearest"
    }


# --- from the command line ---------------------------------------------------------------------------


OPTIONS = [*PHANTOM, "-s", "egmae,scratch", "-m", "test_convnext,test_resnet", "-p", "tiny.toml"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One round of two networks, two epochs each, with an ensemble of each and one across both."""
    folder = workspace(tmp_path_factory.mktemp("members"))
    across = "mean(test_resnet.egmae+test_convnext.scratch)"
    done = bench(folder, "run", *OPTIONS, "--ensembles", f"mean(scratch+egmae), {across}")
    assert "9 units: 0 done, 9 to do" in done.stderr
    return folder


def stored(folder: Path, start: str) -> Path:
    (found,) = (folder / "results" / "runs" / "phantom").glob(f"{start}.r0.*")
    return found


def test_runs_of_two_networks_are_combined(study: Path) -> None:
    combined = stored(study, "test_convnext+test_resnet.mean-*")
    members = [stored(study, name) for name in ("test_convnext.scratch", "test_resnet.egmae")]
    names = [json.loads((path / "record.json").read_text())["key"] for path in members]
    assert json.loads((combined / "record.json").read_text())["members"] == names
    for part in ("val", "test"):
        each = [store.read_predictions(path, part).probabilities for path in members]
        mean = store.read_predictions(combined, part).probabilities
        np.testing.assert_allclose(mean, np.mean(each, axis=0))


def test_a_table_names_the_members(study: Path) -> None:
    rows = json.loads(bench(study, "table", "--format", "json").stdout)[0]["rows"]
    own = [(row["model"], row["method"]) for row in rows if row["kind"] == "ensemble"]
    assert own == [
        ("test_convnext", "mean(egmae + scratch)"),
        ("test_convnext+test_resnet", "mean(test_convnext.scratch + test_resnet.egmae)"),
        ("test_resnet", "mean(egmae + scratch)"),
    ]
    assert bench(study, "verify", "--recompute").returncode == 0


def test_the_same_ensembles_in_another_order_are_done(study: Path) -> None:
    across = "mean(test_convnext.scratch + test_resnet.egmae)"
    again = bench(study, "plan", *OPTIONS, "--ensembles", f"{across},mean,mean(egmae+scratch)", "--no-probe")
    assert "to do" not in again.stdout.replace("To do", "")
    assert "note: mean and mean(egmae+scratch) combine the same runs of test_convnext" in again.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean(egmae+scratch", "ensemble 'mean(egmae+scratch': must be NAME or NAME(A+B)"),
        ("mean(egmae+imagenet)", "the strategy imagenet is not in the study, --strategies adds it"),
        ("mean(egmae+test_resnet.scratch)", "write test_convnext.egmae or test_resnet.egmae"),
    ],
)
def test_bad_input_is_one_line_before_any_work(tmp_path: Path, text: str, message: str) -> None:
    done = bench(workspace(tmp_path), "run", *OPTIONS, "--ensembles", text, code=2)
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "results" / "logs").exists()


def test_ensembles_formed_after_the_fact_are_found_by_the_study(study: Path) -> None:
    """And those of the study by the command; whatever the order of members."""
    across = "mean(test_convnext.scratch+test_resnet.egmae)"
    formed = bench(study, "ensemble", "mean(egmae+scratch)", across, "geometric(*)", "greedy(scratch+egmae)")
    assert formed.stderr.count("is there already, kept") == 3
    assert formed.stderr.count("  formed") == 3
    asked = f"mean(scratch+egmae), {across}, greedy(egmae+scratch), geometric(*)"
    again = bench(study, "run", *OPTIONS, "--ensembles", asked)
    assert "12 units: 12 done, 0 to do" in again.stderr
    assert bench(study, "verify", "--recompute").returncode == 0
