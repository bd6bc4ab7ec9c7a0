"""`bench merge`: the union of what several machines made is what one would have made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from packable import make_results
from samples import record_of
from test_pack import bench, refused

from bench.results import store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_results(tmp_path_factory.mktemp("study") / "results")


@pytest.fixture
def halves(whole: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The study as two machines make it: one has the first round and the failure, the other has the rest."""
    for name in ("first", "second"):
        shutil.copytree(whole, tmp_path / name)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in [*first.glob("*/phantom/*.r1.*"), *first.glob("*/phantom/*.r2.*")]:
        shutil.rmtree(folder)
    for folder in [*second.glob("*/phantom/*.r0.*")]:
        shutil.rmtree(folder)
    for manifest in second.glob("splits/*/r0.*"):
        manifest.unlink()
    return first, second


def contents(folder: Path, *, scratch: bool = False) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in found.items() if scratch or not name.startswith(".scratch")
    }


def redone(
    results: Path,
    pattern: str,
    change: Callable[[store.Record], store.Record] | None = None,
    skill: float = 0.9,
) -> Path:
    """One run of `results` as another machine made it: other predictions."""
    import dataclasses

    (unit,) = results.glob(pattern)
    record = store.read_folder(unit)
    parts = {}
    for part in ("val", "test"):
        each = store.read_predictions(unit, part)
        shares = each.probabilities**skill
        parts[part] = dataclasses.replace(each, probabilities=shares / shares.sum(1, keepdims=True))
    shutil.rmtree(unit)
    record = record_of(record.spec, data=record.data) if change is None else change(record)
    return store.write(results, record, predictions=parts)


def test_two_halves_give_what_one_machine_gives(
    whole: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    done = bench("merge", *halves, "--into", tmp_path / "union").stdout
    assert "12 new units" in done
    assert "3 new splits" in done
    assert "1 new failures" in done
    assert contents(tmp_path / "union") == contents(whole)
    for form in ("csv", "markdown"):
        one = bench("table", "--results", whole, "--format", form, "--ranks", "--costs").stdout
        assert (
            bench("table", "--results", tmp_path / "union", "--format", form, "--ranks", "--costs").stdout
            == one
        )


def test_packs_and_folders_are_joined_alike(whole: Path, halves: tuple[Path, Path], tmp_path: Path) -> None:
    bench("pack", "--results", halves[0], "-o", tmp_path / "first.zip", "--encoders")
    bench("merge", tmp_path / "first.zip", halves[1], "--into", tmp_path / "union")
    union, one = contents(tmp_path / "union"), contents(whole)
    assert {name for name in union.keys() | one.keys() if union.get(name) != one.get(name)} == {
        name for name in one if name.startswith("failures/")
    }  # whose paths were left out
    bench("verify", tmp_path / "union", "--recompute")


def test_encoders_that_were_left_out_are_completed(
    whole: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    bench("pack", "--results", halves[0], "-o", tmp_path / "first.zip")
    bench("merge", tmp_path / "first.zip", halves[1], "--into", tmp_path / "union")
    assert len(list((tmp_path / "union").rglob("*.left-out"))) == 1
    assert "warning" not in bench("table", "--results", tmp_path / "union").output
    assert "1 files completed" in bench("merge", halves[0], "--into", tmp_path / "union").stdout
    assert not list((tmp_path / "union").rglob("*.left-out"))
    bench("verify", tmp_path / "union")


def test_merging_again_changes_nothing(halves: tuple[Path, Path], tmp_path: Path) -> None:
    bench("merge", *halves, "--into", tmp_path / "union")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "union").rglob("*")}
    done = bench("merge", *halves, "--into", tmp_path / "union").stdout
    assert "12 units known already" in done
    assert "new" not in done
    assert {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "union").rglob("*")
        if ".writing" not in path.name
    } == before


def test_a_dry_run_writes_nothing(halves: tuple[Path, Path], tmp_path: Path) -> None:
    done = bench("merge", *halves, "--into", tmp_path / "union", "--dry-run").stdout
    assert "would have" in done
    assert "12 new units" in done
    assert not (tmp_path / "union").exists()


def test_a_conflict_is_named_and_nothing_is_merged(
    whole: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "other")
    redone(tmp_path / "other", "runs/phantom/test_convnext.scratch.r0.*")
    before = contents(halves[0])
    said = bench("merge", tmp_path / "other", "--into", halves[0], code=1)
    assert "nothing was merged" in str(said.exception)
    assert "conflict: test_convnext.scratch.r0" in said.stdout
    assert "have different predictions, computed on an unknown device" in said.stdout
    assert contents(halves[0]) == before


def test_the_rest_is_merged_when_it_is_asked_for(
    whole: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "other")
    redone(tmp_path / "other", "runs/phantom/test_convnext.scratch.r0.*")
    done = bench("merge", tmp_path / "other", "--into", halves[0], "--keep-going", code=1).stdout
    assert "8 new units" in done
    assert contents(halves[0]) == contents(whole)  # the target's own predictions stayed


