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
from bench.data.audit.audit import Audit, Duplicate
from bench.data.audit.clusters import join_groups
from bench.data.audit.verdict import judge
from bench.data.images.images import Images
from bench.data.splits.manifest import adopt_manifest, freeze_split, load_split
from bench.data.splits.split import Split, draw_split, require_sound
from bench.errors import SplitError
from bench.study.protocol import AuditSettings, SplitSettings

HOLDOUT, KFOLD = SplitSettings(), SplitSettings(method="kfold")


def images_of(sizes: list[list[int]], parts: list[str] | None = None) -> Images:
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
    """Every image is in one part, no group in two, and every class in training."""
    rows = np.concatenate([split.indices(p) for p in ("train", "val", "test")])
    assert sorted(rows.tolist()) == list(range(len(images)))
    parts_of_group = defaultdict(set)
    for group, part in zip(split.groups, split.parts, strict=True):
        parts_of_group[group].add(part)
    assert all(len(parts) == 1 for parts in parts_of_group.values())
    assert {split.labels[i] for i in split.indices("train")} == set(images.classes)


quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
some_groups = st.lists(st.integers(1, 4), min_size=6, max_size=25)
many_groups = st.lists(st.integers(1, 4), min_size=40, max_size=60)
seeds = st.integers(0, 10_000)


@quick
@given(st.lists(some_groups, min_size=2, max_size=4), seeds)
def test_every_part_has_every_class_and_no_group_is_divided(sizes: list[list[int]], seed: int) -> None:
    images = images_of(sizes)
    for how in (HOLDOUT, KFOLD):
        split = draw_split(images, how, 1, seed)
        assert_sound(split, images)
        if how is HOLDOUT:
            assert all(n.images for by_class in split.counts().values() for n in by_class.values())
            assert split.notes == ()


@quick
@given(st.lists(many_groups, min_size=2, max_size=3), seeds)
def test_classes_keep_their_proportions(sizes: list[list[int]], seed: int) -> None:
    counts = draw_split(images_of(sizes), HOLDOUT, 0, seed).counts()
    for c, groups in enumerate(sizes):
        for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(counts[part][f"c{c}"].images / sum(groups) - share) <= 0.06


@quick
@given(st.lists(st.integers(1, 9), min_size=25, max_size=60), seeds)
def test_a_share_is_wrong_by_at_most_half_a_group(sizes: list[int], seed: int) -> None:
    for how, share in ((HOLDOUT, 0.2), (SplitSettings(method="kfold", folds=4), 0.25)):
        images = images_of([sizes])
        for round_ in range(4):
            tested = len(draw_split(images, how, round_, seed).indices("test"))
            # A fold takes its share of what earlier folds left, which half a group each has made wrong.
            halves = 1 if how is HOLDOUT else 4
            assert abs(tested - share * sum(sizes)) <= halves * max(sizes) / 2


def test_folds_of_equal_groups_are_equal() -> None:
    images = images_of([[2] * 50, [1] * 20])
    for round_ in range(5):
        counts = draw_split(images, KFOLD, round_, 0).counts()["test"]
        assert [(n.images, n.groups) for n in counts.values()] == [(20, 10), (4, 4)]


def test_a_large_test_part_leaves_groups_to_validate_and_to_train() -> None:
    counts = draw_split(images_of([[1, 1, 1], [1] * 30]), SplitSettings(val=0.2, test=0.7), 0, 0).counts()
    assert [counts[part]["c0"].groups for part in ("train", "val", "test")] == [1, 1, 1]


def test_the_same_request_gives_the_same_split_and_another_round_another() -> None:
    images = images_of([[1] * 40, [2] * 20])
    assert draw_split(images, HOLDOUT, 0, 7) == draw_split(images, HOLDOUT, 0, 7)
    hashes = {draw_split(images, HOLDOUT, r, s).hash for r in range(4) for s in (7, 8)}
    assert len(hashes) == 8


