"""Which shapes of images are read."""

from __future__ import annotations

from bench.errors import DataError

LONGEST = 20  # times the short side: resized to a short side of 256, a strip of 2 x 20,000 would take 650 MB


def check_shape(height: int, width: int) -> None:
    """Raise DataError if the long side is more than LONGEST times the short one."""
    if max(height, width) > LONGEST * min(height, width):
        raise DataError(
            f"has {height} x {width} pixels (height x width): one side is more than {LONGEST} times as long "
            "as the other; crop it, or leave it out with --on-bad-image skip"
        )
