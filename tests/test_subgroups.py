"""`bench subgroups`: scores on parts of the test images, from stored predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from samples import data_of, record_of, run_spec
from typer.testing import CliRunner

from bench import Dataset, Metric, Predictions
from bench.cli import app
from bench.comparison.difference import Verdict
from bench.comparison.methods import Method
from bench.comparison.partition import NOT_GIVEN, Partition, thirds
from bench.comparison.rows import Label
from bench.comparison.scored import ScoredUnit
from bench.comparison.subgroup_file import match, read_subgroup_file, split_column
from bench.comparison.subgroups import LEAST_GROUPS, Subgroup, SubgroupScores, score_subgroups
from bench.data.audit.audit import Audit, Duplicate, _to_text
from bench.data.audit.verdict import Verdict as AuditVerdict
from bench.errors import ConfigError
from bench.registry import installed
from bench.results import store
from bench.study.protocol import AuditSettings

ACCURACY, AUC = (installed().metrics.get(name) for name in ("accuracy", "auc"))
CLASSES = ("benign", "malignant", "normal")
GROUPS = 200  # of two images each

Right = Callable[[int], float]
"""With which probability an image of this group is predicted right."""


def image(group: int, view: int) -> str:
    return f"{CLASSES[group % 3]}/p{group:03d} ({view})"


IDS = [image(group, view) for group in range(GROUPS) for view in (0, 1)]


def study(right: Right, rounds: int = 5, seed: int = 0, share: float = 0.3) -> list[Predictions]:
    """One method's rounds, each on a share of all groups that is drawn anew."""
    random = np.random.default_rng(seed)
    return [_round(random, right, random.permutation(GROUPS)[: int(share * GROUPS)]) for _ in range(rounds)]


def _round(random: np.random.Generator, right: Right, tested: NDArray[np.int64]) -> Predictions:
    groups = np.repeat(np.sort(tested), 2)
    labels = groups % 3
    hit = random.random(len(groups)) < [right(group) for group in groups]
    predicted = np.where(hit, labels, (labels + random.integers(1, 3, len(groups))) % 3)
    peaks = 0.2 + 0.4 * np.eye(3)[predicted]
    return Predictions(
        classes=CLASSES,
        ids=tuple(image(group, view) for group, view in zip(groups, [0, 1] * len(tested), strict=True)),
        groups=tuple(f"p{group:03d}" for group in groups),
        labels=labels.astype(np.int64),
        probabilities=peaks,
    )


def stored(results: Path, rounds: Sequence[Predictions], strategy: str = "egmae", **data: Any) -> None:
    for number, one in enumerate(rounds):
        record = record_of(run_spec(strategy, number), data=data_of(**data))
        store.write(results, record, predictions={"val": one, "test": one})


def method_of(rounds: Sequence[Predictions]) -> Method:
    """A row whose predictions are in memory."""
    records = (record_of(run_spec("egmae", number), path=Path("unread")) for number in range(len(rounds)))
    units = tuple(ScoredUnit(record=r, test=one) for r, one in zip(records, rounds, strict=True))
    return Method(Label("convnext_tiny", "egmae"), units)


def scored(
    rounds: Sequence[Predictions], of: Callable[[int], str], metric: Metric = ACCURACY, replicates: int = 2000
) -> SubgroupScores:
    """By a name of each group."""
    names = {id_: of(group) for group in range(GROUPS) for id_ in (image(group, 0), image(group, 1))}
    divided = Partition(by="test", names=tuple(sorted(set(names.values()))), of=names)
    return score_subgroups(method_of(rounds), Path("none"), divided, metric, 0.01, installed(), replicates)


def bench(results: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        app, ["subgroups", *arguments, "--results", str(results)], env={"COLUMNS": "200"}
    )


def by_name(found: SubgroupScores) -> dict[str, Subgroup]:
    return {each.name: each for each in found.subgroups}


