"""The benchmarks use what is public; names, csv and Markdown; the trainings that the engine's one times."""

from __future__ import annotations

import ast
import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from benchmark_modules import module_of

import bench
from bench.engine import depthwise

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 5, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def baselines() -> ModuleType:
    return module_of("benchmarks.baselines")


@pytest.fixture(scope="module")
def report() -> ModuleType:
    return module_of("benchmarks.report")


# --- what they use -----------------------------------------------------------------------------------


def private_names(source: str) -> set[str]:
    """What a module uses of `bench` that is not public, and names with an underscore that it takes from
    elsewhere."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
    return {name for name in names if not is_public(name)}


def is_public(name: str) -> bool:
    if name == "os._exit":  # documented, whatever its name says
        return True
    package, _, rest = name.partition(".")
    if any(part.startswith("_") and not part.startswith("__") for part in rest.split(".")):
        return False
    if package != "bench" or not rest:
        return True
    # Parts are measured that have no public name: the loop, and what commands compute from predictions.
    return rest.split(".")[0] in {*bench.__all__, "testing", "engine", "evidence", "comparison"}


SCRIPTS = [*sorted((ROOT / "benchmarks").rglob("*.py")), ROOT / "docs" / "make_picture.py"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_benchmarks_and_the_picture_use_nothing_private(path: Path) -> None:
    assert not private_names(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from bench import Study, plan\nfrom bench.engine.job import Job\nimport bench.testing", set()),
        ("from bench.registry import installed", {"bench.registry.installed"}),
        ("import bench.files", {"bench.files"}),
        ("import bench\nbench.registry.installed()", {"bench.registry", "bench.registry.installed"}),
        ("def f():\n    from bench import execution", {"bench.execution"}),
        ("from bench_models import spa\nspa._margin(2)", {"spa._margin"}),
        ("from bench.engine.step import _no_weight_decay", {"bench.engine.step._no_weight_decay"}),
    ],
)
def test_what_is_private_is_noticed(source: str, names: set[str]) -> None:
    assert private_names(source) == names


# --- what they write ---------------------------------------------------------------------------------

HARDWARE = {"device": "cpu", "cpu": "AMD EPYC 7B13", "cores": 2, "threads": 2}
PACKAGES = {"medbench": "0.1.0", "torch": "2.14.1", "timm": "1.0.31"}
GIT = {"commit": "e94f12b3b6201111", "dirty": True}
ROWS: list[dict[str, Any]] = [
    {
        "model": name,
        "size": 224,
        "latency_s": 0.05,
        "params": 20_000_000,
        "macs": macs,
        "forward_images_per_s_at_16": 12.5,
        "forward_peak_bytes_at_16": None,
        "training_images_per_s_at_16": speed,
        "training_peak_bytes_at_16": None,
        "notes": "a reconstruction" if name == "b" else "",
    }
    for name, macs, speed in (("a", 4_000_000_000, 3.25), ("b", None, None))
]


def test_what_it_ran_on_is_recorded(report: ModuleType) -> None:
    facts = report.facts_of(HARDWARE, PACKAGES, GIT, "fp32", NOW)
    assert facts["date"] == "2026-05-06"
    assert facts["commit"] == "e94f12b3b620+changes"
    assert (facts["torch"], facts["threads"], facts["precision"]) == ("2.14.1", "2", "fp32")
    assert report.facts_of(HARDWARE, PACKAGES, None, "fp32", NOW)["commit"] == "none"
    former = {"bench": "0.0.9", "torch": "2.14.1"}  # what the distribution was called in older records
    assert report.facts_of(HARDWARE, former, None, "fp32", NOW)["bench"] == "0.0.9"
    assert facts["bench"] == "0.1.0"


def test_this_machine_is_described(report: ModuleType, tmp_path: Path) -> None:
    machine = report.prepare("cpu", 1, tmp_path)
    assert (machine.device.type, machine.facts["device"], machine.facts["threads"]) == ("cpu", "cpu", "1")
    assert machine.facts["precision"] == "fp32"
    assert machine.facts["bench"] == bench.__version__
    assert machine.folder == tmp_path / report.folder_name(machine.session.hardware)


def test_the_folder_is_named_by_the_hardware(report: ModuleType) -> None:
    assert report.folder_name(HARDWARE) == "amd-epyc-7b13-2-threads"
    assert report.folder_name({"gpu": "NVIDIA H100 80GB HBM3"}) == "nvidia-h100-80gb-hbm3"


def test_the_csv_has_a_line_per_model_with_the_facts(report: ModuleType) -> None:
    text = report.as_csv(ROWS, report.facts_of(HARDWARE, PACKAGES, GIT, "fp32", NOW))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["model"] for line in lines] == ["a", "b"]
    assert lines[0]["torch"] == "2.14.1"
    assert lines[1]["training_images_per_s_at_16"] == ""


def test_the_markdown_gives_units_and_leaves_out_what_was_not_measured(baselines: ModuleType) -> None:
    text = baselines.as_markdown(ROWS, {"date": "2026-05-06"})
    assert "| a | 224 | 50 | 20 | 4 | 12.5 | 3.25 |" in text
    assert "| b | 224 | 50 | 20 | - | 12.5 | - |" in text
    assert text.endswith("\n\n- b: a reconstruction\n")
    assert "peak" not in text
    header, rule = (line for line in text.splitlines() if line.startswith(("| model", "| ---")))
    assert header.count("|") == rule.count("|")


def test_saving_replaces_both_files(report: ModuleType, tmp_path: Path) -> None:
    for text in ("one", "two"):
        report.save(tmp_path / "machine", "speed", [{"model": text}], {"date": "today"}, text)
    files = {path.name: path.read_text() for path in (tmp_path / "machine").iterdir()}
    assert files == {"speed.csv": "model,date\ntwo,today\n", "speed.md": "two"}


@pytest.mark.parametrize("batch", ["1", "16,", "many", ""])
def test_batches_that_cannot_be_trained_are_refused(report: ModuleType, batch: str) -> None:
    with pytest.raises(typer.BadParameter, match="2 or more"):
        report.batches(batch)


# --- what they measure -------------------------------------------------------------------------------


def test_a_model_is_counted_and_timed_as_by_the_command(tmp_path: Path) -> None:
    environment = bench.local_environment(results=tmp_path, device="cpu", threads=1)
    news: list[bench.Progress] = []
    cost = bench.measure_model(
        "tf_efficientnet_lite0",
        environment,
        classes=5,
        size=32,
        batches=(2,),
        train=True,
        seconds=0.0,
        report=news.append,
    )
    assert (cost.model, cost.size, cost.classes) == ("tf_efficientnet_lite0", 32, 5)
    assert cost.flat["params"] < cost.flat["params_1000_classes"]
    assert [timing.batch for timing in (*cost.forward, *cost.training)] == [2, 2]
    assert [(n.unit, n.stage) for n in news][:2] == [
        ("tf_efficientnet_lite0", "counting"),
        ("tf_efficientnet_lite0", "timing one image"),
    ]
    untimed = bench.measure_model("tf_efficientnet_lite0", environment, size=32)
    assert (untimed.latency, untimed.forward, untimed.training) == (None, (), ())


@pytest.fixture(scope="module")
def work() -> ModuleType:
    return module_of("benchmarks.work")


def test_the_engines_trainings_are_those_of_a_run_in_whole_batches(work: ModuleType, tmp_path: Path) -> None:
    setting = work.Setting("tf_efficientnet_lite0", 32, 16, 40, 64, 1, 1.0)
    environment = bench.local_environment(tmp_path, tmp_path, device="cpu", threads=1)
    tasks = work.tasks(setting, environment)
    assert list(tasks) == list(work.TASKS)
    for name, task in tasks.items():
        trained = len(task.setup.split.indices("train"))
        assert task.images == 16 * task.budget.steps <= trained < 16 * (task.budget.steps + 1)
        assert trained % 16, "the data set must leave a short batch for this test to mean anything"
        sizes = [len(batch[0]) for batch in task.inputs.epoch(0)]
        assert sizes == [16] * task.budget.steps
        _, training = bench.prepare_training(task.unit, task.session)
        assert (task.job.stage, type(task.module)) == (training.stage, type(training.module))
        assert (name == "fine-tuning") == isinstance(task.unit, bench.RunSpec)
    task = tasks["mae"]
    assert work.epoch(task, 1)() > 0
    timed = work.pairs(task, work.ceiling(task, graph=False), budget=60.0, enough=1)
    assert [pair for pair in timed if pair.accepted]
    assert not task.job.checkpoint.exists()


def test_depthwise_gradients_are_timed_by_one_thread_and_by_all(
    work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same steps with them and without; the threads of before are back afterwards."""
    epochs, figure = module_of("benchmarks.epochs"), module_of("benchmarks.figure")
    setting = work.Setting("tf_efficientnet_lite0", 32, 8, 20, 64, 1, 3600.0)  # its budget is never spent
    environment = bench.local_environment(tmp_path, tmp_path, device="cpu", threads=2)
    monkeypatch.setattr(epochs, "STEPS", 5)
    monkeypatch.setattr(epochs, "_networks", lambda inputs: iter([setting]))
    plain, used, steps = depthwise.weight_gradient, [], []

    def gradient(*arguments: Any) -> torch.Tensor:
        used.append(arguments)
        return plain(*arguments)

    def timed(step: Callable[[], object], device: torch.device) -> float:
        before = len(used)
        step()
        steps.append((len(used) > before, torch.get_num_threads()))
        return 1.0

    monkeypatch.setattr(depthwise, "weight_gradient", gradient)
    monkeypatch.setattr(epochs, "timed", timed)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = list(epochs.depthwise(figure.Inputs(setting, {}, environment, on_gpu=False)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert steps == [(i % 2 == 1, count) for count in (1, 2) for i in range(11)]
    assert [row.value for row in rows] == [1.0, 1.0]


def test_the_engines_sections_are_chosen_by_name() -> None:
    engine = module_of("benchmarks.engine")
    sections = engine.load_sections()
    assert engine.choose("", sections) == list(sections)
    assert engine.choose("packing, shares", sections) == ["packing", "shares"]
    with pytest.raises(typer.BadParameter, match="speed: no such section; use ceilings, shares"):
        engine.choose("shares,speed", sections)


def test_the_engines_figures_stand_under_their_sections() -> None:
    engine, figure, pairs = (module_of(f"benchmarks.{name}") for name in ("engine", "figure", "pairs"))
    rows = [
        figure.ratio("ceilings", "mae: epoch / ceiling A", [pairs.Pair(1.0, 1.5, 1.0)] * 5),
        figure.ratio("ceilings", "mae: epoch / ceiling B", [pairs.Pair(1.0, 1.5, 2.0)] * 5),
        figure.Figure("scaling", "an epoch of 32 images", 2.0, "s"),
    ]
    text = engine.as_markdown(rows, {"date": "today"}, "python -m benchmarks.engine")
    assert "| mae: epoch / ceiling A | 1.5 x | 1.500 to 1.500, 5 pairs, 0 rejected |" in text
    assert "| mae: epoch / ceiling B | - | only 0 pairs, 5 rejected: too few for a figure |" in text
    assert (
        text.index("## Ceilings") < text.index("## Scaling") < text.index("| an epoch of 32 images | 2 s |")
    )


# --- the attacks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes() -> ModuleType:
    return module_of("benchmarks.attacks.processes")


def shell(processes: ModuleType, folder: Path, script: str) -> Any:
    return processes.Started(["sh", "-c", script], folder, {"PATH": "/usr/bin:/bin"})


linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="as the attacks: needs /proc")


@linux
def test_an_attack_counts_the_processes_that_a_command_leaves(processes: ModuleType, tmp_path: Path) -> None:
    process = shell(processes, tmp_path, "sleep 60 & echo out; echo err >&2; exit 3")
    assert process.wait(30, grace=0.2) == (3, "out\n", "err\n", 1)
    assert processes.marked(process.mark) == []
    process = shell(processes, tmp_path, "sleep 0.3 & exit 0")
    assert process.wait(30, grace=30) == (0, "", "", 0)
    process = shell(processes, tmp_path, "sleep 60 & sleep 60")
    assert process.wait(0.3) == (None, "", "", 0)
    assert processes.marked(process.mark) == []
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_process_that_becomes_another_is_not_overlooked(processes: ModuleType, tmp_path: Path) -> None:
    """In the middle of execve, Linux shows an empty environment."""
    again = tmp_path / "again.sh"
    again.write_text(f"exec sh {again}")
    process = shell(processes, tmp_path, f"exec sh {again}")
    overlooked = sum(not processes.marked(process.mark) for _ in range(200))
    assert process.wait(0.1).code is None
    assert overlooked == 0


def test_an_attack_knows_results_from_what_is_left_lying(processes: ModuleType, tmp_path: Path) -> None:
    name = "0123456789abcdef" * 2
    files = {
        "runs/phantom/a.r0.1/predictions.parquet": b"1",
        "runs/phantom/a.r0.1/record.json": b"{}",
        f"runs/phantom/.writing-here-7-{name}/predictions.parquet": b"2",
        f".scratch/checkpoints/.1.pt.{name}": b"",
        ".scratch/checkpoints/1.pt": b"",
        ".scratch/claims/1.lock": b"",
        ".scratch/images/phantom/.lock": b"",
    }
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    assert processes.stored(tmp_path) == {"a.r0.1/predictions.parquet": b"1"}
    assert processes.leftovers(tmp_path) == [
        f".scratch/checkpoints/.1.pt.{name}",
        ".scratch/checkpoints/1.pt",
        ".scratch/claims/1.lock",
        f"runs/phantom/.writing-here-7-{name}",
    ]
    processes.age(tmp_path)
    assert {path.stat().st_mtime for path in processes.temporaries(tmp_path)} == {1.0}


@linux
def test_an_attack_needs_the_command_beside_the_interpreter(processes: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="bench is missing; name by --python the interpreter"):
        processes.beside(str(tmp_path / "python"))


def test_trainings_that_were_begun_again_without_need_are_counted() -> None:
    claims = module_of("benchmarks.attacks.claims")
    begun = [claims.Begun(*pair) for pair in ((0, "a"), (1, "a"), (0, "b"), (2, "b"), (1, "c"), (2, "c"))]
    assert claims.superfluous(begun, killed=0, unfinished={"b", "c"}) == 2  # "a", which was stored, and "c"
    assert claims.superfluous(begun, killed=1, unfinished={"c"}) == 2
    assert claims.superfluous(begun, killed=3, unfinished={"a", "b", "c"}) == 3
    assert not claims.Counts(9, 0, 0, 0, ["a file"]).sound
    assert claims.Counts(9, 0, 0, 0, []).sound


def test_the_witness_tells_steps_and_predictions_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    witness, network = (module_of(f"benchmarks.attacks.witness{part}") for part in ("", ".network"))
    claims = module_of("benchmarks.attacks.claims")
    monkeypatch.setenv("WITNESS", str(tmp_path / "witness"))
    monkeypatch.setenv("WITNESS_BY", "4")
    context = bench.Context(classes=("a", "b"), size=8)
    net = network.Network(2)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    encoder = bench.Encoder(net=net, features=witness.features, stride=4, width=8)
    assert witness.objective("pretrained-0", encoder, bench.NoParams(), context)(images).ndim == 0
    net.eval()(images.float())  # operations are counted
    with torch.inference_mode():
        assert net(images.float()).shape == (3, 2)
    said = [line.split()[2:] for line in (tmp_path / "witness").read_text().splitlines()]
    assert said == [["training", "pretrained-0"], ["step"], ["predict"]]
    assert claims.read(tmp_path / "witness") == [claims.Begun(4, "pretrained-0")]


def test_every_misdeed_that_is_asked_for_is_one_of_the_plugin(tmp_path: Path) -> None:
    plugins, misdeeds = (module_of(f"benchmarks.attacks.{name}") for name in ("plugins", "misdeeds"))
    attacks = plugins.attacks(tmp_path / "outside")
    assert len({attack.name for attack in attacks}) == len(attacks) >= 24
    words = {word for attack in attacks for option in attack.options for word in option.split(",")}
    assert {strategy.name for strategy in misdeeds.register_strategies()} <= words
    offered = {c.name for c in (*misdeeds.register_metrics(), *misdeeds.register_reporters())}
    assert {word for word in words if word.startswith(("metric_", "reporter_"))} <= offered


def test_what_a_misdeed_costs_is_named(processes: ModuleType, tmp_path: Path) -> None:
    plugins = module_of("benchmarks.attacks.plugins")
    attack = plugins.Attack("exits", (), recorded=True)
    outside = tmp_path / "outside"
    everything = processes.Ended(0, "from native code", "FAILED by somebody", 1)
    assert plugins.problems(attack, everything, tmp_path, outside) == [
        *("exit 0", "1 processes left", "the honest unit is lost", "its package is not named"),
        *("no failure record", "printed into the table"),
    ]
    for place, name, record in (
        ("runs", "scratch", {"status": "done"}),
        ("failures/runs", "exits", {"status": "failed", "reason": "SystemExit"}),
    ):
        folder = tmp_path / "results" / place / "phantom" / f"test_convnext.{name}.r0.1"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "predictions.parquet").touch()
    contained = processes.Ended(1, "Accuracy", "FAILED  misdeeds", 0)
    assert plugins.problems(attack, contained, tmp_path, outside) == []
    outside.touch()
    assert plugins.problems(attack, contained, tmp_path, outside) == ["written outside"]


