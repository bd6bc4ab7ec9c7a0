"""Sentences about metrics, statistics, software, hardware, and how far the work can be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from bench.comparison.declared import declaration_of
from bench.comparison.footer import LEAST
from bench.comparison.rows import row_id
from bench.evidence.weights import REPLICATES
from bench.manuscript.bibliography import ADJUSTMENT, PACKAGES, VARIANCE
from bench.manuscript.document import Cite, Code, Gap, Part, Section, Sentence, listed
from bench.manuscript.facts import Comparison, Material, distinct, shared_by
from bench.registry import DISTRIBUTION
from bench.results.record import Provenance, Record
from bench.study.declaration import NOTHING
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec

TITLES = {DISTRIBUTION: "bench", "torch": "PyTorch", "numpy": "NumPy", "pillow": "Pillow"}
"""Package of a record -> what it calls itself, where that is not its name."""
SHOWN = 12  # digits of a commit
KEYS = 12  # of units that are named


def evaluation_sections(comparison: Comparison, material: Material) -> Iterator[Section]:
    """Metrics, statistics, software and hardware, repeatability, and what else the records note."""
    yield Section("Evaluation", tuple(evaluation(material)))
    yield Section("Statistics", tuple(statistics(comparison, material)))
    yield Section("Software and hardware", (*software(comparison, material), *hardware(comparison)))
    yield Section("Reproducibility", tuple(reproducibility(comparison)))
    if notes := tuple(remarks(comparison)):
        yield Section("Remarks", notes)


def evaluation(material: Material) -> Iterator[Sentence]:
    """What was predicted, and each metric with its definition."""
    yield (
        "The test part was opened once, after training had ended; metrics were computed from stored class "
        "probabilities of its images.",
    )
    defined: list[Part] = []
    for metric in material.metrics:
        cited = material.works.components.get(("metric", metric.name), ())
        defined += [f"{'; ' if defined else ''}{metric.title} ({metric.about})", Cite(cited)]
    if defined:
        yield ("The metrics were ", *defined, ".")


def statistics(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """What tables and comparisons report of each metric: means, intervals, tests (`bench.evidence`)."""
    count = len(comparison.rounds)
    resampled = (
        f"{REPLICATES:,} times within classes, in groups (images of one patient or lesion, or duplicates)"
    )
    if count == 1:
        yield (
            "Results are of one round. Their 95 % intervals, from test images resampled "
            f"{resampled}, are of these trained models and not of their methods.",
        )
    else:
        yield (
            f"Results are means over {count} rounds. Their 95 % intervals are those of a t distribution, "
            f"with a variance of two parts: that of test images, resampled {resampled}, with one draw for "
            "all methods and rounds; and what rounds differ by beyond that, corrected for the images that "
            "training sets share",
            Cite((material.works.packages[VARIANCE],)),
            ".",
        )
    if comparison.tested:
        yield (
            "Differences between methods were computed on the same test images of the same rounds and tested "
            "in pairs, with the same variance of the differences; p-values were adjusted by Holm's method",
            Cite((material.works.packages[ADJUSTMENT],)),
            ".",
        )
    elif len(by_method(comparison)) > 1:
        yield (f"With fewer than {LEAST} rounds, no difference between methods was tested.",)
    fewer = [
        f"{comparison.method(spec)} ({len(records)})"
        for spec, records in by_method(comparison)
        if len({record.spec.round for record in records}) < count
    ]
    if fewer:
        yield (f"Fewer rounds have finished of {listed(fewer)}.",)
    yield from declared(comparison)
    yield (Gap("which of these intervals and tests are reported"),)


def declared(comparison: Comparison) -> Iterator[Sentence]:
    """What the study said before it was run that it would test."""
    one, conflicts = declaration_of(comparison.evaluated)
    if conflicts:
        yield (Gap("which metric and comparisons were primary: the studies declared different ones"),)
        return
    if one == NOTHING:
        yield ("No primary metric and no comparisons were declared in advance: the analysis is exploratory.",)
        return
    against = f"comparisons with {one.baseline}" if one.baseline else "comparisons of all pairs"
    metric = f"the primary metric {one.metric}" if one.metric else "no primary metric"
    yield (
        f"Declared in advance were {metric}, {against}, adjusted by Holm's method, and a margin of "
        f"{one.margin:g} within which methods count as practically equal.",
    )


def by_method(comparison: Comparison) -> list[tuple[RunSpec | EnsembleSpec, list[Record]]]:
    """Each method by one of its specs, with the records of its rounds."""
    groups = shared_by(comparison.evaluated, lambda record: row_id(record.spec))
    return [(spec, records) for _, records in groups if not isinstance(spec := records[0].spec, PretrainSpec)]


# --- software and hardware ---------------------------------------------------------------------------


def software(comparison: Comparison, material: Material) -> Iterator[Sentence]:
    """Packages with versions, interpreter, system, commit of bench, plugins of others."""
    records = comparison.records
    several = shared_by(
        records, lambda r: (r.provenance.packages, r.provenance.python, r.provenance.platform)
    )
    for _, members in several:
        provenance = members[0].provenance
        if not provenance.packages:
            yield (Gap(f"versions of all software{_share(members, records)}"),)
            continue
        parts: list[Part] = [f"Units were computed{_share(members, records)} with "]
        for number, (name, version) in enumerate(provenance.packages.items()):
            parts.append(f"{', ' if number else ''}{TITLES.get(name, name)} {version}")
            parts.append(Cite((material.works.packages[name],) if name in PACKAGES else ()))
        python = f", Python {provenance.python}" if provenance.python else ""
        system = f", on {provenance.platform}" if provenance.platform else ""
        yield (*parts, f"{python}{system}.")
    yield from _commits(records)
    yield from _plugins(records)


def _commits(records: Iterable[Record]) -> Iterator[Sentence]:
    known = [record.provenance.git for record in records if record.provenance.git]
    for git in distinct(known):
        changed = ", with changes that were not committed" if git.get("dirty") else ""
        yield (
            "The source of bench was at git commit ",
            Code(str(git.get("commit", ""))[:SHOWN]),
            f"{changed}.",
        )


def _plugins(records: Iterable[Record]) -> Iterator[Sentence]:
    used = Counter(
        f"{about.get('distribution', name)} {about.get('version', '')}".strip()
        for record in records
        for name, about in record.provenance.plugins.items()
        if about.get("distribution") not in (DISTRIBUTION, "bench")
    )
    if used:
        yield (f"Plugins of others that were used: {listed(sorted(used))}.",)


def hardware(comparison: Comparison) -> Iterator[Sentence]:
    """Processor, cores, threads and GPU of trainings, and the arithmetic."""
    trained = [*comparison.pretrainings, *comparison.runs]
    for described, members in shared_by(trained, lambda record: _machine(record.provenance)):
        whose = _share(members, trained)
        if described:
            yield (f"Trainings ran{whose} on {described}.",)
        else:
            yield (Gap(f"the hardware that trainings ran on{whose}"),)
    for (precision, device), members in shared_by(
        [r for r in trained if r.spec.kind == "run"], lambda r: (_precision(r), r.provenance.device[:4])
    ):
        whose = _share(members, comparison.runs)
        if precision:
            yield (f"Networks were computed{whose} in {precision}.",)
        else:
            yield (
                Gap(
                    f"whether networks were computed{whose} in float32 or bfloat16 (device: {device or '?'})"
                ),
            )


def _machine(provenance: Provenance) -> str:
    known = provenance.hardware
    texts = []
    if known.get("gpu"):
        texts.append(str(known["gpu"]) + (f" (CUDA {known['cuda']})" if known.get("cuda") else ""))
    if known.get("cpu"):
        cores = f" with {known['cores']} cores" if known.get("cores") else ""
        texts.append(f"{known['cpu']}{cores}")
    if texts and known.get("threads"):
        texts.append(f"{known['threads']} thread{'s' * (known['threads'] != 1)} for each training")
    return listed(texts) if texts else ""


def _precision(record: Record) -> str:
    """The arithmetic of a run; empty where its record does not say."""
    asked = getattr(record.spec, "precision", "")
    bf16 = "bfloat16 by autocast, with weights in float32"
    if asked != "auto":
        return bf16 if asked == "bf16" else "float32"
    device = record.provenance.device
    if device.startswith("cuda"):
        stated = (record.engine or {}).get("bf16", "")
        return bf16 if stated == "yes" else "float32" if stated.startswith("no") else ""
    return "float32" if device else ""


def _share(members: list[Record], records: Iterable[Record]) -> str:
    """How many of the records a sentence is about, where it is not about all."""
    total = len(list(records))
    return "" if len(members) == total else f" ({len(members)} of {total} units)"


# --- repeatability -----------------------------------------------------------------------------------


def reproducibility(comparison: Comparison) -> Iterator[Sentence]:
    """Seeds, operators without a deterministic kernel, where results are."""
    seeds = distinct(spec.seed for spec in comparison.specs)
    if seeds:
        yield (
            f"All random numbers were derived from the seed {listed(map(str, seeds))}, separately for each "
            "round, stage and epoch.",
        )
    stated = [(record.engine or {}).get("deterministic", "") for record in comparison.records]
    operators = distinct(text.removeprefix("no: ") for text in stated if text.startswith("no: "))
    if operators:
        yield (f"Some trainings do not repeat to the last bit, because {listed(operators)}.",)
    keys = [record.key for record in comparison.evaluated]
    more = f" and {len(keys) - KEYS} more" if len(keys) > KEYS else ""
    shown = ", ".join(keys[:KEYS]) if more else listed(keys)
    yield (
        f"Predictions and settings of {len(keys)} finished unit{'s' * (len(keys) != 1)} are kept with "
        "checksums, under the keys ",
        Code(shown),
        f"{more}.",
    )


def remarks(comparison: Comparison) -> Iterator[Sentence]:
    """What records note, and what has not finished."""
    for note in distinct(note for record in comparison.records for note in record.notes):
        yield (f"{note[:1].upper()}{note[1:]}.",)
    causes = Counter(
        f"{unit.spec.label}: {unit.status}" + (f" ({' '.join(unit.reason.split())})" if unit.reason else "")
        for unit in comparison.unfinished
    )
    if causes:
        yield (f"Not finished: {'; '.join(causes)}.",)
