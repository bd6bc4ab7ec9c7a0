"""Whether what a results folder holds is what was stored: every file of it, read anew.

Nothing that is remembered of earlier readings is believed here, and nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.data.audit.audit import read_audit
from bench.data.images.store import check_stored
from bench.data.splits.manifest import read_named
from bench.data.splits.pool import load_pool
from bench.errors import BenchError, DataError, StoreError, describe
from bench.results import kept, store
from bench.results.artefacts import changed, is_left_out
from bench.results.predictions_file import PREDICTIONS, read_table, remedy, select
from bench.results.record import RECORD, Record

if TYPE_CHECKING:
    from bench.data.splits.split import Split
    from bench.interfaces.predictions import Predictions

ENCODERS = "*.safetensors"
PARTS = ("val", "test")


class Problem(NamedTuple):
    """One thing that is not as it was stored.

    Attributes:
        place: the file or folder.
        what: what is wrong with it, as a phrase.
        remedy: what to do.
    """

    place: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.remedy}"


@dataclass
class Verification:
    """What was looked at, by what it is, and what was found.

    Attributes:
        counts: how many of each were checked, such as {"records": 12, "artefacts": 12}.
        problems: one for each thing that is wrong.
        unchecked: what could not be looked at here, a phrase each.
    """

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def add(self, place: Path, what: str, remedy: str) -> None:
        self.problems.append(Problem(place, what, remedy))

    def add_error(self, place: Path, error: BenchError) -> None:
        """An error whose text is "PLACE: what; remedy"."""
        what, _, remedy = str(error).removeprefix(f"{place}: ").rpartition("; ")
        self.add(place, what or remedy, remedy if what else "update bench")


def verify_results(results: Path, found: Verification) -> list[Record]:
    """Check every record, artefact, manifest, audit and stored image below `results`; what is wrong is added
    to `found`. Returns the records that could be read."""
    splits = _manifests(results, found)
    _audits(results, found)
    _pools(results, found)
    _pixels(results, found)
    records = []
    for path, record in _records(results, found):
        found.counts["records"] += 1
        records.append(record)
        if record.status == "done":
            _unit(path, record, results, splits, found)
    by_key = {r.key: r for r in records if r.status == "done"}
    _kept(results, by_key, found)
    for record in records:
        for key in record.members or ():
            if key not in by_key and record.path is not None:
                found.add(
                    record.path,
                    f"member {key} of this ensemble is not among the finished runs",
                    "repeat the command that made it",
                )
    return records


def _records(results: Path, found: Verification) -> Iterator[tuple[Path, Record]]:
    places: dict[tuple[str, str], Path] = {}
    for path in store.directories(results):
        try:
            record = store.read_folder(path)
        except StoreError as error:
            found.add_error(path / RECORD, error)
            continue
        known = places.setdefault((record.key, record.status), path)
        if known != path:
            found.add(path, f"a second copy of {known}", "delete one")
        else:
            yield path, record


# --- one unit ----------------------------------------------------------------------------------------


def _unit(
    path: Path, record: Record, results: Path, splits: dict[tuple[str, str], Split], found: Verification
) -> None:
    """The artefacts of a finished unit, and what it predicts."""
    if record.artefacts is None:
        found.counts["older records without checksums"] += 1
    intact = True
    for name in record.artefacts or ():
        if name != PREDICTIONS and is_left_out(path, name):
            found.counts["files left out when packed"] += 1
            continue
        found.counts["artefacts"] += 1
        if damage := changed(path, record.artefacts or {}, name):
            found.add(path, damage, remedy(path))
            intact = False
    if not intact:
        return  # what follows from it need not be said
    if record.kind == "pretrain":
        if not any(is_left_out(path, name) for name in record.artefacts or ()):
            _encoder(path, found)
        return
    try:
        table = read_table(path)
        predictions = {part: select(table, path, part) for part in PARTS}
    except StoreError as error:
        found.add_error(path / PREDICTIONS, error)
        return
    found.counts["predictions"] += sum(len(each.ids) for each in predictions.values())
    stated = (record.artefacts or {}).get(PREDICTIONS)
    if stated and (extra := table.num_rows - sum(stated.rows.values())):
        found.add(path / PREDICTIONS, f"has {extra:+d} rows of those stored", remedy(path))
    split = splits.get((record.spec.dataset.name, record.spec.split))
    if split is None:
        found.add(
            path,
            f"was made under split {record.spec.split}, whose manifest is not in "
            f"{results / 'splits' / record.spec.dataset.name}",
            "copy the manifest there from where the results were made",
        )
        return
    for part, each in predictions.items():
        if difference := _unlike(each, part, split):
            found.add(path / PREDICTIONS, difference, remedy(path))


def _encoder(path: Path, found: Verification) -> None:
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob(ENCODERS))
    if not files:
        found.add(path, "its encoder is missing", remedy(path))
    for file in files:
        found.counts["encoders"] += 1
        try:
            with safe_open(str(file), framework="np") as encoder:
                if not list(encoder.keys()):
                    found.add(file, "holds no weights", remedy(path))
        except (OSError, SafetensorError) as error:
            found.add(file, f"cannot be read ({describe(error)})", remedy(path))


def _unlike(predictions: Predictions, part: str, split: Split) -> str:
    """How predictions differ from the split they were made under; "" where they do not."""
    if predictions.classes != split.classes:
        return f"has classes {predictions.classes}, the split {split.classes}"
    rows = {split.ids[i]: (split.labels[i], split.groups[i]) for i in split.indices(part)}
    names = [predictions.classes[i] for i in predictions.labels.tolist()]
    present = dict(zip(predictions.ids, zip(names, predictions.groups, strict=True), strict=True))
    differences = {
        f"lacks {part} images of the split": rows.keys() - present.keys(),
        f"has {part} images that the split does not": present.keys() - rows.keys(),
        "has another label than the split": {i for i in rows.keys() & present if rows[i][0] != present[i][0]},
        "has another group than the split": {i for i in rows.keys() & present if rows[i][1] != present[i][1]},
    }
    told = [f"{what} ({len(ids)}, such as {min(ids)!r})" for what, ids in differences.items() if ids]
    return ", ".join(told)


# --- what units stand on -----------------------------------------------------------------------------


def _manifests(results: Path, found: Verification) -> dict[tuple[str, str], Split]:
    splits = {}
    for path in sorted((results / "splits").glob("*/*.json")):
        found.counts["split manifests"] += 1
        try:
            split = read_named(path)
        except DataError as error:
            found.add_error(path, error)
            continue
        splits[path.parent.name, split.hash] = split
    return splits


def _audits(results: Path, found: Verification) -> None:
    for path in sorted((results / "audits").glob("*/*.json")):
        found.counts["audits"] += 1
        try:
            read_audit(path)
        except DataError as error:
            found.add_error(path, error)


def _pools(results: Path, found: Verification) -> None:
    for path in sorted((results / "pools").glob("*/*.json")):
        found.counts["pools"] += 1
        split, _, hash_ = path.stem.partition(".")
        try:
            load_pool(results, path.parent.name, split, hash_)
        except DataError as error:
            found.add_error(path, error)


def _kept(results: Path, by_key: Mapping[str, Record], found: Verification) -> None:
    """Kept weights: their description, their checksum, and whether they are those of the stored result."""
    for folder in kept.folders(results):
        found.counts["kept weights"] += 1
        try:
            known = kept.read(folder)
        except StoreError as error:
            found.add_error(folder, error)
            continue
        again = f"delete {folder} and repeat the command that made it with --keep {known.kind}"
        if damage := kept.changed(folder, known):
            found.add(folder, damage, again)
        record = by_key.get(known.key)
        if record is not None and kept.result_of(record) != known.result:
            found.add(folder, "belongs to another result than the stored one", again)


def _pixels(results: Path, found: Verification) -> None:
    for folder in sorted((results / ".scratch" / "images").glob("*/*/*/")):
        if folder.name.startswith(".") or not (folder / "index.json").is_file():
            continue
        found.counts["stored image sizes"] += 1
        state = check_stored(folder)
        if state is None:
            found.counts["older image stores without checksums"] += 1
        elif state:
            found.add(folder, state, f"delete {folder}; the images are decoded again when they are needed")
