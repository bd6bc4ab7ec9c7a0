"""The command line end to end, on real processes: run, go on, kill and resume, compare, extend."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kept_audits import keep_audits, with_audits

from bench.execution.provenance import usable_cores

Bench = Callable[..., subprocess.CompletedProcess[str]]

PROTOCOL = """
model = "test_convnext"
size = 32
rounds = 1
[pretrain]
epochs = 2
resize = 40
learning_rate = 1e-2
[finetune]
epochs = 2
resize = 36
learning_rate = 2e-3
"""
PHANTOM = [
    "--dataset",
    "phantom",
    "--set",
    "dataset.phantom.patients=36",
    "--device",
    "cpu",
    "--threads",
    "1",
]


def environment(**more: str) -> dict[str, str]:
    """Offline, whatever the machine; no plugin variables of the caller, whose PYTHONPATH comes after ours."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BENCH_")}
    paths = [source["PYTHONPATH"] for source in (more, clean) if source.get("PYTHONPATH")]
    if paths:
        more["PYTHONPATH"] = os.pathsep.join(paths)
    return clean | {"HF_HUB_OFFLINE": "1", "COLUMNS": "160", "PYTHONUNBUFFERED": "1"} | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


def bench(folder: Path, *arguments: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`; its exit code must be `code`, and no traceback may show."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(**env), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    keep_audits(folder)
    return done


def workspace(folder: Path) -> Path:
    (folder / "tiny.toml").write_text(PROTOCOL)
    return with_audits(folder)


def predictions(folder: Path) -> dict[str, bytes]:
    """Directory name -> the predictions of every finished run, as bytes."""
    found = (folder / "results" / "runs").glob("*/*/predictions.parquet")
    return {path.parent.name: path.read_bytes() for path in found}


def records(folder: Path, kind: str = "*") -> dict[str, dict]:
    return {
        p.parent.name: json.loads(p.read_text()) for p in (folder / "results").glob(f"{kind}/*/*/record.json")
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study that several tests look at."""
    folder = workspace(tmp_path_factory.mktemp("study"))
    done = bench(folder, "run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml")
    assert "4 units: 0 done, 4 to do" in done.stderr
    return folder


def test_one_command_gives_the_table(finished: Path) -> None:
    done = bench(finished, "table")
    for text in ("egmae", "scratch", "mean(egmae", "Accuracy", "AUC", "test_convnext"):
        assert text in done.stdout
    names = {name.split(".r0.")[0] for name in predictions(finished)}
    assert names == {"test_convnext.egmae", "test_convnext.scratch", "test_convnext.mean-egmae+scratch"}
    (record,) = [r for n, r in records(finished, "runs").items() if ".egmae." in n]
    assert record["cost"]["macs"] > 0
    assert record["usage"]["images_per_second"] > 0
    assert record["usage"]["latency"] > 0
    assert record["data"]["counts"]["train"]
    assert record["asked"] == {"protocol": "tiny", "rounds": 1}
    assert set(record["provenance"]["plugins"]) == {"datasets", "models", "strategies"}


@pytest.mark.parametrize("form", ["rich", "markdown", "html", "csv", "latex", "json"])
def test_tables_can_be_written_to_a_file(finished: Path, form: str, tmp_path: Path) -> None:
    """Without the colours that a terminal would get."""
    out = tmp_path / "table.out"
    arguments = ["table", "--format", form, "--output", str(out)]
    bench(finished, *arguments, FORCE_COLOR="1", TERM="xterm-256color")
    text = out.read_text()
    assert "egmae" in text
    assert "\x1b" not in text
    assert text.endswith("\n")


def test_the_same_command_again_repeats_nothing(finished: Path) -> None:
    before = times(finished)
    done = bench(finished, "run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml")
    assert "4 units: 4 done, 0 to do" in done.stderr
    assert done.stdout == bench(finished, "table").stdout  # nothing but the table
    assert times(finished) == before


def times(folder: Path) -> dict[Path, int]:
    """When each result was last changed, without caches and logs."""
    kept = (p for p in (folder / "results").rglob("*") if not {".scratch", "logs"} & set(p.parts))
    return {path: path.stat().st_mtime_ns for path in kept}


def test_a_fresh_run_predicts_the_same_bits_and_leaves_torch_to_its_worker(
    finished: Path, tmp_path: Path
) -> None:
    """The process of the command lists, audits, splits and compares; loading torch would take it seconds."""
    done = loaded_by(
        workspace(tmp_path), "run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml", of="torch timm"
    )
    assert predictions(tmp_path) == predictions(finished)
    assert done == "[]"


def test_units_at_once_predict_the_same_bits(finished: Path, tmp_path: Path) -> None:
    done = bench(
        workspace(tmp_path), "run", *PHANTOM, "-s", "egmae,scratch", "-p", "tiny.toml", "--jobs", "2"
    )
    assert "4 units: 0 done, 4 to do" in done.stderr
    expected = predictions(finished)
    assert predictions(tmp_path) == {name: expected[name] for name in predictions(tmp_path)}
    assert len(predictions(tmp_path)) == 3


@pytest.mark.slow  # compiles: a minute
def test_a_compiled_run_says_so(tmp_path: Path) -> None:
    bench(workspace(tmp_path), "run", *PHANTOM, "-s", "scratch", "-p", "tiny.toml", "--compile")
    (record,) = records(tmp_path, "runs").values()
    assert record["engine"]["compile"] == "true"


def test_adding_a_strategy_and_a_round_leaves_what_is_there(finished: Path, tmp_path: Path) -> None:
    finished = shutil.copytree(finished, tmp_path / "study")  # others look at the first
    before = predictions(finished)
    done = bench(finished, "run", *PHANTOM, "-s", "egmae,scratch,noise", "-p", "tiny.toml", "-r", "2")
    assert "12 units: 3 done, 9 to do" in done.stderr
    after = predictions(finished)
    assert {name: after[name] for name in before} == before
    splits = [json.loads(p.read_text()) for p in (finished / "results" / "splits").rglob("*.json")]
    assert len(splits) == 2
    first, second = (
        pd.read_parquet(p / "predictions.parquet").query("split == 'test'")["id"].tolist()
        for p in sorted((finished / "results" / "runs" / "phantom").glob("test_convnext.noise.r*"))
    )
    assert first != second
    again = bench(finished, "run", *PHANTOM, "-s", "scratch", "-p", "tiny.toml", "-r", "2")
    assert "egmae" not in again.stdout  # the table is this study's


@pytest.mark.long
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """kill -9 once a checkpoint of each stage exists; the end must equal an uninterrupted run's."""
    arguments = ["run", *PHANTOM, "-s", "egmae", "-p", "tiny.toml"]
    for stage in ("pretrain", "finetune"):
        arguments += ["--set", f"protocol.{stage}.epochs=25"]
    whole, killed = (
        workspace(tmp_path / name) for name in ("whole", "killed") if not (tmp_path / name).mkdir()
    )
    bench(whole, *arguments)

    for stage in ("pretrain", "finetune"):
        process = subprocess.Popen(
            command(*arguments),
            cwd=killed,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        units = killed / "results" / ("pretrain" if stage == "pretrain" else "runs")
        wait_for(lambda stage=stage: checkpoint_of(killed, stage), process)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not list(units.glob("*/*/record.json")), "killed too late to test anything"

    bench(killed, *arguments)
    resumed = [r for r in records(killed).values() if r["timings"].get("resumed_from_epoch")]
    assert sorted(r["kind"] for r in resumed) == ["pretrain", "run"]
    assert predictions(killed) == predictions(whole)
    encoders = [
        p.read_bytes() for f in (whole, killed) for p in f.glob("results/pretrain/*/*/encoder.safetensors")
    ]
    assert len(encoders) == 2
    assert encoders[0] == encoders[1]
    assert not list((killed / "results" / ".scratch" / "checkpoints").iterdir())


def checkpoint_of(folder: Path, stage: str) -> bool:
    """Whether the stage now at work has written a checkpoint."""
    saved = {p.name.split(".")[0] for p in folder.glob("results/.scratch/checkpoints/*.pt")}
    pretrained = {
        p.parent.name.rpartition(".")[2] for p in folder.glob("results/pretrain/*/[!.]*/record.json")
    }
    return bool(saved - pretrained) and bool(pretrained) == (stage != "pretrain")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.long
def test_a_unit_that_fails_is_a_row_with_its_cause_and_is_retried(tmp_path: Path) -> None:
    arguments = ["run", *PHANTOM, "-s", "imagenet,scratch", "-p", "tiny.toml"]
    done = bench(workspace(tmp_path), *arguments, code=1)
    assert "FAILED" in done.stderr
    table = bench(tmp_path, "table").stdout
    assert "imagenet" in table
    assert "0/1" in table
    plan = bench(tmp_path, "plan", *arguments[1:], "--no-probe").stdout
    assert "failed" in plan
    weights = tmp_path / "w.pt"
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, timm, torch\n"
            "torch.save(timm.create_model('test_convnext').state_dict(), sys.argv[1])",
            str(weights),
        ],
        check=True,
        env=environment(),
    )
    again = bench(tmp_path, *arguments, "--set", f"strategy.imagenet.weights={weights}")
    assert "3 units: 1 done, 2 to do" in again.stderr


def test_plan_shows_states_and_expected_time(finished: Path) -> None:
    done = bench(finished, "plan", *PHANTOM, "-s", "egmae,mae", "-p", "tiny.toml", "-r", "3")
    assert "done" in done.stdout
    assert "to do" in done.stdout
    assert "from records" in done.stdout  # fine-tuning has been timed before
    assert "from probe" in done.stdout  # mae has not
    assert not list(finished.glob("results/runs/phantom/*.mae.*"))
    expected = [int(text) for text in re.findall(r"│ to do +│ (\d+) s ", done.stdout)]
    (total,) = re.findall(r"To do: about (\d+) s on this machine", done.stdout)
    # Pretraining and fine-tuning of mae in three rounds, of egmae in two; an ensemble costs nothing. As many
    # side by side as there are cores; seconds are rounded.
    assert len(expected) == 10
    at_once = int((re.findall(r"\(cpu, (\d+) at once, 1 thread each\)", done.stdout) or ["1"])[0])
    assert at_once == min(10, usable_cores())
    assert sum(expected) / at_once - len(expected) <= int(total) <= sum(expected) + len(expected)
    assert int(total) > max(expected) or at_once > 2


def test_a_cell_that_cannot_exist_is_shown(tmp_path: Path) -> None:
    (tmp_path / "nodense.py").write_text(
        "from bench import Model, hookimpl\n"
        "def build(params, context):\n"
        "    from torch import nn\n"
        "    head = nn.Linear(48, len(context.classes))\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), head)\n"
        "@hookimpl\n"
        "def register_models():\n"
        "    return [Model(name='pooled', about='', build=build, classifier=lambda net: ('2',))]\n"
    )
    info = tmp_path / "nodense-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nodense\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\nnodense = nodense\n")
    arguments = ["run", *PHANTOM, "-s", "egmae,scratch", "-m", "pooled", "-p", "tiny.toml"]
    done = bench(workspace(tmp_path), *arguments, PYTHONPATH=str(tmp_path))
    assert "n/a  pooled.egmae: pooled lacks dense, which egmae needs" in done.stderr
    assert "1 unit: 0 done, 1 to do" in done.stderr


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Install the third-party package as pip would, outside the environment; gives its PYTHONPATH."""
    target = tmp_path_factory.mktemp("site")
    source = Path(__file__).parent / "third_party"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"),
            *("--no-build-isolation", "--target", str(target), str(source)),
        ],
        check=True,
    )
    return str(target)


def test_a_third_partys_package_adds_a_dataset_a_strategy_and_a_metric(example: str, tmp_path: Path) -> None:
    listed = bench(tmp_path, "list", PYTHONPATH=example).stdout
    for name in ("stripes", "blur", "top2"):
        assert name in listed
    assert "bench-example 1.2.3" in bench(tmp_path, "show", "blur", PYTHONPATH=example).stdout
    bench(
        workspace(tmp_path),
        *("run", "--dataset", "stripes", "-s", "blur,scratch", "-p", "tiny.toml", "--threads", "1"),
        *("--set", "strategy.blur.window=8", "--set", "dataset.stripes.images=20"),
        PYTHONPATH=example,
    )
    table = bench(
        tmp_path, "table", "--metrics", "accuracy,top2", "--format", "csv", PYTHONPATH=example
    ).stdout
    assert "top2" in table
    (record,) = [r for n, r in records(tmp_path, "runs").items() if ".blur." in n]
    assert record["provenance"]["plugins"]["example"] == {
        "distribution": "bench-example",
        "version": "1.2.3",
    }
    assert record["spec"]["start"]["strategy"]["params"] == {"window": 8}
    # Without the package its rows are still there; only its metric is gone.
    assert "blur" in bench(tmp_path, "table").stdout
    assert "unknown metric 'top2'" in bench(tmp_path, "table", "--metrics", "top2", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "no dataset named"),
        (["run", "-d", "busy", "-s", "egmae"], "unknown dataset 'busy'; did you mean busi?"),
        (["run", "-d", "phantom", "-s", "egame"], "unknown strategy 'egame'; did you mean egmae"),
        (["run", "-d", "phantom", "-s", "mae,mae"], "strategy 'mae' is named twice"),
        (["run", "-d", "phantom", "-s", "mae", "-m", "convnext_tny"], "did you mean convnext_tiny"),
        (["run", "-d", "phantom", "-s", "mae", "-p", "qick"], "unknown protocol 'qick'; did you mean quick"),
        (["run", "-d", "phantom", "-s", "mae", "-p", "no.toml"], "no.toml: cannot be read"),
        (["run", "-d", "phantom", "-s", "mae", "--set", "protocol.sise=3"], "protocol.sise: no such key"),
        (["run", "-d", "phantom", "-s", "mae", "--set", "patch=3"], "--set patch=3: must be like"),
        (["run", "-d", "phantom", "-s", "mae", "--set", "strategy.egmae.patch=3"], "does not name"),
        (
            ["run", "-d", "phantom", "-s", "mae", "--set", "strategy.mae.patch=0"],
            "strategy.mae.patch = 0: must be",
        ),
        (["run", "-d", "phantom", "-s", "mae", "--device", "quantum"], "--device 'quantum': not a device"),
        (
            ["run", "-d", "phantom", "-s", "mae", "--device", "cpu,cuda:99"],
            "--device cuda:99: this PyTorch sees",
        ),
        (["run", "-d", "phantom", "-s", "mae", "--executor", "slrm"], "unknown executor 'slrm'"),
        (["run", "--study", "none.toml"], "none.toml: cannot be read"),
        (["show", "egame"], "egame"),
        (["table", "--format", "docx"], "unknown reporter 'docx'"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = bench(tmp_path, *arguments, code=2)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_missing_dataset_says_where_it_was_looked_for(tmp_path: Path) -> None:
    done = bench(tmp_path, "run", "-d", "busi", "-s", "scratch", "--data", str(tmp_path / "nowhere"), code=1)
    assert "nowhere" in done.stderr
    assert "Dataset_BUSI_with_GT" in done.stderr


def test_a_study_file_says_the_same_as_options(finished: Path) -> None:
    (finished / "study.toml").write_text(
        'datasets = ["phantom"]\nstrategies = ["egmae", "scratch"]\nbase = "tiny.toml"\n'
        "[protocol]\nrounds = 1\n[strategy.egmae]\npatch = 16\n[dataset.phantom]\npatients = 36\n"
    )
    done = bench(finished, "run", "--study", "study.toml", "--device", "cpu", "--threads", "1")
    assert "4 units: 4 done, 0 to do" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["list", "strategies"]])
def test_help_and_lists_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert loaded_by(tmp_path, *arguments, of="torch timm pandas sklearn numpy scipy") == "[]"


def loaded_by(folder: Path, *arguments: str, of: str) -> str:
    """Which modules `of` these the process of a command loads, as a list."""
    script = (
        "import sys\nfrom bench.cli import main\n"
        f"sys.argv = ['bench', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        f"print(sorted(set({of!r}.split()) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip().rpartition("\n")[2]
