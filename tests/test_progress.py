"""What a person sees of units at work: lines of a terminal, or plain lines elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import bench
from bench import Outcome, Progress
from bench.cli import progress
from bench.cli.bars import Bars, clock
from bench.cli.console import PlainConsole
from bench.cli.progress import Display, display
from bench.cli.rows import draw, shorten
from bench.execution.plan import Plan
from bench.execution.time_left import AtWork, Pace, StudyTime, makespan
from bench.execution.work import work
from bench.identity import Ref
from bench.study.protocol import Finetuning, Pretraining
from bench.study.spec import EnsembleSpec, PretrainSpec, RunSpec, UnitSpec
from tests.terminal import Screen

STRATEGIES = ("egmae", "imagenet", "scratch")


def run_of(
    number: int, model: str = "lite0", dataset: str = "busi", start: PretrainSpec | None = None
) -> RunSpec:
    """One of a study's fine-tunings: its strategy and its round follow from its number."""
    round_, strategy = divmod(number, len(STRATEGIES))
    at_work = Finetuning(epochs=6)
    refs = (Ref(dataset), Ref(model), Ref(STRATEGIES[strategy]))
    return RunSpec(*refs, "ab" * 32, round_, finetune=at_work, start=start)


def pretraining(round_: int = 0, dataset: str = "busi") -> PretrainSpec:
    refs = (Ref(dataset), Ref("lite0"), Ref("egmae"))
    return PretrainSpec(*refs, "ab" * 32, round_, pretrain=Pretraining(epochs=4))


def news(unit: UnitSpec, done: int = 1, epoch: int = 1, *, name: str = "", **changes: Any) -> Progress:
    """In the middle of a training of 10 steps an epoch."""
    pretrains = unit.kind == "pretrain"
    told: dict[str, Any] = {
        "unit": name or unit.label,
        "key": unit.key,
        "stage": "pretrain" if pretrains else "fine-tune",
        "done": done,
        "total": 10,
        "epoch": epoch,
        "epochs": 4 if pretrains else 6,
        "loss": 0.5,
        "images_per_s": 61.2,
    }
    return Progress(**(told | changes))


def of_data_set(name: str, done: int, total: int = 100, **changes: Any) -> Progress:
    return Progress(**({"unit": name, "stage": "decode", "done": done, "total": total} | changes))


def screen(bars: Bars, now: float, width: int = 100, height: int = 24, **options: Any) -> list[str]:
    """The lines that are drawn."""
    console = PlainConsole(width=width, height=height, file=io.StringIO(), color_system=None, **options)
    segments = draw(list(bars.rows(now, height)), console, console.options)
    return [line.rstrip() for line in "".join(segment.text for segment in segments).splitlines()]


def names_of(lines: Sequence[str]) -> list[str]:
    return [line.split("  ")[0] for line in lines]


# --- lines of a terminal -----------------------------------------------------------------------------


