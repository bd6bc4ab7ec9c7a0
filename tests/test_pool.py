"""A pool of images without labels in pretraining: what is seen of it, what is left out, and what says so."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from samples import run_spec
from spies import SIDE, Watched, name_of, tagged, watch
from typer.testing import CliRunner

from bench import BenchError, ConfigError, DataError, Environment, Sample
from bench.cli import app
from bench.comparison.again import command_of
from bench.comparison.rows import labels
from bench.comparison.tables import tables_of
from bench.data.audit.audit import Audit, Duplicate, Suspect
from bench.data.images.images import Images
from bench.data.images.pool import images_below, united_index
from bench.data.splits.pool import freeze_pool, load_pool
from bench.data.splits.split import draw_split
from bench.execution.prepare import prepare, training_of
from bench.execution.run import execute
from bench.execution.session import Session
from bench.identity import to_json
from bench.interfaces.executor import silent
from bench.registry import installed
from bench.results import store
from bench.results.verify import Verification, verify_results
from bench.study.protocol import AuditSettings, Pretraining, SplitSettings
from bench.study.spec import PretrainSpec, RunSpec

NEW = (40, 41, 43)  # numbers of images that the data set does not have


def picture(path: Path, number: int, side: int = SIDE) -> Path:
    """A file with the image of this number, as the spies know it by its grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), 5 * number, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "unlabelled"
    for place, number in zip(("a.png", "deep/er/b.PNG", "deep/c.png"), NEW, strict=True):
        picture(folder / place, number)
    picture(folder / ".hidden.png", 44)
    (folder / "notes.txt").write_text("no image")
    return folder


def watched(folder: Path, extra: Path | str, *strategies: str, **more: Any) -> Watched:
    budget = {"epochs": 2, "batch": 7, "extra": str(extra), **more.pop("pretrain", {})}
    return watch(folder, *(strategies or ("spied",)), pretrain=budget, finetune={"epochs": 1}, **more)


def ids_of(shown: Watched, part: str) -> list[str]:
    (split,) = shown.plan.splits.values()
    return [split.ids[i] for i in split.indices(part)]


