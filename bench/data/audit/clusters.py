"""Sets of images that belong together: connected duplicates, and groups joined by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected sets of two or more among `count` things joined by `links`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(links), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    return [members.tolist() for members in _by_label(label) if len(members) > 1]


def _by_label(label: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def joined(groups: Sequence[str], duplicates: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """`groups` (N,), those that share a set of duplicates made one, under the first of their names."""
    names = sorted(set(groups))
    number = {name: i for i, name in enumerate(names)}
    links = [(number[groups[c[0]]], number[groups[i]]) for c in duplicates for i in c[1:]]
    first = list(range(len(names)))
    for members in clusters(len(names), links):
        for member in members:
            first[member] = members[0]
    return tuple(names[first[number[group]]] for group in groups)


def label_conflicts(duplicates: Iterable[Sequence[int]], labels: Sequence[Any]) -> list[int]:
    """Positions of images whose duplicates carry another label."""
    return sorted(i for c in duplicates if len({labels[i] for i in c}) > 1 for i in c)
