"""How a study shares the machine, and that it goes on with the threads that it began with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from samples import mean_of, predictions, record_of, run_spec

from bench import Environment, Progress, Session, Study
from bench.engine import checkpoint
from bench.execution import memory
from bench.execution.plan import make_plan
from bench.execution.run import execute
from bench.execution.threads import GAIN, memory_of, one_at_a_time, share_machine, threads_each
from bench.results import store
from bench.results.record import Provenance
from bench.study.spec import UnitSpec

UNITS = [run_spec(round_=round_) for round_ in range(2)]


def session_of(folder: Path, threads: int = 4, given: bool = False, device: str = "cpu") -> Session:
    environment = Environment(
        data=folder, results=folder, device=device, threads=threads, threads_given=given
    )
    return Session(environment)


def computed(folder: Path, round_: int, **hardware: object) -> None:
    """Store a finished run of that round, computed on this hardware."""
    record = record_of(UNITS[round_], provenance=Provenance(hardware=hardware))
    store.write(folder, record, predictions={"val": predictions(), "test": predictions()})


def begun(folder: Path, **state: object) -> Path:
    """A checkpoint of the second unit."""
    path = folder / ".scratch" / "checkpoints" / f"{UNITS[1].key}.1.pt"
    path.parent.mkdir(parents=True)
    torch.save({"module": {"weight": torch.zeros(3)}, **state}, path)
    return path


def kept(session: Session) -> int:
    share_machine(UNITS, session)
    return session.environment.threads


def test_a_study_keeps_the_threads_of_its_finished_units(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed(tmp_path, 1, device="cpu", threads=3)
    session = session_of(tmp_path)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session) == 3
    assert "3 threads a unit, as this study was begun with" in caplog.text
    assert session.hardware["threads"] == 3  # and its records say so


def test_threads_that_are_asked_for_are_used_and_the_difference_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    computed(tmp_path, 0, device="cpu", threads=3)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session_of(tmp_path, given=True)) == 4
    assert "begun with 3 threads a unit and goes on with 4" in caplog.text


@pytest.mark.parametrize(
    "hardware",
    [{"device": "cuda", "gpu": "H100", "threads": 3}, {"device": "cpu"}, {"device": "cpu", "threads": 4}],
)
def test_nothing_is_said_where_nothing_differs(
    tmp_path: Path, hardware: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Units of another kind of device, old records, the same number."""
    computed(tmp_path, 0, **hardware)
    with caplog.at_level(logging.WARNING, "bench"):
        assert kept(session_of(tmp_path)) == 4
    assert caplog.text == ""


def test_a_gpu_does_not_ask_how_many_threads_there_were(tmp_path: Path) -> None:
    computed(tmp_path, 0, device="cuda", gpu="H100", threads=3)
    assert kept(session_of(tmp_path, device="cuda:1")) == 4


def test_an_interrupted_training_keeps_the_threads_of_its_checkpoint(tmp_path: Path) -> None:
    begun(tmp_path, device="cpu", threads=2)
    assert kept(session_of(tmp_path)) == 2


def test_a_checkpoint_of_another_device_an_older_one_or_a_damaged_one_decides_nothing(tmp_path: Path) -> None:
    path = begun(tmp_path, device="cuda", threads=2)
    assert kept(session_of(tmp_path)) == 4
    torch.save({"module": {}}, path)
    assert kept(session_of(tmp_path)) == 4
    path.write_bytes(b"damaged")
    assert checkpoint.begun_with(path) is None
    assert kept(session_of(tmp_path)) == 4


# --- how the machine is shared -----------------------------------------------------------------------


GIB = 2**30


def shared(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    units: Sequence[UnitSpec],
    cores: int,
    free: int = 1000 * GIB,
    total: int = 1000 * GIB,
    **environment: Any,
) -> Environment:
    """What a plan of these units settles on such a machine, where nothing was asked for."""
    monkeypatch.setattr("bench.execution.provenance.usable_cores", lambda: cores)
    monkeypatch.setattr("bench.execution.memory.total_memory", lambda: total)
    monkeypatch.setattr("bench.execution.memory.available_memory", lambda: min(free, total))
    fields = {"threads": cores, "threads_given": False, "jobs": 1, "jobs_given": False} | environment
    session = Session(Environment(data=folder, results=folder, **fields))
    share_machine(units, session)
    return session.environment