def pretrained(shown: Watched) -> set[str]:
    """The images of pretraining: its batches are of 7, fine-tuning's of 8."""
    seen = [b.ids for b in shown.notes.seen if b.training]
    steps = 2 * -(-(len(ids_of(shown, "train")) + len(NEW) + 1) // 7)
    return {name for ids in seen[:steps] for name in ids if len(ids) <= 7}


def start_of(shown: Watched) -> PretrainSpec:
    unit = shown.unit("pretrain")
    assert isinstance(unit, PretrainSpec)
    return unit


def names(*numbers: int) -> set[str]:
    return {name_of(5 * number) for number in numbers}


# --- what is seen ------------------------------------------------------------------------------------


def test_pretraining_sees_the_pool_but_no_duplicate_of_a_test_or_validation_image(
    tmp_path: Path, pool: Path
) -> None:
    split = watched(tmp_path / "plan", pool, run=False)
    train, val, test = (ids_of(split, part) for part in ("train", "val", "test"))
    for name in (train[0], val[0], test[0]):
        picture(pool / "copies" / f"{name}.png", int(name[1:]))
    shown = watched(tmp_path / "run", pool)
    assert ids_of(shown, "test") == test
    seen = pretrained(shown)
    assert seen == set(train) | names(*NEW)
    assert not seen & {*val, *test}
    record = store.read(shown.results, shown.unit("run"))
    assert f"pool/copies/{test[0]}.png = {test[0]} (test)" in record.notes[-1]
    assert "6 images without labels: 4 are pretrained on, 2 left out" in record.notes[-1]
    assert store.read(shown.results, shown.unit("pretrain")).notes == record.notes
    (table,) = tables_of(store.scan(shown.results)[0], shown.results).tables
    assert any("2 left out as duplicates of validation or test images" in line for line in table.footer)
    assert any("2 left out" in note for note in shown.plan.notes)


def test_fine_tuning_and_other_strategies_never_see_the_pool(tmp_path: Path, pool: Path) -> None:
    shown = watched(tmp_path, pool, "scratch")
    trained = {name for b in shown.notes.seen if b.training for name in b.ids}
    assert trained == set(ids_of(shown, "train"))
    assert not (shown.results / "pools").exists(), "no strategy pretrains, so nothing was audited"
    assert not store.read(shown.results, shown.unit("run")).notes
    plain = watched(tmp_path / "plain", "", "scratch", run=False)
    assert plain.unit("run").key == shown.unit("run").key


# --- identity ----------------------------------------------------------------------------------------


def test_the_key_has_the_pixels_of_the_pool_and_not_its_place_or_names(tmp_path: Path, pool: Path) -> None:
    first = watched(tmp_path / "1", pool, run=False)
    moved = tmp_path / "elsewhere"
    pool.rename(moved)
    (moved / "a.png").rename(moved / "z.png")
    again = watched(tmp_path / "2", moved, run=False)
    assert start_of(again).key == start_of(first).key
    assert str(pool) not in json.dumps(to_json(start_of(first)))
    without = watched(tmp_path / "3", "", run=False)
    assert start_of(without).key != start_of(first).key
    assert "pool" not in to_json(start_of(without))["pretrain"]
    picture(moved / "d.png", 45)
    assert start_of(watched(tmp_path / "4", moved, run=False)).key != start_of(first).key


def test_other_names_of_the_files_change_no_batch(tmp_path: Path, pool: Path) -> None:
    orders = []
    for place in ("1", "2"):
        shown = watched(tmp_path / place, pool, run=False)
        unit = start_of(shown)
        training = training_of(unit, prepare(unit, shown.session), shown.session)
        orders.append([int(image[0, 0, 0]) for (b,) in training.inputs.epoch(3) for image in b])
        if place == "1":
            (pool / "a.png").rename(pool / "z.png")
    assert orders[0] == orders[1]


def test_what_is_left_out_is_part_of_the_key(tmp_path: Path, pool: Path) -> None:
    """Other settings of the audit leave out others."""
    spec = start_of(watched(tmp_path, pool, run=False))
    assert dataclasses.replace(spec, left_out="0" * 16).key != spec.key
    assert dataclasses.replace(spec, pretrain=dataclasses.replace(spec.pretrain, extra="/x")).key == spec.key


def test_a_pool_that_has_changed_since_the_plan_is_refused(tmp_path: Path, pool: Path) -> None:
    shown = watched(tmp_path, pool, run=False)
    picture(pool / "a.png", 46)
    shown.session._images.clear()
    outcome = execute(start_of(shown), shown.session, silent)
    assert outcome.status == "failed"
    assert "not those that the study was planned with" in outcome.reason


def verified(results: Path) -> tuple[list[str], int]:
    """What `bench verify` says of pools, and how many it has seen."""
    found = Verification()
    verify_results(results, found)
    return [p.what for p in found.problems if "pools" in p.place.parts], found.counts["pools"]


def test_the_frozen_file_cannot_be_edited(tmp_path: Path, pool: Path) -> None:
    shown = watched(tmp_path, pool, run=False)
    test = ids_of(shown, "test")[0]
    picture(pool / "copy.png", int(test[1:]))
    shown = watched(tmp_path / "2", pool, run=False)
    spec = start_of(shown)
    (file,) = (shown.results / "pools" / "tagged").glob("*.json")
    data = json.loads(file.read_text())
    assert [row[0] for row in data["left_out"]] == ["pool/copy.png"]
    assert verified(shown.results) == ([], 1)
    file.write_text(json.dumps({**data, "left_out": []}))
    (problem,), _ = verified(shown.results)
    assert "was edited" in problem
    with pytest.raises(DataError, match="was edited"):
        load_pool(shown.results, "tagged", spec.split, spec.left_out)
    file.unlink()
    assert "run the study from its start" in execute(spec, shown.session, silent).reason


def test_the_command_that_makes_a_run_again_asks_for_the_folder(tmp_path: Path, pool: Path) -> None:
    shown = watched(tmp_path, pool)
    record = store.read(shown.results, shown.unit("run"))
    command, same = command_of(record, 1, shown.session.registry)
    assert same
    assert f'protocol.pretrain.pool="{start_of(shown).pretrain.pool}"' in command
    with pytest.raises(
        ConfigError, match=r"needs the folder of these images; add --set protocol.pretrain.extra"
    ):
        watched(tmp_path / "2", "", pretrain={"pool": start_of(shown).pretrain.pool}, run=False)
    with pytest.raises(ConfigError, match="have the digest"):
        watched(tmp_path / "3", pool, pretrain={"pool": "0" * 16}, run=False)


def test_rows_with_and_without_a_pool_are_told_apart() -> None:
    plain = run_spec("egmae", epochs=3)
    assert plain.start
    start = dataclasses.replace(plain.start, pretrain=Pretraining(epochs=3, pool="ab" * 8), left_out="1" * 16)
    with_pool: RunSpec = dataclasses.replace(plain, start=start)
    called = sorted(label.method for label in labels([plain, with_pool]).values())
    assert called == ["egmae no pool", "egmae pool abababab"]


# --- what is left out --------------------------------------------------------------------------------


def united_images(count: int, extra: int) -> Images:
    ids = [f"i{i}" for i in range(count)] + [f"pool/{i}" for i in range(extra)]
    n = len(ids)
    return Images(
        dataset="toy+pool",
        classes=("a", "b", "(no label)"),
        ids=tuple(ids),
        labels=np.array([i % 2 for i in range(count)] + [2] * extra),
        groups=tuple(ids),
        parts=("",) * n,
        sha256=tuple(f"{i:064x}" for i in range(n)),
        version="",
        views={},
    )


def test_what_is_alike_by_way_of_another_pool_image_is_left_out_and_suspects_are_named(
    tmp_path: Path,
) -> None:
    united = united_images(40, 5)
    own = dataclasses.replace(
        united,
        dataset="toy",
        classes=("a", "b"),
        **{name: getattr(united, name)[:40] for name in ("ids", "labels", "groups", "parts", "sha256")},
    )
    split = draw_split(own, SplitSettings(), 0, 0)
    test, val, train = (split.ids[split.indices(part)[0]] for part in ("test", "val", "train"))
    audit = Audit(
        dataset="toy+pool",
        content=united.content,
        settings=AuditSettings(),
        images=45,
        candidates=9,
        duplicates=(
            Duplicate(test, "pool/0", 3, 0.9, False),
            Duplicate("pool/0", "pool/1", 3, 0.9, False),
            Duplicate(train, "pool/2", 3, 0.9, False),
        ),
        suspects=(
            Suspect(val, "pool/3", 0.4, 7),
            Suspect(train, "pool/4", 0.4, 7),
            Suspect(test, "pool/1", 0.4, 7),
        ),
    )
    frozen = freeze_pool(tmp_path, united, 40, audit, split)
    assert [(one.id, one.like, one.part) for one in frozen.left_out] == [
        ("pool/0", test, "test"),
        ("pool/1", test, "test"),
    ]
    assert [(one.id, one.like, one.part) for one in frozen.suspects] == [("pool/3", val, "val")]
    assert load_pool(tmp_path, "toy", split.hash, frozen.hash) == frozen
    assert f"pool/3 ~ {val} (val)" in frozen.text


def test_a_real_near_duplicate_is_left_out(tmp_path: Path) -> None:
    """Speckle of `phantom`, brighter and compressed: other pixels, the same picture."""
    from bench import Session, Study, local_environment
    from bench.execution.plan import make_plan

    arguments: dict[str, Any] = {"rounds": 1, "values": {"dataset.phantom.patients": 30}, "protocol": "quick"}
    session = Session(local_environment(tmp_path, tmp_path / "results", device="cpu", threads=1))
    plan = make_plan(Study.from_names("phantom", "egmae", **arguments), session)
    (split,) = plan.splits.values()
    images = session.images(split_dataset := plan.study.datasets[0], (128,))
    test, train = int(split.indices("test")[0]), int(split.indices("train")[0])
    folder = tmp_path / "pool"
    folder.mkdir()
    for name, i in (("test", test), ("train", train)):
        brighter = np.clip(images.view(128)[i][0].astype(int) * 1.1 + 5, 0, 255).astype(np.uint8)
        Image.fromarray(brighter).save(folder / f"{name}.jpg", quality=85)
    arguments["values"] = {**arguments["values"], "protocol.pretrain.extra": str(folder)}
    other = make_plan(Study.from_names("phantom", "egmae", **arguments), session)
    (unit,) = (u for u in other.units if u.kind == "pretrain")
    frozen = load_pool(tmp_path / "results", split_dataset.name, split.hash, unit.left_out)  # type: ignore[union-attr]
    assert [one.id for one in frozen.left_out] == ["pool/test.jpg"]


# --- bad input ---------------------------------------------------------------------------------------


def test_bad_folders_are_one_clear_error(tmp_path: Path, pool: Path) -> None:
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    for folder, said in (
        (tmp_path / "none", "no such folder"),
        (tmp_path / "empty", "no images in it"),
        (pool / "a.png", "is no folder"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            watched(tmp_path / "x", folder, run=False)
        assert str(folder) in str(error.value)
        assert "protocol.pretrain.extra" in str(error.value)


def test_the_command_refuses_a_missing_folder_before_it_opens_an_image(tmp_path: Path) -> None:
    arguments = [
        "run",
        "-d",
        "phantom",
        "-s",
        "egmae",
        "--set",
        f"protocol.pretrain.extra={tmp_path / 'none'}",
    ]
    done = CliRunner().invoke(app, [*arguments, "--results", str(tmp_path / "r")])
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "r" / ".scratch" / "images").exists()


def test_a_folder_of_the_data_set_itself_is_refused(pool: Path) -> None:
    files = images_below(pool)
    index = tagged().index(pool, None)
    own = dataclasses.replace(index, samples=tuple(Sample(id=p.name, label="a", path=p) for p in files))
    with pytest.raises(ConfigError, match="holds 3 images of the data set itself"):
        united_index(own, pool)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, pool: Path) -> None:
    (pool / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(BenchError, match=r"broken.png: cannot be read as an image"):
        watched(tmp_path, pool, run=False)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_text_is_named(pool: Path) -> None:
    picture(pool / "x.png", 5)
    os.rename(pool / "x.png", os.fsencode(pool) + b"/\xff.png")
    with pytest.raises(DataError, match=r"UTF-8"):
        united_index(tagged().index(pool, None), pool)


def test_masks_are_not_pretrained_on(pool: Path) -> None:
    before = len(united_index(tagged().index(pool, None), pool).samples)
    (first,) = sorted(pool.glob("*.png"))[:1]
    (pool / f"{first.stem}_mask.png").write_bytes(first.read_bytes())
    assert len(united_index(tagged().index(pool, None), pool).samples) == before


def test_both_stages_see_one_brightness(tmp_path: Path) -> None:
    """A pool whose values need more bits than the data set's would darken the data set's own images."""
    for name, values in (("data/a/1", 3000), ("data/b/2", 3500), ("pool/3", 3900)):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), values, np.uint16)).save(path)
    session = Session(Environment(data=tmp_path / "data", results=tmp_path / "results"), installed())
    ref = session.registry.datasets.ref("folder", {})
    alone = session.images(ref, (32,))
    united = session.with_pool(ref, str(tmp_path / "pool"), (32,))
    assert united.sha256[:2] == alone.sha256
    Image.fromarray(np.full((40, 40), 60_000, np.uint16)).save(tmp_path / "pool" / "4.png")
    session = Session(session.environment, installed())
    with pytest.raises(DataError, match="holds the value 60000, more than the 12 bits"):
        session.with_pool(ref, str(tmp_path / "pool"), (32,))


def test_names_of_the_pool_are_told_from_those_of_the_data_set(pool: Path) -> None:
    index = tagged().index(pool, None)
    sample = dataclasses.replace(index.samples[0], id="pool/a.png")
    taken = dataclasses.replace(index, classes=(sample.label,), samples=(sample,))
    united = united_index(taken, pool)
    assert len({sample.id for sample in united.samples}) == 4
