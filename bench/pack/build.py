"""A pack: stored results, and what a reviewer needs to check them, as one zip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.comparison.tables import choose_metrics, of_datasets
from bench.errors import ConfigError, StoreError
from bench.files import replacing, sha256_of
from bench.pack.about import About
from bench.pack.archive import Item, Writer, Written
from bench.pack.contents import Wanted, foundation_items, packable, unit_items
from bench.pack.crate import METADATA, Described, Facts, metadata
from bench.pack.page import Page, page_of
from bench.pack.tables import make_tables
from bench.registry import DISTRIBUTION, Registry
from bench.results.predictions_file import PREDICTIONS
from bench.results.record import RECORD, Record

CHECKSUMS = "checksums.sha256"
README, ENVIRONMENT, CITATIONS, LICENCES, REPORT = (
    "README.md",
    "environment.json",
    "citations.bib",
    "licences.md",
    "report.html",
)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be packed.

    Attributes:
        datasets: names; none for all.
        wanted: which large files.
        described: what the user says of the pack.
        report: a page that goes into it; None for one that is made, b"" for none.
    """

    datasets: Sequence[str] = ()
    wanted: Wanted = field(default_factory=Wanted)
    described: Described = field(default_factory=Described)
    report: bytes | None = None


class Packed(NamedTuple):
    """What was packed.

    Attributes:
        sha256: of the zip.
        bytes: of the zip.
        files: in it.
        units: finished, and failed ones.
        warnings: what is not in it, or not as it should be.
    """

    sha256: str
    bytes: int
    files: int
    units: tuple[int, int]
    warnings: list[str]


def make_pack(
    target: Path,
    results: Path,
    scanned: tuple[Sequence[Record], Sequence[str]],
    order: Order,
    registry: Registry,
) -> Packed:
    """Write the pack of these records (`store.scan`'s of the folder `results`), all of it or nothing.

    Raises ConfigError where there is nothing to pack, UnknownName for a data set without results, StoreError
    for results that are damaged and for a file that cannot be written.
    """
    records, problems = scanned
    chosen = of_datasets(packable(records, problems, results), order.datasets, results)
    done = [record for record in chosen if record.status == "done"]
    if not any(record.kind != "pretrain" for record in done):
        raise ConfigError(f"{results}: has no finished runs to pack; make some (`bench run --help`)")
    about = About(chosen, results, choose_metrics(registry, ()), registry)
    tables = make_tables(chosen, results, registry)
    page = (
        page_of(chosen, results, order.datasets, registry) if order.report is None else Page(order.report, ())
    )
    facts = Facts(
        datasets=about.datasets,
        versions=about.packages.get(DISTRIBUTION, ()),
        plugins=about.plugins,
        units=len(chosen),
    )
    texts = {
        README: _readme(facts, bool(page.html)),
        ENVIRONMENT: about.environment,
        CITATIONS: about.citations,
        LICENCES: about.licences,
        **tables.files,
    }
    items = [Item(name, text.encode()) for name, text in texts.items()]
    items += [Item(REPORT, page.html)] if page.html else []
    stored = _stored(chosen, results, order.wanted)
    try:
        with replacing(target) as file, Writer(file) as writer:
            files = _write(writer, [*items, *stored], chosen, order, facts)
        sha256, size = sha256_of(target), target.stat().st_size
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{target}: cannot be written ({reason}); choose another --output") from None
    failed = len(chosen) - len(done)
    warnings = list(dict.fromkeys([*about.warnings, *tables.warnings, *page.warnings]))
    return Packed(sha256, size, len(files) + 2, (len(done), failed), warnings)


def _stored(records: Iterable[Record], results: Path, wanted: Wanted) -> Iterator[Item]:
    records = list(records)
    yield from foundation_items(records, results)
    for record in records:
        yield from unit_items(record, results, wanted)


def _write(
    writer: Writer, items: Sequence[Item], records: Sequence[Record], order: Order, facts: Facts
) -> list[Written]:
    """Everything in the order of its name, then what describes it. Raises StoreError for a file that is not
    the one its record names."""
    stated = {
        f"{record.path.name}/{name}": artefact.sha256
        for record in records
        if record.path is not None
        for name, artefact in (record.artefacts or {}).items()
    }
    files = []
    for item in sorted(items):
        written = writer.add(item)
        known = stated.get("/".join(item.name.split("/")[-2:])) if isinstance(item.content, Path) else None
        if known is not None and known != written.sha256:
            raise StoreError(
                f"{item.name}: is not the file that was stored (its sha256 differs); repeat the command "
                "that made it, then pack"
            )
        files.append(written)
    about = writer.add(Item(METADATA, metadata(files, order.described, facts).encode()))
    listing = "".join(f"{file.sha256}  {file.name}\n" for file in [*files, about])
    writer.add(Item(CHECKSUMS, listing.encode()))
    return files


def _readme(facts: Facts, with_page: bool) -> str:
    versions = ", ".join(facts.versions) or "an unknown version"
    names = ", ".join(sorted(facts.datasets))
    rows = {
        "results/": f"records (`{RECORD}`), predictions (`{PREDICTIONS}`), failures, split manifests, audits",
        "tables/": "the tables of these results, as `bench table --ranks --costs` renders them",
        ENVIRONMENT: "hardware, packages and source of the runs",
        CITATIONS: "what to cite",
        LICENCES: "terms of use of data sets, networks and methods",
        METADATA: "the same for programs: an RO-Crate (Process Run Crate 0.5)",
        CHECKSUMS: "sha256 of every file: `sha256sum -c checksums.sha256`",
    }
    if with_page:
        rows[REPORT] = "the results as a page; open it in a browser"
    lines = [f"# Results on {names}", ""]
    lines += [f"{facts.units} units, made with {DISTRIBUTION} {versions}. No image is included.", ""]
    lines += ["To check them, with the zip this came in:", "", "```console"]
    lines += [f"$ pip install {DISTRIBUTION}"]
    lines += ["$ bench verify PACK.zip", "$ bench verify PACK.zip --paper table.tex", "```", ""]
    if facts.plugins:  # no command: an index may have something else under the name of a plugin of one's own
        lines += [f"Plugins of others were used; install them too: {', '.join(facts.plugins)}", ""]
    lines += [f"| {name} | {text} |" for name, text in {"file": "what it is", "---": "---", **rows}.items()]
    return "\n".join(lines) + "\n"
