"""Which images train, validate and test: grouped, stratified, drawn once and then frozen as manifests.

    results/splits/<data set>/r<round>.<request>.<hash>.json

`request` digests what was asked (content of the data set, its audit, settings, seed, round), so that the same
request finds its manifest again whatever this code would draw today; `hash` digests what the manifest fixes
(ids, pixels, labels, groups, parts) and is what every record cites.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.data import deal
from bench.data.audit import Audit, Verdict, contradictions, joined, judge, refuse, verdict_from_json
from bench.data.images import PARTS, Images, first_few
from bench.errors import DataError, DataNotFound, SplitError
from bench.spec import SplitSettings, derive_seed, digest, to_json
from bench.store import replace_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 2  # of the manifest file; 1 knew no audit
OUT = "out"  # the part of images that are in none


class PartCount(NamedTuple):
    images: int
    groups: int


@dataclass(frozen=True)
class Split:
    """The parts of one round. Sequences are of length N, in the order of the images it was made for."""

    dataset: str
    round: int
    seed: int
    settings: SplitSettings
    content: str  # of the images it was drawn from
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: tuple[str, ...]  # class names
    groups: tuple[str, ...]
    parts: tuple[str, ...]  # "train", "val", "test", or "out" for an image that is left out
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None  # what the audit says of it; None for a manifest older than audits

    @cached_property
    def hash(self) -> str:
        """Identity of what the split fixes: 16 hex digits of a sha256, the same for any order of images."""
        return digest(self.rows())[:16]

    def rows(self) -> list[list[str]]:
        """[id, sha256, class, group, part] of every image, sorted."""
        return sorted(
            map(list, zip(self.ids, self.sha256, self.labels, self.groups, self.parts, strict=True))
        )

    def indices(self, part: str) -> NDArray[np.int64]:
        """Positions of the images of "train", "val" or "test"."""
        return np.flatnonzero(np.array(self.parts) == part)

    def counts(self) -> dict[str, dict[str, PartCount]]:
        """Images and groups of every class in every part."""
        images = Counter(zip(self.parts, self.labels, strict=True))
        groups = Counter((p, c) for p, c, _ in set(zip(self.parts, self.labels, self.groups, strict=True)))
        return {p: {c: PartCount(images[p, c], groups[p, c]) for c in self.classes} for p in PARTS}


# --- drawing -----------------------------------------------------------------------------------------


def draw(images: Images, settings: SplitSettings, round: int, seed: int, audit: Audit | None = None) -> Split:
    """Divide `images`: as the data set itself does, if it does; otherwise by `settings`, `round`, `seed`.

    With `audit`, images that show the same picture share a group, as `settings.groups` and
    `settings.conflicts` say. Raises SplitError if a class would have no training image, a group would be
    torn apart, or there are too few groups; DataError if only some images have a part.
    """
    official = any(images.parts)
    clusters = audit.clusters(images.ids) if audit and settings.groups == "audited" and not official else []
    groups = images.groups if official else _groups(images, settings, clusters)
    try:
        if official:
            parts = _official(images, settings, round, seed)
        else:
            odd = contradictions(clusters, images.labels.tolist()) if settings.conflicts != "anywhere" else []
            parts = _drawn(images, groups, odd, settings, round, seed)
    except SplitError as error:
        raise SplitError(f"{images.dataset}: {error}") from None
    split = Split(
        dataset=images.dataset,
        round=round,
        seed=seed,
        settings=settings,
        content=images.content,
        classes=images.classes,
        ids=images.ids,
        sha256=images.sha256,
        labels=tuple(images.classes[label] for label in images.labels),
        groups=groups,
        parts=tuple(parts),
    )
    _check(split)
    verdict = judge(audit, images, parts) if audit else None
    return dataclasses.replace(split, notes=tuple(_notes(split, official)), verdict=verdict)


def _groups(images: Images, settings: SplitSettings, clusters: Sequence[Sequence[int]]) -> tuple[str, ...]:
    return images.ids if settings.groups == "none" else joined(images.groups, clusters)


def _drawn(
    images: Images,
    groups: Sequence[str],
    odd: Sequence[int],
    settings: SplitSettings,
    round: int,
    seed: int,
) -> list[str]:
    """A part for every image. The groups of `odd` images are not dealt; they train, or are left out."""
    kept = {groups[i] for i in odd}
    rows = [i for i in range(len(images)) if groups[i] not in kept]
    if not rows:
        raise SplitError("the duplicates of every group carry another label; mend the labels")
    labelled, order = _labelled(images, groups, rows)
    anew = derive_seed(seed, images.dataset, "split", settings.method, round)
    if settings.method == "holdout":
        codes = deal.holdout(labelled, settings.val, settings.test, anew)
    elif round < settings.folds:
        once = derive_seed(seed, images.dataset, "split", settings.method, "folds")
        codes = deal.kfold(labelled, settings.val, settings.folds, round, (once, anew))
    else:
        raise SplitError(f"round {round} does not exist with {settings.folds} folds; raise split.folds")
    parts = [OUT if settings.conflicts == "out" else "train"] * len(images)
    for row, code in zip(order, codes, strict=True):
        parts[row] = PARTS[code]
    return parts


def _official(images: Images, settings: SplitSettings, round: int, seed: int) -> list[str]:
    parts = list(images.parts)
    if bare := [name for name, part in zip(images.ids, parts, strict=True) if not part]:
        raise DataError(
            f"{images.dataset}: {len(bare)} images have no part while others have: {first_few(bare)}; "
            "give every image one of train, val, test, or none to any"
        )
    if lacking := {"train", "test"} - set(parts):
        raise DataError(
            f"{images.dataset}: the split that comes with it has no {' and no '.join(sorted(lacking))} part; "
            "give some images that part, or remove all parts to have a split drawn"
        )
    if "val" not in parts:
        rows = np.flatnonzero(np.array(parts) == "train").tolist()
        labelled, order = _labelled(images, images.groups, rows)
        share = settings.val / (1 - settings.test) if settings.method == "holdout" else settings.val
        drawn = deal.validation(
            labelled, share, derive_seed(seed, images.dataset, "split", "official", round)
        )
        for row, code in zip(order, drawn, strict=True):
            parts[row] = PARTS[code]
    return parts


def _labelled(images: Images, groups: Sequence[str], rows: Sequence[int]) -> tuple[deal.Labelled, list[int]]:
    """The images at `rows` sorted by id, so that a split does not hang on the order of the index."""
    order = sorted(rows, key=lambda row: images.ids[row])
    names, number = np.unique([groups[row] for row in order], return_inverse=True)
    return deal.Labelled(images.labels[order], number.astype(np.int64), names.tolist()), order


def _check(split: Split) -> None:
    sides = Counter(group for group, part in set(zip(split.groups, split.parts, strict=True)))
    if torn := sorted(group for group, count in sides.items() if count > 1):
        raise SplitError(
            f"{split.dataset}: {len(torn)} groups have images on more than one side of the split: "
            f"{first_few(torn)}; mend the parts or the groups in the data set's index"
        )
    if empty := sorted(set(PARTS) - set(split.parts)):
        raise SplitError(
            f"{split.dataset}: no images are left for {' and '.join(empty)} "
            f"({len(split.ids)} images in {len(sides)} groups); add images, or change split.val, split.test"
        )
    counts = split.counts()
    if absent := [c for c in split.classes if not counts["train"][c].images]:
        where = "; ".join(f"{c}: " + ", ".join(f"{p} {counts[p][c].images}" for p in PARTS) for c in absent)
        raise SplitError(
            f"{split.dataset} round {split.round}: no training image of class {', '.join(absent)} ({where}); "
            "add images of it from other groups, leave the class out, or take another seed"
        )


def _notes(split: Split, official: bool) -> Iterator[str]:
    if official and split.settings.method == "kfold":
        yield "the data set fixes its own split; split.method kfold was not used"
    if left := split.parts.count(OUT):
        yield f"{left} images are in no part, because their duplicates carry another label"
    counts = split.counts()
    for part in ("val", "test"):
        for name in split.classes:
            if not counts[part][name].images:
                total = sum(counts[p][name].groups for p in PARTS)
                yield f"class {name} ({total} group{'s' * (total != 1)}) has no image in {part}"


# --- manifests ---------------------------------------------------------------------------------------


def frozen(
    results: Path,
    images: Images,
    settings: SplitSettings,
    round: int,
    seed: int,
    audit: Audit | None = None,
) -> Split:
    """The split already frozen for this very request, or else a new one, which is frozen.

    Raises what `draw` and `load` raise.
    """
    folder = results / "splits" / images.dataset
    asked = [images.content, images.parts if any(images.parts) else [], to_json(settings), round, seed]
    request = digest([*asked, *([audit.hash] if audit else [])])
    found = sorted(folder.glob(f"r{round}.{request[:8]}.*.json"))
    if len(found) > 1:
        raise DataError(
            f"{folder}: {' and '.join(p.name for p in found)} answer the same request; "
            "remove all but the one to use"
        )
    if found:
        return _arranged(_kept(found[0]), images, found[0])
    split = draw(images, settings, round, seed, audit)
    replace_text(folder / f"r{round}.{request[:8]}.{split.hash}.json", _to_text(split))
    return split


def adopt(results: Path, path: Path, images: Images, audit: Audit | None = None) -> Split:
    """Use the manifest at `path`, made elsewhere: check that it fits `images`, and keep a copy in `results`.

    Raises DataError if it cannot be read, was edited, or was frozen for other images.
    """
    split = _arranged(read(path), images, path)
    verdict = judge(audit, images, split.parts) if audit else split.verdict
    split = dataclasses.replace(split, verdict=verdict)
    copy = results / "splits" / images.dataset / f"r{split.round}.given.{split.hash}.json"
    replace_text(copy, _to_text(split))
    return split


def path_of(results: Path, split: Split) -> Path:
    """Where a frozen split is kept."""
    return sorted((results / "splits" / split.dataset).glob(f"r{split.round}.*.{split.hash}.json"))[0]


def require_sound(split: Split) -> None:
    """Refuse a split that leaks, by its audit. Raises SplitError, or DataError if it was never audited."""
    if split.verdict is None:
        raise DataError(
            f"{split.dataset} round {split.round}: its split manifest is older than audits, so nobody knows "
            "whether it leaks; run the study with other results to draw an audited split"
        )
    if split.verdict.leaks:
        raise SplitError(refuse(split.verdict, split.dataset, split.round))


def load(results: Path, images: Images, hash: str) -> Split:
    """The frozen split whose hash is `hash`, in the order of `images`.

    Raises DataNotFound if there is none, DataError if it was edited or the images are not those it fixes.
    """
    folder = results / "splits" / images.dataset
    found = sorted(folder.glob(f"*.{hash}.json"))
    if not found:
        raise DataNotFound(
            f"no split manifest {hash} in {folder}; copy it from where the results were made, "
            "or run the study from its start to draw splits anew"
        )
    return _arranged(_kept(found[0]), images, found[0])


def _arranged(split: Split, images: Images, path: Path) -> Split:
    """`split` in the order of `images`, which must be those it was frozen for."""
    labels = [images.classes[label] for label in images.labels]
    now = dict(zip(images.ids, zip(images.sha256, labels, strict=True), strict=True))
    then = {row[0]: row for row in split.rows()}
    both = [name for name in then if name in now]
    differences = {
        "missing": [name for name in then if name not in now],
        "extra": [name for name in now if name not in then],
        "changed": [name for name in both if then[name][1] != now[name][0]],
        "with another label": [name for name in both if then[name][2] != now[name][1]],
    }
    if any(differences.values()):
        listed = "; ".join(f"{len(v)} {k} ({first_few(v)})" for k, v in differences.items() if v)
        raise DataError(
            f"{path}: the images of {images.dataset} are not those this split was frozen for: {listed}; "
            "restore the data set, or draw a new split (other results)"
        )
    columns = zip(*(then[name] for name in images.ids), strict=True)
    ids, sha256, names, groups, parts = map(tuple, columns)
    return dataclasses.replace(split, ids=ids, sha256=sha256, labels=names, groups=groups, parts=parts)


def _to_text(split: Split) -> str:
    """JSON with one image a line, so that differences between manifests can be read."""
    head = {
        "format": FORMAT,
        "hash": split.hash,
        "dataset": split.dataset,
        "round": split.round,
        "seed": split.seed,
        "settings": dataclasses.asdict(split.settings),
        "content": split.content,
        "classes": split.classes,
        "notes": split.notes,
        "audit": dataclasses.asdict(split.verdict) if split.verdict else None,
        "counts": {p: {c: n._asdict() for c, n in by.items()} for p, by in split.counts().items()},
        "columns": ["id", "sha256", "label", "group", "part"],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in split.rows())
    return "{\n" + ",\n".join(lines) + ',\n  "images": [\n' + rows + "\n  ]\n}\n"


def read(path: Path) -> Split:
    """The manifest at `path`, in its own order. Raises DataError if it cannot be read or was edited."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] not in range(1, FORMAT + 1):
            raise ValueError(f"format {data['format']}, this version reads 1 to {FORMAT}")
        split = _from_json(data)
        stated = data["hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no split manifest that can be read ({type(error).__name__}: {error}); "
            "restore the original"
        ) from None
    if split.hash != stated:
        raise _edited(path, split.hash, stated)
    return split


def _kept(path: Path) -> Split:
    """The manifest at `path`, which must be the one it is named after."""
    split = read(path)
    if split.hash != path.name.split(".")[-2]:
        raise _edited(path, split.hash, path.name.split(".")[-2])
    return split


def _edited(path: Path, found: str, stated: str) -> DataError:
    return DataError(
        f"{path}: its images hash to {found}, not to {stated} as stated: the file was edited; "
        "restore the original"
    )


def _from_json(data: dict[str, Any]) -> Split:
    ids, sha256, labels, groups, parts = (tuple(column) for column in zip(*data["images"], strict=True))
    return Split(
        dataset=data["dataset"],
        round=data["round"],
        seed=data["seed"],
        settings=SplitSettings(**data["settings"]),
        content=data["content"],
        classes=tuple(data["classes"]),
        ids=ids,
        sha256=sha256,
        labels=labels,
        groups=groups,
        parts=parts,
        notes=tuple(data["notes"]),
        verdict=verdict_from_json(data["audit"]) if data.get("audit") else None,
    )