def test_the_order_of_the_index_does_not_matter() -> None:
    images = images_of([[1, 2] * 12, [3] * 10])
    order = np.random.default_rng(0).permutation(len(images))
    other = dataclasses.replace(
        images,
        labels=images.labels[order],
        **{f: tuple(getattr(images, f)[i] for i in order) for f in ("ids", "groups", "parts", "sha256")},
    )
    one, two = draw_split(images, HOLDOUT, 0, 3), draw_split(other, HOLDOUT, 0, 3)
    assert one.hash == two.hash
    assert dict(zip(one.ids, one.parts, strict=True)) == dict(zip(two.ids, two.parts, strict=True))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_kfold_tests_every_image_exactly_once(folds: int) -> None:
    images = images_of([[1, 3] * 10, [2] * 12, [1] * 9])
    how = SplitSettings(method="kfold", folds=folds)
    splits = [draw_split(images, how, r, 0) for r in range(folds)]
    times = Counter(i for s in splits for i in s.indices("test").tolist())
    assert times == Counter(range(len(images)))
    for split in splits:
        assert_sound(split, images)
        assert 0.04 < len(split.indices("val")) / len(images) < 0.18
    with pytest.raises(SplitError, match=f"round {folds} does not exist with {folds} folds"):
        draw_split(images, how, folds, 0)


@pytest.mark.parametrize("rare", [[1, 1, 1], [3, 1, 1], [2, 2, 2]])
def test_three_groups_of_a_rare_class_reach_all_three_parts(rare: list[int]) -> None:
    for seed in range(3):
        counts = draw_split(images_of([[1] * 90, [2] * 30, rare]), HOLDOUT, 0, seed).counts()
        assert [counts[p]["c2"].groups for p in ("train", "val", "test")] == [1, 1, 1]


@pytest.mark.parametrize("rare", [1, 2])
def test_a_class_of_too_few_groups_trains_and_is_noted(rare: int) -> None:
    split = draw_split(images_of([[1] * 30, [1] * 30, [2] * rare]), HOLDOUT, 0, 0)
    assert split.counts()["train"]["c2"].images > 0
    assert (split.counts()["test"]["c2"].images > 0) == (rare == 2)
    plural = "s" if rare > 1 else ""
    assert any(f"class c2 ({rare} group{plural}) has no image in" in note for note in split.notes)


def test_a_class_without_a_training_image_is_an_error() -> None:
    images = images_of([[1] * 10, [1] * 10, [4]])

    def draw_all_rounds() -> None:  # in one of them its only group is in the test part
        for round_ in range(5):
            draw_split(images, KFOLD, round_, 0)

    with pytest.raises(SplitError, match=r"no training image of class c2 \(c2: train 0, val \d, test \d\)"):
        draw_all_rounds()


@pytest.mark.parametrize("sizes", [[[1]], [[5]], [[1], [1]], [[3], [1]], [[2, 2]]])
def test_too_few_groups_is_an_error(sizes: list[list[int]]) -> None:
    for how in (HOLDOUT, KFOLD):
        with pytest.raises(SplitError, match="toy"):
            draw_split(images_of(sizes), how, 0, 0)


@quick
@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=3), seeds)
def test_tiny_data_is_split_soundly_or_refused(sizes: list[list[int]], seed: int) -> None:
    images = images_of(sizes)
    for how in (HOLDOUT, KFOLD, SplitSettings(val=0.01, test=0.9)):
        try:
            split = draw_split(images, how, 0, seed)
        except BenchError:
            continue
        assert_sound(split, images)


@quick
@given(st.lists(some_groups, min_size=2, max_size=4), st.integers(1, 3), seeds)
def test_one_more_group_moves_few_others(sizes: list[list[int]], size: int, seed: int) -> None:
    """Groups are small, so at each of the two boundaries at most a few change sides."""
    before, after = images_of(sizes), images_of([[*sizes[0], size], *sizes[1:]])
    for how in (HOLDOUT, KFOLD):
        old, new = draw_split(before, how, 1, seed), draw_split(after, how, 1, seed)
        then, now = (dict(zip(s.groups, s.parts, strict=True)) for s in (old, new))
        assert sum(now[group] != part for group, part in then.items()) <= 8


def test_scikit_learn_would_move_far_more() -> None:
    """Why groups are not assigned by StratifiedGroupKFold: with one more image most of them change sides."""
    from sklearn.model_selection import StratifiedGroupKFold

    def sklearn_test_groups(images: Images) -> set[str]:
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        _, rows = next(iter(splitter.split(images.labels, images.labels, images.groups)))
        return {images.groups[i] for i in rows}

    before, after = images_of([[1] * 100, [2] * 60]), images_of([[1] * 101, [2] * 60])
    old, new = sklearn_test_groups(before), sklearn_test_groups(after)
    assert len(old & new) < 0.5 * len(old)
    old, new = (groups_of(draw_split(images, HOLDOUT, 0, 0), "test") for images in (before, after))
    assert len(old & new) >= len(old) - 1


