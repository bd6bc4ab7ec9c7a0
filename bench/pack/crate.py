"""The metadata of a pack: a Process Run Crate 0.5, which is an RO-Crate 1.1, as JSON-LD.

It is JSON with a fixed shape, so it is written here and not by a library; tests read it with `rocrate` and
`roc-validator`. Specifications: https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bench import __version__
from bench.errors import ConfigError
from bench.pack.archive import Written
from bench.parsing import brief
from bench.registry import DISTRIBUTION

if TYPE_CHECKING:
    from bench.interfaces.dataset import Dataset

METADATA = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_CONTEXT = [f"{_CRATE}/context", {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}]
_PROJECT = f"https://pypi.org/project/{DISTRIBUTION}/"
_FORMATS = {
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".bib": "application/x-bibtex",
    ".html": "text/html",
}
_AUTHOR = re.compile(r"\s*(?P<name>[^<>]+?)\s*(?:<\s*(?:https?://orcid\.org/)?(?P<orcid>[^<>]*?)\s*>)?\s*")
_ORCID = re.compile(r"\d{4}-\d{4}-\d{4}-\d{3}[\dX]")


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who is named as an author: a name, and an ORCID iD or ""."""

    name: str
    orcid: str = ""

    @property
    def id(self) -> str:
        return f"https://orcid.org/{self.orcid}" if self.orcid else f"#{quote(self.name)}"


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the user says of a pack; what is not said is not in it.

    Attributes:
        name: of the pack; "" for one made of the data sets' names.
        description: a sentence or two; "" for one made of what it holds.
        published: date, as 2026-11-28; "" for none.
        licence: an SPDX identifier or an address; "" for none.
        authors: in their order.
    """

    name: str = ""
    description: str = ""
    published: str = ""
    licence: str = ""
    authors: tuple[Author, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the metadata says of the results.

    Attributes:
        datasets: name -> what is known of the images; None where that is not installed.
        versions: of bench, that made results; none where records do not say.
        plugins: distributions of others that a reviewer needs.
        units: how many are in the pack.
    """

    datasets: Mapping[str, Dataset | None] = field(default_factory=dict)
    versions: Sequence[str] = ()
    plugins: Sequence[str] = ()
    units: int = 0


def parse_author(text: str) -> Author:
    """ "Ada Lovelace <0000-0002-1825-0097>", or a name alone. Raises ConfigError."""
    match = _AUTHOR.fullmatch(text)
    if match is None:
        raise ConfigError(f"--author {brief(text)!r}: must be a name, or a name and an ORCID iD: 'NAME <ID>'")
    orcid = (match["orcid"] or "").strip().upper()
    if match["orcid"] is not None and not (_ORCID.fullmatch(orcid) and _checked(orcid)):
        raise ConfigError(
            f"--author {brief(text)!r}: {brief(match['orcid'])!r} is no ORCID iD; it looks like "
            "0000-0002-1825-0097, and its last character checks the others"
        )
    return Author(name=match["name"], orcid=orcid)


def _checked(orcid: str) -> bool:
    """Whether the last character is right (ISO 7064, MOD 11-2)."""
    *digits, last = list(orcid.replace("-", ""))
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == last


