"""Splits frozen as files, called manifests.

    results/splits/<data set>/r<round>.<request>.<hash>.json

`request` is a digest of what a split is drawn from: content of the data set, audit, settings, seed and round.
The same request finds its manifest again, even if a later version of this code would draw another split.
`hash` is a digest of what the manifest fixes: ids, pixels, labels, groups and parts. Every record cites it.
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
from bench.data.splits.split import Split, draw_split
from bench.errors import DataError, DataNotFound
from bench.files import write_result
from bench.identity import digest, to_json
from bench.parsing import PATH_SHOWN, brief
from bench.study.protocol import SplitSettings

FORMAT = 2  # of the manifest file; files of format 1 hold no audit


def freeze_split(
    results: Path,
    images: Images,
    settings: SplitSettings,
    round: int,
    seed: int,
    audit: Audit | None = None,
) -> Split:
    """The split frozen for this request. If there is none, one is drawn and frozen.

    Raises what `draw_split` and `load_split` raise.
    """
    folder = results / "splits" / images.dataset
    own_parts = images.parts if any(images.parts) else []
    drawn_from = [images.content, own_parts, to_json(settings), round, seed]
    request = digest([*drawn_from, *([audit.hash] if audit else [])])
    manifests = sorted(folder.glob(f"r{round}.{request[:8]}.*.json"))
    if len(manifests) > 1:
        raise DataError(
            f"{folder}: {' and '.join(path.name for path in manifests)} answer the same request; "
            "remove all but the one to use"
        )
    if manifests:
        return _fitted(read_named(manifests[0]), images, manifests[0])
    split = draw_split(images, settings, round, seed, audit)
    earlier = _frozen_earlier(folder, images, split, audit) if audit and not own_parts else None
    if earlier and earlier.hash == split.hash:
        return earlier  # as this audit would have it, too: nothing new to freeze
    split = earlier or split
    write_result(folder / f"r{round}.{request[:8]}.{split.hash}.json", _to_text(split))
    return split


def _frozen_earlier(folder: Path, images: Images, drawn: Split, audit: Audit) -> Split | None:
    """The split that was frozen for the same request when audits found less; None if there is none. If it is
    another than the one `drawn` now, its studies go on with it, and are told what this audit says of it."""
    wanted = images.content, drawn.settings, drawn.seed
    for path in sorted(folder.glob(f"r{drawn.round}.*.json")):
        try:
            split = read_named(path)
        except DataError:  # of no use here; `bench verify` names it
            continue
        was = split.verdict
        if was is None or was.revision >= audit.revision or was.settings != audit.settings:
            continue
        if (split.content, split.settings, split.seed) == wanted:
            fitted = _fitted(split, images, path)
            if split.hash == drawn.hash:
                return fitted
            note = f"frozen with audit {was.audit[:8]}, which found less, and kept for its studies"
            verdict = judge(audit, images, fitted.parts)
            return dataclasses.replace(fitted, verdict=verdict, notes=(*fitted.notes, note))
    return None


def adopt_manifest(results: Path, path: Path, images: Images, audit: Audit | None = None) -> Split:
    """The split of a manifest that was made elsewhere; a copy is kept in `results`.

    Raises DataError if it cannot be read, was edited, or was frozen for other images.
    """
    split = _fitted(read_manifest(path), images, path)
    verdict = judge(audit, images, split.parts) if audit else split.verdict
    split = dataclasses.replace(split, verdict=verdict)
    copy = results / "splits" / images.dataset / f"r{split.round}.given.{split.hash}.json"
    write_result(copy, _to_text(split))
    return split


def manifest_path(results: Path, split: Split) -> Path:
    """The manifest of a frozen split."""
    return sorted((results / "splits" / split.dataset).glob(f"r{split.round}.*.{split.hash}.json"))[0]


def load_split(results: Path, images: Images, hash: str) -> Split:
    """The frozen split with this hash, in the order of `images`.

    Raises DataNotFound if there is none, DataError if it was edited or was frozen for other images.
    """
    folder = results / "splits" / images.dataset
    manifests = sorted(folder.glob(f"*.{hash}.json"))
    if not manifests:
        raise DataNotFound(
            f"no split manifest {hash} in {folder}; copy it from where the results were made, "
            "or run the study from its start to draw splits anew"
        )
    splits = [_fitted(read_named(path), images, path) for path in manifests]
    return max(splits, key=lambda split: split.verdict.revision if split.verdict else 0)  # judged last


def _fitted(split: Split, images: Images, path: Path) -> Split:
    """`split` in the order of `images`. Raises DataError if it was frozen for other images."""
    labels = [images.classes[label] for label in images.labels]
    present = dict(zip(images.ids, zip(images.sha256, labels, strict=True), strict=True))
    frozen = {row[0]: row for row in split.rows()}
    common = [id_ for id_ in frozen if id_ in present]
    differences = {
        "missing": [id_ for id_ in frozen if id_ not in present],
        "extra": [id_ for id_ in present if id_ not in frozen],
        "changed": [id_ for id_ in common if frozen[id_][1] != present[id_][0]],
        "with another label": [id_ for id_ in common if frozen[id_][2] != present[id_][1]],
    }
    if any(differences.values()):
        listed = "; ".join(f"{len(v)} {k} ({first_few(v)})" for k, v in differences.items() if v)
        raise DataError(
            f"{path}: the images of {images.dataset} are not those this split was frozen for: {listed}; "
            "restore the data set, or draw a new split (other results)"
        )
    columns = zip(*(frozen[id_] for id_ in images.ids), strict=True)
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


def read_manifest(path: Path) -> Split:
    """The split of a manifest, in the order of the file. Raises DataError if it is damaged or was edited."""
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] not in range(1, FORMAT + 1):
            raise ValueError(f"format {data['format']}, this version reads 1 to {FORMAT}")
        split = _from_json(data)
        stated = data["hash"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise DataError(
            f"{brief(str(path), PATH_SHOWN)}: is not a split manifest that can be read ({brief(reason)}); "
            "restore the original, or name another"
        ) from None
    if split.hash != stated:
        raise _edited(path, split.hash, stated)
    return split


def read_named(path: Path) -> Split:
    """As `read_manifest`, for a file of the results folder: the hash in its name must be right too."""
    split = read_manifest(path)
    named = path.name.split(".")[-2]
    if split.hash != named:
        raise _edited(path, split.hash, named)
    return split


def _edited(path: Path, actual: str, stated: str) -> DataError:
    return DataError(
        f"{path}: its images hash to {actual}, not to {stated} as stated: the file was edited; "
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
