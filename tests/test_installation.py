"""The distribution is called medbench: what else may bear the name `bench`, and what is said about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import hatchling.build
import pytest

from bench.cli.installation import former_installation
from bench.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
AGAIN = "pip install --force-reinstall --no-deps medbench"
OURS = "[bench]\ndatasets = bench_datasets\nstrategies = bench_strategies\n"

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="not a source tree")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return folder / hatchling.build.build_wheel(str(folder))


@pytest.fixture
def site(wheel: Path, tmp_path: Path) -> Path:
    """What pip makes of our wheel in a folder for packages, and the command `bench` beside it."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bench").write_text("from medbench import main\nmain()\n")
    return tmp_path / "site"


def install(site: Path, name: str, version: str, files: dict[str, str], entry_points: str = "") -> None:
    """What pip does with somebody's wheel: it writes over whatever is there."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        **files,
        f"{info.name}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info.name}/entry_points.txt": entry_points,
    }
    for path, text in {**files, f"{info.name}/RECORD": "".join(f"{path},,\n" for path in files)}.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)


def start(site: Path, *command: str, code: int = 0, path: str = "") -> subprocess.CompletedProcess[str]:
    """Python with our wheel first on its path (after `path`), in a working directory of its own."""
    folder = site.parent / "work"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [path, str(site)])), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def command(site: Path, *arguments: str, code: int = 0, path: str = "") -> subprocess.CompletedProcess[str]:
    return start(site, str(site.parent / "bin" / "bench"), *arguments, code=code, path=path)


def one_line(text: str, start: str) -> str:
    assert text.startswith(start), text
    assert text.count("\n") == 1, text
    return text


def test_alone_it_starts_by_each_of_its_names_and_says_nothing(site: Path) -> None:
    for done in (
        command(site, "--version"),
        start(site, "-m", "medbench", "--version"),
        start(site, "-m", "bench", "--version"),
    ):
        assert done.stdout.startswith("bench ")
        assert done.stderr == ""


def test_looking_for_others_imports_nothing_slow(site: Path) -> None:
    """`bench --help` answers in 0.1 s; importlib.metadata alone would add 0.03 s."""
    shutil.copytree(site / "bench", site.parent / "elsewhere" / "bench")
    install(site.parent / "elsewhere", "bench", "0.1.0", {}, OURS)
    script = (
        "import sys, medbench\nsys.argv = ['bench', '--help']\n"
        "try:\n    medbench.main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "print('importlib.metadata' in sys.modules)"
    )
    assert start(site, "-c", script).stdout.endswith("False\n")
    sys_path = f"sys.path.append({str(site.parent / 'elsewhere')!r})\n"
    assert start(site, "-c", f"import sys\n{sys_path}{script}").stdout.endswith("False\n")


def test_another_projects_bench_among_our_files_is_refused(site: Path) -> None:
    """Its files may be imported instead of ours, whoever was installed first."""
    install(site, "bench", "2.8", {"bench/server.py": "", "bench/registry.py": ""})
    for way in (command(site, "list", code=2), start(site, "-m", "bench", "--help", code=2)):
        line = one_line(way.stderr, "error: bench 2.8 in ")
        assert str(site / "bench" / "server.py") in line
        assert "pip uninstall bench, then " + AGAIN in line
        assert way.stdout == ""


def test_another_projects_bench_that_shares_no_file_is_left_alone(site: Path) -> None:
    """A name is no harm: not beside our package, and not in another environment that this one sees."""
    install(site, "bench", "2.8", {"bench_server/__init__.py": ""})
    elsewhere = site.parent / "elsewhere"
    install(elsewhere, "bench", "2.8", {"bench/__init__.py": "raise ImportError", "bench/server.py": ""})
    script = f"import sys; sys.path.append({str(elsewhere)!r}); sys.argv[1:] = ['--version']; import medbench"
    assert start(site, "-c", f"{script}; medbench.main()").stderr == ""


@pytest.mark.parametrize("name", ["bench", "frappe-bench"])
def test_a_package_that_was_overwritten_is_refused_with_whose_it_is(site: Path, name: str) -> None:
    install(site, name, "5.31.1", {"bench/__init__.py": "raise RuntimeError('not ours')\n"})
    for way in (command(site, "--version", code=2), start(site, "-m", "medbench", code=2)):
        line = one_line(
            way.stderr, f"error: {site / 'bench' / '__init__.py'} was overwritten: another project"
        )
        assert f"pip uninstall {name}, then {AGAIN}" in line


def test_a_package_that_lost_its_first_file_is_refused(site: Path) -> None:
    """As it is after `pip uninstall` of another project that had overwritten it."""
    (site / "bench" / "__init__.py").unlink()
    line = one_line(
        command(site, "--version", code=2).stderr, f"error: {site / 'bench' / '__init__.py'} is missing"
    )
    assert AGAIN in line
    assert "uninstall" not in line


def test_another_projects_package_before_ours_is_refused(site: Path) -> None:
    """As it is for a source tree of ours: site-packages come before what a .pth file names."""
    before = site.parent / "before"
    install(before, "frappe-bench", "5.31.1", {"bench/__init__.py": "", "bench/cli.py": "def cli(): ..."})
    line = one_line(command(site, "list", code=2, path=str(before)).stderr, f"error: {before / 'bench'}")
    assert f"hides {site / 'bench'}: pip uninstall frappe-bench, then {AGAIN}" in line


@pytest.mark.parametrize("file", ["bench.py", "bench/__init__.py"])
def test_a_file_of_that_name_in_the_working_directory_is_named(site: Path, file: str) -> None:
    work = site.parent / "work"
    path = work / file
    path.parent.mkdir(parents=True)
    path.write_text("print('mine')\n")
    for way in (start(site, "-m", "medbench", code=2), command(site, "list", code=2, path=str(work))):
        line = one_line(way.stderr, f"error: {path} hides {site / 'bench'}: rename it, or keep {work} off")
        assert "python -P" in line
    assert command(site, "--version").stderr == ""  # for the command alone it is no harm
    assert start(site, "-P", "-m", "bench", "--version").stderr == ""


def test_a_folder_of_that_name_without_a_package_is_no_harm(site: Path) -> None:
    (site.parent / "work" / "bench").mkdir(parents=True)
    assert start(site, "-m", "bench", "--version").stderr == ""
    assert start(site, "-m", "medbench", "--version").stderr == ""


def test_an_installation_under_the_former_name_is_a_warning_and_plugins_count_once(site: Path) -> None:
    before = command(site, "list")
    install(site, "bench", "0.1.0", {"bench/reported/README.md": ""}, OURS)
    after = command(site, "list")
    line = one_line(after.stderr, f"warning: bench 0.1.0 in {site} is this program under its former name: ")
    assert "pip uninstall bench, then " + AGAIN in line
    assert after.stdout == before.stdout
    assert before.stderr == ""


def test_an_installation_under_the_former_name_elsewhere_is_left_alone(site: Path) -> None:
    """An environment can see another one's packages; what is imported and registered is ours."""
    install(site.parent / "elsewhere", "bench", "0.1.0", {}, OURS)
    script = (
        f"import sys; sys.path.append({str(site.parent / 'elsewhere')!r}); sys.argv[1:] = ['list', 'plugins']"
    )
    done = start(site, "-c", f"{script}; import medbench; medbench.main()")
    assert done.stderr == ""
    assert done.stdout.count("\ndatasets  ") == 1


def test_a_source_tree_installed_under_the_former_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who pulls this change has it: the package at work is ours, and no metadata is."""
    install(tmp_path, "bench", "0.1.0", {"_editable_impl_bench.pth": ""}, OURS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "no such folder"), __file__])
    assert former_installation().startswith(
        f"bench 0.1.0 in {tmp_path} is this program under its former name"
    )
    install(tmp_path, "medbench", "0.1.0", {})
    assert former_installation()
    shutil.rmtree(tmp_path / "bench-0.1.0.dist-info")
    assert not former_installation()


def test_metadata_that_cannot_be_read_is_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bench-2.8.dist-info").mkdir()
    (tmp_path / "bench-2.9.egg-info").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    try:
        assert not former_installation()
    except ConfigError as error:
        pytest.fail(str(error))