def columns(name: str, of: Callable[[int], object]) -> str:
    rows = (f"{image(group, view)},{of(group)}" for group in range(GROUPS) for view in (0, 1))
    return "\n".join([f"id,{name}", *rows])


# --- what is said ------------------------------------------------------------------------------------


def weak(group: int) -> float:
    return 0.5 if group % 5 == 0 else 0.9


def test_a_weak_subgroup_is_found_and_its_score_is_the_mean_over_rounds(tmp_path: Path) -> None:
    rounds = study(weak)
    stored(tmp_path, rounds)
    table = tmp_path / "device.csv"
    table.write_text(columns("device", lambda group: "ABCDE"[group % 5]), encoding="utf-8")
    text = bench(tmp_path, "egmae", "--by", str(table)).stdout
    assert "5 comparisons of a row" in text
    assert "Exploratory" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert lines["A"].rstrip().endswith("worse")
    assert "worse" not in lines["B"] + lines["C"] + lines["D"] + lines["E"]

    [found] = json.loads(bench(tmp_path, "egmae", "--by", str(table), "-f", "json").stdout)
    first = found["subgroups"][0]
    inside = [np.array([int(g[1:]) % 5 == 0 for g in one.groups]) for one in rounds]
    hits = [one.probabilities.argmax(1) == one.labels for one in rounds]
    means = np.array([[hit[i].mean(), hit[~i].mean()] for hit, i in zip(hits, inside, strict=True)])
    assert first["score"] == pytest.approx(means[:, 0].mean())
    difference = first["difference_to_rest"]
    assert difference["difference"] == pytest.approx((means[:, 0] - means[:, 1]).mean())
    assert difference["low"] < difference["difference"] < difference["high"] < 0
    assert difference["p_adjusted"] == pytest.approx(5 * difference["p"])
    assert difference["verdict"] == "worse"
    assert first["groups"] == len({g for one in rounds for g in one.groups if int(g[1:]) % 5 == 0})
    assert first["low"] < first["score"] < first["high"]


def test_lower_is_better_turns_the_verdict_and_not_the_score() -> None:
    brier = installed().metrics.get("brier")
    found = by_name(scored(study(weak), lambda group: "weak" if group % 5 == 0 else "rest", brier))
    one = found["weak"].difference
    assert one is not None
    assert one.value < 0
    assert one.verdict is Verdict.WORSE
    assert one.scores[0] > one.scores[1]


def test_two_subgroups_are_one_comparison() -> None:
    found = scored(study(weak), lambda group: "weak" if group % 5 == 0 else "others")
    others, weak_ = (each.difference for each in found.subgroups)
    assert others is not None
    assert weak_ is not None
    assert (others.value, others.p, others.comparisons) == (-weak_.value, weak_.p, 1)
    assert weak_.adjusted == weak_.p
    assert (others.verdict, weak_.verdict) == (Verdict.BETTER, Verdict.WORSE)
    assert others.scores == weak_.scores[::-1]


def test_few_groups_have_no_interval_and_no_test(tmp_path: Path) -> None:
    rounds = study(weak)
    tested = sorted({int(g[1:]) for one in rounds for g in one.groups})
    few = set(tested[:7])
    found = by_name(scored(rounds, lambda group: "few" if group in few else "many"))
    assert found["few"].groups == 7
    assert found["few"].untested == "too few groups (7) to say"
    assert math.isnan(found["few"].ends.low)
    assert found["few"].score == pytest.approx(
        np.mean([v for v in (_share_right(one, few) for one in rounds) if not math.isnan(v)])
    )
    assert found["many"].untested == "too few groups (7) in the rest to say"
    assert found["many"].ends.low < found["many"].score < found["many"].ends.high
    stored(tmp_path, rounds)
    table = tmp_path / "few.csv"
    table.write_text(columns("few", lambda group: "few" if group in few else "many"), encoding="utf-8")
    text = bench(tmp_path, "--by", str(table)).stdout
    assert "too few groups (7) to say" in text
    assert f"Fewer than {LEAST_GROUPS} groups have no interval and no test." in text


