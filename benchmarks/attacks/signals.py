"""Signals, kills and full disks at chosen and random moments: does the same command go on to the same bits?

    python -m benchmarks.attacks.signals                            # some of all kinds, minutes
    python -m benchmarks.attacks.signals --count 40                 # all signals, a quarter of an hour
    python -m benchmarks.attacks.signals --python OTHER/bin/python  # against another version

A study of two trainings is run once without interruption. Then each attack runs it in a new folder:

- SIGINT, SIGTERM, SIGHUP or SIGUSR1 to the command, while it starts, in the middle of an epoch, between
  epochs, while it predicts, or twice; with one unit and with two at once. A plugin writes down what it is
  asked for, so that the moment is known. The command must end in time with exit code 130 and a line that says
  how to go on.
- SIGKILL to the command at a random moment.
- A disk that is full: the results lie in memory of a fraction of the size they need (a `tmpfs`, mounted in a
  namespace of its own, which many systems allow without root). The command must say so in a line.

Sound is what leaves no process running and no temporary file, and then, by the same command, ends with the
predictions of the uninterrupted run, bit for bit. Before it goes on after SIGKILL, the files of the killed
process are made to look old, because young ones are left alone.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.attacks.processes import (
    MOUNTING,
    PHANTOM,
    TINY,
    Bench,
    Ended,
    PythonOption,
    QuickOption,
    Started,
    age,
    beside,
    install,
    leftovers,
    stored,
    temporaries,
    wait_until,
    workspace,
)

PROTOCOL = """
size = 32
rounds = 2
[finetune]
epochs = 3
batch = 8
resize = 36
[pretrain]
resize = 40
"""
STUDY = (*PHANTOM, "-m", "witness", "-s", "initialized-0", "--ensembles", "none", *TINY)
TRAININGS = 2
EPOCHS = 3
PACE = 0.1  # seconds of a step or a batch of predictions
STUCK = 60.0  # seconds of a step from which only a second signal can free it
LIMIT = 30.0  # seconds after a signal within which the command must end; STUCK is more
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
MOMENTS = ("starting", "middle of an epoch", "between epochs", "predicting", "second signal")
FRACTIONS: tuple[float, ...] = (0.15, 0.5, 0.85)  # of the size of all results
FILL = """
mount -t tmpfs -o size="$SIZE" none disk || exit 99
"$@"
echo $? > first
mount -o remount,size=1g none disk && "$@"
code=$?
cp -r disk/results results
exit $code
"""


class Attack(NamedTuple):
    """A signal, when it is sent, and with how many units at once."""

    signal: str
    moment: str
    jobs: int

    def __str__(self) -> str:
        return f"{self.signal}, {self.moment}, --jobs {self.jobs}"


class Whole(NamedTuple):
    """The uninterrupted run: what it stored, in how many steps an epoch, seconds and bytes."""

    stored: Mapping[str, bytes]
    steps: int
    seconds: float
    size: int


def attacks() -> list[Attack]:
    """All signals at all moments, with one unit and with two at once; the first few are of all kinds."""
    every = [Attack(*choice) for choice in product(SIGNALS, MOMENTS, (1, 2))]
    return [every[11 * number % len(every)] for number in range(len(every))]


def announced(folder: Path, what: str) -> int:
    """How often the process that did so most often has written this down."""
    path = folder / "witness"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    said = Counter(pid for _, pid, *rest in (line.split() for line in lines) if rest[0] == what)
    return max(said.values(), default=0)


def environment(folder: Path, pace: float = PACE) -> dict[str, str]:
    return {"WITNESS": str(folder / "witness"), "WITNESS_PACE": str(pace)}


def run_whole(attacked: Bench, folder: Path) -> Whole:
    """The uninterrupted run."""
    workspace(folder, PROTOCOL)
    began = time.monotonic()
    ended = attacked.run(folder, "run", *STUDY, **environment(folder))
    if ended.code:
        sys.exit(f"the study to attack could not be run:\n{ended.text}")
    seconds = time.monotonic() - began
    size = sum(path.stat().st_size for path in (folder / "results").rglob("*") if path.is_file())
    return Whole(stored(folder / "results"), announced(folder, "step") // (TRAININGS * EPOCHS), seconds, size)


def arrived(process: Started, folder: Path, moment: str, steps: int) -> bool:
    """Wait for the moment to send a signal; False if the command ended before it."""
    if moment == "starting":  # it plans, and loads PyTorch
        come = wait_until(lambda: any(folder.glob("results/logs/*")), process)
    elif moment == "predicting":
        come = wait_until(lambda: announced(folder, "predict") > 0, process)
    else:
        step = {"middle of an epoch": steps + steps // 2, "between epochs": steps, "second signal": 1}[moment]
        come = wait_until(lambda: announced(folder, "step") >= step, process)
    time.sleep(random.uniform(0, PACE))
    return come


def send(attack: Attack, attacked: Bench, folder: Path, whole: Whole) -> list[str]:
    """Interrupt a run; gives what is wrong."""
    pace = STUCK if attack.moment == "second signal" else PACE
    command = ("run", *STUDY, "--jobs", str(attack.jobs))
    process = attacked.start(workspace(folder, PROTOCOL), *command, **environment(folder, pace))
    found = [] if arrived(process, folder, attack.moment, whole.steps) else ["it never came so far"]
    process.send(getattr(signal, attack.signal))
    if attack.moment == "second signal":
        time.sleep(1.0)
        process.send(getattr(signal, attack.signal))
    ended = process.wait(LIMIT)
    found += after(ended, folder)
    if ended.code is not None and ended.code != 130:
        found.append(f"exit {ended.code}")
    if "go on" not in ended.stderr:
        found.append("no word of how to go on")
    if temporaries(folder / "results"):
        found.append("temporary files left")
    return found + go_on(attacked, command, folder, whole)


def kill(moment: float, attacked: Bench, folder: Path, whole: Whole) -> list[str]:
    """End a run by SIGKILL after so many seconds; gives what is wrong."""
    command = ("run", *STUDY)
    process = attacked.start(workspace(folder, PROTOCOL), *command, **environment(folder))
    wait_until(lambda: False, process, limit=moment)
    process.send(signal.SIGKILL)
    found = after(process.wait(LIMIT), folder)
    age(folder / "results")
    return found + go_on(attacked, command, folder, whole)


def after(ended: Ended, folder: Path) -> list[str]:
    found = [] if ended.code is not None else [f"did not end in {LIMIT:.0f} s"]
    if ended.orphans:
        found.append(f"{ended.orphans} processes left")
    if "Traceback" in ended.stderr:
        found.append("a traceback")
    return found


def go_on(attacked: Bench, command: Sequence[str], folder: Path, whole: Whole) -> list[str]:
    """Run the same command to its end; gives what is wrong."""
    again = attacked.run(folder, *command, **environment(folder, 0.0))
    found = [] if again.code == 0 else [f"does not go on: exit {again.code}"]
    return found + compared(folder / "results", whole)


def compared(results: Path, whole: Whole) -> list[str]:
    found = [] if stored(results) == whole.stored else ["other predictions"]
    if left := leftovers(results):
        found.append(f"left: {' '.join(left)}")
    return found


def fill(fraction: float, attacked: Bench, folder: Path, whole: Whole) -> list[str]:
    """Run on a disk that holds this fraction of the results, and again on one that holds all."""
    workspace(folder, PROTOCOL)
    (folder / "disk").mkdir()
    command = ("run", *STUDY, "--results", "disk/results")
    size = str(int(fraction * whole.size))
    ended = attacked.run_mounting(FILL, folder, *command, **environment(folder, 0.0), SIZE=size)
    found = after(ended, folder)
    first = (folder / "first").read_text().strip() if (folder / "first").exists() else "?"
    if first not in ("1", "2"):
        found.append(f"exit {first} on the full disk")
    if "No space left on device" not in ended.stderr:
        found.append("not said that the disk is full")
    if ended.code:
        found.append(f"does not go on: exit {ended.code}")
    return found + compared(folder / "results", whole)


def cannot_mount(folder: Path) -> str:
    """Why no small disk can be mounted here; "" if it can."""
    if not shutil.which("unshare"):
        return "unshare is missing"
    script = 'mount -t tmpfs -o size=64k none "$0"'
    tried = subprocess.run([*MOUNTING, "sh", "-c", script, str(folder)], capture_output=True, text=True)
    return " ".join(tried.stderr.split()) if tried.returncode else ""


def main(
    count: Annotated[int, typer.Option(min=0, help="So many of the 40 signals.")] = 10,
    kills: Annotated[int, typer.Option(min=0, help="So many runs are killed at random moments.")] = 4,
    quick: QuickOption = False,
    seed: Annotated[int, typer.Option(help="Of the random moments.")] = 0,
    python: PythonOption = sys.executable,
) -> None:
    """Interrupt runs and print what is lost."""
    random.seed(seed)
    chosen, fractions = attacks()[:count], FRACTIONS
    if quick:
        chosen, kills, fractions = attacks()[2:3], 1, ()
    sound, number = 0, 0
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        attacked = Bench(beside(python), install(base / "site", Path(__file__).with_name("witness")))
        whole = run_whole(attacked, base / "whole")
        print(f"{'attack':44} outcome")

        def show(attack: str, wrong: list[str]) -> None:
            nonlocal sound, number
            number, sound = number + 1, sound + (not wrong)
            print(f"{attack:44} {', '.join(wrong) or 'sound'}", flush=True)
            shutil.rmtree(base / str(number - 1), ignore_errors=True)

        for attack in chosen:
            show(str(attack), send(attack, attacked, base / str(number), whole))
        for _ in range(kills):
            moment = random.uniform(0, whole.seconds)
            show(f"SIGKILL after {moment:.1f} s", kill(moment, attacked, base / str(number), whole))
        if refused := cannot_mount(base) if fractions else "":
            print(f"a full disk: skipped, because {refused}")
            fractions = ()
        for fraction in fractions:
            title = f"a disk of {fraction:.0%} of the results"
            show(title, fill(fraction, attacked, base / str(number), whole))
    print(f"{sound} of {number} sound")
    sys.exit(sound != number)


if __name__ == "__main__":
    typer.run(main)
