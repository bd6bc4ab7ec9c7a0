"""From suspects to decisions: the reviewed file, what it changes, and when it is not for these pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import opened
from test_keypoints import PICTURES, neighbouring_frame

from bench import DataError, Dataset, Environment, Index, Sample
from bench.data.audit.audit import audit_counts, audit_path, make_audit, stored_audit
from bench.data.audit.decided import undecided
from bench.data.audit.search import SHORT, hashes_of
from bench.data.audit.verdict import judge
from bench.data.images.images import Images
from bench.data.images.reviewed import read_reviewed
from bench.data.images.selection import apply_reviewed
from bench.data.splits.split import draw_split
from bench.execution.session import Session
from bench.registry import installed
from bench.study.protocol import AuditSettings, SplitSettings

STRICT = AuditSettings(similarity=0.9)  # so that neighbouring frames are no duplicates
FRAMES = [*PICTURES, neighbouring_frame(PICTURES[5], 99), neighbouring_frame(PICTURES[6], 98)]


def listed(images: list[np.ndarray] = FRAMES) -> Index:
    samples = tuple(Sample(id=f"i{i:02d}", label="ab"[i % 2], array=image) for i, image in enumerate(images))
    return Index(classes=("a", "b"), samples=samples)


def open_index(tmp_path: Path, index: Index) -> Images:
    toy = Dataset(name="toy", about="", index=lambda root, params: index)
    return opened(toy, Environment(data=tmp_path, results=tmp_path / "r"), (SHORT,))


def reviewed(tmp_path: Path, *lines: str, index: Index | None = None) -> Images:
    """The images after the decisions of these lines."""
    file = tmp_path / "seen.csv"
    file.write_text("\n".join(["id,group,exclude,phash,reason", *lines, ""]))
    return open_index(tmp_path, apply_reviewed(index or listed(), read_reviewed(file), "toy"))


def pairs(images: Images) -> set[tuple[str, str]]:
    return {(s.first, s.second) for s in undecided(make_audit(images, STRICT).suspects, images)}


def test_decided_pairs_are_no_longer_asked_for(tmp_path: Path) -> None:
    assert pairs(open_index(tmp_path, listed())) == {("i05", "i16"), ("i06", "i17")}
    assert pairs(reviewed(tmp_path, "i05,one,,,same", "i16,one,,,same")) == {("i06", "i17")}
    assert pairs(reviewed(tmp_path, "i05,x,,,different from i16", "i16,y,,,")) == {("i06", "i17")}
    undecided = {("i05", "i16"), ("i06", "i17")}  # both named, neither of the other
    assert pairs(reviewed(tmp_path, "i05,x,,,same as i01", "i16,y,,,same as i02")) == undecided
    assert pairs(reviewed(tmp_path, "i05,x,,,only one of them")) == {("i05", "i16"), ("i06", "i17")}
    assert pairs(reviewed(tmp_path, "i05,,yes,,left out")) == {("i06", "i17")}


def test_a_joined_pair_is_one_group_in_every_split_and_an_open_one_is_counted(tmp_path: Path) -> None:
    images = reviewed(tmp_path, "i05,one,,,", "i16,one,,,")
    audit = make_audit(images, STRICT)
    assert audit_counts(audit, images)["suspected pairs, for a person to decide"] == 1
    apart = 0
    for round_ in range(8):
        split = draw_split(images, SplitSettings(val=0.2, test=0.3), round_, 0, audit)
        part = dict(zip(split.ids, split.parts, strict=True))
        assert part["i05"] == part["i16"]
        assert split.verdict is not None
        assert split.verdict.suspects == 1
        assert split.verdict.suspects_apart == (part["i06"] != part["i17"])
        assert split.verdict.groups == 1
        assert not split.verdict.published  # a person's groups are not the data set's
        apart += split.verdict.suspects_apart
    assert 0 < apart < 8
    assert "1 suspected pair, " in judge(audit, images, ["train"] * len(images)).text


def test_the_audit_cites_the_file(tmp_path: Path) -> None:
    images = reviewed(tmp_path, "i05,one,,,", "i16,one,,,")
    audit = stored_audit(tmp_path / "r", images, STRICT)
    stored = json.loads(audit_path(tmp_path / "r", audit).read_text())
    assert stored["reviewed"] == {"seen.csv": images.reviewed[0].sha256}
    assert [(s["first"], s["second"]) for s in stored["suspects"]] == [("i06", "i17")]


def test_a_stored_audit_does_not_excuse_wrong_hashes(tmp_path: Path) -> None:
    """Hashes are no part of what an audit is stored under."""
    images = reviewed(tmp_path, "i05,one,,,", "i16,one,,,")
    stored_audit(tmp_path / "r", images, STRICT)
    wrong = reviewed(tmp_path, "i05,one,,0123456789abcdef,", "i16,one,,,")
    with pytest.raises(DataError, match="was reviewed for other pictures"):
        stored_audit(tmp_path / "r", wrong, STRICT)


def test_hashes_say_whether_these_are_the_pictures_that_were_looked_at(tmp_path: Path) -> None:
    plain = open_index(tmp_path, listed())
    hashes = hashes_of(plain.view(SHORT), [5, 16])
    lines = [f"i05,one,,{hashes[5]},", f"i16,one,,{hashes[16]},"]
    make_audit(reviewed(tmp_path, *lines), STRICT)
    smaller = [np.asarray(Image.fromarray(image).resize((150, 180))) for image in FRAMES]
    make_audit(reviewed(tmp_path, *lines, index=listed(smaller)), STRICT)  # the same at another size
    others = listed([FRAMES[-1 - i] for i in range(len(FRAMES))])
    with pytest.raises(DataError) as error:
        make_audit(reviewed(tmp_path, *lines, index=others), STRICT)
    assert str(error.value).startswith(
        "toy: seen.csv was reviewed for other pictures: the perceptual hashes of 2 of 2 images are not those "
        "that it states (i05, i16); look at these images again"
    )
    assert "--set dataset.toy.groups=none" in str(error.value)


# --- a file that comes with a data set ---------------------------------------------------------------


@pytest.fixture
def busi(tmp_path: Path) -> Callable[[int, str], Index]:
    """How BUSI is listed where so many malignant images lie, with this parameter `groups`."""

    def listed(malignant: int, groups: str = "") -> Index:
        for name, count in (("benign", 437), ("malignant", malignant), ("normal", 133)):
            folder = tmp_path / str(malignant) / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(1, count + 1):
                (folder / f"{name} ({i}).png").touch()
        environment = Environment(data=tmp_path / str(malignant), results=tmp_path / "results")
        session = Session(environment, installed())
        params = {"groups": groups} if groups else {}
        return session.index(session.registry.datasets.ref("busi", params))

    return listed


def test_busi_comes_with_reviewed_groups(busi: Callable[..., Index]) -> None:
    groups = {s.id: s.group for s in busi(210).samples}
    one = {groups[f"malignant/malignant ({n})"] for n in (4, 5, 7, 8, 9)}
    assert len(one) == 1
    assert groups["malignant/malignant (27)"] == groups["malignant/malignant (28)"] not in one
    assert sum(map(bool, groups.values())) == 7
    (file,) = busi(210).reviewed
    assert all(image.phash and image.reason for image in file.images)
    assert not any(s.group for s in busi(210, "none").samples)


def test_a_copy_that_lacks_some_of_its_images_has_none(busi: Callable[..., Index]) -> None:
    """And says so below every table; one that lacks others keeps the decisions."""
    index = busi(20)
    assert not any(s.group for s in index.samples)
    assert index.changes == (
        "busi_reviewed.csv, which comes with busi, is not used: this copy lacks images that it names",
    )
    assert sum(bool(s.group) for s in busi(209).samples) == 7
