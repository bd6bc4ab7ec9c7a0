"""Interruptions by signal: the first one ends work where it can go on, the next one at once.

A scheduler warns by SIGTERM or SIGUSR1, a closed terminal by SIGHUP, a person by Ctrl-C (SIGINT). All of them
raise KeyboardInterrupt, except that within `deferred` the first one waits until its block asks for it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)
"""What a process is asked to end with; Windows has the first two alone."""


class _State:
    """Of this process, as its signal handlers are."""

    deferring = False  # within `deferred`
    asked = False  # by a signal that waits
    came = False  # any, ever: this process is to end


def listen() -> None:
    """Let each of SIGNALS interrupt this process. What its parent had it ignore (nohup) stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def interrupt() -> None:
    """What a signal does: raise KeyboardInterrupt, or note that one is asked for within `deferred`."""
    _State.came = True
    if _State.deferring and not _State.asked:
        _State.asked = True
        return
    raise KeyboardInterrupt


def interrupted() -> bool:
    """Whether a KeyboardInterrupt may come from a signal. If not, some code raised it by itself.

    Where SIGINT is Python's own to handle, in a notebook or a script, nobody can tell.
    """
    return _State.came or signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _handle(signum: int, frame: FrameType | None) -> None:
    interrupt()


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether an interruption has come, which does not break into the block.

    Who is told so puts things in order and raises KeyboardInterrupt. A second signal breaks in all the same.
    """
    _State.deferring, _State.asked = True, False
    try:
        yield lambda: _State.asked
    finally:
        asked, _State.deferring, _State.asked = _State.asked, False, False
    if asked:  # it came when the block was over
        raise KeyboardInterrupt
