#!/usr/bin/env python3
"""Do the tests notice when the code is wrong? Semantic mutants, one by one: `scripts/mutation.py [ROOM ...]`.

    tests/mutants/<room>.toml    what is changed, and which tests must notice

Every mutant is one wrong line. It is applied to a copy of the source tree, in which its tests are run; if
they all pass, it survives. A mutant that cannot be noticed says why (`equivalent`) and is not counted. At
least 95 % of the others must die, and all of those in execution/; the exit code is 1 otherwise. A mutant
takes about ten seconds per worker.
"""

from __future__ import annotations

import argparse
import ast
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests" / "mutants"
COPIED = (
    "bench",
    "plugins",
    "benchmarks",
    "tests",
    "results",
    "studies",
    "medbench.py",
    "docs",
    "scripts",
    "pyproject.toml",
)
ENOUGH = {"execution": 1.0}
ENOUGH_ELSEWHERE = 0.95
PRELOADED = (
    "torch",
    "timm",
    "torchvision",
    "sklearn",
    "pandas",
    "pyarrow.parquet",
    "hypothesis",
    "typer",
    "rich",
)
TIMEOUT = 600  # seconds for the tests of one mutant; a hang is a death


@dataclass(frozen=True)
class Mutant:
    """One wrong line."""

    room: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def title(self) -> str:
        line = next(a for a, b in _differing(self.old, self.new) if a or b).strip()
        return f"{self.file}: {line[:70]}"


def _differing(old: str, new: str) -> Iterator[tuple[str, str]]:
    before, after = old.splitlines(), new.splitlines()
    for i in range(max(len(before), len(after))):
        pair = (before[i : i + 1] or [""])[0], (after[i : i + 1] or [""])[0]
        if pair[0] != pair[1]:
            yield pair
    yield old, new


def read_mutants(rooms: list[str]) -> list[Mutant]:
    """The mutants of these rooms, or of all. Exits with a message for one that no longer applies."""
    mutants = []
    for path in sorted(LISTS.glob("*.toml")):
        if rooms and path.stem not in rooms:
            continue
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in content["mutant"]:
            tests = tuple(entry.get("tests", content.get("tests", ())))
            mutants.append(
                Mutant(
                    path.stem, entry["file"], entry["old"], entry["new"], tests, entry.get("equivalent", "")
                )
            )
    if not mutants:
        sys.exit(
            f"no mutants for {', '.join(rooms)}; rooms: {', '.join(p.stem for p in LISTS.glob('*.toml'))}"
        )
    stale = [f"{m.title}: {problem}" for m in mutants if (problem := problem_with(m))]
    if stale:
        sys.exit("mutants that no longer apply:\n" + "\n".join(stale))
    return mutants


def problem_with(mutant: Mutant) -> str:
    """Why a mutant cannot be applied to the source tree; "" if it can."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    if (times := source.count(mutant.old)) != 1:
        return f"its text stands {times} times in the file"
    try:
        ast.parse(source.replace(mutant.old, mutant.new))
    except SyntaxError as error:  # any test would notice that, which proves nothing
        return f"it is not Python: {error}"
    if mutant.old == mutant.new:
        return "it changes nothing"
    if not mutant.tests:
        return "no tests are named"
    lacking = [test for test in mutant.tests if not (ROOT / test.partition("::")[0]).exists()]
    return f"no such tests: {', '.join(lacking)}" if lacking else ""


def copy_tree(target: Path) -> Path:
    """A copy of what tests need, in which a mutant can live."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".scratch", "runs", "pretrain")
            if name == "tests":
                ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)
    return target


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether all its tests pass in `tree` with the mutant in place."""
    file = tree / mutant.file
    original = file.read_text(encoding="utf-8")
    file.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return run_tests(mutant.tests, tree) == 0
    finally:
        file.write_text(original, encoding="utf-8")


def run_tests(tests: tuple[str, ...], tree: Path) -> int:
    """Exit code of pytest; nonzero also where it hangs.

    It runs in a process that was forked after PyTorch and the like were imported, which saves seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    process = context.Process(target=_run_pytest, args=(tests, str(tree)))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive():
        process.kill()
        process.join()
        return 1
    return process.exitcode or 0