@quick
@given(st.lists(st.lists(st.integers(1, 30), min_size=12, max_size=40), min_size=2, max_size=4), seeds)
def test_shares_are_as_even_as_scikit_learns(sizes: list[list[int]], seed: int) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    images = images_of(sizes)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    _, sklearn_rows = next(iter(splitter.split(images.labels, images.labels, images.groups)))
    bench_rows = draw_split(images, HOLDOUT, 0, seed).indices("test")
    totals = np.bincount(images.labels)

    def largest_error(rows: np.ndarray) -> float:
        return float(np.abs(np.bincount(images.labels[rows], minlength=len(totals)) / totals - 0.2).max())

    largest_group = max(max(groups) / sum(groups) for groups in sizes)
    assert largest_error(bench_rows) <= max(largest_error(sklearn_rows), largest_group / 2) + 1e-9


# --- what an audit changes -----------------------------------------------------------------------------


def audit_of(images: Images, *pairs: tuple[int, int]) -> Audit:
    """An audit with these duplicates."""
    duplicates = tuple(Duplicate(images.ids[a], images.ids[b], 1, 0.9, False) for a, b in pairs)
    return Audit(images.dataset, images.content, AuditSettings(), len(images), len(pairs), duplicates)


@quick
@given(some_groups, some_groups, st.data())
def test_duplicates_share_a_side(first: list[int], second: list[int], data: st.DataObject) -> None:
    images = images_of([first, second])
    rows = st.sampled_from(np.flatnonzero(images.labels == 0).tolist())
    pairs = data.draw(st.lists(st.tuples(rows, rows).filter(lambda p: p[0] < p[1]), max_size=4))
    for how in (HOLDOUT, SplitSettings(val=0.2, test=0.3)):
        try:
            split = draw_split(images, how, 0, 0, audit_of(images, *pairs))
        except SplitError:  # duplicates may join all groups into one
            continue
        assert all(split.parts[a] == split.parts[b] for a, b in pairs)
        assert_sound(split, images)
        assert split.verdict is not None
        assert not split.verdict.leaks


def test_groups_of_three_duplicates_become_one() -> None:
    assert join_groups(["c", "b", "a", "d"], [[0, 1, 2]]) == ("a", "a", "a", "d")
    assert join_groups(["c", "b", "a", "d"], [[0, 1], [1, 3]]) == ("b", "b", "a", "b")


def test_an_audit_that_finds_nothing_changes_nothing() -> None:
    assert draw_split(IMAGES, HOLDOUT, 0, 0).hash == draw_split(IMAGES, HOLDOUT, 0, 0, audit_of(IMAGES)).hash


CONFLICTING = ((0, 40), (2, 42))  # duplicates: the first two groups of class 0 and those of class 1


@pytest.mark.parametrize(("conflicts", "part"), [("train", {"train"}), ("out", {"out"})])
def test_duplicates_of_another_label_are_never_tested_on(conflicts: str, part: set[str]) -> None:
    images = images_of([[2] * 20, [2] * 20])
    audit = audit_of(images, *CONFLICTING)
    for method in ("holdout", "kfold"):
        for round_ in range(5):
            settings = SplitSettings(method=method, conflicts=conflicts)  # type: ignore[arg-type]
            split = draw_split(images, settings, round_, 0, audit)
            assert {split.parts[i] for pair in CONFLICTING for i in pair} == part
            assert split.verdict is not None
            assert (split.verdict.kept_out, split.verdict.label_conflicts) == (4, 0)
    kept = [row for row in split.rows() if row[-1] != "out"]
    assert sum(n.images for by in split.counts().values() for n in by.values()) == len(kept)
    assert any("8 images are in no part" in note for note in split.notes) == (conflicts == "out")


def test_duplicates_of_another_label_may_go_anywhere_if_the_protocol_says_so() -> None:
    images = images_of([[2] * 20, [2] * 20])
    settings = SplitSettings(conflicts="anywhere")
    parts = {
        draw_split(images, settings, round_, 0, audit_of(images, *CONFLICTING)).parts[0]
        for round_ in range(20)
    }
    assert parts == {"train", "val", "test"}


