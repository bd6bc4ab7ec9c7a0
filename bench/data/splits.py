"""Which images train, validate and test: grouped, stratified, drawn once and then frozen as manifests.

    results/splits/<data set>/r<round>.<request>.<hash>.json

`request` digests what was asked (content of the data set, settings, seed, round), so that the same request
finds its manifest again whatever scikit-learn would draw today; `hash` digests what the manifest fixes
(ids, pixels, labels, groups, parts) and is what every record cites.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.data import deal
from bench.data.images import PARTS, Images, first_few
from bench.errors import DataError, DataNotFound, SplitError, StoreError
from bench.spec import SplitSettings, derive_seed, digest, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1  # of the manifest file


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
    parts: tuple[str, ...]  # "train", "val" or "test"
    notes: tuple[str, ...] = ()

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


def draw(images: Images, settings: SplitSettings, round: int, seed: int) -> Split:
    """Divide `images`: as the data set itself does, if it does; otherwise by `settings`, `round`, `seed`.

    Raises SplitError if a class would have no training image, a group would be torn apart, or there are
    too few groups; DataError if only some images have a part.
    """
    try:
        parts = _official(images, settings, round, seed) if any(images.parts) else None
        if parts is None:
            parts = _drawn(images, settings, round, seed)
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
        groups=images.groups,
        parts=tuple(parts),
    )
    _check(split)
    return dataclasses.replace(split, notes=tuple(_notes(split, any(images.parts))))


def _drawn(images: Images, settings: SplitSettings, round: int, seed: int) -> list[str]:
    labelled, order = _labelled(images, range(len(images)))
    anew = partial(derive_seed, seed, images.dataset, "split", settings.method, round)
    if settings.method == "holdout":
        codes = deal.holdout(labelled, settings.val, settings.test, anew)
    elif round < settings.folds:
        once = partial(derive_seed, seed, images.dataset, "split", settings.method, "folds")
        codes = deal.kfold(labelled, settings.val, settings.folds, round, (once, anew))
    else:
        raise SplitError(f"round {round} does not exist with {settings.folds} folds; raise split.folds")
    parts = [""] * len(images)
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
        labelled, order = _labelled(images, np.flatnonzero(np.array(parts) == "train").tolist())
        share = settings.val / (1 - settings.test) if settings.method == "holdout" else settings.val
        seed_of = partial(derive_seed, seed, images.dataset, "split", "official", round)
        for row, code in zip(order, deal.validation(labelled, share, seed_of), strict=True):
            parts[row] = PARTS[code]
    return parts


def _labelled(images: Images, rows: Sequence[int]) -> tuple[deal.Labelled, list[int]]:
    """The images at `rows` sorted by id, so that a split does not hang on the order of the index."""
    order = sorted(rows, key=lambda row: images.ids[row])
    groups = np.unique([images.groups[row] for row in order], return_inverse=True)[1]
    return deal.Labelled(images.labels[order], groups.astype(np.int64)), order


def _check(split: Split) -> None:
    sides = Counter(group for group, _ in set(zip(split.groups, split.parts, strict=True)))
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
    counts = split.counts()
    for part in ("val", "test"):
        for name in split.classes:
            if not counts[part][name].images:
                total = sum(counts[p][name].groups for p in PARTS)
                yield f"class {name} ({total} group{'s' * (total != 1)}) has no image in {part}"


# --- manifests ---------------------------------------------------------------------------------------


def frozen(
    results: Path, images: Images, dataset_name: str, settings: SplitSettings, round: int, seed: int
) -> Split:
    """The split already frozen for this very request, or else a new one, which is frozen.

    Raises what `draw` and `load` raise.
    """
    folder = results / "splits" / dataset_name
    request = digest(
        [images.content, images.parts if any(images.parts) else [], to_json(settings), round, seed]
    )
    found = sorted(folder.glob(f"r{round}.{request[:8]}.*.json"))
    if len(found) > 1:
        raise DataError(
            f"{folder}: {' and '.join(p.name for p in found)} answer the same request; "
            "remove all but the one to use"
        )
    if found:
        return _arranged(_read(found[0]), images, found[0])
    split = draw(images, settings, round, seed)
    _write(folder / f"r{round}.{request[:8]}.{split.hash}.json", split)
    return split


def load(results: Path, dataset_name: str, hash: str, images: Images) -> Split:
    """The frozen split whose hash is `hash`, in the order of `images`.

    Raises DataNotFound if there is none, DataError if it was edited or the images are not those it fixes.
    """
    folder = results / "splits" / dataset_name
    found = sorted(folder.glob(f"*.{hash}.json"))
    if not found:
        raise DataNotFound(
            f"no split manifest {hash} in {folder}; copy it from where the results were made, "
            "or run the study from its start to draw splits anew"
        )
    return _arranged(_read(found[0]), images, found[0])


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


def _write(path: Path, split: Split) -> None:
    """All at once: a reader sees the whole manifest or none. Concurrent writers write the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); choose another results folder"
        ) from None
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(_to_text(split))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


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
        "counts": {p: {c: n._asdict() for c, n in by.items()} for p, by in split.counts().items()},
        "columns": ["id", "sha256", "label", "group", "part"],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    rows = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in split.rows())
    return "{\n" + ",\n".join(lines) + ',\n  "images": [\n' + rows + "\n  ]\n}\n"


def _read(path: Path) -> Split:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version reads {FORMAT}")
        split = _from_json(data)
        stated = data["hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: is no split manifest that can be read ({type(error).__name__}: {error}); "
            "restore the original"
        ) from None
    if not split.hash == stated == path.name.split(".")[-2]:
        raise DataError(
            f"{path}: its images hash to {split.hash}, not to {stated} as stated: the file was edited; "
            "restore the original"
        )
    return split


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
    )
