"""What commands say: lists, descriptions, logs, warnings beside progress bars, errors that plugins raise."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import Terminal
from test_cli import PHANTOM, bench, command, environment, workspace

from bench.cli.options import StudyOptions
from bench.cli.parameters import field_docs, parameters
from bench.interfaces.selection import Selection
from bench.registry import installed
from bench.study.config import protocol_names

PLUGIN = '''
"""Whatever may go wrong in a plugin, each under its own name."""
from bench import Dataset, Metric, Reporter, Strategy, hookimpl

DENSE = frozenset({"dense"})

def objective_of(step):
    def objective(encoder, params, context):
        import torch

        class Objective(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net, self.steps = encoder.net, 0

            def forward(self, images):
                self.steps += 1
                step(self.steps)
                return encoder.features(self.net, context.normalize(images)).square().mean()

        return Objective()

    return objective

def warn(step):
    import logging, warnings
    if step == 6:
        warnings.warn("a warning of Python", UserWarning, stacklevel=1)
        logging.getLogger("some.library").warning("a warning of\\na logger")
        logging.getLogger("bench").debug("a message for developers")
        print("a printed line")

def fail(step):
    if step == 3:
        raise KeyError("third step")  # fail

def metric(predictions):
    return 1 / 0  # metric

def reporter(tables):
    return tables[0].colour  # reporter

def index(root, params):
    return (root / "index.csv").read_text()  # index

def freeze(params, model, model_params):
    return params.no_such_field  # freeze

@hookimpl
def register_strategies():
    return [
        Strategy(name="warning", about="", objective=objective_of(warn), needs=DENSE),
        Strategy(name="failing", about="", objective=objective_of(fail), needs=DENSE),
        Strategy(name="frozen", about="", initialize=lambda *a: "", freeze=freeze),
    ]

@hookimpl
def register_metrics():
    # Before every other one, were plugins only sorted by name.
    return [Metric(name="aaa", about="", title="Aaa", score=metric, default=False),
            Metric(name="zero", about="", title="Zero", score=lambda predictions: 0.0)]

@hookimpl
def register_reporters():
    return [Reporter(name="colours", about="", render=reporter)]

@hookimpl
def register_datasets():
    return [Dataset(name="nowhere", about="", index=index)]
'''


def install(folder: Path, name: str, source: str) -> None:
    """A third party's distribution of one module, which PYTHONPATH=folder makes a plugin."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[bench]\n{name} = {name}\n")


def line_of(text: str) -> int:
    """The line of PLUGIN that holds this text."""
    return next(i for i, line in enumerate(PLUGIN.splitlines(), start=1) if text in line)


def words(text: str) -> str:
    return " ".join(text.split())


# --- bench list --------------------------------------------------------------------------------------


def test_a_list_has_headers_versions_and_plugins(tmp_path: Path) -> None:
    lines = bench(tmp_path, "list").stdout.splitlines()
    titles = [lines[i - 1] for i, line in enumerate(lines) if line.startswith("name ")]
    assert titles == [*(components.kind.plural for components in installed().kinds), "protocols", "plugins"]
    heads = [line.split() for line in lines if line.startswith("name ")]
    assert {tuple(head) for head in heads} == {
        ("name", "what", "it", "is", "plugin", "version"),
        ("name", "what", "it", "is", "package", "version"),
    }
    for components in installed().kinds:
        for name, entry in components.entries.items():
            (line,) = [line for line in lines if line.split(" ")[0] == name]
            assert line.split()[-2:] == [entry.plugin.name, entry.plugin.version]


@pytest.mark.parametrize("columns", ["60", "80", "160"])
def test_a_list_fits_the_terminal_and_says_all(tmp_path: Path, columns: str) -> None:
    done = bench(tmp_path, "list", "protocols", COLUMNS=columns).stdout
    assert max(map(len, done.splitlines())) <= int(columns)
    about = " ".join(
        line[20 : line.rfind("bench")] if "bench  0" in line else line[20:] for line in done.splitlines()
    )
    assert "to try `bench`, not to conclude from." in words(about)


