"""Pools of images without labels: frozen when a study is planned, opened by each pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import ConfigError, DataError
from bench.execution.session import Session
from bench.identity import Ref
from bench.interfaces.executor import Report, silent
from bench.study.protocol import Pretraining
from bench.study.spec import PretrainSpec, UnitSpec
from bench.study.study import Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.images.view import View
    from bench.data.splits.pool import FrozenPool
    from bench.data.splits.split import Split


def pretrains(study: Study, session: Session) -> bool:
    """Whether a strategy of the study pretrains."""
    return any(session.registry.strategies.get(ref.name).objective for ref in study.strategies)


def check_pool(settings: Pretraining) -> None:
    """Raise ConfigError where the folder of a pool is not there, or is not named."""
    from bench.data.images.pool import SETTING, images_below

    if settings.extra:
        images_below(Path(settings.extra))
    elif settings.pool:
        raise ConfigError(
            f"protocol.pretrain.pool = {settings.pool!r}: needs the folder of these images; add --set "
            f"{SETTING}=FOLDER"
        )


def freeze_pools(
    study: Study, session: Session, splits: Mapping[tuple[Ref, int], Split], report: Report = silent
) -> dict[tuple[Ref, int], FrozenPool]:
    """What pretraining sees of the study's pool in every round of every data set; nothing without a pool.

    Data set and pool are audited together. Raises ConfigError for a folder that cannot be used, or that is
    not the one that the protocol says; DataError for an image that cannot be read.
    """
    from bench.data.splits.pool import freeze_pool

    settings = study.protocol.pretrain
    check_pool(settings)
    if not settings.extra or not pretrains(study, session):
        return {}
    frozen: dict[tuple[Ref, int], FrozenPool] = {}
    for (dataset, round_), split in splits.items():
        united, audit = session.audited_with_pool(
            dataset, settings.extra, study.protocol.audit, (settings.resize,), report
        )
        first = len(split.ids)
        one = freeze_pool(session.environment.results, united, first, audit, split)
        if settings.pool not in ("", one.content):
            raise ConfigError(
                f"protocol.pretrain.extra = {settings.extra!r}: its images have the digest {one.content}, "
                f"not {settings.pool!r} as protocol.pretrain.pool says; restore them, or leave that out"
            )
        frozen[dataset, round_] = one
    return frozen


def pool_of(spec: UnitSpec, results: Path) -> FrozenPool | None:
    """What a pretraining, or the one that a fine-tuning starts from, sees of a pool; None without one."""
    from bench.data.splits.pool import load_pool

    start = spec if isinstance(spec, PretrainSpec) else getattr(spec, "start", None)
    if start is None or not start.pretrain.pool:
        return None
    return load_pool(results, start.dataset.name, start.split, start.left_out)


def with_pool(
    spec: PretrainSpec, rows: NDArray[np.int64], session: Session, report: Report = silent
) -> tuple[View, NDArray[np.int64]]:
    """The images of data set and pool at the short side of a pretraining, and which of them it sees: those of
    the data set at positions `rows`, then those of the pool that are not left out.

    Raises DataError where the pool's images are not those that the unit was planned with.
    """
    import numpy as np

    from bench.data.images.pool import SETTING, pool_content, pool_images

    settings = spec.pretrain
    if not settings.extra:
        raise ConfigError(f"{spec.label}: pretrains on a pool as well; add --set {SETTING}=FOLDER")
    frozen = pool_of(spec, session.environment.results)
    assert frozen is not None  # there is a pool
    united = session.with_pool(spec.dataset, settings.extra, (settings.resize,), report)
    first = len(united) - frozen.images
    if first < 1 or pool_content(united, first) != settings.pool:
        raise DataError(
            f"{SETTING} = {settings.extra!r}: its images are not those that the study was planned with; "
            "restore them, or run the study from its start (other results)"
        )
    pool = pool_images(united, first, frozen.sha256)
    return united.view(settings.resize), np.concatenate([rows, pool])
