"""Training programs of others and `bench run` on the same images: `python -m benchmarks.peers`.

From the root of the sources, on an otherwise idle machine. Every program is a process of its own with its
own defaults and the number of loader workers that is best for it; they alternate with ours, whose start-up,
audit, split, evaluation and table are counted. Written to results/<hardware>/peers.md and .csv.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from bench import BenchError
from benchmarks import bare
from benchmarks.command import CommandFailed, Ran, ended_with_this, one_after_another, run
from benchmarks.figure import Figure, choose, ratio, tables
from benchmarks.pairs import ENOUGH, LIMIT, Pair
from benchmarks.peers import contestants as programs
from benchmarks.peers.alternate import Runner, alternate, figures, over_runs
from benchmarks.peers.contestants import Contestant, Differs, Learned, Order, Work, check
from benchmarks.peers.images import lay_out, write_png
from benchmarks.peers.sources import TIMM, TORCHVISION, Missing, find, need
from benchmarks.report import ROOT, Facts, Machine, command_line, one_line, prepare, save, tell

WORKERS = (0, 1, 2, 4)
STEADY = 4  # times as many extra epochs where ours is compared with bare steps: the ratio is close to 1


@dataclass(frozen=True)
class Race:
    """What all sections work with.

    Attributes:
        work: what is trained.
        peers: how each is found; raises Missing.
        environment: of every program: that with which this one was started.
        scratch: for what programs write.
        epochs: of a run.
        extra: more, of the long run.
        rounds: alternations at least.
        units: of the study.
        workers: best number of them, by program, as far as they were searched.
    """

    work: Work
    peers: Mapping[str, Callable[[], Contestant]]
    environment: Mapping[str, str]
    scratch: Path
    epochs: int
    extra: int
    rounds: int
    units: int
    workers: dict[str, int] = field(default_factory=dict)


def main(
    data: Annotated[
        Path | None,
        typer.Option(exists=True, help="Images: a folder per class, or such below train and val."),
    ] = None,
    images: Annotated[
        int, typer.Option(min=50, help="Generated without --data; about as many as BUSI has.")
    ] = 780,
    side: Annotated[int, typer.Option(help="Of generated images, pixels, about that of BUSI's.")] = 500,
    timm_train: Annotated[Path | None, typer.Option(exists=True, help="timm's train.py.")] = None,
    torchvision_reference: Annotated[
        Path | None, typer.Option(exists=True, help="torchvision's references/classification.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=2, help="Of a run, as in `quick`.")] = 6,
    extra: Annotated[
        int, typer.Option(min=0, help="More epochs, of the run beside it; 0: whole processes alone.")
    ] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Alternations at least.")] = ENOUGH,
    units: Annotated[int, typer.Option(min=1, help="Trainings of the study.")] = 10,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N [default: a GPU if there is one].")] = "",
    only: Annotated[str, typer.Option(help="Some sections, comma-separated [default: all].")] = "",
    name: Annotated[str, typer.Option(help="Of the files that are written.")] = "peers",
    results: Annotated[Path, typer.Option(help="Where results are kept.")] = ROOT / "results",
) -> None:
    """Run the programs in turn and write results/<hardware>/peers.md and .csv."""
    environment = dict(os.environ)  # before `bench` adds to it
    chosen = choose(only, SECTIONS)
    machine = prepare(device, 0, results)
    options = (
        {"data": data and "DIR", "images": images, "side": side, "epochs": epochs, "extra": extra}
        | {"timm-train": timm_train and "FILE"}
        | {"torchvision-reference": torchvision_reference and "FOLDER"}
        | {"rounds": rounds, "units": units, "only": only, "name": name}
    )
    command = command_line("benchmarks.peers", main, options)
    rows: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-peers-") as temporary:
        scratch = Path(temporary)
        work = _work(machine, data, images, side, scratch)
        peers: dict[str, Callable[[], Contestant]] = {
            "timm": partial(_timm, timm_train),
            "torchvision": partial(_torchvision, torchvision_reference),
            "plain": _plain,
            "lightly": _lightly,
        }
        race = Race(work, peers, environment, scratch, epochs, extra, rounds, units)
        facts = {
            **machine.facts,
            "images": f"{'given' if data else 'generated'}: {work.images.counts}",
            **{name: str(value) for name, value in asdict(work).items() if name not in ("images", "device")},
            "epochs": str(epochs),
            **{name: value for name, value in sorted(environment.items()) if name.startswith(SETTINGS)},
        }
        for section in chosen:
            started = time.perf_counter()
            for row in SECTIONS[section](race):
                note = f" ({row.note})" if row.note else ""
                print(f"{row.section}: {row.what}: {row.text}{note}", file=sys.stderr)
                rows.append(row)
            tell(section, f"{time.perf_counter() - started:.0f} s")
            # After each section, so that a machine that is taken away leaves what was measured.
            text = as_markdown(rows, facts, command)
            save(machine.folder, name, [asdict(row) for row in rows], facts, text)


SETTINGS = ("OMP_", "GOMP_", "KMP_", "MKL_", "MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "THP_")
"""Variables of the environment that change how fast programs train: a fact about the figures."""


def _work(machine: Machine, data: Path | None, number: int, side: int, scratch: Path) -> Work:
    if data is None:
        dataset = machine.session.registry.datasets.get("phantom")
        # A patient has two and a half images.
        index = dataset.index(Path(), dataset.params(patients=max(20, round(number / 2.5)), size=side))
        data = write_png(index, scratch / "generated")
    return Work(lay_out(data, scratch / "images", Work.batch), device=str(machine.device))


# --- sections ----------------------------------------------------------------------------------------


def fine_tuning(race: Race) -> Iterator[Figure]:
    """Fine-tuning from scratch by `bench run` and by three others."""
    yield from compare("fine-tuning", programs.finetuning(), ("timm", "torchvision", "plain"), race)


def pretraining(race: Race) -> Iterator[Figure]:
    """Pretraining `mae` by `bench run`, which also fine-tunes for one epoch, and by lightly's loop, which
    does not."""
    yield from compare("pretraining", programs.pretraining(), ("lightly",), race)


def compare(section: str, ours: Contestant, names: tuple[str, ...], race: Race) -> Iterator[Figure]:
    """Ours in turn with the peers that are here, each with its best number of workers."""
    entered: dict[str, Contestant] = {"": ours}
    for name in names:
        try:
            contestant = race.peers[name]()
            yield from best_workers(section, name, contestant, race)
            entered[name] = contestant
        except (Missing, Differs, CommandFailed) as reason:
            yield Figure(section, name, None, "", str(reason))
    if len(entered) == 1:
        return
    first, learned = once(ours, race, race.epochs, look_at_memory=True)  # also fills the caches of the disk
    yield memory(section, ours.name, first)
    said: dict[str, list[Learned]] = {"": [*learned]}

    def runner(name: str) -> Runner:
        def train(epochs: int) -> Ran:
            ran, learned = once(entered[name], race, epochs, race.workers.get(name, 0))
            if epochs == race.epochs:
                said.setdefault(name, []).extend(learned)
            return ran

        return train

    runners = {name: runner(name) for name in entered}
    peers = {name: runner for name, runner in runners.items() if name}
    visits = alternate(runners[""], peers, race.epochs, race.extra, race.rounds)
    titles = {name: title(entered[name], race.workers.get(name)) for name in entered}
    notes = {name: lesson(said[name]) for name in entered}
    yield from figures(section, titles, visits, notes, race.rounds)


def study(race: Race) -> Iterator[Figure]:
    """Ten trainings: one `bench run`, and as many of timm's commands one after another."""
    section, ours = "study", programs.finetuning(rounds=race.units)
    try:
        peer = race.peers["timm"]()
        if "timm" not in race.workers:
            yield from best_workers(section, "timm", peer, race)
    except (Missing, Differs, CommandFailed) as reason:
        yield Figure(section, "timm", None, "", str(reason))
        return
    workers = race.workers["timm"]

    def commands(epochs: int) -> Ran:
        trainings = [partial(once, peer, race, epochs, workers, seed=seed) for seed in range(race.units)]
        return one_after_another([lambda train=train: train()[0] for train in trainings])  # type: ignore[misc]

    visits = alternate(
        lambda epochs: once(ours, race, epochs, trainings=race.units)[0],
        {"timm": commands},
        race.epochs,
        0,
        race.rounds,
    )
    titles = {
        "": f"bench, one study of {race.units} units",
        "timm": f"{title(peer, workers)}, {race.units} commands one after another",
    }
    yield from figures(section, titles, visits, {"": "", "timm": ""}, race.rounds)