def test_one_kind_may_be_named_in_the_singular(tmp_path: Path) -> None:
    plural, singular = (bench(tmp_path, "list", kind).stdout for kind in ("protocols", "protocol"))
    assert plural == singular
    assert "quick" in plural
    assert "egmae" not in plural


def test_a_list_of_plugins_counts_what_each_registers(tmp_path: Path) -> None:
    install(tmp_path, "wrong", PLUGIN)
    lines = bench(tmp_path, "list", "plugins", PYTHONPATH=str(tmp_path)).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("wrong")]
    assert re.split(r"  +", line) == [
        "wrong",
        "1 dataset, 3 strategies, 2 metrics, 1 reporter",
        "wrong",
        "1.0",
    ]


def test_an_unknown_kind_and_an_empty_list_are_said(tmp_path: Path) -> None:
    assert (
        "unknown kind of component 'modls'; did you mean models"
        in bench(tmp_path, "list", "modls", code=2).stderr
    )
    nothing = bench(tmp_path, "list", "metrics", "--like", "zzz")
    assert nothing.stdout == ""
    assert "no metrics that contain 'zzz'" in nothing.stderr


# --- bench show --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["80", "160"])
@pytest.mark.parametrize("name", ["egmae", "folder", "phantom", "imagenet", "cmt"])
def test_a_component_shows_what_each_parameter_means(tmp_path: Path, name: str, columns: str) -> None:
    shown = bench(tmp_path, "show", name, COLUMNS=columns).stdout
    assert max(map(len, shown.splitlines())) <= int(columns)
    (components,) = [kind for kind in installed().kinds if name in kind.entries]
    kind, component = components.kind.singular, components.get(name)
    known = list(parameters(component.params, f"{kind}.{name}"))
    assert known
    if kind == "dataset":  # those of every data set come after its own
        own = {parameter.name for parameter in known}
        every = parameters(Selection, f"{kind}.{name}")
        known += [parameter for parameter in every if parameter.name not in own]
    for parameter in known:
        assert parameter.name in shown
        assert parameter.about
        if columns == "80":  # one below the other, each as a paragraph
            assert f"{parameter.name} = {parameter.value}" in shown
            assert words(f"{parameter.about} ({parameter.allowed})") in words(shown)
    if columns == "160":
        rows = shown[shown.index("parameter (--set NAME=VALUE)") :].splitlines()
        column = rows[0].index("what it is")
        assert column < 100, "too little is left for what the parameters mean"
        assert words(" ".join(row[column:] for row in rows[1:])) == words(" ".join(p.about for p in known))


def test_a_plugin_and_its_version_are_shown(tmp_path: Path) -> None:
    install(tmp_path, "wrong", PLUGIN)
    shown = bench(tmp_path, "show", "warning", PYTHONPATH=str(tmp_path)).stdout
    assert "plugin    wrong (wrong 1.0)" in shown


@pytest.mark.parametrize("name", ["quick", "paper"])
def test_a_protocol_shows_its_values(tmp_path: Path, name: str) -> None:
    shown = bench(tmp_path, "show", name).stdout
    rows = {line.split()[0]: line for line in shown.splitlines() if line.startswith("protocol.")}
    assert len(rows) > 25
    size = {"quick": "96 *", "paper": "224  "}[name]
    assert re.match(rf"protocol\.size +{re.escape(size)}", rows["protocol.size"])
    assert "side of the square input, pixels." in rows["protocol.size"]
    assert "[0.2, 1.0]" in rows["protocol.pretrain.scale"]
    assert ("differs from the protocol paper" in shown) == (name == "quick")


def test_a_protocol_file_shows_its_values_beside_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("size = 64\n[pretrain]\nscale = [0.5, 1.0]\n")
    shown = bench(tmp_path, "show", "mine.toml").stdout
    assert shown.startswith("mine  (protocol)")
    changed = {
        line.split()[0] for line in shown.splitlines() if " *  " in line and line.startswith("protocol")
    }
    assert changed == {"protocol.size", "protocol.pretrain.scale"}
    assert "convnext_tiny.fb_in1k" in shown  # of the paper's protocol, where a file names no model


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("sise = 3\n")
    assert (
        "protocol.sise: no such key; did you mean size?" in bench(tmp_path, "show", "bad.toml", code=2).stderr
    )
    assert "none.toml: cannot be read" in bench(tmp_path, "show", "none.toml", code=2).stderr
    assert "did you mean quick" in bench(tmp_path, "show", "qick", code=2).stderr


