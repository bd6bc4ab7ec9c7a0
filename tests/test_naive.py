"""The benchmark of two formulations: both forms compute the same, and are timed in turn."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from bench import Session, local_environment
from bench_models.sgformer import SGFormer
from bench_models.smt import SMT

ROOT = Path(__file__).parent.parent
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # few blocks, of every kind; size of the images
    "smt": (lambda: SMT(3, 64, 0.0, (1, 1, 2, 1)), 64),
    "sgformer": (lambda: SGFormer(3, 112, 0.0, (2, 2, 2, 1)), 112),
}


@pytest.fixture(scope="module")
def command() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # benchmarks are run from there, and not installed
        return importlib.import_module("benchmarks.against_naive")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    environment = local_environment(results=tmp_path_factory.mktemp("results"), device="cpu", threads=1)
    return SimpleNamespace(session=Session(environment), device=torch.device("cpu"))


def gradients(net: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    logits = net(images)
    logits.square().sum().backward()
    return logits.detach(), {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("index", range(2))
def test_the_obvious_form_gives_the_same_logits_and_gradients(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    formulation = command.FORMULATIONS[index]
    make, size = NETWORKS[formulation.model]
    torch.manual_seed(0)
    ours = make().double().eval()
    for parameter in ours.parameters():  # away from zeros and ones, where a lost term would not be seen
        nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.05)
    images = torch.randn(2, 3, size, size).double()
    obvious = command.obvious_form(ours, formulation)
    expected_logits, expected = gradients(ours, images)

    def refuse(*_: object) -> None:
        raise AssertionError("the obvious form calls our own")

    monkeypatch.setattr(formulation.module, formulation.method, refuse)
    logits, actual = gradients(obvious, images)
    torch.testing.assert_close(logits, expected_logits, rtol=1e-9, atol=1e-9)
    assert actual.keys() == expected.keys() == dict(ours.named_parameters()).keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(actual[parameter], gradient, rtol=1e-7, atol=1e-9, msg=parameter)


def test_both_forms_are_timed_in_turn(command: ModuleType) -> None:
    ticks = iter([9.0, 9.0] * 2 + [1.0, 3.0] * 5 + [1.0])  # after the warm-up: ours 1 s, the obvious form 3 s
    timed = command.in_turn(lambda: next(ticks), lambda: next(ticks), 60.0)
    assert [(pair.before, pair.work, pair.after) for pair in timed] == [(1.0, 3.0, 1.0)] * 5


def test_the_table_has_speeds_and_their_ratio(
    command: ModuleType, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = command.pairs.Pair(0.5, 0.75, 0.5)
    monkeypatch.setattr(
        command, "in_turn", lambda ours, obvious, seconds: (ours(), obvious(), [steady] * 5)[2]
    )
    (smt,) = (f for f in command.FORMULATIONS if f.model == "smt")
    row = command.measure(smt, 32, 2, machine, 0.0)
    for work in ("forward", "training"):
        assert row[f"{work}_ours_images_per_s"] == 4
        assert row[f"{work}_naive_images_per_s"] == pytest.approx(2 / 0.75)
        assert row[f"{work}_times_faster"] == 1.5
    text = command.as_markdown([row, {**row, "training_times_faster": None}], {"cpu": "some"})
    header, rule, first, second = text.splitlines()[-4:]
    assert first.startswith(f"| {smt.what} | smt | 32 | 2 | 4 | 2.667 | 1.5 |")
    assert header.count("|") == rule.count("|") == first.count("|")
    assert second.endswith("| - |")


def test_what_did_not_fit_in_memory_has_no_figure(
    command: ModuleType, machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> float:
        raise torch.OutOfMemoryError

    assert command.in_turn(lambda: 1.0, full, 60.0) == []
    monkeypatch.setattr(command, "in_turn", lambda ours, obvious, seconds: [])
    row = command.measure(command.FORMULATIONS[1], 32, 2, machine, 0.0)
    assert row["forward_ours_images_per_s"] is row["training_times_faster"] is None


def test_a_size_that_not_all_take_is_one_clear_error(tmp_path: Path) -> None:
    options = ["--size", "100", "--device", "cpu", "--threads", "1", "--results", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.against_naive", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: size 100: model 'sgformer' needs a side that is a multiple of 112")
