"""What trackers share: the refusal of a missing library, what was missed, curves, names of files."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec

from bench import ConfigError, EpochEnded, StudyBegan, Tell, TrackedUnit


def require(tracker: str, library: str) -> None:
    """Raise ConfigError if the library of a tracker is not installed; its extra has the tracker's name."""
    if find_spec(library) is None:
        raise ConfigError(
            f'--track {tracker}: {library} is not installed: pip install "medbench[{tracker}]", or leave '
            "it out"
        )


def tell_missed(study: StudyBegan, has: Callable[[TrackedUnit], bool], tell: Tell) -> None:
    """Tell, from their records, of the units that were done before and that the tracker has not whole."""
    for unit in study.units:
        if unit.done and not has(unit):
            for event in study.replay(unit):
                tell(event)


def curves_of(event: EpochEnded) -> dict[str, float]:
    """What an epoch came to, by the name of the curve that it is a point of."""
    values = {
        "loss": event.loss,
        "validation accuracy": event.validation_accuracy,
        "images per second": event.images_per_s,
    }
    return {f"{event.stage}/{name}": value for name, value in values.items() if value is not None}


def file_name(text: str) -> str:
    """`text` as part of a path: letters, digits and . _ + - alone."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.") or "_"