def _share_right(one: Predictions, groups: set[int]) -> float:
    inside = np.array([int(g[1:]) in groups for g in one.groups])
    return float((one.probabilities.argmax(1) == one.labels)[inside].mean()) if inside.any() else math.nan


def test_few_groups_a_round_are_not_tested_either() -> None:
    found = by_name(scored(study(weak, 10, share=0.1), lambda g: "a few" if g % 13 == 0 else "others"))
    assert found["a few"].groups >= LEAST_GROUPS
    assert found["a few"].untested == "too few groups in some rounds to say"
    assert found["a few"].difference is None


@pytest.mark.parametrize(("rounds", "said"), [(1, "1 round: too few"), (2, "2 rounds: too few")])
def test_few_rounds_have_intervals_and_no_verdict(tmp_path: Path, rounds: int, said: str) -> None:
    stored(tmp_path, study(weak, rounds, share=0.5))
    text = bench(tmp_path, "egmae").stdout
    lines = [line for line in text.splitlines() if line.split()[:1] == ["benign"]]
    assert lines[0].count("[") == 2
    assert lines[0].rstrip().endswith("none")
    assert said in text


def test_three_rounds_are_few(tmp_path: Path) -> None:
    stored(tmp_path, study(weak, 3))
    assert "3 rounds are few for that" in bench(tmp_path, "egmae").stdout


def test_a_metric_that_a_subgroup_does_not_have() -> None:
    found = scored(study(weak), lambda group: CLASSES[group % 3], AUC)
    assert {each.untested for each in found.subgroups} == {"AUC is not defined on these images alone"}
    plain = Metric(name="accuracy", title="Plain", about="", score=ACCURACY.score)
    found = scored(study(weak), lambda group: CLASSES[group % 3], plain)
    assert {each.untested for each in found.subgroups} == {"Plain cannot be computed on resampled images"}
    assert all(each.score > 0.5 for each in found.subgroups)


def test_auc_of_subgroups_with_all_classes() -> None:
    found = by_name(scored(study(weak), lambda group: "weak" if group % 5 == 0 else "others", AUC))
    one = found["weak"].difference
    assert one is not None
    assert one.verdict is Verdict.WORSE


# --- false claims ------------------------------------------------------------------------------------


def claims(studies: int, size: int, seed: int = 500) -> float:
    """The share of studies that tell a random subgroup from the rest; 95 % of all images are right."""
    found = 0
    for i in range(studies):
        chosen = set(np.random.default_rng([seed, i]).permutation(GROUPS)[:size].tolist())
        names = ["some" if group in chosen else "the others" for group in range(GROUPS)]
        rounds = study(lambda group: 0.95, seed=seed + i)
        one = scored(rounds, names.__getitem__, replicates=400).subgroups[0].difference
        found += one is not None and one.verdict in (Verdict.BETTER, Verdict.WORSE)
    return found / studies


def test_a_random_subgroup_is_rarely_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claims(40, 70) <= 0.1
    assert claims(60, 15) <= 0.05
    # Resampling alone takes a dozen groups that happen to be right for a difference.
    monkeypatch.setattr(
        "bench.comparison.subgroups.of_difference", lambda parts, by_chance: parts.of_difference(0, 1)
    )
    assert claims(60, 15) > 0.1


# --- what divides ------------------------------------------------------------------------------------


def test_classes_divide_without_anything_else(tmp_path: Path) -> None:
    stored(tmp_path, study(lambda group: 0.5 if group % 3 == 1 else 0.9))
    text = bench(tmp_path).stdout
    rows = [line.split()[0] for line in text.splitlines() if line.split() and line.split()[0] in CLASSES]
    assert rows == list(CLASSES)
    [found] = json.loads(bench(tmp_path, "-f", "json").stdout)
    recall = installed().metrics.get("balanced_accuracy")
    mean = np.mean([recall.score(one) for one in study(lambda group: 0.5 if group % 3 == 1 else 0.9)])
    assert np.mean([each["score"] for each in found["subgroups"]]) == pytest.approx(mean)
    verdicts = [each["difference_to_rest"]["verdict"] for each in found["subgroups"]]
    assert verdicts[1] == "worse"


