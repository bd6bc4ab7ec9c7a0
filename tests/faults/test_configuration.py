"""Nonsense in study files, `--set` and options is one line and exit code 2, before any work.

`python -m benchmarks.attacks.configuration` does all thousand mutations; here are some of each kind, and by
name those that were once accepted, raised or hung.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import bench
from typer.testing import CliRunner

from bench import ConfigError, Environment, Session, Study
from bench.api import check_folder
from bench.cli import app
from bench.execution.checks import check_study
from bench.parsing import read_toml
from bench.registry import installed
from bench.study.config import parse_assignment, read_study

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_mutations_spread_over_all_kinds_are_refused_or_make_sense() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.attacks.configuration", "--count", "90"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("90 mutations")
    for wrong in ("raised", "hung", "nonsense"):
        assert wrong not in last, done.stdout
    assert int(last.partition(": ")[2].split(" refused")[0].split()[-1]) > 75  # the attack does attack


def study(**values: Any) -> Study:
    """A study with these values, "__" for the dots in their names."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    base = {"protocol.size": 32, "protocol.finetune.resize": 36, "protocol.pretrain.resize": 40}
    return Study.from_names(
        "phantom", "mae", protocol="quick", models="test_convnext", values={**base, **given}
    )


def refused(**values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        study(**values)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), float("-inf")])
@pytest.mark.parametrize("key", ["protocol.pretrain.learning_rate", "protocol.finetune.weight_decay"])
def test_infinite_numbers_are_refused(key: str, value: float) -> None:
    assert refused(**{key: value}) == f"{key} = {value}: must be a finite number"


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000, 2**63], ids=["400", "-400", "5000", "63"])
def test_numbers_beyond_64_bits_are_refused(value: int) -> None:
    assert refused(protocol__seed=value).endswith("must be a number of at most 64 bits")


@pytest.mark.parametrize(
    "key", ["protocol.rounds", "protocol.seed", "protocol.finetune.learning_rate", "strategy.mae.patch"]
)
def test_true_is_no_number(key: str) -> None:
    assert refused(**{key: True}) == f"{key} = true: must be a number"


def test_a_pair_holds_numbers_too() -> None:
    assert refused(protocol__pretrain__scale=[True, 0.5]).endswith("must be a number")


def test_a_number_in_quotes_is_no_number() -> None:
    assert refused(protocol__rounds="3") == "protocol.rounds = '3': must be a number, without quotes"


@pytest.mark.parametrize("value", [1, "yes", "true", 0.0])
def test_what_is_true_or_false_is_nothing_else(value: object) -> None:
    from dataclasses import dataclass

    from bench.parsing import parse

    @dataclass(frozen=True)
    class Params:
        wide: bool = False

    with pytest.raises(ConfigError, match="must be true or false"):
        parse(Params, {"wide": value}, "model.x")
    assert parse(Params, {"wide": True}, "model.x").wide


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\x1b[31m", "\ud800", "\u202ea"])
def test_text_that_cannot_be_shown_is_refused(text: str) -> None:
    assert refused(protocol__model=text).endswith("must be printable text, without control characters")


@pytest.mark.parametrize(
    "text", ["", "a", "=1", "protocol.seed=", "protocol.rounds=1\nmodel = 2", "protocol..seed=1"]
)
def test_what_is_no_assignment_is_refused(text: str) -> None:
    from bench.study.config import StudyConfig, assign

    with pytest.raises(ConfigError, match=r"must (be|start)"):
        assign(StudyConfig(), [parse_assignment(text)], ("model",))


@pytest.mark.parametrize("value", ["[" * 3000 + "]" * 3000, "{a=" * 3000 + "1" + "}" * 3000])
def test_nesting_without_end_is_refused(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nested too deep"):
        parse_assignment(f"protocol.seed={value}")
    path = tmp_path / "study.toml"
    path.write_text(f"protocol = {value}")
    with pytest.raises(ConfigError, match=r"study\.toml: nested too deep"):
        read_toml(path)


def test_nesting_by_dots_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f"protocol.{'.'.join('a' * 900)} = 1")
    with pytest.raises(ConfigError, match="nested"):
        read_study(path)


@pytest.mark.parametrize("text", ["a = 1\na = 2", "a = " + "9" * 5000, "a = \x00", "a = \ufffe"])
def test_what_is_no_toml_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"study\.toml: not valid TOML"):
        read_toml(path)


