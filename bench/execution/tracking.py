"""Telling trackers what happens, without any of them slowing or breaking what they follow.

Each tracker has a thread and a queue of its own, so that one that hangs holds up nothing but itself. What is
wrong with one is said once, and it is told nothing more. Of a tracker that is slow, epochs are left out; what
became of units is not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from bench.errors import describe, place_in
from bench.interfaces.tracker import EpochEnded, Event, StudyBegan, Tell, TrackedUnit, Tracker
from bench.registry import Entry

log = logging.getLogger("bench")

MOST = 1000  # events that wait for a tracker, beyond which epochs are left out
PATIENCE = 60.0  # seconds that one call may take
LAST = 300.0  # seconds that a tracker has, once the study has ended, for what it was not told yet
INTERRUPTED = 10.0  # seconds for that, and for one call, where somebody waits for the end

Opened = tuple[Entry[Tracker], Any]
"""A tracker with its plugin, and its parameters."""


Complete = Callable[[Event], Event]
"""Adds to an event what takes time to find."""


@contextmanager
def tracked(began: StudyBegan, trackers: Sequence[Opened], complete: Complete) -> Iterator[Tell]:
    """Give a function that passes events on to these trackers, and returns at once.

    Events are made complete first, in the trackers' threads. The block's end waits for what they were not
    told yet; how long at most, LAST and INTERRUPTED say.
    """
    told = [_Told(entry, params, began, complete) for entry, params in trackers]

    def tell(event: Event) -> None:
        for one in told:
            one.tell(event)

    interrupted = True
    try:
        yield tell
        interrupted = False
    finally:
        deadline = time.monotonic() + (INTERRUPTED if interrupted else LAST)
        for one in told:
            one.close()
        for one in told:
            one.wait(deadline, INTERRUPTED if interrupted else PATIENCE)


class _Told:
    """One tracker, its thread, and the events that wait for it."""

    def __init__(self, entry: Entry[Tracker], params: Any, began: StudyBegan, complete: Complete) -> None:
        self.entry, self.params, self.complete = entry, params, complete
        self.began = replace(began, replay=partial(self._replay, began.replay))
        self.news = threading.Condition()
        self.waiting: deque[Event] = deque()
        self.closed = self.dropped = self.slow = False
        self.since: float | None = time.monotonic()  # when the call at work began; None between two
        self.thread = threading.Thread(target=self._follow, name=f"tracker {self.name}", daemon=True)
        self.thread.start()

    @property
    def name(self) -> str:
        return self.entry.component.name

    def tell(self, event: Event) -> None:
        """Queue an event."""
        self._look(PATIENCE)
        with self.news:
            if self.dropped:
                return
            full = len(self.waiting) >= MOST and isinstance(event, EpochEnded)
            if not full:
                self.waiting.append(event)
                self.news.notify()
        if full and not self.slow:
            self.slow = True
            self._warn("is too slow: epochs are left out of what it is told, results of units are not")

    def close(self) -> None:
        """There are no more events."""
        with self.news:
            self.closed = True
            self.news.notify()

    def wait(self, deadline: float, patience: float) -> None:
        """Wait until it has been told all, at most until the deadline, and `patience` for one call."""
        while self.thread.is_alive() and not self.dropped:
            self._look(patience)
            if time.monotonic() > deadline:
                self._drop(f"did not end in time: {len(self.waiting)} events were not told")
            self.thread.join(0.1)

    # --- in the thread -------------------------------------------------------------------------------

    def _follow(self) -> None:
        try:
            tracker = self.entry.component
            with tracker.open(self.began, self.params) as tell:
                while (event := self._next()) is not None:
                    tell(self.complete(event))
        except (Exception, SystemExit) as error:  # whatever a tracker raises
            log.debug("tracker %s", self.name, exc_info=error)
            place = place_in(error, {self.entry.plugin.package})[1]
            self._drop(f"failed: {describe(error)}{f' at {place}' if place else ''}")
        finally:
            self.since = None

    def _replay(self, replay: Callable[[TrackedUnit], Iterable[Event]], unit: TrackedUnit) -> Iterator[Event]:
        """Events of before, each of which has the time of one call."""
        for event in replay(unit):
            self.since = time.monotonic()
            yield self.complete(event)

    def _next(self) -> Event | None:
        """The next event; None after the last."""
        with self.news:
            self.since = None
            while not self.waiting and not self.closed and not self.dropped:
                self.news.wait()
            self.since = time.monotonic()
            return self.waiting.popleft() if self.waiting and not self.dropped else None

    # --- what is wrong -------------------------------------------------------------------------------

    def _look(self, patience: float) -> None:
        """Drop it if a call takes too long."""
        since = self.since
        if since is not None and time.monotonic() - since > patience:
            self._drop(f"hangs: one call took longer than {patience:g} seconds")

    def _drop(self, why: str) -> None:
        with self.news:
            if self.dropped:
                return
            self.dropped = True
            self.waiting.clear()
            self.news.notify()
        self._warn(f"{why}; it is told no more of this study, which goes on")

    def _warn(self, text: str) -> None:
        log.warning("tracker %s of plugin %s %s", self.name, self.entry.plugin, text)
