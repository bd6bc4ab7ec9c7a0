"""Sets of images that belong together: duplicates of one another, and groups that share duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def clusters(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The connected sets of two or more among `count` nodes, given the pairs that are linked."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(links), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), shape=(count, count))
    components = connected_components(graph, directed=False)[1]
    return [members.tolist() for members in _members(components) if len(members) > 1]


def _members(components: NDArray[np.int32]) -> Iterator[NDArray[np.int64]]:
    """The nodes of each component, given the component of each node."""
    order = np.argsort(components, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(components[order])) + 1)


def join_groups(groups: Sequence[str], duplicates: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """The group of every image (N,), after groups that share a set of duplicates became one.

    A joined group has the alphabetically first name of its members.
    """
    names = sorted(set(groups))
    numbers = {name: i for i, name in enumerate(names)}
    links = [(numbers[groups[c[0]]], numbers[groups[i]]) for c in duplicates for i in c[1:]]
    joined_into = list(range(len(names)))
    for members in clusters(len(names), links):
        for member in members:
            joined_into[member] = members[0]
    return tuple(names[joined_into[numbers[group]]] for group in groups)


def label_conflicts(duplicates: Iterable[Sequence[int]], labels: Sequence[int]) -> list[int]:
    """Positions of images whose duplicates carry another label."""
    return sorted(i for c in duplicates if len({labels[i] for i in c}) > 1 for i in c)
