"""Which images of a pool a pretraining must not see, frozen as a file.

    results/pools/<data set>/<split>.<hash>.json

An image of the pool that shows the same picture as one of the validation or test part, or as another of the
pool that does, is left out. `hash` is a digest of the pool's content and of what is left out. Every
pretraining cites it, so that other audit settings, which leave out others, make another pretraining.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from bench.data.audit.audit import Audit
from bench.data.images.images import Images
from bench.data.images.index import first_few
from bench.data.images.pool import pool_content
from bench.data.splits.split import Split
from bench.errors import DataError, DataNotFound, describe
from bench.files import write_result
from bench.identity import digest

FORMAT = 1
HELD_OUT = ("val", "test")


class LeftOut(NamedTuple):
    """An image of the pool that is not pretrained on."""

    id: str
    sha256: str  # of its decoded pixels
    like: str  # id of the validation or test image that it shows
    part: str


class PoolSuspect(NamedTuple):
    """An image of the pool that may show what a validation or test image shows: for a person to decide."""

    id: str
    like: str
    part: str
    similarity: float


@dataclass(frozen=True)
class FrozenPool:
    """What is seen of a pool beside one split."""

    content: str  # `pool_content`
    split: str  # hash of the manifest
    audit: str  # hash of the audit of data set and pool together
    images: int  # of the pool
    left_out: tuple[LeftOut, ...]
    suspects: tuple[PoolSuspect, ...]  # they are seen

    @cached_property
    def hash(self) -> str:
        """Identity of what is left out: 16 hex digits of a sha256."""
        return digest([self.content, sorted(self.sha256)])[:16]

    @property
    def sha256(self) -> tuple[str, ...]:
        """Of the images that are left out."""
        return tuple(one.sha256 for one in self.left_out)

    @property
    def text(self) -> str:
        """What a record says of it, in a line."""
        seen = self.images - len(self.left_out)
        text = f"pool {self.content[:8]} of {self.images} images without labels: {seen} are pretrained on"
        if self.left_out:
            pairs = [f"{one.id} = {one.like} ({one.part})" for one in self.left_out]
            text += (
                f", {len(pairs)} left out as duplicates of validation or test images ({first_few(pairs, 3)})"
            )
        else:
            text += ", none is a duplicate of a validation or test image"
        if self.suspects:
            pairs = [f"{one.id} ~ {one.like} ({one.part})" for one in self.suspects]
            text += f"; {len(pairs)} are alike and pretrained on, unless they are taken out of the folder "
            text += f"({first_few(pairs, 3)})"
        return text


def freeze_pool(results: Path, united: Images, first: int, audit: Audit, split: Split) -> FrozenPool:
    """Decide what is left out of the pool, which begins at position `first` of the united images; store it.

    The split is of the images before that position, in their order. Raises StoreError, and as `load_pool`.
    """
    held_out = {
        id_: part for id_, part in zip(united.ids[:first], split.parts, strict=True) if part in HELD_OUT
    }
    positions = {id_: i for i, id_ in enumerate(united.ids)}
    left_out = []
    for members in audit.clusters(united.ids):
        like = next((united.ids[i] for i in members if united.ids[i] in held_out), None)
        if like is not None:
            pool = (i for i in members if i >= first)
            left_out += [LeftOut(united.ids[i], united.sha256[i], like, held_out[like]) for i in pool]
    gone = {one.id for one in left_out}
    suspects = []
    for one in audit.suspects:
        for id_, like in ((one.first, one.second), (one.second, one.first)):
            if positions[id_] >= first and like in held_out and id_ not in gone:
                suspects.append(PoolSuspect(id_, like, held_out[like], one.similarity))
    frozen = FrozenPool(
        content=pool_content(united, first),
        split=split.hash,
        audit=audit.hash,
        images=len(united) - first,
        left_out=tuple(sorted(left_out)),
        suspects=tuple(suspects),
    )
    path = _path(results, split.dataset, frozen.split, frozen.hash)
    if path.exists() and load_pool(results, split.dataset, frozen.split, frozen.hash) == frozen:
        return frozen  # else another audit leaves out the same, and suspects others
    write_result(path, _to_text(frozen))
    return frozen


def load_pool(results: Path, dataset: str, split: str, hash: str) -> FrozenPool:
    """What was frozen for a pretraining. Raises DataNotFound if it is gone, DataError if it was edited."""
    path = _path(results, dataset, split, hash)
    try:
        data: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}, this version reads {FORMAT}")
        frozen = FrozenPool(
            content=data["content"],
            split=data["split"],
            audit=data["audit"],
            images=data["images"],
            left_out=tuple(LeftOut(*row) for row in data["left_out"]),
            suspects=tuple(PoolSuspect(*row) for row in data["suspects"]),
        )
        actual = frozen.hash
    except FileNotFoundError:
        raise DataNotFound(
            f"{path}: no such file, which says what a pool must not show; run the study from its start"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({describe(error)}); delete it and run the study from its start"
        ) from None
    if actual != hash:
        raise DataError(f"{path}: was edited since it was made; delete it and run the study from its start")
    return frozen


def _path(results: Path, dataset: str, split: str, hash: str) -> Path:
    return results / "pools" / dataset / f"{split}.{hash}.json"


def _to_text(frozen: FrozenPool) -> str:
    """JSON with one image per line."""
    head = {
        "format": FORMAT,
        "hash": frozen.hash,
        "content": frozen.content,
        "split": frozen.split,
        "audit": frozen.audit,
        "images": frozen.images,
        "columns": [*LeftOut._fields],
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines += [_listed("left_out", frozen.left_out), _listed("suspects", frozen.suspects)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _listed(name: str, rows: Sequence[Sequence[Any]]) -> str:
    texts = ",\n".join(f"    {json.dumps(list(row), ensure_ascii=False)}" for row in rows)
    return f"  {json.dumps(name)}: [\n{texts}\n  ]"