def test_an_image_level_split_leaks_and_is_refused_if_strict() -> None:
    images = images_of([[1] * 40, [4] * 10])
    settings = SplitSettings(groups="none")
    split = draw_split(images, settings, 0, 0, audit_of(images, (0, 1), (2, 3), (4, 5), (6, 7), (8, 9)))
    assert len(set(split.groups)) == len(images)
    assert split.verdict is not None
    assert split.verdict.leaking_groups > 0
    assert split.verdict.leaked > 0
    with pytest.raises(
        SplitError, match=r"toy round 0: audit [0-9a-f]{8} finds that .* on more than one side"
    ):
        require_sound(split)
    require_sound(draw_split(images, HOLDOUT, 0, 0, audit_of(images, (0, 1))))
    with pytest.raises(DataError, match="older than audits"):
        require_sound(draw_split(images, HOLDOUT, 0, 0))


def test_groups_given_ignores_the_audit() -> None:
    images = images_of([[1] * 40, [4] * 10])
    audit = audit_of(images, *((i, i + 1) for i in range(0, 38, 2)))
    split = draw_split(images, SplitSettings(groups="given"), 0, 0, audit)
    assert split.groups == images.groups
    assert split.verdict is not None
    assert split.verdict.leaking_clusters > 0
    assert split.verdict.leaking_groups == 0


def test_an_official_split_is_kept_and_judged() -> None:
    parts = (["train"] * 14 + ["val"] * 2 + ["test"] * 4) * 2
    images = images_of([[1] * 20, [1] * 20], parts=parts)
    split = draw_split(images, HOLDOUT, 0, 0, audit_of(images, (0, 19), (1, 2)))
    assert list(split.parts) == parts
    assert split.verdict is not None
    assert split.verdict.leaking_clusters == 1
    assert split.verdict.leaked == 1
    assert split.verdict.examples == ("i0000 (train) = i0019 (test)",)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # A pair in train and test, a trio in train, val and test, a pair in val and test, a group in train.
        ("drop_test", ["train", "out", "train", "out", "out", "val", "out", "train", "train"]),
        ("drop_train", ["out", "test", "out", "out", "test", "out", "test", "train", "train"]),
    ],
)
def test_a_leaking_official_split_is_mended_by_its_rule(rule: str, expected: list[str]) -> None:
    leaking = ["train", "test", "train", "val", "test", "val", "test", "train", "train"]
    parts = [*leaking, *(["train"] * 4 + ["val"] + ["test"]) * 2]
    images = images_of([[1] * 21], parts=parts)
    groups = [*images.groups[:7], "g", "g", *images.groups[9:]]
    images = dataclasses.replace(images, groups=tuple(groups))
    audit = audit_of(images, (0, 1), (2, 3), (3, 4), (5, 6))
    assert judge(audit, images, parts).leaked > 0
    split = draw_split(images, SplitSettings(mend=rule), 0, 0, audit)  # type: ignore[arg-type]
    assert list(split.parts) == [*expected, *parts[9:]]
    assert split.verdict is not None
    assert not split.verdict.leaks
    assert split.groups[0] == split.groups[1]
    (note,) = split.notes
    counts = {"drop_test": "0 of 12 train, 1 of 4 val, 3 of 5 test"}
    assert counts.get(rule, "2 of 12 train, 2 of 4 val, 0 of 5 test") in note
    again = draw_split(images, SplitSettings(mend=rule), 3, 9, audit)  # type: ignore[arg-type]
    assert again.hash == split.hash


def test_a_group_that_the_official_split_tears_is_mended_too() -> None:
    images = images_of([[1, 2], [1] * 4], parts=["train", "train", "test", "train", "test", "val", "train"])
    with pytest.raises(SplitError, match=r"split\.mend=drop_test"):
        draw_split(images, HOLDOUT, 0, 0)
    split = draw_split(images, SplitSettings(mend="drop_train"), 0, 0, audit_of(images))
    assert split.parts[1:3] == ("out", "test")


def test_drawn_validation_keeps_duplicates_together_in_a_mended_split() -> None:
    parts = (["train"] * 16 + ["test"] * 4) * 2
    images = images_of([[1] * 20, [1] * 20], parts=parts)
    audit = audit_of(images, *((i, i + 1) for i in range(0, 14, 2)), (0, 17))
    for round_ in range(5):
        split = draw_split(images, SplitSettings(mend="drop_test"), round_, 0, audit)
        assert split.verdict is not None
        assert not split.verdict.leaks


def test_nothing_is_mended_where_a_split_is_drawn() -> None:
    images = images_of([[1] * 30, [1] * 30])
    mended = draw_split(images, SplitSettings(mend="drop_test"), 0, 0, audit_of(images))
    assert mended.parts == draw_split(images, HOLDOUT, 0, 0, audit_of(images)).parts
    assert mended.notes == ("the data set fixes no split; split.mend drop_test had nothing to mend",)


