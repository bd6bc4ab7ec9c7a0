"""Nonsense in study files, `--set` and options: is each refused in one line, before any work?

    python -m benchmarks.attacks.configuration            # all mutations
    python -m benchmarks.attacks.configuration --count 150 # every so many-th, spread over all kinds

Each mutation is a command as a user types it, run through the installed command's entry point in a process of
its own (forked, so that imports are paid for once), with a time limit. Counted: refused (one line that begins
with "error:" or a usage message, exit code 2), accepted, raised (a traceback, another exit code, or more than
one line), hung. A mutation that is known to be nonsense must not be accepted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LIMIT = 20.0  # seconds for one command
SMALL = (  # a study whose plan takes a fraction of a second
    "protocol.size=32",
    "protocol.finetune.resize=36",
    "protocol.pretrain.resize=40",
    "protocol.rounds=1",
    "dataset.phantom.patients=20",
    "dataset.phantom.size=32",
)
PHANTOM = "dataset.phantom = {patients = 20, size = 32}\n"
STUDY = f"""
datasets = ["phantom"]
strategies = ["mae"]
base = "quick"
{PHANTOM}"""


class Mutation(NamedTuple):
    """A command, the files it reads, and whether it is nonsense that must be refused."""

    name: str
    arguments: tuple[str, ...]
    files: tuple[tuple[str, bytes], ...] = ()
    nonsense: bool = True


class Verdict(NamedTuple):
    """What became of a mutation ("refused", "accepted", "raised" or "hung"), and what stderr had."""

    outcome: str
    stderr: str


# --- mutations ---------------------------------------------------------------------------------------

INTEGERS = {
    "protocol.size": "32",
    "protocol.rounds": "1",
    "protocol.seed": "0",
    "protocol.audit.distance": "10",
    "protocol.split.folds": "5",
    "protocol.pretrain.epochs": "2",
    "protocol.pretrain.batch": "16",
    "protocol.pretrain.resize": "40",
    "protocol.finetune.epochs": "2",
    "protocol.finetune.batch": "16",
    "protocol.finetune.resize": "36",
    "strategy.mae.patch": "16",
    "strategy.mae.decoder_depth": "1",
    "strategy.mae.decoder_width": "32",
    "dataset.phantom.patients": "20",
    "dataset.phantom.size": "32",
}
NUMBERS = (
    "protocol.audit.similarity",
    "protocol.split.val",
    "protocol.split.test",
    "protocol.pretrain.flip",
    "protocol.pretrain.learning_rate",
    "protocol.pretrain.weight_decay",
    "protocol.pretrain.warmup",
    "protocol.finetune.flip",
    "protocol.finetune.learning_rate",
    "protocol.finetune.weight_decay",
    "protocol.finetune.warmup",
    "strategy.mae.ratio",
)
PAIRS = ("protocol.pretrain.scale", "protocol.pretrain.betas", "protocol.finetune.betas")
WORDS = (
    "protocol.precision",
    "protocol.split.method",
    "protocol.split.groups",
    "protocol.split.conflicts",
    "protocol.pretrain.data",
    "protocol.finetune.selection",
    "protocol.model",
    "protocol.audit.embed",
    "strategy.mae.target",
    "strategy.mae.positions",
)
HUGE = "9" * 400
NO_NUMBER = ("true", "false", '""', '"x"', "[]", "[1, 2]", "{}", "{a = 1}", "1979-05-27", "07:32:00")
NOT_FINITE = ("nan", "inf", "-inf")
NO_INTEGER = (*NO_NUMBER, *NOT_FINITE, "1.5", "-1", f"-{HUGE}", HUGE, "0x" + "f" * 5000, "9" * 5000, "1e400")
NO_RATE = (*NO_NUMBER, *NOT_FINITE, "-1", "-1e-9", HUGE, "1e400", "1e308", "9" * 5000)
NO_WORD = (
    "true",
    "0",
    "1.5",
    "nan",
    "[]",
    "{}",
    '"nonsense"',
    r'"\u0000"',
    '"a\\nb"',
    r'"\u001b[31m"',
    "1979-05-27",
)
NO_PAIR = (
    "[]",
    "[0.1]",
    "[0.1, 0.2, 0.3]",
    "[nan, 0.5]",
    "[0.5, inf]",
    "[true, 0.5]",
    '["a", "b"]',
    "0.5",
    "true",
)


def mutations() -> list[Mutation]:
    """All of them, always the same and in the same order."""
    return [*_values(), *_structures(), *_assignments(), *_options(), *_paths()]


def _values() -> Iterator[Mutation]:
    """A wrong value of each key, in a study file and by `--set`."""
    kinds = [
        *((key, value) for key in INTEGERS for value in NO_INTEGER),
        *((key, value) for key in NUMBERS for value in NO_RATE),
        *((key, value) for key in WORDS for value in NO_WORD),
        *((key, value) for key in PAIRS for value in NO_PAIR),
    ]
    for number, (key, value) in enumerate(kinds):
        if number % 2:
            yield _set(f"{key}={value}")
        else:
            rest = "" if key.startswith("dataset") else PHANTOM
            yield _file(f"{key} = {value}", f"{STUDY.replace(PHANTOM, rest)}\n{key} = {value}\n")


def _structures() -> Iterator[Mutation]:
    """Study files that are no study."""
    deep = 5000
    texts: dict[str, str | bytes] = {
        "deep array": "datasets = " + "[" * deep + "]" * deep,
        "deep inline table": "protocol = " + "{a = " * deep + "1" + "}" * deep,
        "deep dotted key": "protocol." + ".".join("a" * deep) + " = 1",
        "deep header": "[protocol." + ".".join("a" * deep) + "]",
        "duplicate key": STUDY + 'datasets = ["phantom"]\n',
        "duplicate table": STUDY + "[protocol]\n[protocol]\n",
        "duplicate name": STUDY.replace('["phantom"]', '["phantom", "phantom"]'),
        "empty": "",
        "NUL": STUDY + "\0",
        "NUL in a name": STUDY.replace("phantom", r"phan\u0000tom"),
        "newline in a name": STUDY.replace('["phantom"]', r'["phan\ntom"]'),
        "escape in a name": STUDY.replace('["phantom"]', r'["\u001b[31mphantom"]'),
        "lone surrogate": STUDY.replace('["phantom"]', r'["\ud800"]'),
        "not UTF-8": b"\xff\xfe" + STUDY.encode(),
        "UTF-16": STUDY.encode("utf-16"),
        "BOM": "\ufeff" + STUDY,
        "long name": STUDY.replace('["phantom"]', f'["{"x" * 100_000}"]'),
        "long key": STUDY + f"{'x' * 100_000} = 1\n",
        "long base": STUDY.replace("quick", "x" * 100_000),
        "long file base": STUDY.replace("quick", "x" * 5000 + ".toml"),
        "missing base": STUDY.replace("quick", "missing.toml"),
        "base is a folder": STUDY.replace('"quick"', '"./.toml"'),
        "empty base": STUDY.replace("quick", ""),
        "NUL in base": STUDY.replace("quick", r"a\u0000b.toml"),
        "no data sets": STUDY.replace('["phantom"]', "[]"),
        "no strategies": STUDY.replace('["mae"]', "[]"),
        "empty name": STUDY.replace('["phantom"]', '[""]'),
        "space name": STUDY.replace('["phantom"]', '[" "]'),
        "comma name": STUDY.replace('["phantom"]', '["phantom,phantom"]'),
        "names are numbers": STUDY.replace('["phantom"]', "[1]"),
        "names are true": STUDY.replace('["phantom"]', "[true]"),
        "names are a text": STUDY.replace('["phantom"]', '"phantom"'),
        "names are a table": STUDY.replace('["phantom"]', "{a = 1}"),
        "protocol is a list": STUDY + "protocol = []\n",
        "protocol is true": STUDY + "protocol = true\n",
        "part is a number": STUDY + "protocol.finetune = 3\n",
        "part is a list": STUDY + "protocol.finetune = [1]\n",
        "strategy is a list": STUDY + "strategy.mae = [1]\n",
        "strategy is a number": STUDY + "strategy.mae = 1\n",
        "unknown key": STUDY + "protocol.finetune.epoch = 3\n",
        "unknown table": STUDY + "nonsense.a = 3\n",
        "parameters of nobody": STUDY + "strategy.egmae.patch = 16\n",
        "baselines nobody": STUDY + 'baselines = ["nobody"]\n',
        "models empty name": STUDY + 'models = [""]\n',
        "weights NUL": STUDY
        + 'models = ["tf_efficientnet_lite0"]\nmodel.tf_efficientnet_lite0.weights = "a\\u0000b"\n',
        "weights number": STUDY
        + 'models = ["tf_efficientnet_lite0"]\nmodel.tf_efficientnet_lite0.weights = 1\n',
    }
    for name, text in texts.items():
        yield _file(name, text)


def _assignments() -> Iterator[Mutation]:
    """`--set` that is no assignment, or one that makes no sense."""
    for text in (
        "",
        "=",
        "a",
        "a=",
        "=1",
        "a=1",
        ".=1",
        "protocol=1",
        "protocol.=1",
        ".protocol.size=1",
        "protocol..size=1",
        "protocol.size",
        "protocol.size.a=1",
        "protocol.finetune=1",
        "protocol.finetune.a.b.c=1",
        "strategy.mae=1",
        "strategy..patch=1",
        "strategy.mae.=1",
        "nonsense.a.b=1",
        "dataset.nobody.size=1",
        "protocol.rounds=1\nmodel = 2",
        "protocol.rounds=1\r\n",
        "protocol.seed=\n1",
        "protocol.seed=1\n2",
        "protocol.\nseed=1",
        "protocol.seed\t=\t1\x00"[:-1] + "\x1b",
        "protocol.precision=fp32\x1b[31m",
        "protocol.seed=" + "[" * 5000 + "]" * 5000,
        "protocol.seed=" + "{a=" * 5000 + "1" + "}" * 5000,
        "protocol." + ".".join("a" * 5000) + "=1",
        "protocol." + "a" * 100_000 + "=1",
        "protocol.model=" + "a" * 100_000,
        "protocol.model=\udcff",
        "protocol.\udcff=1",
        "strategy.\udcff.patch=1",
        "protocol.model=\ud800",
        "protocol.size=32 # comment\nx=1",
        "protocol.seed=1 2",
        "protocol.seed=1,2",
        "protocol.seed=\u0661",
        "protocol.pretrain.resize=1",
        "protocol.pretrain.resize=2",
        "protocol.finetune.resize=1",
        "protocol.size=1",
        "protocol.size=8",
        "protocol.rounds=1000000000",
        "protocol.size=1000000000",
        "protocol.finetune.epochs=1000000000000",
        "protocol.pretrain.resize=1000000000",
        "protocol.finetune.batch=1000000000000",
        "strategy.mae.decoder_width=1000000000000",
        "strategy.mae.decoder_depth=1000000000",
        "strategy.mae.patch=15",
        "strategy.mae.patch=64",
        "strategy.mae.patch=3",
        "protocol.finetune.batch=1",
        "protocol.pretrain.batch=1",
        "protocol.split.val=0.8",
        "protocol.split.val=1e-300",
        "protocol.pretrain.learning_rate=1e30",
        "protocol.finetune.learning_rate=1e30",
        "protocol.finetune.weight_decay=1e30",
    ):
        yield _set(text)
    yield Mutation("twice", (*_plan(), "--set", "protocol.seed=1", "--set", "protocol.seed=2"))
    yield Mutation("rounds twice", (*_plan(), "--rounds", "1", "--set", "protocol.rounds=2"))


def _options() -> Iterator[Mutation]:
    """Options of every command."""
    bad_names = (
        "",
        " ",
        ",",
        ",,",
        "nobody",
        "x" * 100_000,
        "a\nb",
        "\x1b[31mred",
        "\udcff",
        "../..",
        "/",
        "-",
    )
    for option in ("--dataset", "--strategies", "--models", "--baselines", "--ensembles", "--protocol"):
        for name in bad_names:
            default = option == "--protocol" and not name  # as if it had not been given
            yield Mutation(f"plan {option} {name[:20]!r}", (*_plan(), option, name), nonsense=not default)
    for option in ("--executor",):
        for name in bad_names[4:]:
            yield Mutation(f"run {option} {name[:20]!r}", ("run", *_plan()[2:], option, name))
    for option in ("--dataset", "--metrics", "--format"):
        for name in bad_names:
            # An empty format is the default one, and without results no data set is known.
            nonsense = bool(name) if option == "--format" else option == "--metrics"
            yield Mutation(f"table {option} {name[:20]!r}", ("table", option, name), nonsense=nonsense)
    for option, values in {
        "--rounds": ("0", "-1", "x", "", "1.5", HUGE, "9" * 5000, "1000000000", "nan", "true"),
        "--threads": ("-1", "x", "", "1.5", HUGE, "9" * 5000, "1000000000", "nan"),
        "--device": (
            "",
            "meta",
            "nonsense",
            "cuda:99",
            "cuda:-1",
            "cpu:7",
            "xla",
            "x" * 10_000,
            "\x1b[31m",
            "\udcff",
        ),
        "--split": ("missing.json", "x" * 5000, ".", "/dev/null", "\udcff"),
        "--study": ("missing.toml", "x" * 5000, ".", "/dev/null", "\udcff"),
    }.items():
        for value in values:
            # No device is the default one, and an empty study file says nothing against the options.
            nonsense = (option, value) not in (("--device", ""), ("--study", "/dev/null"))
            yield Mutation(f"plan {option} {value[:20]!r}", (*_plan(), option, value), nonsense=nonsense)
    for value in ("0", "-1", "x", "", "1.5", HUGE, "1000000000"):
        yield Mutation(f"run --jobs {value[:20]!r}", ("run", *_plan()[2:], "--jobs", value))
    for option, values in {
        "--classes": ("0", "-1", "x", "1.5", HUGE, "1000000000000"),
        "--size": ("0", "-1", "x", "1.5", HUGE, "1000000000"),
        "--batch": ("", "-1", "x", "1.5", "0,", ",", HUGE, "1000000000000", "true", "\u0661"),
        "--dataset": bad_names[4:],
        "--format": ("", "nobody", "latex"),
        "--threads": ("-1", "x", "1000000000"),
        "--device": ("meta", "nonsense", "cuda:99"),
    }.items():
        for value in values:
            yield Mutation(
                f"cost {option} {value[:20]!r}",
                ("cost", "tf_efficientnet_lite0", "--batch", "0", option, value),
            )
    for name in bad_names:
        yield Mutation(f"cost {name[:20]!r}", ("cost", "--batch", "0", "--", name))
        yield Mutation(f"show {name[:20]!r}", ("show", "--", name))
        yield Mutation(f"list {name[:20]!r}", ("list", "--", name))
        for command in ("audit", "split", "verify", "fetch"):
            yield Mutation(f"data {command} {name[:20]!r}", ("data", command, "--", name))
    for text in (
        "dataset.phantom.size=1",
        "dataset.phantom.size=true",
        "protocol.size=32",
        "dataset.busi.size=32",
        "x",
        "",
    ):
        yield Mutation(f"data audit --set {text}", ("data", "audit", "phantom", "--set", text))
    for text in ("protocol.split.val=nan", "protocol.split.val=true", "protocol.split.folds=true"):
        yield Mutation(f"data split --set {text}", ("data", "split", "phantom", "--set", text))


def _paths() -> Iterator[Mutation]:
    """Folders that are missing, files in their place, and files that cannot be written."""
    yield Mutation("table --results missing", ("table", "--results", "missing"))
    yield Mutation("table --results file", ("table", "--results", "file"), (("file", b""),))
    yield Mutation("plan --results file", (*_plan()[:-2], "--results", "file"), (("file", b""),))
    yield Mutation("plan --results under file", (*_plan()[:-2], "--results", "file/r"), (("file", b""),))
    yield Mutation("run --results file", ("run", *_plan()[2:-2], "--results", "file"), (("file", b""),))
    yield Mutation("clean --results file", ("clean", "--results", "file"), (("file", b""),))
    yield Mutation("plan --results long", (*_plan()[:-2], "--results", "x" * 5000))
    yield Mutation("table --results long", ("table", "--results", "x" * 5000))
    yield Mutation(
        "plan --data file", (*_plan()[:-4], "-d", "busi", "--data", "file", *_plan()[-2:]), (("file", b""),)
    )
    yield Mutation("plan --data missing", (*_plan()[:-4], "-d", "busi", "--data", "missing", *_plan()[-2:]))
    yield Mutation("table suffix against format", ("table", "-o", "t.tex", "--format", "csv"))
    yield Mutation("protocol .toml missing", (*_plan(), "--protocol", "missing.toml"))
    yield Mutation("protocol .toml folder", (*_plan(), "--protocol", "./.toml"))


def _plan() -> tuple[str, ...]:
    settings = (part for text in SMALL for part in ("--set", text))
    return (
        "plan", "--no-probe", "-s", "mae", "-p", "quick", *settings, "-d", "phantom", "--results", "results",
    )  # fmt: skip


def _set(text: str) -> Mutation:
    key = text.partition("=")[0]
    base = list(_plan())
    for i, part in enumerate(base):
        if part.partition("=")[0] == key and "=" in part:
            del base[i - 1 : i + 1]  # the mutation takes its place
            break
    return Mutation(f"--set {text[:60]!r}", (*base, "--set", text))


def _file(name: str, text: str | bytes) -> Mutation:
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    arguments = ("plan", "--no-probe", "--study", "study.toml", "--results", "results")
    return Mutation(f"file {name[:60]!r}", arguments, (("study.toml", content),))


# --- running one -------------------------------------------------------------------------------------


def command() -> Callable[[], object]:
    """What the installed command `bench` calls, with its imports paid for."""
    entries = importlib.metadata.entry_points(group="console_scripts", name="bench")
    entry = next(entry for entry in entries if entry.name == "bench")
    main: Callable[[], object] = entry.load()
    for module in (
        "torch",
        "timm",
        "pydantic",
        "rich.console",
        "pandas",
        "sklearn.linear_model",
        "fvcore.nn",
    ):
        __import__(module)
    return main


def attempt(main: Callable[[], object], mutation: Mutation, folder: Path, limit: float = LIMIT) -> Verdict:
    """Run one command in a process of its own, in `folder`."""
    for name, content in mutation.files:
        (folder / name).write_bytes(content)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _become(main, mutation, folder, writing)
    os.close(writing)
    text, in_time = _read(reading, limit)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    return _judge(os.waitstatus_to_exitcode(status), text, in_time)


def _become(main: Callable[[], object], mutation: Mutation, folder: Path, stderr: int) -> None:
    """In the child: be the command; ends the process."""
    code = 70
    try:
        os.chdir(folder)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(stderr, 2)
        # As Python itself opens them; they close with the process.
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
        os.environ["BENCH_DATA"] = str(folder / "data")
        sys.argv = ["bench", *mutation.arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _read(reading: int, limit: float) -> tuple[str, bool]:
    """All that the child writes, and whether it ended in time."""
    parts: list[bytes] = []
    until = time.monotonic() + limit
    while (left := until - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        part = os.read(reading, 65536)
        if not part:
            return b"".join(parts).decode("utf-8", "replace"), True
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace"), False


def _judge(code: int, stderr: str, in_time: bool) -> Verdict:
    if not in_time:
        return Verdict("hung", stderr)
    lines = [line for line in stderr.splitlines() if line and not line.startswith("warning: ")]
    if code == 0:
        return Verdict("accepted", stderr)
    usage = lines and lines[0].startswith("Usage:")
    one_line = len([line for line in lines if line.startswith("error: ")]) == 1 and len(lines) == 1
    clean = code == 2 and (usage or one_line) and "\x1b" not in stderr
    return Verdict("refused" if clean else "raised", f"exit {code}: {stderr}")


def attack(chosen: Sequence[Mutation], say: Callable[[str], object] = print) -> Counter[str]:
    """Run mutations one after another; says what went wrong, and gives the counts."""
    main = command()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        attempt(main, Mutation("prepare", _plan()), Path(folder), 120)
        for mutation in chosen:
            verdict = attempt(main, mutation, Path(folder))
            counts[verdict.outcome] += 1
            wrong = verdict.outcome in ("raised", "hung")
            if verdict.outcome == "accepted" and mutation.nonsense:
                counts["nonsense accepted"] += 1
                wrong = True
            if wrong:
                last = verdict.stderr.strip()[-200:].replace("\n", " | ")
                say(f"{verdict.outcome:9} {mutation.name!a}: {last!a}")
    return counts


def spread(count: int) -> list[Mutation]:
    """`count` of the mutations, evenly spread; all of them for 0."""
    every = mutations()
    if not 0 < count < len(every):
        return every
    return [every[i * len(every) // count] for i in range(count)]


def main() -> None:
    """Attack, and print the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=0, help="so many mutations, evenly spread [all]")
    chosen = spread(parser.parse_args().count)
    started = time.monotonic()
    counts = attack(chosen)
    seconds = time.monotonic() - started
    print(
        f"{len(chosen)} mutations in {seconds:.0f} s: "
        + ", ".join(f"{n} {what}" for what, n in counts.items())
    )


if __name__ == "__main__":
    main()
