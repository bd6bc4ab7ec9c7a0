"""Standard output and error that are closed, gone, full, or of an encoding that lacks what tables hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import command, environment

OLD = Path(__file__).parents[1] / "data"
QUICK = ("list", "executors")


def run(*arguments: str, variables: dict[str, str] | None = None, **streams: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command; "" for what does not come here."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    done = subprocess.run(
        command(*arguments), env={**environment(), **(variables or {})}, timeout=120, **streams
    )
    return done.returncode, *((s or b"").decode("utf-8", "replace") for s in (done.stdout, done.stderr))


@contextmanager
def gone() -> Iterator[int]:
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("arguments", [QUICK, ("--help",)])
def test_a_reader_that_is_gone_ends_the_command_without_a_word(arguments: tuple[str, ...]) -> None:
    """As `bench table | head -1` does."""
    with gone() as pipe:
        assert run(*arguments, stdout=pipe) == (141, "", "")


def test_a_full_disk_below_standard_output_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        assert run(*QUICK, stdout=full) == (
            1,
            "",
            "error: standard output cannot be written (No space left on device); "
            "free some space, or send it elsewhere\n",
        )


def test_messages_that_nobody_can_read_change_nothing() -> None:
    with Path("/dev/full").open("wb") as full, gone() as pipe:
        assert run("table", "--format", "docx", stderr=full)[0] == 2
        assert run(*QUICK, "--verbose", stderr=pipe)[0] == 0


@pytest.mark.parametrize("closed", [(1,), (1, 2)])
def test_closed_streams_change_nothing(closed: tuple[int, ...]) -> None:
    assert run(*QUICK, preexec_fn=lambda: [os.close(number) for number in closed]) == (0, "", "")


def test_a_table_is_readable_where_the_encoding_has_few_characters(tmp_path: Path) -> None:
    shutil.copytree(OLD / "results_v1", tmp_path / "results")
    table = ("table", "--results", str(tmp_path / "results"), "--uncertainty", "sd")
    code, plain, said = run(*table, "--format", "markdown")
    assert (code, said) == (0, "")
    assert "±" in plain
    for variables in (
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ):
        code, text, said = run(*table, "--format", "markdown", variables=variables)
        assert (code, said) == (0, "")
        assert text.isascii()
        assert text == plain.replace("±", "+-")
    code, text, said = run(*table, variables={"PYTHONIOENCODING": "ascii"})
    assert (code, said) == (0, "")
    assert text.isascii()
    assert "\\u" not in text
    assert "+-" in text