# --- the data set's own split ------------------------------------------------------------------------


def test_the_data_sets_own_split_is_kept() -> None:
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    split = draw_split(images_of([[1] * 5, [1] * 5], parts=parts[::2] * 2), HOLDOUT, 3, 1)
    assert list(split.parts) == parts[::2] * 2
    assert draw_split(images_of([[1] * 5, [1] * 5], parts=parts[::2] * 2), HOLDOUT, 4, 2).hash == split.hash


def test_a_missing_validation_part_is_drawn_from_train() -> None:
    parts = (["train"] * 20 + ["test"] * 5) * 2
    split = draw_split(images_of([[1] * 25, [1] * 25], parts=parts), HOLDOUT, 0, 0)
    assert all(part == "test" for part, own in zip(split.parts, parts, strict=True) if own == "test")
    assert len(split.indices("test")) == 10
    assert 4 <= len(split.indices("val")) <= 6  # 1/8 of 40, as 70/10 is
    half = SplitSettings(val=0.3, test=0.4)
    for how, expected in ((half, 20), (dataclasses.replace(half, method="kfold"), 12)):
        drawn = draw_split(images_of([[1] * 25, [1] * 25], parts=parts), how, 0, 0)
        assert len(drawn.indices("val")) == expected
    assert draw_split(images_of([[1] * 25, [1] * 25], parts=parts), HOLDOUT, 1, 0).hash != split.hash


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
        draw_split(images_of(sizes, parts=parts), HOLDOUT, 0, 0)


# --- splits of audits that found less ----------------------------------------------------------------


def test_a_study_goes_on_with_the_split_of_an_earlier_audit(tmp_path: Path) -> None:
    images = images_of([[1] * 40, [1] * 20])
    before = dataclasses.replace(audit_of(images), revision=1)
    old = freeze_split(tmp_path, images, HOLDOUT, 0, 0, before)
    parts = dict(zip(old.ids, old.parts, strict=True))
    first = next(id_ for id_ in images.ids if parts[id_] == "train")
    second = next(id_ for id_ in images.ids if parts[id_] == "test")
    pair = (images.ids.index(first), images.ids.index(second))
    now = dataclasses.replace(audit_of(images, pair), revision=2)
    kept = freeze_split(tmp_path, images, HOLDOUT, 0, 0, now)
    assert kept.hash == old.hash  # so that keys are the same
    assert kept.verdict is not None
    assert kept.verdict.leaks
    assert "which found less, and kept for its studies" in kept.notes[-1]
    assert load_split(tmp_path, images, old.hash).verdict == kept.verdict  # workers see it, too
    assert freeze_split(tmp_path, images, HOLDOUT, 0, 0, now) == kept
    other = freeze_split(tmp_path, images, HOLDOUT, 1, 0, now)  # a round that was not begun
    assert other.verdict is not None
    assert not other.verdict.leaks


def test_other_requests_take_no_split_of_an_earlier_audit(tmp_path: Path) -> None:
    images = images_of([[1] * 40, [1] * 20])
    before = dataclasses.replace(audit_of(images), revision=1)
    old = freeze_split(tmp_path, images, HOLDOUT, 0, 0, before)
    now = dataclasses.replace(audit_of(images, (0, 1)), revision=2)
    for how, seed in ((dataclasses.replace(HOLDOUT, test=0.3), 0), (HOLDOUT, 5)):
        assert freeze_split(tmp_path, images, how, 0, seed, now).hash != old.hash


# --- manifests ---------------------------------------------------------------------------------------

IMAGES = images_of([[1, 2] * 10, [2] * 10])


def manifests(results: Path) -> list[Path]:
    return sorted((results / "splits" / "toy").iterdir())


def test_a_frozen_split_is_read_back_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 5)
    (path,) = manifests(tmp_path)
    assert path.name.startswith("r0.")
    assert path.name.endswith(f".{split.hash}.json")
    monkeypatch.setattr("bench.data.splits.manifest.draw_split", lambda *a: pytest.fail("drawn again"))
    assert freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 5) == split
    assert load_split(tmp_path, IMAGES, split.hash) == split


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
        freeze_split(tmp_path, images, how, round_, seed)
    assert len(manifests(tmp_path)) == 6