def test_one_unit_has_a_line_below_that_of_all_units() -> None:
    bars = Bars([run_of(0), run_of(1)])
    for second in range(11):
        bars.report(news(run_of(0), done=second % 10 + 1, epoch=second // 10 + 1), float(second))
    overall, line = screen(bars, now=10.0)
    # 11 of 60 steps at one step a second, then as much again for the other unit.
    assert re.fullmatch(r"all units +0/2 +━+╸? +0:01:49", overall)
    assert re.fullmatch(
        r"lite0\.egmae\.r0  fine-tune epoch 2/6  ━+╸? +11/60  0:00:49  loss 0\.5000  61 images/s", line
    )


def test_all_units_at_work_are_shown_in_the_order_in_which_they_came() -> None:
    units = [run_of(number) for number in (2, 0, 1)]
    bars = Bars(units)
    for second in range(5):
        for unit in units if second % 2 else units[::-1]:
            bars.report(news(unit, done=second + 1), float(second))
    expected = ["all units", *(unit.label for unit in units[::-1])]
    assert names_of(screen(bars, 5.0)) == expected
    assert screen(bars, 5.0)[0].endswith("3 at work")
    bars.report(Progress(unit=units[1].label, key=units[1].key, stage="predict", total=4), 6.0)
    lines = screen(bars, 6.0)
    assert names_of(lines) == expected
    assert "predict 0/4" in lines[2]
    bars.ended(Outcome(unit=units[1], status="done", seconds=9.0), 7.0)
    lines = screen(bars, 7.0)
    assert names_of(lines) == ["all units", units[2].label, units[0].label]
    assert lines[0].split()[2] == "1/3"


@pytest.mark.parametrize("height", [1, 5, 8, 24, 60])
def test_forty_units_fit_the_terminal(height: int) -> None:
    units = [run_of(number) for number in range(40)]
    bars = Bars(units)
    for unit in units:
        bars.report(news(unit), 0.0)
    lines = screen(bars, 1.0, height=height)
    shown = [line for line in lines if "fine-tune" in line]
    assert len(lines) <= max(3, height - 4)
    assert len(shown) == min(40, max(1, height - 6))
    more = 40 - len(shown)
    assert lines[-1] == f"and {more} more at work" if more else "fine-tune" in lines[-1]
    assert lines[0].rstrip().endswith("40 at work")


def test_units_that_wait_give_way_to_those_at_work() -> None:
    units = [run_of(number) for number in range(10)]
    bars = Bars(units)
    for unit in units[:8]:
        stage = "waits for process 4711, which works on it"
        bars.report(Progress(unit=unit.label, key=unit.key, stage=stage), 0.0)
    for unit in units[8:]:
        bars.report(news(unit), 0.0)
    lines = screen(bars, 1.0, height=9)
    assert names_of(lines[1:3]) == [unit.label for unit in units[8:]]
    assert lines[3].endswith("waits for process 4711, which works on it")
    assert "━" not in lines[3]
    assert lines[4] == "and 7 more waiting"
    assert lines[0].endswith("2 at work")


LONG = (
    "vit_base_patch16_224",
    "convnext_tiny.fb_in22k_ft_in1k_384",
    "tf_efficientnet_lite0",
    "畫像分類器畫像分類器畫像分類器",
)


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160, 300])
def test_lines_fit_the_width_and_stand_below_each_other(width: int, ascii_only: bool) -> None:
    units = [run_of(i, model) for i, model in enumerate(LONG) if model.isascii() or not ascii_only]
    bars = Bars([])
    for second in range(3):
        for i, unit in enumerate(units):
            bars.report(news(unit, second + 1, epoch=2, epochs=10 ** (i + 1)), float(second))
    bars.report(news(run_of(9), 0, 0, epochs=0, total=0, stage="waits for a long time " * 20), 3.0)
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii_only else "utf-8")
    console = PlainConsole(width=width, height=24, file=file, color_system=None)
    segments = draw(list(bars.rows(4.0, 24)), console, console.options)
    lines = [line.rstrip() for line in "".join(segment.text for segment in segments).splitlines()]
    assert len(lines) == 1 + len(units)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).isascii() == ascii_only
    trained = lines[:-1]
    if width >= 60:
        assert all(re.search(r"fine-tune epoch 2/10+ .*\d:\d\d:\d\d", line) for line in trained)
        assert len({cell_len(line[: line.index("fine-tune")]) for line in trained}) == 1
        assert all(
            line.split("  ")[0].endswith(unit.label[-3:]) for unit, line in zip(units, trained, strict=True)
        )
    if width >= 80:
        assert all("loss 0.5000" in line for line in trained)
    if width >= 160:
        assert all(unit.label in line for unit, line in zip(units, trained, strict=True))
        assert all(line.endswith("61 images/s") for line in trained)


def test_names_are_cut_where_they_tell_least() -> None:
    assert shorten("lite0.egmae.r0", 14) == "lite0.egmae.r0"
    assert shorten("convnext_tiny.egmae.r0", 18) == "conv…tiny.egmae.r0"
    assert shorten("busi/vit_base_patch16_224.imagenet.r12", 30) == "busi/vit_ba…6_224.imagenet.r12"
    for width in range(1, 40):
        assert cell_len(shorten("a_long_name+another_one.mean(egmae+imagenet).r0", width)) <= width


def test_names_cannot_control_the_terminal() -> None:
    bars = Bars([])
    bars.report(of_data_set("a\x1b[2J\nb", 1, stage="x\x1b[31m"), 0.0)
    (line,) = screen(bars, 0.0)
    assert "\x1b" not in line
    assert line.startswith(r"a\x1b[2J b")


def test_bytes_are_shown_with_their_speed() -> None:
    bars = Bars([])
    for second in range(4):
        bars.report(
            of_data_set("busi", second * 5_000_000, 40_000_000, stage="download", in_bytes=True), second
        )
    (line,) = screen(bars, 3.0)
    assert re.fullmatch(r"busi  download 15\.0 MB of 40\.0 MB  ━+╸?  +0:00:05  5\.0 MB/s", line)
    bars.report(of_data_set("busi", 0, 0, stage="download again", in_bytes=True), 4.0)
    bars.report(of_data_set("busi", 2_000_000, 0, stage="download again", in_bytes=True), 5.0)
    (line,) = screen(bars, 5.0)
    assert re.fullmatch(r"busi  download again 2\.0 MB  ━[━ ]+  -:--:--  2\.0 MB/s", line)