def audited(results: Path, pairs: Sequence[tuple[str, str]]) -> AuditVerdict:
    """An audit of these duplicates is stored; the verdict that cites it."""
    settings = AuditSettings()
    audit = Audit(
        dataset="busi",
        content="c0ffee" * 8,
        settings=settings,
        images=len(IDS),
        candidates=len(pairs),
        duplicates=tuple(Duplicate(a, b, bits=1, similarity=0.9, exact=False) for a, b in pairs),
    )
    folder = results / "audits" / "busi"
    folder.mkdir(parents=True)
    known = {"ids": IDS, "labels": np.zeros(len(IDS), int), "groups": IDS, "version": "", "reviewed": ()}
    images = type("Images", (), known)
    (folder / f"request.{audit.hash}.json").write_text(_to_text(audit, images), encoding="utf-8")  # type: ignore[arg-type]
    none = {"leaking_clusters": 0, "leaking_groups": 0, "leaked": 0, "label_conflicts": 0, "kept_out": 0}
    return AuditVerdict(audit=audit.hash, settings=settings, **none)


def test_images_with_a_duplicate_are_those_of_the_audit(tmp_path: Path) -> None:
    pairs = [(image(group, 0), image(group, 1)) for group in range(0, GROUPS, 5)]
    verdict = audited(tmp_path, pairs)
    rounds = study(weak)
    stored(tmp_path, rounds, audit=verdict)
    [found] = json.loads(bench(tmp_path, "--by", "duplicate", "-f", "json").stdout)
    names = [each["name"] for each in found["subgroups"]]
    assert names == ["has a duplicate", "no duplicate"]
    tested = {id_ for one in rounds for id_ in one.ids}
    assert found["subgroups"][0]["images"] == len(tested & {id_ for pair in pairs for id_ in pair})
    assert found["subgroups"][0]["difference_to_rest"]["verdict"] == "worse"
    for path in (tmp_path / "audits" / "busi").iterdir():
        path.unlink()
    error = bench(tmp_path, "--by", "duplicate").exception
    assert f"has no audit {verdict.audit}" in str(error)
    assert "bench data audit busi" in str(error)


def test_results_without_an_audit_know_no_duplicates(tmp_path: Path) -> None:
    stored(tmp_path, study(weak))
    assert "were not audited" in str(bench(tmp_path, "--by", "duplicate").exception)


def pictured(root: Path) -> None:
    """The images of `IDS` as a csv data set: every fifth patient's are small and of one hospital."""
    root.mkdir()
    lines = ["path,label,group,source"]
    for group in range(GROUPS):
        for view in (0, 1):
            name = f"{group:03d}-{view}.png"
            side = 40 if group % 5 == 0 else 50 + group % 2
            pixels = np.random.default_rng([group, view]).integers(0, 255, (side, side), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name)
            source = "Cairo" if group % 5 == 0 else "Lyon" if group % 5 == 1 else ""
            lines.append(f"{name},{CLASSES[group % 3]},p{group:03d},{source}")
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")


