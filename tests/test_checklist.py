"""Checklists: whole, filled as far as records go, and never a tick that nobody earned."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from samples import data_of, failure_of, mean_of, run_spec, store_run
from test_cli import bench
from test_methods_text import PROVENANCE, VERDICT, bare, material_of, record

from bench.errors import UnknownName
from bench.identity import Ref
from bench.manuscript.answer import FOR_YOU, FROM_RECORDS, PARTLY, Answer, answered
from bench.manuscript.answers import ANSWERS
from bench.manuscript.checklist import checklist_names, checklist_title, read_checklist
from bench.manuscript.checklist_text import checklist_text
from bench.manuscript.document import Gap
from bench.manuscript.fill import Filled, fill
from bench.results.record import Provenance, Record

NEVER = {
    # ethics, setting, people, external data, meaning and money: no record knows of them
    "claim": "1 2 3 4 5 6 8 11 12 13 14 15 16 17 18 21 30 31 33 34 37 38 39 40 41 44",
    "tripod-ai": "1 2 3a 3b 3c 4 5b 6a 6b 6c 8b 8c 9a 9c 10 11 12d 12f 13 14 17 18a 18b 18d 19 22 23a 23b 24 "
    "25 26 27a 27b 27c",
}
SIZES = {"claim": 44, "tripod-ai": 52}


def filled(name: str, *records: Record) -> dict[str, Filled]:
    return {each.item.number: each for each in fill(read_checklist(name), material_of(records))}


def only(each: Filled) -> Answer:
    [(_, answer)] = each.answers
    return answer


def rich() -> list[Record]:
    """A study whose records say all that records can say."""
    specs = [run_spec(strategy, r, model="smt") for strategy in ("scratch", "imagenet") for r in range(2)]
    pretrained = [run_spec(Ref("egmae", revision=2), r, model="smt", epochs=3) for r in range(2)]
    specs += pretrained
    starts = [record(spec.start, weights=None) for spec in pretrained if spec.start]
    ensembles = [
        record(mean_of(*[s for s in specs if s.round == r]), normalization=None, weights=None) for r in (0, 1)
    ]
    return [*map(record, specs), *ensembles, *starts]


# --- the files ---------------------------------------------------------------------------------------


def test_the_shipped_checklists() -> None:
    assert checklist_names() == sorted(SIZES)
    with pytest.raises(UnknownName, match=r"unknown checklist 'clam'; did you mean claim"):
        read_checklist("clam")
    assert checklist_title("claim") == "Checklist for Artificial Intelligence in Medical Imaging"


@pytest.mark.parametrize("name", SIZES)
def test_a_checklist_is_whole_and_says_where_it_is_from(name: str) -> None:
    checklist = read_checklist(name)
    numbers = [item.number for item in checklist.items]
    assert len(numbers) == len(set(numbers)) == SIZES[name]
    ordered = sorted(numbers, key=lambda n: (int(re.sub(r"\D", "", n)), n))
    assert numbers == ordered
    assert {int(re.sub(r"\D", "", n)) for n in numbers} == set(range(1, 45 if name == "claim" else 28))
    assert "not the official wording" in checklist.wording
    assert checklist.official.startswith("https://doi.org/10.")
    assert all((checklist.version, checklist.citation, checklist.licence))
    assert all(item.text and item.section for item in checklist.items)


def test_every_function_that_a_checklist_names_is_there_and_every_function_is_named() -> None:
    named = {item.answer for name in SIZES for item in read_checklist(name).items if item.answer}
    assert named == set(ANSWERS)


def test_tripod_ai_says_which_studies_an_item_is_for() -> None:
    assert {item.applies for item in read_checklist("tripod-ai").items} == {"D", "E", "D;E"}


# --- what is filled ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIZES)
def test_what_no_record_can_know_is_never_filled(name: str) -> None:
    items = filled(name, *rich())
    assert set(NEVER[name].split()) <= {n for n, each in items.items() if each.state == FOR_YOU}


@pytest.mark.parametrize("name", SIZES)
def test_nothing_is_filled_of_a_record_that_says_nothing_but_what_its_spec_says(name: str) -> None:
    """A spec has the budget of the fine-tuning, sizes and names; nothing of images, splits or machines."""
    items = filled(name, bare(run_spec()))
    assert not [n for n, each in items.items() if each.state == FROM_RECORDS]
    unknown = {"claim": "10 20 23 27 35 36 42", "tripod-ai": "8a 16 18c 20a 20b 20c 21"}
    assert {items[n].state for n in unknown[name].split()} == {FOR_YOU}


def test_items_that_a_study_answers() -> None:
    claim, tripod = filled("claim", *rich()), filled("tripod-ai", *rich())
    assert {n for n, each in claim.items() if each.state == FROM_RECORDS} == {
        "9",
        "19",
        "23",
        "24",
        "25",
        "27",
        "32",
    }
    assert {n for n, each in tripod.items() if each.state == FROM_RECORDS} == {"12b", "12g"}


def test_an_answer_is_complete_only_if_nothing_remains() -> None:
    assert Answer().state == FOR_YOU
    assert Answer(remains=("all",)).state == FOR_YOU
    assert Answer(says=(("a",),), remains=("b",)).state == PARTLY
    assert Answer(says=(("a",),)).state == FROM_RECORDS
    answer = answered([("fact ", Gap("more")), ("another fact",)], evidence=[Path("x")])
    assert (answer.says, answer.remains, answer.state) == ((("another fact",),), ("more",), PARTLY)
    assert answered([(Gap("all"),)], evidence=[Path("x")]) == Answer(remains=("all",))


def data(**changes: Any) -> dict[str, Any]:
    return {"data": changes}


@pytest.mark.parametrize(
    ("item", "changes", "state"),
    [
        ("9", {"normalization": None}, PARTLY),
        ("10", data(audit=dataclasses.replace(VERDICT, kept_out=3)), PARTLY),
        ("19", data(fixed=None), PARTLY),
        ("19", data(settings=None), PARTLY),
        ("20", data(audit=None, settings=None), FOR_YOU),
        ("23", {"provenance": Provenance()}, FOR_YOU),
        ("24", {"weights": None}, PARTLY),
        ("27", {}, FOR_YOU),
        ("29", {}, FOR_YOU),  # one round has no spread
        ("32", data(audit=dataclasses.replace(VERDICT, leaking_groups=1, leaked=2)), PARTLY),
        ("32", data(audit=None), PARTLY),
        ("35", data(counts={}), FOR_YOU),
        ("42", {"asked": dataclasses.replace(record(run_spec()).asked, protocol="")}, FOR_YOU),
    ],
)
def test_an_item_is_filled_as_far_as_its_facts_are_there(
    item: str, changes: dict[str, Any], state: str
) -> None:
    assert filled("claim", record(run_spec(model="smt"), **changes))[item].state == state


def test_a_leak_is_said_and_not_ticked() -> None:
    leaking = dataclasses.replace(VERDICT, leaking_clusters=4, leaking_groups=1, leaked=9)
    items = filled("claim", record(run_spec(), data={"audit": leaking}))
    said = " ".join(str(part) for sentence in only(items["32"]).says for part in sentence)
    assert "4 sets of duplicates and 1 groups, with 9 validation and test images" in said
    assert any("duplicates or group mates" in text for text in only(items["32"]).remains)


def test_two_data_sets_are_answered_each_and_together_as_the_lesser() -> None:
    whole = record(run_spec(model="smt"))
    other = dataclasses.replace(whole, spec=run_spec(model="smt", seed=5), provenance=Provenance())
    items = filled("claim", whole, other)
    assert [answer.state for _, answer in items["23"].answers] == [FROM_RECORDS, FOR_YOU]
    assert items["23"].state == PARTLY


# --- what is shown -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_every_item_is_shown_with_its_state_and_counted(form: str) -> None:
    checklist, material = read_checklist("claim"), material_of(rich())
    items = fill(checklist, material)
    text = checklist_text(checklist, items, form, Path())
    flat = " ".join(text.split())
    assert "not the official wording" in flat
    for state in (FROM_RECORDS, PARTLY, FOR_YOU):
        count = sum(each.state == state for each in items)
        assert f"{count} {state}" in flat
        shown = re.findall(rf":(?:\*\*)? {state}(?= )", flat + " ")
        assert len(shown) >= count
    for each in items:
        assert re.search(rf"(^|\*\*){each.item.number}  ", text, re.MULTILINE)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    for strategy in ("scratch", "imagenet"):
        for r in range(2):
            store_run(tmp_path / "results", run_spec(strategy, r))
    return tmp_path


def test_links_lead_to_files_from_where_the_checklist_is(stored: Path) -> None:
    (stored / "paper").mkdir()
    done = bench(stored, "checklist", "--for", "claim", "-o", "paper/claim.md")
    assert done.stdout == ""
    text = (stored / "paper" / "claim.md").read_text("utf-8")
    links = re.findall(r"\]\(<([^>]+)>\)", text)
    assert links
    assert all((stored / "paper" / link).is_file() for link in links)


def test_the_command_on_stdout(stored: Path) -> None:
    done = bench(stored, "checklist", "--for", "tripod-ai")
    assert done.stderr == ""
    assert done.stdout.startswith("TRIPOD+AI, 2024\n=====")
    assert "17 (D;E)  Ethics committee and consent: for you to write" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "clam"], "unknown checklist 'clam'; did you mean claim?"),
        (
            ["--for", "claim", "--format", "latex"],
            "--format 'latex': not a format of this text; known: text, markdown",
        ),
        (["--for", "claim", "-d", "kvasir"], "unknown dataset 'kvasir'"),
    ],
)
def test_bad_input_is_one_clear_line(stored: Path, arguments: list[str], message: str) -> None:
    done = bench(stored, "checklist", *arguments, code=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_finished_units_nothing_is_written(tmp_path: Path) -> None:
    assert "all of it is for you to write" in bench(tmp_path, "checklist", "--for", "claim").stderr
    assert not material_of([failure_of(run_spec())]).comparisons


def test_names_of_checklists_complete() -> None:
    from bench.cli import complete

    assert [name for name, _ in complete.checklists("tri").names] == ["tripod-ai"]
    assert [name for name, _ in complete.checklists("").names] == ["claim", "tripod-ai"]


def test_the_samples_say_what_they_are_for() -> None:
    assert PROVENANCE.packages
    assert data_of().counts
