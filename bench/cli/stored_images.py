"""The images that stored results are of: where they lie, and a session that opens them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.options import Names, assignments
from bench.errors import ConfigError
from bench.identity import Ref
from bench.interfaces.selection import split_external
from bench.study.config import StudyConfig, assign
from bench.study.study import KINDS

if TYPE_CHECKING:
    from bench.execution.session import Session
    from bench.registry import Registry


def image_session(
    data: Path | None, results: Path | None, registry: Registry, device: str = "cpu", threads: int = 0
) -> Session:
    """What the images of stored results are opened with."""
    from bench.api import local_environment
    from bench.execution.session import Session

    # A study may have left out images that cannot be read; that these are its images is checked by content.
    place = local_environment(data, results, device=device, threads=threads, jobs=1, on_bad_image="skip")
    return Session(place, registry)


def located(dataset: Ref, texts: Names, registry: Registry) -> Ref:
    """A data set as results have it, with the places of files that `--set` gives. Raises ConfigError for
    values that would make it another one."""
    values = dict(assign(StudyConfig(), assignments(texts), KINDS).dataset.get(dataset.name, {}))
    if not values:
        return dataset
    recorded, given = dataset.params.get("test_on"), values.get("test_on")
    if isinstance(recorded, Mapping) and isinstance(given, str):  # parameters need not be said again
        name, root, _ = split_external(given, f"dataset.{dataset.name}.test_on")
        values["test_on"] = {**recorded, "name": name, "root": str(root or "")}
    found = registry.datasets.ref(dataset.name, {**dataset.params, **values})
    if found.params != dataset.params:
        raise ConfigError(
            f"--set: these results are of {dataset.name} with {dict(dataset.params)}, not with "
            f"{dict(found.params)}; only where its files lie can be set here"
        )
    return replace(dataset, local=found.local)
