"""Drawing grouped, stratified splits, and freezing them as manifests."""

import dataclasses
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import BenchError, DataError, DataNotFound
from bench.data.deal import fold_counts
from bench.data.images import Images
from bench.data.splits import Split, draw, frozen, load
from bench.errors import SplitError
from bench.spec import SplitSettings

HOLDOUT, KFOLD = SplitSettings(), SplitSettings(method="kfold")


def make(sizes: list[list[int]], parts: list[str] | None = None) -> Images:
    """Images of len(sizes) classes; sizes[c] lists the images in each group of class c."""
    rows = [
        (c, f"c{c}g{g}") for c, groups in enumerate(sizes) for g, n in enumerate(groups) for _ in range(n)
    ]
    return Images(
        dataset="toy",
        classes=tuple(f"c{c}" for c in range(len(sizes))),
        ids=tuple(f"i{i:04d}" for i in range(len(rows))),
        labels=np.array([c for c, _ in rows], dtype=np.int64),
        groups=tuple(g for _, g in rows),
        parts=tuple(parts or [""] * len(rows)),
        sha256=tuple(f"{i:064x}" for i in range(len(rows))),
        version="",
        views={},
    )


def groups_of(split: Split, part: str) -> set[str]:
    return {split.groups[i] for i in split.indices(part)}


def assert_sound(split: Split, images: Images) -> None:
    """Every image once, no group on two sides, every class in train."""
    everything = np.concatenate([split.indices(p) for p in ("train", "val", "test")])
    assert sorted(everything.tolist()) == list(range(len(images)))
    sides = defaultdict(set)
    for group, part in zip(split.groups, split.parts, strict=True):
        sides[group].add(part)
    assert all(len(parts) == 1 for parts in sides.values())
    assert {split.labels[i] for i in split.indices("train")} == set(images.classes)


quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
some_groups = st.lists(st.integers(1, 4), min_size=6, max_size=25)
many_groups = st.lists(st.integers(1, 4), min_size=40, max_size=60)
seeds = st.integers(0, 10_000)


@quick
@given(st.lists(some_groups, min_size=2, max_size=4), seeds)
def test_every_part_has_every_class_and_no_group_is_torn(sizes: list[list[int]], seed: int) -> None:
    images = make(sizes)
    for how in (HOLDOUT, KFOLD):
        split = draw(images, how, 1, seed)
        assert_sound(split, images)
        if how is HOLDOUT:
            assert all(n.images for by_class in split.counts().values() for n in by_class.values())
            assert split.notes == ()


@quick
@given(st.lists(many_groups, min_size=2, max_size=3), seeds)
def test_classes_keep_their_proportions(sizes: list[list[int]], seed: int) -> None:
    counts = draw(make(sizes), HOLDOUT, 0, seed).counts()
    for c, groups in enumerate(sizes):
        for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(counts[part][f"c{c}"].images / sum(groups) - share) <= 0.06


def test_the_same_request_gives_the_same_split_and_another_round_another() -> None:
    images = make([[1] * 40, [2] * 20])
    assert draw(images, HOLDOUT, 0, 7) == draw(images, HOLDOUT, 0, 7)
    hashes = {draw(images, HOLDOUT, r, s).hash for r in range(4) for s in (7, 8)}
    assert len(hashes) == 8


def test_the_order_of_the_index_does_not_matter() -> None:
    images = make([[1, 2] * 12, [3] * 10])
    order = np.random.default_rng(0).permutation(len(images))
    other = dataclasses.replace(
        images,
        labels=images.labels[order],
        **{f: tuple(getattr(images, f)[i] for i in order) for f in ("ids", "groups", "parts", "sha256")},
    )
    one, two = draw(images, HOLDOUT, 0, 3), draw(other, HOLDOUT, 0, 3)
    assert one.hash == two.hash
    assert dict(zip(one.ids, one.parts, strict=True)) == dict(zip(two.ids, two.parts, strict=True))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_kfold_tests_every_image_exactly_once(folds: int) -> None:
    images = make([[1, 3] * 10, [2] * 12, [1] * 9])
    how = SplitSettings(method="kfold", folds=folds)
    splits = [draw(images, how, r, 0) for r in range(folds)]
    times = Counter(i for s in splits for i in s.indices("test").tolist())
    assert times == Counter(range(len(images)))
    for split in splits:
        assert_sound(split, images)
        assert 0.04 < len(split.indices("val")) / len(images) < 0.18
    with pytest.raises(SplitError, match=f"round {folds} does not exist with {folds} folds"):
        draw(images, how, folds, 0)