def steps(race: Race) -> Iterator[Figure]:
    """Epochs of `bench run` in the steady state over as many bare steps, in a process that is set up as ours
    is, and in the one that is fastest on an idle machine."""
    section, work, ours = "steps", race.work, programs.finetuning(selection="last")
    if work.device != "cpu":
        yield Figure(section, "an epoch / its bare steps", None, "x", "on a CPU only")
        return
    if not race.extra:
        yield Figure(section, "an epoch / its bare steps", None, "x", "with --extra only")
        return
    processes = {"a process like ours": bare.OURS, "the fastest process on an idle machine": bare.BEST}

    def bare_steps() -> dict[str, float]:
        said = {
            name: run(_bare(work, environment), race.environment, race.scratch).output
            for name, environment in processes.items()
        }
        return {name: bare.read(output)["step_s"] * work.steps for name, output in said.items()}

    more = STEADY * race.extra
    pairs: dict[str, list[Pair]] = {name: [] for name in processes}
    epochs: list[float] = []
    before = bare_steps()
    while len(epochs) < 2 * race.rounds and any(
        sum(pair.accepted for pair in made) < race.rounds for made in pairs.values()
    ):
        short, long = (once(ours, race, number)[0] for number in (race.epochs, race.epochs + more))
        epochs.append((long.seconds - short.seconds) / more)
        after = bare_steps()
        for name, made in pairs.items():
            made.append(Pair(before[name], epochs[-1], after[name]))
        before = after
    yield over_runs(section, "bench: an epoch without evaluation", epochs, "s", f"of {more} more")
    for name, made in pairs.items():
        said = _settings(processes[name])
        yield over_runs(section, f"{work.steps} bare steps in {name}", [p.before for p in made], "s", said)
        yield ratio(section, f"bench: an epoch / bare steps in {name}", made, race.rounds)


