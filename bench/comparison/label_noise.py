"""Images most at odds with their label, from predictions by models that did not train on them.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70, 2021), by
its authors' library: how many labels of each class are wrong is estimated from the images that models are
sure of, and that many images are listed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.comparison.evidence import read_sample
from bench.comparison.methods import Method
from bench.errors import ConfigError
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.interfaces.predictions import Predictions

HOW_TO_INSTALL = f'pip install "{DISTRIBUTION}[noise]"'
FEW = 5
"""Judged images of a class below which the share of its labels that are wrong cannot be estimated."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The predictions for each of N test images of K classes, made into one.

    Attributes:
        classes: names.
        ids: of the images, sorted.
        labels: (N,) indices into classes.
        probabilities: (N, K), means over all predictions of an image, each of which counts the same.
        predictions: (N,) how many these are.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    predictions: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An image at odds with its label.

    Attributes:
        id: of the image.
        given: its label.
        suggested: the class that the models predict.
        self_confidence: mean probability of the given label.
        confidence: mean probability of the suggested one.
        predictions: how many these are means of.
    """

    id: str
    given: str
    suggested: str
    self_confidence: float
    confidence: float
    predictions: int


@dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """What the methods of one comparable table say of its labels.

    Attributes:
        where: data set, and protocol where several tables have it.
        methods: names of those whose predictions were used.
        rounds: how many rounds they have in all.
        judged: images that are in a test part of any of these.
        agreeing: share of these whose label is the class of the highest mean probability.
        images: of the data set; 0 where no record says.
        kept_out: images never tested because their duplicates carry another label.
        fixed: whether the data set itself says which images are tested on.
        leaking: rounds whose split leaks: a duplicate or group mate of a judged image was trained on.
        few: classes with fewer than FEW judged images.
        doubts: the least self-confident first.
        typical: class -> ids of its judged images, those first of whose label the models are surest.
    """

    where: str
    methods: tuple[str, ...]
    rounds: int
    judged: int
    agreeing: float
    images: int
    kept_out: int
    fixed: bool
    leaking: tuple[int, ...]
    few: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    typical: dict[str, tuple[str, ...]]


def judge_labels(where: str, methods: Sequence[Method], results: Path) -> LabelNoise:
    """What the test predictions of these methods say of the labels; they are rows of one table in the folder
    `results`.

    Raises StoreError for predictions that cannot be read, ConfigError where the extra "noise" is not
    installed.
    """
    sample = read_sample(methods, results)
    units = [unit for method in methods for unit in method.done.values()]
    pooled = pool(sample.predictions_of(unit) for unit in units)
    counted = np.bincount(pooled.labels, minlength=len(pooled.classes))
    audits = {unit.spec.round: unit.audit for unit in units if unit.audit}
    return LabelNoise(
        where=where,
        methods=tuple(method.name for method in methods),
        rounds=len(sample.images),
        judged=len(pooled.ids),
        agreeing=float((pooled.probabilities.argmax(axis=1) == pooled.labels).mean()),
        images=max(
            (sum(n.images for part in unit.counts.values() for n in part.values()) for unit in units),
            default=0,
        ),
        kept_out=max((audit.kept_out for audit in audits.values()), default=0),
        fixed=any(bool(unit.record.data.fixed) for unit in units if unit.record.data),
        leaking=tuple(sorted(number for number, audit in audits.items() if audit.leaks)),
        few=tuple(name for name, n in zip(pooled.classes, counted, strict=True) if n < FEW),
        doubts=find_doubts(pooled),
        typical=_typical(pooled),
    )


def pool(predictions: Iterable[Predictions]) -> Pooled:
    """The mean of all predictions of each image, over rounds and methods; all have the same classes."""
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    labels: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    for one in predictions:
        classes = one.classes
        for id_, label, row in zip(one.ids, one.labels.tolist(), one.probabilities, strict=True):
            sums[id_] = sums[id_] + row if id_ in sums else row
            counts[id_] = counts.get(id_, 0) + 1
            labels[id_] = label
    ids = tuple(sorted(sums))
    number = np.array([counts[id_] for id_ in ids], dtype=np.int64)
    return Pooled(
        classes=classes,
        ids=ids,
        labels=np.array([labels[id_] for id_ in ids], dtype=np.int64),
        probabilities=np.stack([sums[id_] for id_ in ids]) / number[:, None],
        predictions=number,
    )


def find_doubts(pooled: Pooled) -> tuple[Doubt, ...]:
    """The images that confident learning takes to be labelled wrongly, the least self-confident first.

    Raises ConfigError where the library is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise ConfigError(f"bench label-noise needs cleanlab: {HOW_TO_INSTALL}") from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with few images, which `LabelNoise.few` names
        found = find_label_issues(
            pooled.labels, pooled.probabilities, filter_by="prune_by_noise_rate", n_jobs=1
        )
    own = pooled.probabilities[np.arange(len(pooled.ids)), pooled.labels]
    best = pooled.probabilities.argmax(axis=1)
    doubts = [
        Doubt(
            id=pooled.ids[i],
            given=pooled.classes[pooled.labels[i]],
            suggested=pooled.classes[best[i]],
            self_confidence=float(own[i]),
            confidence=float(pooled.probabilities[i, best[i]]),
            predictions=int(pooled.predictions[i]),
        )
        for i in np.flatnonzero(found).tolist()
        if best[i] != pooled.labels[i]
    ]
    return tuple(sorted(doubts, key=lambda doubt: (doubt.self_confidence, doubt.id)))


def _typical(pooled: Pooled) -> dict[str, tuple[str, ...]]:
    order = np.argsort(-pooled.probabilities, axis=0, kind="stable")
    best = pooled.probabilities.argmax(axis=1)
    return {
        name: tuple(pooled.ids[i] for i in order[:, k].tolist() if pooled.labels[i] == k == best[i])
        for k, name in enumerate(pooled.classes)
    }
