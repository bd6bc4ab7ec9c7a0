"""`bench doctor`: each check passes on this machine, and fails for a fault that is planted."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_cli import bench
from test_step import Rerun
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from bench import Environment, UnknownName
from bench.cli import app
from bench.doctor import examine as examining
from bench.doctor import machine, speed, stages, training, trial, worker
from bench.doctor.checks import CHECKS, chosen
from bench.doctor.examine import examine
from bench.doctor.finding import Finding, Result
from bench.engine import checkpoint, loop
from bench.engine.gpu import graph, resident
from bench.engine.gpu.host_random import HostRandom
from bench.engine.step import Step, make_optimizer
from bench.execution import claim, verdict


@pytest.fixture
def here(tmp_path: Path) -> Environment:
    return Environment(data=tmp_path / "data", results=tmp_path / "results", device="cpu", threads=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A smaller network than the protocol's. Setting up a device is for the whole process."""
    monkeypatch.setattr(trial, "_model_and_size", lambda: ("test_convnext", 96))
    yield
    torch.use_deterministic_algorithms(False)


def only_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training, stages):
        monkeypatch.setattr(module, "trials", lambda: [trial.fine_tuning()])


def failed(finding: Finding, *texts: str) -> None:
    assert not finding.passed
    for text in texts:
        assert text in f"{finding.said} | {finding.remedy}"


# --- the machine -------------------------------------------------------------------------------------


def test_versions(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.versions(here)
    assert found.passed
    assert f"torch {metadata.version('torch')}" in found.said
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.1.0+cu121" if name == "torch" else real(name))
    failed(machine.versions(here), "torch 2.1.0+cu121 is older than 2.11", "pip install -U medbench")


def test_device(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.device(here)
    assert found.passed
    assert found.figures["cores"] >= 1
    monkeypatch.setattr(torch, "eye", lambda *shape, **options: torch.zeros(64, 64))
    failed(machine.device(here), "cpu multiplies two matrices wrongly")


@pytest.mark.parametrize(
    ("capability", "free", "said", "passed"),
    [
        ((9, 0), 70.0, "capability 9.0, bf16 native, MPS off, MIG [N/A]", True),
        ((7, 5), 14.0, "bf16 emulated", True),
        ((9, 0), 1.0, "less than 4 GiB free | end what else uses it", False),
        ((5, 0), 10.0, "a PyTorch built for sm_50 (this one: sm_75, sm_90a)", False),
    ],
)
def test_a_gpu_is_described(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], free: float, said: str, passed: bool
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/nowhere")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="1-2"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda name: capability)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (free * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a"])
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout="550.54.15, [N/A], Default\n")

    monkeypatch.setattr(machine.subprocess, "run", run)
    found = machine._cuda("cuda:1", {"cuda": "13.0"})
    assert found.passed == passed
    assert said in f"{found.said} | {found.remedy}"
    assert found.figures["driver"] == "550.54.15"
    assert asked[0][-1] == "GPU-1-2"


def test_folders(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.folders(here)
    assert found.passed
    assert not here.results.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**29))
    failed(machine.folders(here), "less than 1 GiB", "choose another --results")


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder that nobody can write")
def test_a_folder_that_cannot_be_written(here: Environment) -> None:
    there = dataclasses.replace(here, results=Path("/proc/results"))
    failed(machine.folders(there), "/proc/results: cannot be written", "choose another --results")


