"""Several `bench run` on one results folder, one of them killed: is each training done once?

    python -m benchmarks.attacks.claims                            # five times three processes, minutes
    python -m benchmarks.attacks.claims --python OTHER/bin/python  # those of another version

The processes begin one after another on a folder that is empty. In the middle, the one that began a training
last is killed by SIGKILL. Counted are the trainings that were begun, by a plugin that writes them down, and
of these the superfluous ones: begun once more although nobody who had begun it was killed. A process fails if
it ends with another exit code than 0, or says that a unit failed. When all have ended, the same command must
find nothing to do, and leave nothing but results.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.attacks.processes import (
    LIMIT,
    PHANTOM,
    TINY,
    Bench,
    PythonOption,
    QuickOption,
    Started,
    age,
    beside,
    install,
    leftovers,
    stored,
    wait_until,
    workspace,
)
from benchmarks.attacks.witness import INITIALIZED, PRETRAINED

TRAININGS = (*INITIALIZED, *PRETRAINED)
STUDY = (*PHANTOM, "-m", "witness", "-s", ",".join(TRAININGS), "--ensembles", "none", *TINY)
PACE = "0.2"  # seconds of a step, so that several trainings are at work when one process is killed
STAGGER = 0.7  # seconds between two starts


class Begun(NamedTuple):
    """A training that a process began."""

    process: int
    training: str


class Counts(NamedTuple):
    """Of one attack: trainings begun, those of them that were superfluous, processes that failed because of
    others, processes left running, and the files left lying."""

    begun: int
    superfluous: int
    failed: int
    orphans: int
    leftovers: list[str]

    @property
    def sound(self) -> bool:
        return not any(self[1:])


def read(witness: Path) -> list[Begun]:
    """What the plugin has written down so far."""
    lines = witness.read_text(encoding="utf-8").splitlines() if witness.exists() else []
    words = [line.split() for line in lines]
    return [Begun(int(who), rest[1]) for who, _, *rest in words if rest[0] == "training"]


def superfluous(begun: list[Begun], killed: int, unfinished: set[str]) -> int:
    """Trainings that were begun more often than once; what the killed process left unfinished, than twice."""
    lost = {training for process, training in begun if process == killed and training in unfinished}
    times = Counter(training for _, training in begun)
    return sum(max(0, count - 1 - (training in lost)) for training, count in times.items())


def attack(attacked: Bench, folder: Path, processes: int, jobs: int) -> Counts:
    """Attack one folder."""
    witness, results = folder / "witness", folder / "results"
    command = ("run", *STUDY, "--jobs", str(jobs))
    running: list[Started] = []
    for number in range(processes):
        who = {"WITNESS": str(witness), "WITNESS_BY": str(number), "WITNESS_PACE": PACE}
        running.append(attacked.start(folder, *command, **who))
        time.sleep(STAGGER)
    half = len(TRAININGS) // 2
    wait_until(lambda: len({training for _, training in read(witness)}) >= half, running[0])
    begun = read(witness)
    killed = begun[-1].process if begun else 0
    running[killed].send(signal.SIGKILL)
    finished = " ".join(stored(results))
    unfinished = {training for training in TRAININGS if training not in finished}
    ended = [process.wait(LIMIT) for process in running]
    survivors = [end for number, end in enumerate(ended) if number != killed]
    failed = sum(end.code != 0 or "FAILED" in end.text for end in survivors)
    begun = read(witness)
    age(results)
    again = attacked.run(folder, *command, WITNESS=str(witness), WITNESS_BY=str(processes))
    failed += again.code != 0
    return Counts(
        len(begun),
        superfluous(begun, killed, unfinished) + len(read(witness)) - len(begun),
        failed,
        sum(end.orphans for end in ended),
        leftovers(results),
    )


def main(
    repetitions: Annotated[int, typer.Option(min=1, help="How many folders are attacked.")] = 5,
    processes: Annotated[int, typer.Option(min=2, help="How many processes share a folder.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Units at once in each process.")] = 1,
    quick: QuickOption = False,
    python: PythonOption = sys.executable,
) -> None:
    """Let several runs share a folder and print what they did twice."""
    found: list[Counts] = []
    with tempfile.TemporaryDirectory() as name:
        attacked = Bench(beside(python), install(Path(name) / "site", Path(__file__).with_name("witness")))
        print(
            f"{'attack':8} {'begun':>6} {'superfluous':>12} {'failed':>7} {'orphans':>8} {'left-overs':>11}"
        )
        for number in range(1 if quick else repetitions):
            counts = attack(attacked, workspace(Path(name) / str(number)), processes, jobs)
            found.append(counts)
            print(
                f"{number + 1:<8} {counts.begun:>6} {counts.superfluous:>12} {counts.failed:>7} "
                f"{counts.orphans:>8} {len(counts.leftovers):>11}",
                *counts.leftovers,
                flush=True,
            )
    begun, extra, failed, orphans = (sum(column) for column in list(zip(*found, strict=True))[:4])
    left = sum(len(counts.leftovers) for counts in found)
    runs = len(found) * (processes - 1)
    print(
        f"{sum(counts.sound for counts in found)} of {len(found)} sound: "
        f"{extra} of {begun} trainings superfluous, {failed} of {runs} surviving processes failed, "
        f"{orphans} processes and {left} files left"
    )
    sys.exit(not all(counts.sound for counts in found))


if __name__ == "__main__":
    typer.run(main)
