"""Classes, groups, sources and external tests of an index: pure functions, for every index there can be."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import Index, Sample
from bench.data.images.index import check_index
from bench.data.images.selection import (
    apply_reviewed,
    check_enough_classes,
    check_same_classes,
    choose_classes,
    group_by_source,
    hold_out_sources,
    join_external,
    merge_classes,
    without_parts,
)
from bench.errors import ConfigError, DataError
from bench.interfaces.reviewed import Reviewed, ReviewedImage

ISIC = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
UNTIMED = settings(deadline=None)  # the first call imports scipy
FEW = st.sampled_from(["", "p1", "p2", "p3", "p4"])


def index_of(rows: Sequence[tuple[str, str]], classes: Sequence[str] = ("a", "b"), **more: object) -> Index:
    """An index of images "0", "1", ... with these labels and groups."""
    samples = tuple(
        Sample(id=str(i), label=label, group=group, path=Path(f"{i}.png"))
        for i, (label, group) in enumerate(rows)
    )
    counts = Counter(label for label, _ in rows)
    return Index(classes=tuple(classes), samples=samples, **{"expected": dict(counts), **more})  # type: ignore[arg-type]


indexes = st.lists(st.tuples(st.sampled_from(["a", "b"]), FEW), min_size=2, max_size=14).map(index_of)


def reviewed_of(decisions: Mapping[str, tuple[str, bool]]) -> Reviewed:
    images = tuple(ReviewedImage(id=i, group=g, exclude=e) for i, (g, e) in decisions.items())
    return Reviewed(name="seen.csv", sha256="f" * 64, images=images)


@st.composite
def reviewed_indexes(draw: st.DrawFn) -> tuple[Index, Reviewed]:
    index = draw(indexes)
    ids = draw(st.lists(st.sampled_from([s.id for s in index.samples]), min_size=1, unique=True))
    group = st.sampled_from(["x", "y", "z", "p1"])  # p1 may be a group of the data set, too
    decision = st.one_of(st.tuples(group, st.booleans()), st.just(("", True)))
    return index, reviewed_of({id_: draw(decision) for id_ in ids})


def sides(samples: Sequence[Sample]) -> set[frozenset[str]]:
    """The ids of each group; an image without one stands alone."""
    members: dict[str, set[str]] = {}
    for sample in samples:
        members.setdefault(sample.group or f"alone {sample.id}", set()).add(sample.id)
    return set(map(frozenset, members.values()))


def joined(ids: Sequence[str], wanted: Sequence[set[str]]) -> set[frozenset[str]]:
    """Sets of ids, those that share an id merged until none do: slow, and plain to see."""
    sets = [set(s) for s in wanted] + [{i} for i in ids]
    while True:
        pair = next(((a, b) for i, a in enumerate(sets) for b in sets[:i] if a & b), None)
        if pair is None:
            return set(map(frozenset, sets))
        sets = [s for s in sets if s is not pair[0] and s is not pair[1]] + [pair[0] | pair[1]]


# --- what a person decided ---------------------------------------------------------------------------


@UNTIMED
@given(reviewed_indexes())
def test_reviewed_groups_join_whole_groups_and_tear_none(drawn: tuple[Index, Reviewed]) -> None:
    index, reviewed = drawn
    changed = apply_reviewed(index, reviewed, "toy")
    group_of = {s.id: {s.group} - {""} for s in index.samples}
    for image in reviewed.images:
        group_of[image.id] |= {image.group} - {""}
    names = {name for groups in group_of.values() for name in groups}
    wanted = [{id_ for id_, groups in group_of.items() if name in groups} for name in names]
    left_out = {image.id for image in reviewed.images if image.exclude}
    expected = {s - left_out for s in joined(list(group_of), wanted)} - {frozenset()}
    assert sides(changed.samples) == expected
    assert [s.id for s in changed.samples] == [s.id for s in index.samples if s.id not in left_out]
    kept = {s.id: s for s in index.samples}
    assert all(replace(s, group="") == replace(kept[s.id], group="") for s in changed.samples)
    assert changed.expected == _counts(changed) | _none_left(index, changed)
    assert changed.reviewed == (reviewed,)


def _counts(index: Index) -> dict[str, int]:
    return dict(Counter(s.label for s in index.samples))


def _none_left(before: Index, after: Index) -> dict[str, int]:
    return dict.fromkeys(before.expected.keys() - _counts(after).keys(), 0)


@UNTIMED
@given(reviewed_indexes(), st.randoms())
def test_neither_the_order_of_lines_nor_of_images_matters(
    drawn: tuple[Index, Reviewed], shuffled: random.Random
) -> None:
    index, reviewed = drawn
    images, samples = list(reviewed.images), list(index.samples)
    shuffled.shuffle(images)
    shuffled.shuffle(samples)
    one = apply_reviewed(index, reviewed, "toy")
    other = apply_reviewed(
        replace(index, samples=tuple(samples)), replace(reviewed, images=tuple(images)), "toy"
    )
    assert {s.id: s.group for s in one.samples} == {s.id: s.group for s in other.samples}


def test_a_file_that_would_tear_a_group_joins_and_says_so() -> None:
    index = index_of([("a", "p1"), ("a", "p1"), ("b", ""), ("b", "p2")])
    reviewed = reviewed_of({"0": ("x", False), "1": ("y", False), "2": ("y", False)})
    changed = apply_reviewed(index, reviewed, "toy")
    assert [s.group for s in changed.samples] == ["x", "x", "x", "p2"]
    assert changed.changes == (
        "decided by a person (seen.csv, sha256 ffffffff): groups of 3 images",
        "seen.csv: gives the images of p1 the groups x and y, which were joined: a group of the data set is "
        "never divided",
    )


def test_a_joined_group_has_the_first_name_that_the_file_gives() -> None:
    """Not one that depends on the order in which a process holds a set of texts."""
    names = [f"g{i}" for i in range(1, 9)]
    index = index_of([("a", "a patient") for _ in names] + [("b", "")])
    changed = apply_reviewed(index, reviewed_of({str(i): (n, False) for i, n in enumerate(names)}), "toy")
    assert {s.group for s in changed.samples[:-1]} == {"g1"}


def test_unknown_ids_are_an_error_that_names_some_and_the_remedy() -> None:
    index = index_of([("a", ""), ("b", "")])
    reviewed = reviewed_of(dict.fromkeys(("0", "u1", "u2", "u3", "u4", "u5", "u6"), ("x", False)))
    with pytest.raises(DataError) as error:
        apply_reviewed(index, reviewed, "toy")
    assert str(error.value) == (
        "seen.csv: 6 of its 7 ids are no images of toy: u1, u2, u3, u4, u5 and 1 more; its ids are like 0, "
        "1: correct the file, or set dataset.toy.groups to the file of this copy, or to none"
    )


# --- classes -----------------------------------------------------------------------------------------


def lesions() -> Index:
    return index_of([(c, "") for i, c in enumerate(ISIC) for _ in range(i + 1)], ISIC)


@pytest.mark.parametrize(
    ("rules", "classes"),
    [
        (["NV+BCC+AKIEC+BKL+DF+VASC=other"], []),
        (["*=other"], ["MEL", "other"]),
        (["MEL=MEL", "*=other"], []),
        (["NV+BCC=other", "AKIEC + BKL = other", "*=other", "MEL=MEL"], []),
    ],
)
def test_melanoma_against_the_rest(rules: list[str], classes: list[str]) -> None:
    index = choose_classes(merge_classes(lesions(), rules, classes, "isic"), classes, "isic")
    assert index.classes == ("MEL", "other")
    assert _counts(index) == index.expected == {"MEL": 1, "other": 27}
    assert "class other stands for NV, BCC, AKIEC, BKL, DF, VASC" in index.changes
    check_index(index, "isic")


def test_classes_are_kept_in_the_order_asked_for_and_the_rest_is_left_out() -> None:
    index = choose_classes(lesions(), ["VASC", "MEL"], "isic")
    assert index.classes == ("VASC", "MEL")
    assert _counts(index) == index.expected == {"MEL": 1, "VASC": 7}
    assert index.changes[0] == "left out: 4 images of class AKIEC"


def test_rules_apply_all_at_once_so_names_can_be_swapped() -> None:
    index = merge_classes(index_of([("a", ""), ("b", ""), ("b", "")]), ["a=b", "b=a"], [], "toy")
    assert (index.classes, index.expected) == (("b", "a"), {"b": 1, "a": 2})


@UNTIMED
@given(st.lists(st.sampled_from(ISIC), unique=True, min_size=1), st.sampled_from(["new", "MEL"]))
def test_merging_moves_every_image_and_loses_none(members: list[str], new: str) -> None:
    before = lesions()
    after = merge_classes(before, [f"{'+'.join(members)}={new}"], [], "isic")
    for old, moved in zip(before.samples, after.samples, strict=True):
        assert replace(moved, label=old.label) == old
        assert moved.label == (new if old.label in members else old.label)
    assert set(after.classes) == set(_counts(after))
    assert _counts(after) == after.expected


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["NV"], "dataset.isic.merge: 'NV' must be like a+b=c: classes, and what they become"),
        (["NV+=x"], "dataset.isic.merge: 'NV+=x' must be like a+b=c: classes, and what they become"),
        (["NV="], "dataset.isic.merge: 'NV=' must be like a+b=c: classes, and what they become"),
        (["NV=a=b"], "dataset.isic.merge: 'NV=a=b' must be like a+b=c: classes, and what they become"),
        (["NV+nv=x"], f"dataset.isic.merge: no class nv; classes: {', '.join(ISIC)}"),
        (["NV+DF=x", "NV=y"], "dataset.isic.merge: NV stands on the left twice; let it become one class"),
        (["*=x", "*=y"], "dataset.isic.merge: * stands on the left twice; let it become one class"),
        (["+".join(ISIC) + "=x", "*=y"], "dataset.isic.merge: *=y: no class is left that * could stand for"),
    ],
)
def test_a_rule_that_cannot_be_meant(rules: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        merge_classes(lesions(), rules, [], "isic")
    assert str(error.value) == message


def test_classes_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"^dataset.toy.classes: no class c and no class d; classes: a, b$"):
        choose_classes(index_of([("a", ""), ("b", "")]), ["a", "c", "d"], "toy")
    with pytest.raises(ConfigError, match=r"^dataset.toy.classes: names a twice; name it once$"):
        choose_classes(index_of([("a", ""), ("b", "")]), ["a", "b", "a"], "toy")
    one = merge_classes(lesions(), ["*=x"], [], "isic")
    with pytest.raises(ConfigError, match=r"^dataset.isic: merge and classes leave x alone; two are needed"):
        check_enough_classes(one, "isic")


# --- sources -----------------------------------------------------------------------------------------


@st.composite
def sourced_indexes(draw: st.DrawFn) -> tuple[Index, dict[str, str]]:
    index = draw(indexes)
    sources = {s.id: draw(st.sampled_from(["p1", "site 2", "site 3", ""])) for s in index.samples}
    return index, {id_: source for id_, source in sources.items() if source}


@UNTIMED
@given(sourced_indexes())
def test_a_source_is_one_group_and_no_group_is_torn(drawn: tuple[Index, dict[str, str]]) -> None:
    index, sources = drawn
    changed = group_by_source(index, sources)
    wanted = [{id_ for id_, each in sources.items() if each == source} for source in set(sources.values())]
    wanted += [set(side) for side in sides(index.samples)]
    assert sides(changed.samples) == joined([s.id for s in index.samples], wanted)


@UNTIMED
@given(sourced_indexes(), st.sampled_from(["p1", "site 2"]))
def test_a_source_held_out_is_tested_whole_and_shares_nothing_with_training(
    drawn: tuple[Index, dict[str, str]], tested: str
) -> None:
    index, sources = drawn
    if tested not in sources.values() or set(sources.values()) == {tested}:
        with pytest.raises(ConfigError):
            hold_out_sources(index, sources, [tested], "toy")
        return
    changed = hold_out_sources(index, sources, [tested], "toy")
    parts = {s.id: s.part for s in changed.samples}
    assert {id_ for id_, part in parts.items() if part == "test"} == {
        i for i, s in sources.items() if s == tested
    }
    assert all(id_ in sources for id_ in parts), "of unknown source, so perhaps of the tested one"
    group_of = {s.id: s.group for s in index.samples}
    tested_groups = {group_of[id_] for id_, part in parts.items() if part == "test"} - {""}
    for id_, source in sources.items():
        trains = source != tested and group_of[id_] not in tested_groups
        assert (parts.get(id_) == "train") == trains
    gone = len(index.samples) - len(parts)
    assert gone == sum(int(c.split()[2]) for c in changed.changes if c.startswith("left out: "))
    assert sum(changed.expected.values()) == len(parts)


def test_sources_that_are_not_there() -> None:
    index = index_of([("a", ""), ("b", ""), ("b", "")])
    sources = {"0": "ward", "1": "clinic", "2": "clinic"}
    with pytest.raises(ConfigError) as error:
        hold_out_sources(index, sources, ["Clinic"], "toy")
    assert str(error.value) == (
        "dataset.toy.test_source: no image is of source Clinic; sources: clinic (2 images), ward (1 images) "
        "(a source whose name has a comma is given in a list)"
    )
    with pytest.raises(ConfigError, match="names every source, so nothing is left to train on"):
        hold_out_sources(index, sources, ["clinic", "ward"], "toy")


def test_a_split_of_the_data_sets_own_gives_way_and_that_is_said() -> None:
    index = index_of([("a", ""), ("b", "")])
    own = replace(index, samples=tuple(replace(s, part="train") for s in index.samples))
    assert without_parts(index).changes == ()
    changed = without_parts(own)
    assert {s.part for s in changed.samples} == {""}
    assert changed.changes == ("the split that comes with the data set was not used",)


# --- external test -----------------------------------------------------------------------------------


@UNTIMED
@given(indexes, indexes)
def test_an_external_test_set_shares_neither_ids_nor_groups(one: Index, other: Index) -> None:
    index = join_external(one, other, "B")
    train, test = ([s for s in index.samples if s.part == part] for part in ("train", "test"))
    assert [s.id for s in train] == [s.id for s in one.samples]
    assert [s.id for s in test] == [f"B/{s.id}" for s in other.samples]
    assert not {s.group for s in train} & {s.group for s in test} - {""}
    assert sides(test) == {frozenset(f"B/{id_}" for id_ in side) for side in sides(other.samples)}
    assert index.expected == _counts(index)


def test_classes_of_an_external_test_must_be_the_same() -> None:
    one, other = lesions(), index_of([("nevus", ""), ("melanoma", "")], ("nevus", "melanoma"))
    index = join_external(one, other, "B")
    with pytest.raises(ConfigError) as error:
        check_same_classes(index, "isic", "B")
    assert str(error.value) == (
        "dataset.isic.test_on: isic has the classes MEL, NV, BCC, AKIEC, BKL, DF, VASC, B has nevus, "
        "melanoma; they must be the same: set dataset.isic.classes to those that both have, or rename or "
        'join some with dataset.isic.merge ("NAME=OTHER")'
    )
    both = merge_classes(index, ["NV=nevus", "MEL=melanoma"], ["melanoma", "nevus"], "isic")
    both = choose_classes(both, ["melanoma", "nevus"], "isic")
    check_same_classes(both, "isic", "B")
    assert Counter((s.label, s.part) for s in both.samples) == {
        ("melanoma", "train"): 1,
        ("nevus", "train"): 2,
        ("melanoma", "test"): 1,
        ("nevus", "test"): 1,
    }


def test_what_was_decided_of_the_other_set_goes_along_under_its_ids() -> None:
    other = apply_reviewed(index_of([("a", ""), ("b", "")]), reviewed_of({"1": ("x", False)}), "B")
    index = join_external(index_of([("a", ""), ("b", "")]), other, "B")
    (file,) = index.reviewed
    assert [image.id for image in file.images] == ["B/1"]
    assert index.samples[-1].group == "B/x"
    assert index.changes == (
        "B: decided by a person (seen.csv, sha256 ffffffff): groups of 1 images",
        "external test: all images of B, which is another data set, and no other image",
    )


def test_files_passed_over_by_both_sets_are_added_up() -> None:
    one = replace(index_of([("a", ""), ("b", "")]), passed_over={"masks": 2, ".txt files": 1})
    other = replace(index_of([("a", ""), ("b", "")]), passed_over={"masks": 3, "DICOM files": 4})
    assert join_external(one, other, "B").passed_over == {"masks": 5, ".txt files": 1, "DICOM files": 4}


def test_bits_of_both_sets_are_the_same_or_stated_by_one() -> None:
    plain = index_of([("a", ""), ("b", "")])
    bits = {0: plain, 10: replace(plain, bits=10), 12: replace(plain, bits=12)}
    for own, others, joined in ((0, 0, 0), (12, 12, 12), (12, 0, 12), (0, 10, 10)):
        assert join_external(bits[own], bits[others], "B").bits == joined
    with pytest.raises(ConfigError) as error:
        join_external(bits[12], bits[10], "B")
    assert str(error.value) == (
        "B, which is tested on, reads its 16-bit files as 10 bits, and the data set that is trained on as "
        "12; give both the same bits, or none to have them found"
    )