def test_data_sets_follow_each_other() -> None:
    bars = Bars([])
    bars.report(of_data_set("busi", 50), 0.0)
    bars.report(of_data_set("busi", 100), 1.0)
    assert names_of(screen(bars, 1.0)) == ["busi"]
    bars.report(of_data_set("kvasir", 0), 2.0)
    assert names_of(screen(bars, 2.0)) == ["kvasir"]


def test_news_of_a_unit_that_has_ended_bring_no_line_back() -> None:
    bars = Bars([run_of(0)])
    bars.report(news(run_of(0)), 0.0)
    bars.ended(Outcome(unit=run_of(0), status="failed"), 1.0)
    bars.report(news(run_of(0), done=2), 1.1)
    assert names_of(screen(bars, 2.0)) == ["all units"]


def test_units_of_one_label_have_a_line_each() -> None:
    start = pretraining()
    units = [run_of(0), run_of(0, dataset="kvasir"), start]
    assert len({unit.label for unit in units}) == 1
    bars = Bars(units)
    for i, unit in enumerate(units):
        bars.report(news(unit, done=i + 2), 0.0)
    lines = screen(bars, 1.0)
    assert [re.findall(r"(\d+)/\d0 ", line)[0] for line in lines[1:]] == ["2", "3", "4"]
    bars.ended(Outcome(unit=units[1], status="done"), 2.0)
    lines = screen(bars, 2.0)
    assert [re.findall(r"(\d+)/\d0 ", line)[0] for line in lines[1:]] == ["2", "4"]


