"""How long commands take on a results folder of many units: `python -m benchmarks.records`.

A study of 10,000 units (phantom, five small networks, four strategies, an ensemble) is planned, one unit of
each kind is really run, and records with made-up predictions of the study's own images are written for all.
Then real commands are timed, each in a process of its own: `bench plan`, `bench table` without scores that
were kept, the same again, `bench verify`, `bench pack`, and of that pack `bench merge` and `bench verify`.
Time and peak memory go to results/<hardware>/records.csv and .md. `--keep FOLDER` leaves the folder for other
measurements, and `--only COMMAND` times that one alone.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
import typer

import bench
from bench import BenchError, EnsembleSpec, Plan, PretrainSpec, Study
from benchmarks.report import ROOT, Facts, Row, one_line, prepare, save

MODELS = "test_convnext,test_efficientnet,test_resnet,test_mambaout,test_nfnet"
STRATEGIES = "egmae,mae,noise,scratch"
PER_ROUND = 5 * (3 + 4 + 1)  # units: pretrainings, runs, ensembles
PATIENTS = 250
PROTOCOL = """
model = "test_convnext"
size = 32
[pretrain]
epochs = 1
resize = 40
[finetune]
epochs = 1
resize = 36
"""


class Measured(NamedTuple):
    """What one command took."""

    seconds: float
    peak: int  # bytes
    code: int


def main(
    units: Annotated[int, typer.Option(min=PER_ROUND, help="Units, about.")] = 10_000,
    keep: Annotated[
        Path | None, typer.Option(help="Leave the folder here; one that is there is used.")
    ] = None,
    only: Annotated[str, typer.Option(help="Time the commands that begin so, such as table.")] = "",
    results: Annotated[Path, typer.Option(help="Where figures are kept.")] = ROOT / "results",
) -> None:
    """Time commands on many records and write results/<hardware>/records.csv and .md."""
    machine = prepare("cpu", 1, results)
    rounds = max(1, units // PER_ROUND)
    with tempfile.TemporaryDirectory() as name:
        folder = keep or Path(name)
        if not (folder / "whole").is_file():
            make_folder(folder, rounds)
            (folder / "whole").touch()
        rows: list[Row] = []
        for title, arguments in commands(rounds).items():
            if not title.startswith(only):
                continue
            if "anew" in title:
                shutil.rmtree(folder / "results" / ".scratch" / "scores", ignore_errors=True)
            shutil.rmtree(folder / "merged", ignore_errors=True)
            measured = measure(folder, arguments)
            print(f"{title}: {measured.seconds:.1f} s, {mebibytes(measured.peak)} MiB", file=sys.stderr)
            rows.append(
                {
                    "command": title,
                    "units": rounds * PER_ROUND,
                    "seconds": measured.seconds,
                    "peak": measured.peak,
                    "code": measured.code,
                }
            )
    if not rows:
        return
    text = as_markdown(rows, machine.facts)
    save(machine.folder, "records", rows, machine.facts, text)
    print(text)


def commands(rounds: int) -> dict[str, list[str]]:
    """What is timed, by what it is called."""
    return {
        "plan": ["plan", *asked(rounds), "--device", "cpu", "--threads", "1", "--no-probe"],
        "table, scores anew": ["table"],
        "table": ["table"],
        "verify": ["verify"],
        "pack": ["pack", "-o", "study.zip"],
        "merge study.zip": ["merge", "study.zip", "--into", "merged"],
        "verify study.zip": ["verify", "study.zip"],
    }


def asked(rounds: int) -> list[str]:
    return [
        *("-d", "phantom", "--set", f"dataset.phantom.patients={PATIENTS}", "-m", MODELS),
        *("-s", STRATEGIES, "-p", "tiny.toml", "-r", str(rounds)),
    ]


LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
quiet = subprocess.DEVNULL
process = subprocess.Popen(sys.argv[1:], stdout=quiet, stderr=quiet)
_, status, usage = os.wait4(process.pid, 0)
scale = 1 if sys.platform == "darwin" else 1024
code = process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss * scale, code]))
"""
"""A small process starts the command, because a process inherits the peak memory of its parent."""


def measure(folder: Path, arguments: Sequence[str]) -> Measured:
    """One command in a process of its own: wall time and highest resident memory."""
    command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return Measured(*json.loads(done.stdout))


# --- what is read ------------------------------------------------------------------------------------