def study(pretrainings: int, others: int) -> list[UnitSpec]:
    """Pretrainings with the runs that start from them, runs that start from nothing, and an ensemble."""
    runs = [run_spec("egmae", round_=i, epochs=4) for i in range(pretrainings)]
    runs += [run_spec("scratch", round_=i) for i in range(others)]
    return [*(run.start for run in runs if run.start), *runs, mean_of(*runs[-2:])]


@pytest.mark.parametrize(
    ("pretrainings", "others", "cores", "expected"),
    [
        # jobs, threads of a run, threads of a pretraining
        (0, 1, 8, (1, 8, 8)),  # one unit alone gets all cores
        (1, 0, 8, (1, 8, 8)),
        (2, 2, 2, (2, 1, 1)),
        (6, 4, 2, (2, 1, 1)),
        (2, 0, 8, (2, 4, 4)),
        (5, 5, 16, (10, 1, 3)),  # a study has more runs than pretrainings
        (0, 9, 8, (4, 2, 8)),  # three times four, rather than eight and then one on one of the cores
        (4, 12, 16, (16, 1, 4)),
        (1, 3, 4, (4, 1, 4)),
        (3, 0, 4, (3, 1, 1)),
        (300, 300, 64, (64, 1, 1)),
    ],
)
def test_units_side_by_side_keep_all_cores_busy(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pretrainings: int,
    others: int,
    cores: int,
    expected: tuple[int, int, int],
) -> None:
    units = study(pretrainings, others)
    place = shared(monkeypatch, tmp_path, units, cores)
    run = run_spec(epochs=4)
    assert run.start
    assert (place.jobs, place.threads_of(run), place.threads_of(run.start)) == expected
    assert place.cores == cores
    alone = [unit for unit in units if unit.kind == "pretrain"]
    if alone:
        assert shared(monkeypatch, tmp_path, alone, cores).jobs == min(len(alone), cores // expected[2])


@pytest.mark.parametrize("units", range(1, 40))
@pytest.mark.parametrize("cores", [1, 2, 6, 16])
def test_no_other_number_of_threads_is_done_sooner(units: int, cores: int) -> None:
    def duration(threads: int) -> float:
        left, waves = units, 0
        while left > 0:
            left -= cores // threads
            waves += 1
        return float(waves / threads**GAIN)

    chosen = threads_each(units, cores, 10**6)
    assert all(duration(chosen) <= duration(other) + 1e-12 for other in range(1, cores + 1))


def test_memory_is_asked_before_units_are_put_side_by_side(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    units = study(0, 16)
    need = memory_of(units[0])  # type: ignore[arg-type]
    place = shared(monkeypatch, tmp_path, units, 16, total=4 * need)
    assert (place.jobs, place.threads) == (4, 4)  # which leaves no core idle
    place = shared(monkeypatch, tmp_path, units, 16, free=4 * need)
    assert (place.jobs, place.threads) == (4, 1)  # fewer at once, but with the bits of another time
    assert shared(monkeypatch, tmp_path, units, 16, free=need // 2).jobs == 1
    place = shared(monkeypatch, tmp_path, units, 16, free=4 * need, threads=1, threads_given=True)
    assert (place.jobs, place.threads) == (4, 1)
    larger = [run_spec("scratch", round_=i, size=448) for i in range(16)]
    assert shared(monkeypatch, tmp_path, larger, 16, total=4 * need).jobs == 1


def test_what_was_asked_for_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    units = study(2, 6)
    asked = shared(monkeypatch, tmp_path, units, 16, threads=4, threads_given=True)
    assert (asked.threads, asked.pretrain_threads, asked.jobs) == (4, 0, 4)
    asked = shared(monkeypatch, tmp_path, units, 16, threads=5, jobs=3, jobs_given=True)
    assert (asked.threads, asked.pretrain_threads, asked.jobs, asked.cores) == (5, 0, 3, 0)
    asked = shared(
        monkeypatch, tmp_path, units, 4, threads=9, threads_given=True
    )  # more than there are cores
    assert (asked.threads, asked.jobs) == (9, 1)


def test_on_gpus_units_share_a_device_only_where_they_overlap(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    units = study(2, 6)
    two = {"device": "cuda:0", "devices": ("cuda:0", "cuda:1"), "jobs": 2, "threads": 8}
    for mps, one, both in ((False, (1, 16), (2, 8)), (True, (8, 2), (8, 2))):
        monkeypatch.setattr("bench.execution.threads.mps_runs", lambda mps=mps: mps)
        place = shared(monkeypatch, tmp_path, units, 16, device="cuda")
        assert (place.jobs, place.threads) == one
        place = shared(monkeypatch, tmp_path, units, 16, **two)
        assert (place.jobs, place.threads) == both
    asked = shared(monkeypatch, tmp_path, units, 16, device="cuda", jobs=3, jobs_given=True)
    assert asked.jobs == 3


def test_a_study_that_goes_on_shares_the_machine_as_it_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it has more units now, or one is left: its rows keep their threads."""
    first = [run_spec(round_=round_) for round_ in range(2)]
    assert shared(monkeypatch, tmp_path, first, 4).threads == 2
    record = record_of(first[0], provenance=Provenance(hardware={"device": "cpu", "threads": 2}))
    store.write(tmp_path, record, predictions={"val": predictions(), "test": predictions()})
    for more in (first, [*first, *study(4, 4)]):
        place = shared(monkeypatch, tmp_path, more, 4)
        assert (place.threads, place.jobs) == (
            2,
            2 if len(more) == 2 else 4 // min(2, place.pretrain_threads or 2),
        )
    assert "2 threads a unit, as this study was begun with" in caplog.text


def test_an_executor_of_one_unit_at_a_time_gives_it_all_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    units = study(2, 2)
    place = shared(monkeypatch, tmp_path, units, 6)
    session = Session(place)
    one_at_a_time(units, session)
    alone = session.environment
    assert (alone.jobs, alone.threads, alone.pretrain_threads, alone.cores) == (1, 6, 0, 0)


def test_a_unit_computes_with_its_threads_and_its_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    monkeypatch.setattr("bench.process.release_memory", lambda: released.append("memory"))
    study = Study.from_keywords(
        datasets=("phantom",),
        models=("test_convnext",),
        strategies=("egmae",),
        protocol={
            "size": 32,
            "rounds": 1,
            "pretrain": {"epochs": 1, "resize": 40},
            "finetune": {"epochs": 1, "resize": 36},
        },
        dataset={"phantom": {"patients": 20}},
    )
    plan = make_plan(study, session_of(tmp_path, threads=1))
    session = plan.session
    session.environment = replace(session.environment, threads=1, pretrain_threads=2)
    seen: dict[str, int] = {}
    before = torch.get_num_threads()
    try:
        for unit in plan.units:
            report = partial(_note_threads, seen)
            assert execute(unit, session, report).status == "done"
    finally:
        torch.set_num_threads(before)
    assert (seen["pretrain"], seen["fine-tune"]) == (2, 1)
    stored = [store.read(tmp_path, unit).provenance.hardware["threads"] for unit in plan.units]
    assert stored == [2, 1]
    assert len(released) == len(plan.units)


def _note_threads(seen: dict[str, int], news: Progress) -> None:
    seen[news.stage] = torch.get_num_threads()


# --- memory ------------------------------------------------------------------------------------------


def limited(folder: Path, name: str, content: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_of_a_container_is_what_memory_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """Of files read, which the kernel gives up for processes, nothing is counted as taken."""
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "own")
    if version == 2:
        limited(tmp_path, "own", "0::/slurm/job\n")
        limited(tmp_path, "slurm/memory.max", f"{GIB}\n")
        limited(tmp_path, "slurm/memory.current", "500\n")
        limited(tmp_path, "slurm/memory.stat", "anon 300\ninactive_file 200\n")
        limited(tmp_path, "slurm/job/memory.max", "max\n")
        limited(tmp_path, "slurm/job/memory.current", "500\n")
        limited(tmp_path, "slurm/job/memory.stat", "inactive_file 200\n")
    else:
        limited(tmp_path, "own", "5:cpu:/other\n4:memory:/job\n")
        limited(tmp_path, "memory/job/memory.limit_in_bytes", f"{GIB}\n")
        limited(tmp_path, "memory/job/memory.usage_in_bytes", "500\n")
        limited(tmp_path, "memory/job/memory.stat", "total_inactive_file 200\n")
        limited(tmp_path, "memory/memory.limit_in_bytes", "9223372036854771712\n")
        limited(tmp_path, "memory/memory.usage_in_bytes", "500\n")
        limited(tmp_path, "memory/memory.stat", "total_inactive_file 200\n")
    assert (memory.total_memory(), memory.available_memory()) == (GIB, GIB - 500 + 200)


def test_without_limits_memory_is_what_the_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "missing")
    assert 0 < memory.available_memory() <= memory.total_memory() == psutil.virtual_memory().total