def test_a_loaded_split_follows_the_order_of_the_images(tmp_path: Path) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    reversed_ = {f: getattr(IMAGES, f)[::-1] for f in ("ids", "labels", "groups", "parts", "sha256")}
    loaded = load_split(tmp_path, dataclasses.replace(IMAGES, **reversed_), split.hash)
    assert loaded.parts == split.parts[::-1]
    assert loaded.hash == split.hash


def test_a_manifest_of_other_images_is_refused_with_the_differences(tmp_path: Path) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    labels = IMAGES.labels.copy()
    labels[2] = 1
    changed = dataclasses.replace(
        IMAGES, ids=("new", *IMAGES.ids[1:]), sha256=("0" * 64, "f" * 64, *IMAGES.sha256[2:]), labels=labels
    )
    with pytest.raises(DataError) as caught:
        load_split(tmp_path, changed, split.hash)
    message = str(caught.value)
    assert "1 missing (i0000)" in message
    assert "1 extra (new)" in message
    assert "1 changed (i0001)" in message
    assert "1 with another label (i0002)" in message
    assert "restore" in message


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    path.write_text(path.read_text().replace('"test"]', '"train"]', 1))
    for read in (
        lambda: load_split(tmp_path, IMAGES, split.hash),
        lambda: freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0),
    ):
        with pytest.raises(DataError, match="was edited"):
            read()
    carried = path.rename(tmp_path / "carried.json")
    with pytest.raises(DataError, match="was edited"):
        adopt_manifest(tmp_path / "second", carried, IMAGES)


def test_another_audit_is_another_request(tmp_path: Path) -> None:
    one, two = audit_of(IMAGES, (0, 1)), audit_of(IMAGES, (0, 3))
    splits = {freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0, audit).hash for audit in (one, two, None)}
    assert len(manifests(tmp_path)) == 3
    assert freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0, one).verdict == judge(
        one, IMAGES, draw_split(IMAGES, HOLDOUT, 0, 0, one).parts
    )
    assert len(splits) == 3


def test_a_manifest_of_before_audits_is_read(tmp_path: Path) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    data = json.loads(path.read_text())
    del data["audit"], data["settings"]["groups"], data["settings"]["conflicts"]
    path.write_text(json.dumps({**data, "format": 1}))
    assert load_split(tmp_path, IMAGES, split.hash) == split


def test_a_manifest_made_elsewhere_is_checked_and_kept(tmp_path: Path) -> None:
    split = freeze_split(tmp_path / "first", IMAGES, HOLDOUT, 2, 0)
    (path,) = manifests(tmp_path / "first")
    carried = tmp_path / "carried.json"
    carried.write_bytes(path.read_bytes())
    audit = audit_of(IMAGES, (0, 1))
    adopted = adopt_manifest(tmp_path / "second", carried, IMAGES, audit)
    assert adopted.hash == split.hash
    assert adopted.verdict == judge(audit, IMAGES, split.parts)
    assert load_split(tmp_path / "second", IMAGES, split.hash) == adopted
    fewer = images_of([[1, 2] * 10, [2] * 9])
    with pytest.raises(DataError, match=r"carried\.json: the images of toy are not those .* 2 missing"):
        adopt_manifest(tmp_path / "second", carried, fewer)
    with pytest.raises(DataError, match="not a split manifest that can be read"):
        adopt_manifest(tmp_path / "second", tmp_path / "none.json", IMAGES)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', "[1]"])
def test_a_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    path.write_text(text)
    with pytest.raises(DataError, match=path.name):
        load_split(tmp_path, IMAGES, split.hash)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="no split manifest 0123456789abcdef"):
        load_split(tmp_path, IMAGES, "0123456789abcdef")


def test_two_manifests_for_one_request_are_refused(tmp_path: Path) -> None:
    freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    stem = path.name.split(".")
    path.with_name(f"{stem[0]}.{stem[1]}.{'0' * 16}.json").write_text(path.read_text())
    with pytest.raises(DataError, match="the same request"):
        freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)


def test_a_manifest_is_json_with_one_image_per_line(tmp_path: Path) -> None:
    split = freeze_split(tmp_path, IMAGES, HOLDOUT, 0, 0)
    (path,) = manifests(tmp_path)
    data = json.loads(path.read_text())
    assert data["settings"] == dataclasses.asdict(HOLDOUT)
    assert data["counts"]["train"]["c0"] == split.counts()["train"]["c0"]._asdict()
    assert len(data["images"]) == len(IMAGES)
    assert sum(line.strip().startswith('["i0') for line in path.read_text().splitlines()) == len(IMAGES)
