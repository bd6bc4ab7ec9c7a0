"""One function over many items in threads, in order, with memory that does not grow with their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # batches a worker that may wait, done, for one before them


def each(function: Callable[[Item], Result]) -> Callable[[Sequence[Item]], list[Result]]:
    """`function` for `in_order`, where it takes one item."""
    return lambda items: [function(item) for item in items]


def in_order(
    function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], batch: int, workers: int
) -> Iterator[Result]:
    """The results of `function`, which takes `batch` items at a time, by `workers` threads.

    They stay a few batches ahead of whoever takes the results.
    """
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[Sequence[Result]]] = deque()
        try:
            for start in range(0, len(items), batch):
                ahead.append(pool.submit(function, items[start : start + batch]))
                if len(ahead) > AHEAD * workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
