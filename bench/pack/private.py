"""What stored texts would tell of the machine that they were made on: paths, its name, its user's name."""

from __future__ import annotations

import getpass
import platform
import re
from collections.abc import Iterator
from typing import Any

_FOLDERS = r"[^\s\"'<>|:;,()\[\]{}\\/]+"
_PATH = re.compile(
    rf"(?<![\w.:/\\~-])(?:~[\w.-]*(?:/{_FOLDERS})+|(?:/{_FOLDERS}){{2,}}/?"
    r"|[A-Za-z]:[\\/][^\s\"'<>|:;,()]+|\\\\[^\s\"'<>|:;,()]+)"
)
"""An absolute path of POSIX (two names at least) or Windows, or one below a home."""
_PACKAGES = ("site-packages", "dist-packages")
_SHORT = 4  # letters: a shorter name would be found in ordinary words
_NOBODY = {"root", "user", "admin", "ubuntu", "runner", "docker", "localhost"}


def without_machine(text: str) -> str:
    """A text without this machine's name and user, and with no more of a path than a reader needs: what
    follows the folder of installed packages, else the file's name."""
    text = _PATH.sub(_shortened, text)
    for name, told in ((platform.node(), "(host)"), (_user(), "(user)")):
        if len(name) >= _SHORT and name.lower() not in _NOBODY:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", told, text)
    return text


def absolute_paths(value: Any) -> Iterator[str]:
    """The paths in the texts of a JSON value."""
    if isinstance(value, str):
        yield from (match[0] for match in _PATH.finditer(value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from absolute_paths(key)
            yield from absolute_paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from absolute_paths(inner)


def _shortened(match: re.Match[str]) -> str:
    parts = [part for part in re.split(r"[\\/]+", match[0]) if part]
    for name in _PACKAGES:
        if name in parts[:-1]:
            return "/".join([".../" + parts[parts.index(name) + 1], *parts[parts.index(name) + 2 :]])
    return f".../{parts[-1]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user that nobody has named
        return ""
