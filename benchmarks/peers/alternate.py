"""Ours, a peer, ours, the next peer, ours: at each turn a whole process, and a longer one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.command import Ran
from benchmarks.figure import Figure, ratio
from benchmarks.pairs import Pair

Runner = Callable[[int], Ran]
"""Trains for so many epochs in a process of its own."""


@dataclass(frozen=True)
class Visit:
    """One turn of a program.

    Attributes:
        short: the run whose whole process counts.
        long: one of `extra` more epochs, right after it; None without.
        extra: epochs.
    """

    short: Ran
    long: Ran | None = None
    extra: int = 0

    @property
    def epoch(self) -> float | None:
        """Seconds of an epoch when all is running: start-up and end are in both runs, and cancel."""
        return None if self.long is None else (self.long.seconds - self.short.seconds) / self.extra


@dataclass
class Visits:
    """Turns so far: of ours one more than of a peer, before and after each of its own.

    Attributes:
        around: ours, before and after each visit of a peer, by the peer.
        of: visits by program, ours under "".
    """

    around: dict[str, list[tuple[Visit, Visit]]] = field(default_factory=dict)
    of: dict[str, list[Visit]] = field(default_factory=dict)

    def whole(self, peer: str) -> list[Pair]:
        """A peer's seconds of the whole process, and ours."""
        turns = zip(self.around.get(peer, []), self.of.get(peer, []), strict=True)
        return [
            Pair(before.short.seconds, visit.short.seconds, after.short.seconds)
            for (before, after), visit in turns
        ]

    def epochs(self, peer: str) -> list[Pair]:
        """A peer's seconds of an epoch, and ours."""
        turns = zip(self.around.get(peer, []), self.of.get(peer, []), strict=True)
        return [
            Pair(before.epoch, visit.epoch, after.epoch)
            for (before, after), visit in turns
            if before.epoch and visit.epoch and after.epoch
        ]


def alternate(ours: Runner, peers: Mapping[str, Runner], epochs: int, extra: int, rounds: int) -> Visits:
    """Visits until every peer has `rounds` pairs that count, or twice as many rounds are over.

    `extra` 0 leaves out the long runs.
    """
    visits = Visits()

    def visit(name: str, runner: Runner) -> Visit:
        short = runner(epochs)
        made = Visit(short, runner(epochs + extra), extra) if extra else Visit(short)
        visits.of.setdefault(name, []).append(made)
        return made

    before = visit("", ours)
    for _ in range(2 * rounds):
        for name, runner in peers.items():
            visit(name, runner)
            after = visit("", ours)
            visits.around.setdefault(name, []).append((before, after))
            before = after
        if all(sum(pair.accepted for pair in visits.whole(name)) >= rounds for name in peers):
            break
    return visits


def figures(
    section: str, titles: Mapping[str, str], visits: Visits, notes: Mapping[str, str], enough: int
) -> Iterator[Figure]:
    """What the visits say of each program, ours first; `titles` and `notes` are by program, ours under ""."""
    for name, title in titles.items():
        made = visits.of[name]
        shorts = [visit.short for visit in made]
        yield over_runs(section, f"{title}: whole process", [r.seconds for r in shorts], "s", notes[name])
        if name:
            yield ratio(section, f"{title}: whole process / ours", visits.whole(name), enough)
        if epochs := [visit.epoch for visit in made if visit.epoch is not None]:
            yield over_runs(section, f"{title}: an epoch", epochs, "s", f"of {made[0].extra} more")
            if name:
                yield ratio(section, f"{title}: an epoch / ours", visits.epochs(name), enough)
        yield over_runs(section, f"{title}: in the kernel", [r.system for r in shorts], "s")
        yield over_runs(section, f"{title}: largest process", [r.largest for r in shorts], "MiB")


def over_runs(section: str, what: str, values: Sequence[float], unit: str, note: str = "") -> Figure:
    """The median, with the range."""
    spread = f"{min(values):.4g} to {max(values):.4g}, {len(values)} runs"
    return Figure(section, what, median(values), unit, f"{spread}; {note}" if note else spread)
