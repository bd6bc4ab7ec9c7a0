"""bench-medmnist as users have it: installed by pip beside bench, a distribution of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "plugins" / "bench_medmnist"
PROTOCOL = """
model = "test_convnext"
size = 32
rounds = 1
[pretrain]
epochs = 1
resize = 32
[finetune]
epochs = 1
resize = 32
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install the package as pip would, outside the environment; gives its PYTHONPATH."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *offline, str(PACKAGE)], check=True)
    return str(target)


def bench(folder: Path, site: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([site, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def breastmnist(folder: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("val", 8), ("test", 8)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2)[:, None]
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "breastmnist.npz", **arrays)


def test_its_data_sets_are_listed_and_described(site: str, tmp_path: Path) -> None:
    listed = bench(tmp_path, site, "list", "datasets").stdout
    for name in ("pathmnist", "chestmnist", "retinamnist", "organsmnist", "busi"):
        assert name in listed
    shown = bench(tmp_path, site, "show", "dermamnist").stdout
    for text in ("bench-medmnist 0.1.0", "CC BY-NC 4.0", "size", "224"):
        assert text in shown


def test_a_run_trains_on_the_official_split(site: str, tmp_path: Path) -> None:
    breastmnist(tmp_path / "data" / "breastmnist")
    (tmp_path / "tiny.toml").write_text(PROTOCOL)
    run = (
        "run",
        "-d",
        "breastmnist",
        "-s",
        "scratch",
        "-p",
        "tiny.toml",
        "--data",
        "data",
        "--device",
        "cpu",
    )
    missing = bench(tmp_path, site, *run, code=1)
    assert "no breastmnist_224.npz" in missing.stderr
    assert "--set dataset.breastmnist.size=28" in missing.stderr
    bench(tmp_path, site, *run, "--threads", "1", "--set", "dataset.breastmnist.size=28")
    (path,) = tmp_path.glob("results/runs/breastmnist/*/record.json")
    record = json.loads(path.read_text())
    assert record["spec"]["dataset"] == {"name": "breastmnist", "params": {"size": 28}}
    assert record["provenance"]["plugins"]["medmnist"]["distribution"] == "bench-medmnist"
    counts = record["data"]["counts"]
    assert {part: sum(images for images, _ in by.values()) for part, by in counts.items()} == {
        "train": 24,
        "val": 8,
        "test": 8,
    }


@pytest.mark.parametrize("bad", ["size=32", "split=random", "finding=flu"])
def test_impossible_parameters_are_refused(site: str, tmp_path: Path, bad: str) -> None:
    setting = f"dataset.chestmnist.{bad}"
    done = bench(tmp_path, site, "run", "-d", "chestmnist", "-s", "scratch", "--set", setting, code=2)
    assert done.stderr.startswith(f"error: {setting.split('=')[0]} = ")


def test_it_is_no_part_of_the_wheel_of_bench() -> None:
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert "plugins/bench_medmnist" not in config["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "medmnist" not in config["project"]["entry-points"]["bench"]
    assert not (PACKAGE / "__init__.py").exists()  # an editable install of bench puts plugins/ on the path
