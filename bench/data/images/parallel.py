"""Apply a function to many items in threads. Results come in order, and only a few are held at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # batches per worker


def each(function: Callable[[Item], Result]) -> Callable[[Sequence[Item]], list[Result]]:
    """`function`, which takes one item, in the form that `in_order` needs."""
    return lambda items: [function(item) for item in items]


def in_order(
    function: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], batch: int, workers: int
) -> Iterator[Result]:
    """Yield the result of every item, in order. `workers` threads call `function` on `batch` items at a time.

    Only AHEAD batches per worker are computed before their results are taken, which bounds memory.
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


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within the block, OpenCV and BLAS compute with one thread for each of ours: on small arrays, threads of
    their own cost more than they gain, and on busy cores a hundred times as much."""
    import cv2
    from threadpoolctl import threadpool_limits

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)
