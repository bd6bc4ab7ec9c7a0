"""What trackers share: the refusal of a library that is not installed, and names for files."""

from __future__ import annotations

import re
from importlib.util import find_spec

from bench import ConfigError


def require(tracker: str, library: str) -> None:
    """Raise ConfigError if the library of a tracker is not installed; its extra has the tracker's name."""
    if find_spec(library) is None:
        raise ConfigError(
            f'--track {tracker}: {library} is not installed: pip install "medbench[{tracker}]", or leave '
            "it out"
        )


def file_name(text: str) -> str:
    """`text` as part of a path: letters, digits and . _ + - alone."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "_"
