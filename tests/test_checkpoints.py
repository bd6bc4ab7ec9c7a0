"""Checkpoint files of the baselines' authors, from the command line to the record."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import Context
from bench.registry import installed

FACTS = Path(__file__).parent / "data" / "baselines"
PROTOCOL = """
size = 64
rounds = 1
[finetune]
epochs = 1
resize = 64
"""
QUICK = ["--dataset", "phantom", "--set", "dataset.phantom.patients=20", "--device", "cpu", "--threads", "1"]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
    (folder / "tiny.toml").write_text(PROTOCOL)
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "-p", "tiny.toml", *QUICK],
        cwd=folder,
        env=clean | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def records(folder: Path, kind: str) -> dict[str, Any]:
    """Model -> record."""
    stored = [json.loads(p.read_text()) for p in (folder / "results" / kind).glob("**/record.json")]
    return {record["spec"]["model"]["name"]: record for record in stored}


def cmt_checkpoint() -> dict[str, Tensor]:
    """As published: 1000 classes, tables for 224 pixels."""
    model = installed().models.get("cmt")
    net = model.build(model.params(), Context(classes=("x",) * 1000, size=224))
    state: dict[str, Tensor] = net.state_dict()
    return state


def convnext_checkpoint() -> dict[str, Tensor]:
    """In the authors' names, from the facts about their network."""
    shapes = json.loads((FACTS / "convnext.json").read_text())["shapes"]
    torch.manual_seed(0)
    return {name: torch.randn(shape) / 99 for name, shape in shapes.items()}


def test_a_checkpoint_fits_its_model_and_no_other(tmp_path: Path) -> None:
    """One file for three models: the record of the right one, and one clear reason for each other. What
    cannot be built for the size is n/a, and no failure."""
    file = tmp_path / "cmt_small.pth"
    torch.save({"model": {f"module.{k}": v for k, v in cmt_checkpoint().items()}, "epoch": 300}, file)
    weights = ["--set", f"strategy.imagenet.weights={file}"]
    done = bench(tmp_path, "run", "-m", "cmt", "--baselines", "spa,sgformer,cmt", "-s", "imagenet", *weights)
    shown = " ".join(done.stdout.split())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr

    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert records(tmp_path, "runs")["cmt"]["weights"] == (
        f"file cmt_small.pth, sha256 {sha}, new classifier"
    )
    failed = {name: record["reason"] for name, record in records(tmp_path, "failures").items()}
    assert "does not fit spa, which has" in failed["spa"]
    assert "missing (" in failed["spa"]
    assert "unexpected (_bn.bias, " in failed["spa"]
    assert len(failed["spa"]) < 600
    assert failed["spa"][:40] in shown
    assert list(failed) == ["spa"]
    said = " ".join(done.stderr.split())
    assert "n/a sgformer.imagenet: size 64: model 'sgformer' needs a side that is a multiple of 112" in said

    plan = bench(tmp_path, "plan", "-m", "test_convnext", "--baselines", "sgformer", "-s", "scratch")
    assert plan.returncode == 0, plan.stderr
    shown = " ".join(plan.stdout.split())
    for text in ("test_convnext.scratch.r0", "sgformer.scratch │ n/a", "112 is the nearest"):
        assert text in shown


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("cmt", "https://github.com/ggjy/CMT.pytorch/releases/"),
        ("swin", "https://github.com/SwinTransformer/storage/releases/"),
        ("resnet18", "pretrained weights carry their own licences"),
    ],
)
def test_show_says_where_a_checkpoint_is_and_how_to_give_it(name: str, address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "show", name],
        env=os.environ | {"COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"a local file: --set model.{name}.weights=FILE" in done.stdout
    assert address in done.stdout


@pytest.mark.long
def test_two_models_start_from_two_files_in_one_study(tmp_path: Path) -> None:
    """And one that is given the other's says what is missing and unexpected."""
    files = {"cmt": tmp_path / "cmt_small.pth", "convnext_small": tmp_path / "convnext_small.pth"}
    torch.save({"model": cmt_checkpoint()}, files["cmt"])
    torch.save({"model": convnext_checkpoint()}, files["convnext_small"])
    settings = [f"model.{name}.weights={file}" for name, file in files.items()]
    settings += [f"model.smt.weights={files['cmt']}"]
    options = [part for assignment in settings for part in ("--set", assignment)]
    done = bench(tmp_path, "run", "-m", ",".join((*files, "smt")), "-s", "imagenet", *options)
    assert done.returncode == 1, done.stdout + done.stderr
    for name, file in files.items():
        sha = hashlib.sha256(file.read_bytes()).hexdigest()
        assert records(tmp_path, "runs")[name]["weights"] == f"file {file.name}, sha256 {sha}, new classifier"
    (reason,) = (record["reason"] for record in records(tmp_path, "failures").values())
    for part in ("does not fit smt, which has", " missing (block1.0.attn.", " unexpected (_bn.bias, "):
        assert part in reason


@pytest.mark.long
def test_a_checkpoint_in_the_authors_names_starts_a_network_of_timm(tmp_path: Path) -> None:
    file = tmp_path / "convnext_small.pth"
    torch.save({"model": convnext_checkpoint()}, file)
    weights = ["--set", f"strategy.imagenet.weights={file}", "--set", "protocol.size=32"]
    done = bench(tmp_path, "run", "-m", "convnext_small", "-s", "imagenet", *weights)
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(tmp_path, "runs")["convnext_small"]["weights"].startswith(
        "file convnext_small.pth, sha256"
    )


@pytest.mark.slow
def test_all_baselines_train_beside_each_other(tmp_path: Path) -> None:
    """At 112 pixels, which all but one can take; that one is n/a with its cause."""
    sizes = ["--set", "protocol.size=112", "--set", "protocol.finetune.resize=112"]
    done = bench(tmp_path, "run", "-s", "scratch", "-m", "test_convnext", "--baselines", "all", *sizes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(records(tmp_path, "runs")) == 9
    assert "'cmt' needs a side that is a multiple of 32; 128 is the nearest" in " ".join(done.stdout.split())
