"""A leaking split that a data set fixes: mended by a rule, and shown beside the split as published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from test_cli import PROTOCOL, bench, records
from test_duplicates import texture

ALONE = ("--device", "cpu", "--threads", "1", "--in-process")


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train, val and test; three test images repeat training images, one of them brighter."""
    folder = tmp_path_factory.mktemp("leaking")
    for i in range(48):
        part = ("train", "train", "val", "test")[i // 2 % 4]
        seed = {6: 0, 7: 1, 14: 8}.get(i, i)
        path = folder / "images" / part / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture(seed, 128)).save(path)
    (folder / "tiny.toml").write_text(PROTOCOL)
    return folder


def run(folder: Path, *more: str, code: int = 0) -> str:
    command = ["run", "-d", "folder", "--data", "images", "-s", "scratch", "-p", "tiny.toml", *ALONE, *more]
    done = bench(folder, *command, code=code)
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.long
def test_both_figures_stand_side_by_side(leaking: Path) -> None:
    assert "LEAK: folder round 0" in run(leaking, "-r", "1")
    alone = json.loads(bench(leaking, "table", "--format", "json").stdout)
    assert len(alone) == 1
    published = alone[0]["rows"][0]["values"]["accuracy"]["mean"]
    said = run(leaking, "-r", "1", "--set", "protocol.split.mend=drop_test")
    assert "left out are 0 of 24 train, 0 of 12 val, 3 of 12 test images" in said
    tables = json.loads(bench(leaking, "table", "--format", "json").stdout)
    (mended,) = (t for t in tables if "mended (drop_test)" in t["protocol"])
    (plain,) = (t for t in tables if "mended" not in t["protocol"])
    assert [c["title"] for c in plain["columns"]] == [c["title"] for c in alone[0]["columns"]]
    assert "Accuracy, split as published" in [c["title"] for c in mended["columns"]]
    (row,) = mended["rows"]
    assert row["values"]["accuracy@published"]["mean"] == published
    assert row["values"]["accuracy@published"] == plain["rows"][0]["values"]["accuracy"]
    assert "none on two sides" in " ".join(mended["footer"])
    assert "THE SPLIT LEAKS" in " ".join(plain["footer"])
    counts = {
        r["data"]["settings"].get("mend", "none"): r["data"]["counts"]
        for r in records(leaking, "runs").values()
    }
    assert sum(n for n, _ in counts["drop_test"]["test"].values()) == 9
    assert counts["drop_test"]["train"] == counts["none"]["train"]


@pytest.mark.long
def test_a_mended_split_alone_says_how_to_get_the_other_figure(leaking: Path, tmp_path: Path) -> None:
    for name in ("images", "tiny.toml"):
        (tmp_path / name).symlink_to(leaking / name)
    said = run(tmp_path, "-r", "1", "--strict", "--set", "protocol.split.mend=drop_train")
    assert "`bench table` shows the split as published beside this" in said
    assert "left out are 3 of 24 train, 0 of 12 val, 0 of 12 test images" in said
