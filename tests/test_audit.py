"""Audits: duplicates and shortcut probes, how they are stored, and the verdict on a split."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import opened
from test_duplicates import texture

from bench import Context, DataError, Dataset, Environment, Index, Sample
from bench.data.audit import audit as audits
from bench.data.audit.audit import Audit, audit_counts
from bench.data.audit.picture import PicturedImage, PicturedPair, draw_pairs
from bench.data.audit.search import SHORT
from bench.data.audit.shortcuts import ShortcutProbe, probe_shortcut
from bench.data.audit.verdict import judge
from bench.data.images.images import Images
from bench.engine.embedding import INPUT, nearest
from bench.interfaces.model import Normalization
from bench.study.protocol import AuditSettings

COUNT = 40


def open_textures(
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
    return opened(dataset, Environment(data=tmp_path, results=tmp_path / "r"), (SHORT,))


def audited(tmp_path: Path, images: Images, **settings: float) -> Audit:
    return audits.stored_audit(tmp_path / "r", images, AuditSettings(**settings))  # type: ignore[arg-type]


DUPLICATES = {4: texture(2, 96), 5: texture(8, 96), 7: np.roll(texture(3, 96), 2, axis=1)}


def test_duplicates_are_found_counted_and_joined(tmp_path: Path) -> None:
    images = open_textures(tmp_path, DUPLICATES, {3: "p", 7: "p", 11: "p", 2: "q", 6: "q"})
    audit = audited(tmp_path, images)
    assert [(d.first, d.second, d.exact) for d in audit.duplicates] == [
        ("i02", "i04", True),
        ("i03", "i07", False),
        ("i05", "i08", True),
    ]
    counts = audit_counts(audit, images)
    assert counts["duplicate pairs"] == 3
    assert counts["of these with equal pixels"] == 2
    assert counts["of these across classes"] == 1
    assert counts["of these across groups"] == 2
    assert counts["images whose duplicates carry another label"] == 2
    assert counts["groups of several images"] == 2
    groups = audits.join_groups(images.groups, audit.clusters(images.ids))
    assert groups[4] == groups[2] == groups[6]  # the duplicate of one member joins the whole group
    assert groups[3] == groups[7] == groups[11] != groups[2]
    assert len(set(groups)) == len(set(images.groups)) - 2


def test_an_audit_is_kept_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_textures(tmp_path, DUPLICATES)
    audit = audited(tmp_path, images)
    path = audits.audit_path(tmp_path / "r", audit)
    stored = json.loads(path.read_text())
    assert stored["hash"] == audit.hash == path.name.split(".")[1]
    assert stored["clusters"] == [["i02", "i04"], ["i03", "i07"], ["i05", "i08"]]
    assert stored["counts"]["duplicate pairs"] == 3
    monkeypatch.setattr(audits, "make_audit", lambda *a: pytest.fail("audit again"))
    assert audited(tmp_path, images) == audit


def test_other_settings_or_images_are_another_audit(tmp_path: Path) -> None:
    images = open_textures(tmp_path, DUPLICATES)
    audit = audited(tmp_path, images)
    strict = audited(tmp_path, images, similarity=1.0)
    assert [d.exact for d in strict.duplicates] == [True, True]
    other = audited(tmp_path, open_textures(tmp_path, {4: DUPLICATES[4]}))
    assert len({audit.hash, strict.hash, other.hash}) == 3


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "not an audit that can be read"), ("", "not an audit that can")]
)
def test_a_damaged_audit_is_named(tmp_path: Path, text: str, message: str) -> None:
    images = open_textures(tmp_path)
    path = audits.audit_path(tmp_path / "r", audited(tmp_path, images))
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        audited(tmp_path, images)


def test_neighbours_in_feature_space_are_other_images() -> None:
    """The nearest of an image by the cosine of its mean colour."""
    levels = [
        (10, 10, 200),
        (12, 11, 210),
        (200, 10, 10),
        (210, 12, 11),
        (10, 200, 10),
        (11, 210, 12),
        (1, 9, 9),
    ]
    view = [np.full((3, 140, 150), 1, np.uint8) * np.array(rgb, np.uint8)[:, None, None] for rgb in levels]
    context = Context(classes=("a",), size=INPUT, normalization=Normalization((0.0,) * 3, (1.0,) * 3))
    pairs = nearest(view, lambda images: images[:, :, ::8, ::8], context, torch.device("cpu"))
    assert all(first < second for first, second in pairs.tolist())
    assert {(0, 1), (2, 3), (4, 5)} <= set(map(tuple, pairs.tolist()))
    assert set(pairs.flatten().tolist()) == set(range(7))


def test_an_edited_audit_is_refused(tmp_path: Path) -> None:
    images = open_textures(tmp_path, DUPLICATES)
    path = audits.audit_path(tmp_path / "r", audited(tmp_path, images))
    text = path.read_text()
    stated = json.loads(text)["hash"]
    (line,) = (line for line in text.splitlines() if line.startswith('    ["i02", "i04"'))
    for edited in (text.replace(line, ""), text.replace(stated, "f" * len(stated))):
        assert edited != text
        path.write_text(edited)
        with pytest.raises(DataError, match="was edited"):
            audited(tmp_path, images)


def test_judging_a_split(tmp_path: Path) -> None:
    images = open_textures(tmp_path, DUPLICATES, {20: "p", 21: "p"})
    audit = audited(tmp_path, images)
    parts = ["train"] * COUNT
    assert not judge(audit, images, parts).leaks
    assert judge(audit, images, parts).kept_out == 2
    parts[4], parts[8], parts[21], parts[30] = "test", "val", "test", "test"
    verdict = judge(audit, images, parts)
    assert verdict.leaks
    assert (verdict.leaking_clusters, verdict.leaking_groups, verdict.leaked) == (2, 1, 3)
    assert (verdict.label_conflicts, verdict.kept_out) == (1, 1)
    assert verdict.examples == (
        "i02 (train) = i04 (test)",
        "i05 (train) = i08 (val)",
        "i20 (train) = i21 (test)",
    )
    parts[2] = parts[5] = parts[20] = "out"
    assert not judge(audit, images, parts).leaks


def test_further_pairs_are_proposed_only_if_the_audit_is_new(tmp_path: Path) -> None:
    images = open_textures(tmp_path)
    calls = []

    def propose() -> np.ndarray:
        calls.append(1)
        return np.array([[i, j] for i in range(COUNT) for j in range(i + 1, COUNT)])

    settings = AuditSettings(distance=0, embed="any")
    alone = audits.make_audit(images, settings)
    for _ in range(2):
        audit = audits.stored_audit(tmp_path / "r", images, settings, propose=propose)
        assert audit.duplicates == ()
    assert calls == [1]
    assert alone.candidates < audit.candidates == COUNT * (COUNT - 1) // 2


def test_an_audit_of_the_first_revision_is_read_with_its_own_hash() -> None:
    (path,) = (Path(__file__).parent / "data" / "results_v1" / "audits" / "phantom").glob("*.json")
    audit = audits.read_audit(path)
    assert audit.revision == 1
    assert path.name.split(".")[1] == audit.hash
    assert audit.suspects == ()
    assert dataclasses.replace(audit, revision=2).hash != audit.hash


# --- probes ------------------------------------------------------------------------------------------


def marked(i: int) -> np.ndarray:
    """A texture with a burnt-in mark in the corner if its label is b."""
    image = texture(i, 96).copy()
    if i % 2:
        image[:10, :10] = 255
    return image


def probe_of(audit: Audit, sees: str) -> ShortcutProbe:
    return next(probe for probe in audit.probes if probe.sees == sees)


def test_a_mark_in_the_border_tells_the_class(tmp_path: Path) -> None:
    with_marks = audited(tmp_path, open_textures(tmp_path, {i: marked(i) for i in range(COUNT)}))
    probe = probe_of(with_marks, "border pixels")
    assert probe.beats
    assert probe.accuracy > 0.9
    assert probe.low <= probe.accuracy <= probe.high
    assert probe.majority == 0.5
    assert "alone beat the majority class" in probe.text
    plain = audited(tmp_path, open_textures(tmp_path))
    assert not probe_of(plain, "border pixels").beats


def test_sizes_that_differ_by_class_tell_the_class(tmp_path: Path) -> None:
    sizes = {i: texture(i, 96)[:, : 80 if i % 2 else 96] for i in range(COUNT)}
    audit = audited(tmp_path, open_textures(tmp_path, sizes))
    assert probe_of(audit, "image size and colour").accuracy == 1
    assert not probe_of(audited(tmp_path, open_textures(tmp_path)), "image size and colour").beats


def test_what_beats_the_majority_is_a_remark_on_every_split(tmp_path: Path) -> None:
    images = open_textures(tmp_path, {i: marked(i) for i in range(COUNT)})
    (remark,) = judge(audited(tmp_path, images), images, ["train"] * COUNT).remarks
    assert remark.startswith("border pixels alone beat the majority class: accuracy")


def test_a_probe_tests_on_other_groups_than_it_trains_on() -> None:
    """Features that name the group alone tell nothing about other groups."""
    groups = [f"g{i // 4}" for i in range(120)]
    labels = np.array([(i // 4) % 2 for i in range(120)])
    features = np.array([[i // 4] for i in range(120)], dtype=np.float32)
    shuffled = np.random.default_rng(0).permutation(30)[features.astype(int)]
    probe = probe_shortcut("group", shuffled, labels, groups, 1)
    assert probe is not None
    assert not probe.beats


def test_too_few_groups_are_not_judged() -> None:
    features, labels = np.zeros((30, 2), np.float32), np.arange(30) % 2
    assert probe_shortcut("x", features, labels, ["one", "two"] * 15, 1) is None
    assert probe_shortcut("x", features, np.zeros(30, np.int64), [str(i) for i in range(30)], 1) is None


def test_a_probe_of_many_images_takes_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.data.audit.shortcuts.MAX_IMAGES", 60)
    labels = np.arange(200) % 2
    probe = probe_shortcut(
        "x", labels[:, None].astype(np.float32), labels, [str(i // 5) for i in range(200)], 1
    )
    assert probe is not None
    assert probe.images == 60
    assert probe.accuracy == 1


# --- the picture -------------------------------------------------------------------------------------


def test_the_picture_shows_every_pair_and_marks_other_labels() -> None:
    grey, colour = np.full((1, 50, 60), 200, np.uint8), np.full((3, 40, 40), 30, np.uint8)
    same = PicturedPair(PicturedImage(grey, "a" * 90, "x"), PicturedImage(colour, "b", "x"), "alike")
    other = dataclasses.replace(same, second=PicturedImage(colour, "b", "y"))
    sheet = draw_pairs([same] * 5)
    assert isinstance(sheet, Image.Image)
    assert sheet.size[1] > draw_pairs([same]).size[1]
    red = (0xB0, 0x00, 0x20)

    def reddish(image: Image.Image) -> int:
        pixels = np.asarray(image).astype(int)
        return int((np.abs(pixels - red).sum(axis=2) < 60).sum())

    assert reddish(draw_pairs([other])) > 0 == reddish(draw_pairs([same]))
