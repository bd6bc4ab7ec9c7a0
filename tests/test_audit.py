"""What an audit finds, how it is kept, and what it says of a split."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from made import opened
from PIL import Image
from test_duplicates import texture

from bench import DataError, Dataset, Environment, Index, Sample
from bench.data.audit import audit as audits
from bench.data.audit.audit import Audit, counts
from bench.data.audit.duplicates import SIDE
from bench.data.audit.picture import Couple, draw
from bench.data.audit.picture import Side as Pictured
from bench.data.audit.shortcuts import ShortcutProbe, probe
from bench.data.audit.verdict import judge
from bench.data.images.images import Images
from bench.study.protocol import AuditSettings

COUNT = 40


def make(
    tmp_path: Path, change: dict[int, np.ndarray] | None = None, groups: dict[int, str] | None = None
) -> Images:
    """COUNT textures, labels a and b in turn; `change` replaces pixels, `groups` names groups."""
    arrays = {i: texture(i, 96) for i in range(COUNT)} | (change or {})
    samples = tuple(
        Sample(id=f"i{i:02d}", label="ab"[i % 2], group=(groups or {}).get(i, ""), array=arrays[i])
        for i in range(COUNT)
    )
    dataset = Dataset(
        name="toy", about="", index=lambda root, params: Index(classes=("a", "b"), samples=samples)
    )
    return opened(dataset, Environment(data=tmp_path, results=tmp_path / "r"), (SIDE,))


def audited(tmp_path: Path, images: Images, **settings: float) -> Audit:
    return audits.stored_audit(tmp_path / "r", images, AuditSettings(**settings))  # type: ignore[arg-type]


TWINS = {4: texture(2, 96), 5: texture(8, 96), 7: np.roll(texture(3, 96), 2, axis=1)}


def test_twins_are_found_counted_and_joined(tmp_path: Path) -> None:
    images = make(tmp_path, TWINS, {3: "p", 7: "p", 11: "p", 2: "q", 6: "q"})
    made = audited(tmp_path, images)
    assert [(d.first, d.second, d.exact) for d in made.duplicates] == [
        ("i02", "i04", True),
        ("i03", "i07", False),
        ("i05", "i08", True),
    ]
    found = counts(made, images)
    assert found["duplicate pairs"] == 3
    assert found["of these with equal pixels"] == 2
    assert found["of these across classes"] == 1
    assert found["of these across groups"] == 2
    assert found["images whose duplicates carry another label"] == 2
    assert found["groups of several images"] == 2
    joined = audits.joined(images.groups, made.clusters(images.ids))
    assert joined[4] == joined[2] == joined[6]  # the twin of one of a group joins the whole group
    assert joined[3] == joined[7] == joined[11] != joined[2]
    assert len(set(joined)) == len(set(images.groups)) - 2


def test_an_audit_is_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = make(tmp_path, TWINS)
    made = audited(tmp_path, images)
    path = audits.path_of(tmp_path / "r", made)
    told = json.loads(path.read_text())
    assert told["hash"] == made.hash == path.name.split(".")[1]
    assert told["clusters"] == [["i02", "i04"], ["i03", "i07"], ["i05", "i08"]]
    assert told["counts"]["duplicate pairs"] == 3
    monkeypatch.setattr(audits, "run", lambda *a: pytest.fail("made again"))
    assert audited(tmp_path, images) == made


def test_other_settings_or_images_are_another_audit(tmp_path: Path) -> None:
    images = make(tmp_path, TWINS)
    made = audited(tmp_path, images)
    strict = audited(tmp_path, images, similarity=1.0)
    assert [d.exact for d in strict.duplicates] == [True, True]
    other = audited(tmp_path, make(tmp_path, {4: TWINS[4]}))
    assert len({made.hash, strict.hash, other.hash}) == 3


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "not an audit that can be read"), ("", "not an audit that can")]
)
def test_a_damaged_audit_is_named(tmp_path: Path, text: str, message: str) -> None:
    images = make(tmp_path)
    path = audits.path_of(tmp_path / "r", audited(tmp_path, images))
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        audited(tmp_path, images)


def test_an_edited_audit_is_refused(tmp_path: Path) -> None:
    images = make(tmp_path, TWINS)
    path = audits.path_of(tmp_path / "r", audited(tmp_path, images))
    path.write_text(path.read_text().replace('["i02", "i04", 0, 1.0, true],', ""))
    with pytest.raises(DataError, match="was edited"):
        audited(tmp_path, images)


def test_judging_a_split(tmp_path: Path) -> None:
    images = make(tmp_path, TWINS, {20: "p", 21: "p"})
    made = audited(tmp_path, images)
    parts = ["train"] * COUNT
    assert not judge(made, images, parts).leaks
    assert judge(made, images, parts).kept_out == 2
    parts[4], parts[8], parts[21], parts[30] = "test", "val", "test", "test"
    verdict = judge(made, images, parts)
    assert verdict.leaks
    assert (verdict.leaking_clusters, verdict.leaking_groups, verdict.leaked) == (2, 1, 3)
    assert (verdict.label_conflicts, verdict.kept_out) == (1, 1)
    assert verdict.examples == (
        "i02 (train) = i04 (test)",
        "i05 (train) = i08 (val)",
        "i20 (train) = i21 (test)",
    )
    parts[2] = parts[5] = parts[20] = "out"
    assert not judge(made, images, parts).leaks


def test_further_pairs_are_asked_for_only_if_the_audit_is_new(tmp_path: Path) -> None:
    far = {9: np.roll(texture(0, 96), (25, 25), (0, 1))}
    images = make(tmp_path, far)
    asked = []

    def propose() -> np.ndarray:
        asked.append(1)
        return np.array([[0, 9], [0, 1]])

    settings = AuditSettings(distance=0, embed="any")
    for _ in range(2):
        made = audits.stored_audit(tmp_path / "r", images, settings, propose=propose)
        assert len(made.duplicates) <= 1
    assert asked == [1]
    assert made.candidates == 2


# --- probes ------------------------------------------------------------------------------------------


def marked(i: int) -> np.ndarray:
    """A texture with a burnt-in mark in the corner if its label is b."""
    image = texture(i, 96).copy()
    if i % 2:
        image[:10, :10] = 255
    return image


def told(made: Audit, sees: str) -> ShortcutProbe:
    return next(p for p in made.probes if p.sees == sees)


def test_a_mark_in_the_border_gives_the_class_away(tmp_path: Path) -> None:
    with_marks = audited(tmp_path, make(tmp_path, {i: marked(i) for i in range(COUNT)}))
    found = told(with_marks, "border pixels")
    assert found.beats
    assert found.accuracy > 0.9
    assert found.low <= found.accuracy <= found.high
    assert found.majority == 0.5
    assert "alone beat the majority class" in found.text
    plain = audited(tmp_path, make(tmp_path))
    assert not told(plain, "border pixels").beats


def test_sizes_that_differ_by_class_give_it_away(tmp_path: Path) -> None:
    sizes = {i: texture(i, 96)[:, : 80 if i % 2 else 96] for i in range(COUNT)}
    made = audited(tmp_path, make(tmp_path, sizes))
    assert told(made, "image size and colour").accuracy == 1
    assert not told(audited(tmp_path, make(tmp_path)), "image size and colour").beats


def test_what_beats_the_majority_is_a_remark_on_every_split(tmp_path: Path) -> None:
    images = make(tmp_path, {i: marked(i) for i in range(COUNT)})
    (remark,) = judge(audited(tmp_path, images), images, ["train"] * COUNT).remarks
    assert remark.startswith("border pixels alone beat the majority class: accuracy")


def test_groups_are_not_torn_by_a_probe() -> None:
    """Features that name the group alone tell nothing about other groups."""
    groups = [f"g{i // 4}" for i in range(120)]
    labels = np.array([(i // 4) % 2 for i in range(120)])
    features = np.array([[i // 4] for i in range(120)], dtype=np.float32)
    found = probe("group", np.random.default_rng(0).permutation(30)[features.astype(int)], labels, groups, 1)
    assert found is not None
    assert not found.beats


def test_too_few_groups_are_not_judged() -> None:
    features, labels = np.zeros((30, 2), np.float32), np.arange(30) % 2
    assert probe("x", features, labels, ["one", "two"] * 15, 1) is None
    assert probe("x", features, np.zeros(30, np.int64), [str(i) for i in range(30)], 1) is None


def test_many_images_are_thinned_to_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.audit.shortcuts.MOST", 60)
    labels = np.arange(200) % 2
    found = probe("x", labels[:, None].astype(np.float32), labels, [str(i // 5) for i in range(200)], 1)
    assert found is not None
    assert found.images == 60
    assert found.accuracy == 1


# --- the picture -------------------------------------------------------------------------------------


def test_the_picture_shows_every_pair_and_marks_other_labels() -> None:
    grey, colour = np.full((1, 50, 60), 200, np.uint8), np.full((3, 40, 40), 30, np.uint8)
    same = Couple(Pictured(grey, "a" * 90, "x"), Pictured(colour, "b", "x"), "alike")
    other = dataclasses.replace(same, second=Pictured(colour, "b", "y"))
    sheet = draw([same] * 5)
    assert isinstance(sheet, Image.Image)
    assert sheet.size[1] > draw([same]).size[1]
    red = (0xB0, 0x00, 0x20)

    def reddish(image: Image.Image) -> int:
        pixels = np.asarray(image).astype(int)
        return int((np.abs(pixels - red).sum(axis=2) < 60).sum())

    assert reddish(draw([other])) > 0 == reddish(draw([same]))
