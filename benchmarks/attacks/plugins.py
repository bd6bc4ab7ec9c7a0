"""Plugins that do what they should not, and what that costs the rest of a study.

    python -m benchmarks.attacks.plugins                            # minutes
    python -m benchmarks.attacks.plugins --jobs 1,2                 # also with two units at once
    python -m benchmarks.attacks.plugins --python OTHER/bin/python  # against another version

Each attack is one small study with one honest strategy beside the misdeed, which comes first. It is contained
if

- the honest unit is done,
- a line that says what failed names the plugin's package, and a failure record is stored where a unit failed,
- nothing that the plugin printed is in the table's way, on standard output,
- the exit code is 1 where something failed, 2 where the plugin is refused before any work, else 0, and
- the command ends, with all its processes.

A metric and a reporter are asked by `bench table`, after the honest unit; a metric may not take the table
away.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.attacks.misdeeds import KINDS
from benchmarks.attacks.processes import (
    PHANTOM,
    TINY,
    Bench,
    Ended,
    PythonOption,
    QuickOption,
    beside,
    install,
    stored,
    workspace,
)

LIMIT = 90.0  # seconds for a command
TIMEOUT = ("--timeout", "25")  # seconds for a unit; many for an honest one
PRINTED = ("that is none", "from native code")  # by the misdeed "prints"
HONEST = "test_convnext.scratch"
PATH_PLUGIN = """
from bench import Dataset, hookimpl
from bench_datasets.phantom import DATASET
from dataclasses import replace
@hookimpl
def register_datasets():
    return [replace(DATASET, name={name!r})]
"""


class Attack(NamedTuple):
    """A misdeed and the study beside it.

    Attributes:
        name: what the plugin does, and in which function.
        options: of `bench run`; with `table`, of `bench table` after an honest run.
        code: the exit code that is right.
        recorded: whether a unit of the misdeed has to leave a failure record.
        package: the plugin that has to be named; "" where nothing fails.
        table: whether `bench table` is asked.
    """

    name: str
    options: tuple[str, ...]
    code: int = 1
    recorded: bool = False
    package: str = "misdeeds"
    table: bool = False


def attacks(outside: Path) -> list[Attack]:
    """All attacks; `outside` is a path that becomes the name of a data set."""
    alone = ("--ensembles", "none")
    network, honest = ("-m", "test_convnext"), ("-s", "scratch")
    units = {
        f"{kind}, in initialize": (*PHANTOM, *network, "-s", f"{kind},scratch", *alone)
        for kind in KINDS
        if kind != "prints"
    }
    units["wrong_type, of build"] = (*PHANTOM, "-m", "misdeed,test_convnext", *honest, *alone)
    units["wrong_type, of fit"] = (*PHANTOM, *network, "-s", "prints,scratch", "--ensembles", "misdeed")
    found = [Attack(name, options, recorded=True) for name, options in units.items()]
    prints = (*PHANTOM, *network, "-s", "prints,scratch", *alone)
    found.append(Attack("prints, in initialize", prints, code=0, package=""))
    for kind in ("wrong_type", "wrong_sample", "exits", "unprintable", "crashes"):
        data = ("-d", f"misdeed,{PHANTOM[1]}", *PHANTOM[2:], "--set", f"dataset.misdeed.kind={kind}")
        found.append(Attack(f"{kind}, of index", (*data, *network, *honest, *alone)))
    both = ("-d", f"{PHANTOM[1]},{outside}", *PHANTOM[2:])
    found.append(Attack("a path, as a name", (*both, *network, *honest, *alone), code=2, package="outside"))
    for kind in ("wrong_type", "exits", "unprintable", "crashes"):
        asked = ("--metrics", f"accuracy,metric_{kind}")
        found.append(Attack(f"{kind}, of a metric", asked, code=0, table=True))
    for kind in ("wrong_type", "exits", "crashes"):
        found.append(Attack(f"{kind}, of render", ("--format", f"reporter_{kind}"), table=True))
    return found


def problems(attack: Attack, ended: Ended, folder: Path, outside: Path) -> list[str]:
    """What is wrong with how the command took it; empty if it was contained."""
    found = []
    said = [line for line in ended.text.splitlines() if re.search("FAILED|error: |warning: ", line)]
    if ended.code is None:
        found.append(f"hung for {LIMIT:.0f} s")
    elif ended.code != attack.code:
        found.append(f"exit {ended.code}")
    if ended.orphans:
        found.append(f"{ended.orphans} processes left")
    honest = any(name.startswith(HONEST) for name in stored(folder / "results"))
    if not honest and attack.code != 2:
        found.append("the honest unit is lost")
    if attack.package and not any(attack.package in line for line in said):
        found.append("its package is not named")
    if attack.recorded and not recorded(folder / "results"):
        found.append("no failure record")
    if any(text in ended.stdout for text in PRINTED):
        found.append("printed into the table")
    if attack.table and not attack.code and "Accuracy" not in ended.stdout:
        found.append("the table is lost")
    if outside.exists():
        found.append("written outside")
    return found


def recorded(results: Path) -> bool:
    """Whether a failure is stored, with its reason."""
    for path in results.rglob("record.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("status") == "failed" and content.get("reason"):
            return True
    return False


def attempt(
    attack: Attack, attacked: Bench, folder: Path, outside: Path, options: tuple[str, ...]
) -> list[str]:
    """Do one attack in a new folder, with these options of `bench run` too; gives what is wrong."""
    workspace(folder)
    if not attack.table:
        ended = attacked.start(folder, "run", *attack.options, *TINY, *options).wait(LIMIT)
    else:
        attacked.run(folder, "run", *PHANTOM, "-m", "test_convnext", "-s", "scratch", *TINY)
        ended = attacked.start(folder, "table", *attack.options).wait(LIMIT)
    found = problems(attack, ended, folder, outside)
    shutil.rmtree(outside, ignore_errors=True)
    return found


def main(
    jobs: Annotated[str, typer.Option(help="Units at once, one number or several.")] = "1",
    only: Annotated[str, typer.Option(help="Attacks whose name contains this.")] = "",
    quick: QuickOption = False,
    python: PythonOption = sys.executable,
) -> None:
    """Let a plugin misbehave beside an honest one and print what it cost."""
    contained, number = 0, 0
    with tempfile.TemporaryDirectory() as name:
        outside = Path(name) / "outside"
        misdeeds = install(Path(name) / "site", Path(__file__).with_name("misdeeds.py"))
        module = Path(name) / "outside.py"
        module.write_text(PATH_PLUGIN.format(name=str(outside)), encoding="utf-8")
        path_name = install(Path(name) / "path", module)
        command = beside(python)
        timeout = TIMEOUT if Bench(command, misdeeds).knows("run", "--timeout") else ()
        asked = [int(text) for text in jobs.split(",")]
        every = [(attack, at_once) for at_once in asked for attack in attacks(outside)]
        every = [(a, n) for a, n in every if only in a.name and (n == asked[0] or not a.table)]
        print(f"{'attack':32} {'--jobs':7} outcome")
        for attack, at_once in every[::6] if quick else every:
            number += 1
            attacked = Bench(command, path_name if attack.package == "outside" else misdeeds)
            options = ("--jobs", str(at_once), *timeout)
            wrong = attempt(attack, attacked, Path(name) / str(number), outside, options)
            contained += not wrong
            shown = "-" if attack.table else str(at_once)
            print(f"{attack.name:32} {shown:7} {', '.join(wrong) or 'contained'}", flush=True)
    print(f"{contained} of {number} contained")
    sys.exit(contained != number)


if __name__ == "__main__":
    typer.run(main)