def test_shown_values_can_be_set(tmp_path: Path) -> None:
    """What `show` prints as a value is what --set takes, for every value of every shipped protocol."""
    from bench.cli.parameters import values_of
    from bench.parsing import parse
    from bench.study.config import StudyConfig, assign, merge, parse_assignment, read_protocol
    from bench.study.protocol import Protocol

    for name in protocol_names():
        protocol = parse(Protocol, read_protocol(name)[1], name)
        texts = [f"{p.name}={p.value}" for p in values_of(protocol, "protocol") if p.value != "nothing"]
        config = assign(StudyConfig(), [parse_assignment(text) for text in texts], [])
        assert parse(Protocol, merge({}, config.protocol), name) == protocol


def test_meanings_are_inherited() -> None:
    from bench.interfaces.component import LocalWeights

    class Params(LocalWeights):
        """Of a model.

        Attributes:
            rate: of something,
                in two lines.
        """

    assert field_docs(Params) == {
        "rate": "of something, in two lines.",
        "weights": "a local file of ImageNet weights, for strategies that start from them.",
    }


# --- bench clean -------------------------------------------------------------------------------------


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A results folder with scratch, and with results that must stay."""
    folder = tmp_path / "results"
    for path, size in ((".scratch/images/a.npy", 3000), (".scratch/x.pt", 500), ("runs/a/b/record.json", 2)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b" " * size)
    return folder


def kept(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_clean_removes_scratch_and_says_how_much(scratch: Path) -> None:
    done = bench(scratch.parent, "clean", "--yes")
    assert done.stdout.splitlines() == [
        "results/.scratch/images  3.0 kB",
        "results/.scratch/x.pt  500 bytes",
        "removed: 3.5 kB in results/.scratch",
    ]
    assert kept(scratch) == ["runs/a/b/record.json"]
    assert bench(scratch.parent, "clean").stdout == "nothing to remove in results/.scratch\n"


def test_clean_asks_before_it_removes(scratch: Path) -> None:
    for answer, code in (("n\r", 1), ("y\r", 0)):
        with Terminal(command("clean"), environment(), scratch.parent) as terminal:
            terminal.wait_for(lambda lines: any("Remove these 3.5 kB? [y/N]" in line for line in lines))
            terminal.type(answer)
            assert terminal.wait() == code
        assert (scratch / ".scratch" / "x.pt").exists() == bool(code)


def test_clean_without_anybody_to_ask_removes_nothing(scratch: Path) -> None:
    done = subprocess.run(
        command("clean"),
        cwd=scratch.parent,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "give --yes" in done.stderr
    assert len(kept(scratch)) == 3


def test_clean_follows_scratch_to_another_disk(scratch: Path) -> None:
    (scratch / ".scratch").rename(scratch.parent / "disk")
    (scratch / ".scratch").symlink_to(scratch.parent / "disk")
    bench(scratch.parent, "clean", "-y")
    assert kept(scratch.parent / "disk") == []
    assert (scratch / ".scratch").is_symlink()


def test_clean_knows_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "--results none: no such folder" in bench(tmp_path, "clean", "--results", "none", code=2).stderr


# --- logs, --verbose and progress bars ---------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What PYTHONPATH must be for the plugin of this module."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "wrong", PLUGIN)
    return str(folder)


@pytest.fixture(scope="module")
def study(site: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of a strategy that warns and one that fails."""
    folder = workspace(tmp_path_factory.mktemp("study"))
    done = bench(folder, *ARGUMENTS, code=1, PYTHONPATH=site)
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


ARGUMENTS = ["run", *PHANTOM, "-s", "warning,failing", "-p", "tiny.toml", "--jobs", "2"]