def _run_pytest(tests: tuple[str, ...], tree: str) -> None:
    places = [tree, f"{tree}/plugins", f"{tree}/plugins/bench_medmnist/src"]
    os.chdir(tree)
    sys.path[:0] = places
    os.environ |= {"PYTHONPATH": os.pathsep.join(places), "PYTHONDONTWRITEBYTECODE": "1"}
    with open("pytest.log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        import pytest

        # What is preloaded imports anyio, whose plugin pytest then cannot rewrite: that is no matter here.
        quiet = "-W", "ignore::pytest.PytestAssertRewriteWarning"
        code = int(
            pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow", *quiet, *tests])
        )
    os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rooms", nargs="*", help="lists to run [default: all]")
    parser.add_argument("-n", type=int, default=os.cpu_count() or 1, help="mutants at once")
    parser.add_argument("--list", action="store_true", help="count the mutants and run none")
    options = parser.parse_args()
    mutants = read_mutants(options.rooms)
    counted = [m for m in mutants if not m.equivalent]
    if options.list:
        for room, count in sorted(Counter(m.room for m in counted).items()):
            print(f"{room:12} {count}")
        print(f"{'all':12} {len(counted)}, and {len(mutants) - len(counted)} that cannot be noticed")
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        trees: Queue[Path] = Queue()
        for i in range(options.n):
            trees.put(copy_tree(Path(folder) / str(i)))
        check_unchanged(counted, trees)

        def judge(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                alive = survives(mutant, tree)
            finally:
                trees.put(tree)
            print(f"{'SURVIVES' if alive else 'dies    '}  {mutant.title}", flush=True)
            return alive

        with ThreadPoolExecutor(options.n) as pool:
            alive = dict(zip(counted, pool.map(judge, counted), strict=True))
    conclude(alive, time.monotonic() - started)


def check_unchanged(mutants: list[Mutant], trees: Queue[Path]) -> None:
    """The tests must pass as the code stands, or every mutant would seem to die."""
    named = {test for mutant in mutants for test in mutant.tests}
    whole = sorted(test for test in named if "::" not in test or test.partition("::")[0] not in named)

    def check(test: str) -> str:
        tree = trees.get()
        try:
            failed = run_tests((test,), tree)
            log = (tree / "pytest.log").read_text(encoding="utf-8")
        finally:
            trees.put(tree)
        print(f"{'FAILS   ' if failed else 'passes  '}  {test}", flush=True)
        return f"{log}\n{test}: fails as the code stands" if failed else ""

    with ThreadPoolExecutor(trees.qsize()) as pool:
        if failures := [text for text in pool.map(check, whole) if text]:
            sys.exit("\n".join(failures))


def conclude(alive: dict[Mutant, bool], seconds: float) -> None:
    """The score of every room; exit code 1 where one is not good enough."""
    by_room: dict[str, list[bool]] = defaultdict(list)
    for mutant, survived in alive.items():
        by_room[mutant.room].append(survived)
    low = []
    print()
    for room, lives in sorted(by_room.items()):
        share = 1 - sum(lives) / len(lives)
        print(f"{room:12} {len(lives) - sum(lives)} of {len(lives)} die ({share:.0%})")
        if share < ENOUGH.get(room, ENOUGH_ELSEWHERE):
            low.append(room)
    dead = sum(not lives for lives in alive.values())
    print(f"{'all':12} {dead} of {len(alive)} die ({dead / len(alive):.1%}) in {seconds / 60:.0f} min")
    if low:
        sys.exit(f"too many survive in {', '.join(low)}")


if __name__ == "__main__":
    main()
