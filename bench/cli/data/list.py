"""`bench data list`: which data sets are at the data root, where, and whether each is complete."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.options import DataOption, data_root
from bench.cli.screen import contain, installed_components, make_console, say

if TYPE_CHECKING:
    from bench.interfaces.dataset import Dataset, Index

CLASSES_SHOWN = 4


class _Line(NamedTuple):
    name: str
    images: str
    state: str
    where: str  # or how to get it
    is_found: bool = False  # whether what lies there is this data set, and no folder that only looks like it


def list_datasets(data: DataOption = None) -> None:
    """List the data sets: which are at the data root, where, and whether they are complete.

    They are looked for at the data root and in the usual places below it. Images at the root itself that have
    the layout of a data set and not its counts are called that. No image is opened.

    Example: bench data list --data /scratch/images
    """
    from rich.table import Table as Grid
    from rich.text import Text

    registry = contain(installed_components())
    root = data_root(data)
    datasets = registry.datasets.all()
    lines = {d.name: _line(d, root) for d in datasets if not _is_what_the_user_says(d)}
    # Of a root in which data sets lie, nobody means that each is a class.
    is_of_datasets = any(line.is_found for line in lines.values())
    for dataset in datasets:
        if dataset.name not in lines:
            absent = _Line(dataset.name, "", "-", dataset.fetch)
            is_told = not is_of_datasets or (root / dataset.name).exists()
            lines[dataset.name] = _line(dataset, root) if is_told else absent
    grid = Grid("data set", "images", "state", "where, or how to get it", box=None, padding=(0, 2, 0, 0))
    grid.columns[1].justify = "right"
    grid.columns[2].overflow = grid.columns[3].overflow = "fold"
    for dataset in datasets:
        grid.add_row(*map(Text, lines[dataset.name][:4]))
    console = make_console()
    say(console, f"data root: {root}{'' if root.exists() else '   (nothing is there)'}")
    console.print(grid)
    say(console, "licence, citation, and how to get one by hand: bench show NAME")


def _is_what_the_user_says(dataset: Dataset) -> bool:
    """Whether the data set is whatever images lie at the data root: nobody publishes it or counts it."""
    return not (_is_fetchable(dataset) or dataset.home or dataset.expected)


def _is_fetchable(dataset: Dataset) -> bool:
    try:
        return dataset.download is not None or bool(dataset.archives(dataset.params()))
    except Exception:  # a third party's function may raise anything; `_line` says what
        return True


def _line(dataset: Dataset, root: Path) -> _Line:
    """One data set. Whatever its index raises is a line of the table, not the end of the list."""
    from bench.data.fetch.local_state import is_unfinished
    from bench.errors import DataNotFound, describe

    name = dataset.name
    try:
        params = dataset.params()
        is_fetchable = bool(dataset.archives(params)) or dataset.download is not None
        if dataset.expected and not (is_fetchable or dataset.home or (root / name).exists()):
            return _Line(name, "", "-", dataset.fetch)  # generated
        if is_unfinished(root / name):
            return _Line(name, "", "unfinished", f"bench data fetch {name}   (goes on)", True)
        index = dataset.index(root, params)
    except DataNotFound:
        if _is_what_the_user_says(dataset):
            return _Line(name, "", "-", dataset.fetch)
        return _Line(name, "", "not here", f"bench data fetch {name}" if is_fetchable else dataset.fetch)
    except Exception as error:  # a third-party index may raise anything
        return _Line(name, "", "failed", describe(error)[:200])
    return _present(dataset, index, root)


def _present(dataset: Dataset, index: Index, root: Path) -> _Line:
    from bench.data.fetch.fetch import count_differences, only_looks_like

    images = str(len(index.samples))
    version = f"{index.version}, " if index.version else ""
    expected = index.expected or dataset.expected
    looks_alike = only_looks_like(dataset, index, root)
    if differences := count_differences(index, dataset):
        images += f" of {sum(expected.values())}"
        listed = ", ".join(f"{n} {there} of {wanted}" for n, (there, wanted) in differences.items())
        state = f"a folder in its layout, with {listed}" if looks_alike else f"{version}differs: {listed}"
    elif expected:
        state = f"{version}complete"
    else:
        state = f"{version}{_classes(index)}"
    return _Line(dataset.name, images, state, _where(dataset, index, root), not looks_alike)


def _classes(index: Index) -> str:
    counts = Counter(sample.label for sample in index.samples)
    shown = ", ".join(f"{name} {counts[name]}" for name in index.classes[:CLASSES_SHOWN])
    more = f" and {len(index.classes) - CLASSES_SHOWN} more" if len(index.classes) > CLASSES_SHOWN else ""
    noun = "class" if len(index.classes) == 1 else "classes"
    return f"{len(index.classes)} {noun}: {shown}{more}"


def _where(dataset: Dataset, index: Index, root: Path) -> str:
    from bench.data.fetch.fetch import image_folder
    from bench.data.fetch.local_state import read_consent

    place = root if root.is_file() else image_folder(index, root)
    fetched = str(read_consent(root / dataset.name).get("date", ""))[:10]
    if fetched:
        return f"{place}   (fetched {fetched})"
    is_below = place.absolute().is_relative_to(root.absolute()) or place.resolve().is_relative_to(
        root.resolve()
    )
    return str(place) if is_below else f"{place}   (not below the data root)"
