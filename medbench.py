"""The command `bench`: makes sure that the package `bench` is this project's, and starts it.

The distribution is called medbench, because `bench` on the package index is somebody else's project. That
one, frappe-bench, or a file bench.py can come before our package on Python's path, or overwrite a file of it.
No module of the package could say so, since none would run: hence this module beside it. `python -m medbench`
does the same as the command, also where the command `bench` is another project's.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

SIGN = "lazy_loader.attach_stub(__name__, __file__)"
"""A line of our `bench/__init__.py`, and of nobody else's."""

AGAIN = "pip install --force-reinstall --no-deps medbench (in a source tree: -e .)"


def main() -> None:
    """Start the command line; a package that is not ours is one line on stderr and exit code 2."""
    if problem := foreign(Path(__file__).resolve().parent / "bench" / "__init__.py"):
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    from bench.cli import main as command_line

    command_line()


def foreign(ours: Path) -> str:
    """Why `import bench` would not give the package whose first file is `ours`; empty if it would."""
    if not (ours.is_file() and SIGN in ours.read_text(encoding="utf-8", errors="replace")):
        what = "was overwritten" if ours.is_file() else "is missing"
        others = _owners(ours)
        first = f"pip uninstall {' '.join(others)}, then " if others else ""
        return f"{ours} {what}: another project has a package of that name; {first}{AGAIN}"
    spec = find_spec("bench")
    found = Path(spec.origin).resolve() if spec and spec.origin else ours
    if found == ours:
        return ""
    if others := _owners(found):
        return f"{found} hides {ours.parent}: pip uninstall {' '.join(others)}, then {AGAIN}"
    folder = found.parent.parent if found.name == "__init__.py" else found.parent
    return (
        f"{found} hides {ours.parent}: rename it, or keep {folder} off Python's path (python -P, PYTHONPATH)"
    )


def _owners(file: Path) -> list[str]:
    """Names of the installed distributions, other than ours, that have a file."""
    from importlib.metadata import distributions  # slow to import, and needed for an error alone

    owners = []
    for distribution in distributions():
        place = Path(str(distribution.locate_file(""))).resolve()
        if place in file.parents and distribution.metadata["Name"] != "medbench":
            record = distribution.read_text("RECORD") or ""
            if f"\n{file.relative_to(place).as_posix()}," in f"\n{record}":
                owners.append(distribution.metadata["Name"])
    return owners


if __name__ == "__main__":
    main()
