"""Damage to stored results, and who notices: `python -m benchmarks.attacks.damage`.

A small study is run once (a minute). Then each damage is done to a copy of it, and real commands are asked:
`bench table`, `bench verify`, and `bench run` again. Printed for each: "silent" where a command says nothing
and ends as if all were well, "seen" where it says so, "down" where one damage takes the whole table away, and
for `run` also "mended" where all results are those of before afterwards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

PROTOCOL = """
model = "test_convnext"
size = 32
rounds = 2
[pretrain]
epochs = 1
resize = 40
[finetune]
epochs = 1
resize = 36
"""
STUDY = [
    *("-d", "phantom", "--set", "dataset.phantom.patients=36", "-s", "egmae,scratch", "-p", "tiny.toml"),
    *("--device", "cpu", "--threads", "1"),
]


def make_study(folder: Path) -> None:
    """Run a study of eight units in `folder`: two rounds of a pretraining, two runs and their ensemble."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(PROTOCOL, encoding="utf-8")
    done = bench(folder, "run", *STUDY)
    if done.returncode:
        sys.exit(f"the study to damage could not be made:\n{done.stdout}{done.stderr}")


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


# --- damages -----------------------------------------------------------------------------------------


def unit(results: Path, name: str) -> Path:
    """The folder of the unit whose label begins so, such as "runs/egmae.r0" or "pretrain/egmae.r0"."""
    place, _, label = name.partition("/")
    (found,) = (results / place / "phantom").glob(f"test_convnext.{label}.*")
    return found


def first(results: Path, pattern: str) -> Path:
    return sorted(results.glob(pattern))[0]


def copy(source: str, target: str, file: str) -> Callable[[Path], None]:
    """Copy one file of a unit over that of another."""

    def damage(results: Path) -> None:
        shutil.copyfile(unit(results, source) / file, unit(results, target) / file)

    return damage


def edit_table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Rewrite the predictions of one run."""

    def damage(results: Path) -> None:
        file = unit(results, "runs/scratch.r0") / "predictions.parquet"
        pq.write_table(change(pq.read_table(file)), file)

    return damage


def with_column(table: pa.Table, number: int, values: Any) -> pa.Table:
    return table.set_column(number, table.column_names[number], pa.array(values))


def labels_turned(table: pa.Table) -> pa.Table:
    number = table.column_names.index("label")
    return with_column(table, number, table["label"].to_pylist()[::-1])


def scaled(table: pa.Table) -> pa.Table:
    return with_column(table, 4, table.column(4).to_numpy() * 0.9)


def with_nan(table: pa.Table) -> pa.Table:
    values = table.column(4).to_numpy().copy()
    values[-1] = np.nan
    return with_column(table, 4, values)


def classes_exchanged(table: pa.Table) -> pa.Table:
    """Still a distribution for every image."""
    first, second = table.column(4).to_numpy(), table.column(5).to_numpy()
    return with_column(with_column(table, 4, second), 5, first)


def cut(name: str, file: str, keep: float = 0.5) -> Callable[[Path], None]:
    """Keep the beginning of a file alone."""

    def damage(results: Path) -> None:
        path = unit(results, name) / file
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return damage


def remove(name: str, file: str = "") -> Callable[[Path], None]:
    def damage(results: Path) -> None:
        path = unit(results, name) / file
        path.unlink() if file else shutil.rmtree(path)

    return damage


def edit_record(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Rewrite the record of one run."""

    def damage(results: Path) -> None:
        file = unit(results, "runs/scratch.r0") / "record.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        change(content)
        file.write_text(json.dumps(content), encoding="utf-8")

    return damage


def deep_record(results: Path) -> None:
    text = '{"version": 1, "spec": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (unit(results, "runs/scratch.r0") / "record.json").write_text(text, encoding="utf-8")


def encoder_scaled(results: Path) -> None:
    """Every weight times 1.1, in a file of the same size."""
    file = unit(results, "pretrain/egmae.r0") / "encoder.safetensors"
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")  # of the weights, after the header
    weights = np.frombuffer(content[start:], dtype=np.float32) * np.float32(1.1)
    file.write_bytes(content[:start] + weights.tobytes())


def encoder_scaled_and_needed(results: Path) -> None:
    encoder_scaled(results)
    shutil.rmtree(unit(results, "runs/egmae.r0"))
    shutil.rmtree(unit(results, "runs/mean-egmae+scratch.r0"))


def manifest_edited(results: Path) -> None:
    file = first(results, "splits/phantom/*.json")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"val"]', '"train"]', 1), encoding="utf-8")