def test_size_and_source_come_from_the_data_set(tmp_path: Path) -> None:
    from bench.api import local_environment
    from bench.execution.session import Session
    from bench.identity import Ref

    data, results = tmp_path / "data", tmp_path / "results"
    pictured(data)
    images = Session(local_environment(data, results, device="cpu")).images(Ref("folder"), (64,))
    renamed = [
        replace(one, ids=tuple(f"{g[1:]}-{id_[-2]}.png" for g, id_ in zip(one.groups, one.ids, strict=True)))
        for one in study(weak)
    ]
    for number, one in enumerate(renamed):
        record = record_of(
            run_spec("egmae", number, dataset=Ref("folder")), data=data_of(content=images.content)
        )
        store.write(results, record, predictions={"val": one, "test": one})
    [found] = json.loads(bench(results, "--by", "size", "--data", str(data), "-f", "json").stdout)
    names = [each["name"] for each in found["subgroups"]]
    assert names == ["small (up to 2,500 pixels)", "medium (up to 2,601 pixels)"]
    [found] = json.loads(bench(results, "--by", "source", "--data", str(data), "-f", "json").stdout)
    verdicts = {each["name"]: each["difference_to_rest"]["verdict"] for each in found["subgroups"]}
    assert list(verdicts) == ["Cairo", "Lyon", NOT_GIVEN]
    assert verdicts["Cairo"] == "worse"
    # An image more is another data set.
    Image.new("L", (50, 50)).save(data / "new.png")
    table = data / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8") + "\nnew.png,benign,new,", encoding="utf-8")
    error = str(bench(results, "--by", "size", "--data", str(data)).exception)
    assert "are not those of these results" in error
    assert "--data" in error


def test_a_data_set_that_knows_no_sources(tmp_path: Path) -> None:
    stored(tmp_path, study(weak))
    error = str(bench(tmp_path, "--by", "source").exception)
    assert "busi does not say where its images come from" in error
    assert "--by FILE.csv" in error


def test_a_plugin_that_fails_on_sources_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(root: Path, params: object) -> dict[str, str]:
        raise RuntimeError("no network")

    entry = installed().datasets.entries["busi"]
    assert isinstance(entry.component, Dataset)
    monkeypatch.setitem(
        installed().datasets.entries,  # type: ignore[arg-type]  # a dict
        "busi",
        replace(entry, component=replace(entry.component, sources=broken)),
    )
    stored(tmp_path, study(weak))
    error = str(bench(tmp_path, "--by", "source").exception)
    assert "the sources of its images could not be read: RuntimeError: no network" in error


def test_thirds_have_as_many_images_and_keep_equal_numbers_together() -> None:
    random = np.random.default_rng(0)
    values = {str(i): float(v) for i, v in enumerate(random.permutation(99))}
    cut = thirds("size", values)
    assert [list(cut.of.values()).count(name) for name in cut.names] == [33, 33, 33]
    assert cut.names == ("low (up to 32)", "middle (up to 65)", "high (above 65)")
    tied = thirds("size", {str(i): float(i > 10) for i in range(100)} | {"x": math.nan})
    assert tied.names == ("low (up to 1)", NOT_GIVEN)
    with pytest.raises(ConfigError, match=r"--by size: all 5 test images have the same value, 3"):
        thirds("size", dict.fromkeys("abcde", 3.0))


# --- files -------------------------------------------------------------------------------------------


def read(tmp_path: Path, text: str, column: str = "") -> Any:
    path = tmp_path / "f.csv"
    path.write_text(text, encoding="utf-8")
    return read_subgroup_file(path, column)


def test_paths_are_of_the_images_whose_ids_end_them(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        "path,sex\n/data/busi/benign/p1 (0).png,f\nmalignant\\p1 (0).PNG,m\nbenign/p1.2,f\nother/p9.png,m\n",
    )
    ids = ["benign/p1 (0)", "malignant/p1 (0)", "benign/p1.1", "benign/p1.2", "p9"]
    found, warnings = match(file, ids)
    assert [found.of[id_] for id_ in ids] == ["f", "m", NOT_GIVEN, "f", "m"]
    assert found.names == ("f", "m", NOT_GIVEN)
    assert not warnings


def test_images_that_a_file_lacks_are_said_if_they_are_many(tmp_path: Path) -> None:
    found, warnings = match(read(tmp_path, "id,sex\na,f\nb,m\n"), list("abcdef"))
    assert list(found.of.values()).count(NOT_GIVEN) == 4
    [warning] = warnings
    assert "4 of 6 test images are not in it, say c, d, e" in warning


