"""`bench data list`: which data sets are here, where, and whether all of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.options import DataOption, default_data_root, make_console, say, warn_of_problems

if TYPE_CHECKING:
    from bench.types import Dataset, Index


class _Row(NamedTuple):
    name: str
    images: str
    state: str
    where: str  # or how to get it


def list_datasets(data: DataOption = None) -> None:
    """List the data sets: which are here, where, and whether they are complete. No image is opened.

    Example: bench data list --data /scratch/images
    """
    from rich.table import Table
    from rich.text import Text

    from bench.plugins import catalog

    offers = catalog()
    warn_of_problems(offers)
    root = data if data is not None else default_data_root()
    table = Table("data set", "images", "state", "where, or how to get it", box=None, padding=(0, 2, 0, 0))
    table.columns[1].justify = "right"
    table.columns[2].overflow = table.columns[3].overflow = "fold"
    for dataset in offers.offers("datasets"):
        table.add_row(*map(Text, _row(dataset, root)))
    console = make_console()
    say(console, f"data root: {root}")
    console.print(table)


def _row(dataset: Dataset, root: Path) -> _Row:
    """One data set. Whatever its index raises is a line of the table, not the end of the list."""
    from bench.data.holdings import is_unfinished
    from bench.errors import DataNotFound

    name = dataset.name
    try:
        params = dataset.params()
        fetchable = bool(dataset.archives(params)) or dataset.download is not None
        if not fetchable and not dataset.home and not (root / name).exists():
            return _Row(name, "", "-", dataset.fetch)  # generated, or wherever the user says
        if is_unfinished(root / name):
            return _Row(name, "", "unfinished", f"bench data fetch {name}   (goes on)")
        index = dataset.index(root, params)
    except DataNotFound:
        return _Row(name, "", "not here", f"bench data fetch {name}" if fetchable else dataset.fetch)
    except Exception as error:  # a stranger's index may raise anything
        return _Row(name, "", "failed", " ".join(f"{type(error).__name__}: {error}".split())[:200])
    return _present(dataset, index, root)


def _present(dataset: Dataset, index: Index, root: Path) -> _Row:
    from bench.data.fetch import differences, where
    from bench.data.holdings import read_consent

    version = f"{index.version}, " if index.version else ""
    if counts := differences(index, dataset):
        state = "differs: " + ", ".join(f"{n} {found} of {wanted}" for n, (found, wanted) in counts.items())
    else:
        state = "complete" if index.expected or dataset.expected else "present"
    fetched = str(read_consent(root / dataset.name).get("date", ""))[:10]
    place = f"{where(index, root)}{f'   (fetched {fetched})' if fetched else ''}"
    return _Row(dataset.name, str(len(index.samples)), version + state, place)