def test_machines_are_named_in_a_conflict(whole: Path, tmp_path: Path) -> None:
    from bench.results.record import Provenance

    for name, hardware in (
        ("a", {"device": "cpu", "threads": 2, "cpu": "A1"}),
        ("b", {"device": "cuda", "gpu": "H9"}),
    ):
        shutil.copytree(whole, tmp_path / name)
        redone(
            tmp_path / name,
            "runs/phantom/test_convnext.scratch.r0.*",
            lambda record, hardware=hardware: record_of(
                record.spec, data=record.data, provenance=Provenance(hardware=hardware)
            ),
            0.9 if name == "a" else 0.8,
        )
    said = bench("merge", tmp_path / "a", tmp_path / "b", "--into", tmp_path / "union", code=1).stdout
    assert "computed on H9 (unknown processor) and on cpu, 2 threads (A1)" in said
    assert not (tmp_path / "union").exists()


def test_equal_predictions_in_other_bytes_are_no_conflict(whole: Path, tmp_path: Path) -> None:
    import hashlib

    import pyarrow.parquet as pq

    shutil.copytree(whole, tmp_path / "other")
    (unit,) = (tmp_path / "other").glob("runs/phantom/test_convnext.scratch.r0.*")
    file = unit / "predictions.parquet"
    pq.write_table(pq.read_table(file), file, compression="gzip")
    content = json.loads((unit / "record.json").read_text(encoding="utf-8"))
    content["artefacts"][file.name] |= {
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "bytes": file.stat().st_size,
    }
    content.pop("sha256")
    body = json.dumps(content, indent=1).removesuffix("\n}")
    seal = hashlib.sha256(body.encode()).hexdigest()
    (unit / "record.json").write_text(f'{body},\n "sha256": "{seal}"\n}}\n', encoding="utf-8")
    assert (
        "12 units known already" in bench("merge", tmp_path / "other", whole, "--into", tmp_path / "u").stdout
    )


def test_a_failure_gives_way_to_what_is_done(whole: Path, tmp_path: Path) -> None:
    (failure,) = (whole / "failures" / "phantom").iterdir()
    failed = store.read_folder(failure)
    shutil.copytree(whole, tmp_path / "lucky")
    shutil.rmtree(tmp_path / "lucky" / "failures")
    (unit,) = (tmp_path / "lucky").glob("runs/phantom/test_convnext.scratch.r0.*")
    parts = {part: store.read_predictions(unit, part) for part in ("val", "test")}
    store.write(
        tmp_path / "lucky", record_of(failed.spec, data=store.read_folder(unit).data), predictions=parts
    )
    for order in ([whole, tmp_path / "lucky"], [tmp_path / "lucky", whole]):
        into = tmp_path / order[0].name
        into = into.with_name(f"into-{into.name}")
        bench("merge", *order, "--into", into)
        assert not list(into.glob("failures/*/*"))
        assert len(list(into.glob("runs/phantom/*"))) == 10
    shutil.copytree(whole, tmp_path / "unlucky")
    bench("merge", tmp_path / "lucky", "--into", tmp_path / "unlucky")
    assert not list((tmp_path / "unlucky").glob("failures/*/*"))


def test_damaged_units_are_left_out_and_named(whole: Path, halves: tuple[Path, Path], tmp_path: Path) -> None:
    (unit,) = halves[1].glob("runs/phantom/test_convnext.scratch.r1.*")
    content = bytearray((unit / "predictions.parquet").read_bytes())
    content[60] ^= 1
    (unit / "predictions.parquet").write_bytes(content)
    (record,) = halves[1].glob("runs/phantom/test_convnext.egmae.r1.*/record.json")
    record.write_text("{", encoding="utf-8")
    done = bench("merge", *halves, "--into", tmp_path / "union", code=1).stdout
    assert done.count("left out: ") == 2
    assert "is not the file that was stored" in done
    assert "10 new units" in done


def test_a_damaged_unit_of_the_target_is_moved_aside_and_merged(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "mine")
    (unit,) = (tmp_path / "mine").glob("runs/phantom/test_convnext.scratch.r1.*")
    (unit / "predictions.parquet").write_bytes(b"gone")
    assert "moved to .damaged" in bench("merge", whole, "--into", tmp_path / "mine").stdout
    assert contents(unit) == contents(next(whole.glob("runs/phantom/test_convnext.scratch.r1.*")))
    assert (next((tmp_path / "mine" / ".damaged").rglob("predictions.parquet"))).read_bytes() == b"gone"


def test_of_two_merges_that_found_the_same_damage_the_second_leaves_what_the_first_mended(
    whole: Path, tmp_path: Path
) -> None:
    from bench.pack.copies import copy_into
    from bench.pack.merge import Source, plan_merge

    mine = tmp_path / "mine"
    shutil.copytree(whole, mine)
    (unit,) = mine.glob("runs/phantom/test_convnext.scratch.r1.*")
    (unit / "predictions.parquet").write_bytes(b"gone")
    for planned in [plan_merge([Source("it", whole)], mine) for _ in range(2)]:
        copy_into(mine, planned.foundations.values(), planned.units.values())
    assert store.is_whole(unit)
    assert [path.read_bytes() for path in (mine / ".damaged").rglob("*.parquet")] == [b"gone"]