def test_many_numbers_are_cut_into_thirds_and_few_are_not(tmp_path: Path) -> None:
    ages = "\n".join(f"{i},{30 + i}" for i in range(30))
    ids = list(map(str, range(31)))
    found, _ = match(read(tmp_path, f"id,age\n{ages}\n30,\n"), ids)
    assert found.names == ("low (up to 39)", "middle (up to 49)", "high (above 49)", NOT_GIVEN)
    grades = "\n".join(f"{i},{9 + i % 3}" for i in range(31))
    assert match(read(tmp_path, f"id,grade\n{grades}"), ids)[0].names == ("9", "10", "11")


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", "", "its first line must name the columns"),
        ("a,f\nb,m\n", "", "one of them id .* or path; found: a, f"),
        ("id\na\n", "", r"0 columns could be the subgroups \(none\)"),
        ("id,sex,age\na,f,3\n", "", r"2 columns could be the subgroups \(sex, age\).*f\.csv:sex"),
        ("id,sex\na,f\n", "age", "has no column 'age' with subgroups; found: id, sex"),
        ("id,sex,sex\na,f,f\n", "sex", "has the column sex twice"),
        ("id,sex\na,f\nb\n", "", "line 3: has 1 fields, the first line 2"),
        ("id,sex\na,f\nb,m\na,m\n", "", "a is 'f' on line 2 and 'm' on line 4"),
        ("id,sex\n", "", "has no rows"),
        ('id,sex\n"a,f\n', "", "is no csv file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, column: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text, column)


def test_two_paths_of_one_image_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x/a is 'f' on line 2 and 'm' on line 3"):
        match(read(tmp_path, "path,sex\n1/x/a.png,f\n2/x/a.png,m\n"), ["x/a", "x/b"])


def test_a_file_of_other_images_names_three_of_both(tmp_path: Path) -> None:
    stored(tmp_path, study(weak))
    table = tmp_path / "t.csv"
    table.write_text("id,sex\na.png,f\nb.png,m\nc.png,m\nd.png,m\n", encoding="utf-8")
    error = str(bench(tmp_path, "--by", str(table)).exception)
    assert "none of its 4 ids is a test image: it has a.png, b.png, c.png; test images are " in error
    assert error.count("(0)") + error.count("(1)") == 3


def test_columns_are_named_after_a_colon(tmp_path: Path) -> None:
    assert split_column("a/b.csv:age") == (Path("a/b.csv"), "age")
    assert split_column("C:\\b.csv") == (Path("C:\\b.csv"), "")
    odd = tmp_path / "a.csv:age"
    odd.write_text("", encoding="utf-8")
    assert split_column(str(odd)) == (odd, "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("egmea",), "unknown method 'egmea'; did you mean egmae"),
        (("--by", "clas"), "unknown --by 'clas'; did you mean class"),
        (("--by", "none.csv"), r"--by none.csv: cannot be read (No such file or directory)"),
        (("--metric", "acc"), "unknown metric 'acc'"),
        (("-d", "isic"), "unknown dataset 'isic'"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    stored(tmp_path, study(weak, 3))
    result = bench(tmp_path, *arguments)
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_table_whose_images_a_file_does_not_know_is_left_out(tmp_path: Path) -> None:
    stored(tmp_path, study(weak, 3))
    for number, one in enumerate(study(weak, 3)):
        other = replace(one, ids=tuple(f"other {id_}" for id_ in one.ids))
        record = record_of(run_spec("egmae", number, size=96))
        store.write(tmp_path, record, predictions={"val": other, "test": other})
    table = tmp_path / "t.csv"
    table.write_text(columns("odd", lambda group: group % 2), encoding="utf-8")
    result = bench(tmp_path, "egmae", "--by", str(table), "-f", "json")
    assert len(json.loads(result.stdout)) == 1
    assert "(left out)" in result.stderr


def test_every_row_is_shown_without_a_method(tmp_path: Path) -> None:
    stored(tmp_path, study(weak, 3))
    stored(tmp_path, study(weak, 3), "mae")
    found = json.loads(bench(tmp_path, "-f", "json").stdout)
    assert [each["method"] for each in found] == ["convnext_tiny.egmae", "convnext_tiny.mae"]
