"""Real `bench` processes for the tests of faults, on a study that takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kept_audits import keep_audits, with_audits

from benchmarks.attacks.processes import PHANTOM, PROTOCOL, install

__all__ = ["STUDY", "bench", "command", "environment", "install", "workspace"]

STUDY = (*PHANTOM, "-m", "test_convnext", "-p", "tiny.toml")


def workspace(folder: Path) -> Path:
    """A folder with the protocol that STUDY names."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.toml").write_text(PROTOCOL)
    return with_audits(folder)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench", *arguments]


def environment(plugins: Path | None = None) -> dict[str, str]:
    """Of a `bench` process of one thread, with the plugin packages in a folder."""
    path = os.pathsep.join(filter(None, [str(plugins) if plugins else "", os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}


def bench(
    folder: Path, *arguments: str, plugins: Path | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` until it ends."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(plugins),
        capture_output=True,
        text=True,
        errors="backslashreplace",  # a misdeed prints what is not UTF-8
        timeout=240,
        **options,
    )
    keep_audits(folder)
    return done
