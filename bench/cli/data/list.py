"""`bench data list`: which data sets are here, where, and whether each is complete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.options import DataOption, data_root
from bench.cli.screen import contain, installed_components, make_console, say

if TYPE_CHECKING:
    from bench.interfaces.dataset import Dataset, Index


class _Line(NamedTuple):
    name: str
    images: str
    state: str
    where: str  # or how to get it


def list_datasets(data: DataOption = None) -> None:
    """List the data sets: which are here, where, and whether they are complete. No image is opened.

    Example: bench data list --data /scratch/images
    """
    from rich.table import Table as Grid
    from rich.text import Text

    registry = contain(installed_components())
    root = data_root(data)
    grid = Grid("data set", "images", "state", "where, or how to get it", box=None, padding=(0, 2, 0, 0))
    grid.columns[1].justify = "right"
    grid.columns[2].overflow = grid.columns[3].overflow = "fold"
    for dataset in registry.datasets.all():
        grid.add_row(*map(Text, _row(dataset, root)))
    console = make_console()
    say(console, f"data root: {root}")
    console.print(grid)


def _row(dataset: Dataset, root: Path) -> _Line:
    """One data set. Whatever its index raises is a line of the table, not the end of the list."""
    from bench.data.fetch.local_state import is_unfinished
    from bench.errors import DataNotFound, describe

    name = dataset.name
    try:
        params = dataset.params()
        fetchable = bool(dataset.archives(params)) or dataset.download is not None
        if not fetchable and not dataset.home and not (root / name).exists():
            return _Line(name, "", "-", dataset.fetch)  # generated, or wherever the user says
        if is_unfinished(root / name):
            return _Line(name, "", "unfinished", f"bench data fetch {name}   (goes on)")
        index = dataset.index(root, params)
    except DataNotFound:
        return _Line(name, "", "not here", f"bench data fetch {name}" if fetchable else dataset.fetch)
    except Exception as error:  # a third-party index may raise anything
        return _Line(name, "", "failed", describe(error)[:200])
    return _present(dataset, index, root)


def _present(dataset: Dataset, index: Index, root: Path) -> _Line:
    from bench.data.fetch.fetch import count_differences, image_folder
    from bench.data.fetch.local_state import read_consent

    version = f"{index.version}, " if index.version else ""
    if counts := count_differences(index, dataset):
        state = "differs: " + ", ".join(
            f"{n} {present} of {expected}" for n, (present, expected) in counts.items()
        )
    else:
        state = "complete" if index.expected or dataset.expected else "present"
    fetched = str(read_consent(root / dataset.name).get("date", ""))[:10]
    place = f"{image_folder(index, root)}{f'   (fetched {fetched})' if fetched else ''}"
    return _Line(dataset.name, str(len(index.samples)), version + state, place)