def log_of(folder: Path) -> str:
    (path,) = (folder / "results" / "logs").iterdir()
    return path.read_text()


def test_warnings_are_lines_on_stderr(study: Path, site: str) -> None:
    lines = (study / "stderr").read_text().splitlines()
    place = f"{site}/wrong.py:{line_of('a warning of Python')}"
    assert f"warning: {place}: UserWarning: a warning of Python" in lines
    assert "warning: a warning of a logger" in lines
    assert not any("developers" in line for line in lines)


def test_a_failure_names_the_plugin_and_the_line(study: Path, site: str) -> None:
    cause = f"KeyError: 'third step' (plugin wrong (wrong 1.0), {site}/wrong.py:{line_of('# fail')})"
    (line,) = [line for line in (study / "stderr").read_text().splitlines() if "FAILED" in line]
    assert line.endswith(cause)
    (record,) = study.glob("results/failures/*/*/record.json")
    assert cause in record.read_text()
    assert "Traceback" in record.read_text()
    last = (study / "stderr").read_text().splitlines()[-1]
    assert last.startswith("3 units did not finish")
    assert last.endswith(str(next((study / "results" / "logs").iterdir()).relative_to(study)))


def test_a_log_tells_what_a_developer_asks(study: Path) -> None:
    text = log_of(study)
    for part in (
        "INFO bench run --dataset phantom",
        f"in {study}",
        '"strategies": [{"name": "warning"}, {"name": "failing"}]',
        f"python {sys.version.split()[0]}",
        " torch 2.",
        "device cpu",
        "threads 1, jobs 2",
        "wrong (wrong 1.0)",
        "5 units, 5 to do",
        "UserWarning: a warning of Python",
        "a warning of a logger",
        "DEBUG a message for developers",
        "Traceback (most recent call last)",
        "KeyError: 'third step'",
        "ERROR failed pretrain test_convnext.failing.r0",
        "ERROR blocked run test_convnext.failing.r0",
    ):
        assert part in text
    assert re.search(r"INFO done run test_convnext\.warning\.r0 \d+\.\d s [0-9a-f]{16}\n", text)
    assert re.search(r"INFO ended after \d+\.\d s\n$", text)


def test_a_study_has_one_log_to_which_every_run_adds(study: Path, site: str) -> None:
    before = log_of(study)
    bench(study, *ARGUMENTS, code=1, PYTHONPATH=site)
    after = log_of(study)
    assert after.startswith(before)
    assert "5 units, 3 to do" in after[len(before) :]


@pytest.mark.parametrize("place", ["before", "after"])
def test_verbose_shows_tracebacks_wherever_it_stands(study: Path, site: str, place: str) -> None:
    arguments = ["-v", *ARGUMENTS] if place == "before" else [*ARGUMENTS, "-v"]
    done = subprocess.run(
        command(*arguments), cwd=study, env=environment(PYTHONPATH=site), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "debug: pretrain test_convnext.failing.r0 failed\nTraceback (most recent call last)" in done.stderr


def test_the_error_that_ends_a_run_is_in_its_log(site: str, tmp_path: Path) -> None:
    bench(
        workspace(tmp_path),
        "run",
        "-d",
        "nowhere",
        "-s",
        "scratch",
        "-p",
        "tiny.toml",
        code=1,
        PYTHONPATH=site,
    )
    text = log_of(tmp_path)
    assert "ERROR dataset 'nowhere': its images could not be listed" in text
    assert "Traceback (most recent call last)" in text
    assert "ended after" in text


def test_baselines_join_the_models_that_are_named() -> None:
    options = StudyOptions(
        dataset=["phantom"], strategies=["scratch"], models=["test_convnext"], baselines=["cmt,smt"]
    )
    assert [ref.name for ref in options.study(installed()).models] == ["test_convnext", "cmt", "smt"]


def test_logs_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    (workspace(tmp_path) / "results").mkdir(exist_ok=True)
    (tmp_path / "results" / "logs").write_text("a file where a folder must be")
    done = bench(tmp_path, "run", *PHANTOM, "-s", "scratch", "-p", "tiny.toml", code=1)
    assert "cannot be written" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.long)])
