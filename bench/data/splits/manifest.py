"""Frozen splits as files.

    results/splits/<data set>/r<round>.<request>.<hash>.json

`request` digests what was asked (content of the data set, its audit, settings, seed, round), so that the same
request finds its manifest again whatever this code would draw today; `hash` digests what the manifest fixes
(ids, pixels, labels, groups, parts) and is what every record cites.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from bench.data.audit.audit import Audit
from bench.data.audit.verdict import judge, verdict_from_json, verdict_to_json
from bench.data.images.images import Images
from bench.data.images.index import first_few
from bench.data.splits.split import Split, draw
from bench.errors import DataError, DataNotFound
from bench.files import write_result
from bench.identity import digest, to_json
from bench.study.protocol import SplitSettings

FORMAT = 2  # of the manifest file; 1 knew no audit


def frozen(
    results: Path,
    images: Images,
    settings: SplitSettings,
    round: int,
    seed: int,
    audit: Audit | None = None,
) -> Split:
    """The split already frozen for this very request, or else a new one, which is frozen.

    Raises what `draw` and `load_split` raise.
    """
    folder = results / "splits" / images.dataset
    asked = [images.content, images.parts if any(images.parts) else [], to_json(settings), round, seed]
    request = digest([*asked, *([audit.hash] if audit else [])])
    answers = sorted(folder.glob(f"r{round}.{request[:8]}.*.json"))
    if len(answers) > 1:
        raise DataError(
            f"{folder}: {' and '.join(p.name for p in answers)} answer the same request; "
            "remove all but the one to use"
        )
    if answers:
        return _arranged(_stored(answers[0]), images, answers[0])
    split = draw(images, settings, round, seed, audit)
    write_result(folder / f"r{round}.{request[:8]}.{split.hash}.json", _to_text(split))
    return split


def adopt(results: Path, path: Path, images: Images, audit: Audit | None = None) -> Split:
    """Use the manifest at `path`, made elsewhere: check that it fits `images`, and keep a copy in `results`.

    Raises DataError if it cannot be read, was edited, or was frozen for other images.
    """
    split = _arranged(read(path), images, path)
    verdict = judge(audit, images, split.parts) if audit else split.verdict
    split = dataclasses.replace(split, verdict=verdict)
    copy = results / "splits" / images.dataset / f"r{split.round}.given.{split.hash}.json"
    write_result(copy, _to_text(split))
    return split


def path_of(results: Path, split: Split) -> Path:
    """Where a frozen split is kept."""
    return sorted((results / "splits" / split.dataset).glob(f"r{split.round}.*.{split.hash}.json"))[0]


def load_split(results: Path, images: Images, hash: str) -> Split:
    """The frozen split whose hash is `hash`, in the order of `images`.

    Raises DataNotFound if there is none, DataError if it was edited or the images are not those it fixes.
    """
    folder = results / "splits" / images.dataset
    manifests = sorted(folder.glob(f"*.{hash}.json"))
    if not manifests:
        raise DataNotFound(
            f"no split manifest {hash} in {folder}; copy it from where the results were made, "
            "or run the study from its start to draw splits anew"
        )
    return _arranged(_stored(manifests[0]), images, manifests[0])


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
    """JSON with one image per line, so that differences between manifests can be read."""
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
        "audit": verdict_to_json(split.verdict) if split.verdict else None,
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
            f"{path}: is not a split manifest that can be read ({type(error).__name__}: {error}); "
            "restore the original"
        ) from None
    if split.hash != stated:
        raise _edited(path, split.hash, stated)
    return split


def _stored(path: Path) -> Split:
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
