"""`bench data audit`, `bench data split`, and what a run says of its split, in processes of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import PROTOCOL, bench, records
from test_duplicates import texture

from bench.data.splits.manifest import read_manifest

OFFLINE = ("--device", "cpu", "--threads", "1")
BRIGHTER = 14  # images of class a that repeat another one, brighter


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of two classes; some repeat another one of class a, and b01 is a00 with another label."""
    folder = tmp_path_factory.mktemp("audit")
    for i in range(60):
        kind = "ab"[i % 2]
        image = texture(i, 64)
        if i % 4 == 2 and i < 4 * BRIGHTER:
            image = np.clip(texture(i - 2, 64) * 1.2, 0, 255).astype(np.uint8)
        if i == 1:
            image = texture(0, 64)
        path = folder / "images" / kind / f"{kind}{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "tiny.toml").write_text(PROTOCOL)
    return folder


def on_images(*command: str, more: tuple[str, ...] = ()) -> list[str]:
    return [*command, "--data", "images", *more]


def test_an_audit_is_a_table_a_file_and_a_picture(study: Path) -> None:
    done = bench(study, *on_images("data", "audit", "folder", more=("--picture", "pairs.png", *OFFLINE)))
    for text in ("duplicate pairs", "of these across classes", "worst pairs", "a/a00.png", "b/b01.png"):
        assert text in done.stdout
    (path,) = (study / "results" / "audits" / "folder").glob("*.json")
    audit = json.loads(path.read_text())
    assert ["a/a00.png", "b/b01.png", 0, 1.0, True] in [row[:5] for row in audit["duplicates"]]
    assert audit["counts"]["images whose duplicates carry another label"] == 3
    with Image.open(study / "pairs.png") as picture:
        assert picture.size[0] > 500
    assert not list(path.parent.glob("*.png"))


def test_embedding_neighbours_are_confirmed_too(study: Path) -> None:
    done = bench(
        study,
        *on_images("data", "audit", "folder", more=("--embed", "tf_efficientnet_lite0", *OFFLINE)),
        HF_HUB_OFFLINE="1",
    )
    assert "duplicate pairs" in done.stdout


def test_splits_are_frozen_carried_and_used(study: Path, tmp_path: Path) -> None:
    arguments = on_images("data", "split", "folder", more=("-r", "2", "-p", "tiny.toml", "-o", "manifests"))
    done = bench(study, *arguments, "--threads", "1")
    assert done.stdout.count("16 pairs of duplicates found, none on two sides; patients and ") == 2
    files = sorted((study / "manifests").glob("*.json"))
    assert [f.name for f in files] == ["folder.r0.json", "folder.r1.json"]
    machine = tmp_path / "another_machine"
    machine.mkdir()
    (machine / "images").symlink_to(study / "images")
    (machine / "tiny.toml").write_text(PROTOCOL)
    run = on_images("run", "-d", "folder", "-s", "scratch", "-p", "tiny.toml", "-r", "2", *OFFLINE)
    bench(machine, *run, "--split", str(study / "manifests"), "--strict")
    assert {r["spec"]["split"] for r in records(machine, "runs").values()} == {
        read_manifest(f).hash for f in files
    }
    for record in records(machine, "runs").values():
        audit = record["data"]["audit"]
        assert (audit["torn_clusters"], audit["kept_out"], audit["contradicted"]) == (0, 3, 0)
    table = " ".join(bench(machine, "table").stdout.split())
    assert "16 pairs of duplicates found, none on two sides; patients and lesions are not published" in table
    assert "3 images whose duplicates carry another label are neither validated nor tested on" in table