def _bare(work: Work, environment: Mapping[str, str]) -> list[str]:
    settings = environment, bare.KEPT
    return bare.command(*settings, model=work.model, size=work.size, batch=work.batch, seconds=10.0)


def _settings(environment: Mapping[str, str]) -> str:
    """Of a bare step, in words."""
    return " ".join(f"{name}={value}" for name, value in (*environment.items(), *bare.KEPT.items()))


SECTIONS: dict[str, Callable[[Race], Iterator[Figure]]] = {
    "fine-tuning": fine_tuning,
    "pretraining": pretraining,
    "study": study,
    "steps": steps,
}


# --- runs --------------------------------------------------------------------------------------------


def once(
    contestant: Contestant,
    race: Race,
    epochs: int,
    workers: int = 0,
    *,
    seed: int = 0,
    trainings: int = 1,
    look_at_memory: bool = False,
) -> tuple[Ran, list[Learned]]:
    """One run of a program, and what it learned. Raises CommandFailed, or Differs for other work."""
    with tempfile.TemporaryDirectory(dir=race.scratch) as folder:
        out = Path(folder) / "out"
        out.mkdir()
        command = contestant.command(race.work, Order(epochs, out, workers, seed))
        ran = run(command, race.environment, Path(folder), look_at_memory)
        learned = list(contestant.learned(ran.output, out))
    check(learned, race.work, epochs, trainings)
    tell(
        title(contestant, workers if contestant.has_workers else None),
        f"{epochs} epochs, {ran.seconds:.1f} s",
    )
    return ran, learned


def best_workers(section: str, name: str, contestant: Contestant, race: Race) -> Iterator[Figure]:
    """Run a program once with each number of workers, and keep the best number in `race`."""
    tried: dict[int, Ran] = {}
    for workers in WORKERS:
        tried[workers], _ = once(contestant, race, race.epochs, workers, look_at_memory=True)
    race.workers[name] = best = min(tried, key=lambda workers: tried[workers].seconds)
    seconds = ", ".join(f"{workers}: {ran.seconds:.1f} s" for workers, ran in tried.items())
    yield Figure(section, f"{contestant.name}: best number of workers", best, "workers", seconds)
    yield memory(section, title(contestant, best), tried[best])


def memory(section: str, who: str, ran: Ran) -> Figure:
    note = "shared memory counted once"
    return Figure(section, f"{who}: all processes together", ran.together, "MiB at most", note)


def title(contestant: Contestant, workers: int | None = None) -> str:
    version = f" {contestant.about}" if contestant.about else ""
    return f"{contestant.name}{version}" + ("" if workers is None else f", {workers} workers")


def lesson(learned: list[Learned]) -> str:
    """What the trainings came to."""
    first, last = (median(training.losses[i] for training in learned) for i in (0, -1))
    text = f"{learned[0].steps} steps an epoch, loss {first:.3g} to {last:.3g}"
    if risen := sum(training.losses[-1] >= training.losses[0] for training in learned):
        text += f" (IT DID NOT FALL in {risen} of {len(learned)} runs)"
    accuracies = [training.accuracy for training in learned if training.accuracy is not None]
    return f"{text}, validation accuracy {median(accuracies):.3f}" if accuracies else text


# --- peers -------------------------------------------------------------------------------------------


def _timm(given: Path | None) -> Contestant:
    return programs.timm(*find(TIMM, given, _cache("timm")))


def _torchvision(given: Path | None) -> Contestant:
    need("torchvision")
    return programs.torchvision(*find(TORCHVISION, given, _cache("torchvision")))


def _plain() -> Contestant:
    need("torchvision")
    return programs.plain()


def _lightly() -> Contestant:
    need("lightly")
    return programs.lightly()


def _cache(name: str) -> Path:
    """Where downloads are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("bench") / "peers" / name


# --- what is written ---------------------------------------------------------------------------------


def as_markdown(rows: list[Figure], facts: Facts, command: str) -> str:
    """The tables for readers."""
    lines = ["# Training programs of others, and `bench run`", "", one_line(facts), ""]
    lines += [
        f"Written by `{command}`.",
        "",
        "Every program is a process of its own, with its own defaults and the environment that the benchmark",
        "was started with; ours is `bench run` with its start-up, audit, split, evaluation and table, on an",
        "empty results folder. They alternate; values are medians with their range, ratios medians of pairs",
        f"of a program and ours before and after it that differ by at most {LIMIT} x. An epoch is the",
        "difference between two whole processes, divided by the epochs that the longer one does more.",
        "Fine-tunings evaluate the validation images after each epoch. A dash: not measured.",
    ]
    return "\n".join([*lines, *tables(rows)]) + "\n"


if __name__ == "__main__":
    try:
        with ended_with_this():
            typer.run(main)
    except (BenchError, CommandFailed, Differs) as error:
        sys.exit(f"error: {error}")