def parse_date(text: str) -> str:
    """A day as ISO 8601 has it. Raises ConfigError."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"--published {brief(text)!r}: must be a day such as 2026-11-28") from None


def metadata(files: Sequence[Written], described: Described, facts: Facts) -> str:
    """The text of ro-crate-metadata.json for these files, all of the pack but itself."""
    graph = [
        {
            "@id": METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": _CRATE},
            "about": {"@id": "./"},
        },
        _root(files, described, facts),
        {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"},
        *_people(described),
        *_licence(described.licence),
        *_software([*_makers(facts), __version__]),
        *(_images(name, dataset) for name, dataset in sorted(facts.datasets.items())),
        *_actions(files, described, facts),
        *_folders(files),
        *(_file(file) for file in files),
    ]
    return json.dumps({"@context": _CONTEXT, "@graph": graph}, indent=1, ensure_ascii=False) + "\n"


def stated_files(text: str) -> dict[str, str]:
    """Path -> sha256 of the files that a crate's metadata describes. Raises ValueError, KeyError, TypeError
    or AttributeError for what is no such metadata."""
    from urllib.parse import unquote

    stated = {}
    for entity in json.loads(text)["@graph"]:
        kinds = entity.get("@type")
        if "File" in (kinds if isinstance(kinds, list) else [kinds]):
            stated[unquote(entity["@id"])] = str(entity["sha256"])
    return stated


# --- entities ----------------------------------------------------------------------------------------


def _root(files: Sequence[Written], described: Described, facts: Facts) -> dict[str, Any]:
    names = ", ".join(sorted(facts.datasets)) or "no data set"
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": _PROFILE},
        "name": described.name or f"Results of image classification on {names}",
        "description": described.description
        or f"{facts.units} units (pretrainings, fine-tunings, ensembles, failures) on {names}: records, "
        "predictions for validation and test images, split manifests, audits and tables. `bench verify` "
        "computes every number of the tables again from the predictions. No image is included.",
    }
    if described.published:
        root["datePublished"] = described.published
    if described.licence:
        root["license"] = {"@id": _licence_id(described.licence)}
    if described.authors:
        root["author"] = _ids(author.id for author in described.authors)
    top = sorted({file.name.partition("/")[0] + "/" * ("/" in file.name) for file in files})
    root["hasPart"] = _ids(top)
    root["mentions"] = _ids(action["@id"] for action in _actions(files, described, facts))
    return root


def _people(described: Described) -> Iterator[dict[str, Any]]:
    for author in dict.fromkeys(described.authors):
        yield {"@id": author.id, "@type": "Person", "name": author.name}


def _licence_id(licence: str) -> str:
    return licence if "://" in licence else f"https://spdx.org/licenses/{quote(licence)}"


def _licence(licence: str) -> Iterator[dict[str, Any]]:
    if licence:
        about = "Of what this pack adds; the images it was made from have terms of their own (licences.md)."
        yield {
            "@id": _licence_id(licence),
            "@type": "CreativeWork",
            "name": licence,
            "description": about,
        }


def _makers(facts: Facts) -> Sequence[str]:
    """The versions that made results; "" for one that records do not name."""
    return facts.versions or ("",)


def _software_id(version: str) -> str:
    return f"{_PROJECT}{quote(version)}/" if version else _PROJECT


def _software(versions: Iterable[str]) -> Iterator[dict[str, Any]]:
    for version in sorted(set(versions)):
        yield {
            "@id": _software_id(version),
            "@type": "SoftwareApplication",
            "name": DISTRIBUTION,
            "url": _PROJECT,
            **({"softwareVersion": version} if version else {}),
        }


def _images_id(name: str, dataset: Dataset | None) -> str:
    home = dataset.home if dataset else ""
    return home if home.startswith(("https://", "http://")) else f"#images-{quote(name)}"


def _images(name: str, dataset: Dataset | None) -> dict[str, Any]:
    """The images, which are not in the pack: so they are no data entity."""
    about = {
        "@id": _images_id(name, dataset),
        "@type": "CreativeWork",
        "additionalType": "https://schema.org/Dataset",
        "name": f"images of {name}",
        "description": " ".join(dataset.about.split()) if dataset else "a data set that is not installed",
    }
    if dataset and dataset.licence:
        about["conditionsOfAccess"] = " ".join(dataset.licence.split())
    return about


def _actions(files: Sequence[Written], described: Described, facts: Facts) -> list[dict[str, Any]]:
    """What made results, one for each data set, and what made tables of them. When is not said, because
    nothing in results says it."""
    agent = {"agent": _ids(author.id for author in described.authors)} if described.authors else {}
    folders = _parts(files)
    actions: list[dict[str, Any]] = []
    for name, dataset in sorted(facts.datasets.items()):
        made = [f for f in folders if f.startswith("results/") and f.split("/")[2] == name]
        units = [f for f in made if f.split("/")[1] in ("pretrain", "runs", "failures", "kept")]
        given = [f for f in made if f not in units]
        actions.append(
            {
                "@id": f"#run-{quote(name)}",
                "@type": "CreateAction",
                "name": f"bench run on {name}",
                "description": f"Pretraining, fine-tuning and prediction on the frozen splits of {name}.",
                "instrument": _ids(_software_id(version) for version in _makers(facts)),
                "object": _ids([_images_id(name, dataset), *given]),
                "result": _ids(units),
                **agent,
            }
        )
    tables = [file.name for file in files if file.name.startswith("tables/")]
    if tables:
        actions.append(
            {
                "@id": "#tables",
                "@type": "CreateAction",
                "name": "bench pack",
                "description": "Scores, intervals, tests and tables from the stored predictions.",
                "instrument": {"@id": _software_id(__version__)},
                "object": {"@id": "results/"},
                "result": _ids(tables),
                **agent,
            }
        )
    return actions


def _parts(files: Sequence[Written]) -> dict[str, list[str]]:
    """Folder -> its files, for folders such as results/runs/busi/ and tables/."""
    parts: dict[str, list[str]] = {}
    for file in files:
        pieces = file.name.split("/")
        if len(pieces) > 1:
            depth = 3 if pieces[0] == "results" else 1
            parts.setdefault("/".join(pieces[: min(depth, len(pieces) - 1)]) + "/", []).append(file.name)
    return parts


def _folders(files: Sequence[Written]) -> Iterator[dict[str, Any]]:
    parts = _parts(files)
    inner = sorted(folder for folder in parts if folder.startswith("results/"))
    if inner:
        yield {"@id": "results/", "@type": "Dataset", "name": "results", "hasPart": _ids(inner)}
    for folder in sorted(parts):
        yield {"@id": quote(folder), "@type": "Dataset", "name": folder, "hasPart": _ids(parts[folder])}


def _file(file: Written) -> dict[str, Any]:
    suffix = "." + file.name.rpartition(".")[2]
    return {
        "@id": quote(file.name),
        "@type": "File",
        "name": file.name.rpartition("/")[2],
        "encodingFormat": _FORMATS.get(suffix, "application/octet-stream"),
        "contentSize": str(file.bytes),
        "sha256": file.sha256,
    }


def _ids(ids: Iterable[str]) -> Any:
    """References, one alone without a list, as RO-Crate recommends."""
    found = [{"@id": id_ if id_.startswith("#") or "://" in id_ else quote(id_)} for id_ in ids]
    return found[0] if len(found) == 1 else found