def test_damaged_kept_networks_are_left_out_and_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "other")
    (unit,) = (tmp_path / "other").glob("runs/phantom/test_convnext.scratch.r1.*")
    network = tmp_path / "other" / "kept" / unit.relative_to(tmp_path / "other")
    network.mkdir(parents=True)
    (network / "model.json").write_text("{", encoding="utf-8")
    done = bench("merge", tmp_path / "other", "--into", tmp_path / "union", code=1).stdout
    assert f"left out: {tmp_path / 'other'}: kept/runs/phantom/{unit.name}/model.json: cannot be read" in done
    assert "12 new units" in done
    assert not list(tmp_path.glob("union/kept/*/*/*"))


def test_an_encoder_that_several_sources_have_is_completed_once(whole: Path, tmp_path: Path) -> None:
    bench("pack", "--results", whole, "-o", tmp_path / "first.zip")
    shutil.copytree(whole, tmp_path / "second")
    done = bench("merge", tmp_path / "first.zip", whole, tmp_path / "second", "--into", tmp_path / "u").stdout
    assert "3 files completed" in done


def test_a_record_of_a_newer_version_is_refused(
    whole: Path, halves: tuple[Path, Path], tmp_path: Path
) -> None:
    (record,) = halves[1].glob("runs/phantom/test_convnext.scratch.r1.*/record.json")
    record.write_text(
        record.read_text(encoding="utf-8").replace('"version": 2', '"version": 99', 1), encoding="utf-8"
    )
    said = bench("merge", *halves, "--into", tmp_path / "union", code=1)
    assert "refused: " in said.stdout
    assert "newer than this bench" in said.stdout
    assert not (tmp_path / "union").exists()
    done = bench("merge", *halves, "--into", tmp_path / "union", "--keep-going", code=1).stdout
    assert "11 new units" in done


def test_two_splits_for_one_request_are_a_conflict(whole: Path, tmp_path: Path) -> None:
    from bench.identity import digest

    shutil.copytree(whole, tmp_path / "other")
    manifest = next((tmp_path / "other").glob("splits/phantom/r0.*"))
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["images"][0][4] = "out"
    content["hash"] = digest(sorted(content["images"]))[:16]
    manifest.with_name(f"{'.'.join(manifest.name.split('.')[:2])}.{content['hash']}.json").write_text(
        json.dumps(content)
    )
    manifest.unlink()
    assert (
        "different splits for one request"
        in bench("merge", whole, tmp_path / "other", "--into", tmp_path / "u", code=1).stdout
    )


def test_a_pack_that_was_edited_is_refused(halves: tuple[Path, Path], tmp_path: Path) -> None:
    from test_verify_pack import files_of, named, written

    bench("pack", "--results", halves[0], "-o", tmp_path / "a.zip")
    files = files_of(tmp_path / "a.zip")
    name = named(files, r"\.scratch\.r0.*parquet")
    files[name] = files[named(files, r"runs/\S*\.egmae\.r0.*parquet")]
    edited = written(files, tmp_path / "edited.zip", listed=False)
    assert "is not the file that was packed" in refused("merge", edited, "--into", tmp_path / "union")
    assert not (tmp_path / "union").exists()
    done = bench("merge", edited, "--into", tmp_path / "union", "--keep-going", code=1).stdout
    assert "3 new units" in done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--into", "union"], "no such file or folder"),
        (["nowhere.zip", "--into", "union"], "no such file"),
        (["whole", "--into", "whole"], "is the folder that --into names"),
        (["whole", "--into", "file"], "is a file"),
    ],
)
def test_nonsense_is_one_error(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    shutil.copytree(whole, tmp_path / "whole")
    assert said in refused("merge", *arguments)


def test_a_killed_merge_goes_on(whole: Path, tmp_path: Path) -> None:
    """A real process, killed while it copies; what it left is no unit, and the same command does the rest."""
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bench.pack import copies, merge\n"
        "copies._BATCH = 2\n"
        "rename = copies._rename\n"
        "def slow(temporary, copy):\n"
        "    rename(temporary, copy)\n"
        "    print('unit', flush=True)\n"
        "    time.sleep(0.5)\n"
        "copies._rename = slow\n"
        "planned = merge.plan_merge([merge.Source('it', Path(sys.argv[1]))], Path(sys.argv[2]))\n"
        "copies.copy_into(Path(sys.argv[2]), planned.foundations.values(), planned.units.values())\n"
    )
    union = tmp_path / "union"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(whole), str(union)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "unit\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    there = list(store.directories(union))
    assert 3 <= len(there) < 13
    for path in there:
        assert not store.read_folder(path).damage
    leftovers = list(union.rglob(".writing-*"))
    for path in leftovers:
        os.utime(path, (time.time() - 600,) * 2)
    done = bench("merge", whole, "--into", union).stdout
    assert f"{len(there)} units known already" in done
    assert contents(union) == contents(whole)