@pytest.mark.parametrize("rare", [[1, 1, 1], [3, 1, 1], [2, 2, 2]])
def test_three_groups_of_a_rare_class_reach_all_three_parts(rare: list[int]) -> None:
    for seed in range(3):
        counts = draw(make([[1] * 90, [2] * 30, rare]), HOLDOUT, 0, seed).counts()
        assert [counts[p]["c2"].groups for p in ("train", "val", "test")] == [1, 1, 1]


@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_of_too_few_groups_trains_and_is_noted(rare: int) -> None:
    split = draw(make([[1] * 30, [1] * 30, [2] * rare]), HOLDOUT, 0, 0)
    assert split.counts()["train"]["c2"].images > 0
    assert (split.counts()["test"]["c2"].images > 0) == (rare == 2)
    plural = "s" if rare > 1 else ""
    assert any(f"class c2 ({rare} group{plural}) has no image in" in note for note in split.notes)


def test_a_class_without_a_training_image_is_an_error() -> None:
    images = make([[1] * 10, [1] * 10, [4]])

    def in_every_round() -> None:  # in one of them its only group is tested
        for round_ in range(5):
            draw(images, KFOLD, round_, 0)

    with pytest.raises(SplitError, match=r"no training image of class c2 \(c2: train 0, val \d, test \d\)"):
        in_every_round()


@pytest.mark.parametrize("sizes", [[[1]], [[5]], [[1], [1]], [[3], [1]], [[2, 2]]])
def test_too_few_groups_is_an_error(sizes: list[list[int]]) -> None:
    for how in (HOLDOUT, KFOLD):
        with pytest.raises(SplitError, match="toy"):
            draw(make(sizes), how, 0, 0)


@quick
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=3), seeds)
def test_tiny_data_is_split_soundly_or_refused(sizes: list[list[int]], seed: int) -> None:
    images = make(sizes)
    for how in (HOLDOUT, KFOLD, SplitSettings(val=0.01, test=0.9)):
        try:
            split = draw(images, how, 0, seed)
        except BenchError:
            continue
        assert_sound(split, images)


@given(st.floats(0.001, 0.999), st.integers(2, 400))
def test_fold_counts_are_usable(share: float, limit: int) -> None:
    n, m = fold_counts(share, limit)
    assert 1 <= m < n <= limit


def test_fold_counts_of_usual_shares() -> None:
    usual = {0.2: (5, 1), 0.1: (10, 1), 0.125: (8, 1), 0.25: (4, 1), 0.3: (10, 3), 0.15: (20, 3)}
    assert {share: fold_counts(share, 100) for share in usual} == usual
    assert fold_counts(0.01, 1000) == (100, 1)


# --- the data set's own split ------------------------------------------------------------------------


def test_the_data_sets_own_split_is_kept() -> None:
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    split = draw(make([[1] * 5, [1] * 5], parts=parts[::2] * 2), HOLDOUT, 3, 1)
    assert list(split.parts) == parts[::2] * 2
    assert draw(make([[1] * 5, [1] * 5], parts=parts[::2] * 2), HOLDOUT, 4, 2).hash == split.hash


def test_a_missing_validation_part_is_drawn_from_train() -> None:
    parts = (["train"] * 20 + ["test"] * 5) * 2
    split = draw(make([[1] * 25, [1] * 25], parts=parts), HOLDOUT, 0, 0)
    assert all(part == "test" for part, given_ in zip(split.parts, parts, strict=True) if given_ == "test")
    assert len(split.indices("test")) == 10
    assert 4 <= len(split.indices("val")) <= 6  # 1/8 of 40, as 70/10 is
    assert draw(make([[1] * 25, [1] * 25], parts=parts), HOLDOUT, 1, 0).hash != split.hash


