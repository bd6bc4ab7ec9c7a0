"""Real `bench` processes for the attacks: started, watched, and ended with all that they started themselves.

An attack is pointed at another version by `--python`: the command `bench` beside that interpreter is run.
Linux alone, because /proc tells which processes a command has left behind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

PROTOCOL = """
size = 32
rounds = 1
[pretrain]
epochs = 2
resize = 40
[finetune]
epochs = 2
resize = 36
"""
PHANTOM = ("-d", "phantom", "--set", "dataset.phantom.patients=20")
TINY = ("-p", "tiny.toml", "--device", "cpu", "--threads", "1")  # in a `workspace`; a run takes seconds
LIMIT = 120.0  # seconds for a command that nothing holds up, on a busy machine
GRACE = 15.0  # seconds that what a command has started may take to end after it
TEMPORARY = re.compile(r"\..*[0-9a-f]{32}")
MOUNTING = ("unshare", "--map-root-user", "--mount")  # what follows sees file systems of its own
MARK = "BENCH_ATTACK"  # the environment variable by which processes of one command are known

PythonOption = Annotated[
    str, typer.Option("--python", help="The interpreter beside which the attacked `bench` lies.")
]
QuickOption = Annotated[bool, typer.Option("--quick", help="A few of the attacks: less than a minute.")]


class Ended(NamedTuple):
    """How a command ended: its exit code (-N by signal N, None if it had to be ended), what it said, and how
    many of the processes it started were left."""

    code: int | None
    stdout: str
    stderr: str
    orphans: int

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


@dataclass(frozen=True)
class Bench:
    """The `bench` to attack.

    Attributes:
        command: the program.
        plugins: a folder of plugin packages that are added to those of its environment.
    """

    command: str
    plugins: Path

    def start(self, folder: Path, *arguments: str, **environment: str) -> Started:
        """Start a command in `folder`, with these environment variables too."""
        return Started([self.command, *arguments], folder, self.variables(environment))

    def run(self, folder: Path, *arguments: str, **environment: str) -> Ended:
        """A command until it ends."""
        return self.start(folder, *arguments, **environment).wait(LIMIT)

    def run_mounting(self, script: str, folder: Path, *arguments: str, **environment: str) -> Ended:
        """A shell script that may mount file systems for itself, and of which "$@" is the command."""
        command = [*MOUNTING, "sh", "-c", script, "sh", self.command, *arguments]
        process = Started(command, folder, self.variables(environment))
        return process.wait(2 * LIMIT)

    def knows(self, command: str, option: str) -> bool:
        """Whether a command has this option: older versions lack some."""
        shown = subprocess.run(
            [self.command, command, "--help"], env=self.variables({}), capture_output=True, text=True
        )
        return option in shown.stdout

    def variables(self, more: dict[str, str]) -> dict[str, str]:
        """The environment of a command: this one's, ours and `more`."""
        ours = {"PYTHONPATH": str(self.plugins), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        return {**os.environ, **ours, **more}


class Started:
    """A command at work, known with all its children by a mark in their environment."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.said = [folder / f".{value}.{stream}" for stream in ("out", "err")]
        # Into files, because a pipe would stay open for as long as an orphan lives.
        with self.said[0].open("wb") as out, self.said[1].open("wb") as err:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**environment, name: value},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                preexec_fn=_heed_signals,
            )

    def send(self, number: int) -> None:
        """Send a signal to the command itself, not to its children."""
        self.process.send_signal(number)

    def wait(self, limit: float, grace: float = GRACE) -> Ended:
        """Until the command ends and, for `grace` seconds, all that it started; the rest is killed."""
        code: int | None = None
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + grace
        while (left := marked(self.mark)) and code is not None and time.monotonic() < deadline:
            time.sleep(0.1)
        while remaining := marked(self.mark):
            for pid in remaining:
                _kill(pid)
            time.sleep(0.05)
        stdout, stderr = (path.read_bytes().decode("utf-8", "backslashreplace") for path in self.said)
        for path in self.said:
            path.unlink()
        return Ended(code, stdout, stderr, len(left) if code is not None else 0)


def _heed_signals() -> None:
    """In the child: heed what whoever started the attack may have ignored (nohup)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def marked(mark: str) -> list[int]:
    """The processes that have this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in _environment(folder):
                found.append(int(folder.name))
        except OSError:  # it has ended, is a zombie, or is somebody else's
            continue
    return found


def _environment(process: Path) -> bytes:
    """The environment of a process, from its folder in /proc; OSError if it has none any more.

    While a process becomes another program (execve), Linux shows an empty one: it is read again, for a
    second, since a process may have been given an empty one.
    """
    deadline = time.monotonic() + 1
    while not (content := (process / "environ").read_bytes()) and time.monotonic() < deadline:
        (process / "exe").readlink()  # of a zombie or a thread of the kernel an OSError
        time.sleep(0.001)
    return content


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def beside(python: str) -> str:
    """The command `bench` of the environment of an interpreter."""
    if not Path("/proc/self/environ").exists():
        sys.exit("this attack needs Linux, whose /proc says which processes are left")
    command = Path(python).absolute().with_name("bench")  # not resolved: it may be a link out of there
    if not command.exists():
        sys.exit(f"{command} is missing; name by --python the interpreter of an environment that has bench")
    return str(command)


def install(folder: Path, package: Path) -> Path:
    """A distribution of one module or package, which PYTHONPATH=folder makes a plugin. Gives the folder."""
    name = package.stem
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    if package.is_dir():
        shutil.copytree(package, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(package, folder)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")
    return folder


def workspace(folder: Path, protocol: str = PROTOCOL) -> Path:
    """A new folder with the protocol that TINY names."""
    folder.mkdir(parents=True)
    (folder / "tiny.toml").write_text(protocol, encoding="utf-8")
    return folder


def wait_until(condition: Callable[[], bool], process: Started, limit: float = LIMIT) -> bool:
    """Wait until the condition holds; False if the process ended or the limit passed first."""
    deadline = time.monotonic() + limit
    while not condition():
        if process.process.poll() is not None or time.monotonic() > deadline:
            return condition()
        time.sleep(0.01)
    return True


# --- what a results folder holds ---------------------------------------------------------------------


def stored(results: Path) -> dict[str, bytes]:
    """The predictions and encoders of all finished units."""
    names = ("predictions.parquet", "encoder.safetensors")
    found = (path for place in ("runs", "pretrain") for path in (results / place).glob("*/*/*"))
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in found
        if path.name in names and not path.parent.name.startswith(".")
    }


def temporaries(results: Path) -> list[Path]:
    """What a killed writer leaves: files and folders under a hidden name that ends with a random number."""
    return sorted(path for path in results.rglob(".*") if TEMPORARY.fullmatch(path.name))


def leftovers(results: Path) -> list[str]:
    """What should not be there when all units are done: temporaries, checkpoints, claims, workers' notes."""
    scratch = [
        p for part in ("checkpoints", "claims", "workers") for p in (results / ".scratch" / part).glob("*")
    ]
    return sorted({str(path.relative_to(results)) for path in (*temporaries(results), *scratch)})


def age(results: Path) -> None:
    """Make temporaries look old: young ones are left alone, whoever wrote them."""
    for path in temporaries(results):
        os.utime(path, (1, 1))