def test_locks(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine.locks(here)
    assert found.passed, found.said
    assert not list(here.results.parent.iterdir())  # nothing is left behind
    real = claim.holder
    monkeypatch.setattr(claim, "holder", lambda scratch, key: None)
    failed(machine.locks(here), "another could claim too", "choose another --results")
    holders: list[Any] = []

    def stays(scratch: Path, key: str) -> Any:
        holders.append(real(scratch, key))
        return holders[0]

    monkeypatch.setattr(claim, "holder", stays)
    failed(machine.locks(here), "the claim of a killed process stayed")
    monkeypatch.setattr(machine, "HOLD", "raise SystemExit(1)")
    failed(machine.locks(here), "a process could not claim a unit there (it ended)")


# --- equality ----------------------------------------------------------------------------------------


def test_trainings_that_repeat(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = training.repeat(here)
    assert found.passed
    assert "fine-tuning, egmae, mae, noise" in found.said
    only_fine_tuning(monkeypatch)
    seeds = iter(range(1000))
    monkeypatch.setattr(loop, "derive_seed", lambda *of: next(seeds))
    failed(training.repeat(here), "fine-tuning: ", "differs by up to")


def test_attention_that_does_not_repeat(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert training.attention(here).passed
    real, noise = torch.nn.functional.scaled_dot_product_attention, torch.Generator()

    def drifting(query: Tensor, *others: Any, **options: Any) -> Tensor:
        return real(query + 1e-3 * torch.rand(query.shape, generator=noise), *others, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", drifting)
    failed(training.attention(here), "differs by up to")


def test_trainings_that_go_on(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    found = training.resume(here)
    assert found.passed, found.said
    real = checkpoint.load

    def forgetful(path: Path) -> Any:
        if (state := real(path)) is not None:
            for values in state["optimizer"]["state"].values():
                values["exp_avg"].zero_()
        return state

    monkeypatch.setattr(checkpoint, "load", forgetful)
    failed(training.resume(here), "differs by up to")
    monkeypatch.setattr(checkpoint, "load", lambda path: None)
    failed(training.resume(here), "its checkpoint was not read")


def test_steps_that_can_be_captured(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    only_fine_tuning(monkeypatch)
    assert training.capture(here).passed
    real, calls = torch.nn.functional.cross_entropy, iter(range(1, 1000))
    monkeypatch.setattr(loop, "cross_entropy", lambda *given: real(*given) * 0.9 ** next(calls))
    failed(training.capture(here), "aten.mul.Tensor at ", "is given 0.81, and 0.6561", "in the next step")


def test_images(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stages.images(here).passed
    real, real_resized = resident.crops, resident.resized_crops
    monkeypatch.setattr(resident, "crops", lambda *given: real(*given).roll(1, -1))
    failed(stages.images(here), "crops differ by ", "(0 allowed)")
    monkeypatch.setattr(resident, "crops", real)
    monkeypatch.setattr(resident, "resized_crops", lambda *given: real_resized(*given) // 2)
    failed(stages.images(here), "(1 allowed)")


def test_losses_of_two_devices(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    only_fine_tuning(monkeypatch)
    assert stages.losses(here).figures["differences"] == {"fine-tuning": 0.0}
    real, count = stages.train, iter(range(2))

    def other(*given: Any, **options: Any) -> trial.Trained:
        trained = real(*given, **options)
        trained.history.losses[-1] *= 1 + 0.002 * next(count)
        return trained

    monkeypatch.setattr(stages, "train", other)
    failed(stages.losses(here), "fine-tuning: losses differ by 2.0e-03, more than 1e-03")


@pytest.mark.skipif(torch.cuda.is_available(), reason="fake tensors, for machines without a GPU")
def test_random_numbers_are_the_hosts() -> None:
    """On a GPU that is not there: what is drawn is seen on its way."""
    seen: list[tuple[str, str]] = []

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if isinstance(result, Tensor):
                seen.append((func.name(), result.device.type))
            return result

    with FakeTensorMode(), Note(), HostRandom():
        drawn = [torch.rand(3, device="cuda"), torch.empty(3, device="cuda").uniform_(), torch.rand(3)]
        drawn.append(torch.bernoulli(drawn[0]))
    assert [t.device.type for t in drawn] == ["cuda", "cuda", "cpu", "cuda"]
    for name in ("aten::rand", "aten::uniform_", "aten::bernoulli"):
        assert {device for operator, device in seen if operator == name} == {"cpu"}


# --- for GPUs, on a CPU ------------------------------------------------------------------------------


class Forgetful(Rerun):
    """A graph whose every replay is that of its first batch."""

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        replay = super().__call__(work)

        def half() -> None:
            if self.replayed % 2:
                self.replayed += 1
                return
            replay()

        return half


def with_graphs(monkeypatch: pytest.MonkeyPatch, capture: type[Rerun] | None) -> None:
    """Trainings on a CPU take the path of a GPU."""

    def make_step(module: Any, inputs: Any, budget: Any, job: Any) -> Step:
        captures = capture() if capture and job.graph else None
        optimizer = make_optimizer(module, budget)
        step = Step(module, optimizer, job, inputs.render, torch.channels_last, captures)
        step.rate = torch.zeros(())
        return step

    monkeypatch.setattr(loop, "make_step", make_step)


def test_graphs(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    only_fine_tuning(monkeypatch)
    with_graphs(monkeypatch, Rerun)
    assert training.graph(here).passed
    with_graphs(monkeypatch, Forgetful)
    failed(training.graph(here), "fine-tuning: ", "differs by up to")
    with_graphs(monkeypatch, None)
    failed(training.graph(here), "the step was not captured (eager)")


@pytest.mark.parametrize(("adds", "says"), [(1, ""), (0, "added 0 instead of 1")])
def test_a_capture_after_one_that_failed(
    here: Environment, monkeypatch: pytest.MonkeyPatch, adds: int, says: str
) -> None:
    class Capture:
        def __init__(self, device: torch.device) -> None:
            pass

        def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
            if work.__name__ == "fail":
                work()
            return work if adds else lambda: None

    monkeypatch.setattr(graph, "CudaCapture", Capture)
    found = training.recapture(here)
    assert found.passed == bool(adds)
    assert says in found.said


def test_precisions(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    only_fine_tuning(monkeypatch)
    found = training.bf16(here)
    assert found.passed
    assert 0 < found.figures["fine-tuning"] < training.BF16_LOSS
    monkeypatch.setattr(training, "BF16_LOSS", found.figures["fine-tuning"] / 2)
    failed(training.bf16(here), "fine-tuning: losses differ by")


def test_memory_that_grows(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes, passed in (((100, 104, 105), True), ((100, 150, 200), False)):
        given = iter(size * 2**20 for size in sizes)
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device, given=given: next(given))
        found = training.memory(here)
        assert found.passed == passed
        assert found.said.startswith(f"{', '.join(map(str, sizes))} MiB reserved")


# --- speed -------------------------------------------------------------------------------------------


def test_threads_that_slow_down(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    for seconds, passed in ((lambda n: 0.02 / n, True), (lambda n: 0.01 * n, False)):
        monkeypatch.setattr(
            speed,
            "_bare_step",
            lambda where, seconds=seconds: lambda: time.sleep(seconds(torch.get_num_threads())),
        )
        found = speed.threads(dataclasses.replace(here, threads=2))
        assert found.passed == passed
        assert found.remedy == f"--threads {2 if passed else 1}"
    torch.set_num_threads(before)


def test_an_epoch_against_bare_steps(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "IMAGES", 32)
    found = speed.epoch(here)
    assert found.figures["engine"] > 1
    monkeypatch.setattr(speed, "_shortest", lambda step, repeats: 1e-6)
    failed(speed.epoch(here), "images/s in an epoch", "--threads N")


def test_two_processes(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PACE", "print('ready', flush=True); input(); print(7.5)")
    found = speed.packing(here)
    assert found.passed
    assert found.figures == {"alone": 7.5, "together": 15.0}
    monkeypatch.setattr(speed, "_paces", lambda environment, processes: 10.0 / processes)
    failed(speed.packing(here), "two processes do 0.50 x", "--jobs 1")
    on_gpu = dataclasses.replace(here, device="cuda")
    for runs in (False, True):
        monkeypatch.setattr(speed, "mps_runs", lambda runs=runs: runs)
        found = speed.packing(on_gpu)
        assert ("take turns on the GPU, which gains nothing" in found.said) is not runs
        assert found.remedy == (
            "--jobs 1" if runs else "--jobs 1, or start NVIDIA's MPS (nvidia-cuda-mps-control -d)"
        )
    monkeypatch.undo()
    monkeypatch.setattr(speed, "PACE", "raise SystemExit")
    with pytest.raises(RuntimeError, match="ended before it had begun"):
        speed.packing(here)


# --- processes and the command -----------------------------------------------------------------------


def plugin(folder: Path, code: str) -> str:
    """A plugin that does this where it is imported; gives what PYTHONPATH must be."""
    site = folder / "site"
    info = site / "bad-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\nbad = bad_plugin\n")
    (site / "bad_plugin.py").write_text(code)
    return str(site)


def report_of(folder: Path) -> dict[str, dict[str, Any]]:
    read = json.loads((folder / "report.json").read_text())
    assert set(read["machine"]) == {"gpu", "driver", "torch", "bench"}
    return {check["name"]: check for check in read["checks"]}


def test_the_command(tmp_path: Path) -> None:
    """The report on stdout, progress on stderr, and the same as JSON."""
    names = "folders,attention,graph"
    done = bench(
        tmp_path, "doctor", "--only", names, "--threads", "1", "-o", "report.json", "--device", "cpu"
    )
    assert "1 of 3: folders PASS" in done.stderr
    assert "graph      skipped  no GPU" in done.stdout
    assert "PASS on cpu, 1 threads: 2 passed, 0 failed, 1 skipped" in done.stdout
    checks = report_of(tmp_path)
    assert [checks[name]["status"] for name in names.split(",")] == ["PASS", "PASS", "skipped"]
    assert not (tmp_path / "results").exists()


def test_several_gpus_are_checked_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.cli import app

    seen: list[tuple[str, tuple[str, ...]]] = []

    def examined(checks: Any, environment: Environment, begun: Any) -> Iterator[Result]:
        seen.append((environment.device, environment.devices))
        yield Result.of(checks[0], Finding(environment.device == "cuda:1", "seen"), 0.0)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("bench.doctor.examine.examine", examined)
    monkeypatch.setattr(verdict, "machine_key", lambda device: {"gpu": device})
    report = tmp_path / "report.json"
    with pytest.raises(SystemExit, match="1"):
        app(["doctor", "--device", "cuda:all", "--only", "versions", "-o", str(report)])
    assert seen == [("cuda:0", ()), ("cuda:1", ())]
    read = json.loads(report.read_text())["devices"]
    assert [(r["machine"]["gpu"], r["device"], r["verdict"]) for r in read] == [
        ("cuda:0", "cuda:0", "FAIL"),
        ("cuda:1", "cuda:1", "PASS"),
    ]
    assert "FAIL on cuda:0" in (said := capsys.readouterr().out)
    assert "PASS on cuda:1" in said


def test_a_plugin_that_ends_its_process_fails_its_check_alone(tmp_path: Path) -> None:
    path = plugin(
        tmp_path, "import os, sys\nprint('a message', file=sys.stderr)\nsys.stderr.flush()\nos._exit(3)"
    )
    options = ["--only", "plugins,attention", "--threads", "1", "-o", "report.json", "--device", "cpu"]
    done = bench(tmp_path, "doctor", *options, code=1, PYTHONPATH=path)
    assert "FAIL plugins: its process ended before it did: exit code 3 (a message)" in done.stdout
    assert "remedy: set BENCH_BLOCK=NAME" in done.stdout
    assert "FAIL on cpu, 1 threads: 1 passed, 1 failed, 0 skipped" in done.stdout
    assert report_of(tmp_path)["attention"]["status"] == "PASS"


def test_a_plugin_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    path = plugin(tmp_path, "print('noise on stdout')\nraise ValueError('no')")
    done = bench(tmp_path, "doctor", "--only", "plugins", "--device", "cpu", code=1, PYTHONPATH=path)
    assert "FAIL plugins: plugin bad (bad 1.0) could not be loaded: ValueError: no" in done.stdout
    assert "BENCH_BLOCK=bad" in done.stdout
    assert "noise" not in done.stdout


def test_a_check_that_hangs_fails_and_the_rest_goes_on(
    here: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", plugin(tmp_path, "import time\ntime.sleep(600)"))
    monkeypatch.setattr(examining, "START", 0.0)
    hanging, folders = (dataclasses.replace(c, limit=4.0) for c in chosen(["plugins", "folders"])[::-1])
    begun: list[str] = []
    found = list(
        examine((hanging, dataclasses.replace(folders, limit=60.0)), here, lambda c: begun.append(c.name))
    )
    assert begun == ["plugins", "folders"]
    assert [r.status for r in found] == ["FAIL", "PASS"]
    assert found[0].said == "did not end within 4 s"
    assert found[0].remedy == "set BENCH_BLOCK=NAME"


def test_what_a_check_raises_is_a_failure(here: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(environment: Environment) -> Finding:
        raise RuntimeError("CUDA error: an illegal memory access")

    broken = dataclasses.replace(CHECKS[0], run=fails)
    monkeypatch.setattr(worker, "chosen", lambda names: (broken,))
    result = worker.examine(broken.name, here)
    assert (result.status, result.remedy) == ("FAIL", broken.remedy)
    assert result.said == "RuntimeError: CUDA error: an illegal memory access"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["-o", "nowhere/report.json"],
            "-o nowhere/report.json: cannot be written (No such file or directory)",
        ),
        (["-o", "."], "-o .: cannot be written (Is a directory)"),
        (["-o", "report.csv"], "-o report.csv: the report is JSON; name it report.json"),
        (["--only", "grahp"], "unknown check 'grahp'; did you mean graph?"),
        (["--device", "cuda:99"], "--device cuda:99: "),
    ],
)
def test_mistakes_are_said_before_the_checks(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = bench(tmp_path, "doctor", *arguments, code=2)
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_every_check_has_a_name_and_a_remedy_of_its_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.remedy for check in CHECKS)
    with pytest.raises(UnknownName):
        chosen(["nothing"])


def test_a_gpu_that_nobody_has_checked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"gpu": "H100", "driver": "550", "torch": "2.14.1", "bench": "0.1.0"}
    monkeypatch.setattr(verdict, "machine_key", lambda device: dict(key))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert verdict.unchecked("cpu") == []
    (said,) = verdict.unchecked("cuda")
    assert said.startswith("`bench doctor` has not checked this GPU (H100, driver 550, torch 2.14.1)")
    assert verdict.cited("cuda") == "not run"
    verdict.keep("cuda", "PASS", {})
    assert verdict.unchecked("cuda") == []
    assert re.fullmatch(r"passed \d{4}-\d\d-\d\d", verdict.cited("cuda"))
    assert verdict.cited("cpu") == ""
    key["driver"] = "560"
    assert verdict.unchecked("cuda")  # another driver, another verdict
    assert verdict.cited("cuda") == "not run"
    verdict.keep("cuda", "FAIL", {"graph": "--no-graph (or BENCH_GRAPH=0)", "packing": "--jobs 1"})
    (said,) = verdict.unchecked("cuda")
    assert said.endswith(
        "found failures on this GPU (H100, driver 560, torch 2.14.1): graph: --no-graph (or BENCH_GRAPH=0); "
        "packing: --jobs 1"
    )
    assert re.fullmatch(r"failed \d{4}-\d\d-\d\d: graph, packing", verdict.cited("cuda"))
    for file in (tmp_path / "bench" / "doctor").iterdir():
        file.write_text("{}")
    assert verdict.cited("cuda") == "not run"


def test_the_verdict_of_all_checks_is_kept_and_that_of_some_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Result("images", "?", "PASS", "equal"), Result("graph", "?", "FAIL", "no", "--no-graph")]
    monkeypatch.setattr(examining, "examine", lambda *arguments: found)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    options = ["--device", "cpu", "--results", str(tmp_path / "results")]
    assert CliRunner().invoke(app, ["doctor", *options, "--only", "graph"]).exit_code == 1
    assert not (tmp_path / "bench").exists()
    assert CliRunner().invoke(app, ["doctor", *options]).exit_code == 1
    (file,) = (tmp_path / "bench" / "doctor").iterdir()
    kept = json.loads(file.read_text())
    assert (kept["verdict"], kept["failures"]) == ("FAIL", {"graph": "--no-graph"})
