"""Completion: what stands at a word, in real shells too, without loading anything heavy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from terminal import Terminal

from bench.cli import app
from bench.cli.shell import answer
from bench.registry import installed

HEAVY = {"torch", "timm", "numpy", "pandas", "scipy", "sklearn", "PIL", "pydantic", "rich"}


def words(line: str, shell: str = "zsh") -> list[str]:
    """What the last word of `bench LINE` can be completed to."""
    lines = [text.split("\t") for text in answer(app, shell, line.split(" ")).splitlines()]
    return [word for what, word, *_ in lines if what == "name"]


def offered_files(line: str) -> list[str]:
    """Suffixes of the files that the shell is told to offer."""
    lines = [text.split("\t") for text in answer(app, "zsh", line.split(" ")).splitlines()]
    return [suffix for what, suffix in (text[:2] for text in lines) if what == "files"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ta", ["table"]),
        ("data v", ["verify"]),
        ("run --dataset b", ["busi"]),
        ("run -d b", ["busi"]),
        ("run --dataset=b", ["--dataset=busi"]),
        ("-v run -d b", ["busi"]),
        ("data verify b", ["busi"]),
        ("run --strategies egmae,im", ["egmae,imagenet"]),
        ("run --strategies egmae,mae,", ["egmae,mae,noise", "egmae,mae,imagenet", "egmae,mae,scratch"]),
        ("run --strategies egmae,eg", []),
        ("run --models sgformer,cm", ["sgformer,cmt"]),
        ("run --baselines cmt,cp", ["cmt,cpvt"]),
        ("run --baselines al", ["all"]),
        ("run --baselines cmt,al", []),
        ("run --ensembles ", ["mean", "geometric", "weighted", "stacking", "greedy", "none"]),
        ("run --ensembles mean,n", []),
        ("run --ensembles mean,mean(eg", ["mean,mean(egmae+"]),
        ("run --ensembles mean(egmae+im", ["mean(egmae+imagenet)"]),
        ("run --ensembles mean(egmae+eg", []),
        ("run --ensembles mean(cmt.egmae+spa.im", ["mean(cmt.egmae+spa.imagenet)"]),
        ("run --ensembles mean(no_such_model.", []),
        ("run --ensembles mean(egmae+imagenet),me", ["mean(egmae+imagenet),mean"]),
        ('run --ensembles "mean(egmae+im', ["mean(egmae+imagenet)"]),
        ("run --ensembles='mean(eg", ["--ensembles=mean(egmae+"]),
        ("run --executor p", ["packed"]),
        ("run --protocol ", ["paper", "quick"]),
        ("run --device c", ["cpu", "cuda"]),
        ("table --metrics accuracy,a", ["accuracy,auc", "accuracy,auprc"]),
        ("table --format m", ["markdown"]),
        ("cost --format ", ["rich", "csv", "json"]),
        ("cost cmt sgf", ["sgformer"]),
        ("cost --baselines al", ["all"]),
        ("list m", ["models", "metrics"]),
        ("list p", ["protocols", "plugins"]),
        ("show qu", ["quick"]),
        ("show egm", ["egmae"]),
        ("show tim", ["timm"]),
        ("run --reb", []),
        ("run --pro", ["--protocol"]),
        ("run --dataset busi --da", ["--dataset", "--data"]),  # lists may be given twice
        ("run --data x --da", ["--dataset"]),
        ("plan --no", ["--no-probe"]),
        ("table --output x --o", []),
        ("table -v --verb", []),
        ("no_such_command ", []),
        ("list models x", []),
    ],
)
def test_words_are_completed(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_names_of_every_kind_are_components_to_show() -> None:
    shown = words("show ")
    for components in installed().kinds:
        assert set(components.entries) <= set(shown), components.kind.plural
    assert {"paper", "quick"} <= set(shown)


def test_a_family_completes_its_models_once_a_letter_is_typed() -> None:
    assert "resnet50" not in words("run --models ")
    assert "resnet50" in words("run --models resnet5")
    assert "egmae" not in words("run --models ")


def test_candidates_say_what_they_are() -> None:
    assert "name\tbusi\tBreast ultrasound" in answer(app, "fish", ["run", "-d", "b"])
    assert answer(app, "fish", ["show", "balanced"]).startswith("name\tbalanced_accuracy\tmetric: ")


@pytest.mark.parametrize(
    ("line", "suffixes"),
    [
        ("run --protocol x", [".toml"]),
        ("run --study ", [".toml"]),
        ("show x", [".toml"]),
        ("run --data ", [""]),
        ("run --split x", [""]),
        ("table -o ", [""]),
        ("clean --results=", [""]),
        ("run --dataset x", []),
        ("run --rounds ", []),
    ],
)
def test_paths_are_left_to_the_shell(line: str, suffixes: list[str]) -> None:
    assert offered_files(line) == suffixes


def test_bash_splits_words_at_equals_signs() -> None:
    assert words("run --dataset = b", "bash") == ["busi"]
    assert words("run --dataset =", "bash")[0] == "busi"
    assert words("run --dataset=b", "bash") == ["--dataset=busi"]  # where COMP_WORDBREAKS has no "="
    assert words("run --set strategy.egmae.patch = 3 -d b", "bash") == ["busi"]


def test_a_family_that_fails_leaves_the_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.registry import Models

    def broken(self: Models, prefix: str) -> list[str]:
        raise RuntimeError("a third-party family")

    monkeypatch.setattr(Models, "complete", broken)
    assert words("run --models sw") == ["swin"]


def test_what_another_program_set_up_gets_no_answer() -> None:
    assert answer(app, "complete_bash", ["run", "-d", "b"]) == ""


@pytest.mark.parametrize("line", ["run --dataset b", "run --models resnet5", "show e", "run --protocol q"])
def test_nothing_heavy_is_loaded(line: str, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom bench.cli import main\nmain()\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    env = environment(tmp_path) | {"_BENCH_COMPLETE": "zsh"}
    done = subprocess.run(
        [sys.executable, "-c", script, *line.split(" ")], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("name\t")
    assert done.stderr == "[]\n"


# --- in real shells ----------------------------------------------------------------------------------


def environment(home: Path) -> dict[str, str]:
    """A user without any settings; `bench` is the one beside this interpreter."""
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "PYTHONPATH", "SYSTEMROOT")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**kept, "HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "EDITOR": "emacs"}


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"no {name} on this machine")
    return name


@pytest.fixture
def home(tmp_path: Path, shell: str) -> Path:
    """The home of a user who has called `bench --install-completion` from this shell."""
    folder = tmp_path / "home"
    folder.mkdir()
    install = [
        shell,
        "-c",
        "bench --install-completion; true",
    ]  # `; true`: so that the shell stays the parent
    done = subprocess.run(install, env=environment(folder), capture_output=True, text=True, check=True)
    assert f"completion in {shell} is set up" in done.stdout, done.stderr
    return folder


@pytest.fixture
def terminal(shell: str, home: Path) -> Iterator[Terminal]:
    """An interactive shell in which that user sits, in a folder with a few files."""
    folder = home / "work"
    (folder / "sub").mkdir(parents=True)
    (folder / "mine.toml").touch()
    (folder / "mine.txt").touch()
    with Terminal([shell, "-i"], environment(home), folder) as terminal:
        terminal.type("echo ready=$PWD\r")
        terminal.wait_for(lambda lines: any(line.startswith("ready=/") for line in lines))
        yield terminal


def completed(terminal: Terminal, keys: str) -> str:
    """The line that results from these keys: it is echoed by the shell instead of being executed."""
    mark = f"result{len(terminal.screen.lines)}:"
    terminal.type(f"{keys}\x01echo {mark} \r")
    lines = terminal.wait_for(lambda lines: any(line.startswith(mark) for line in lines))
    return next(line for line in lines if line.startswith(mark)).removeprefix(mark).strip()


def test_a_real_shell_completes_names(terminal: Terminal) -> None:
    """Twice in one shell: the first time zsh and fish load the file, the second time they have it."""
    first = completed(terminal, "bench run --dataset bu\t")
    assert first == "bench run --dataset busi"
    assert completed(terminal, "bench run --strategies egmae,im\t") == "bench run --strategies egmae,imagenet"
    assert completed(terminal, "bench run --dataset=ph\t") == "bench run --dataset=phantom"
    assert completed(terminal, "bench show qui\t") == "bench show quick"
    assert completed(terminal, "bench da\tver\tisi\t") == "bench data verify isic2018"
    assert completed(terminal, "bench table --form\tmark\t") == "bench table --format markdown"


def test_a_real_shell_completes_the_members_of_an_ensemble(terminal: Terminal) -> None:
    line = completed(terminal, 'bench run --ensembles "mean(egmae+im\t')
    assert line.replace('"', "") == "bench run --ensembles mean(egmae+imagenet)"


def test_a_real_shell_completes_files_where_they_are_meant(terminal: Terminal) -> None:
    assert completed(terminal, "bench run --study mi\t") == "bench run --study mine.toml"
    assert completed(terminal, "bench run --protocol mi\t") == "bench run --protocol mine.toml"
    assert completed(terminal, "bench run --data su\t").removesuffix("/") == "bench run --data sub"
    assert completed(terminal, "bench run --dataset mi\t") == "bench run --dataset mi"


def test_a_home_path_of_the_program_is_understood(shell: str, home: Path) -> None:
    (home / "bin").mkdir()
    (home / "bin" / "bench").symlink_to(Path(sys.executable).parent / "bench")
    with Terminal([shell, "-i"], environment(home), home) as terminal:
        assert completed(terminal, "~/bin/bench run --dataset bu\t").endswith("bin/bench run --dataset busi")


def test_setting_a_shell_up_twice_changes_nothing(shell: str, home: Path) -> None:
    before = contents(home)
    install = [shell, "-c", "bench --install-completion; true"]
    subprocess.run(install, env=environment(home), capture_output=True, check=True)
    assert contents(home) == before


def test_a_startup_file_keeps_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("alias l=ls")  # without an end of line
    install = ["bash", "-c", "bench --install-completion; true"]
    subprocess.run(install, env=environment(tmp_path), capture_output=True, check=True)
    assert (tmp_path / ".bashrc").read_text().splitlines() == [
        "alias l=ls",
        f"source '{tmp_path}/.bash_completions/bench.sh'",
    ]


def test_the_file_of_a_shell_can_be_read_first(shell: str, tmp_path: Path) -> None:
    show = [shell, "-c", "bench --show-completion; true"]
    done = subprocess.run(show, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert f"Completion of bench in {shell}" in done.stdout
    assert not list(tmp_path.rglob("*bench*"))


def test_an_unknown_shell_is_said(tmp_path: Path) -> None:
    """Called by Python and not by a shell, whatever $SHELL names counts."""
    env: Mapping[str, str] = environment(tmp_path) | {"SHELL": "/bin/tcsh"}
    script = (
        "import shellingham, sys\n"
        "def nothing(*a): raise shellingham.ShellDetectionFailure\n"
        "shellingham.detect_shell = nothing\n"
        "sys.argv = ['bench', '--install-completion']\n"
        "from bench.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "tcsh is not a shell that bench completes in; use bash, zsh, fish" in done.stderr


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