def test_one_key_with_two_values_is_refused() -> None:
    from bench.study.config import StudyConfig, assign

    both = [parse_assignment(f"protocol.seed={value}") for value in (1, 2)]
    with pytest.raises(ConfigError, match="two values for one key"):
        assign(StudyConfig(), both, ())
    assert assign(StudyConfig(), both[:1] * 2, ()).protocol == {"seed": 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"protocol.pretrain.resize": 1}, "protocol.pretrain.resize = 1"),
        ({"protocol.finetune.epochs": 10**12}, "protocol.finetune.epochs = 1000000000000"),
        ({"protocol.rounds": 10**9}, "protocol.rounds = 1000000000"),
        ({"protocol.size": 10**9}, "protocol.size = 1000000000"),
        ({"protocol.finetune.learning_rate": 1e30}, "protocol.finetune.learning_rate = 1e+30"),
        ({"strategy.mae.decoder_width": 10**12}, "strategy.mae.decoder_width = 1000000000000"),
    ],
)
def test_sizes_beyond_reason_are_refused(values: dict[str, Any], said: str) -> None:
    assert refused(**values).startswith(f"{said}: must be")


def test_a_long_name_is_cut_in_its_message() -> None:
    with pytest.raises(ConfigError) as caught:
        Study.from_names("x" * 100_000, "mae")
    assert len(str(caught.value)) < 300


def checked(tmp_path: Path, strategies: str = "mae", models: str = "test_convnext", **values: Any) -> None:
    base = {"protocol.size": 32, "protocol.finetune.resize": 36}
    asked = Study.from_names(
        "phantom", strategies, protocol="quick", models=models, values={**base, **values}
    )
    check_study(asked, Session(Environment(data=tmp_path, results=tmp_path), installed()))


@pytest.mark.parametrize("patch", [15, 64])
def test_a_patch_that_does_not_divide_the_image_is_refused_before_any_work(
    tmp_path: Path, patch: int
) -> None:
    with pytest.raises(ConfigError, match=rf"strategy\.mae: patch {patch} does not divide protocol\.size 32"):
        checked(tmp_path, **{"strategy.mae.patch": patch})
    checked(tmp_path, **{"strategy.mae.patch": 16})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("strategies", "stage"), [("scratch", "finetune"), ("mae", "finetune"), ("mae", "pretrain")]
)
def test_single_images_are_refused_where_there_is_batch_norm(
    tmp_path: Path, strategies: str, stage: str
) -> None:
    with pytest.raises(ConfigError, match=rf"protocol\.{stage}\.batch = 1: test_resnet has batch norm"):
        checked(tmp_path, strategies, "test_resnet", **{f"protocol.{stage}.batch": 1})


def test_single_images_are_fine_without_batch_norm_and_without_pretraining(tmp_path: Path) -> None:
    checked(tmp_path, **{"protocol.finetune.batch": 1, "protocol.pretrain.batch": 1})
    checked(tmp_path, "scratch", "test_resnet", **{"protocol.pretrain.batch": 1})


def test_a_network_for_the_audit_that_nobody_has_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown model 'nobody'"):
        checked(tmp_path, **{"protocol.audit.embed": "nobody"})
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(ConfigError, match=r"--results .*: .*file is a file; name a folder"):
            check_folder(path, "--results")
    with pytest.raises(ConfigError, match="cannot be a folder"):
        check_folder(Path("x" * 5000), "--results")
    check_folder(tmp_path / "not yet" / "there", "--results")


@pytest.mark.parametrize("command", ["table", "verify", "clean"])
def test_results_that_were_named_and_are_missing_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_RESULTS", "missing")
    done = CliRunner().invoke(app, [command])
    assert isinstance(done.exception, ConfigError)  # exit code 2
    assert str(done.exception) == "--results missing: no such folder; name the one that `bench run` filled"
    (tmp_path / "missing").write_text("")
    assert "missing is a file; name a folder" in str(CliRunner().invoke(app, [command]).exception)


def test_commands_say_it_in_one_line(tmp_path: Path) -> None:
    """What the functions above raise reaches the user as one line and exit code 2, from every place."""
    cases = {
        ("table", "--results", "missing"): "error: --results missing: no such folder",
        ("plan", "-d", "phantom", "-s", "mae", "-m", ""): "error: --models '': names nothing",
        ("plan", "-d", "phantom", "-s", "mae", "--set", "protocol.seed=1\n2"): "error: --set = ",
    }
    for arguments, said in cases.items():
        done = bench(tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(said)
        assert len(done.stderr.splitlines()) == 1
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == "[]"
