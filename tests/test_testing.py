"""Conformance checks: all installed components pass, and whatever breaks one promise fails with its name.

Every broken component differs from a conforming one, which is checked too, in the one thing that its test is
named after.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_testing_networks import family, model, strategy

import bench.testing.executor
from bench import (
    Archive,
    DataNotFound,
    Dataset,
    Ensemble,
    Environment,
    Executor,
    Index,
    Metric,
    Outcome,
    Reporter,
    Sample,
    Session,
    silent,
    testing,
)
from bench.registry import installed

REGISTRY = installed()


def named(components: Any) -> Any:
    return {"argvalues": components, "ids": [component.name for component in components]}


# --- what conforms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", **named(REGISTRY.metrics.all()))
def test_our_metrics_conform(metric: Metric) -> None:
    testing.check_metric(metric)


@pytest.mark.parametrize("ensemble", **named(REGISTRY.ensembles.all()))
def test_our_ensembles_conform(ensemble: Ensemble) -> None:
    testing.check_ensemble(ensemble)


@pytest.mark.parametrize("executor", **named(REGISTRY.executors.all()))
def test_our_executors_conform(executor: Executor) -> None:
    testing.check_executor(executor)


@pytest.mark.parametrize("reporter", **named(REGISTRY.reporters.all()))
def test_our_reporters_conform(reporter: Reporter) -> None:
    testing.check_reporter(reporter)


@pytest.mark.parametrize("dataset", **named(REGISTRY.datasets.all()))
def test_our_datasets_conform(dataset: Dataset, tmp_path: Path) -> None:
    """Those that need files have tests of their own on small copies; here they say that nothing is there."""
    try:
        dataset.index(tmp_path, dataset.params())
    except DataNotFound:
        testing.check_component(dataset)
    else:
        testing.check_dataset(dataset, tmp_path)


def test_a_third_partys_components_conform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent / "third_party")
    sys.modules.pop("bench_example", None)
    import bench_example

    testing.check_dataset(*bench_example.register_datasets(), tmp_path)
    testing.check_strategy(*bench_example.register_strategies())
    testing.check_metric(*bench_example.register_metrics())


def test_there_is_a_check_for_every_kind() -> None:
    kinds = {kind.singular for kind in (components.kind for components in REGISTRY.kinds)}
    assert {f"check_{kind}" for kind in kinds} < set(testing.__all__)


# --- names and parameters ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Params:
    window: int = 4
    sides: tuple[int, ...] = (1, 2)


@dataclass
class Thawed:
    window: int = 4


@dataclass(frozen=True)
class WithoutDefault:
    window: int


@dataclass(frozen=True)
class OfWrongType:
    window: int = "four"  # type: ignore[assignment]


@dataclass(frozen=True)
class NotJson:
    window: Any = field(default_factory=object)


METRIC: Metric = Metric(name="top1", about="accuracy", title="Top-1", score=lambda p: top1(p))


def top1(predictions: Any) -> float:
    return float((predictions.probabilities.argmax(1) == predictions.labels).mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "a,b"}, "separated by commas"),
        ({"name": " a"}, "spaces around a name"),
        ({"about": ""}, "`about` is empty"),
        ({"about": "two\nlines"}, "one line"),
        ({"revision": 0}, "revisions count from 1"),
        ({"params": Params()}, "must be a class"),
        ({"params": dict}, "must be a dataclass"),
        ({"params": Thawed}, "must be frozen"),
        ({"params": WithoutDefault}, "window has none"),
        ({"params": OfWrongType}, "must be a valid integer"),
        ({"params": NotJson}, "cannot be stored as JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_component_that_breaks_a_promise(changes: dict[str, Any], message: str) -> None:
    testing.check_component(replace(METRIC, params=Params))
    with pytest.raises(AssertionError, match=message):
        testing.check_component(replace(METRIC, **changes))


def test_every_check_looks_at_name_and_parameters(tmp_path: Path) -> None:
    for check, component in (
        (testing.check_metric, METRIC),
        (testing.check_dataset, DATASET),
        (testing.check_ensemble, ENSEMBLE),
        (testing.check_executor, EXECUTOR),
        (testing.check_model, model()),
        (testing.check_reporter, REPORTER),
        (testing.check_strategy, strategy()),
    ):
        more = (tmp_path,) if component is DATASET else ()
        check(component, *more)  # type: ignore[operator]
        with pytest.raises(AssertionError, match="separated by commas"):
            check(replace(component, name="a,b"), *more)  # type: ignore[operator, type-var]
    with pytest.raises(AssertionError, match="separated by commas"):
        testing.check_model_family(replace(family(), name="a,b"), "net")


# --- data sets ---------------------------------------------------------------------------------------


def samples(*changes: dict[str, Any]) -> Index:
    """Four images of two classes; `changes` are of the first ones."""
    grey = np.zeros((8, 8), dtype=np.uint8)
    plain = [{"id": f"i{i}", "label": "ab"[i % 2], "group": f"g{i}", "array": grey} for i in range(4)]
    changed = [{**a, **b} for a, b in itertools.zip_longest(plain, changes, fillvalue={})]
    return Index(classes=("a", "b"), samples=tuple(Sample(**each) for each in changed))


def needs_files(root: Path, params: Any) -> Index:
    if not (root / "here").exists():
        raise DataNotFound("nothing here")
    return samples()


def careless(root: Path, params: Any) -> Index:
    assert (root / "here").read_text() == "yes"
    return samples()


DATASET: Dataset = Dataset(name="data", about="test", index=lambda root, params: samples())
COUNT = itertools.count()
ZIP = Archive(name="a.zip", urls=("https://example.org/a.zip",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": lambda root, params: Index(classes=("a",), samples=())}, "no images were found"),
        ({"index": lambda root, params: samples({"id": "i1"})}, "another image has too"),
        ({"index": lambda root, params: samples({"label": "c"})}, "not among the classes"),
        ({"index": lambda root, params: samples({"label": "b"}, {}, {"label": "b"})}, "no image of class a"),
        ({"index": lambda root, params: samples({"array": None})}, "not exactly one of path and array"),
        ({"index": lambda root, params: samples({"part": "dev"})}, "part other than"),
        ({"index": lambda root, params: samples({"part": "test"})}, "all samples have a part or none"),
        ({"index": lambda root, params: samples({"group": str(next(COUNT))})}, "must not change"),
        (
            {"index": lambda root, params: samples({"array": np.full((8, 8), next(COUNT) % 256, np.uint8)})},
            "pixels of i0 change",
        ),
        ({"index": lambda root, params: samples({"array": np.zeros((8, 8))})}, "it must be uint8"),
        (
            {"index": lambda root, params: samples({"array": None, "path": root / "absent.png"})},
            "no such image file",
        ),
        ({"expected": {"a": 2}}, "must count the classes"),
        ({"archives": lambda params: (replace(ZIP, urls=("ftp://example.org/a",)),)}, "neither http"),
        ({"archives": lambda params: (replace(ZIP, checksum="md5"),)}, "checksum"),
        ({"index": careless}, "must raise DataNotFound"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_dataset_that_breaks_a_promise(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("yes")
    conforming = replace(
        DATASET, index=needs_files, archives=lambda params: (ZIP,), expected={"a": 2, "b": 2}
    )
    testing.check_dataset(conforming, tmp_path)
    with pytest.raises(AssertionError, match=message):
        testing.check_dataset(replace(DATASET, **changes), tmp_path)


def test_a_dataset_that_is_not_there_fails_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="data: nothing here"):
        testing.check_dataset(replace(DATASET, index=needs_files), tmp_path)


# --- metrics -----------------------------------------------------------------------------------------


def spoil(predictions: Any) -> float:
    predictions.probabilities[:] = predictions.probabilities[::-1]
    return 1.0


def raises_without(condition: Callable[[Any], bool]) -> Callable[[Any], float]:
    def score(predictions: Any) -> float:
        if not condition(predictions):
            raise ZeroDivisionError
        return top1(predictions)

    return score


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": ""}, "heads the column"),
        ({"score": lambda p: np.float32(top1(p))}, "gives a float32"),
        ({"score": lambda p: -top1(p)}, "contradict higher_is_better"),
        ({"higher_is_better": False}, "contradict higher_is_better"),
        ({"score": lambda p: float(p.labels[0] + 1) * top1(p)}, "order of the images"),
        ({"score": spoil}, "changes the predictions"),
        ({"score": raises_without(lambda p: len(set(p.labels)) == len(p.classes))}, "class without images"),
        ({"score": raises_without(lambda p: len(p.ids) == 1 or len(set(p.labels)) > 1)}, "of one class"),
        ({"score": raises_without(lambda p: len(p.classes) > 2)}, "two classes"),
        ({"score": raises_without(lambda p: len(p.ids) > 1)}, "a single image"),
        ({"bounds": (0, 0.5)}, "is not within its bounds"),
        ({"of_counts": lambda counts: counts[..., 0, 0] / counts.sum((-1, -2))}, "`of_counts` gives"),
        ({"of_weights": lambda p, weights: weights.totals * 0 + METRIC.score(p)}, "`of_weights` gives"),
        ({"of_counts": lambda counts: counts}, "gave .* not 3 numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_that_breaks_a_promise(changes: dict[str, Any], message: str) -> None:
    testing.check_metric(METRIC)
    with pytest.raises(AssertionError, match=message):
        testing.check_metric(replace(METRIC, **changes))


# --- ensembles ---------------------------------------------------------------------------------------


def rule(combine: Callable[[list[Any]], Any]) -> dict[str, Any]:
    return {"fit": lambda val, params: combine}


def mean(members: list[Any]) -> Any:
    return np.mean(members, axis=0)


def overwrite(members: list[Any]) -> Any:
    members[0][:] = mean(members)
    return members[0].copy()


def as_fitted(val: list[Any], params: Any) -> Any:
    images = len(val[0].ids)
    return lambda members: mean(members) if len(members[0]) == images else mean(members)[:1]


def in_turn(val: list[Any], params: Any) -> Any:
    member = next(COUNT) % 2
    return lambda members: members[member]


ENSEMBLE: Ensemble = Ensemble(name="average", about="test", fit=lambda val, params: mean)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "none"}, "cannot be called 'none'"),
        ({"fit": as_fitted}, "2 members of .20, 3. give .1, 3."),
        (rule(lambda members: mean(members)[:, :2]), "2 members of .20, 3. give .20, 2."),
        (rule(lambda members: members[0] if len(members) == 2 else np.stack(members)), "3 members"),
        (rule(lambda members: 3 * mean(members) - 2 / 3), "at least 0"),
        (rule(sum), "sum to 1"),
        (rule(overwrite), "changes the members' probabilities"),
        ({"fit": in_turn}, "something else"),
        (rule(lambda members: mean(members)[:, ::-1]), "three equal members"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_ensemble_that_breaks_a_promise(changes: dict[str, Any], message: str) -> None:
    testing.check_ensemble(ENSEMBLE)
    with pytest.raises(AssertionError, match=message):
        testing.check_ensemble(replace(ENSEMBLE, **changes))


# --- executors ---------------------------------------------------------------------------------------


def one_by_one(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    for unit in units:
        yield execute(unit, session, report)


def backwards(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    return one_by_one(execute, units[::-1], session, report)


def needs_a_unit(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    yield execute(units[0], session, report)
    yield from one_by_one(execute, units[1:], session, report)


def invents(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    yield from one_by_one(execute, units, session, report)
    if not units:
        yield Outcome(unit=bench.testing.executor._Unit("another"), status="done")


def stops_at_failure(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    for outcome in one_by_one(execute, units, session, report):
        yield outcome
        if outcome.status == "failed":
            return


def hides_failures(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    for outcome in one_by_one(execute, units, session, report):
        yield replace(outcome, status="done", reason="")


def twice(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    for unit in units:
        execute(unit, session, report)
        yield execute(unit, session, report)


def waits_for_ever(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    """Leaves out what needs a unit that is not to do."""
    known = {unit.key for unit in units}
    able = [unit for unit in units if {need.key for need in unit.needs} <= known]
    return one_by_one(execute, able, session, report)


def elsewhere(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    other = Session(replace(session.environment, threads=7))
    return one_by_one(execute, units, other, report)


def unheard(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    return one_by_one(execute, units, session, silent)


def at_once(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    """As many threads as units, whatever the environment says."""
    from concurrent.futures import ThreadPoolExecutor

    def slowly(news: Any) -> None:
        report(news)
        import time

        time.sleep(0.2)

    with ThreadPoolExecutor(16) as pool:
        ready = [unit for unit in units if not unit.needs or unit.key == "after_done"]
        yield from pool.map(lambda unit: execute(unit, session, slowly), ready)
    yield from one_by_one(execute, [unit for unit in units if unit not in ready], session, report)


def tireless(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    for unit in units:
        try:
            yield execute(unit, session, report)
        except BaseException as error:
            yield Outcome(unit=unit, status="failed", reason=str(error))


def finishes_first(execute: Any, units: Sequence[Any], session: Session, report: Any) -> Iterator[Outcome]:
    """Lets an interruption through when all units were tried."""
    interruption = None
    for unit in units:
        try:
            yield execute(unit, session, report)
        except KeyboardInterrupt as error:
            interruption = error
    if interruption:
        raise interruption


EXECUTOR: Executor = Executor(name="serial", about="test", map=one_by_one)


@pytest.mark.parametrize(
    ("map_", "message"),
    [
        (needs_a_unit, "nothing to do"),
        (invents, "1 outcomes where there is nothing to do"),
        (stops_at_failure, "one outcome per unit"),
        (waits_for_ever, "one outcome per unit"),
        (twice, "execute every unit once"),
        (hides_failures, "was passed on as"),
        (backwards, "was started before"),
        (elsewhere, "threads=7"),
        (unheard, "do not reach `report`"),
        (at_once, "were at work at once"),
        (tireless, "was swallowed"),
        (finishes_first, "when interrupted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_executor_that_breaks_a_promise(map_: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_executor(replace(EXECUTOR, map=map_))


def test_an_executor_that_is_parallel_in_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.testing.executor, "PATIENCE", 0.1)
    with pytest.raises(AssertionError, match="first had no other unit beside it"):
        testing.check_executor(replace(EXECUTOR, parallel=True))


def test_the_units_of_the_check_execute_with_a_session(tmp_path: Path) -> None:
    """What a broken executor would make of them is seen only if they note what was done."""
    session = Session(Environment(data=tmp_path, results=tmp_path))
    unit = bench.testing.executor._Unit("one")
    assert bench.testing.executor._execute(unit, session, silent).status == "done"
    assert [what for what, _ in bench.testing.executor._events(tmp_path)] == ["start", "environment", "end"]


# --- reporters ---------------------------------------------------------------------------------------


def render(tables: Any, leave_out: str = "", digits: int = 4) -> str:
    lines = []
    for table in tables:
        lines += [table.title, table.protocol, *table.footer]
        for row in table.rows:
            values = [f"{estimate.mean:.{digits}f}" for estimate in row.values.values()]
            lines += [row.model, row.method, row.note, *values]
    return "\n".join(line for line in lines if not leave_out or line != leave_out)


def with_first_row(tables: Any) -> str:
    return render(tables) + "".join(table.rows[0].model for table in tables)


def with_first_column(tables: Any) -> str:
    return render(tables) + "".join(table.columns[0].title for table in tables)


def with_every_value(tables: Any) -> str:
    cells = (row.values[column.name] for t in tables for row in t.rows for column in t.columns)
    return render(tables) + "".join(map(str, cells))


def with_best_values(tables: Any) -> str:
    best = (max(value.mean for value in row.values.values()) for table in tables for row in table.rows)
    return render(tables) + "".join(map(str, best))


def in_percent(tables: Any) -> str:
    values = (value for table in tables for row in table.rows for value in row.values.values())
    return render(tables) + "".join(f"{round(100 * value.mean)} %" for value in values)


def with_spreads(tables: Any) -> str:
    values = (value for table in tables for row in table.rows for value in row.values.values())
    return render(tables) + "".join(f"{value.spread:.2f}" for value in values)


def with_shares_of_rounds(tables: Any) -> str:
    shares = (row.rounds_done / row.rounds_asked for table in tables for row in table.rows)
    return render(tables) + "".join(map(str, shares))


def with_first_own_row(tables: Any) -> str:
    own = ([row for row in table.rows if row.kind != "reported"] for table in tables if table.rows)
    return render(tables) + "".join(rows[0].method for rows in own)


def with_titles_as_formats(tables: Any) -> str:
    return render(tables) + "".join(column.title % () for table in tables for column in table.columns)


def with_columns_of_the_first(tables: Any) -> str:
    places = ([c.name for c in tables[0].columns].index(c.name) for table in tables for c in table.columns)
    return render(tables) + "".join(map(str, places))


REPORTER: Reporter = Reporter(name="lines", about="test", render=render)
WORDS = ("Stitle", "Sprotocol", "Smodel", "Smethod", "Sensemble", "Snote", "Sfooter", "Sreported")


@pytest.mark.parametrize(
    ("render_", "message"),
    [
        (lambda tables: render(tables) if tables else tables[0], "fails for no tables"),
        (lambda tables: [render(tables)], "gives a list"),
        (lambda tables: render(tables).encode(), "gives a bytes"),
        (lambda tables: render(tables) + str(next(COUNT)), "another text"),
        (lambda tables: render(tables) + "\ud800", "cannot be written"),
        (with_spreads, "fails for an ordinary table: TypeError"),
        (with_shares_of_rounds, "fails for an ordinary table: ZeroDivisionError"),
        (with_every_value, "fails for an ordinary table: KeyError"),
        (with_first_row, "fails for a table without rows"),
        (with_first_column, "fails for a table without columns"),
        (with_best_values, "fails for rows without values"),
        (in_percent, "fails for values that are not defined"),
        (with_first_own_row, "fails for reported rows alone"),
        (lambda tables: render(tables).encode("latin-1").decode(), "fails for special characters"),
        (with_titles_as_formats, "fails for special column titles"),
        (with_columns_of_the_first, "fails for tables of different columns"),
        (lambda tables: render(tables[:1]), "'Stwo'"),
        (lambda tables: render(tables, digits=1), "0.75 is not in the text"),
        (lambda tables: render(tables).replace("Käse", "K?se"), "'Käse'"),
        *((lambda tables, word=word: render(tables, leave_out=word), f"'{word}'") for word in WORDS),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reporter_that_breaks_a_promise(render_: Any, message: str) -> None:
    testing.check_reporter(REPORTER)
    with pytest.raises(AssertionError, match=message):
        testing.check_reporter(replace(REPORTER, render=render_))


def test_text_may_be_escaped_as_json_and_html_do() -> None:
    import json

    testing.check_reporter(replace(REPORTER, render=lambda tables: json.dumps(render(tables))))
    testing.check_reporter(
        replace(REPORTER, render=lambda tables: render(tables).encode("ascii", "xmlcharrefreplace").decode())
    )
