"""What benchmarks/leakage.py computes from predictions, and what it writes."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench import Estimate

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def leakage() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # benchmarks are run from there, and not installed
        return importlib.import_module("benchmarks.leakage")


def test_duplicates_and_others_are_scored_apart(leakage: ModuleType) -> None:
    predictions = pd.DataFrame(
        {
            "id": list("abcde"),
            "label": ["x", "x", "y", "y", "y"],
            "p:x": [1.0, 0.0, 0.0, 0.0, 1.0],  # b and e are wrong
            "p:y": [0.0, 1.0, 1.0, 1.0, 0.0],
            "p:other": [math.nan] * 5,  # a class of another data set in the same folder
        }
    )
    actual = leakage.judge(predictions, duplicated={"a", "c", "e"}, conflicting={"d"}, leaked=7)
    assert actual == (pytest.approx(2 / 4), pytest.approx(2 / 3), 0.0, 7, 5)


def test_the_table_gives_the_difference_with_its_interval(leakage: ModuleType) -> None:
    grouped = [leakage.Round(a, a, a, 0, 150) for a in (0.70, 0.72, 0.74)]
    naive = [leakage.Round(a, a + 0.1, a, 70, 156) for a in (0.80, 0.82, 0.84)]
    shown = {"audited": Estimate(mean=0.725, low=0.68, high=0.77), "none": Estimate(mean=0.82)}
    rounds_of = {"audited": grouped, "none": naive}
    text = leakage.as_markdown("busi", "bench run", rounds_of, shown, {"date": "today"})
    assert "| duplicates on one side | 0.7250 | 0.680 to 0.770 |" in text
    assert "| image by image | 0.8200 | - |" in text
    assert "| duplicates on one side | 3 | 150.0 | 0.0 | 0.7200 ± 0.0200 |" in text
    assert "| image by image | 3 | 156.0 | 70.0 | 0.8200 ± 0.0200 | 0.9200" in text
    assert "+0.1000 (+0.0547 to +0.1453)" in text  # Welch: 4 degrees of freedom, error 0.0163
    assert "$ bench run --set protocol.split.groups=none" in text


def test_accuracy_over_no_images_is_a_dash(leakage: ModuleType) -> None:
    rounds = [leakage.Round(0.4, math.nan, 0.5, 0, 10), leakage.Round(0.6, 0.5, 0.6, 0, 10)]
    text = leakage.as_markdown("d", "bench run", {"audited": rounds, "none": rounds}, {}, {})
    grouped, _, gain = (row for row in rows_of(text))
    assert grouped[:6] == ["duplicates on one side", "2", "10.0", "0.0", "0.5000 ± 0.1414", "-"]
    assert gain[0] == "image by image, difference (95 % interval)"
    assert gain[5] == "-"


def test_images_are_exposed_by_a_group_mate_in_another_part(leakage: ModuleType) -> None:
    known = {"a": "g", "b": "g", "c": "h", "d": "h", "e": "i", "f": "h"}
    parts = {"a": "train", "b": "test", "c": "val", "d": "test", "e": "test", "f": "out"}
    assert leakage.exposed(parts, known) == 3
    assert leakage.exposed({**parts, "b": "train", "d": "out"}, known) == 0


@pytest.mark.long
def test_both_splits_of_a_data_set_with_duplicates_are_run_once(
    leakage: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # the command sets it, for this process only
    images, protocol = tmp_path / "images", tmp_path / "small.toml"
    write_images(images)
    protocol.write_text('model = "tf_efficientnet_lite0"\nsize = 32\n[finetune]\nresize = 32\n')

    def command() -> str:
        leakage.main(
            dataset="folder",
            data=str(images),
            strategy="scratch",
            epochs=1,
            rounds=2,
            protocol=str(protocol),
            threads=1,
            work=tmp_path / "work",
            results=tmp_path / "results",
        )
        return capsys.readouterr().out

    assert "fine-tune epoch 1/1" in command()
    (table,) = (tmp_path / "results").glob("*/folder-leakage.md")
    written = table.read_text()
    grouped, hashes, naive, *differences = rows_of(written)
    shown = differences[2:]
    assert grouped[:2] == ["duplicates on one side", "2"]
    assert naive[:2] == ["image by image", "2"]
    assert hashes[:2] == ["by hashes alone", "2"]
    assert float(grouped[3]) == 0
    assert float(naive[3]) > 0  # leaked
    assert [row[0].split(",")[0] for row in differences[:2]] == [hashes[0], naive[0]]
    assert [row[0] for row in shown] == [
        grouped[0],
        hashes[0],
        naive[0],
    ]  # with the intervals of `bench table`
    for row in shown:
        low, high = map(float, row[2].split(" to "))
        assert low < float(row[1]) < high
    assert "fine-tune" not in command()  # what is done is kept
    assert rows_of(table.read_text()) == rows_of(written)


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of all rows of all tables, without their headings."""
    rows = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    return [row for row in cells if row[0] != "split"]


def write_images(folder: Path) -> None:
    """20 images of two classes that have a duplicate, and 20 that have none."""
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).resize((64, 64)))
        for brightness in (0, 2) if i < 20 else (0,):
            target = folder / "ab"[i % 2] / f"{i}-{brightness}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(pixels.astype(int) + brightness, 0, 255).astype(np.uint8)).save(target)