def test_a_unit_that_is_tried_again_starts_its_bar_again() -> None:
    unit = run_of(0)
    bars = Bars([unit])
    for second in range(30):
        bars.report(news(unit, second % 10 + 1, second // 10 + 1), float(second))
    bars.report(Progress(unit=unit.label, key=unit.key, stage="once more: its process was killed"), 30.0)
    assert screen(bars, 30.0)[1] == f"{unit.label}  once more: its process was killed"
    for step in range(1, 3):  # ten times slower
        bars.report(news(unit, step), 30.0 + 10 * step)
    (line,) = screen(bars, 50.0)[1:]
    assert " 2/60 " in line
    assert "0:09:40" in line  # 58 steps at 10 s
    # Without a word between, as when memory ran out and the batch was halved.
    bars.report(news(unit, 1), 60.0)
    bars.report(news(unit, 2), 61.0)
    assert "0:00:58" in screen(bars, 61.0)[1]


def test_a_resumed_unit_is_expected_to_go_on_as_fast_as_it_does() -> None:
    units = [run_of(0), run_of(3)]
    bars = Bars(units)
    for second, done in enumerate((1, 2, 3)):
        bars.report(news(units[0], done, epoch=6, resumed=True), float(second))
    overall, line = screen(bars, 2.0)
    assert "0:00:07" in line
    assert "0:01:07" in overall  # and a whole unit after it, of 60 steps
    bars.ended(Outcome(unit=units[0], status="done", seconds=9.0), 9.0)
    assert "0:01:00" in screen(bars, 9.0)[0]


def seen(output: io.StringIO, width: int, height: int) -> list[str]:
    """What stands on the terminal that got this output."""
    person = Screen(width, height)
    person.feed(output.getvalue().replace("\n", "\r\n"))
    return [line for line in person.lines if line]


def test_failures_are_said_above_the_bars() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=110, height=20, legacy_windows=False)
    units = [run_of(number) for number in range(4)]
    with display(console, units) as shown:
        for unit in units[:3]:
            shown.report(news(unit))
        shown.ended(Outcome(unit=units[1], status="failed", reason="its process ended", seconds=2.0))
        shown.ended(Outcome(unit=units[0], status="done", seconds=3.0))
        lines = seen(output, 110, 20)
        assert lines[:2] == [
            "[1/4] FAILED  run      lite0.imagenet.r0  2.0 s  its process ended",
            "[2/4] done    run      lite0.egmae.r0  3.0 s",
        ]
        assert lines[2].startswith("all units")
        assert names_of(lines)[3:] == ["lite0.scratch.r0"]
    assert seen(output, 110, 20) == lines[:2]  # the bars go at the end


# --- time left ---------------------------------------------------------------------------------------


def test_pace_is_that_of_the_last_while() -> None:
    pace = Pace(0.0, 40)  # from a checkpoint
    assert pace.left(100, 0.0) is None
    for second in range(1, 51):
        pace.add(float(second), 40 + second)
    assert pace.left(200, 50.0) == pytest.approx(110)
    assert pace.left(200, 60.0) == pytest.approx(100)  # nothing heard since
    assert pace.left(200, 500.0) == 0
    assert pace.whole(200) == pytest.approx(200)
    for second in range(51, 400):  # another unit has joined, and takes half of the machine
        pace.add(float(second), 90 + (second - 50) // 2)
    assert pace.left(1000, 399.0) == pytest.approx((1000 - pace.steps) * 2, rel=0.05)
    for second in range(400, 40_000):
        pace.add(second / 1.0, pace.steps + 1)
    assert len(pace.marks) <= 110


def test_times_are_read_as_clocks() -> None:
    assert [clock(s) for s in (None, 0.4, 59.6, 3599, 360_000)] == [
        "-:--:--",
        "0:00:00",
        "0:01:00",
        "0:59:59",
        "100:00:00",
    ]


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [
        (1, 46.0),
        (2, 28.0),  # a and b; c after a, d after b; e needs both
        (9, 28.0),
    ],
)
def test_makespan(at_once: int, expected: float) -> None:
    seconds = {"a": 10.0, "c": 10.0, "b": 8.0, "d": 10.0, "e": 8.0}
    needs = {"a": (), "c": ("a",), "b": ("elsewhere",), "d": ("b",), "e": ("c", "d")}
    assert makespan(seconds, needs, ["a"], at_once) == expected


def test_makespan_of_what_is_at_work_and_of_nothing() -> None:
    assert makespan({}, {}, [], 4) == 0
    # More at work than there is room for now: memory ran out, and fewer are to be.
    assert makespan({"a": 5.0, "b": 7.0, "c": 1.0}, {"a": (), "b": (), "c": ()}, ["a", "b"], 1) == 8


def test_a_study_is_expected_to_take_what_its_like_took() -> None:
    first, second = pretraining(0), pretraining(1)
    runs = [run_of(0, start=first), run_of(1), run_of(3, start=second), run_of(4)]
    mean = EnsembleSpec(Ref("mean"), (runs[0], runs[1]))
    time = StudyTime([first, *runs[:2], mean, second, *runs[2:]])
    assert time.left({}, 2) is None
    # Nothing but 4 epochs of a pretraining to go by: 10 s each, and so for all 4 x 6 epochs of fine-tuning.
    at_work = {first.key: AtWork(5.0, left=35.0, whole=40.0)}
    assert time.left(at_work, 1) == pytest.approx(35 + 40 + 4 * 60)
    time.ended(Outcome(unit=first, status="done"), 40.0)
    at_work = {runs[0].key: AtWork(2.0, left=16.0, whole=18.0), runs[1].key: AtWork(1.0)}
    assert time.left(dict([*at_work.items()][:1]), 1) == pytest.approx(16 + 18 + 40 + 2 * 18)
    # Two at once: 16 and 17 | the pretraining from 16 to 56, then its run to 74; the other beside it.
    assert time.left(at_work, 2) == pytest.approx(16 + 40 + 18)
    time.ended(Outcome(unit=runs[0], status="failed"), 0.1)  # what fails says nothing of what others take
    assert time.left({runs[1].key: AtWork(1.0, 17.0, 18.0)}, 1) == pytest.approx(17 + 40 + 2 * 18)


def test_between_two_units_as_many_are_expected_at_once_as_were() -> None:
    units = [run_of(number) for number in range(8)]
    bars = Bars(units)
    for second in range(3):
        for unit in units[:2]:
            bars.report(news(unit, done=second + 1), float(second))
    before = bars.rows(2.0, 24).__next__().left
    assert before == clock(57 + 3 * 60)
    bars.ended(Outcome(unit=units[0], status="done", seconds=60.0), 2.5)
    (overall, _) = bars.rows(2.5, 24)
    assert overall.left == clock(56.5 + 3 * 60)  # seven left in two rows: not six after the one at work
    (overall, _) = bars.rows(200.0, 24)  # nothing has joined it for long
    assert overall.left == clock(0 + 6 * 60)


# --- plain lines -------------------------------------------------------------------------------------


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that displays see, in `now`."""
    time = SimpleNamespace(now=0.0)
    time.monotonic = lambda: time.now
    monkeypatch.setattr(progress, "time", time)
    return time


def plain(
    clocked: SimpleNamespace, count: int, minutes: float, epoch_seconds: float
) -> tuple[list[UnitSpec], list[str]]:
    """Lines of so many units that work side by side for some minutes, and are not through then."""
    units: list[UnitSpec] = [run_of(number) for number in range(count)]
    output = io.StringIO()
    shown = Display(Console(file=output, width=160), count, {})
    epochs = int(minutes * 60 / epoch_seconds)
    for epoch in range(1, epochs + 1):
        for step in range(1, 11):
            for i, unit in enumerate(units):
                clocked.now = (epoch - 1 + step / 10 + i / count / 20) * epoch_seconds
                shown.report(news(unit, step, epoch, epochs=epochs + 1))
    for unit in units:
        shown.report(Progress(unit=unit.label, key=unit.key, stage="predict", done=0, total=1))
        shown.ended(Outcome(unit=unit, status="done", seconds=1.0))
    return units, output.getvalue().splitlines()


@pytest.mark.parametrize("count", [1, 4, 8, 64])
def test_plain_lines_are_as_many_with_many_units_as_with_few(clocked: SimpleNamespace, count: int) -> None:
    units, lines = plain(clocked, count, minutes=10, epoch_seconds=2.0)
    between = [line for line in lines if " fine-tune epoch " in line and "epoch 1/" not in line]
    assert len(between) <= 10 * 6 * min(count, 4) + count
    assert len(between) >= 10 * 6 * min(count, 4) * 0.7
    for unit in units:
        own = [line for line in lines if f" {unit.label}" in line]
        assert "fine-tune epoch 1/" in own[0]
        assert "predict 0/1" in own[-2]
        assert " done " in own[-1]
        assert any(line in between for line in own)  # each is heard of, not only the first


def test_plain_lines_tell_units_of_one_label_apart(clocked: SimpleNamespace) -> None:
    units = [run_of(0), run_of(0, dataset="kvasir")]
    output = io.StringIO()
    names = {unit.key: f"{unit.dataset.name}/{unit.label}" for unit in units}
    shown = Display(Console(file=output, width=160), 2, names)
    for unit in units:
        for step in (1, 2):
            shown.report(news(unit, step, name=names[unit.key]))
    shown.ended(Outcome(unit=units[1], status="done", seconds=1.0))
    shown.report(news(units[0], 3, name=names[units[0].key]))
    assert output.getvalue().splitlines() == [
        "  busi/lite0.egmae.r0  fine-tune epoch 1/6  loss 0.5000  61 images/s",
        "  kvasir/lite0.egmae.r0  fine-tune epoch 1/6  loss 0.5000  61 images/s",
        "[1/2] done    run      kvasir/lite0.egmae.r0  1.0 s",
    ]


def test_a_stage_without_steps_has_no_count(capsys: pytest.CaptureFixture[str]) -> None:
    bench.print_progress(Progress(unit="u", stage="waits for process 4711, which works on it"))
    assert capsys.readouterr().out == "u  waits for process 4711, which works on it\n"


# --- what units are called ---------------------------------------------------------------------------


def study(units: Sequence[UnitSpec], folder: Path) -> Plan:
    """A plan of these units, of which nothing else is asked."""
    session = bench.Session(bench.local_environment(results=folder, device="cpu", threads=1))
    asked: Any = SimpleNamespace(budgets=())
    return Plan(asked, {}, tuple(units), (), session)


def reporting(execute: Callable[..., Outcome], units: Sequence[Any], *rest: Any) -> Iterator[Outcome]:
    """An executor that only tells of its units."""
    *_, report = rest
    for unit in units:
        report(news(unit))
        yield Outcome(unit=unit, status="done")


def test_units_of_several_data_sets_are_called_by_both_names(tmp_path: Path) -> None:
    executor = bench.Executor(name="reporting", about="", map=reporting)
    several = [run_of(0), run_of(0, dataset="kvasir")]
    for units, names in (
        (several[:1], ["lite0.egmae.r0"]),
        (several, ["busi/lite0.egmae.r0", "kvasir/lite0.egmae.r0"]),
    ):
        heard: list[Progress] = []
        list(work(study(units, tmp_path), executor, heard.append))
        assert [told.unit for told in heard] == names
        assert [told.key for told in heard] == [unit.key for unit in units]