def test_the_first_signals_are_of_all_kinds() -> None:
    signals = module_of("benchmarks.attacks.signals")
    every = signals.attacks()
    assert len(every) == len(set(every)) == 40
    for number, values in enumerate((signals.SIGNALS, signals.MOMENTS, (1, 2))):
        assert {attack[number] for attack in every[:10]} == set(values)


def test_a_run_that_went_on_is_compared_with_the_whole_one(processes: ModuleType, tmp_path: Path) -> None:
    signals = module_of("benchmarks.attacks.signals")
    unit = tmp_path / "runs" / "phantom" / "a.r0.1"
    unit.mkdir(parents=True)
    (unit / "predictions.parquet").write_bytes(b"1")
    whole = signals.Whole(processes.stored(tmp_path), 1, 1.0, 1)
    assert signals.compared(tmp_path, whole) == []
    (unit / "predictions.parquet").write_bytes(b"2")
    (tmp_path / ".scratch" / "workers").mkdir(parents=True)
    (tmp_path / ".scratch" / "workers" / "7.txt").touch()
    assert signals.compared(tmp_path, whole) == ["other predictions", "left: .scratch/workers/7.txt"]


@linux
@pytest.mark.slow  # a minute each
@pytest.mark.parametrize("attack", ["claims", "plugins", "signals"])
def test_an_attack_finds_everything_sound(attack: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.attacks.{attack}", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_units_side_by_side_have_the_threads_that_the_table_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The plan would give a training all cores, and so two processes four threads on two cores."""
    before = torch.get_num_threads()
    scaling, work = module_of("benchmarks.scaling"), module_of("benchmarks.work")
    asked: list[Any] = []

    def side_by_side(processes: int, setting: Any, environment: Any) -> list[float]:
        asked.append((setting, environment))
        return [1.0] * processes

    def measured(one: Callable[[], float], two: Callable[[], float], *_: Any) -> list[Any]:
        one(), two()
        return []

    monkeypatch.setattr(scaling, "_side_by_side", side_by_side)
    monkeypatch.setattr(scaling, "measure", measured)
    monkeypatch.setattr(scaling, "ratio", lambda _, what, *__: SimpleNamespace(what=what, value=1.0))
    here = replace(bench.local_environment(results=tmp_path, device="cpu"), threads=2)
    inputs = SimpleNamespace(on_gpu=False, setting=work.QUICK, environment=here)
    first, _ = scaling.packing(inputs)
    assert "1 CPU threads each" in first.what
    assert len(asked) == 2
    try:
        for setting, environment in asked:
            work.tasks(setting, environment)
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
