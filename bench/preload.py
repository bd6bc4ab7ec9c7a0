"""Loads what children need, in the process off which they are forked (`bench.child.load_for_children`).

Quietly, because it has no way to show a line without breaking progress bars; and whatever cannot be loaded is
left to the child that needs it, which can say so.
"""

import importlib
import os
import warnings
from contextlib import suppress

from bench.child import PRELOAD

with warnings.catch_warnings(action="ignore"):
    for _name in os.environ.get(PRELOAD, "").split(","):
        with suppress(Exception):
            importlib.import_module(_name)
