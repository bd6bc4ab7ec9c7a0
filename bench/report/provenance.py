"""How the results came to be: versions, machines, seeds, splits and audits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.comparison.compare import Table
from bench.comparison.why import environment_text
from bench.report.gathered import Gathered
from bench.report.section import Section
from bench.report.templating import render
from bench.results.record import Record
from bench.study.spec import EnsembleSpec


class Split(NamedTuple):
    """The split of one round: hashes in full."""

    round: int
    manifest: str
    seed: str
    images: str
    audit: str
    leaks: str


class Made(NamedTuple):
    """One table.

    Attributes:
        where: what it is called.
        version: of the published data set.
        content: hash of images, labels and groups.
        splits: one a round.
    """

    where: str
    version: str
    content: str
    splits: Sequence[Split]


def provenance_sections(gathered: Gathered) -> list[Section]:
    """None without a record."""
    if not gathered.records:
        return []
    html = render(
        "provenance.html",
        made=[_made(table) for table in gathered.tables],
        environments=_environments(gathered.records),
        plugins=_plugins(gathered.records),
        units=_counted(gathered.records),
    )
    return [Section("provenance", "Provenance", html)]


def _made(table: Table) -> Made:
    units = [unit for method in table.methods for unit in method.done.values()]
    data = next((unit.record.data for unit in units if unit.record.data), None)
    return Made(
        where=table.where,
        version=data.version if data else "",
        content=data.content if data else "",
        splits=list(_splits(table)),
    )


def _splits(table: Table) -> Iterator[Split]:
    seen = set()
    for unit in sorted(
        (unit for method in table.methods for unit in method.done.values()), key=lambda u: u.spec.round
    ):
        spec = unit.spec
        if (spec.round, spec.split) in seen:
            continue
        seen.add((spec.round, spec.split))
        run = spec.members[0] if isinstance(spec, EnsembleSpec) else spec
        verdict = unit.audit
        yield Split(
            round=spec.round,
            manifest=spec.split,
            seed=str(run.seed),
            images=", ".join(
                f"{sum(n.images for n in by.values()):,} {part}" for part, by in unit.counts.items()
            ),
            audit=verdict.audit if verdict else "",
            leaks=("leaks" if verdict.leaks else "does not leak") if verdict else "not audited",
        )


def _environments(records: Sequence[Record]) -> list[tuple[str, int]]:
    """Versions and machines, with how many units were computed so, the most first."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[environment_text(record.provenance) or "not recorded"] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _plugins(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Plugins whose components were used, with distribution and version."""
    found = {
        (str(name), " ".join(map(str, of.values())))
        for record in records
        for name, of in record.provenance.plugins.items()
    }
    return sorted(found)


def _counted(records: Sequence[Record]) -> str:
    """ "25 runs, 10 ensembles, 15 pretrainings; 2 failed"."""
    kinds = {"run": "run", "ensemble": "ensemble", "pretrain": "pretraining"}
    done = [record.kind for record in records if record.status == "done"]
    parts = [
        f"{count} {name}{'s' * (count != 1)}" for kind, name in kinds.items() if (count := done.count(kind))
    ]
    failed = len(records) - len(done)
    return ", ".join(parts) + (f"; {failed} failed" if failed else "")
