"""The metadata of a pack, read by other people's programs: `rocrate`, and the validator `roc-validator`.

They are no extra: `pip install rocrate roc-validator`, in an environment of its own, because the validator
holds rich back. The contexts of JSON-LD, which it would download, come from `rocrate`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from packable import make_results
from test_pack import bench

rocrate = pytest.importorskip("rocrate.rocrate")

ABOUT = (
    "--license",
    "CC-BY-4.0",
    "--published",
    "2026-11-28",
    "--author",
    "Ada Lovelace <0000-0002-1825-0097>",
)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pack that says all that is asked for, and one that says nothing of itself."""
    folder = tmp_path_factory.mktemp("study")
    make_results(folder / "results", rounds=2)
    bench("pack", "--results", folder / "results", "-o", folder / "full.zip", *ABOUT)
    bench("pack", "--results", folder / "results", "-o", folder / "bare.zip")
    return folder


def test_rocrate_reads_a_pack(packs: Path) -> None:
    crate = rocrate.ROCrate(packs / "full.zip")
    assert crate.root_dataset["datePublished"].startswith("2026-11-28")
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    assert crate.get("tables/table.csv").type == "File"
    assert {action["name"] for action in crate.root_dataset["mentions"]} == {
        "bench run on phantom",
        "bench pack",
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_the_validator_finds_nothing_that_must_be_otherwise(
    packs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = pytest.importorskip("rocrate_validator.services")
    models = pytest.importorskip("rocrate_validator.models")
    _offline(monkeypatch)

    def issues(pack: str) -> list[str]:
        folder = tmp_path / Path(pack).stem  # the validator takes a name for what it ends with
        shutil.unpack_archive(packs / pack, folder)
        settings = services.ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier="process-run-crate",
            requirement_severity=models.Severity.REQUIRED,
            cache_path=str(tmp_path / "cache"),
        )
        return [str(issue.message) for issue in services.validate(settings).get_issues()]

    assert issues("full.zip") == []
    assert any("datePublished" in message for message in issues("bare.zip"))


def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer every request with the context that `rocrate` comes with."""
    from rdflib.plugins.shared.jsonld import context
    from rocrate_validator.utils import http

    file = Path(rocrate.__file__).parent / "data" / "ro-crate.jsonld"
    terms: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    load = context.source_to_json

    def source_to_json(source: Any, *more: Any, **named: Any) -> Any:
        is_ours = str(source).startswith("https://w3id.org/ro/crate/")
        return (terms, None) if is_ours else load(source, *more, **named)

    class Answer:
        status_code, ok, text = 200, True, json.dumps(terms)
        content, headers = text.encode(), {"Content-Type": "application/ld+json"}

        def json(self) -> dict[str, Any]:
            return terms

        def raise_for_status(self) -> None:
            return None

    monkeypatch.setattr(context, "source_to_json", source_to_json)
    for method in ("get", "head"):
        monkeypatch.setattr(http.HttpRequester, method, lambda *a, **k: Answer(), raising=False)