def at_once(request: pytest.FixtureRequest) -> int:
    """Units at work side by side."""
    return int(request.param)


@pytest.fixture
def bars(at_once: int, site: str, tmp_path: Path) -> Iterator[Terminal]:
    """A study on a terminal whose training can be watched."""
    arguments = ["run", *PHANTOM, "-s", "warning", "-p", "tiny.toml", "-r", "2", "--jobs", str(at_once)]
    env = {name: value for name, value in environment(PYTHONPATH=site).items() if name != "COLUMNS"}
    long = ["--set", "protocol.pretrain.epochs=20", "-v"]
    with Terminal(command(*arguments, *long), env, workspace(tmp_path), columns=140) as terminal:
        yield terminal


def test_warnings_do_not_break_progress_bars(bars: Terminal, at_once: int) -> None:
    said = ["warning: a warning of a logger", "debug: a message for developers", "a printed line"]

    def whole_below_all(lines: list[str]) -> bool:
        """The bars of all units and of each at work stand whole, at the bottom, below what was said."""
        starts = ["all units ", *["test_convnext.warning.r"] * at_once]
        bottom = [line for line in lines if line][-len(starts) :]
        return set(said) <= set(lines) and all(
            line.startswith(start) and "━" in line for line, start in zip(bottom, starts, strict=True)
        )

    bars.wait_for(whole_below_all, seconds=120)
    assert bars.wait() == 0
    lines = bars.screen.lines
    for line in said:
        assert lines.count(line) == 2, line  # once in each round
    assert any(line.endswith("UserWarning: a warning of Python") for line in lines)
    assert not [line for line in lines if "━" in line and re.match(r"all units|test_conv", line)]


def test_a_file_gets_the_warnings_that_are_sent_there(site: str, tmp_path: Path) -> None:
    """`bench run 2>file` on a terminal: bars here, warnings there."""
    arguments = " ".join(command("run", *PHANTOM, "-s", "warning", "-p", "tiny.toml"))
    with Terminal(
        ["sh", "-c", f"{arguments} 2>err"], environment(PYTHONPATH=site), workspace(tmp_path)
    ) as terminal:
        assert terminal.wait() == 0
    assert "warning: a warning of a logger\n" in (tmp_path / "err").read_text()
    assert not [line for line in terminal.screen.lines if "warning of" in line]


# --- errors in plugins -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what", "mark"),
    [
        (["table", "--format", "colours"], "reporter 'colours' failed: AttributeError", "# reporter"),
        (
            ["run", "-d", "nowhere", "-s", "scratch"],
            "dataset 'nowhere': its images could not be listed",
            "# index",
        ),
        (["data", "verify", "nowhere"], "FileNotFoundError", "# index"),
        (["run", *PHANTOM, "-s", "frozen", "-p", "tiny.toml"], "AttributeError", "# freeze"),
    ],
)
def test_an_error_in_a_plugin_names_it_in_one_line(
    study: Path, site: str, arguments: list[str], what: str, mark: str
) -> None:
    done = bench(study, *arguments, code=1, PYTHONPATH=site)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert what in done.stderr
    assert f"plugin wrong (wrong 1.0), {site}/wrong.py:{line_of(mark)}" in done.stderr


def test_a_metric_that_fails_is_a_warning_that_names_its_plugin(study: Path, site: str) -> None:
    done = bench(study, "table", "--metrics", "aaa", PYTHONPATH=site)
    assert "warning: metric 'aaa' of wrong failed on" in done.stderr
    assert f"plugin wrong (wrong 1.0), {site}/wrong.py:{line_of('# metric')}" in done.stderr


