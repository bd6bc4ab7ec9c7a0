"""Which views of the images a command decodes: those that it needs, once, and no others."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spies import Decoded, watch_decoding
from typer.testing import CliRunner

from bench import Environment, Session, Study
from bench.cli import app
from bench.data.audit.audit import SHORT
from bench.data.splits.manifest import read_manifest
from bench.execution.plan import make_plan

IMAGES = 24
PROTOCOL = """
size = 32
[pretrain]
resize = 40
[finetune]
resize = 36
"""


@pytest.fixture
def decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """24 images of two classes in a folder, which is where commands run."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(PROTOCOL)
    for i in range(IMAGES):
        path = Path("images") / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (160, 150, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return watch_decoding(monkeypatch)


def split(*more: str) -> str:
    """What `bench data split` says of these images."""
    arguments = ["data", "split", "folder", "-p", "tiny.toml", "-r", "2", "--data", "images", *more]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.output


def stored() -> set[int]:
    return {int(path.parent.name) for path in Path("results").glob(".scratch/images/folder/*/*/pixels.u8")}


def manifests() -> set[str]:
    return {read_manifest(path).hash for path in Path("results/splits/folder").glob("*.json")}


def test_a_split_decodes_the_audits_view_alone_and_once(decoded: Decoded) -> None:
    split("-o", "taken")
    assert decoded.images == IMAGES
    assert decoded.views == {SHORT: IMAGES}
    assert stored() == {SHORT}
    # The audit judges a split that was drawn without it, too.
    drawn_otherwise = [["--set", f"protocol.split.groups={groups}"] for groups in ("given", "none")]
    for more in ([], ["-r", "3"], ["--split", "taken"], ["--set", "protocol.seed=1"], *drawn_otherwise):
        assert "not audited" not in split(*more)
    assert decoded.images == IMAGES


def test_a_plan_decodes_all_its_views_at_once_and_finds_the_manifests_of_the_split(decoded: Decoded) -> None:
    def plan() -> None:
        protocol = {**tomllib.loads(PROTOCOL), "rounds": 2}
        study = Study.from_keywords(datasets=["folder"], strategies=["scratch"], protocol=protocol)
        make_plan(study, Session(Environment(data=Path("images"), results=Path("results"))))

    views = dict.fromkeys((SHORT, 40, 36, 32), IMAGES)
    split()
    frozen = manifests()
    plan()
    assert decoded.images == 2 * IMAGES, "once for the split, once more for what is trained on"
    assert decoded.views == views
    assert manifests() == frozen
    plan()
    split()
    assert decoded.images == 2 * IMAGES
    shutil.rmtree("results/.scratch")
    decoded.views.clear()
    plan()
    assert decoded.images == 3 * IMAGES
    assert decoded.views == views
