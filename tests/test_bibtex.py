"""BibTeX: what is read of a component's text, what is made of a citation, and that keys stay apart."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import Component
from bench.errors import PluginError
from bench.identity import Ref
from bench.manuscript.bibliography import PACKAGES, Used, bibliography, software, works_of
from bench.manuscript.bibtex import Entry, merged, misc, read_entries
from bench.registry import Registry, installed

NETWORK = "resnet18"  # of a family


def fields(entry: Entry) -> dict[str, str]:
    """The fields of an entry by name, by a reader of its own: braces must match, values are in braces."""
    text, found, position = entry.body, {}, 0
    while match := re.compile(r"\s*(\w+)\s*=\s*\{").match(text, position):
        depth, end = 1, match.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0) if text[end - 1] != "\\" else 0
            end += 1
        found[match[1]] = text[match.end() : end - 1]
        position = end + (text[end : end + 1] == ",")
    assert not text[position:].strip(), f"{entry.key}: {text[position:]!r} is no field"
    return found


def everything() -> list[tuple[str, Component]]:
    registry = installed()
    return [(c.kind.singular, component) for c in registry.kinds for component in c.all()] + [
        ("model", registry.models.get(NETWORK))
    ]


ALL = everything()


@pytest.mark.parametrize(("kind", "component"), ALL, ids=lambda value: getattr(value, "name", value))
def test_every_component_with_a_citation_has_an_entry(kind: str, component: Component) -> None:
    works = bibliography([Used(kind, Ref(component.name))], (), (), installed())
    keys = works.components[kind, component.name]
    assert bool(keys) == bool(component.citation)
    for entry in works.entries:
        assert fields(entry).get("title"), entry.key


@pytest.mark.parametrize("component", [c for _, c in ALL if c.citation], ids=lambda component: component.name)
def test_ours_give_their_own_entries_with_authors_and_what_the_citation_names(component: Component) -> None:
    """Every DOI and arXiv number of a citation is in an entry, and no entry has one that the citation, for
    the work itself, contradicts."""
    assert component.bibtex, "a @misc of the citation is for those who give none"
    entries = read_entries(component.bibtex)
    known = [fields(entry) for entry in entries]
    assert all(entry.get("author") and entry.get("year") for entry in known)
    named = re.findall(r"10\.\d{4,}/[^\s;]+[\w]|\d{4}\.\d{5}", component.citation)
    assert set(named) <= {entry.get(name) for entry in known for name in ("doi", "eprint")}


def test_one_work_has_one_key_in_all_components_of_ours() -> None:
    entries, _ = merged(read_entries(c.bibtex) for _, c in ALL if c.bibtex)
    assert not [
        entry.key
        for entry in entries
        if re.search(r"\d{4}\w+[a-z]$", entry.key) and entry.key[:-1] in {other.key for other in entries}
    ]
    numbers = [value for e in entries for name, value in fields(e).items() if name in ("doi", "eprint")]
    assert len(numbers) == len(set(numbers)), "one work under two keys"


def test_the_packages_of_records_have_their_works() -> None:
    assert set(PACKAGES.values()) <= set(software())
    assert all(fields(entry)["title"] for entry in software().values())


# --- reading -----------------------------------------------------------------------------------------


def test_entries_are_read_with_nested_braces_and_comments_between() -> None:
    text = (
        "A note.\n@Article{a1,\n  title = {A {B {C}} \\} d},\n  year = {2020},\n}\n"
        "more @misc { b-2 , note={x} }"
    )
    first, second = read_entries(text)
    assert (first.kind, first.key, second.kind, second.key) == ("article", "a1", "misc", "b-2")
    assert fields(first) == {"title": "A {B {C}} \\} d", "year": "2020"}
    assert read_entries(str(first)) == [first]
    assert read_entries("") == []


@pytest.mark.parametrize(
    "text", ["@misc{a, title = {x}", "@misc{a}", "@misc{, title = {x}}", "@misc{a, nothing}", "no entry"]
)
def test_what_is_no_bibtex_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"BibTeX"):
        read_entries(text)


def test_a_plugin_with_broken_bibtex_is_named() -> None:
    registry = installed()
    [(name, entry)] = list(registry.ensembles.entries.items())[:1]
    broken = dataclasses.replace(entry.component, bibtex="@misc{a, title = {x}")
    with pytest.raises(PluginError, match=f"bench.*`bibtex` of {name} is no BibTeX.*repair the plugin"):
        works_of(broken, entry.plugin)


# --- citations in free text --------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=60), st.text(max_size=80))
def test_a_citation_in_any_words_makes_an_entry_that_can_be_read(name: str, citation: str) -> None:
    entry = misc(name, citation, name)
    assert read_entries(str(entry)) == [entry] or not re.search(r"[A-Za-z0-9]", entry.key)
    assert set(fields(entry)) >= {"title", "note"}


def test_broken_bibtex_is_a_warning_and_the_citation_stands_in_for_it() -> None:
    registry = a_component(installed(), bibtex="@misc{a, title = {x}", citation="Toymaker, 2020")
    [name] = registry.ensembles.names()
    works = bibliography([Used("ensemble", Ref(name))], (), (), registry)
    assert len(works.warnings) == 1
    assert f"`bibtex` of {name} is no BibTeX" in works.warnings[0]
    (key,) = works.components["ensemble", name]
    assert [fields(e)["note"] for e in works.entries if e.key == key] == ["Toymaker, 2020"]


def test_one_number_in_a_citation_becomes_a_field_and_two_do_not() -> None:
    assert fields(misc("a", "Toymaker, 2020, doi:10.1000/xyz.7.", "a"))["doi"] == "10.1000/xyz.7"
    assert fields(misc("a", "Toymaker, arXiv:2605.21970v1, eq. 3", "a"))["eprint"] == "2605.21970"
    both = fields(misc("a", "doi:10.1000/x1; doi:10.1000/x2", "a"))
    assert set(both) == {"title", "note"}


def a_component(registry: Registry, **changes: str) -> Registry:
    [(name, entry)] = list(registry.ensembles.entries.items())[:1]
    changed = dataclasses.replace(entry, component=dataclasses.replace(entry.component, **changes))
    return dataclasses.replace(
        registry, ensembles=dataclasses.replace(registry.ensembles, entries={name: changed})
    )


def test_a_plugin_that_gives_a_citation_alone_is_cited_by_it() -> None:
    registry = a_component(installed(), bibtex="", citation="Toymaker & Sons, 2020, doi:10.1000/toy")
    [name] = registry.ensembles.names()
    works = bibliography([Used("ensemble", Ref(name))], (), (), registry)
    (key,) = works.components["ensemble", name]
    (entry,) = [entry for entry in works.entries if entry.key == key]
    assert fields(entry)["note"] == r"Toymaker \& Sons, 2020, doi:10.1000/toy"
    assert fields(entry)["doi"] == "10.1000/toy"


# --- keys --------------------------------------------------------------------------------------------

WORKS = st.lists(
    st.lists(
        st.builds(Entry, st.just("misc"), st.sampled_from("abA"), st.sampled_from(["x = {1}", "x = {2}"]))
    ),
    max_size=6,
)


@given(WORKS)
def test_keys_are_unique_and_lead_to_the_entry_they_stood_for(works: list[list[Entry]]) -> None:
    entries, keys = merged(works)
    lowered = [entry.key.lower() for entry in entries]
    assert len(lowered) == len(set(lowered))
    by_key = {entry.key: entry for entry in entries}
    for own, cited in zip(works, keys, strict=True):
        assert {entry.body for entry in own} == {by_key[key].body for key in cited}


def test_a_component_that_is_not_installed_is_said_to_be_missing() -> None:
    works = bibliography([Used("strategy", Ref("gone"))], (), ("torch", "unheard-of"), installed())
    assert "unknown strategy 'gone'" in works.missing["strategy", "gone"]
    assert works.packages["torch"] == PACKAGES["torch"]
    assert "unheard-of" not in works.packages