def test_a_data_set_that_differs_from_the_manifest_is_refused(study: Path, tmp_path: Path) -> None:
    bench(study, *on_images("data", "split", "folder", more=("-r", "1", "-o", "one")), "--threads", "1")
    for path in (study / "images").rglob("*.png"):
        copy = tmp_path / path.relative_to(study)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "images" / "a" / "a08.png").unlink()
    Image.fromarray(texture(99, 64)).save(tmp_path / "images" / "b" / "b07.png")
    arguments = on_images("run", "-d", "folder", "-s", "scratch", "-r", "1", *OFFLINE)
    done = bench(tmp_path, *arguments, "--split", str(study / "one"), code=1)
    assert "1 missing (a/a08.png)" in done.stderr
    assert "1 changed (b/b07.png)" in done.stderr


UNGROUPED = ("--set", "protocol.split.groups=none")


@pytest.mark.long
def test_a_leaking_split_is_named_everywhere_and_refused_if_strict(study: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(study / "images")
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    run = on_images("run", "-d", "folder", "-s", "scratch", "-p", "tiny.toml", *OFFLINE, *UNGROUPED)
    refused = bench(tmp_path, *run, "--strict", code=1)
    assert "finds that" in refused.stderr
    assert "leave --strict away" in refused.stderr
    assert not records(tmp_path, "runs")
    done = bench(tmp_path, *run)
    assert "LEAK: folder round 0" in done.stderr
    assert (
        "THE SPLIT LEAKS: validation and test images with a near-duplicate or group mate on another side"
        in " ".join(done.stdout.split())
    )
    assert "image by image (no groups)" in done.stdout
    bench(
        tmp_path, *(word for word in run if word not in UNGROUPED)
    )  # the grouped split, in a table of its own
    table = json.loads(bench(tmp_path, "table", "--format", "json").stdout)
    assert len(table["tables"] if isinstance(table, dict) else table) == 2


def test_progress_says_which_data_set_a_unit_is_of(study: Path, tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(study / "images")
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    both = on_images("run", "-d", "folder,phantom", "--set", "dataset.phantom.patients=36", *OFFLINE)
    lines = bench(tmp_path, *both, "-s", "scratch", "-p", "tiny.toml", "-r", "1").stderr.splitlines()
    for name in ("folder/test_convnext.scratch.r0", "phantom/test_convnext.scratch.r0"):
        assert [line for line in lines if line.startswith(f"  {name}  fine-tune epoch 2/2  loss ")]
        assert [line for line in lines if re.match(rf"\[\d/2\] done    run      {re.escape(name)}  ", line)]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["data", "audit", "busy"], "unknown dataset 'busy'; did you mean busi?", 2),
        (["data", "audit", "phantom", "--similarity", "2"], "audit.similarity = 2.0: must be", 2),
        (["data", "audit", "phantom", "--embed", "convnext_tny"], "did you mean convnext_tiny", 2),
        (["data", "split", "phantom", "--set", "protocol.split.groups=all"], "protocol.split.groups", 2),
        (
            ["run", "-d", "phantom", "-s", "scratch", "--split", "no.json"],
            "--split no.json: is not a split manifest",
            2,
        ),
        (["run", "-d", "phantom", "-s", "scratch", "--split", "."], "--split .: no manifest", 2),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: list[str], message: str, code: int) -> None:
    done = bench(tmp_path, *arguments, code=code)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_manifests_must_fit_the_study(study: Path) -> None:
    bench(study, *on_images("data", "split", "folder", more=("-r", "1", "-o", "fits")), "--threads", "1")
    manifest = str(study / "fits")
    run = on_images("run", "-s", "scratch", *OFFLINE, "--split", manifest)
    assert "which this study does not name" in bench(study, *run, "-d", "phantom", code=2).stderr
    lacking = bench(study, *run, "-d", "folder", "-r", "3", code=2)
    assert "no manifest of folder for round 1, 2" in lacking.stderr
    (study / "fits" / "again.json").write_bytes((study / "fits" / "folder.r0.json").read_bytes())
    assert "is for round 0 too" in bench(study, *run, "-d", "folder", "-r", "1", code=2).stderr
