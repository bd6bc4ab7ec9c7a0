"""Runs torchvision's reference train.py, unchanged, on a network of timm: SCRIPT ARGUMENTS.

The script asks torchvision for its network, and counts the five most probable classes: a network for fewer
classes gets outputs that no image belongs to.
"""

import runpy
import sys
from pathlib import Path
from typing import Any

import timm
import torchvision


def from_timm(name: str, weights: Any = None, num_classes: int = 1000) -> Any:
    """timm's network in the place of torchvision's."""
    assert weights is None, "trained from scratch"
    return timm.create_model(name, num_classes=max(5, num_classes))


if __name__ == "__main__":
    script = sys.argv.pop(1)
    sys.path.insert(0, str(Path(script).parent))
    torchvision.models.get_model = from_timm
    runpy.run_path(script, run_name="__main__")
