"""Identity: keys that do not change by accident, and strict reading of values."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigError
from bench.identity import Ref, derive_seed, to_json
from bench.parsing import parse, read_toml
from bench.study import spec
from bench.study.protocol import Finetuning, Protocol
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec

SHIPPED = Path(spec.__file__).parent / "protocols"


def run_spec(**changes: Any) -> RunSpec:
    settings: dict[str, Any] = {
        "dataset": Ref("busi"),
        "model": Ref("convnext_tiny"),
        "strategy": Ref("egmae"),
        "split": "ab" * 32,
        "round": 0,
    }
    return RunSpec(**(settings | changes))


def pretrain_spec(**changes: Any) -> PretrainSpec:
    base = run_spec()
    return PretrainSpec(base.dataset, base.model, base.strategy, base.split, base.round, **changes)


def test_golden_keys() -> None:
    """If a key changes, stored results are not found again: a default or the JSON form was changed."""
    assert run_spec().key == "803387429a2c2383"
    assert pretrain_spec().key == "e2419df855acb369"
    assert run_spec(start=pretrain_spec()).key == "90cd7d535c24e5c0"
    assert (
        EnsembleSpec(Ref("mean"), (run_spec(), run_spec(strategy=Ref("imagenet")))).key == "f9e6c4215a9310ca"
    )
    assert (
        run_spec(finetune=Finetuning(epochs=30), strategy=Ref("egmae", {"patch": 32}, 2)).key
        == "d66ab61b7e3d3799"
    )


def test_a_new_field_with_a_default_keeps_old_keys() -> None:
    @dataclass(frozen=True)
    class Later(RunSpec):
        added: int = 3
        more: dict[str, int] = field(default_factory=dict)

    later = Later(**{f.name: getattr(run_spec(), f.name) for f in dataclasses.fields(RunSpec)})
    assert later.key == run_spec().key
    assert dataclasses.replace(later, added=4).key != run_spec().key


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": Ref("isic")},
        {"model": Ref("resnet18")},
        {"strategy": Ref("mae")},
        {"strategy": Ref("egmae", {"patch": 32})},
        {"strategy": Ref("egmae", revision=2)},
        {"split": "cd" * 32},
        {"round": 1},
        {"size": 96},
        {"seed": 1},
        {"precision": "fp32"},
        {"finetune": Finetuning(learning_rate=2e-4)},
        {"start": pretrain_spec()},
    ],
)
def test_what_can_alter_predictions_alters_the_key(change: dict[str, Any]) -> None:
    assert run_spec(**change).key != run_spec().key


def test_paths_do_not_alter_the_key() -> None:
    with_path = Ref("imagenet", {"weights_sha256": "00"}, 1, {"weights": "/somewhere/w.safetensors"})
    without_path = dataclasses.replace(with_path, local={})
    assert run_spec(strategy=with_path).key == run_spec(strategy=without_path).key


def test_fine_tunings_share_one_pretraining() -> None:
    short, long = (run_spec(start=pretrain_spec(), finetune=Finetuning(epochs=epochs)) for epochs in (30, 45))
    assert short.key != long.key
    assert short.start
    assert long.start
    assert short.start.key == long.start.key


def test_specs_survive_a_record() -> None:
    unit = EnsembleSpec(Ref("mean"), (run_spec(start=pretrain_spec()), run_spec(strategy=Ref("imagenet"))))
    for spec_ in (unit, *unit.members, pretrain_spec()):
        assert spec.unit_from_json(spec_.kind, to_json(spec_)) == spec_


@given(st.integers(0, 2**32), st.lists(st.integers(0, 50) | st.text(max_size=5), max_size=4))
def test_derived_seeds_are_stable_and_fit_torch(seed: int, axes: list[int | str]) -> None:
    first = derive_seed(seed, *axes)
    assert first == derive_seed(seed, *axes)
    assert 0 <= first < 2**63
    assert first != derive_seed(seed, *axes, "more")
    assert first != derive_seed(seed + 1, *axes)


def test_the_paper_protocol_is_the_default_and_spells_everything_out() -> None:
    values = tomllib.loads((SHIPPED / "paper.toml").read_text())
    assert parse(Protocol, values, "protocol") == Protocol(model="convnext_tiny.fb_in1k")

    def assert_complete(cls: Any, table: dict[str, Any]) -> None:
        assert set(table) == {f.name for f in dataclasses.fields(cls)}

    assert_complete(Protocol, values)
    for part in ("split", "pretrain", "finetune"):
        assert_complete(type(getattr(Protocol(), part)), values[part])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sise": 3}, "protocol.sise: no such key; did you mean size?"),
        ({"finetune": {"epoch": 3}}, "protocol.finetune.epoch: no such key; did you mean epochs?"),
        ({"finetune": {"epochs": 0}}, "protocol.finetune.epochs = 0: must be greater than or equal to 1"),
        ({"finetune": {"epochs": "many"}}, "protocol.finetune.epochs = 'many': must be a valid integer"),
        ({"finetune": {"epochs": 1.5}}, "protocol.finetune.epochs = 1.5: must be a valid integer"),
        (
            {"finetune": {"selection": "first"}},
            "protocol.finetune.selection = 'first': must be 'last' or 'best'",
        ),
        ({"split": {"val": 0.5, "test": 0.6}}, "protocol.split: val + test is 1.1"),
        ({"size": 300}, "protocol: finetune.resize 236 is less than size 300"),
        (
            {"pretrain": {"scale": [0.9, 0.1]}},
            "protocol.pretrain: scale (0.9, 0.1) must be [smallest, largest]",
        ),
        ({"pretrain": 7}, "protocol.pretrain = 7: must be"),
        ({"rounds": 6, "split": {"method": "kfold"}}, "protocol: rounds 6 is more than split.folds 5"),
    ],
)
def test_a_bad_value_is_one_line_with_key_value_and_what_is_allowed(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Protocol, values, "protocol")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("size = = 3")
    with pytest.raises(ConfigError, match=r"mine\.toml: not valid TOML .*line 1"):
        read_toml(file)
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_toml(tmp_path / "none.toml")