def make_folder(folder: Path, rounds: int) -> None:
    """A results folder of finished units, as a run of the study would have left it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(PROTOCOL, encoding="utf-8")
    samples = sample_records(folder)
    plan = planned(folder, rounds)
    for number, unit in enumerate(plan.units):
        write_unit(folder / "results", unit, samples[unit.kind], plan, number)
        if number % 1000 == 999:
            print(f"{number + 1} units made", file=sys.stderr)


def sample_records(folder: Path) -> dict[str, dict[str, Any]]:
    """A record of each kind of unit that this version of bench wrote, by kind."""
    plan = planned(folder, 1, models="test_convnext", strategies="egmae,scratch", place="sample")
    for outcome in bench.run(plan):
        if outcome.status != "done":
            raise BenchError(outcome.reason)
    files = sorted((folder / "sample").glob("*/*/*/record.json"))
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {record["kind"]: record for record in records}


def planned(
    folder: Path, rounds: int, models: str = MODELS, strategies: str = STRATEGIES, place: str = "results"
) -> Plan:
    study = Study.from_names(
        "phantom",
        strategies,
        models=models,
        protocol=str(folder / "tiny.toml"),
        rounds=rounds,
        values={"dataset.phantom.patients": PATIENTS},
    )
    return bench.plan(study, bench.local_environment(results=folder / place, device="cpu", threads=1))


def write_unit(results: Path, unit: Any, sample: dict[str, Any], plan: Plan, number: int) -> None:
    """The folder of one finished unit: a record like `sample`, and what it predicts at random."""
    place = "pretrain" if unit.kind == "pretrain" else "runs"
    split = plan.splits[unit.dataset, unit.round]
    safe = unit.label.replace("(", "-").replace(")", "").replace("--", "-")
    folder = results / place / unit.dataset.name / f"{safe}.{unit.key}"
    folder.mkdir(parents=True, exist_ok=True)
    record = copy.deepcopy(sample) | {"key": unit.key, "spec": as_json(unit)}
    record["data"]["split"] = split.hash
    record["data"]["counts"] = {p: {c: list(n) for c, n in by.items()} for p, by in split.counts().items()}
    if isinstance(unit, EnsembleSpec):
        record["members"] = [member.key for member in unit.members]
    name = "encoder.safetensors" if isinstance(unit, PretrainSpec) else "predictions.parquet"
    content = encoder(number) if isinstance(unit, PretrainSpec) else predictions(split, number)
    (folder / name).write_bytes(content)
    if "artefacts" in record:
        stated = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        known = record["artefacts"][name]
        rows = {p: int(n) for p in known.get("rows", ()) for n in [sum(q == p for q in split.parts)]}
        record["artefacts"] = {name: stated | ({"rows": rows} if rows else {})}
    seal = record.pop("sha256", None)
    body = json.dumps(record, indent=1).removesuffix("\n}")
    if seal:
        body += f',\n "sha256": "{hashlib.sha256(body.encode()).hexdigest()}"'
    (folder / "record.json").write_text(f"{body}\n}}\n", encoding="utf-8")


def as_json(value: Any) -> Any:
    """A spec as records have it: without the fields that are at their default or not part of its identity."""
    if not dataclasses.is_dataclass(value):
        return [as_json(v) for v in value] if isinstance(value, tuple) else value
    return {
        field.name: as_json(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.metadata.get("identity", True) and getattr(value, field.name) != default_of(field)
    }


def default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def encoder(number: int) -> bytes:
    """One weight, for every unit another one."""
    return safetensors.numpy.save({"weight": np.array([number], np.float32)})


def predictions(split: Any, seed: int) -> bytes:
    """Softmax of noise that leans to the true class, for the split's validation and test images."""
    rows = [row for part in ("val", "test") for row in _rows(split, part)]
    numbers = {name: i for i, name in enumerate(split.classes)}
    truth = np.array([numbers[row[2]] for row in rows])
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(rows), len(numbers))) + 1.5 * np.eye(len(numbers))[truth]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    part, ids, labels, groups = zip(*rows, strict=True)
    columns = [pa.array(values, pa.string()) for values in (part, ids, groups, labels)]
    columns += [pa.array(shares[:, i], pa.float64()) for i in range(len(numbers))]
    names = ["split", "id", "group", "label", *(f"p:{name}" for name in split.classes)]
    table = pa.table(columns, names=names)
    table = table.replace_schema_metadata({"classes": json.dumps(split.classes)})
    file = io.BytesIO()
    pq.write_table(table, file, use_dictionary=names[:4])
    return file.getvalue()


def _rows(split: Any, part: str) -> Iterator[tuple[str, str, str, str]]:
    for i in split.indices(part):
        yield part, split.ids[i], split.labels[i], split.groups[i]


# --- what is written ---------------------------------------------------------------------------------


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f}"


def as_markdown(rows: Sequence[Row], facts: Facts) -> str:
    """The table for readers."""
    lines = ["# Commands on many records", "", one_line(facts), ""]
    lines += [
        "Each command in a process of its own, once. Written by `python -m benchmarks.records`.",
        "",
        "| command | units | s | peak MiB | exit code |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        figures = [str(row["units"]), f"{row['seconds']:.1f}", mebibytes(row["peak"]), str(row["code"])]
        lines.append(f"| bench {row['command']} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        typer.run(main)
    except BenchError as error:
        sys.exit(f"error: {error}")
