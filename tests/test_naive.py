"""benchmarks/naive.py computes what our networks compute, so that timing the two compares nothing else."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from bench_models.cmt import CMT
from bench_models.pervit import PerViT
from bench_models.sgformer import SGFormer
from bench_models.smt import SMT
from bench_models.spa import SPANet

ROOT = Path(__file__).parent.parent
NETWORKS: dict[str, Callable[[], nn.Module]] = {  # few blocks, of every kind
    "cmt": lambda: CMT(3, 64, 0.0, (1, 1, 1, 1)),
    "smt": lambda: SMT(3, 64, 0.0, (1, 1, 2, 1)),
    "pervit": lambda: PerViT(3, 64, 0.0, (272, 320)),
    "sgformer": lambda: SGFormer(3, 112, 0.0, (2, 2, 2, 1)),
    "spa": lambda: SPANet(3, 64, 0.0, (1, 1, 1, 1)),
}


@pytest.fixture(scope="module")
def formulations() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # benchmarks are run from there, and not installed
        return importlib.import_module("benchmarks.naive")


@pytest.fixture(scope="module")
def command(formulations: ModuleType) -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        return importlib.import_module("benchmarks.against_naive")


def gradients(net: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    logits = net(images)
    logits.square().sum().backward()
    return logits.detach(), {n: p.grad for n, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_obvious_form_gives_the_same_logits_and_gradients(formulations: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    ours = NETWORKS[name]().double().eval()
    for parameter in ours.parameters():  # away from zeros and ones, where terms could be lost unseen
        nn.init.normal_(parameter, mean=1.0 if parameter.ndim == 1 else 0.0, std=0.05)
    images = torch.randn(2, 3, 112 if name == "sgformer" else 64, 112 if name == "sgformer" else 64)
    obvious = formulations.naive(ours)
    logits, expected = gradients(ours, images.double())
    found, given = gradients(obvious, images.double())
    torch.testing.assert_close(found, logits, rtol=1e-9, atol=1e-9)
    assert given.keys() == expected.keys() == dict(ours.named_parameters()).keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(given[parameter], gradient, rtol=1e-7, atol=1e-9, msg=parameter)


def test_every_module_that_has_an_obvious_form_is_met(formulations: ModuleType) -> None:
    met = {type(module) for make in NETWORKS.values() for module in make().modules()}
    assert set(formulations.FORWARDS) <= met


def test_both_forms_are_timed_in_turn(command: ModuleType) -> None:
    ticks = iter([9.0, 9.0] * 2 + [1.0, 3.0] * 5 + [1.0])  # after the warm-up: ours 1 s, the obvious form 3 s
    found = command.in_turn(lambda: next(ticks), lambda: next(ticks), 60.0)
    assert [(pair.before, pair.work, pair.after) for pair in found] == [(1.0, 3.0, 1.0)] * 5


def test_the_table_has_speeds_and_their_ratio(command: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    steady = command.pairs.Pair(0.5, 0.75, 0.5)
    monkeypatch.setattr(
        command, "in_turn", lambda ours, obvious, seconds: (ours(), obvious(), [steady] * 5)[2]
    )
    row = command.measure("spa", 32, 2, torch.device("cpu"), 0.0)
    for work in ("forward", "training"):
        assert row[f"{work}_ours_images_per_s"] == 4
        assert row[f"{work}_naive_images_per_s"] == pytest.approx(2 / 0.75)
        assert row[f"{work}_times_faster"] == 1.5
    text = command.as_markdown([row, {**row, "training_times_faster": None}], {"cpu": "some"})
    header, rule, first, second = text.splitlines()[-4:]
    assert first.startswith("| spa | 32 | 2 | 4 | 2.667 | 1.5 |")
    assert header.count("|") == rule.count("|") == first.count("|")
    assert second.endswith("| - |")


def test_what_did_not_fit_in_memory_has_no_figure(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> float:
        raise torch.OutOfMemoryError

    assert command.in_turn(lambda: 1.0, full, 60.0) == []
    monkeypatch.setattr(command, "in_turn", lambda ours, obvious, seconds: [])
    row = command.measure("spa", 32, 2, torch.device("cpu"), 0.0)
    assert row["forward_ours_images_per_s"] is row["training_times_faster"] is None


def test_a_size_that_not_all_take_is_one_clear_error() -> None:
    arguments = [sys.executable, "-m", "benchmarks.against_naive", "--size", "100", "--device", "cpu"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: size 100: model 'cmt' needs a side that is a multiple of 32")