@pytest.mark.parametrize(
    ("sizes", "parts", "message"),
    [
        (
            [[1] * 2, [1] * 2],
            ["train", "", "test", ""],
            "2 images have no part while others have: i0001, i0003",
        ),
        ([[1] * 2, [1] * 2], ["train", "val"] * 2, "has no test part"),
        ([[1, 2], [1] * 4], ["train", "train", "test", *["train", "test", "val", "train"]], "c0g1"),
    ],
)
def test_an_unusable_own_split_is_refused(sizes: list[list[int]], parts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw(make(sizes, parts=parts), HOLDOUT, 0, 0)


# --- manifests ---------------------------------------------------------------------------------------

IMAGES = make([[1, 2] * 10, [2] * 10])


def manifests(results: Path) -> list[Path]:
    return sorted((results / "splits" / "toy").iterdir())


def test_a_frozen_split_is_read_back_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 5)
    (path,) = manifests(tmp_path)
    assert path.name.startswith("r0.")
    assert path.name.endswith(f".{split.hash}.json")
    monkeypatch.setattr("bench.data.splits.draw", lambda *a: pytest.fail("drawn again"))
    assert frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 5) == split
    assert load(tmp_path, "toy", split.hash, IMAGES) == split


def test_every_request_has_its_manifest(tmp_path: Path) -> None:
    other = dataclasses.replace(IMAGES, groups=(*IMAGES.groups[:-1], "alone"))
    for images, how, round_, seed in [
        (IMAGES, HOLDOUT, 0, 0),
        (IMAGES, HOLDOUT, 1, 0),
        (IMAGES, HOLDOUT, 0, 1),
        (IMAGES, KFOLD, 0, 0),
        (IMAGES, SplitSettings(val=0.2), 0, 0),
        (other, HOLDOUT, 0, 0),
    ]:
        frozen(tmp_path, images, "toy", how, round_, seed)
    assert len(manifests(tmp_path)) == 6


def test_a_loaded_split_follows_the_order_of_the_images(tmp_path: Path) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    back = {f: getattr(IMAGES, f)[::-1] for f in ("ids", "labels", "groups", "parts", "sha256")}
    loaded = load(tmp_path, "toy", split.hash, dataclasses.replace(IMAGES, **back))
    assert loaded.parts == split.parts[::-1]
    assert loaded.hash == split.hash


def test_a_manifest_of_other_images_is_refused_with_the_differences(tmp_path: Path) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    labels = IMAGES.labels.copy()
    labels[2] = 1
    changed = dataclasses.replace(
        IMAGES, ids=("new", *IMAGES.ids[1:]), sha256=("0" * 64, "f" * 64, *IMAGES.sha256[2:]), labels=labels
    )
    with pytest.raises(DataError) as caught:
        load(tmp_path, "toy", split.hash, changed)
    said = str(caught.value)
    assert "1 missing (i0000)" in said
    assert "1 extra (new)" in said
    assert "1 changed (i0001)" in said
    assert "1 with another label (i0002)" in said
    assert "restore" in said


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    path.write_text(path.read_text().replace('"test"]', '"train"]', 1))
    for read in (
        lambda: load(tmp_path, "toy", split.hash, IMAGES),
        lambda: frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0),
    ):
        with pytest.raises(DataError, match="was edited"):
            read()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', "[1]"])
def test_a_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    path.write_text(text)
    with pytest.raises(DataError, match=path.name):
        load(tmp_path, "toy", split.hash, IMAGES)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="no split manifest 0123456789abcdef"):
        load(tmp_path, "toy", "0123456789abcdef", IMAGES)


def test_two_answers_to_one_request_are_refused(tmp_path: Path) -> None:
    frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    stem = path.name.split(".")
    path.with_name(f"{stem[0]}.{stem[1]}.{'0' * 16}.json").write_text(path.read_text())
    with pytest.raises(DataError, match="the same request"):
        frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)


def test_a_manifest_is_json_with_one_image_a_line(tmp_path: Path) -> None:
    split = frozen(tmp_path, IMAGES, "toy", HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    data = json.loads(path.read_text())
    assert data["settings"] == {"method": "holdout", "val": 0.1, "test": 0.2, "folds": 5}
    assert data["counts"]["train"]["c0"] == split.counts()["train"]["c0"]._asdict()
    assert len(data["images"]) == len(IMAGES)
    assert sum(line.strip().startswith('["i0') for line in path.read_text().splitlines()) == len(IMAGES)
