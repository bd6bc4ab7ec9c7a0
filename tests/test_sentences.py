"""`bench claims` and `bench table --why`: what stored results support, and where a number comes from."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import data_of, mean_of, record_of, run_spec
from test_compare import bench, skilled, store_study

from bench.comparison.again import command_of
from bench.data.audit.verdict import Verdict
from bench.registry import installed
from bench.results import store
from bench.results.record import Asked
from bench.study.config import StudyConfig, parse_assignment
from bench.study.expand import expand
from bench.study.protocol import AuditSettings, Finetuning
from bench.study.study import make_study


def parts(text: str) -> tuple[str, str]:
    may, _, may_not = text.partition("may not:")
    return may, may_not


def test_what_was_shown_may_be_written_and_what_was_not_may_not(tmp_path: Path) -> None:
    asked = Asked(protocol="quick", rounds=5, metric="accuracy", baseline="base", margin=0.01)
    store_study(tmp_path, asked=asked, good=2.5, same=0.8, base=0.8)
    may, may_not = parts(bench(tmp_path, "claims").stdout)
    assert re.search(
        r"On busi, convnext_tiny.good reached a higher Accuracy than convnext_tiny.base \(0\.\d{3} against "
        r"0\.\d{3}; difference \d+\.\d points, 95 % interval \d+\.\d to \d+\.\d; p < 0.001 after Holm over 2 "
        r"comparisons; 5 rounds\)\.",
        may,
    )
    assert "exploratory" not in may
    assert "had an Accuracy of 0." in may
    assert "convnext_tiny.good outperforms" not in may_not
    assert re.search(r"convnext_tiny.(same|base) outperforms convnext_tiny.(same|base) in Accuracy", may_not)
    assert "perform equally" in may_not
    assert "primary hypothesis" not in may_not
    assert "other hospitals" in may_not


def test_what_nobody_declared_is_exploratory(tmp_path: Path) -> None:
    store_study(tmp_path, good=2.5, base=0.8)
    may, may_not = parts(bench(tmp_path, "claims").stdout)
    assert "(exploratory analysis)." in may
    assert "Our primary hypothesis, tested on Accuracy, was confirmed" in may_not


def test_two_rounds_support_no_claim_of_a_difference(tmp_path: Path) -> None:
    store_study(tmp_path, 2, good=2.5, base=0.8)
    may, may_not = parts(bench(tmp_path, "claims").stdout)
    assert "reached" not in may
    assert "because two rounds are too few" in may_not


def test_leaks_and_unaudited_splits_are_said(tmp_path: Path) -> None:
    leaking = Verdict(
        audit="a" * 64,
        settings=AuditSettings(),
        leaking_clusters=2,
        leaking_groups=0,
        leaked=3,
        label_conflicts=0,
        kept_out=0,
    )
    for round_ in range(3):
        for strategy in ("one", "other"):
            audit = leaking if round_ == 1 else None
            record = replace(record_of(run_spec(strategy, round_)), data=data_of(audit=audit))
            one = skilled(round_, 1.0, len(strategy))
            store.write(tmp_path, record, predictions={"val": one, "test": one})
    _, may_not = parts(bench(tmp_path, "claims").stdout)
    assert "the split leaks in round 1" in may_not
    assert "not audited for duplicates" in may_not


# --- where a number comes from ------------------------------------------------------------------------


def test_a_value_is_traced_to_its_units(tmp_path: Path) -> None:
    store_study(tmp_path, 3, egmae=2.0, imagenet=1.0)
    text = bench(tmp_path, "table", "--why", "busi/egmae/auc").stdout
    for round_ in range(3):
        record = record_of(run_spec("egmae", round_))
        assert record.key in text
    [sha256] = re.findall(r"round 1 .*predictions sha256 (\w+)", text)
    folder = store.path_of(tmp_path, run_spec("egmae", 1))
    assert f"runs/busi/{folder.name}" in text
    from bench.files import sha256_of

    assert sha256_of(folder / "predictions.parquet").startswith(sha256)
    table = bench(tmp_path, "table", "--metrics", "auc", "-f", "csv").stdout
    mean = re.search(r"AUC: (0\.\d{4})", text)
    assert mean
    assert mean[1][:5] in table


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("busi/egmae", "must be DATASET/ROW/METRIC"),
        ("busi//auc", "must be DATASET/ROW/METRIC"),
        ("isic/egmae/auc", "unknown dataset 'isic'"),
        ("busi/egmaee/auc", "unknown method 'egmaee'; did you mean"),
        ("busi/egmae/au", "unknown metric 'au'"),
    ],
)
def test_a_cell_that_is_not_there(tmp_path: Path, cell: str, said: str) -> None:
    store_study(tmp_path, 2, egmae=2.0, imagenet=1.0)
    assert said in str(bench(tmp_path, "table", "--why", cell).exception)


MODEL = "test_resnet"


def egmae(**params: Any) -> Any:
    return installed().strategies.ref("egmae", params)


@pytest.mark.parametrize(
    "spec",
    [
        run_spec("scratch", model=MODEL),
        run_spec(
            egmae(), epochs=7, model=MODEL, size=64, seed=3, finetune=Finetuning(epochs=4, betas=(0.8, 0.9))
        ),
        run_spec(egmae(patch=32), epochs=7, model=MODEL),
        mean_of(run_spec("scratch", model=MODEL), run_spec(egmae(), epochs=3, model=MODEL)),
    ],
)
def test_the_command_asks_for_the_same_keys(spec: Any) -> None:
    """As `bench run` would read it."""
    record = record_of(spec, asked=Asked(protocol="quick+", rounds=2))
    text, same = command_of(record, 2, installed())
    assert same
    words = shlex.split(text)
    options: dict[str, list[str]] = {}
    for name, value in zip(words[2::2], words[3::2], strict=True):
        options.setdefault(name, []).append(value)
    config = StudyConfig(
        datasets=tuple(options["--dataset"]),
        models=tuple(options["--models"][0].split(",")),
        strategies=tuple(options["--strategies"][0].split(",")),
        ensembles=tuple(options["--ensembles"]),
        base=options["--protocol"][0],
    )
    study = make_study(config, installed(), [parse_assignment(text) for text in options.get("--set", [])])
    units = expand(study, installed(), lambda dataset, round_: spec.split).units
    assert spec.key in {unit.key for unit in units}


def test_a_command_that_cannot_make_the_same_is_said_not_to() -> None:
    gone = record_of(run_spec("a strategy of another package", model=MODEL))
    assert command_of(gone, 2, installed())[1] is False


# --- declarations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"metric": "acuracy"}, "unknown metric 'acuracy'; did you mean accuracy"),
        ({"baseline": "imagenet"}, "evidence.baseline = 'imagenet': no row of this study"),
        ({"margin": -1}, "evidence.margin"),
        ({"metrics": "auc"}, "evidence"),
    ],
)
def test_a_declaration_that_means_nothing(evidence: dict[str, Any], said: str) -> None:
    from bench.errors import ConfigError

    config = StudyConfig(datasets=("phantom",), strategies=("egmae", "scratch"), evidence=evidence)
    with pytest.raises(ConfigError, match=re.escape(said)):
        make_study(config, installed())


def test_what_a_study_declares_goes_to_its_records_and_to_no_key() -> None:
    plain = StudyConfig(datasets=("phantom",), strategies=("egmae", "scratch"), models=(MODEL,))
    declared = replace(plain, evidence={"metric": "auc", "baseline": "scratch"})
    one, other = (make_study(config, installed()) for config in (plain, declared))
    assert "metric" not in one.asked
    assert other.asked["metric"] == "auc"
    assert other.asked["margin"] == 0.01
    keys = [[u.key for u in expand(s, installed(), lambda *_: "split").units] for s in (one, other)]
    assert keys[0] == keys[1]
    set_ = make_study(plain, installed(), [parse_assignment("evidence.metric=auc")])
    assert set_.evidence.metric == "auc"