def audit_edited(results: Path) -> None:
    file = first(results, "audits/phantom/*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["duplicates"] = content["duplicates"][1:] or [["a", "b", 1, 0.9, False]]
    file.write_text(json.dumps(content), encoding="utf-8")


def pixels_altered(results: Path) -> None:
    """Of every short side, so that any that is used is altered."""
    for file in sorted(results.glob(".scratch/images/phantom/*/*/pixels.u8")):
        content = bytearray(file.read_bytes())
        content[: len(content) // 2] = bytes(255 - value for value in content[: len(content) // 2])
        file.write_bytes(content)


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "nothing (must be silent)": lambda results: None,
    "predictions of another strategy": copy("runs/egmae.r0", "runs/scratch.r0", "predictions.parquet"),
    "predictions of another round": copy("runs/scratch.r1", "runs/scratch.r0", "predictions.parquet"),
    "rows dropped": edit_table(lambda table: table.slice(0, table.num_rows - 5)),
    "rows doubled": edit_table(lambda table: pa.concat_tables([table, table])),
    "labels edited": edit_table(labels_turned),
    "probabilities that do not sum to 1": edit_table(scaled),
    "nan among the probabilities": edit_table(with_nan),
    "two classes exchanged": edit_table(classes_exchanged),
    "predictions cut short": cut("runs/scratch.r0", "predictions.parquet"),
    "predictions empty": cut("runs/scratch.r0", "predictions.parquet", 0),
    "predictions removed": remove("runs/scratch.r0", "predictions.parquet"),
    "record cut short": cut("runs/scratch.r0", "record.json"),
    "record removed": remove("runs/scratch.r0", "record.json"),
    "record of another unit": copy("runs/egmae.r0", "runs/scratch.r0", "record.json"),
    "record nested 100,000 deep": deep_record,
    "record without its spec": edit_record(lambda content: content.pop("spec")),
    "record with text for a number": edit_record(lambda content: content["cost"].update(macs="many")),
    "record of a newer version": edit_record(lambda content: content.update(version=99)),
    "encoder scaled": encoder_scaled,
    "encoder scaled, and its run to do": encoder_scaled_and_needed,
    "encoder cut short": cut("pretrain/egmae.r0", "encoder.safetensors"),
    "encoder removed": remove("pretrain/egmae.r0", "encoder.safetensors"),
    "member of an ensemble removed": remove("runs/scratch.r0"),
    "split manifest edited": manifest_edited,
    "audit edited": audit_edited,
    "stored pixels altered": pixels_altered,
}


# --- what commands say -------------------------------------------------------------------------------


def predictions(results: Path) -> dict[str, bytes]:
    return {f.parent.name: f.read_bytes() for f in results.glob("runs/*/*/predictions.parquet")}


def ask_table(folder: Path) -> str:
    shown = bench(folder, "table")
    if shown.returncode:
        return "down"
    return "seen" if "warning:" in shown.stderr or "damaged" in shown.stdout else "silent"


def ask_verify(folder: Path) -> str:
    checked = bench(folder, "verify")
    if "No such command" in checked.stderr:
        return "-"
    return {0: "silent", 1: "seen"}.get(checked.returncode, f"exit {checked.returncode}")


def ask_run(folder: Path, sound: Mapping[str, bytes]) -> str:
    again = bench(folder, "run", *STUDY)
    whole = predictions(folder / "results") == sound and ask_table(folder) == "silent"
    said = again.returncode or "warning:" in again.stderr or "8 done, 0 to do" not in again.stdout
    if not said:
        return "silent"
    return "mended" if whole and not again.returncode else "seen"


def main(
    only: Annotated[str, typer.Option(help="Damages whose name contains this.")] = "",
) -> None:
    """Do each damage to a copy of a small study and print which commands notice."""
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "study"
        make_study(study)
        sound = predictions(study / "results")
        counts: dict[str, Counter[str]] = {"table": Counter(), "verify": Counter(), "run": Counter()}
        print(f"{'damage':36} {'table':8} {'verify':8} run")
        for title, damage in DAMAGES.items():
            if only not in title:
                continue
            folder = Path(name) / "damaged"
            shutil.copytree(study, folder)
            damage(folder / "results")
            answers = [ask_table(folder), ask_verify(folder), ask_run(folder, sound)]
            print(f"{title:36} {answers[0]:8} {answers[1]:8} {answers[2]}", flush=True)
            if "must be silent" not in title:
                for command, answer in zip(counts, answers, strict=True):
                    counts[command][answer] += 1
            shutil.rmtree(folder)
    for command, answers_ in counts.items():
        print(f"bench {command}: {', '.join(f'{n} {answer}' for answer, n in answers_.most_common())}")


if __name__ == "__main__":
    typer.run(main)