def test_its_traceback_is_shown_to_who_wants_it(study: Path, site: str) -> None:
    env = environment(PYTHONPATH=site)
    done = subprocess.run(
        command("table", "--metrics", "aaa", "--verbose"), cwd=study, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "ZeroDivisionError: division by zero\n" in done.stderr
    assert 'wrong.py", line' in done.stderr


@pytest.mark.parametrize(
    ("source", "cause", "line"),
    [
        ("import json\n\n\njson.loads('{')\n", "JSONDecodeError", 4),  # raised in the standard library
        ("x = 1\ny = (\n", "SyntaxError: '(' was never closed", 2),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'", 1),
    ],
)
def test_a_plugin_that_cannot_be_loaded_names_its_own_line(
    tmp_path: Path, source: str, cause: str, line: int
) -> None:
    install(tmp_path, "broken", source)
    done = bench(tmp_path, "list", "plugins", PYTHONPATH=str(tmp_path))
    assert "plugin broken (broken 1.0) could not be loaded" in done.stderr
    assert cause in done.stderr
    assert f" at {tmp_path}/broken.py:{line}; " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bug_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    script = (
        "import sys\nimport bench.cli.table\n"
        "def fails(): raise RuntimeError('ours')\n"
        "sys.modules['bench.cli.table'].installed_components = fails\n"
        "sys.argv = ['bench', 'table']\nbench.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: ours" in done.stderr


# --- bench plan --------------------------------------------------------------------------------------


def test_a_plan_shows_names_and_reasons_as_they_are(tmp_path: Path) -> None:
    """Brackets in the names of folders are not taken for markup, and no name is cut off at 80 columns."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("[b]malignant", "benign [red]"):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(folder / f"{i}.png")
    arguments = [
        "plan",
        "-d",
        "folder",
        "--data",
        "images",
        "-s",
        "scratch,noise,mae,egmae",
        "-p",
        "tiny.toml",
    ]
    done = bench(workspace(tmp_path), *arguments, "--no-probe", "--device", "cpu", COLUMNS="80")
    assert "[b]malignant" in done.stdout
    assert "benign [red]" in done.stdout
    cells = [line.split("│")[2].strip() for line in done.stdout.splitlines() if line.count("│") == 6]
    assert "test_convnext.mean(scratch+noise+mae+egmae).r0" in "".join(cells)
    assert max(map(len, done.stdout.splitlines())) <= 80


# --- what plugins do to a comparison -----------------------------------------------------------------


def test_a_plugin_does_not_push_its_metric_before_ours(study: Path, tmp_path: Path) -> None:
    """Its entry point sorts before ours; its metric is the last column all the same."""
    install(tmp_path, "aaa", PLUGIN)
    table = bench(study, "table", "--format", "csv", PYTHONPATH=str(tmp_path)).stdout
    names = [name.removesuffix("_mean") for name in table.splitlines()[0].split(",")]
    titles = [name for name in names if name in ("accuracy", "f1", "auc", "zero")]
    assert titles == ["accuracy", "f1", "auc", "zero"]


@pytest.mark.parametrize("strategies", ["scratch", "scratch,noise"])
def test_without_the_ensembles_plugin_a_study_has_none(tmp_path: Path, strategies: str) -> None:
    arguments = ["plan", *PHANTOM, "-s", strategies, "-p", "tiny.toml", "--no-probe"]
    plan = bench(workspace(tmp_path), *arguments, BENCH_BLOCK="ensembles").stdout
    assert "test_convnext.scratch.r0" in plan
    assert "│ ensemble" not in plan
    both = bench(tmp_path, *arguments).stdout
    assert ("│ ensemble" in both) == ("," in strategies)


def test_no_ensembles_in_a_file_is_what_it_is_on_the_command_line(tmp_path: Path) -> None:
    from bench import ConfigError, Study

    (tmp_path / "study.toml").write_text(
        'datasets = ["phantom"]\nstrategies = ["scratch", "noise"]\nensembles = ["none"]\n'
    )
    assert Study.from_file(tmp_path / "study.toml").ensembles == ()
    assert Study.from_names("phantom", "scratch,noise", ensembles="none").ensembles == ()
    assert [ref.name for ref in Study.from_names("phantom", "scratch,noise").ensembles] == ["mean"]
    with pytest.raises(ConfigError, match="none"):
        Study.from_names("phantom", "scratch,noise", ensembles="none,mean")
