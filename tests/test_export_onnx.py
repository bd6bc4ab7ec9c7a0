"""`bench export --to onnx`: needs the extra `export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import run_spec
from test_kept import invoke

from bench import Context
from bench.kept.load import open_network
from bench.registry import installed
from bench.results import kept

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def keep(results: Path, model: str, size: int) -> Path:
    """A kept model with random weights."""
    spec = run_spec("scratch", 0, model=model, size=size)
    component = installed().models.get(model)
    context = Context(classes=("benign", "malignant", "normal"), size=size)
    net = component.build(component.params(), context)

    def described(file: Any) -> kept.Kept:
        return kept.Kept(
            kind="model",
            key=spec.key,
            label=spec.label,
            dataset="busi",
            model=installed().models.ref(model, {}),
            strategy=spec.strategy,
            round=0,
            classes=context.classes,
            size=size,
            normalization=context.normalization,
            result="0" * 64,
            file=file,
        )

    return kept.write(results, spec, net.state_dict(), described)


def test_an_onnx_file_gives_the_same_for_any_number_of_images_and_says_how_to_use_it(tmp_path: Path) -> None:
    folder = keep(tmp_path, "test_convnext", 32)
    target = tmp_path / "model.onnx"
    done = invoke("export", folder, "--to", "onnx", "-o", target, "--threads", 1)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "on 32 images of random pixels (0.0001 is allowed)" in done.stderr
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    network = open_network(folder, installed(), torch.device("cpu"))
    for count in (1, 5):
        images = torch.randn(count, 3, 32, 32)
        (logits,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            assert np.allclose(logits, network.net(images).numpy(), atol=1e-4)
    facts = {each.key: each.value for each in onnx.load(str(target)).metadata_props}
    assert json.loads(facts["classes"]) == ["benign", "malignant", "normal"]
    assert facts["key"] == network.kept.key
    assert "research only" in facts["use"]


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(m.name for m in installed().models.all() if "baseline" in m.traits))
def test_every_baseline_can_be_exported(tmp_path: Path, model: str) -> None:
    folder = keep(tmp_path, model, 224)
    for form in ("onnx", "pt2"):
        done = invoke("export", folder, "--to", form, "-o", tmp_path / f"model.{form}")
        assert done.exit_code == 0, (done.output, done.exception)
