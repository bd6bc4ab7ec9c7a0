"""What a plugin does to its process ends its own unit: named, recorded, and the study goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import STUDY as TINY
from commands import bench, install, workspace

from bench.results import store

STUDY = tuple("light" if option == "test_convnext" else option for option in TINY)

CAUSES = {
    "exits": "SystemExit: 0 (plugin misdeeds (misdeeds 1.0),",
    "exits_hard": "its process ended before it did: exit code 0 (plugin misdeeds (misdeeds 1.0),",
    "crashes": "killed by SIGSEGV (plugin misdeeds (misdeeds 1.0),",
    "kills": "killed by SIGKILL (memory?) (it uses plugin misdeeds (misdeeds 1.0))",
    "unprintable": r"RuntimeError: caf\udce9",
    "speechless": "Speechless: (its message cannot be shown) (plugin misdeeds (misdeeds 1.0),",
    "interrupts": "KeyboardInterrupt (plugin misdeeds (misdeeds 1.0),",
    "wrong_type": "initialize gave int instead of str; repair the plugin misdeeds (misdeeds 1.0)",
}
"""Strategy -> how its failure record begins."""


def failures(folder: Path) -> dict[str, str]:
    """Strategy -> reason of every failure record."""
    records, warnings = store.scan(folder / "results")
    assert warnings == []
    return {r.spec.label.split(".")[1]: r.reason for r in records if r.status == "failed"}


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_each_misdeed_ends_its_own_unit(plugins: Path, tmp_path: Path, jobs: str) -> None:
    names = ["scratch", *CAUSES, "prints"]
    done = bench(
        workspace(tmp_path),
        *("run", *STUDY, "--ensembles", "none", "--jobs", jobs, "-s", ",".join(names)),
        plugins=plugins,
    )
    assert done.returncode == 1, done.stderr
    reasons = failures(tmp_path)
    assert reasons.keys() == CAUSES.keys()
    for name, cause in CAUSES.items():
        assert cause in reasons[name], name
    records, _ = store.scan(tmp_path / "results")
    assert {r.spec.label.split(".")[1] for r in records if r.status == "done"} == {"scratch", "prints"}
    assert "that is none" not in done.stdout
    assert "that is none" in done.stderr


def test_the_same_holds_in_this_process_for_what_it_survives(plugins: Path, tmp_path: Path) -> None:
    survived = ("exits", "unprintable", "speechless", "interrupts", "wrong_type")
    done = bench(
        workspace(tmp_path),
        *("run", *STUDY, "--ensembles", "none", "--in-process", "-s", ",".join((*survived, "prints"))),
        plugins=plugins,
    )
    assert done.returncode == 1, done.stderr
    reasons = failures(tmp_path)
    assert reasons.keys() == set(survived)
    for name in survived:
        assert CAUSES[name] in reasons[name], name
    assert "that is none" not in done.stdout


def test_after_so_many_failures_no_further_unit_is_begun(plugins: Path, tmp_path: Path) -> None:
    options = ["--ensembles", "none", "--in-process", "--max-failures", "2"]
    study = ["run", *STUDY, *options, "-s", "exits,speechless,wrong_type,scratch"]
    assert bench(workspace(tmp_path), *study, plugins=plugins).returncode == 1
    assert failures(tmp_path).keys() == {"exits", "speechless"}
    assert not list(tmp_path.glob("results/runs/*/*"))


def test_a_model_and_an_ensemble_that_give_nothing_fail_their_units(plugins: Path, tmp_path: Path) -> None:
    study = ["light,misdeed" if option == "light" else option for option in STUDY]
    options = ["-s", "scratch,prints", "--ensembles", "misdeed"]
    done = bench(workspace(tmp_path), "run", *study, *options, plugins=plugins)
    assert done.returncode == 1, done.stderr
    reasons = [r.reason for r in store.scan(tmp_path / "results")[0] if r.status == "failed"]
    assert any("model 'misdeed': build gave int instead of torch.Module" in reason for reason in reasons)
    assert all("plugin misdeeds (misdeeds 1.0)" in reason for reason in reasons)


@pytest.mark.parametrize("kind", ["exits", "wrong_type", "wrong_sample", "speechless"])
def test_a_data_set_that_cannot_be_listed_leaves_the_others(plugins: Path, tmp_path: Path, kind: str) -> None:
    options = ["-d", "misdeed,phantom", "--set", f"dataset.misdeed.kind={kind}", "-s", "scratch"]
    done = bench(workspace(tmp_path), "run", *STUDY[2:], *options, plugins=plugins)
    assert done.returncode == 1, done.stderr
    assert "FAILED  misdeed: dataset 'misdeed': its images could not be listed" in done.stderr
    assert "plugin misdeeds (misdeeds 1.0)" in done.stderr
    assert {r.spec.dataset.name for r in store.scan(tmp_path / "results")[0]} == {"phantom"}


def test_an_executor_and_a_reporter_that_give_nothing_are_named(plugins: Path, tmp_path: Path) -> None:
    study = [*STUDY, "-s", "scratch"]
    done = bench(workspace(tmp_path), "run", *study, "--executor", "misdeed", plugins=plugins)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "error: executor 'misdeed' gave int instead of Outcome; repair the plugin misdeeds (misdeeds 1.0), "
        "or choose another --executor",
    )
    assert bench(tmp_path, "run", *study, "--in-process", plugins=plugins).returncode == 0
    for name, cause in (
        ("mute", "render gave int instead of str"),
        ("leaver", "SystemExit: 0"),
        ("reporter_crashes", "its process ended before it did: killed by SIGSEGV"),
    ):
        metrics = ["--metrics", "accuracy,metric_exits_hard"]
        done = bench(tmp_path, "table", "--format", name, *metrics, plugins=plugins)
        assert done.returncode == 1, done.stderr
        assert "classes: its process ended before it did: exit code 0 (plugin misdeeds" in done.stderr
        assert f"error: reporter {name!r} failed: " in done.stderr
        assert cause in done.stderr
        assert "plugin misdeeds (misdeeds 1.0)" in done.stderr


def test_a_name_that_is_a_path_is_not_registered(tmp_path: Path) -> None:
    module = tmp_path / "outside.py"
    module.write_text(
        "from bench import Dataset, hookimpl\n"
        "@hookimpl\n"
        "def register_datasets():\n"
        f"    return [Dataset(name='{tmp_path}/evil', about='', index=lambda root, params: None)]\n"
    )
    done = bench(tmp_path, "list", "datasets", plugins=install(tmp_path / "site", module))
    assert (
        f"plugin outside (outside 1.0) failed in register_datasets: ValueError: the name '{tmp_path}/evil'"
        in (done.stderr)
    )
    assert "phantom" in done.stdout


def test_an_executor_prepares_when_there_is_sure_to_be_work(plugins: Path, tmp_path: Path) -> None:
    """While images are decoded that nobody has seen; not where all may be done."""
    command = (workspace(tmp_path), "run", *STUDY, "-s", "scratch", "--executor", "misdeed")
    assert bench(*command, plugins=plugins).stderr.count("prepared for cpu") == 1
    assert "prepared" not in bench(*command, plugins=plugins).stderr
