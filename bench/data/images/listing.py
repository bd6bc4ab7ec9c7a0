"""How a study lists a data set: its plugin's index, checked, then what the study selects of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bench.data.images.index import check_index, read_index
from bench.data.images.reviewed import read_reviewed
from bench.data.images.selection import (
    apply_reviewed,
    check_enough_classes,
    check_same_classes,
    choose_classes,
    group_by_source,
    hold_out_sources,
    join_external,
    merge_classes,
    without_parts,
)
from bench.errors import BenchError, ConfigError, failure_of
from bench.identity import Ref
from bench.interfaces.dataset import Dataset, Index
from bench.interfaces.reviewed import Reviewed
from bench.interfaces.selection import NO_GROUPS, Selection
from bench.registry import Registry

T = TypeVar("T")


def list_images(dataset: Ref, registry: Registry, root: Path) -> Index:
    """The images of a data set below `root`, and of the one it is tested on, as the parameters of `dataset`
    select, group and divide them.

    Raises DataNotFound if a data set is not there, DataError if its index or a reviewed file cannot be used,
    ConfigError if a parameter does not fit it, PluginError naming the plugin if the listing fails.
    """
    entry, params = registry.datasets.entry(dataset.name), registry.datasets.params(dataset)
    what = f"dataset {dataset.name!r}: its images could not be listed"
    index = _called(what, dataset, registry, lambda: read_index(entry.component, params, root))
    return select(index, dataset, registry, root)


def select(index: Index, dataset: Ref, registry: Registry, root: Path) -> Index:
    """What the parameters of `dataset` make of its index. Raises as `list_images` does."""
    name, chosen = dataset.name, registry.datasets.selection(dataset)
    component = registry.datasets.get(name)
    file = _reviewed_file(component, chosen)
    reviewed = None if file is None else read_reviewed(file)
    if reviewed is not None and not chosen.groups and _lacks(index, reviewed):
        change = (
            f"{reviewed.name}, which comes with {name}, is not used: this copy lacks images that it names"
        )
        index, reviewed = replace(index, changes=(*index.changes, change)), None
    if chosen == Selection() and reviewed is None:
        return index
    index = replace(index, expected=index.expected or component.expected)
    if reviewed is not None:
        index = apply_reviewed(index, reviewed, name)
    index = _by_source(index, dataset, chosen, registry, root)
    external = registry.datasets.external(dataset)
    if external is not None:
        other = list_images(external.dataset, registry, external.root or root)
        index = join_external(index, other, external.dataset.name)
    index = merge_classes(index, chosen.merge, chosen.classes, name)
    index = choose_classes(index, chosen.classes, name)
    if external is not None:
        check_same_classes(index, name, external.dataset.name)
    check_enough_classes(index, name)
    check_index(index, name)
    return index


def _reviewed_file(component: Dataset, chosen: Selection) -> Path | None:
    if chosen.groups == NO_GROUPS:
        return None
    if not chosen.groups:
        return component.reviewed
    path = Path(chosen.groups).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"dataset.{component.name}.groups = {chosen.groups}: no such file; name a reviewed csv file, or "
            f"{NO_GROUPS} for none"
        )
    return path


def _lacks(index: Index, reviewed: Reviewed) -> bool:
    """Whether a copy of a data set lacks images that the file that comes with it names."""
    return not {image.id for image in reviewed.images} <= {sample.id for sample in index.samples}


# --- sources -----------------------------------------------------------------------------------------


def _by_source(index: Index, dataset: Ref, chosen: Selection, registry: Registry, root: Path) -> Index:
    key = "test_source" if chosen.test_source else "group_by" if chosen.group_by == "source" else ""
    if not key:
        return index
    sources = _own_sources(dataset, registry, root)
    sources = {sample.id: sources[sample.id] for sample in index.samples if sample.id in sources}
    if not sources:
        able = ", ".join(each.name for each in registry.datasets.all() if each.sources is not None)
        raise ConfigError(
            f"dataset.{dataset.name}.{key}: {dataset.name} does not say where its images come from, or not "
            f"in this copy (data sets that can: {able or 'none'}); leave it out"
        )
    if chosen.test_source:
        index = hold_out_sources(index, sources, chosen.test_source, dataset.name)
    else:
        index = without_parts(index)
    return group_by_source(index, sources) if chosen.group_by == "source" else index


def list_sources(dataset: Ref, registry: Registry, root: Path) -> dict[str, str]:
    """Where the images that `list_images` lists come from, by id; empty where the data set does not say.

    Raises what its plugin raises on purpose, PluginError naming the plugin if it fails otherwise.
    """
    found = _own_sources(dataset, registry, root)
    external = registry.datasets.external(dataset)
    if external is None:
        return found
    other = list_sources(external.dataset, registry, external.root or root)
    return found | {f"{external.dataset.name}/{id_}": source for id_, source in other.items()}


def _own_sources(dataset: Ref, registry: Registry, root: Path) -> dict[str, str]:
    component, params = registry.datasets.get(dataset.name), registry.datasets.params(dataset)
    if component.sources is None:
        return {}
    sources = component.sources

    def read() -> dict[str, str]:
        found = dict(sources(root, params))
        if any(not isinstance(text, str) for item in found.items() for text in item):
            raise TypeError("ids and sources must be texts")
        return found

    what = f"dataset {dataset.name!r}: the sources of its images could not be read"
    return _called(what, dataset, registry, read)


def _called(what: str, dataset: Ref, registry: Registry, function: Callable[[], T]) -> T:
    """What a plugin's function gives. Raises what it raises on purpose, PluginError for anything else."""
    try:
        return function()
    except (BenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever a third-party function raises, sys.exit too
        owner = registry.datasets.entry(dataset.name).plugin
        remedy = "repair the plugin, or what it reads"
        raise failure_of(what, error, registry.plugins, remedy, owner) from error
